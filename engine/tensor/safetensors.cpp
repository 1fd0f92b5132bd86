#include "engine/tensor/safetensors.h"

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/log.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

using nlohmann::json;

// The reference implementation's limit, so that a damaged length cannot ask for all memory.
constexpr uint64_t largest_header = 100'000'000;
constexpr size_t length_bytes = 8;

constexpr std::pair<const char*, DType> dtype_names[] = {
    {"F32", DType::f32}, {"F64", DType::f64}, {"BF16", DType::bf16},
    {"F16", DType::f16}, {"U8", DType::u8},   {"I16", DType::i16},
    {"U16", DType::u16}, {"I32", DType::i32}, {"I64", DType::i64}};

std::optional<DType> parse_dtype(const std::string& name) {
  for (const auto& [text, dtype] : dtype_names)
    if (name == text) return dtype;
  return std::nullopt;
}

const char* dtype_text(DType t) {
  for (const auto& [text, dtype] : dtype_names)
    if (dtype == t) return text;
  throw Error(str("safetensors has no name for ", name_of(t)));
}

[[noreturn]] void damaged(const std::filesystem::path& path, const std::string& what) {
  throw UserError(
      str(path.string(), " is not a whole safetensors file: ", what, "; write or copy it again"));
}

uint64_t read_length(const std::byte* from) {
  uint64_t value = 0;
  for (size_t i = 0; i < length_bytes; ++i) value |= std::to_integer<uint64_t>(from[i]) << (8 * i);
  return value;
}

// Elements of a shape times the size of one, or nothing if that overflows or an extent is negative.
std::optional<uint64_t> bytes_of(const std::vector<int64_t>& shape, size_t element) {
  uint64_t total = element;
  for (const int64_t extent : shape)
    if (extent < 0 || __builtin_mul_overflow(total, static_cast<uint64_t>(extent), &total))
      return std::nullopt;
  return total;
}

json parse_header(const std::filesystem::path& path, std::span<const std::byte> file) {
  if (file.size() < length_bytes) damaged(path, str("it has only ", file.size(), " bytes"));
  const uint64_t length = read_length(file.data());
  if (length > largest_header || length > file.size() - length_bytes)
    damaged(path, str("its header of ", length, " bytes does not fit its size of ", file.size()));
  const char* text = reinterpret_cast<const char*>(file.data() + length_bytes);
  json header = json::parse(text, text + length, nullptr, false);
  if (!header.is_object()) damaged(path, "its header is not a JSON object");
  return header;
}

struct Range {
  size_t begin = 0, end = 0;
  std::string name;
};

Range parse_range(const std::filesystem::path& path, const std::string& name, const json& entry,
                  size_t data_bytes) {
  const auto offsets = entry.at("data_offsets").get<std::vector<uint64_t>>();
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data_bytes)
    damaged(path, str("tensor '", name, "' lies outside its ", data_bytes, " bytes of data"));
  return {offsets[0], offsets[1], name};
}

void check_no_overlap(const std::filesystem::path& path, std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].begin < ranges[i - 1].end)
      damaged(path, str("tensors '", ranges[i - 1].name, "' and '", ranges[i].name, "' overlap"));
}

struct Header {
  std::map<std::string, SafeTensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

Header check_header(const std::filesystem::path& path, const json& header, size_t data_bytes) {
  Header result;
  std::vector<Range> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      result.metadata = entry.get<std::map<std::string, std::string>>();
      continue;
    }
    const Range& range = ranges.emplace_back(parse_range(path, name, entry, data_bytes));
    const auto type = entry.at("dtype").get<std::string>();
    const std::optional<DType> dtype = parse_dtype(type);
    if (!dtype) {  // such as 8-bit floats
      log_info(path.string(), ": tensor '", name, "' of type ", type, " is passed over");
      continue;
    }
    SafeTensorInfo info{*dtype, entry.at("shape").get<std::vector<int64_t>>(), range.begin,
                        range.end};
    if (bytes_of(info.shape, size_of(*dtype)) != range.end - range.begin)
      damaged(path, str("tensor '", name, "' has ", range.end - range.begin,
                        " bytes, which is not what its shape takes"));
    result.tensors.emplace(name, std::move(info));
  }
  check_no_overlap(path, std::move(ranges));
  return result;
}

}  // namespace

SafeTensorsFile::SafeTensorsFile(const std::filesystem::path& path) : file_(path) {
  try {
    const json header = parse_header(path, file_.bytes());
    data_offset_ = length_bytes + read_length(file_.bytes().data());
    Header checked = check_header(path, header, file_.bytes().size() - data_offset_);
    tensors_ = std::move(checked.tensors);
    metadata_ = std::move(checked.metadata);
  } catch (const json::exception&) {
    damaged(path, "an entry of its header lacks dtype, shape or data_offsets");
  }
}

const SafeTensorInfo& SafeTensorsFile::info(const std::string& name) const {
  const auto at = tensors_.find(name);
  if (at == tensors_.end())
    throw UserError(str(path().string(), " holds no tensor '", name,
                        "': is it a file of another kind or version?"));
  return at->second;
}

std::span<const std::byte> SafeTensorsFile::bytes(const std::string& name) const {
  const SafeTensorInfo& tensor = info(name);
  return file_.bytes().subspan(data_offset_ + tensor.begin, tensor.end - tensor.begin);
}

void write_safetensors(const std::filesystem::path& path, std::span<const SafeTensorEntry> entries,
                       const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const SafeTensorEntry& entry : entries) {
    UNETD_CHECK(!header.contains(entry.name), "tensor '", entry.name, "' is given twice");
    UNETD_CHECK(bytes_of(entry.shape, size_of(entry.dtype)) == entry.bytes.size(), "tensor '",
                entry.name, "' has ", entry.bytes.size(), " bytes");
    header[entry.name] = {{"dtype", dtype_text(entry.dtype)},
                          {"shape", entry.shape},
                          {"data_offsets", {offset, offset + entry.bytes.size()}}};
    offset += entry.bytes.size();
  }
  std::string text = header.dump();
  text.append((length_bytes - text.size() % length_bytes) % length_bytes, ' ');
  std::string length;
  for (size_t i = 0; i < length_bytes; ++i)
    length.push_back(static_cast<char>(text.size() >> (8 * i) & 0xFF));
  AtomicFile file(path);
  file.write(length);
  file.write(text);
  for (const SafeTensorEntry& entry : entries) file.write(entry.bytes.data(), entry.bytes.size());
  file.commit();
}

}  // namespace unetd

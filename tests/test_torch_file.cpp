// Files of torch.save: what PyTorch wrote is read, and what was written to harm is not.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "engine/tensor/torch_file.h"
#include "tests/support/memory_limit.h"
#include "tests/support/temp_folder.h"
#include "tests/support/torch_archive.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;
using namespace unetd::pickled;

const fs::path fixtures = UNETD_SOURCE_DIR "/tests/fixtures/weights";

// What is said about a file with these bytes; empty if it was read.
std::string complaint(const std::string& bytes) {
  const TempFolder folder;
  write_file(folder / "net.pth", bytes);
  const MemoryLimit limit;
  try {
    const TorchFile file(folder / "net.pth");
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

void refused(const std::string& bytes, const std::string& word) {
  const std::string said = complaint(bytes);
  INFO("wanted: " << word);
  CHECK_THAT(said, Catch::Contains(word) && Catch::Contains("net.pth"));
  CHECK(said.find('\n') == std::string::npos);
}
void refused_pickle(const std::string& object, const std::string& word) {
  refused(archive(pickle(object)), word);
}
void refused_tensor(const pickled::Tensor& tensor, const std::string& word) {
  refused_pickle(dict("w", tensor.code()), word);
}

std::string with_byte(std::string bytes, size_t at, uint64_t value, int size) {
  return bytes.replace(at, static_cast<size_t>(size), little_endian(value, size));
}

TEST_CASE("torch file: tensors in plain containers are read", "[weights]") {
  const TempFolder folder;
  pickled::Tensor turned{.sizes = {1, 2}, .strides = {1, 1}};
  std::vector<io::ZipEntry> files = entries(pickle(dict("w", turned.code()) + text("mask_values") +
                                                   "](K\x02K\x01"
                                                   "e"
                                                   "s"));
  files[2].data = std::string("\0\0\x80\x3f\0\0\0\xc0", 8);  // 1, -2
  write_file(folder / "net.pth", io::zip_of(files));
  const TorchFile file(folder / "net.pth");
  REQUIRE(file.tensors().size() == 1);
  CHECK(file.tensors().at("w").shape == std::vector<int64_t>{1, 2});
  CHECK(to_floats(file.tensors().at("w")) == std::vector<float>{1, -2});
}

TEST_CASE("torch file: types are brought to f32", "[weights]") {
  const TempFolder folder;
  const auto read = [&](const char* type, const std::string& bytes) {
    pickled::Tensor tensor{.sizes = {1}, .elements = 1, .type = type};
    std::vector<io::ZipEntry> files = entries(pickle(dict("w", tensor.code())));
    files[2].data = bytes;
    write_file(folder / "net.pth", io::zip_of(files));
    return to_floats(TorchFile(folder / "net.pth").tensors().at("w")).at(0);
  };
  CHECK(read("HalfStorage", std::string("\x00\xc1", 2)) == -2.5F);
  CHECK(read("BFloat16Storage", std::string("\x20\xc0", 2)) == -2.5F);
  CHECK(read("DoubleStorage", std::string("\0\0\0\0\0\0\x04\xc0", 8)) == -2.5F);
  CHECK_THROWS_AS(read("LongStorage", std::string(8, '\0')), Error);
}

TEST_CASE("torch file: code is named and not run", "[weights]") {
  const TempFolder folder;
  const std::string trace = (folder / "trace").string(), touch = text("touch " + trace);
  refused_pickle(call(global("posix", "system"), {touch}), "posix.system");
  refused_pickle(text("builtins") + text("eval") + "\x93" + tuple({touch}) + "R", "builtins.eval");
  refused_pickle("(" + touch + "ios\nsystem\n", "os.system");
  refused_pickle(dict("w", call(global("subprocess", "Popen"), {touch})), "subprocess.Popen");
  refused_pickle(call(global("numpy.core.multiarray", "scalar"), {}),
                 "numpy.core.multiarray.scalar");
  refused_pickle(call(global("torch.jit", "_load\x1b[31m\r"), {}), "torch.jit._load?[31m?");
  refused_pickle(global("torch", "ComplexFloatStorage"), "torch.ComplexFloatStorage");
  refused_pickle(global("torch", "Size") + ")\x81", "instruction 129");
  refused_pickle("\x82\x01", "instruction 130");
  refused_pickle("Pid\n", "instruction 80");
  refused_pickle(call(text("os.system"), {touch}), "a function");
  refused_pickle(dict("w", pickled::Tensor{}.code() + "}b"), "container");
  CHECK_FALSE(fs::exists(trace));
}

TEST_CASE("torch file: pickles that lie are refused", "[weights]") {
  refused(archive("(dp0\n."), "no pickle");
  refused(archive(""), "cut");
  refused(archive("\x80\x09}."), "protocol 9");
  refused_pickle("R", "more than it has");
  refused_pickle("N(R", "more than it has");
  refused_pickle("N1", "more than it has");
  refused_pickle("}(" + text("w") + "u", "key without a value");
  refused_pickle("]Ns", "more than it has");
  refused_pickle("]NNs", "container");
  refused_pickle("h\x05", "never had");
  refused_pickle("\x8d" + little_endian(uint64_t{1} << 63, 8), "cut");
  refused_pickle("\x8b" + little_endian(0xFFFFFFFF, 4), "cut");
  refused_pickle("\x95" + little_endian(uint64_t{1} << 40, 8) + "N", "cut");
  refused_pickle(
      "]q\x01h\x01"
      "a",
      "no state dict");
  refused_pickle("}q\x01" + text("state_dict") + "h\x01s", "no state dict");
  refused_pickle(std::string(100'000, '(') + "N" + std::string(100'000, 't'), "no state dict");
  refused_pickle("}", "no state dict");
  refused_pickle(text("w"), "no state dict");
  refused_pickle(std::string((1 << 20) + 1, 'N'), "objects");
  refused_pickle("N" + std::string((1 << 20) + 1, '\x94'), "remembers too much");
  refused_pickle(std::string((16 << 20) + 1, 'N'), "bytes");
  refused_pickle(tuple({text("storage"), text("0"), integer(1)}) + "Q", "persistent");
  refused_pickle(pickled::Tensor{.type = "float32"}.storage(), "type of a storage");
  refused_pickle(call(global("torch._utils", "_rebuild_tensor_v2"), {integer(1)}), "arguments");
  refused_pickle(call(global("collections", "OrderedDict"), {text("w")}), "arguments");
  refused_pickle(call(global("torch", "float32"), {}), "arguments");
}

TEST_CASE("torch file: tensors that lie are refused", "[weights]") {
  constexpr int64_t huge = int64_t{1} << 62;
  REQUIRE(complaint(archive(pickle(dict("w", pickled::Tensor{}.code())))).empty());
  refused_tensor({.strides = {-1}}, "beyond");
  refused_tensor({.strides = {huge}}, "beyond");
  refused_tensor({.sizes = {2, 1}, .strides = {huge, huge}}, "beyond");
  refused_tensor({.sizes = {1}, .offset = 2}, "beyond");
  refused_tensor({.sizes = {1}, .offset = -1}, "beyond");
  refused_tensor({.sizes = {1}, .offset = INT64_MAX}, "beyond");
  refused_tensor({.offset = 1}, "beyond");
  refused_tensor({.sizes = {-2}}, "impossible size");
  refused_tensor({.sizes = {huge, 8}, .strides = {8, 1}}, "impossible size");
  refused_tensor({.sizes = {1, 2}}, "impossible size");
  refused_tensor({.sizes = {1'000'000'000}, .strides = {0}}, "larger than its numbers");
  refused_tensor({.elements = 3}, "fewer numbers");
  refused_tensor({.elements = -1}, "fewer numbers");
  refused_tensor({.elements = huge}, "fewer numbers");
  refused_tensor({.key = "../../etc/passwd"}, "missing");
  refused_tensor({.sizes = std::vector<int64_t>(17, 1), .strides = std::vector<int64_t>(17, 1)},
                 "dimensions");
  const std::string w = text("w") + pickled::Tensor{}.code() + "s";
  refused_pickle("}" + w + w, "twice");
  std::string many = "}" + pickled::Tensor{}.code() + "q\x01" + "0";
  for (int i = 0; i < 1000; ++i) many += text(str("w", i)) + "h\x01s";
  refused_pickle(many, "more than the file has");
  std::string sizes_of_text = pickled::Tensor{}.code();
  sizes_of_text.replace(sizes_of_text.find(integers({2})), integers({2}).size(),
                        tuple({text("2")}));
  refused_pickle(dict("w", sizes_of_text), "no whole number");
}

TEST_CASE("torch file: archives that lie are refused", "[weights]") {
  const std::string good_pickle = pickle(dict("w", pickled::Tensor{}.code()));
  const std::vector<io::ZipEntry> good = entries(good_pickle);
  const auto changed = [&](auto&& change) {
    std::vector<io::ZipEntry> files = good;
    change(files);
    return io::zip_of(files);
  };
  refused(changed([](auto& files) { files[2].method = 8; }), "compressed");
  refused(changed([](auto& files) { files[2].flags = 1; }), "encrypted");
  refused(changed([](auto& files) { files.push_back(files[2]); }), "one name");
  refused(changed([](auto& files) { files.erase(files.begin()); }), "data.pkl");
  refused(changed([](auto& files) { files[0].name = "data.pkl"; }), "data.pkl");
  refused(changed([](auto& files) { files[1].data = "big"; }), "big-endian");

  const std::string whole = archive(good_pickle);
  const size_t end = whole.size() - 22, directory = whole.find("PK\x01\x02");
  refused(with_byte(whole, end + 16, 0x7FFFFFFF, 4), "beyond its end");
  refused(with_byte(whole, end + 10, 0xFFFF, 2), "directory is cut");
  refused(with_byte(whole, end + 12, 20, 4), "directory is cut");
  refused(with_byte(whole, directory, 0, 1), "directory is cut");
  refused(with_byte(whole, directory + 28, 0xFFFF, 2), "directory is cut");
  refused(with_byte(whole, directory + 42, 5, 4), "not where");
  refused(with_byte(whole, directory + 42, 0x7FFFFFFF, 4), "beyond its end");
  refused(with_byte(whole, directory + 46, 'N', 1), "not where");
  refused(with_byte(with_byte(whole, directory + 20, 0x7FFFFFFF, 4), directory + 24, 0x7FFFFFFF, 4),
          "beyond its end");
  refused(with_byte(whole, directory + 24, 1 << 30, 4), "compressed");
  // The first file's length grown over the second.
  const auto longer = good_pickle.size() + 40;
  refused(with_byte(with_byte(whole, directory + 20, longer, 4), directory + 24, longer, 4),
          "overlap");
  const std::string locator = "PK\x06\x07" + little_endian(0, 4) +
                              little_endian(uint64_t{1} << 60, 8) + little_endian(1, 4);
  refused(std::string(whole).insert(end, locator), "beyond its end");
  refused(with_byte(std::string(whole).insert(end, locator), end + 8, 0, 8), "ZIP64");
}

TEST_CASE("torch file: other files are refused with the remedy", "[weights]") {
  refused("", "empty");
  refused("weights", "torch.save");
  refused(read_file(fixtures / "old.pth"), "1.6 or later");
  CHECK_THROWS_WITH(TorchFile("/absent.pth"), Catch::Contains("/absent.pth"));
}

TEST_CASE("torch file: one cut anywhere is refused", "[weights]") {
  const std::string whole = archive(pickle(dict("w", pickled::Tensor{}.code())));
  for (size_t size = 0; size < whole.size(); ++size) {
    INFO("cut to " << size);
    REQUIRE_FALSE(complaint(whole.substr(0, size)).empty());
  }
}

TEST_CASE("torch file: random damage is read or refused, never worse", "[weights]") {
  constexpr uint64_t extremes[] = {0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, UINT64_MAX};
  int refusals = 0;
  for (const char* name : {"double.pth", "bfloat.pth"}) {
    const std::string good = read_file(fixtures / name);
    // Numbers may be anything; what is to be damaged lies around them.
    const size_t pickle_end = good.find("PK\x07\x08"), directory = good.find("PK\x01\x02");
    for (uint64_t seed = 0; seed < 1500; ++seed) {
      Rng rng(seed);
      std::string bad = good;
      for (uint32_t i = 0; i <= rng.below(4); ++i) {
        const size_t from = rng.below(2) == 0 ? 0 : directory;
        const size_t to = from == 0 ? pickle_end : good.size();
        const size_t at = from + rng.below(static_cast<uint32_t>(to - from));
        const int size = 1 << rng.below(4);
        if (at + static_cast<size_t>(size) > bad.size()) continue;
        const bool extreme = rng.below(2) == 0;
        bad = with_byte(bad, at, extreme ? extremes[rng.below(8)] : rng.next(), size);
      }
      refusals += complaint(bad).empty() ? 0 : 1;
    }
  }
  CHECK(refusals > 1000);
}

}  // namespace
}  // namespace unetd

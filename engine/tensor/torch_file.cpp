#include "engine/tensor/torch_file.h"

#include "engine/base/bytes.h"
#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/zip_archive.h"
#include "engine/tensor/torch_pickle.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>
#include <vector>

namespace unetd {
namespace {

using Kind = TorchPickle::Kind;
using Object = TorchPickle::Object;

// What the format before 1.6 begins with: a pickle of the number 0x1950a86a20f9469cfc6c, behind two
// bytes that say which protocol.
constexpr std::array<unsigned char, 8> old_magic = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20};
constexpr size_t old_magic_at = 2;

bool is_old_format(std::span<const std::byte> bytes) {
  return bytes.size() >= old_magic_at + old_magic.size() &&
         std::ranges::equal(bytes.subspan(old_magic_at, old_magic.size()),
                            std::as_bytes(std::span(old_magic)));
}

class Reader {
 public:
  Reader(std::span<const std::byte> file, std::string name)
      : name_(std::move(name)),
        archive_(file, name_),
        folder_(find_folder()),
        pickle_(archive_.file(folder_ + "data.pkl"), name_) {
    for (const auto& [path, data] : archive_.files())
      numbers_ += path.starts_with(folder_ + "data/") ? data.size() : 0;
    const auto order = archive_.files().find(folder_ + "byteorder");
    if (order != archive_.files().end() && text(order->second) != "little")
      fail("its numbers are big-endian; save it again on a little-endian machine");
  }

  std::map<std::string, TensorView> read() {
    const Object& dict = state_dict();
    std::vector<std::string> passed_over;
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const Object &key = pickle_[dict.items[i]], &value = pickle_[dict.items[i + 1]];
      if (key.kind != Kind::text) continue;
      if (value.kind == Kind::tensor) {
        add(key.text, value);
      } else {
        passed_over.push_back(printable(key.text));
      }
    }
    if (tensors_.empty())
      fail("it holds no state dict; write it by torch.save(model.state_dict(), FILE)");
    for (const std::string& key : passed_over)
      log_info(name_, ": '", key, "' is no tensor and passed over");
    return std::move(tensors_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(str(name_, " cannot be read: ", what));
  }
  static std::string_view text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // All files lie in one folder, which is named after the file that was first written.
  std::string find_folder() const {
    constexpr std::string_view pickle = "data.pkl";
    for (const auto& [path, data] : archive_.files()) {
      const size_t slash = path.find('/');
      if (slash != std::string::npos && path.substr(slash + 1) == pickle)
        return path.substr(0, slash + 1);
    }
    fail("it is a ZIP archive without data.pkl, which is none of torch.save");
  }

  bool has_tensor(const Object& dict) const {
    for (size_t i = 1; i < dict.items.size(); i += 2)
      if (pickle_[dict.items[i]].kind == Kind::tensor) return true;
    return false;
  }
  const Object& state_dict() const {
    const Object& root = pickle_.root();
    if (root.kind != Kind::dict) {
      fail("it holds no state dict at its root; write it by torch.save(model.state_dict(), FILE)");
    }
    for (const char* key : {"state_dict", "model_state_dict", "model"}) {
      const Object* const inner = pickle_.find(root, key);
      if (inner != nullptr && inner->kind == Kind::dict && has_tensor(*inner)) return *inner;
    }
    return root;
  }

  std::vector<int64_t> integers(TorchPickle::Id tuple, const std::string& name) const {
    constexpr size_t most_dimensions = 16;
    const std::vector<TorchPickle::Id>& items = pickle_[tuple].items;
    if (items.size() > most_dimensions) fail(name + " has too many dimensions");
    std::vector<int64_t> values;
    for (const TorchPickle::Id id : items) {
      if (pickle_[id].kind != Kind::integer) fail(name + " has a size that is no whole number");
      values.push_back(pickle_[id].value);
    }
    return values;
  }

  void add(std::string_view key, const Object& tensor) {
    const std::string name = str("tensor '", printable(key), "'");
    if (tensors_.contains(std::string(key))) fail(name + " is there twice");
    const Object& storage = pickle_[tensor.items[0]];
    const auto element = static_cast<int64_t>(size_of(storage.dtype));
    const auto data = archive_.files().find(str(folder_, "data/", storage.text));
    if (data == archive_.files().end()) fail(name + " has no numbers: their file is missing");
    const auto available = static_cast<int64_t>(data->second.size()) / element;
    if (storage.value < 0 || storage.value > available)
      fail(name + " has fewer numbers in its file than it says");
    TensorView view{storage.dtype, integers(tensor.items[2], name),
                    integers(tensor.items[3], name)};
    const int64_t offset = pickle_[tensor.items[1]].value;
    const int64_t count = check_extent(view, offset, storage.value, name);
    claimed_ += static_cast<uint64_t>(count * element);
    if (claimed_ > numbers_)
      fail("its tensors take more than the file has; save each as tensor.clone()");
    if (count > 0) view.bytes = data->second.subspan(static_cast<size_t>(offset * element));
    tensors_.emplace(key, std::move(view));
  }

  // Every element lies among the storage's `available`, and no more of them than that. Returns how
  // many there are.
  int64_t check_extent(const TensorView& view, int64_t offset, int64_t available,
                       const std::string& name) const {
    const int64_t count = element_count(view.shape);
    if (count < 0 || view.stride.size() != view.shape.size())
      fail(name + " has an impossible size");
    if (count > available) fail(name + " is larger than its numbers");
    if (count == 0) return 0;
    if (offset < 0 || offset >= available) fail(name + " begins beyond its numbers");
    int64_t last = offset;
    for (size_t d = 0; d < view.shape.size(); ++d) {
      int64_t span = 0;
      if (view.stride[d] < 0 || __builtin_mul_overflow(view.shape[d] - 1, view.stride[d], &span) ||
          __builtin_add_overflow(last, span, &last) || last >= available)
        fail(name + " reaches beyond its numbers");
    }
    return count;
  }

  std::string name_;
  ZipArchive archive_;
  std::string folder_;
  TorchPickle pickle_;
  std::map<std::string, TensorView> tensors_;
  uint64_t numbers_ = 0, claimed_ = 0;  // bytes: there are, and all tensors take
};

}  // namespace

TorchFile::TorchFile(const std::filesystem::path& path) : file_(path) {
  if (is_old_format(file_.bytes())) {
    throw UserError(str(path.string(), " is of PyTorch's format before 1.6; load it in Python and ",
                        "write it again by torch.save with PyTorch 1.6 or later"));
  }
  if (!is_zip(file_.bytes())) throw UserError(str(path.string(), " is no file of torch.save"));
  tensors_ = Reader(file_.bytes(), path.string()).read();
}

bool is_torch_file(const std::filesystem::path& path) {
  std::array<char, old_magic_at + old_magic.size()> begin{};
  std::ifstream in(path, std::ios::binary);
  in.read(begin.data(), begin.size());
  const auto bytes = std::as_bytes(std::span(begin));
  return is_zip(bytes) || is_old_format(bytes);
}

}  // namespace unetd

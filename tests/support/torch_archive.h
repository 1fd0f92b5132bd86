// Pickles and archives put together by hand, as torch.save or somebody with other intentions would.
#pragma once

#include "tests/support/zip.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unetd::pickled {

inline std::string little_endian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
  return text;
}

// Each gives the code that leaves one object on the stack.
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string text(const std::string& words) {
  return "X" + little_endian(words.size(), 4) + words;
}
inline std::string integer(int64_t value) {
  return "\x8a\x08" + little_endian(static_cast<uint64_t>(value), 8);
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string code = "(";
  for (const std::string& item : items) code += item;
  return code + "t";
}
inline std::string integers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t v : values) items.push_back(integer(v));
  return tuple(items);
}
inline std::string call(const std::string& function, const std::vector<std::string>& arguments) {
  return function + tuple(arguments) + "R";
}
inline std::string ordered_dict() { return call(global("collections", "OrderedDict"), {}); }

struct Tensor {
  std::vector<int64_t> sizes = {2}, strides = {1};
  int64_t offset = 0, elements = 2;
  std::string key = "0", type = "FloatStorage";

  std::string storage() const {
    return tuple({text("storage"), global("torch", type), text(key), text("cpu"),
                  integer(elements)}) +
           "Q";
  }
  std::string code() const {
    return call(
        global("torch._utils", "_rebuild_tensor_v2"),
        {storage(), integer(offset), integers(sizes), integers(strides), "\x89", ordered_dict()});
  }
};

// A pickle of protocol 2 of one object.
inline std::string pickle(const std::string& object) { return "\x80\x02" + object + "."; }
inline std::string dict(const std::string& key, const std::string& value) {
  return "}" + text(key) + value + "s";
}

// The archive of a pickle and a storage "0" of eight bytes.
inline std::vector<io::ZipEntry> entries(const std::string& data_pkl) {
  return {{"net/data.pkl", data_pkl},
          {"net/byteorder", "little"},
          {"net/data/0", std::string(8, '\0')},
          {"net/version", "3\n"}};
}
inline std::string archive(const std::string& data_pkl) { return io::zip_of(entries(data_pkl)); }

}  // namespace unetd::pickled

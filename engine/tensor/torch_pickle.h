// Pickles as torch.save writes them, read by a machine that knows plain containers and tensors and
// nothing else. Python's own machine calls whatever functions a pickle names; this one looks each
// name up in a short table and refuses what is not in it. Nothing is ever executed, and memory is
// bounded by the length of the pickle (https://docs.python.org/3/library/pickletools.html).
#pragma once

#include "engine/base/dtype.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unetd {

class TorchPickle {
 public:
  using Id = uint32_t;  // of an object; containers may hold themselves
  enum class Kind : uint8_t {
    none,     // None
    number,   // True, False, a float, or an integer beyond 64 bits: its value is of no use here
    integer,  // value
    text,     // text
    list,     // items
    tuple,    // items
    dict,     // items: key, value, key, value; an OrderedDict, too
    type,     // a class or function of the table; dtype of a storage class
    storage,  // dtype, value: its elements, text: its key
    tensor,   // items: storage, offset, sizes, strides, as _rebuild_tensor_v2 got them
  };
  struct Object {
    Kind kind = Kind::none;
    DType dtype = DType::f32;
    int64_t value = 0;
    std::string_view text;  // lies in the pickle
    std::vector<Id> items;
  };

  // `pickle` must outlive this; `name` is what messages call the file. Throws UserError, in one
  // line, for what is no pickle of protocol 2 to 5, for a name that is not in the table, and for
  // more than a million objects.
  TorchPickle(std::span<const std::byte> pickle, const std::string& name);

  const Object& root() const { return objects_[root_]; }
  const Object& operator[](Id id) const { return objects_[id]; }
  // The value of a text key, or null.
  const Object* find(const Object& dict, std::string_view key) const;

 private:
  std::vector<Object> objects_;
  Id root_ = 0;
};

// Text of a file in a message: one line, not long, printable.
std::string printable(std::string_view text);

}  // namespace unetd

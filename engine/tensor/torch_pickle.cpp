#include "engine/tensor/torch_pickle.h"

#include "engine/base/bytes.h"
#include "engine/base/error.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

namespace unetd {
namespace {

using Id = TorchPickle::Id;
using Kind = TorchPickle::Kind;
using Object = TorchPickle::Object;

constexpr size_t most_objects = size_t{1} << 20;
constexpr size_t longest_pickle = size_t{16} << 20;

enum class Role : uint8_t { ordered_dict, size, rebuild_tensor, rebuild_parameter, storage, dtype };

// All that a pickle may name.
struct Known {
  std::string_view module, name;
  Role role;
  DType dtype = DType::f32;  // of storages
};
constexpr Known table[] = {
    {"collections", "OrderedDict", Role::ordered_dict},
    {"torch", "Size", Role::size},
    {"torch._utils", "_rebuild_tensor_v2", Role::rebuild_tensor},
    {"torch._utils", "_rebuild_parameter", Role::rebuild_parameter},
    {"torch", "FloatStorage", Role::storage, DType::f32},
    {"torch", "HalfStorage", Role::storage, DType::f16},
    {"torch", "BFloat16Storage", Role::storage, DType::bf16},
    {"torch", "DoubleStorage", Role::storage, DType::f64},
    {"torch", "LongStorage", Role::storage, DType::i64},
    {"torch", "IntStorage", Role::storage, DType::i32},
    {"torch", "ShortStorage", Role::storage, DType::i16},
    {"torch", "ByteStorage", Role::storage, DType::u8},
    {"torch", "BoolStorage", Role::storage, DType::u8},
    {"torch", "float32", Role::dtype},
    {"torch", "float16", Role::dtype},
    {"torch", "bfloat16", Role::dtype},
    {"torch", "float64", Role::dtype},
    {"torch", "int64", Role::dtype},
    {"torch", "int32", Role::dtype},
    {"torch", "int16", Role::dtype},
    {"torch", "uint8", Role::dtype},
    {"torch", "bool", Role::dtype},
};

// Instructions, by their names in Python's pickletools.
enum Op : uint8_t {
  op_mark = '(',
  op_stop = '.',
  op_pop = '0',
  op_pop_mark = '1',
  op_dup = '2',
  op_none = 'N',
  op_newtrue = 0x88,
  op_newfalse = 0x89,
  op_binint = 'J',
  op_binint1 = 'K',
  op_binint2 = 'M',
  op_long1 = 0x8a,
  op_long4 = 0x8b,
  op_binfloat = 'G',
  op_short_binunicode = 0x8c,
  op_binunicode = 'X',
  op_binunicode8 = 0x8d,
  op_empty_list = ']',
  op_append = 'a',
  op_appends = 'e',
  op_list = 'l',
  op_empty_tuple = ')',
  op_tuple = 't',
  op_tuple1 = 0x85,
  op_tuple2 = 0x86,
  op_tuple3 = 0x87,
  op_empty_dict = '}',
  op_dict = 'd',
  op_setitem = 's',
  op_setitems = 'u',
  op_binput = 'q',
  op_long_binput = 'r',
  op_memoize = 0x94,
  op_binget = 'h',
  op_long_binget = 'j',
  op_global = 'c',
  op_inst = 'i',
  op_stack_global = 0x93,
  op_reduce = 'R',
  op_build = 'b',
  op_binpersid = 'Q',
  op_proto = 0x80,
  op_frame = 0x95,
};

class Machine {
 public:
  Machine(std::span<const std::byte> code, const std::string& name) : code_(code), name_(name) {
    if (code.size() > longest_pickle)
      fail(str("its pickle has ", code.size(), " bytes, a state dict's has less than ",
               longest_pickle));
  }

  // The object that is left.
  Id run() {
    if (next<uint8_t>() != op_proto) fail("its data.pkl is no pickle");
    protocol();
    for (;;) {
      const auto op = next<uint8_t>();
      if (op == op_stop) return pop();
      const bool known = scalar(op) || container(op) || memory(op) || call(op);
      if (!known) {
        fail(str(
            "instruction ", static_cast<int>(op), " of its pickle is none that tensors in plain ",
            "containers need; save the state dict alone: torch.save(model.state_dict(), FILE)"));
      }
    }
  }
  std::vector<Object> take_objects() { return std::move(objects_); }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(str(name_, " cannot be read: ", what));
  }
  [[noreturn]] void refuse(std::string_view module, std::string_view name) const {
    fail(str("it holds ", printable(module), ".", printable(name),
             ", which only Python could make by running code; save the state dict alone: "
             "torch.save(model.state_dict(), FILE)"));
  }

  // --- the code --------------------------------------------------------------------------------
  std::span<const std::byte> bytes(uint64_t count) {
    if (count > code_.size() - at_) fail("its pickle is cut");
    const auto part = code_.subspan(at_, count);
    at_ += count;
    return part;
  }
  template <class T>
  T next() {
    return load<T>(bytes(sizeof(T)));
  }
  std::string_view text(uint64_t count) {
    const auto part = bytes(count);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  std::string_view line() {
    const auto rest = code_.subspan(at_);
    const auto end = std::ranges::find(rest, std::byte{'\n'});
    if (end == rest.end()) fail("its pickle is cut");
    const std::string_view found = text(static_cast<uint64_t>(end - rest.begin()));
    ++at_;
    return found;
  }
  void protocol() {
    const auto version = next<uint8_t>();
    constexpr uint8_t oldest = 2, newest = 5;
    if (version < oldest || version > newest)
      fail(str("its pickle is of protocol ", static_cast<int>(version), ", not 2 to 5"));
  }

  // --- the stack -------------------------------------------------------------------------------
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Id top() const {
    if (stack_.size() <= floor()) fail("its pickle takes more than it has");
    return stack_.back();
  }
  Id pop() {
    const Id id = top();
    stack_.pop_back();
    return id;
  }
  // All down to the last mark.
  std::vector<Id> pop_marked() {
    if (marks_.empty()) fail("its pickle takes more than it has");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<Id> pop_count(size_t count) {
    if (stack_.size() - floor() < count) fail("its pickle takes more than it has");
    const auto begin = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<Id> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    return items;
  }
  bool push(Object object) {
    if (objects_.size() >= most_objects)
      fail(str("it has more than ", most_objects,
               " objects; save the state dict alone: torch.save(model.state_dict(), FILE)"));
    objects_.push_back(std::move(object));
    return push(static_cast<Id>(objects_.size() - 1));
  }
  bool push(Id id) {
    stack_.push_back(id);
    return true;
  }
  Object& target(Kind kind) {
    Object& object = objects_[top()];
    if (object.kind != kind) fail("its pickle puts items into what is no container of theirs");
    return object;
  }
  const Object& expect(Id id, Kind kind, const char* what) const {
    const Object& object = objects_[id];
    if (object.kind != kind) fail(str("its pickle has something else where ", what, " should be"));
    return object;
  }

  // --- the instructions: each returns whether it was one of its ---------------------------------
  bool scalar(uint8_t op) {
    const auto integer = [&](int64_t v) { return push({.kind = Kind::integer, .value = v}); };
    const auto words = [&](uint64_t n) { return push({.kind = Kind::text, .text = text(n)}); };
    switch (op) {
      case op_none:
        return push({.kind = Kind::none});
      case op_newtrue:
      case op_newfalse:
        return push({.kind = Kind::number});
      case op_binfloat:
        bytes(sizeof(double));
        return push({.kind = Kind::number});
      case op_binint:
        return integer(next<int32_t>());
      case op_binint1:
        return integer(next<uint8_t>());
      case op_binint2:
        return integer(next<uint16_t>());
      case op_long1:
        return long_integer(next<uint8_t>());
      case op_long4:
        return long_integer(next<uint32_t>());
      case op_short_binunicode:
        return words(next<uint8_t>());
      case op_binunicode:
        return words(next<uint32_t>());
      case op_binunicode8:
        return words(next<uint64_t>());
      default:
        return false;
    }
  }

  // Two's complement, little-endian, of any length.
  bool long_integer(uint64_t length) {
    const auto digits = bytes(length);
    if (length > sizeof(int64_t)) return push({.kind = Kind::number});
    uint64_t value = 0;
    for (size_t i = 0; i < length; ++i) value |= std::to_integer<uint64_t>(digits[i]) << (8 * i);
    const bool negative = length > 0 && (digits.back() & std::byte{0x80}) != std::byte{0};
    if (negative && length < sizeof(int64_t)) value |= ~uint64_t{0} << (8 * length);
    return push({.kind = Kind::integer, .value = static_cast<int64_t>(value)});
  }

  bool container(uint8_t op) {
    const auto holding = [&](Kind kind, std::vector<Id> items) {
      return push({.kind = kind, .items = std::move(items)});
    };
    switch (op) {
      case op_mark:
        marks_.push_back(stack_.size());
        return true;
      case op_empty_list:
        return holding(Kind::list, {});
      case op_empty_tuple:
        return holding(Kind::tuple, {});
      case op_empty_dict:
        return holding(Kind::dict, {});
      case op_list:
        return holding(Kind::list, pop_marked());
      case op_tuple:
        return holding(Kind::tuple, pop_marked());
      case op_tuple1:
      case op_tuple2:
      case op_tuple3:
        return holding(Kind::tuple, pop_count(op - op_tuple1 + size_t{1}));
      case op_dict: {
        std::vector<Id> items = pop_marked();
        holding(Kind::dict, {});
        return extend(Kind::dict, std::move(items));
      }
      case op_append:
        return extend(Kind::list, pop_count(1));
      case op_appends:
        return extend(Kind::list, pop_marked());
      case op_setitem:
        return extend(Kind::dict, pop_count(2));
      case op_setitems:
        return extend(Kind::dict, pop_marked());
      default:
        return false;
    }
  }

  bool extend(Kind kind, std::vector<Id> items) {
    if (kind == Kind::dict && items.size() % 2 != 0) fail("its pickle has a key without a value");
    std::vector<Id>& held = target(kind).items;
    held.insert(held.end(), items.begin(), items.end());
    return true;
  }

  bool memory(uint8_t op) {
    switch (op) {
      case op_pop:
        pop();
        return true;
      case op_pop_mark:
        pop_marked();
        return true;
      case op_dup:
        return push(top());
      case op_binput:
        return remember(next<uint8_t>());
      case op_long_binput:
        return remember(next<uint32_t>());
      case op_memoize:
        return remember(static_cast<uint32_t>(memo_.size()));
      case op_binget:
        return recall(next<uint8_t>());
      case op_long_binget:
        return recall(next<uint32_t>());
      case op_proto:
        protocol();
        return true;
      case op_frame:
        if (next<uint64_t>() > code_.size() - at_) fail("its pickle is cut");
        return true;
      default:
        return false;
    }
  }
  bool remember(uint32_t place) {
    if (memo_.size() >= most_objects) fail("its pickle remembers too much");
    memo_[place] = top();
    return true;
  }
  bool recall(uint32_t place) {
    const auto found = memo_.find(place);
    if (found == memo_.end()) fail("its pickle recalls what it never had");
    return push(found->second);
  }

  bool call(uint8_t op) {
    switch (op) {
      case op_global:
      case op_inst: {
        const std::string_view module = line(), name = line();
        if (op == op_inst) refuse(module, name);
        return push_known(module, name);
      }
      case op_stack_global: {
        const std::vector<Id> names = pop_count(2);
        return push_known(expect(names[0], Kind::text, "a name").text,
                          expect(names[1], Kind::text, "a name").text);
      }
      case op_reduce: {
        const std::vector<Id> both = pop_count(2);
        const Known& known = table[expect(both[0], Kind::type, "a function").value];
        return reduce(known, expect(both[1], Kind::tuple, "arguments").items);
      }
      case op_build:
        // An OrderedDict's own attributes, which PyTorch gives a state dict: versions of layers.
        expect(pop(), Kind::dict, "attributes");
        target(Kind::dict);
        return true;
      case op_binpersid:
        return storage(expect(pop(), Kind::tuple, "a storage").items);
      default:
        return false;
    }
  }

  bool push_known(std::string_view module, std::string_view name) {
    const auto* const found = std::ranges::find_if(
        table, [&](const Known& k) { return k.module == module && k.name == name; });
    if (found == std::end(table)) refuse(module, name);
    return push({.kind = Kind::type, .dtype = found->dtype, .value = found - std::begin(table)});
  }

  // What calling the function would give. `arguments` must not be used after push().
  bool reduce(const Known& known, const std::vector<Id>& arguments) {
    constexpr size_t tensor_arguments = 4;  // that matter
    if (known.role == Role::ordered_dict && arguments.empty()) return push({.kind = Kind::dict});
    if (known.role == Role::size && arguments.size() == 1) {
      expect(arguments[0], Kind::tuple, "sizes");
      return push(Id{arguments[0]});
    }
    if (known.role == Role::rebuild_parameter && !arguments.empty()) {
      expect(arguments[0], Kind::tensor, "a tensor");
      return push(Id{arguments[0]});
    }
    if (known.role == Role::rebuild_tensor && arguments.size() >= tensor_arguments) {
      expect(arguments[0], Kind::storage, "a storage");
      expect(arguments[1], Kind::integer, "an offset");
      expect(arguments[2], Kind::tuple, "sizes");
      expect(arguments[3], Kind::tuple, "strides");
      return push({.kind = Kind::tensor,
                   .items = {arguments.begin(), arguments.begin() + tensor_arguments}});
    }
    fail(str("it calls ", known.module, ".", known.name, " with other arguments than PyTorch's"));
  }

  // ("storage", class, key, location, elements)
  bool storage(const std::vector<Id>& id) {
    constexpr size_t parts = 5;
    if (id.size() != parts || expect(id[0], Kind::text, "a storage").text != "storage")
      fail("it has a persistent object that is no storage");
    const Object& type = expect(id[1], Kind::type, "the type of a storage");
    if (table[type.value].role != Role::storage)
      fail("its pickle has something else where the type of a storage should be");
    return push({.kind = Kind::storage,
                 .dtype = type.dtype,
                 .value = expect(id[4], Kind::integer, "the size of a storage").value,
                 .text = expect(id[2], Kind::text, "the name of a storage").text});
  }

  std::span<const std::byte> code_;
  const std::string& name_;
  size_t at_ = 0;
  std::vector<Object> objects_;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::unordered_map<uint32_t, Id> memo_;
};

}  // namespace

TorchPickle::TorchPickle(std::span<const std::byte> pickle, const std::string& name) {
  Machine machine(pickle, name);
  root_ = machine.run();
  objects_ = machine.take_objects();
}

const TorchPickle::Object* TorchPickle::find(const Object& dict, std::string_view key) const {
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Object& k = objects_[dict.items[i]];
    if (k.kind == Kind::text && k.text == key) return &objects_[dict.items[i + 1]];
  }
  return nullptr;
}

std::string printable(std::string_view text) {
  constexpr size_t longest = 80;
  std::string result(text.substr(0, longest));
  std::ranges::replace_if(
      result, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text.size() > longest ? result + "..." : result;
}

}  // namespace unetd

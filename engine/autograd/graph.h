// A recorded computation. Operations (ops.h) append nodes and values; nothing runs until a Session
// (session.h) executes the list. Differentiation appends more nodes to the same list: each
// operation leaves a closure that, given the gradient of its result, records how its inputs'
// gradients arise. What a backward node reads stays alive until then; there is no other notion of
// "saved" tensors.
#pragma once

#include "engine/memory/buffer.h"
#include "engine/op/registry.h"
#include "engine/tensor/layout.h"

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace unetd {

// A value of one graph: an index into its list. An absent optional value has id -1.
struct Value {
  int id = -1;
  explicit operator bool() const { return id >= 0; }
  bool operator==(const Value&) const = default;
};

// A selected kernel with its problem, ready for pointers. Made by a node, owned by a session.
class BoundKernel {
 public:
  virtual ~BoundKernel() = default;
  virtual std::string_view implementation() const = 0;
  virtual size_t workspace() const = 0;
  virtual void run(In in, Out out, void* workspace, Stream& stream) const = 0;
};

class Graph {
 public:
  enum class Role : uint8_t {
    activation,  // memory from the plan, valid between its first and its last use
    input,       // written from outside before a run
    output,      // readable after a run
    external,    // lies in a buffer that outlives the session: parameters, optimiser state
  };
  struct ValueInfo {
    std::string name;
    Shape shape;
    DType dtype = DType::f32;
    Kind kind = Kind::features;
    Role role = Role::activation;
    std::shared_ptr<Buffer> buffer = {};  // external only
    int64_t offset = 0;                   // external only: elements from the buffer's start
    bool needs_grad = false;
    bool has_gaps = false;  // NaN stands for what is missing, and is no fault
  };
  struct Node {
    std::vector<Value> in, out;
    virtual ~Node() = default;
    virtual const char* problem() const = 0;
    virtual std::unique_ptr<BoundKernel> bind(DeviceType, const KernelChoice&) const = 0;
    // The names of the implementations that may compete by speed, in order of preference: those
    // that take the problem, but for who rounds more than the contract (registry.h).
    virtual std::vector<std::string_view> takers(DeviceType, const KernelChoice&) const = 0;
    virtual std::string identity() const = 0;  // of the problem (identity_of)
  };

  Value value(Shape shape, DType dtype, std::string name, Kind kind = Kind::features);
  Value input(Shape shape, DType dtype, std::string name, Kind kind = Kind::features);
  // Part of `buffer`, from element `offset` on, in the layout of the session's device.
  Value external(std::shared_ptr<Buffer> buffer, int64_t offset, Shape shape, DType dtype,
                 std::string name, Kind kind = Kind::dense);
  // Keeps an activation readable after the run.
  void mark_output(Value v);
  void mark_gaps(Value v);  // ValueInfo::has_gaps

  template <class P>
  void emit(const P& problem, std::initializer_list<Value> in, std::initializer_list<Value> out) {
    nodes_.push_back(make_node(problem, in, out));
  }
  // A node that is on no list yet.
  template <class P>
  static std::unique_ptr<Node> make_node(const P& problem, const std::vector<Value>& in,
                                         const std::vector<Value>& out) {
    auto node = std::make_unique<OpNode<P>>(problem);
    node->in = in;
    node->out = out;
    std::erase(node->in, Value{});  // optional ones that are absent are left out
    std::erase(node->out, Value{});
    return node;
  }

  // --- differentiation -------------------------------------------------------------------------
  // Asks for the gradient of an input or parameter. With `target` it is written there (a part of
  // the flat gradient buffer) instead of into an activation.
  void require_grad(Value x, Value target = {});
  bool needs_grad(Value x) const { return x && info(x).needs_grad; }
  // `record` appends the nodes that turn the gradient of y into gradients of its inputs. It is kept
  // only if one of `inputs` needs a gradient; y then needs one, too.
  using Record = std::function<void(Graph&, Value dy)>;
  void on_backward(Value y, std::initializer_list<Value> inputs, Record record);
  // Where the next contribution to the gradient of x is to be written; then tell add_grad.
  Value new_grad(Value x);
  // dx is a contribution to the gradient of x; a second one records a sum.
  void add_grad(Value x, Value dx);
  // y, a scalar loss that comes with its own gradient, is what backward() starts from, or a term of
  // that: it gets no gradient from outside, but is to be visited.
  void reach(Value y);
  // Records the backward pass from y, whose gradient is `dy`: for a scalar loss that comes with its
  // own gradient, none. Values are visited last recorded first, a reverse topological order.
  void backward(Value y, Value dy = {});
  // The gradient of x after backward(), or an absent value if y does not depend on x.
  Value grad(Value x) const;

  const ValueInfo& info(Value v) const;
  std::span<const ValueInfo> values() const { return values_; }
  std::span<const std::unique_ptr<Node>> nodes() const { return nodes_; }
  // The node's problem if it is a P, else null.
  template <class P>
  static const P* problem_as(const Node& node) {
    const auto* const op = dynamic_cast<const OpNode<P>*>(&node);
    return op == nullptr ? nullptr : &op->p_;
  }

 private:
  template <class P>
  struct OpNode final : Node {
    explicit OpNode(const P& p) : p_(p) {}
    const char* problem() const override { return P::name; }
    std::unique_ptr<BoundKernel> bind(DeviceType device,
                                      const KernelChoice& choice) const override {
      return std::make_unique<Bound>(p_, select(p_, device, choice));
    }
    std::vector<std::string_view> takers(DeviceType device,
                                         const KernelChoice& choice) const override {
      std::vector<std::string_view> names;
      for (const Impl<P>* impl : unetd::takers(p_, device, choice)) {
        if (!impl->rounds_to_storage) names.push_back(impl->name);
      }
      return names;
    }
    std::string identity() const override { return identity_of(p_); }
    struct Bound final : BoundKernel {
      Bound(const P& p, const Impl<P>& impl)
          : p_(p), implementation_(impl.name), kernel_(impl.make(p)) {}
      std::string_view implementation() const override { return implementation_; }
      size_t workspace() const override { return kernel_->workspace(); }
      void run(In in, Out out, void* workspace, Stream& stream) const override {
        kernel_->run(p_.bind(in, out), workspace, stream);
      }
      P p_;
      std::string_view implementation_;
      std::unique_ptr<Kernel<P>> kernel_;
    };
    P p_;
  };

  Value append(ValueInfo info);

  struct Gradient {
    Record record;
    Value target, current;
    bool target_given = false, reached = false;
  };
  std::vector<ValueInfo> values_;
  std::vector<Gradient> gradients_;  // one per value
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace unetd

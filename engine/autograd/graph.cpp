#include "engine/autograd/graph.h"

#include "engine/op/pointwise.h"

namespace unetd {

Value Graph::append(ValueInfo info) {
  values_.push_back(std::move(info));
  gradients_.emplace_back();
  return {static_cast<int>(values_.size()) - 1};
}

const Graph::ValueInfo& Graph::info(Value v) const {
  UNETD_CHECK(v.id >= 0 && static_cast<size_t>(v.id) < values_.size(), "value ", v.id,
              " is not of this graph");
  return values_[static_cast<size_t>(v.id)];
}

Value Graph::value(Shape shape, DType dtype, std::string name, Kind kind) {
  return append({.name = std::move(name), .shape = shape, .dtype = dtype, .kind = kind});
}

Value Graph::input(Shape shape, DType dtype, std::string name, Kind kind) {
  return append(
      {.name = std::move(name), .shape = shape, .dtype = dtype, .kind = kind, .role = Role::input});
}

Value Graph::external(std::shared_ptr<Buffer> buffer, int64_t offset, Shape shape, DType dtype,
                      std::string name, Kind kind) {
  return append({.name = std::move(name),
                 .shape = shape,
                 .dtype = dtype,
                 .kind = kind,
                 .role = Role::external,
                 .buffer = std::move(buffer),
                 .offset = offset});
}

void Graph::mark_output(Value v) {
  const ValueInfo& known = info(v);
  if (known.role == Role::activation) values_[static_cast<size_t>(v.id)].role = Role::output;
}

void Graph::mark_gaps(Value v) { values_[static_cast<size_t>(v.id)].has_gaps = true; }

void Graph::require_grad(Value x, Value target) {
  UNETD_CHECK(x, "no value to differentiate by");
  values_[static_cast<size_t>(x.id)].needs_grad = true;
  gradients_[static_cast<size_t>(x.id)].target = target;
}

void Graph::on_backward(Value y, std::initializer_list<Value> inputs, Record record) {
  for (const Value x : inputs) {
    if (!needs_grad(x)) continue;
    values_[static_cast<size_t>(y.id)].needs_grad = true;
    gradients_[static_cast<size_t>(y.id)].record = std::move(record);
    return;
  }
}

Value Graph::new_grad(Value x) {
  Gradient& gradient = gradients_[static_cast<size_t>(x.id)];
  // The fixed address goes to one contribution only, also when an operation asks twice (x + x).
  if (gradient.target && !std::exchange(gradient.target_given, true)) return gradient.target;
  const ValueInfo like = info(x);
  const DType dtype = like.kind == Kind::features ? like.dtype : wide_type(like.dtype);
  return value(like.shape, dtype, like.name + ".grad", like.kind);
}

void Graph::add_grad(Value x, Value dx) {
  const auto current = [&]() -> Value& { return gradients_[static_cast<size_t>(x.id)].current; };
  if (!current()) {
    current() = dx;
    return;
  }
  const ValueInfo like = info(x);
  // A sum goes to a value of its own: the first contribution may also be the gradient of something
  // else. Parameters sum in place, since their gradient has one fixed address.
  const Value target = gradients_[static_cast<size_t>(x.id)].target;
  const Value sum =
      target ? target : value(like.shape, like.dtype, like.name + ".grad_sum", like.kind);
  UNETD_CHECK(like.kind == Kind::features, like.name, " has gradients from two places");
  const bool in_place = sum == dx;  // a sum may be written over its first term only
  emit(Add{like.shape, like.dtype}, {in_place ? dx : current(), in_place ? current() : dx}, {sum});
  current() = sum;
}

void Graph::reach(Value y) { gradients_[static_cast<size_t>(y.id)].reached = true; }

void Graph::backward(Value y, Value dy) {
  gradients_[static_cast<size_t>(y.id)].current = dy;
  reach(y);
  for (int id = y.id; id >= 0; --id) {
    const size_t at = static_cast<size_t>(id);
    const bool reached = gradients_[at].current || gradients_[at].reached;
    if (!reached || !gradients_[at].record) continue;
    const Record record = gradients_[at].record;  // a copy: recording grows the list
    record(*this, gradients_[at].current);
  }
  for (Gradient& g : gradients_) g.record = nullptr;
}

Value Graph::grad(Value x) const {
  (void)info(x);  // checks the index
  return gradients_[static_cast<size_t>(x.id)].current;
}

}  // namespace unetd

#include "engine/autograd/fusion.h"

#include "engine/op/batch_norm.h"
#include "engine/op/batch_norm_pool.h"
#include "engine/op/conv2d.h"
#include "engine/op/conv2d_norm_grad.h"
#include "engine/op/conv2d_stats.h"
#include "engine/op/maxpool2x2.h"
#include "engine/op/pointwise.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace unetd {
namespace {

using Node = Graph::Node;
using Role = Graph::Role;

// The list that is being rewritten, with the tables that rules look things up in.
class Rewriter {
 public:
  Rewriter(const Graph& graph, DeviceType device, const KernelChoice& choice)
      : graph_(graph), device_(device), choice_(choice) {
    for (const auto& node : graph.nodes()) list_.nodes.push_back(node.get());
    index();
  }

  const std::vector<const Node*>& nodes() const { return list_.nodes; }
  NodeList result() && { return std::move(list_); }

  // The node that writes v if its problem is a P and nothing else writes v, else null.
  template <class P>
  const Node* writer(Value v) const {
    const std::vector<const Node*>& all = uses(v).writers;
    const bool one = steady(v) && all.size() == 1;
    return one && Graph::problem_as<P>(*all.front()) != nullptr ? all.front() : nullptr;
  }
  // The same, if v is read once and need not exist when that is done some other way.
  template <class P>
  const Node* only_for_reader(Value v) const {
    const bool passing = graph_.info(v).role == Role::activation && uses(v).readers == 1;
    return passing ? writer<P>(v) : nullptr;
  }
  // Is v, once written, the same at every later node?
  bool steady(Value v) const {
    const Role role = graph_.info(v).role;
    return role != Role::external && uses(v).writers.size() <= (role == Role::input ? 0 : 1);
  }
  bool needed(Value v) const {
    return graph_.info(v).role != Role::activation || uses(v).readers > 0;
  }

  // May `fused` take the place of `parts`?
  template <class P, class... Parts>
  bool takes(const P& fused, const Parts&... parts) const {
    if ((choice_.names(Parts::name) || ...)) return false;
    const std::string_view forced = choice_.forced(P::name);
    if (forced == "none") return false;
    if (choice_.names(P::name) && !forced.starts_with('-')) {
      (void)select(fused, device_, choice_);  // throws if it is not there
      return true;
    }
    const std::string_view name = implementation(fused);
    return !name.empty() && ((name == implementation(parts)) && ...);
  }

  // Puts a node of problem `fused` where `place`, one of `parts`, stands, and removes the parts.
  template <class P>
  void replace(std::initializer_list<const Node*> parts, const Node* place, const P& fused,
               const std::vector<Value>& in, const std::vector<Value>& out) {
    list_.made.push_back(Graph::make_node(fused, in, out));
    const Node* const node = list_.made.back().get();
    std::ranges::replace(list_.nodes, place, node);
    std::erase_if(list_.nodes, [&](const Node* n) { return std::ranges::count(parts, n) > 0; });
    index();
  }

 private:
  struct Uses {
    std::vector<const Node*> writers;
    int readers = 0;
  };
  const Uses& uses(Value v) const { return uses_[static_cast<size_t>(v.id)]; }

  // The name of the one that would be chosen, or nothing.
  template <class P>
  std::string_view implementation(const P& problem) const {
    const std::vector<const Impl<P>*> found = takers(problem, device_, choice_);
    return found.empty() ? std::string_view() : found.front()->name;
  }

  void index() {
    uses_.assign(graph_.values().size(), {});
    for (const Node* node : list_.nodes) {
      for (const Value v : node->in) ++uses_[static_cast<size_t>(v.id)].readers;
      for (const Value v : node->out) uses_[static_cast<size_t>(v.id)].writers.push_back(node);
    }
  }

  const Graph& graph_;
  DeviceType device_;
  const KernelChoice& choice_;
  NodeList list_;
  std::vector<Uses> uses_;  // one per value
};

// A rule looks whether its pattern ends in a node, and says whether it has rewritten it.
using Rule = bool (*)(Rewriter&, const Node&);

// The skip connection is written where it was; the pooled image comes earlier than it would have.
bool fuse_apply_pool(Rewriter& list, const Node& pool) {
  const auto* const pooling = Graph::problem_as<MaxPool2x2>(pool);
  if (pooling == nullptr || list.needed(pool.out[1])) return false;  // a gradient reads argmax
  const Node* const apply = list.writer<BatchNormApply>(pool.in[0]);
  if (apply == nullptr) return false;
  const BatchNormApply& norm = *Graph::problem_as<BatchNormApply>(*apply);
  const BatchNormApplyPool fused{norm.shape, norm.dtype};
  if (!norm.relu || !list.takes(fused, norm, *pooling)) return false;
  list.replace({apply, &pool}, apply, fused, apply->in, {apply->out[0], pool.out[0]});
  return true;
}

// Does `apply` compute, from the same values, the y of which `grad` takes the gradient?
bool same_norm(const Node& apply, const Node& grad) {
  const auto& forward = *Graph::problem_as<BatchNormApply>(apply);
  const auto& backward = *Graph::problem_as<BatchNormGrad>(grad);
  const std::vector<Value>&a = apply.in, &g = grad.in;  // g[1] is dy
  return forward.relu && backward.relu && a == std::vector<Value>{g[0], g[2], g[3], g[4], g[5]};
}

bool fuse_pool_grad(Rewriter& list, const Node& norm_grad) {
  const auto* const norm = Graph::problem_as<BatchNormGrad>(norm_grad);
  if (norm == nullptr) return false;
  const std::vector<Value>& in = norm_grad.in;
  const Node* const sum = list.only_for_reader<Add>(in[1]);
  if (sum == nullptr) return false;
  for (const size_t side : {size_t{0}, size_t{1}}) {  // gradients add up in either order
    const Node* const unpool = list.only_for_reader<MaxPool2x2Grad>(sum->in[side]);
    const Node* const pool = unpool ? list.writer<MaxPool2x2>(unpool->in[1]) : nullptr;
    const Node* const apply = pool ? list.writer<BatchNormApply>(pool->in[0]) : nullptr;
    if (apply == nullptr || !same_norm(*apply, norm_grad)) continue;
    const Value skip = sum->in[1 - side], pooled = unpool->in[0];  // are read later than before
    if (!list.steady(skip) || !list.steady(pooled)) return false;
    const BatchNormPoolGrad fused{norm->shape, norm->dtype};
    if (!list.takes(fused, *Graph::problem_as<MaxPool2x2Grad>(*unpool),
                    *Graph::problem_as<Add>(*sum), *norm)) {
      return false;
    }
    list.replace({unpool, sum, &norm_grad}, &norm_grad, fused,
                 {in[0], skip, pooled, in[2], in[3], in[4], in[5]}, norm_grad.out);
    return true;
  }
  return false;
}

// The statistics come earlier than they would have; running ones are read by nobody in between.
bool fuse_conv_stats(Rewriter& list, const Node& stats) {
  const auto* const norm = Graph::problem_as<BatchNormStats>(stats);
  const Node* const conv = norm ? list.writer<Conv2d>(stats.in[0]) : nullptr;
  if (conv == nullptr) return false;
  const Conv2d& c = *Graph::problem_as<Conv2d>(*conv);
  const Conv2dStats fused{c.geometry, norm->eps, norm->momentum, c.bias, c.dtype};
  if (c.relu || !list.takes(fused, c, *norm)) return false;
  std::vector<Value> out = conv->out;
  out.insert(out.end(), stats.out.begin(), stats.out.end());
  list.replace({conv, &stats}, conv, fused, conv->in, out);
  return true;
}

// The norm's gradients come earlier than they would have; nothing reads them in between.
bool fuse_conv_norm_grad(Rewriter& list, const Node& norm_grad) {
  const auto* const norm = Graph::problem_as<BatchNormGrad>(norm_grad);
  if (norm == nullptr || !norm->relu) return false;
  const std::vector<Value>& in = norm_grad.in;  // in[1] is dy
  const Node* const conv = list.only_for_reader<Conv2dDataGrad>(in[1]);
  if (conv == nullptr) return false;
  const Conv2dDataGrad& c = *Graph::problem_as<Conv2dDataGrad>(*conv);
  const Conv2dNormGrad fused{c.geometry, c.dtype};
  if (!list.takes(fused, c, *norm)) return false;
  std::vector<Value> from = conv->in, out = conv->out;
  for (const size_t i : {size_t{0}, size_t{2}, size_t{3}, size_t{4}, size_t{5}})
    from.push_back(in[i]);
  out.insert(out.end(), norm_grad.out.begin(), norm_grad.out.end());
  list.replace({conv, &norm_grad}, conv, fused, from, out);
  return true;
}

// In this order: argmax is read until the gradients are fused.
constexpr Rule rules[] = {fuse_pool_grad, fuse_apply_pool, fuse_conv_stats, fuse_conv_norm_grad};

bool rewrite_once(Rewriter& list, Rule rule) {
  for (const Node* const node : std::vector(list.nodes())) {
    if (rule(list, *node)) return true;
  }
  return false;
}

}  // namespace

NodeList fuse(const Graph& graph, DeviceType device, const KernelChoice& choice) {
  Rewriter list(graph, device, choice);
  for (const Rule rule : rules) {
    while (rewrite_once(list, rule)) {
    }
  }
  return std::move(list).result();
}

}  // namespace unetd

#include "kernels/cuda/conv_pieces.h"
#include "kernels/cudnn/graphs.h"
#include "kernels/cudnn/plan_store.h"
#include "kernels/cudnn/register.h"

namespace unetd::cudnn {
namespace {

using SharedPlan = std::shared_ptr<const Plan>;
constexpr DeviceType device = DeviceType::cuda;

// Parts of a workspace start at multiples of what the whole is aligned to.
constexpr size_t aligned(size_t bytes) {
  constexpr size_t alignment = 256;
  return (bytes + alignment - 1) / alignment * alignment;
}

std::byte* at(void* workspace, size_t offset) {
  return static_cast<std::byte*>(workspace) + offset;
}

// Null if cuDNN has none.
SharedPlan find_plan(Graph graph) {
  constexpr int measured = 8;  // later ones of cuDNN's ranking hardly ever win
  return PlanStore::present().get(std::move(graph), MeasuredPlans::wanted() ? measured : 0);
}

SharedPlan plan_of(Graph graph) {
  const std::string text = graph.text();
  SharedPlan plan = find_plan(std::move(graph));
  UNETD_CHECK(plan != nullptr, "cudnn has no plan for ", text);
  return plan;
}

// The graph that a kernel of the problem cannot do without.
template <class P>
Graph bare_graph(const P& p) {
  if constexpr (requires { graph_of(p, false); }) {
    return graph_of(p, false);
  } else {
    return graph_of(p);
  }
}

template <class P>
const char* reject(const P& p) {
  if (p.dtype != DType::f32 && p.dtype != DType::bf16 && p.dtype != DType::f16) {
    return "only f32, bf16 and f16";
  }
  // What cuDNN says about a geometry that it refuses; read before this thread asks again.
  static thread_local std::string reason;
  PlanStore& plans = PlanStore::present();
  try {
    return plans.get(bare_graph(p)) ? nullptr : "cuDNN has no plan for it";
  } catch (const Error& e) {
    reason = e.what();
    return reason.c_str();
  }
}

template <class P>
bool relu_of(const P& p) {
  if constexpr (requires { p.relu; }) {
    return p.relu;
  } else {
    return false;
  }
}

// What the fused graph of a transposed convolution wants beforehand: its filter in the workspace,
// channels swapped (graphs.h).
size_t swapped_filter_bytes(const Conv2d&) { return 0; }
size_t swapped_filter_bytes(const ConvTranspose2x2& p) {
  return aligned(static_cast<size_t>(p.geometry.filter().count()) * size_of(p.dtype));
}
void swap_filter(const Conv2d&, const void*, void*, const Stream&) {}
void swap_filter(const ConvTranspose2x2& p, const void* w, void* swapped, const Stream& stream) {
  const Shape filter = p.geometry.filter();
  swap_channels<device>(swapped, w, p.dtype, filter.n, filter.h * filter.w, filter.c, stream);
}

template <class P>
class ForwardKernel final : public Kernel<P> {
 public:
  explicit ForwardKernel(const P& p) : problem_(p) {
    if (p.bias || relu_of(p)) plan_ = find_plan(graph_of(p, true));
    fused_ = plan_ != nullptr;
    if (!fused_) plan_ = plan_of(graph_of(p, false));
    filter_bytes_ = fused_ ? swapped_filter_bytes(p) : 0;
  }

  size_t workspace() const override { return filter_bytes_ + plan_->workspace(); }

  void run(const typename P::Buffers& b, void* workspace, Stream& stream) const override {
    if (filter_bytes_ > 0) swap_filter(problem_, b.w, workspace, stream);
    std::vector<const void*> pointers{b.x, filter_bytes_ > 0 ? workspace : b.w};
    if (fused_ && problem_.bias) pointers.push_back(b.bias);
    pointers.push_back(b.y);
    plan_->run(pointers, at(workspace, filter_bytes_), stream);
    if (fused_ || !(problem_.bias || relu_of(problem_))) return;
    const Shape y = problem_.geometry.y();
    add_bias<device>(b.y, b.bias, relu_of(problem_), problem_.dtype, y.pixels(), y.c, stream);
  }

 private:
  P problem_;
  SharedPlan plan_;
  bool fused_ = false;
  size_t filter_bytes_ = 0;
};

template <class P>
class DataGradKernel final : public Kernel<P> {
 public:
  explicit DataGradKernel(const P& p) : plan_(plan_of(graph_of(p))) {}

  size_t workspace() const override { return plan_->workspace(); }

  void run(const typename P::Buffers& b, void* workspace, Stream& stream) const override {
    const void* const pointers[] = {b.dy, b.w, b.dx};
    plan_->run(pointers, workspace, stream);
  }

 private:
  SharedPlan plan_;
};

// The workspace holds dw in a 16-bit storage type, then what cuDNN needs or, after it is done, the
// partial sums of dbias.
template <class P>
class WeightGradKernel final : public Kernel<P> {
 public:
  explicit WeightGradKernel(const P& p) : problem_(p), plan_(plan_of(graph_of(p))) {}

  size_t workspace() const override {
    const Shape dy = problem_.geometry.y();
    const size_t sums = problem_.bias ? channel_sums_workspace<device>(dy.pixels(), dy.c) : 0;
    return narrow_bytes() + std::max(plan_->workspace(), sums);
  }

  void run(const typename P::Buffers& b, void* workspace, Stream& stream) const override {
    const bool narrow = narrow_bytes() > 0;
    void* const dw = narrow ? workspace : b.dw;
    void* const rest = at(workspace, narrow_bytes());
    const void* const pointers[] = {b.x, b.dy, dw};
    plan_->run(pointers, rest, stream);
    if (narrow) {
      widen<device>(static_cast<float*>(b.dw), dw, problem_.dtype,
                    problem_.geometry.filter().count(), stream);
    }
    if (!problem_.bias) return;
    const Shape dy = problem_.geometry.y();
    channel_sums<device>(static_cast<float*>(b.dbias), b.dy, problem_.dtype, dy.pixels(), dy.c,
                         rest, stream);
  }

 private:
  size_t narrow_bytes() const {
    if (problem_.dtype == DType::f32) return 0;
    const int64_t count = problem_.geometry.filter().count();
    return aligned(static_cast<size_t>(count) * size_of(problem_.dtype));
  }

  P problem_;
  SharedPlan plan_;
};

// --- with batch norm

// Why cuDNN's graphs of a convolution with parts of a batch norm decline.
template <class P>
const char* reject_norm(const P& p) {
  constexpr int64_t channels = 8;  // of 16 bytes
  const ConvGeometry& g = p.geometry;
  if (p.dtype != DType::f16) return "only f16";
  if (g.x.c % channels != 0 || g.k % channels != 0)
    return "only channels in multiples of 8: pad them";
  return reject(p);
}
const char* reject_statistics(const Conv2dStats& p) {
  return p.bias ? "only without bias" : reject_norm(p);
}

// The workspace holds the two sums of each channel, then what cuDNN needs.
class StatisticsKernel final : public Kernel<Conv2dStats> {
 public:
  explicit StatisticsKernel(const Conv2dStats& p) : problem_(p), plan_(plan_of(graph_of(p))) {}

  size_t workspace() const override { return 2 * vector_bytes() + plan_->workspace(); }

  void run(const Conv2dStats::Buffers& b, void* workspace, Stream& stream) const override {
    void* const squares = at(workspace, vector_bytes());
    const void* const pointers[] = {b.x, b.w, b.y, workspace, squares};
    plan_->run(pointers, at(workspace, 2 * vector_bytes()), stream);
    statistics_of_sums<device>(problem_, b, static_cast<const float*>(workspace),
                               static_cast<const float*>(squares), stream);
  }

 private:
  size_t vector_bytes() const {
    return aligned(static_cast<size_t>(problem_.geometry.k) * sizeof(float));
  }

  Conv2dStats problem_;
  SharedPlan plan_;
};

// The workspace holds three vectors that cuDNN writes and nobody reads, then what cuDNN needs or,
// after it is done, the coefficients of dx. cuDNN's own three are for dx = a dz + b x + c, where b
// x and c cancel if the mean is large.
class NormGradKernel final : public Kernel<Conv2dNormGrad> {
 public:
  explicit NormGradKernel(const Conv2dNormGrad& p) : problem_(p), plan_(plan_of(graph_of(p))) {}

  size_t workspace() const override {
    return unread * vector_bytes() +
           std::max(plan_->workspace(), norm_gradient_workspace<device>(problem_));
  }

  void run(const Conv2dNormGrad::Buffers& b, void* workspace, Stream& stream) const override {
    std::vector<const void*> pointers{b.dy,   b.w,    b.x,  b.gamma,  b.beta,
                                      b.mean, b.rstd, b.dz, b.dgamma, b.dbeta};
    for (size_t i = 0; i < unread; ++i) pointers.push_back(at(workspace, i * vector_bytes()));
    void* const rest = at(workspace, unread * vector_bytes());
    plan_->run(pointers, rest, stream);
    norm_gradient<device>(problem_, b, rest, stream);
  }

 private:
  static constexpr size_t unread = 3;
  size_t vector_bytes() const {
    return aligned(static_cast<size_t>(problem_.geometry.x.c) * sizeof(float));
  }

  Conv2dNormGrad problem_;
  SharedPlan plan_;
};

// --- registration

template <class P, class K>
void add() {
  add_kernel<P, K>(device, "cudnn", reject<P>);
}

// Filter gradients: those of f32 keep the numerics contract, the others stand behind all that do.
template <class P>
const char* reject_16_bits(const P& p) {
  return p.dtype == DType::f32 ? reject(p) : "rounds gradients of 16-bit types: only by name";
}
template <class P>
const char* reject_f32(const P& p) {
  return p.dtype == DType::f32 ? "only bf16 and f16" : reject(p);
}
template <class P>
void add_weight_grad() {
  add_kernel<P, WeightGradKernel<P>>(device, "cudnn", reject_16_bits<P>);
}
template <class P>
void add_rounding_weight_grad() {
  add_kernel<P, WeightGradKernel<P>>(device, "cudnn", reject_f32<P>, true);
}

}  // namespace

std::string library() { return str("cuDNN ", cudnnGetVersion()); }

void register_conv2d() {
  add<Conv2d, ForwardKernel<Conv2d>>();
  add<Conv2dDataGrad, DataGradKernel<Conv2dDataGrad>>();
  add_weight_grad<Conv2dWeightGrad>();
}

void register_conv_transpose2x2() {
  add<ConvTranspose2x2, ForwardKernel<ConvTranspose2x2>>();
  add<ConvTranspose2x2DataGrad, DataGradKernel<ConvTranspose2x2DataGrad>>();
  add_weight_grad<ConvTranspose2x2WeightGrad>();
}

void register_last() {
  add_rounding_weight_grad<Conv2dWeightGrad>();
  add_rounding_weight_grad<ConvTranspose2x2WeightGrad>();
  // Not yet run on a card, and cuDNN does not say whether its sums are of y before or after it is
  // rounded: so it may be a rounding of the storage type away from the contract.
  add_kernel<Conv2dStats, StatisticsKernel>(device, "cudnn", reject_statistics, true);
  add_kernel<Conv2dNormGrad, NormGradKernel>(device, "cudnn", reject_norm<Conv2dNormGrad>, true);
}

}  // namespace unetd::cudnn

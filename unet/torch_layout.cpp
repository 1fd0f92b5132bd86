#include "unet/torch_layout.h"

namespace unetd {
namespace {

// Calls move(index in our dense order, index in PyTorch's).
template <class Move>
void for_each_element(const ParamSpec& s, Move&& move) {
  size_t ours = 0;
  const int64_t outer = s.shape.n, taps = s.shape.h * s.shape.w, inner = s.shape.c;
  for (int64_t k = 0; k < outer; ++k) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t c = 0; c < inner; ++c, ++ours) {
        const int64_t filter = s.kind == Kind::transposed_filter ? c * outer + k : k * inner + c;
        move(ours, static_cast<size_t>(filter * taps + tap));
      }
    }
  }
}

}  // namespace

std::vector<int64_t> torch_shape(const ParamSpec& s) {
  if (s.kind == Kind::filter) return {s.shape.n, s.shape.c, s.shape.h, s.shape.w};
  if (s.kind == Kind::transposed_filter) return {s.shape.c, s.shape.n, s.shape.h, s.shape.w};
  return {s.shape.c};
}

Tensor to_torch(const ParamSpec& spec, const Tensor& ours) {
  Tensor theirs(spec.shape, DType::f32);
  const auto from = ours.span<float>();
  const auto to = theirs.span<float>();
  for_each_element(spec, [&](size_t a, size_t b) { to[b] = from[a]; });
  return theirs;
}

Tensor from_torch(const ParamSpec& spec, std::span<const float> theirs) {
  Tensor ours(spec.shape, DType::f32);
  UNETD_CHECK(theirs.size() == static_cast<size_t>(spec.shape.count()), spec.name, " from ",
              theirs.size(), " values");
  const auto to = ours.span<float>();
  for_each_element(spec, [&](size_t a, size_t b) { to[a] = theirs[b]; });
  return ours;
}

}  // namespace unetd

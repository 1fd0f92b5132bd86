#include "engine/op/cast.h"

#include "kernels/ref/ref.h"

namespace unetd::ref {
namespace {

// Over the storage as it lies.
void cast(const Cast& p, const Cast::Buffers& b) {
  const int64_t count = storage_count(layout_of(DeviceType::cpu), p.kind, p.shape);
  if (p.dtype == DType::f64) {
    std::copy_n(static_cast<const double*>(b.x), count, static_cast<double*>(b.y));
    return;
  }
  with_storage_type(p.dtype, [&]<class X>(X) {
    with_storage_type(p.to, [&]<class Y>(Y) {
      const X* x = static_cast<const X*>(b.x);
      Y* y = static_cast<Y*>(b.y);
      parallel_for(count, [&](int64_t i) { y[i] = from_float<Y>(to_float(x[i])); });
    });
  });
}

}  // namespace

void register_cast() { add_function<cast, Cast>(DeviceType::cpu, "ref"); }

}  // namespace unetd::ref

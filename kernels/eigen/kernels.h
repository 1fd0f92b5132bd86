// What the files of this folder share beside the matrix products.
#pragma once

#include "engine/op/registry.h"

namespace unetd::eigen {

template <class P>
const char* reject_other_types(const P& p) {
  return p.dtype == DType::f32 ? nullptr : "computes in f32 only";
}

template <class P, class K>
void add() {
  add_kernel<P, K>(DeviceType::cpu, "eigen", reject_other_types<P>);
}

inline const float* floats(const void* p) { return static_cast<const float*>(p); }
inline float* floats(void* p) { return static_cast<float*>(p); }

void register_conv2d();
void register_conv_transpose2x2();

}  // namespace unetd::eigen

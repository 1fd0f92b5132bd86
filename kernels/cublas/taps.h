// A transposed 2x2 convolution is a product with a matrix of taps: (n, h, w, 2, 2, k), where the
// four pixels that come from one input pixel lie side by side. Its filter is (2, 2, k, c). Both
// differ from what the engine stores by the order of their extents, so strided copies lead there
// and back.
#pragma once

#include "engine/op/conv_transpose2x2.h"

namespace unetd::cublas {

inline constexpr int64_t taps = 4;

// Between y (n, 2h, 2w, k) and the matrix of taps, of elements of `dtype`.
void taps_from_image(const UpConvGeometry& g, DType dtype, const void* y, void* matrix,
                     const Stream& stream);
void image_from_taps(const UpConvGeometry& g, DType dtype, const void* matrix, void* y,
                     const Stream& stream);

// Between filters (k, 2, 2, c) and (2, 2, k, c).
void taps_from_filter(const UpConvGeometry& g, DType dtype, const void* w, void* by_taps,
                      const Stream& stream);
void filter_from_taps(const UpConvGeometry& g, DType dtype, const void* by_taps, void* w,
                      const Stream& stream);

// bias (k) four times over.
void taps_from_bias(const UpConvGeometry& g, const void* bias, void* repeated,
                    const Stream& stream);

}  // namespace unetd::cublas

#include "kernels/cublas/taps.h"

#include <cuda_runtime.h>

namespace unetd::cublas {
namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw Error(str("cuda: ", what, ": ", cudaGetErrorString(status)));
}

cudaStream_t native(const Stream& stream) { return static_cast<cudaStream_t>(stream.native); }

// Lines of `bytes`, `lines` of them a slice. A side's pitch leads from line to line, its `lines` of
// pitches from slice to slice.
struct Side {
  size_t offset, pitch, lines;
};

void copy(const Side& from, const void* source, const Side& to, void* destination,
          cudaExtent extent, const Stream& stream) {
  const auto pitched = [&](const void* p, const Side& side) {
    auto* const start = static_cast<std::byte*>(const_cast<void*>(p)) + side.offset;
    return make_cudaPitchedPtr(start, side.pitch, extent.width, side.lines);
  };
  cudaMemcpy3DParms parameters{};
  parameters.srcPtr = pitched(source, from);
  parameters.dstPtr = pitched(destination, to);
  parameters.extent = extent;
  parameters.kind = cudaMemcpyDeviceToDevice;
  check(cudaMemcpy3DAsync(&parameters, native(stream)), "copy of taps");
}

// In an image, the pixels (2i + r, 2j) and (2i + r, 2j + 1) are one line of 2k elements; in the
// matrix, the taps (r, 0) and (r, 1) are. So a copy for each r moves all of them.
struct Lines {
  Side image, matrix;
  cudaExtent extent;
};

Lines lines_of(const UpConvGeometry& g, DType dtype, size_t r) {
  const size_t line = 2 * static_cast<size_t>(g.k) * size_of(dtype);
  const auto width = static_cast<size_t>(g.x.w);
  return {.image = {r * width * line, line, 2 * width},
          .matrix = {r * line, 2 * line, width},
          .extent = make_cudaExtent(line, width, static_cast<size_t>(g.x.n * g.x.h))};
}

// Calls move(tap's first byte in (k, 2, 2, c), in (2, 2, k, c), bytes of a line, pitch of the
// former) for each tap.
template <class Move>
void for_each_tap(const UpConvGeometry& g, DType dtype, Move&& move) {
  const size_t line = static_cast<size_t>(g.x.c) * size_of(dtype);
  const size_t channels = static_cast<size_t>(g.k);
  for (size_t tap = 0; tap < taps; ++tap) {
    move(tap * line, tap * channels * line, line, taps * line);
  }
}

}  // namespace

void taps_from_image(const UpConvGeometry& g, DType dtype, const void* y, void* matrix,
                     const Stream& stream) {
  for (const size_t r : {0, 1}) {
    const Lines l = lines_of(g, dtype, r);
    copy(l.image, y, l.matrix, matrix, l.extent, stream);
  }
}

void image_from_taps(const UpConvGeometry& g, DType dtype, const void* matrix, void* y,
                     const Stream& stream) {
  for (const size_t r : {0, 1}) {
    const Lines l = lines_of(g, dtype, r);
    copy(l.matrix, matrix, l.image, y, l.extent, stream);
  }
}

void taps_from_filter(const UpConvGeometry& g, DType dtype, const void* w, void* by_taps,
                      const Stream& stream) {
  for_each_tap(g, dtype, [&](size_t from, size_t to, size_t line, size_t pitch) {
    check(cudaMemcpy2DAsync(static_cast<std::byte*>(by_taps) + to, line,
                            static_cast<const std::byte*>(w) + from, pitch, line,
                            static_cast<size_t>(g.k), cudaMemcpyDeviceToDevice, native(stream)),
          "copy of a filter");
  });
}

void filter_from_taps(const UpConvGeometry& g, DType dtype, const void* by_taps, void* w,
                      const Stream& stream) {
  for_each_tap(g, dtype, [&](size_t to, size_t from, size_t line, size_t pitch) {
    check(cudaMemcpy2DAsync(static_cast<std::byte*>(w) + to, pitch,
                            static_cast<const std::byte*>(by_taps) + from, line, line,
                            static_cast<size_t>(g.k), cudaMemcpyDeviceToDevice, native(stream)),
          "copy of a filter");
  });
}

void taps_from_bias(const UpConvGeometry& g, const void* bias, void* repeated,
                    const Stream& stream) {
  const size_t bytes = static_cast<size_t>(g.k) * sizeof(float);
  for (size_t tap = 0; tap < taps; ++tap) {
    check(cudaMemcpyAsync(static_cast<std::byte*>(repeated) + tap * bytes, bias, bytes,
                          cudaMemcpyDeviceToDevice, native(stream)),
          "copy of a bias");
  }
}

}  // namespace unetd::cublas

// How the kernels that are bound by memory move elements, and how they cut an image into threads.
// Neighbouring threads always have neighbouring packs of channels.
#pragma once

#include "engine/tensor/shape.h"
#include "kernels/cuda/kernels.h"

#include <algorithm>
#include <initializer_list>

namespace unetd::UNETD_GPU {

using simt::Dim;
using simt::Pack;

inline constexpr unsigned block_threads = 256;
// Eight blocks of 256 threads fill each of an H100's 132 multiprocessors. Constant: what a block
// sums must not depend on the GPU. The emulated one is small, so that tests soon have more pixels
// than it takes at once.
inline constexpr int64_t full_grid = int64_t{simt::device == DeviceType::cuda ? 132 : 8} * 8;
inline constexpr unsigned max_grid_y = 65535;  // CUDA's limit

// --- elements ------------------------------------------------------------------------------------

// A pack in registers, in the type of arithmetic.
template <int N>
struct Floats {
  float v[N];
};

template <int N, class T>
SIMT_DEVICE Floats<N> load_floats(const T* p) {
  const Pack<T, N> pack = simt::load<N>(p);
  Floats<N> x;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) x.v[k] = to_float(pack.v[k]);
  return x;
}
template <class T, int N>
SIMT_DEVICE void store_floats(T* p, const Floats<N>& x) {
  Pack<T, N> pack;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) pack.v[k] = from_float<T>(x.v[k]);
  simt::store(p, pack);
}

// Part of a parameter. It lies somewhere in a flat buffer and is aligned to its elements only.
template <int N>
SIMT_DEVICE Floats<N> load_parameter(const float* p) {
  Floats<N> x;
  SIMT_UNROLL
  for (int k = 0; k < N; ++k) x.v[k] = p[k];
  return x;
}

// Is a the larger one? NaN is more than any number.
SIMT_DEVICE bool exceeds(float a, float b) { return a > b || (a != a && b == b); }

// Channels that a thread takes at once: 16 bytes if the channels fill such packs, else one.
inline int pack_size(DType dtype, int64_t channels) {
  const int most = 16 / static_cast<int>(size_of(dtype));
  return channels % most == 0 ? most : 1;
}
// Calls f(Pack<T, N>{}): T is the storage type, N the pack size.
template <class F>
void with_pack(DType dtype, int64_t channels, F&& f) {
  with_storage_type(dtype, [&]<class T>(T) {
    if (pack_size(dtype, channels) == 1) return f(Pack<T, 1>{});
    f(Pack<T>{});
  });
}

inline bool aligned16(std::initializer_list<const void*> pointers) {
  return std::ranges::all_of(
      pointers, [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; });
}

// --- images as rows ------------------------------------------------------------------------------

// blockIdx.y strides over the rows, and in a row one thread has one pack of channels of one pixel:
// a thread divides 32-bit numbers only.
struct Rows {
  unsigned rows, high;      // of all images, of one
  unsigned columns, packs;  // of a row, of a pixel

  Dim grid() const {
    return {simt::blocks_for(int64_t{columns} * packs, block_threads), std::min(rows, max_grid_y)};
  }
};
// Throws Error for a row of 2^31 packs or more.
template <int N>
Rows rows_of(const Shape& s) {
  constexpr int64_t limit = int64_t{1} << 31;
  UNETD_CHECK(s.w * (s.c / N) < limit && s.n * s.h < limit, "image of ", s, " in a CUDA kernel");
  return {static_cast<unsigned>(s.n * s.h), static_cast<unsigned>(s.h), static_cast<unsigned>(s.w),
          static_cast<unsigned>(s.c / N)};
}

// What a thread has in each of its rows.
struct Place {
  bool inside;
  int64_t column, channel;
};
template <int N>
SIMT_DEVICE Place place_in(const Rows& r) {
  const unsigned i = blockIdx.x * block_threads + threadIdx.x;
  return {i < r.columns * r.packs, int64_t{i / r.packs}, int64_t{i % r.packs} * N};
}

// --- images as channels --------------------------------------------------------------------------

// A block covers `wide` packs of channels (threadIdx.x) and goes down a chunk of pixels, `high` at
// a time (threadIdx.y); blockIdx.x counts the groups of packs, blockIdx.y the chunks. A thread
// keeps its channels: it divides nothing, and loads their parameters once.
struct Tiles {
  int64_t pixels, channels;
  int64_t chunk;  // pixels
  unsigned wide, high, groups, chunks;

  Dim grid() const { return {groups, chunks}; }
  Dim block() const { return {wide, high}; }
};
inline Tiles tiles_of(int64_t pixels, int64_t channels, int pack) {
  constexpr int64_t warp = simt::warp_size, least_steps = 4;
  const auto divided = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t packs = channels / pack, groups = divided(packs, warp),
                wide = divided(packs, groups);
  const int64_t high = block_threads / wide;
  const int64_t share = divided(pixels, std::max<int64_t>(full_grid / groups, 1));
  const int64_t chunk = divided(std::max(share, least_steps * high), high) * high;
  return {pixels,
          channels,
          chunk,
          static_cast<unsigned>(wide),
          static_cast<unsigned>(high),
          static_cast<unsigned>(groups),
          static_cast<unsigned>(divided(pixels, chunk))};
}

// The pixels of a thread: `first`, every `high`-th below `end`; none if its channels do not exist.
struct Strip {
  bool inside;
  int64_t channel, first, end;
};
template <int N>
SIMT_DEVICE Strip strip_in(const Tiles& t) {
  const int64_t channel = (int64_t{blockIdx.x} * t.wide + threadIdx.x) * N;
  const int64_t begin = blockIdx.y * t.chunk, end = begin + t.chunk;
  const bool inside = channel < t.channels;
  return {inside, channel, begin + threadIdx.y, !inside ? 0 : end < t.pixels ? end : t.pixels};
}

// --- images as pixels ----------------------------------------------------------------------------

// `lanes` threads of a warp (threadIdx.x, a power of two) share a pixel's channels; a block goes
// over the pixels from blockIdx.x on, `high` (threadIdx.y) at a time.
struct Pixels {
  int64_t pixels, channels;
  unsigned lanes, high;
  unsigned blocks;

  Dim grid() const { return {blocks}; }
  Dim block() const { return {lanes, high}; }
};
template <int N>
Pixels pixels_of(const Shape& s) {
  unsigned lanes = 1;
  while (lanes < simt::warp_size && lanes * N < s.c) lanes *= 2;
  const unsigned high = block_threads / lanes;
  const int64_t blocks = std::min<int64_t>((s.pixels() + high - 1) / high, full_grid);
  return {s.pixels(), s.c, lanes, high, static_cast<unsigned>(blocks)};
}

// visit(channel) for each pack of this thread in its pixel.
template <int N, class F>
SIMT_DEVICE void for_each_pack(const Pixels& g, const F& visit) {
  for (int64_t c = int64_t{threadIdx.x} * N; c < g.channels; c += int64_t{g.lanes} * N) visit(c);
}

// visit(pixel, own) for each pixel of this thread. A thread beyond the last pixel visits that one,
// which is not its own, since the others of its warp wait for it in a join; it must not write
// there.
template <class F>
SIMT_DEVICE void for_each_pixel(const Pixels& g, const F& visit) {
  for (int64_t begin = int64_t{blockIdx.x} * g.high; begin < g.pixels;
       begin += int64_t{gridDim.x} * g.high) {
    const int64_t pixel = begin + threadIdx.y;
    const bool own = pixel < g.pixels;
    visit(own ? pixel : g.pixels - 1, own);
  }
}

}  // namespace unetd::UNETD_GPU

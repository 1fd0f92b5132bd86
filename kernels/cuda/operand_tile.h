// A tile of one operand of a matrix product in shared memory, and the threads' way to bring it
// there.
//
// A stage of the product takes `extent` rows of A (or columns of B) and 64 bytes of the common
// dimension k, 16 floats or 32 half-words. An operand lies in memory along k or across it, and its
// tile keeps that order, so that copies are 16-byte packs: `extent` lines of 64 bytes, or 16 or 32
// lines of `extent` elements. Packs of a line change places by an exclusive or with the line, such
// that any eight neighbouring lines have the same pack in different banks: ldmatrix, 16-byte reads
// and the copies are free of conflicts.
#pragma once

#include "kernels/cuda/matrix_view.h"

#include <algorithm>
#include <cstddef>

namespace unetd::UNETD_GPU {

enum class Order : uint8_t { along_k, across_k };

inline constexpr int stage_bytes_along_k = 64;
template <class T>
inline constexpr int stage_depth = stage_bytes_along_k / sizeof(T);

// Where a thread's part of a tile lies: in units of packs, from the tile's begin.
template <class T, Order order, int extent>
struct TileLayout {
  static constexpr int pack = simt::Pack<T>::size;
  static constexpr int bytes = extent * stage_bytes_along_k;
  static constexpr int lines = order == Order::along_k ? extent : stage_depth<T>;
  static constexpr int packs_per_line = bytes / lines / 16;
  // Lines that fill the 32 banks once, and packs that change places.
  static constexpr int lines_per_row_of_banks = std::max(1, 8 / packs_per_line);
  static constexpr int swizzled = std::min(8, packs_per_line);

  SIMT_DEVICE static int position(int line, int column) {
    return line * packs_per_line + (column ^ (line / lines_per_row_of_banks % swizzled));
  }
  // The first element of a pack.
  SIMT_DEVICE static const T* at(const T* tile, int line, int column) {
    return tile + position(line, column) * pack;
  }
};

// An operand in global memory. `packs`: whole packs may be copied.
template <class T, class View, Order memory_order>
struct Operand {
  using Type = T;
  using MatrixView = View;
  static constexpr Order order = memory_order;
  const T* data;
  View view;
  bool packs;
};

template <Order order, class T, class View>
Operand<T, View, order> operand(const void* data, const View& view) {
  return {static_cast<const T*>(data), view, view.run() % simt::Pack<T>::size == 0};
}

// What one thread brings of each tile: packs of one column, every so many lines. Along k the lines
// are fixed and the column moves from stage to stage, across k the other way round; what is fixed
// is worked out once. With `always_packs` the path for single elements is not compiled.
template <class Operand, int extent, int threads, bool always_packs>
class TileLoader {
  using T = typename Operand::Type;
  using View = typename Operand::MatrixView;
  using Layout = TileLayout<T, Operand::order, extent>;

 public:
  // `first`: the tile's first row of A or column of B.
  SIMT_DEVICE TileLoader(const Operand& operand, uint32_t first)
      : operand_(operand),
        column_(static_cast<int>(threadIdx.x) % Layout::packs_per_line),
        line_(static_cast<int>(threadIdx.x) / Layout::packs_per_line),
        fixed_column_(operand.view.column(first + column_ * Layout::pack)),
        first_(first) {
    SIMT_UNROLL
    for (int i = 0; i < fixed_lines; ++i) fixed_lines_[i] = operand.view.row(first + line(i));
  }

  // Copies the tile that begins at `k`, or issues the copy.
  SIMT_DEVICE void load(T* tile, uint32_t k) const {
    if (always_packs || operand_.packs) return load_packs(tile, k);
    load_elements(tile, k);
  }

 private:
  static constexpr bool along_k = Operand::order == Order::along_k;
  static constexpr int line_step = threads / Layout::packs_per_line;
  static constexpr int packs = Layout::lines / line_step;
  static constexpr int fixed_lines = along_k ? packs : 1;
  static_assert(threads % Layout::packs_per_line == 0 && Layout::lines % line_step == 0);

  SIMT_DEVICE int line(int i) const { return line_ + i * line_step; }

  SIMT_DEVICE void load_packs(T* tile, uint32_t k) const {
    const typename View::Column moving =
        along_k ? operand_.view.column(k + column_ * Layout::pack) : fixed_column_;
    SIMT_UNROLL
    for (int i = 0; i < packs; ++i) {
      const int64_t offset = operand_.view.offset(row(i, k), moving);
      simt::copy_async16(tile + Layout::position(line(i), column_) * Layout::pack,
                         operand_.data + (offset == outside ? 0 : offset), offset != outside);
    }
  }

  SIMT_DEVICE void load_elements(T* tile, uint32_t k) const {
    simt::Pack<T> loaded[packs];
    SIMT_UNROLL
    for (int e = 0; e < Layout::pack; ++e) {
      const typename View::Column column =
          operand_.view.column((along_k ? k : first_) + column_ * Layout::pack + e);
      SIMT_UNROLL
      for (int i = 0; i < packs; ++i) {
        const int64_t offset = operand_.view.offset(row(i, k), column);
        loaded[i].v[e] = offset == outside ? T{} : operand_.data[offset];
      }
    }
    SIMT_UNROLL
    for (int i = 0; i < packs; ++i) {
      simt::store16(tile + Layout::position(line(i), column_) * Layout::pack, loaded[i]);
    }
  }

  SIMT_DEVICE typename View::Row row(int i, uint32_t k) const {
    if constexpr (along_k) return fixed_lines_[i];
    return operand_.view.row(k + line(i));
  }

  const Operand& operand_;
  int column_, line_;  // in the tile: of packs, of the first pack
  typename View::Column fixed_column_;
  typename View::Row fixed_lines_[fixed_lines];
  uint32_t first_;
};

}  // namespace unetd::UNETD_GPU

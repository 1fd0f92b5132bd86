// What readers of raw patches and networks must agree on: how a sample becomes a number that the
// network sees, and what is done to a patch on the way. Who reads patches knows nothing of graphs,
// who trains knows nothing of files; these plain structs travel between them.
#pragma once

#include "engine/base/host_device.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace unetd {

// Normalisation of one band: linear, or with a slope along a curve.
struct BandLine {
  float shift = 0, scale = 1, low = -INFINITY, high = INFINITY;
};
struct BandConstants {
  BandLine line;
  float slope = 0, intercept = 0, centre = 0;
};

// y = clip((x - shift) * scale, low, high); NaN stays NaN. It has the same bits on every device: no
// product is added to, so nothing can be contracted.
UNETD_HOST_DEVICE constexpr float normalised(float x, const BandLine& b) {
  const float y = (x - b.shift) * b.scale;
  return y < b.low ? b.low : b.high < y ? b.high : y;
}

// The same if slope is 0, else with v = (x - shift) * scale
//   y = 1 / (1 + 2^-(slope * log2(v) + intercept)) - centre,   log2(v) taken for 0 where v <= 0
// the transformation of Dynamic World (Brown et al., 2022) with its constants brought to base 2,
// which costs a GPU the fewest registers. The two functions are the only places where normalisation
// is computed. Logarithm and power differ in the last bits among devices.
UNETD_HOST_DEVICE inline float normalised(float x, const BandConstants& b) {
  if (b.slope == 0) return normalised(x, b.line);
  const float v = (x - b.line.shift) * b.line.scale;
  if (v != v) return v;
  const float z = b.slope * (v > 0 ? log2f(v) : 0.F) + b.intercept;
  return 1 / (1 + exp2f(-z)) - b.centre;
}

// What is done to a patch beside normalising it, drawn where the patch is read.
struct PatchDraw {
  // One of the eight symmetries of the square: bit 0 mirrors columns, bit 1 mirrors rows, bit 2
  // transposes first. Only square patches can be transposed.
  int32_t symmetry = 0;
  // A rectangle of the turned patch that is erased: its image is 0, its label `ignore`.
  int32_t top = 0, left = 0, height = 0, width = 0;

  bool operator==(const PatchDraw&) const = default;
};
inline constexpr int32_t symmetries = 8;
inline constexpr int32_t transposing = 4;  // bit of PatchDraw::symmetry

UNETD_HOST_DEVICE constexpr bool erases(const PatchDraw& d, int64_t row, int64_t column) {
  return row >= d.top && row < d.top + d.height && column >= d.left && column < d.left + d.width;
}

// And to one of its bands, which is shifted or, with `kept` of 0, blanked.
struct BandDraw {
  float offset = 0, kept = 1;

  bool operator==(const BandDraw&) const = default;
};
// y of normalised(), where there are data and nothing is erased. The clip between the product and
// this sum keeps compilers from contracting them.
UNETD_HOST_DEVICE constexpr float drawn(float y, const BandDraw& d) {
  return d.kept == 0 ? 0 : y + d.offset;
}

// One record a patch; and one a patch and band, those of a patch together.
struct Draws {
  std::vector<PatchDraw> patches;
  std::vector<BandDraw> bands;

  // Of patches that stay as they are.
  static Draws none(int64_t patches, int64_t bands) {
    return {std::vector<PatchDraw>(static_cast<size_t>(patches)),
            std::vector<BandDraw>(static_cast<size_t>(patches * bands))};
  }
};

// Where pixel (row, column) of a turned patch lies in the patch as it was read, in pixels from the
// patch's first: start + row * row_step + column * column_step.
struct Walk {
  int64_t start, row_step, column_step;
};
UNETD_HOST_DEVICE constexpr Walk walk_of(int32_t symmetry, int64_t height, int64_t width) {
  const bool transposed = (symmetry & transposing) != 0;
  const int64_t row = transposed ? 1 : width, column = transposed ? width : 1;
  const bool mirrored_rows = (symmetry & 2) != 0, mirrored_columns = (symmetry & 1) != 0;
  return {(mirrored_rows ? (height - 1) * row : 0) + (mirrored_columns ? (width - 1) * column : 0),
          mirrored_rows ? -row : row, mirrored_columns ? -column : column};
}

}  // namespace unetd

#include "io/resample.h"

#include "engine/base/error.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace unetd::io {
namespace {

// The coarse pixels along one axis that a fine pixel is made of, relative to the coarse window.
struct Taps {
  std::array<int64_t, 4> index{};
  std::array<float, 4> weight{};
  int count = 0;
  int64_t nearest = 0;
};

// Keys' cubic convolution with a = -1/2, GDAL's choice.
float cubic_weight(float distance) {
  const float t = std::abs(distance);
  if (t < 1) return (1.5F * t - 2.5F) * t * t + 1;
  return t < 2 ? ((-0.5F * t + 2.5F) * t - 4) * t + 2 : 0;
}

std::vector<Taps> make_taps(int64_t fine_begin, int64_t fine_count, int64_t coarse_begin,
                            int64_t coarse_count, int64_t factor, Resampling method) {
  std::vector<Taps> taps(static_cast<size_t>(fine_count));
  for (int64_t i = 0; i < fine_count; ++i) {
    Taps& t = taps[static_cast<size_t>(i)];
    const auto clamp = [&](int64_t at) {
      return std::clamp<int64_t>(at - coarse_begin, 0, coarse_count - 1);
    };
    t.nearest = clamp((fine_begin + i) / factor);
    if (method == Resampling::nearest) {
      t.count = 1;
      t.index[0] = t.nearest;
      t.weight[0] = 1;
      continue;
    }
    const double centre =
        (static_cast<double>(fine_begin + i) + 0.5) / static_cast<double>(factor) - 0.5;
    const int reach = method == Resampling::bilinear ? 1 : 2;
    const auto first = static_cast<int64_t>(std::floor(centre)) - reach + 1;
    t.count = 2 * reach;
    for (int k = 0; k < t.count; ++k) {
      const auto distance = static_cast<float>(centre - static_cast<double>(first + k));
      t.index[k] = clamp(first + k);
      t.weight[k] = reach == 1 ? 1 - std::abs(distance) : cubic_weight(distance);
    }
  }
  return taps;
}

float weighted_mean(const Plane& p, const Taps& column, const Taps& row) {
  float sum = 0, weights = 0;
  for (int r = 0; r < row.count; ++r) {
    for (int c = 0; c < column.count; ++c) {
      const auto at = static_cast<size_t>(row.index[r] * p.window.width + column.index[c]);
      if (p.valid[at] == 0) continue;
      const float weight = row.weight[r] * column.weight[c];
      sum += weight * p.values[at];
      weights += weight;
    }
  }
  // Cubic weights can cancel beside a hole; the pixel itself is then the best there is.
  if (weights < 0.1F)
    return p.values[static_cast<size_t>(row.nearest * p.window.width + column.nearest)];
  return sum / weights;
}

}  // namespace

Resampling parse_resampling(const std::string& name) {
  if (name == "nearest") return Resampling::nearest;
  if (name == "bilinear") return Resampling::bilinear;
  if (name == "cubic") return Resampling::cubic;
  throw UsageError(str("unknown resampling '", name, "': use nearest, bilinear or cubic"));
}

const char* name_of(Resampling method) {
  constexpr const char* names[] = {"nearest", "bilinear", "cubic"};
  return names[static_cast<size_t>(method)];
}

Window coarse_window(const Window& fine, int64_t factor, int64_t coarse_width,
                     int64_t coarse_height) {
  constexpr int64_t margin = 2;  // the reach of the cubic
  const int64_t x = fine.x / factor - margin, y = fine.y / factor - margin;
  const int64_t right = (fine.x + fine.width - 1) / factor + 1 + margin;
  const int64_t bottom = (fine.y + fine.height - 1) / factor + 1 + margin;
  return intersection({x, y, right - x, bottom - y}, {0, 0, coarse_width, coarse_height});
}

Plane upsample(const Plane& coarse, int64_t factor, Resampling method, const Window& fine) {
  const std::vector<Taps> columns =
      make_taps(fine.x, fine.width, coarse.window.x, coarse.window.width, factor, method);
  const std::vector<Taps> rows =
      make_taps(fine.y, fine.height, coarse.window.y, coarse.window.height, factor, method);
  Plane out{fine, {}, {}};
  out.values.reserve(static_cast<size_t>(fine.width * fine.height));
  out.valid.reserve(static_cast<size_t>(fine.width * fine.height));
  for (const Taps& row : rows) {
    for (const Taps& column : columns) {
      const auto own = static_cast<size_t>(row.nearest * coarse.window.width + column.nearest);
      out.valid.push_back(coarse.valid[own]);
      out.values.push_back(coarse.valid[own] == 0 ? coarse.values[own]
                                                  : weighted_mean(coarse, column, row));
    }
  }
  return out;
}

Plane downsample(const Plane& fine, int64_t factor, Resampling method, const Window& coarse) {
  Plane out{coarse, {}, {}};
  const auto index = [&](int64_t x, int64_t y) {
    return static_cast<size_t>((y - fine.window.y) * fine.window.width + x - fine.window.x);
  };
  for (int64_t y = coarse.y; y < coarse.y + coarse.height; ++y) {
    for (int64_t x = coarse.x; x < coarse.x + coarse.width; ++x) {
      const size_t middle = index(x * factor + factor / 2, y * factor + factor / 2);
      size_t hole = middle;
      double sum = 0;
      for (int64_t i = 0; i < factor * factor && fine.valid[hole] != 0; ++i) {
        const size_t at = index(x * factor + i % factor, y * factor + i / factor);
        if (fine.valid[at] == 0) hole = at;
        sum += fine.values[at];
      }
      const bool whole = fine.valid[hole] != 0, nearest = method == Resampling::nearest;
      const auto mean = static_cast<float>(sum / static_cast<double>(factor * factor));
      out.valid.push_back(nearest ? fine.valid[middle] : static_cast<uint8_t>(whole));
      out.values.push_back(nearest ? fine.values[middle] : whole ? mean : fine.values[hole]);
    }
  }
  return out;
}

}  // namespace unetd::io

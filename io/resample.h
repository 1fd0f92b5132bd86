// Brings a coarse band to a grid that is finer by a whole factor and shares its origin. Pixel areas
// are kept in register: fine pixel i has its centre at coarse coordinate (i + 0.5) / factor - 0.5,
// as in gdalwarp. Pixels without data take no part: the weights of the others are scaled up.
#pragma once

#include "io/grid.h"

#include <cstdint>
#include <string>
#include <vector>

namespace unetd::io {

enum class Resampling : uint8_t { nearest, bilinear, cubic };
// Throws UsageError for an unknown name.
Resampling parse_resampling(const std::string& name);
const char* name_of(Resampling method);

// The pixels of a window of one band, row by row; valid is 1 where there is data.
struct Plane {
  Window window;
  std::vector<float> values;
  std::vector<uint8_t> valid;
};

// The coarse pixels that `fine` needs, clipped to the coarse raster of the given size.
Window coarse_window(const Window& fine, int64_t factor, int64_t coarse_width,
                     int64_t coarse_height);

// A fine pixel has data where the coarse pixel it lies in has. Beyond the coarse window the nearest
// pixel in it stands in.
Plane upsample(const Plane& coarse, int64_t factor, Resampling method, const Window& fine);

// The other way: the mean of the factor x factor fine pixels in each pixel of `coarse`, for nearest
// the one behind the middle. A pixel that one of them lacks data for has none, and that one's
// value: means over parts would shift the pixel.
Plane downsample(const Plane& fine, int64_t factor, Resampling method, const Window& coarse);

}  // namespace unetd::io

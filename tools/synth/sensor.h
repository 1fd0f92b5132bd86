// What the instrument does to the light: noise, and the point spread of a detector of 10, 20 or 60
// m.
#pragma once

#include <cstdint>
#include <span>

namespace unetd::synth {

// Rows on each side that a pixel of a smoothed plane depends on.
inline constexpr int64_t sensor_reach = 8;

// Rows [first_row, first_row + rows) of a scene `width` pixels wide; rows outside the scene repeat
// its edge.
struct Window {
  int64_t width, first_row, rows;
};

// Adds noise to a plane of reflectance of band `band` and smooths it to the band's native
// resolution, in place. The outermost sensor_reach rows of the window are not to be used.
void sense(int band, Window window, uint32_t seed, std::span<float> plane);

}  // namespace unetd::synth

// Colours of numbers: a ramp for values and a diverging one for differences. Equal steps of a
// number are equal steps to the eye: both are straight between points in Oklab, a space made for
// that (B. Ottosson, "A perceptual color space for image processing", 2020), and run at one speed.
// Ramps grow lighter or darker all the way, so that they can be read in grey, too.
#pragma once

#include <array>
#include <cstdint>

namespace unetd::io {

// Red, green and blue of x in [0, 1]: from dark violet over blue and green to light yellow. What
// lies outside gets the colour of that end; NaN that of 0.
std::array<uint8_t, 3> ramp_color(double x);

// Of x in [-1, 1]: blue below 0, white at 0, red above. The same holds for the ends and NaN.
std::array<uint8_t, 3> difference_color(double x);

}  // namespace unetd::io

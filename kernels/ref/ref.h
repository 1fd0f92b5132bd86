// What every reference kernel needs.
#pragma once

#include "engine/base/threads.h"
#include "engine/op/registry.h"
#include "kernels/common/access.h"
#include "kernels/ref/register.h"

#include <array>
#include <cmath>
#include <vector>

namespace unetd::ref {

template <auto run_function, class P>
void add() {
  add_function<run_function, P>(DeviceType::cpu, "ref", only_f32_and_f64<P>);
}

// body(n, h) for every row of an image, in parallel.
template <class F>
void for_each_row(const Shape& s, F&& body) {
  parallel_for(s.n * s.h, [&](int64_t row) { body(row / s.h, row % s.h); });
}

// The place of the largest of four numbers: the first of equals; NaN is more than any number.
template <class T>
int place_of_maximum(const std::array<T, 4>& numbers) {
  size_t best = 0;
  for (size_t i = 1; i < numbers.size(); ++i) {
    const bool more = numbers[i] > numbers[best];
    if (more || (std::isnan(numbers[i]) && !std::isnan(numbers[best]))) best = i;
  }
  return static_cast<int>(best);
}

}  // namespace unetd::ref

// Which windows become patches: nothing in two splits, guard bands, balance.
#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "io/labels.h"
#include "io/sampling.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

// Class 0 everywhere, 1 in the left tenth, 2 in a small square, 255 in the last rows.
Tensor some_labels(int64_t height, int64_t width) {
  Tensor labels({1, height, width, 1}, DType::u8);
  uint8_t* label = labels.span<uint8_t>().data();
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      *label++ = y >= height - 20                                             ? ignore_label
                 : x < width / 10                                             ? 1
                 : y >= 300 && y < 330 && x >= width - 150 && x < width - 120 ? 2
                                                                              : 0;
  return labels;
}

// The splits that use each pixel, one bit a split; `margin` more pixels around training windows.
std::vector<uint8_t> use_of(const std::vector<PlannedPatch>& patches, const Shape& s,
                            int64_t margin) {
  std::vector<uint8_t> use(static_cast<size_t>(s.h * s.w));
  for (const PlannedPatch& p : patches) {
    const int64_t m = p.split == Split::train ? margin : 0;
    const Window inner = intersection(
        {p.window.x - m, p.window.y - m, p.window.width + 2 * m, p.window.height + 2 * m},
        {0, 0, s.w, s.h});
    const auto bit = static_cast<uint8_t>(1U << static_cast<unsigned>(p.split));
    for (int64_t y = inner.y; y < inner.y + inner.height; ++y)
      for (int64_t x = inner.x; x < inner.x + inner.width; ++x)
        use[static_cast<size_t>(y * s.w + x)] |= bit;
  }
  return use;
}

int64_t pixels_used_twice(const std::vector<uint8_t>& use) {
  return std::ranges::count_if(use, [](uint8_t u) { return (u & (u - 1U)) != 0; });
}

TEST_CASE("sampling: 5,000 patches, and no pixel in two splits", "[io][sampling]") {
  const Tensor labels = some_labels(3000, 4000);
  SplitOptions split;
  split.block = 400;
  SamplingOptions sampling;
  sampling.patch = 64;
  sampling.samples = 4500;
  for (const int64_t guard : {0, 48}) {
    CAPTURE(guard);
    split.guard = guard;
    const SplitMap map = SplitMap::blocks(labels, split, sampling.patch, 0, 7);
    const std::vector<PlannedPatch> patches = plan_patches(labels, map, sampling, 0);
    CHECK(patches.size() > 5000);
    for (const Split s : {Split::train, Split::valid, Split::test})
      CHECK(std::ranges::count(patches, s, &PlannedPatch::split) > 200);
    CHECK(pixels_used_twice(use_of(patches, labels.shape(), guard)) == 0);
    CHECK(plan_patches(labels, map, sampling, 0) == patches);
  }
  // Without a guard band there are training patches right beside held-out ground.
  split.guard = 0;
  const SplitMap map = SplitMap::blocks(labels, split, sampling.patch, 0, 7);
  CHECK(pixels_used_twice(use_of(plan_patches(labels, map, sampling, 0), labels.shape(), 48)) > 0);
  split.guard = -1;
  CHECK_THROWS_AS(SplitMap::blocks(labels, split, sampling.patch, 0, 7), UsageError);
}

TEST_CASE("sampling: balanced patches seek out rare classes", "[io][sampling]") {
  const Tensor labels = some_labels(1000, 1200);
  SamplingOptions sampling;
  sampling.patch = 64;
  sampling.samples = 300;
  const SplitMap map = SplitMap::whole(Split::train);
  const auto patches_with = [&](uint8_t cls) {
    int64_t count = 0;
    for (const PlannedPatch& p : plan_patches(labels, map, sampling, 0)) {
      bool found = false;
      for (int64_t y = p.window.y; y < p.window.y + 64 && !found; ++y)
        for (int64_t x = p.window.x; x < p.window.x + 64 && !found; ++x)
          found = labels.span<uint8_t>()[static_cast<size_t>(y * 1200 + x)] == cls;
      count += found ? 1 : 0;
    }
    return count;
  };
  CHECK(patches_with(2) < 15);  // 900 of 1.2 million pixels
  sampling.balance = {1, 1, 1};
  CHECK(patches_with(2) > 80);
  CHECK(patches_with(1) > 80);
  sampling.balance = {0, 0, 1};
  CHECK(patches_with(2) == 300);
  sampling.balance = {1, 1, 1, 5};  // a class that the scene lacks takes no part
  CHECK(patches_with(2) > 80);
  sampling.balance = {1, -1, 1};
  CHECK_THROWS_AS(patches_with(2), UsageError);
}

}  // namespace
}  // namespace unetd::io

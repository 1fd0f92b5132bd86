#include "io/draw.h"

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/rng.h"
#include "io/labels.h"

#include <algorithm>
#include <numeric>

namespace unetd::io {
namespace {

struct Pixel {
  int64_t x = 0, y = 0;
};

// Finds the n-th pixel of a class: counts by row lead to the row, which is then searched.
class ClassPixels {
 public:
  ClassPixels(const Tensor& labels, size_t classes)
      : labels_(labels),
        rows_(static_cast<size_t>(labels.shape().h)),
        before_(classes, std::vector<uint32_t>(rows_ + 1)) {
    const int64_t width = labels.shape().w;
    const uint8_t* label = labels.span<uint8_t>().data();
    for (size_t y = 0; y < rows_; ++y) {
      for (auto& sums : before_) sums[y + 1] = sums[y];
      for (int64_t x = 0; x < width; ++x, ++label)
        if (*label < classes) ++before_[*label][y + 1];
    }
  }

  uint32_t count(size_t cls) const { return before_[cls].back(); }

  Pixel nth(size_t cls, uint32_t n) const {
    const std::vector<uint32_t>& sums = before_[cls];
    const int64_t y = std::upper_bound(sums.begin(), sums.end(), n) - sums.begin() - 1;
    const int64_t width = labels_.shape().w;
    const uint8_t* row = labels_.span<uint8_t>().data() + y * width;
    uint32_t left = n - sums[static_cast<size_t>(y)];
    for (int64_t x = 0; x < width; ++x)
      if (row[x] == cls && left-- == 0) return {x, y};
    throw Error("the counts of a class do not fit its pixels");
  }

 private:
  const Tensor& labels_;
  size_t rows_;
  std::vector<std::vector<uint32_t>> before_;  // [class][row]: pixels above the row
};

// Where a window may begin so that it lies inside, as far as the scene is large enough.
struct Places {
  int64_t across, down;

  Places(const Shape& s, int64_t patch)
      : across(std::max<int64_t>(1, s.w - patch + 1)),
        down(std::max<int64_t>(1, s.h - patch + 1)) {}
};

class AnywhereDraw {
 public:
  AnywhereDraw(const Tensor& labels, int64_t patch) : places_(labels.shape(), patch) {}
  Pixel draw(Rng& rng) const {
    const int64_t x = rng.below(static_cast<uint32_t>(places_.across));
    const int64_t y = rng.below(static_cast<uint32_t>(places_.down));
    return {x, y};
  }

 private:
  Places places_;
};

// A class by its share, a pixel of it, a window around the pixel.
class BalancedDraw {
 public:
  BalancedDraw(const Tensor& labels, const SamplingOptions& options)
      : places_(labels.shape(), options.patch),
        patch_(options.patch),
        pixels_(labels, options.balance.size()) {
    double sum = 0;
    for (size_t c = 0; c < options.balance.size(); ++c) {
      if (!(options.balance[c] >= 0))
        throw UsageError(str("a class share of ", options.balance[c], ": shares are not negative"));
      sum += pixels_.count(c) == 0 ? 0 : options.balance[c];
      up_to_.push_back(sum);
    }
  }

  // Does the scene have any of the classes wanted?
  bool possible() const { return up_to_.back() > 0; }

  Pixel draw(Rng& rng) const {
    const double at = rng.uniform(0, 1) * up_to_.back();
    const auto found = std::upper_bound(up_to_.begin(), up_to_.end() - 1, at);
    const auto cls = static_cast<size_t>(found - up_to_.begin());
    const Pixel p = pixels_.nth(cls, rng.below(pixels_.count(cls)));
    const auto side = static_cast<uint32_t>(patch_);
    const int64_t x = p.x - rng.below(side), y = p.y - rng.below(side);
    return {std::clamp<int64_t>(x, 0, places_.across - 1),
            std::clamp<int64_t>(y, 0, places_.down - 1)};
  }

 private:
  Places places_;
  int64_t patch_;
  ClassPixels pixels_;
  std::vector<double> up_to_;
};

// Draws until there are enough, or until chance says that there are no more.
template <class Draw>
std::vector<PlannedPatch> draw_patches(const Draw& draw, const Tensor& labels, const SplitMap& map,
                                       const SamplingOptions& options, int64_t scene) {
  constexpr int64_t tries_a_sample = 200;
  Rng rng(options.seed, random_stream(RandomUse::drawing, scene));
  std::vector<PlannedPatch> patches;
  for (int64_t i = 0; std::ssize(patches) < options.samples && i < tries_a_sample * options.samples;
       ++i) {
    const Pixel corner = draw.draw(rng);
    const Window window{corner.x, corner.y, options.patch, options.patch};
    if (map.split_of(window) == Split::train && coverage(labels, window) >= options.min_coverage)
      patches.push_back({window, Split::train});
  }
  return patches;
}

}  // namespace

std::vector<int64_t> shuffled(int64_t n, uint64_t seed, uint64_t stream) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  Rng rng(seed, stream);
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[rng.below(static_cast<uint32_t>(i))]);
  return order;
}

void limit_training(std::span<std::vector<PlannedPatch>* const> lists, int64_t most, uint64_t seed,
                    uint64_t stream) {
  const auto is_training = [](const PlannedPatch& p) { return p.split == Split::train; };
  int64_t total = 0;
  for (const auto* list : lists) total += std::ranges::count_if(*list, is_training);
  if (most == 0 || total <= most) return;
  std::vector<bool> kept(static_cast<size_t>(total));
  const std::vector<int64_t> order = shuffled(total, seed, stream);
  for (int64_t i = 0; i < most; ++i)
    kept[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
  size_t number = 0;
  for (auto* list : lists)
    std::erase_if(*list, [&](const PlannedPatch& p) { return is_training(p) && !kept[number++]; });
}

std::vector<PlannedPatch> draw_training(const Tensor& labels, const SplitMap& map,
                                        const SamplingOptions& options, int64_t scene) {
  std::vector<PlannedPatch> patches;
  if (options.balance.empty()) {
    patches = draw_patches(AnywhereDraw(labels, options.patch), labels, map, options, scene);
  } else if (const BalancedDraw draw(labels, options); draw.possible()) {
    patches = draw_patches(draw, labels, map, options, scene);
  }
  if (std::ssize(patches) < options.samples)
    log_warning("only ", patches.size(), " of ", options.samples,
                " random training patches found: most of the scene is held out or lacks labels; "
                "lower the patch size or the least coverage");
  return patches;
}

}  // namespace unetd::io

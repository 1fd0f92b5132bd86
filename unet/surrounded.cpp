#include "unet/surrounded.h"

#include "engine/op/loss.h"
#include "engine/tensor/mirror.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace unetd {
namespace {

// Labels, all ignored.
Tensor unknown(const Shape& shape, DType dtype) {
  Tensor labels(shape, dtype);
  if (dtype == DType::f32) {
    std::ranges::fill(labels.span<float>(), std::numeric_limits<float>::quiet_NaN());
  } else {
    std::ranges::fill(labels.span<uint8_t>(), ignore_label);
  }
  return labels;
}

// A rectangle of so many pixels from (row, column) of each image.
struct Corner {
  int64_t row, column;
};
void copy_pixels(const Tensor& from, Corner first, Tensor& to, Corner target, int64_t height,
                 int64_t width) {
  const Shape a = from.shape(), b = to.shape();
  const auto pixel = static_cast<int64_t>(size_of(from.dtype()));
  const auto* const source = static_cast<const std::byte*>(from.data());
  auto* const copy = static_cast<std::byte*>(to.data());
  for (int64_t n = 0; n < a.n; ++n) {
    for (int64_t y = 0; y < height; ++y) {
      std::copy_n(source + ((n * a.h + first.row + y) * a.w + first.column) * pixel, width * pixel,
                  copy + ((n * b.h + target.row + y) * b.w + target.column) * pixel);
    }
  }
}

}  // namespace

Surrounded::Surrounded(const Images& images, const UNetConfig& c)
    : shape_(images.shape()), mirrored_(c.valid), margin_(c.margin()), images_(images) {
  if (!mirrored_) return;
  const auto line = [&](int64_t size) { return mirrored_line(-margin_, c.input_side(size), size); };
  const std::vector<int64_t> rows = line(shape_.h), columns = line(shape_.w);
  samples_ = take_pixels(*images.samples, rows, columns);
  images_.samples = &samples_;
  if (images.valid == nullptr) return;
  valid_ = take_pixels(*images.valid, rows, columns);
  images_.valid = &valid_;
}

const Tensor& Surrounded::labels(const Tensor& labels) {
  if (!mirrored_) return labels;
  const Shape s = images_.shape();
  labels_ = unknown({s.n, s.h, s.w, 1}, labels.dtype());
  copy_pixels(labels, {0, 0}, labels_, {margin_, margin_}, shape_.h, shape_.w);
  return labels_;
}

Tensor Surrounded::part(Tensor outputs) const {
  if (!mirrored_) return outputs;
  return take_pixels(outputs, mirrored_line(0, shape_.h, shape_.h),
                     mirrored_line(0, shape_.w, shape_.w));
}

PredictedLabels::PredictedLabels(const Tensor& labels, const UNetConfig& c) : labels_(&labels) {
  if (!c.valid) return;
  const Shape s = labels.shape();
  const auto rim = [&](int64_t side) { return (side - c.used_side(side) + 1) / 2 + c.margin(); };
  const int64_t rows = rim(s.h), columns = rim(s.w);
  masked_ = unknown(s, labels.dtype());
  if (s.h <= 2 * rows || s.w <= 2 * columns) return;
  copy_pixels(labels, {rows, columns}, masked_, {rows, columns}, s.h - 2 * rows, s.w - 2 * columns);
}

}  // namespace unetd

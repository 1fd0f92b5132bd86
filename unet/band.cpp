#include "unet/band.h"

#include "engine/autograd/ops.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace unetd {

Band::Band(SessionOptions options, const Shape& shape)
    : options_(std::move(options)),
      shape_(shape),
      sums_(std::make_shared<Buffer>(options_.device,
                                     static_cast<size_t>(shape.count()) * sizeof(float))),
      staging_(options_.device) {}

Value Band::sums(Graph& g) const { return g.external(sums_, 0, shape_, DType::f32, "band"); }

template <class F>
void Band::for_each_stretch(int64_t begin, int64_t end, F&& body) const {
  UNETD_CHECK(begin >= 0 && end - begin <= shape_.h, "rows ", begin, " to ", end, " of a band of ",
              shape_);
  for (int64_t image = 0; image < shape_.n; ++image) {
    for (int64_t row = begin; row < end;) {
      const int64_t in_band = row % shape_.h, rows = std::min(end - row, shape_.h - in_band);
      body(image, in_band, rows, row - begin);
      row += rows;
    }
  }
}

void Band::reach(int64_t end) {
  Backend& device = backend(options_.device);
  const auto pitch = static_cast<size_t>(shape_.w * shape_.c) * sizeof(float);
  const int64_t begin = std::max(end_, end - shape_.h);
  for_each_stretch(
      begin, std::max(begin, end), [&](int64_t image, int64_t row, int64_t rows, int64_t) {
        device.fill(sums_->data() + static_cast<size_t>(image * shape_.h + row) * pitch, 0,
                    static_cast<size_t>(rows) * pitch, device.stream());
      });
  end_ = std::max(end_, end);
}

Tensor Band::download(const Buffer& from, int64_t channels, DType dtype, int64_t begin,
                      int64_t end) {
  Tensor result({shape_.n, end - begin, shape_.w, channels}, dtype);
  const auto pitch = static_cast<size_t>(shape_.w * channels) * size_of(dtype);
  auto* const to = static_cast<std::byte*>(result.data());
  for_each_stretch(begin, end, [&](int64_t image, int64_t row, int64_t rows, int64_t at) {
    const size_t bytes = static_cast<size_t>(rows) * pitch;
    std::byte* const target = to + static_cast<size_t>(image * (end - begin) + at) * pitch;
    staging_.download(from.data() + static_cast<size_t>(image * shape_.h + row) * pitch, bytes,
                      [&](const std::byte* host) { return std::memcpy(target, host, bytes); });
  });
  return result;
}

Tensor Band::take(int64_t begin, int64_t end) {
  return download(*sums_, shape_.c, DType::f32, begin, end);
}

Tensor Band::take_classes(int64_t begin, int64_t end) {
  if (!classify_) {
    constexpr float even = 0.5F;  // between probabilities
    classes_ = std::make_shared<Buffer>(options_.device, static_cast<size_t>(shape_.pixels()));
    Graph g;
    const Shape classes{shape_.n, shape_.h, shape_.w, 1};
    classify(g, sums(g), even, g.external(classes_, 0, classes, DType::u8, "classes", Kind::dense));
    classify_ = std::make_unique<Session>(g, options_);
  }
  classify_->run();
  return download(*classes_, 1, DType::u8, begin, end);
}

}  // namespace unetd

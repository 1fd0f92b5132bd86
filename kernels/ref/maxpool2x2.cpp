#include "engine/op/maxpool2x2.h"

#include "kernels/ref/ref.h"

namespace unetd::ref {
namespace {

void forward(const MaxPool2x2& p, const MaxPool2x2::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape out = p.y();
    const Features<const T> x(b.x, p.x);
    const auto y = cleared<Features<T>>(b.y, out);
    const auto argmax = cleared<Features<uint8_t>>(b.argmax, out);
    for_each_row(out, [&](int64_t n, int64_t i) {
      for (int64_t j = 0; j < out.w; ++j) {
        for (int64_t c = 0; c < out.c; ++c) {
          const std::array<T, 4> window{x(n, 2 * i, 2 * j, c), x(n, 2 * i, 2 * j + 1, c),
                                        x(n, 2 * i + 1, 2 * j, c), x(n, 2 * i + 1, 2 * j + 1, c)};
          const int at = place_of_maximum(window);
          y(n, i, j, c) = window[static_cast<size_t>(at)];
          argmax(n, i, j, c) = static_cast<uint8_t>(at);
        }
      }
    });
  });
}

void grad(const MaxPool2x2Grad& p, const MaxPool2x2Grad::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Shape out = p.y();
    const Features<const T> dy(b.dy, out);
    const Features<const uint8_t> argmax(b.argmax, out);
    const auto dx = cleared<Features<T>>(b.dx, p.x);
    for_each_row(out, [&](int64_t n, int64_t i) {
      for (int64_t j = 0; j < out.w; ++j) {
        for (int64_t c = 0; c < out.c; ++c) {
          const int64_t tap = argmax(n, i, j, c);
          dx(n, 2 * i + tap / 2, 2 * j + tap % 2, c) = dy(n, i, j, c);
        }
      }
    });
  });
}

}  // namespace

void register_maxpool2x2() {
  add<forward, MaxPool2x2>();
  add<grad, MaxPool2x2Grad>();
}

}  // namespace unetd::ref

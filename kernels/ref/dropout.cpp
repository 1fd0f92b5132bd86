#include "engine/op/dropout.h"

#include "kernels/ref/ref.h"

namespace unetd::ref {
namespace {

void dropout(const Dropout& p, const Dropout::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> x(b.x, p.shape);
    const auto y = cleared<Features<T>>(b.y, p.shape);
    for_each_row(p.shape, [&](int64_t n, int64_t h) {
      for (int64_t w = 0; w < p.shape.w; ++w) {
        const int64_t pixel = (n * p.shape.h + h) * p.shape.w + w;
        for (int64_t c = 0; c < p.shape.c; ++c) {
          const PhiloxWords words = dropout_words(p.seed, *b.batch, pixel, c / 4);
          const bool kept = dropout_keeps(words.v[c % 4], p.rate);
          y(n, h, w, c) = kept ? static_cast<T>(x(n, h, w, c) * static_cast<T>(p.scale())) : T{};
        }
      }
    });
  });
}

}  // namespace

void register_dropout() { add<dropout, Dropout>(); }

}  // namespace unetd::ref

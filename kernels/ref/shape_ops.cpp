#include "engine/op/shape_ops.h"

#include "kernels/ref/ref.h"

namespace unetd::ref {
namespace {

// to[n, h, w, c] = from[n, h + dh, w + dw, c + dc] wherever both exist.
template <class T>
void copy_shifted(const Features<const T>& from, const Features<T>& to, int64_t dh, int64_t dw,
                  int64_t dc) {
  const Shape &s = from.shape(), &d = to.shape();
  for_each_row(d, [&](int64_t n, int64_t h) {
    if (h + dh < 0 || h + dh >= s.h) return;
    for (int64_t w = std::max<int64_t>(0, -dw); w < std::min(d.w, s.w - dw); ++w) {
      for (int64_t c = std::max<int64_t>(0, -dc); c < std::min(d.c, s.c - dc); ++c) {
        to(n, h, w, c) = from(n, h + dh, w + dw, c + dc);
      }
    }
  });
}

void concat(const ConcatChannels& p, const ConcatChannels::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const auto y = cleared<Features<T>>(b.y, p.y());
    copy_shifted<T>({b.a, p.a}, y, 0, 0, 0);
    copy_shifted<T>({b.b, p.b()}, y, 0, 0, -p.a.c);
  });
}

void split(const SplitChannels& p, const SplitChannels::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    const Features<const T> y(b.y, p.y());
    copy_shifted<T>(y, cleared<Features<T>>(b.a, p.a), 0, 0, 0);
    copy_shifted<T>(y, cleared<Features<T>>(b.b, p.b()), 0, 0, p.a.c);
  });
}

void pad(const Pad2d& p, const Pad2d::Buffers& b) {
  with_type(p.dtype, [&]<class T>(T) {
    copy_shifted<T>({b.x, p.x}, cleared<Features<T>>(b.y, p.y()), -p.top, -p.left, 0);
  });
}

}  // namespace

void register_shape_ops() {
  add<concat, ConcatChannels>();
  add<split, SplitChannels>();
  add<pad, Pad2d>();
}

}  // namespace unetd::ref

// Element-wise operations, and softmax over channels. Every byte of the inputs is read once and
// every byte of the output written once. ReLU, sigmoid, sums and their gradients take the image as
// a flat buffer. Softmax: a few neighbouring threads have a pixel; what they read again comes from
// the cache.
#include "engine/op/pointwise.h"
#include "kernels/cuda/flat.h"
#include "kernels/cuda/reduce.h"

#include <cmath>

namespace unetd::UNETD_GPU {
namespace {

// NaN passes, as it does in PyTorch.
struct Positive {
  SIMT_DEVICE float operator()(float x) const { return x < 0 ? 0.F : x; }
};
struct PositiveSlope {
  SIMT_DEVICE float operator()(float y, float dy) const { return y > 0 ? dy : 0.F; }
};
struct Logistic {
  SIMT_DEVICE float operator()(float x) const { return 1 / (1 + expf(-x)); }
};
struct LogisticSlope {
  SIMT_DEVICE float operator()(float y, float dy) const { return dy * y * (1 - y); }
};

template <class F, class P>
void unary(const P& p, const typename P::Buffers& b, const Stream& stream) {
  with_storage_type(p.dtype, [&]<class T>(T) {
    map(stream, F{}, p.shape.count(), static_cast<T*>(b.y), static_cast<const T*>(b.x));
  });
}
template <class F, class P>
void unary_grad(const P& p, const typename P::Buffers& b, const Stream& stream) {
  with_storage_type(p.dtype, [&]<class T>(T) {
    map(stream, F{}, p.shape.count(), static_cast<T*>(b.dx), static_cast<const T*>(b.y),
        static_cast<const T*>(b.dy));
  });
}
void sum(const Add& p, const Add::Buffers& b, const Stream& stream) {
  with_storage_type(p.dtype, [&]<class T>(T) {
    map(stream, Plus{}, p.shape.count(), static_cast<T*>(b.y), static_cast<const T*>(b.a),
        static_cast<const T*>(b.b));
  });
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    softmax_kernel(T* __restrict__ y, const T* __restrict__ x, Pixels g) {
  for_each_pixel(g, [&](int64_t pixel, bool own) {
    const int64_t at = pixel * g.channels;
    float top = -INFINITY, sum = 0;
    for_each_pack<N>(g, [&](int64_t c) {
      const Floats<N> in = load_floats<N>(x + at + c);
      for (int k = 0; k < N; ++k) top = Larger{}(top, in.v[k]);
    });
    top = join_lanes(top, g.lanes, Larger{});
    for_each_pack<N>(g, [&](int64_t c) {
      const Floats<N> in = load_floats<N>(x + at + c);
      for (int k = 0; k < N; ++k) sum += expf(in.v[k] - top);
    });
    const float scale = 1 / join_lanes(sum, g.lanes, Plus{});
    for_each_pack<N>(g, [&](int64_t c) {
      Floats<N> out = load_floats<N>(x + at + c);
      for (int k = 0; k < N; ++k) out.v[k] = expf(out.v[k] - top) * scale;
      if (own) store_floats(y + at + c, out);
    });
  });
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads)
    softmax_grad_kernel(T* __restrict__ dx, const T* __restrict__ y, const T* __restrict__ dy,
                        Pixels g) {
  for_each_pixel(g, [&](int64_t pixel, bool own) {
    const int64_t at = pixel * g.channels;
    float dot = 0;
    for_each_pack<N>(g, [&](int64_t c) {
      const Floats<N> a = load_floats<N>(y + at + c), b = load_floats<N>(dy + at + c);
      for (int k = 0; k < N; ++k) dot += a.v[k] * b.v[k];
    });
    dot = join_lanes(dot, g.lanes, Plus{});
    for_each_pack<N>(g, [&](int64_t c) {
      Floats<N> out = load_floats<N>(y + at + c);
      const Floats<N> upstream = load_floats<N>(dy + at + c);
      for (int k = 0; k < N; ++k) out.v[k] *= upstream.v[k] - dot;
      if (own) store_floats(dx + at + c, out);
    });
  });
}

void softmax(const Softmax& p, const Softmax::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, p.shape.c, [&]<class T, int N>(Pack<T, N>) {
    const Pixels g = pixels_of<N>(p.shape);
    simt::launch(softmax_kernel<T, N>, g.grid(), g.block(), 0, stream, static_cast<T*>(b.y),
                 static_cast<const T*>(b.x), g);
  });
}

void softmax_grad(const SoftmaxGrad& p, const SoftmaxGrad::Buffers& b, const Stream& stream) {
  with_pack(p.dtype, p.shape.c, [&]<class T, int N>(Pack<T, N>) {
    const Pixels g = pixels_of<N>(p.shape);
    simt::launch(softmax_grad_kernel<T, N>, g.grid(), g.block(), 0, stream, static_cast<T*>(b.dx),
                 static_cast<const T*>(b.y), static_cast<const T*>(b.dy), g);
  });
}

}  // namespace

void register_pointwise() {
  add<unary<Positive, Relu>, Relu>(only_storage_types);
  add<unary_grad<PositiveSlope, ReluGrad>, ReluGrad>(only_storage_types);
  add<unary<Logistic, Sigmoid>, Sigmoid>(only_storage_types);
  add<unary_grad<LogisticSlope, SigmoidGrad>, SigmoidGrad>(only_storage_types);
  add<softmax, Softmax>(only_storage_types);
  add<softmax_grad, SoftmaxGrad>(only_storage_types);
  add<sum, Add>(only_storage_types);
}

}  // namespace unetd::UNETD_GPU

// Max-pooling as the GPU kernels do it, on the emulator, in all their element types: against plain
// host code, bit for bit, with guard zones around what a kernel may write.
#include "engine/op/maxpool2x2.h"
#include "kernels/register.h"
#include "tests/simt/emulated.h"
#include "tests/support/guarded.h"

#include <limits>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

// `count` elements between red zones, NaN until somebody writes.
template <class T>
class Guarded {
 public:
  explicit Guarded(int64_t count) : buffer_(static_cast<size_t>(count) * sizeof(T)) {}
  T* data() { return reinterpret_cast<T*>(buffer_.data()); }
  T& operator[](int64_t i) { return data()[i]; }
  // The same bits, and nothing written outside.
  bool operator==(const Guarded& other) const {
    return buffer_.intact() &&
           std::memcmp(buffer_.data(), other.buffer_.data(), buffer_.bytes()) == 0;
  }

 private:
  GuardedBuffer buffer_;
};

int64_t index(const Shape& s, int64_t n, int64_t h, int64_t w, int64_t c) {
  return ((n * s.h + h) * s.w + w) * s.c + c;
}

template <class F>
void for_each_element(const Shape& s, F&& f) {
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t h = 0; h < s.h; ++h) {
      for (int64_t w = 0; w < s.w; ++w) {
        for (int64_t c = 0; c < s.c; ++c) f(n, h, w, c);
      }
    }
  }
}

// Few different numbers, so that there are ties, and now and then a NaN.
template <class T>
Guarded<T> image(const Shape& s) {
  Guarded<T> x(s.count());
  std::mt19937 random(1);
  for (int64_t i = 0; i < s.count(); ++i) {
    const auto number = static_cast<float>(random() % 7) - 3.F;
    const bool is_nan = random() % 20 == 0;
    x[i] = from_float<T>(is_nan ? std::numeric_limits<float>::quiet_NaN() : number);
  }
  return x;
}

template <class P>
void run(const P& problem, const typename P::Buffers& buffers) {
  Stream stream{DeviceType::simt};
  select(problem, DeviceType::simt).make(problem)->run(buffers, nullptr, stream);
}

template <class T>
void check_forward(const Shape& shape) {
  const MaxPool2x2 problem{shape, dtype_of<T>};
  const Shape out = problem.y();
  Guarded<T> x = image<T>(shape), y(out.count()), right_y(out.count());
  Guarded<uint8_t> argmax(out.count()), right_argmax(out.count());
  for_each_element(out, [&](int64_t n, int64_t h, int64_t w, int64_t c) {
    const auto tap_value = [&](int tap) {
      return x[index(shape, n, 2 * h + tap / 2, 2 * w + tap % 2, c)];
    };
    int best = 0;
    for (int tap = 1; tap < 4; ++tap) {
      const float challenger = to_float(tap_value(tap)), champion = to_float(tap_value(best));
      if (std::isnan(champion)) break;
      if (std::isnan(challenger) || challenger > champion) best = tap;
    }
    right_y[index(out, n, h, w, c)] = tap_value(best);
    right_argmax[index(out, n, h, w, c)] = static_cast<uint8_t>(best);
  });
  run(problem, {x.data(), y.data(), argmax.data()});
  CHECK(y == right_y);
  CHECK(argmax == right_argmax);
}

template <class T>
void check_backward(const Shape& shape) {
  const MaxPool2x2Grad problem{shape, dtype_of<T>};
  const Shape out = problem.y();
  Guarded<T> dy(out.count()), dx(shape.count()), right(shape.count());
  Guarded<uint8_t> argmax(out.count());
  std::mt19937 random(2);
  for (int64_t i = 0; i < shape.count(); ++i) right[i] = T{};
  for_each_element(out, [&](int64_t n, int64_t h, int64_t w, int64_t c) {
    const int64_t i = index(out, n, h, w, c);
    const auto tap = static_cast<uint8_t>(random() % 4);
    argmax[i] = tap;
    dy[i] = from_float<T>(static_cast<float>(random() % 100) + 1.F);
    right[index(shape, n, 2 * h + tap / 2, 2 * w + tap % 2, c)] = dy[i];
  });
  run(problem, {dy.data(), argmax.data(), dx.data()});
  CHECK(dx == right);
}

TEMPLATE_TEST_CASE("max-pooling on the emulator", "[simt][unit]", float, bf16, f16) {
  register_kernels();
  in_every_order([] {
    for (const Shape& shape : {Shape{1, 2, 2, 8},
                               {2, 5, 7, 16},
                               {3, 4, 6, 8},
                               {1, 1, 3, 8},
                               {1, 3, 1, 8},
                               {1, 2, 40, 64}}) {
      INFO(shape);
      check_forward<TestType>(shape);
      check_backward<TestType>(shape);
    }
  });
}

TEST_CASE("max-pooling declines what does not fill packs", "[simt][unit]") {
  register_kernels();
  const auto reason = [](const Shape& shape, DType dtype) {
    return error_of([&] { select(MaxPool2x2{shape, dtype}, DeviceType::simt); });
  };
  CHECK(reason({1, 4, 4, 4}, DType::f32).empty());
  CHECK(reason({1, 4, 4, 8}, DType::bf16).empty());
  CHECK_THAT(reason({1, 4, 4, 4}, DType::f16),
             Catch::Contains("cuda: channels do not fill 16-byte packs"));
  CHECK_THAT(reason({1, 4, 4, 3}, DType::f32), Catch::Contains("maxpool2x2 on simt"));
  CHECK_THAT(reason({1, 4, 4, 8}, DType::f64), Catch::Contains("only f32, bf16 and f16"));
}

}  // namespace
}  // namespace unetd

// Bias, ReLU, channel sums, statistics, a batch norm's gradient, widening and swapped channels as
// the GPU kernels do them,
// on the emulator, against plain host code.
#include "kernels/cuda/conv_pieces.h"
#include "tests/simt/emulated.h"
#include "tests/support/guarded.h"

#include <limits>
#include <type_traits>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

constexpr DeviceType device = DeviceType::simt;

struct Extents {
  int64_t pixels, channels;
};
// Fewer and more than a block has, and channels that fill no block.
constexpr Extents extents[] = {{1, 1}, {3, 13}, {64, 32}, {129, 4}, {1000, 40}, {2500, 65}};

// `count` elements between red zones.
template <class T>
struct Guarded {
  explicit Guarded(size_t count) : buffer(count * sizeof(T)) {}
  explicit Guarded(const std::vector<float>& values) : Guarded(values.size()) {
    for (size_t i = 0; i < values.size(); ++i) data()[i] = from_float<T>(values[i]);
  }
  T* data() const { return reinterpret_cast<T*>(buffer.data()); }
  float at(int64_t i) const { return to_float(data()[i]); }
  GuardedBuffer buffer;
};

size_t count_of(const Extents& e) { return static_cast<size_t>(e.pixels * e.channels); }

template <class T>
void check_bias(const Extents& e, bool with_bias, bool relu) {
  std::vector<float> values = random_values(count_of(e));
  values.back() = std::numeric_limits<float>::quiet_NaN();
  const Guarded<T> y(values), before(values);
  const Guarded<float> bias(random_values(static_cast<size_t>(e.channels), 2));
  add_bias<device>(y.data(), with_bias ? bias.data() : nullptr, relu, dtype_of<T>, e.pixels,
                   e.channels, {});
  CHECK(y.buffer.intact());
  const auto count = static_cast<int64_t>(count_of(e));
  int64_t wrong = 0;
  for (int64_t i = 0; i + 1 < count; ++i) {
    const float sum = before.at(i) + (with_bias ? bias.at(i % e.channels) : 0.F);
    wrong += y.at(i) != to_float(from_float<T>(relu ? std::max(sum, 0.F) : sum));
  }
  CHECK(wrong == 0);
  CHECK(std::isnan(y.at(count - 1)));
}

template <class T>
void check_sums(const Extents& e) {
  const Guarded<T> x(random_values(count_of(e)));
  const Guarded<float> sums(static_cast<size_t>(e.channels));
  const GuardedBuffer workspace(channel_sums_workspace<device>(e.pixels, e.channels));
  channel_sums<device>(sums.data(), x.data(), dtype_of<T>, e.pixels, e.channels, workspace.data(),
                       {});
  CHECK(sums.buffer.intact());
  CHECK(workspace.intact());
  for (int64_t c = 0; c < e.channels; ++c) {
    double right = 0;
    for (int64_t p = 0; p < e.pixels; ++p) right += double{x.at(p * e.channels + c)};
    REQUIRE(std::abs(double{sums.at(c)} - right) < 1e-6 * static_cast<double>(e.pixels));
  }
}

template <class T>
void check_swap(int64_t k, int64_t taps, int64_t c) {
  const auto count = static_cast<size_t>(k * taps * c);
  const Guarded<T> w(random_values(count)), swapped(count);
  swap_channels<device>(swapped.data(), w.data(), dtype_of<T>, k, taps, c, {});
  CHECK(swapped.buffer.intact());
  int64_t wrong = 0;
  for (int64_t i = 0; i < k * taps * c; ++i) {
    const int64_t ki = i / (taps * c), tap = i / c % taps, ci = i % c;
    wrong += swapped.at((ci * taps + tap) * k + ki) != w.at(i);
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("bias and ReLU are added in place", "[simt][unit]", float, bf16, f16) {
  in_every_order([] {
    for (const Extents& e : extents) {
      INFO(e.pixels << " pixels of " << e.channels);
      check_bias<TestType>(e, true, true);
      check_bias<TestType>(e, true, false);
      check_bias<TestType>(e, false, true);
    }
  });
}

TEMPLATE_TEST_CASE("channels are summed over pixels", "[simt][unit]", float, bf16, f16) {
  in_every_order([] {
    for (const Extents& e : extents) {
      INFO(e.pixels << " pixels of " << e.channels);
      check_sums<TestType>(e);
    }
  });
}

TEST_CASE("statistics come from sums and sums of squares", "[simt][unit]") {
  // Of 1, 2, 3, 6 and, in a channel whose squares are rounded, of four equal numbers.
  const Conv2dStats problem{.geometry = {.x = {1, 2, 2, 1}, .k = 2}, .eps = 0.5F};
  const Guarded<float> sums({12, 0.4F}), squares({50, 0.03999F}), mean(2), rstd(2);
  const Guarded<float> running_mean({1, 1}), running_var({2, 2});
  Conv2dStats::Buffers buffers{};
  buffers.mean = mean.data();
  buffers.rstd = rstd.data();
  buffers.running_mean = running_mean.data();
  buffers.running_var = running_var.data();
  statistics_of_sums<device>(problem, buffers, sums.data(), squares.data(), {});
  CHECK(mean.at(0) == 3);
  CHECK(rstd.at(0) == Approx(1 / std::sqrt(3.5 + 0.5)));
  CHECK(running_mean.at(0) == Approx(0.9 + 0.3));
  CHECK(running_var.at(0) == Approx(1.8 + 0.1 * 14 / 3));
  CHECK(mean.at(1) == Approx(0.1));
  CHECK(rstd.at(1) == Approx(1 / std::sqrt(0.5)));
  CHECK(running_var.at(1) == Approx(1.8));
  for (const auto* v : {&mean, &rstd, &running_mean, &running_var}) CHECK(v->buffer.intact());
}

TEMPLATE_TEST_CASE("a batch norm's gradient is made of its sums", "[simt][unit]", float, bf16,
                   f16) {
  for (const Extents& e : extents) {
    INFO(e.pixels << " pixels of " << e.channels);
    const auto channels = static_cast<size_t>(e.channels);
    const Guarded<TestType> x(random_values(count_of(e))), dz(random_values(count_of(e), 2)),
        dx(count_of(e));
    const Guarded<float> gamma(random_values(channels, 3)), mean(random_values(channels, 4)),
        rstd(random_values(channels, 5)), dgamma(random_values(channels, 6)),
        dbeta(random_values(channels, 7));
    const Conv2dNormGrad problem{.geometry = {.x = {1, 1, e.pixels, e.channels}, .k = 3},
                                 .dtype = dtype_of<TestType>};
    Conv2dNormGrad::Buffers b{};
    b.x = x.data(), b.dz = dz.data(), b.dx = dx.data();
    b.gamma = b.beta = gamma.data(), b.mean = mean.data(), b.rstd = rstd.data();
    b.dgamma = dgamma.data(), b.dbeta = dbeta.data();
    const GuardedBuffer workspace(norm_gradient_workspace<device>(problem));
    norm_gradient<device>(problem, b, workspace.data(), {});
    CHECK((dx.buffer.intact() && workspace.intact()));
    const auto count = static_cast<double>(e.pixels);
    for (int64_t i = 0; i < e.pixels * e.channels; ++i) {
      const int64_t c = i % e.channels;
      const double xhat = (double{x.at(i)} - mean.at(c)) * rstd.at(c);
      const double want = double{gamma.at(c)} * rstd.at(c) *
                          (dz.at(i) - dbeta.at(c) / count - xhat * dgamma.at(c) / count);
      const double rounding = std::is_same_v<TestType, float> ? 1e-5 : 0x1p-8;
      REQUIRE(std::abs(dx.at(i) - want) <= rounding * (std::abs(want) + 0.01));
    }
  }
}

TEMPLATE_TEST_CASE("filters swap their channels", "[simt][unit]", float, bf16, f16) {
  in_every_order([] {
    check_swap<TestType>(1, 4, 1);
    check_swap<TestType>(32, 4, 64);
    check_swap<TestType>(13, 4, 70);
    check_swap<TestType>(65, 1, 33);
  });
}

TEMPLATE_TEST_CASE("16-bit numbers widen exactly", "[simt][unit]", bf16, f16, float) {
  in_every_order([] {
    const Guarded<TestType> x(random_values(1001));
    const Guarded<float> y(1001);
    widen<device>(y.data(), x.data(), dtype_of<TestType>, 1001, {});
    CHECK(y.buffer.intact());
    for (int64_t i = 0; i < 1001; ++i) REQUIRE(y.at(i) == x.at(i));
  });
}

TEST_CASE("other element types are refused", "[simt][unit]") {
  CHECK_THROWS_WITH(widen<device>(nullptr, nullptr, DType::f64, 1, {}), Catch::Contains("f64"));
}

}  // namespace
}  // namespace unetd

// Every implementation of every problem on every device of this build against the reference.
#include "kernels/register.h"
#include "tests/cases/all.h"
#include "tests/simt/emulated.h"
#include "tests/support/gpu.h"
#include "tests/support/harness.h"

#include <cmath>
#include <iostream>
#include <limits>
#include <optional>
#include <set>
#include <type_traits>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

// What an implementation did with the list of cases.
struct Tally {
  size_t taken = 0, declined = 0;
  std::set<std::string> reasons;
};

// The cases in every storage type that the device's images may have.
template <class P>
std::vector<P> typed_cases(DeviceType device) {
  std::vector<P> all;
  for (const DType dtype : storage_types(device)) {
    for (const P& problem : cases<P>().test) all.push_back(with_dtype(problem, dtype));
  }
  return all;
}

// To the thread sanitizer every lane is a thread, which takes time: it gets the small problems.
template <class P>
bool left_out(const P& problem, DeviceType device) {
  constexpr int64_t most_bytes = 1 << 13, most_flops = 1 << 20;
  if (!simt::sanitizer::thread) return false;
  return bytes(problem, device) > most_bytes || flops(problem) > most_flops;
}

// One case, whose reference serves all implementations.
template <class P>
void run_case(const P& problem, DeviceType device, std::vector<Tally>& tallies) {
  const auto& all = impls<P>(device);
  const HostData data = make_data(describe(problem));
  std::optional<std::vector<Tensor>> want;
  for (size_t i = 0; i < all.size(); ++i) {
    if (const char* reason = all[i].reject(problem)) {
      ++tallies[i].declined;
      tallies[i].reasons.insert(reason);
      continue;
    }
    ++tallies[i].taken;
    if (!want) want = reference(problem, data);
    INFO(name_of(device) << " " << all[i].name << ", " << text_of(problem));
    for (const std::string& fault : faults_of(all[i], problem, device, data, *want)) {
      FAIL_CHECK(fault);
    }
  }
}

template <class P>
void check_implementations(DeviceType device) {
  const auto& all = impls<P>(device);
  std::vector<Tally> tallies(all.size());
  for (const P& problem : typed_cases<P>(device)) {
    if (!left_out(problem, device)) run_case(problem, device, tallies);
  }
  for (size_t i = 0; i < all.size(); ++i) {
    const Tally& tally = tallies[i];
    INFO(name_of(device) << " " << all[i].name << " of " << P::name);
    CHECK(tally.taken > 0);
    if (tally.declined == 0) continue;
    std::cout << P::name << " on " << name_of(device) << ": " << all[i].name << " declines "
              << tally.declined << " of " << tally.declined + tally.taken << " cases:";
    for (const std::string& reason : tally.reasons) std::cout << " (" << reason << ")";
    std::cout << '\n';
  }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("implementations agree with the reference", "[ops]", AllProblems) {
  register_kernels();
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    check_implementations<TestType>(device);
  }
}

TEMPLATE_LIST_TEST_CASE("implementations on the GPU agree with the reference", "[ops][gpu]",
                        AllProblems) {
  register_kernels();
  if (gpu_is_there()) check_implementations<TestType>(DeviceType::cuda);
}

TEMPLATE_LIST_TEST_CASE("the reference is the CPU's last resort", "[ops]", AllProblems) {
  register_kernels();
  REQUIRE_FALSE(impls<TestType>(DeviceType::cpu).empty());
  const Impl<TestType>& last = impls<TestType>(DeviceType::cpu).back();
  CHECK(last.name == "ref");
  for (const TestType& problem : cases<TestType>().perf) CHECK(last.reject(problem) == nullptr);
}

TEST_CASE("a sum may be written over its first term", "[ops]") {
  register_kernels();
  const Add problem{.shape = {2, 5, 7, 17}};
  const HostData data = make_data(describe(problem));
  const std::vector<Tensor> want = reference(problem, data);
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    for (const Impl<Add>& impl : impls<Add>(device)) {
      if (impl.reject(problem) != nullptr) continue;
      INFO(name_of(device) << " " << impl.name);
      const Layout layout = layout_of(device);
      const DeviceData buffers(describe(problem), data, layout);
      const void* in[] = {buffers.in[0].data(), buffers.in[1].data()};
      void* out[] = {buffers.in[0].data()};
      Stream stream{device};
      const auto kernel = impl.make(problem);
      const GuardedBuffer workspace(kernel->workspace());
      kernel->run(problem.bind(in, out), workspace.data(), stream);
      const Tensor got = unpack(out[0], Kind::features, layout, problem.shape, problem.dtype);
      CHECK(difference(got, want[0], tolerance(DType::f32, 1)).empty());
    }
  }
}

TEMPLATE_TEST_CASE("a loss without valid pixels is zero, and so is its gradient", "[ops]",
                   CrossEntropy, BceWithLogits, TverskyLoss) {
  register_kernels();
  const TestType problem{.logits = {1, 4, 5, 3}, .weighted = true};
  HostData data = make_data(describe(problem));
  std::ranges::fill(data.in[1].span<uint8_t>(), ignore_label);
  std::vector<Tensor> want = reference(problem, data);
  for (const Tensor& t : want)
    CHECK(std::ranges::all_of(t.span<double>(), [](double v) { return v == 0; }));
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    for (const Impl<TestType>& impl : impls<TestType>(device)) {
      if (impl.reject(problem) != nullptr) continue;
      INFO(name_of(device) << " " << impl.name);
      CHECK(faults_of(impl, problem, device, data, want).empty());
    }
  }
}

TEST_CASE("the Tversky loss leaves out classes that are not there, and hides no NaN", "[ops]") {
  register_kernels();
  const bool broken = GENERATE(false, true);
  for (const Activation activation : {Activation::softmax, Activation::sigmoid}) {
    const TverskyLoss problem{.logits = {1, 4, 5, 3}, .activation = activation};
    HostData data = make_data(describe(problem));
    // Two classes alike, the third one nowhere; every pixel is surely wrong.
    for (size_t i = 0; i < 20; ++i) {
      data.in[1].span<uint8_t>()[i] = static_cast<uint8_t>(i % 2);
      for (size_t c = 0; c < 3; ++c) data.in[0].span<float>()[3 * i + c] = c == 2 ? 20.F : -20.F;
    }
    if (broken) data.in[0].span<float>()[7] = std::nanf("");
    const std::vector<Tensor> want = reference(problem, data);
    // tp = fp = 0, fn = 10: index = smooth / (fn / 2 + smooth), for both classes
    const double loss = want[0].span<double>()[0];
    CHECK((broken ? std::isnan(loss) : std::abs(loss - 5. / 6) < 1e-6));
    for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
      for (const Impl<TverskyLoss>& impl : impls<TverskyLoss>(device)) {
        if (impl.reject(problem) != nullptr) continue;
        INFO(name_of(device) << " " << impl.name);
        CHECK(faults_of(impl, problem, device, data, want) == std::vector<std::string>{});
      }
    }
  }
}

TEMPLATE_TEST_CASE("NaN wins over numbers in max-pooling", "[ops]", float, bf16, f16) {
  register_kernels();
  const MaxPool2x2 problem{.x = {1, 4, 4, 17}, .dtype = dtype_of<TestType>};
  HostData data = make_data(describe(problem));
  for (const size_t i : {5, 100, 200}) {
    data.in[0].span<TestType>()[i] = element_of<TestType>(std::numeric_limits<double>::quiet_NaN());
  }
  const std::vector<Tensor> want = reference(problem, data);
  CHECK(std::isnan(want[0].span<double>()[5]));
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    for (const Impl<MaxPool2x2>& impl : impls<MaxPool2x2>(device)) {
      if (impl.reject(problem) != nullptr) continue;
      INFO(name_of(device) << " " << impl.name);
      CHECK(faults_of(impl, problem, device, data, want) == std::vector<std::string>{});
    }
  }
}

// The gradient of a NaN is NaN, but where it goes shows in dbeta.
TEMPLATE_TEST_CASE("NaN wins over numbers in fused pooling", "[ops]", BatchNormApplyPool,
                   BatchNormPoolGrad) {
  register_kernels();
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      const TestType problem{.shape = {1, 5, 4, 17}, .dtype = dtype};
      HostData data = make_data(describe(problem));
      with_element(dtype, [&]<class T>(T) {
        for (const size_t i : {5, 100, 200, 330}) {
          data.in[0].span<T>()[i] = element_of<T>(std::numeric_limits<double>::quiet_NaN());
        }
      });
      const std::vector<Tensor> want = reference(problem, data);
      CHECK(std::isnan(want[0].span<double>()[5]));
      for (const Impl<TestType>& impl : impls<TestType>(device)) {
        if (impl.reject(problem) != nullptr) continue;
        INFO(name_of(device) << " " << impl.name << " " << name_of(dtype));
        CHECK(faults_of(impl, problem, device, data, want) == std::vector<std::string>{});
      }
    }
  }
}

namespace {

template <class P, class T>
void check_nan(const P& problem, const std::vector<size_t>& places) {
  HostData data = make_data(describe(problem));
  for (const size_t i : places) {
    data.in[0].span<T>()[i] = element_of<T>(std::numeric_limits<double>::quiet_NaN());
  }
  const std::vector<Tensor> want = reference(problem, data);
  if constexpr (std::is_same_v<P, Classify>) {
    const auto c = static_cast<size_t>(problem.values.c);
    for (const size_t i : places) CHECK(want[0].span<uint8_t>()[i / c] == no_class);
  }
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    for (const Impl<P>& impl : impls<P>(device)) {
      if (impl.reject(problem) != nullptr) continue;
      INFO(name_of(device) << " " << impl.name << ", " << text_of(problem));
      CHECK(faults_of(impl, problem, device, data, want) == std::vector<std::string>{});
    }
  }
}

}  // namespace

// In the first channel, in another one, in all, and in the only one.
TEMPLATE_TEST_CASE("NaN is no class, and in the matrix larger than nothing", "[ops]", float, bf16,
                   f16) {
  register_kernels();
  constexpr DType dtype = dtype_of<TestType>;
  for (const int64_t c : {4, 17}) {
    const auto n = static_cast<size_t>(c);
    std::vector<size_t> places{0, n + 2, 3 * n + 1, 3 * n};
    for (size_t k = 0; k < n; ++k) places.push_back(5 * n + k);
    check_nan<Classify, TestType>({.values = {1, 3, 4, c}, .dtype = dtype}, places);
    check_nan<ConfusionMatrix, TestType>({.values = {1, 3, 4, c}, .dtype = dtype}, places);
    check_nan<ProbabilityCounts, TestType>({.values = {1, 3, 4, c}, .dtype = dtype}, places);
  }
  check_nan<Classify, TestType>({.values = {1, 3, 4, 1}, .dtype = dtype}, {2, 7});
  check_nan<ConfusionMatrix, TestType>({.values = {1, 3, 4, 1}, .dtype = dtype}, {2, 7});
  check_nan<ProbabilityCounts, TestType>({.values = {1, 3, 4, 1}, .dtype = dtype}, {2, 7});
}

TEMPLATE_TEST_CASE("a cast rounds to nearest, ties to even", "[ops]", float, bf16, f16) {
  register_kernels();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> numbers = {
      0.F,     -0.F,     1.F,          0x1.01p0F,    0x1.03p0F, 0x1.002p0F, 0x1.006p0F,
      65519.F, 65520.F,  -65536.F,     1e30F,        0x1p-24F,  0x1p-25F,   0x1.8p-25F,
      1e-40F,  infinity, -infinity,    0x1.fffp14F,  3.4e38F,   -0.1F,      1 / 3.F,
      1e-5F,   0x1p-14F, 0x1.ffcp-15F, std::nanf("")};
  const Cast problem{.shape = vector_shape(static_cast<int64_t>(numbers.size())),
                     .to = dtype_of<TestType>};
  HostData data;
  data.in.push_back(Tensor::from<float>(problem.shape, numbers));
  data.out.emplace_back();
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt}) {
    for (const Impl<Cast>& impl : impls<Cast>(device)) {
      INFO(name_of(device) << " " << impl.name);
      const Layout layout = layout_of(device);
      const DeviceData buffers(describe(problem), data, layout);
      CHECK(run_on(problem, *impl.make(problem), device, buffers));
      const Tensor y =
          unpack(buffers.out[0].data(), problem.kind, layout, problem.shape, problem.result());
      const std::span<const TestType> got = y.span<TestType>();
      for (size_t i = 0; i + 1 < numbers.size(); ++i) {
        INFO(numbers[i]);
        CHECK(to_float(got[i]) == to_float(from_float<TestType>(numbers[i])));
      }
      CHECK(std::isnan(to_float(got.back())));
    }
  }
}

namespace {

// The outputs of a problem whose buffers begin `shift` elements behind an aligned address.
template <class P>
std::vector<Tensor> run_shifted(const P& problem, const HostData& data, int64_t shift) {
  const Signature signature = describe(problem);
  std::vector<GuardedBuffer> memory;
  const auto place = [&](const BufferSpec& spec, const Tensor& content) {
    const size_t begin = static_cast<size_t>(shift) * size_of(spec.dtype);
    const size_t bytes = storage_bytes(spec, Layout::nhwc);
    std::byte* at = memory.emplace_back(begin + bytes).data() + begin;
    if (!content.empty()) std::memcpy(at, content.data(), bytes);
    return at;
  };
  std::vector<const void*> in;
  std::vector<void*> out;
  for (size_t i = 0; i < data.in.size(); ++i) in.push_back(place(signature.in[i], data.in[i]));
  for (size_t i = 0; i < data.out.size(); ++i) out.push_back(place(signature.out[i], data.out[i]));
  const auto kernel = select(problem, DeviceType::simt).make(problem);
  const GuardedBuffer workspace(kernel->workspace());
  Stream stream{DeviceType::simt};
  kernel->run(problem.bind(in, out), workspace.data(), stream);
  std::vector<Tensor> results;
  for (size_t i = 0; i < out.size(); ++i) {
    const BufferSpec& spec = signature.out[i];
    results.push_back(unpack(out[i], spec.kind, Layout::nhwc, spec.shape, spec.dtype));
  }
  return results;
}

}  // namespace

TEMPLATE_TEST_CASE("a flat buffer may begin at any element", "[ops]", GlobalNorm, AdamW, Sgd,
                   RmsProp, Ema, Cast) {
  register_kernels();
  for (const TestType& problem : cases<TestType>().test) {
    const HostData data = make_data(describe(problem));
    const std::vector<Tensor> aligned = run_shifted(problem, data, 0);
    const std::vector<Tensor> shifted = run_shifted(problem, data, 1);
    for (size_t i = 0; i < aligned.size(); ++i) {
      CHECK(difference(shifted[i], aligned[i], tolerance(DType::f32, 1)).empty());
    }
  }
}

TEST_CASE("kernels decline the types that they do not take", "[ops]") {
  register_kernels();
  const auto reason = [](const auto& problem) {
    return error_of([&] { select(problem, DeviceType::simt); });
  };
  const Shape shape{1, 4, 4, 3};
  CHECK(reason(MaxPool2x2{shape, DType::bf16}).empty());
  CHECK_THAT(reason(MaxPool2x2{shape, DType::f64}), Catch::Contains("only f32, bf16 and f16"));
  CHECK_THAT(reason(CrossEntropy{.logits = shape, .dtype = DType::bf16}),
             Catch::Contains("cross_entropy on simt: cuda: only f32"));
  CHECK_THAT(reason(AdamW{.count = 3, .dtype = DType::f16}), Catch::Contains("only f32"));
  CHECK_THAT(reason(ResizeBilinearGrad{{.x = shape, .scene_h = 8, .scene_w = 8}}),
             Catch::Contains("gradient of a window"));
}

// --- the harness itself: kernels with planted faults
// ------------------------------------------------

namespace {

const Shape planted_shape{1, 2, 3, 5};

void right(const Relu& p, const Relu::Buffers& b) {
  const float* x = static_cast<const float*>(b.x);
  float* y = static_cast<float*>(b.y);
  for (int64_t i = 0; i < storage_count(Layout::blocked16, Kind::features, p.shape); ++i) {
    y[i] = std::max(x[i], 0.0F);
  }
}
void overrun(const Relu& p, const Relu::Buffers& b) {
  right(p, b);
  static_cast<float*>(b.y)[storage_count(Layout::blocked16, Kind::features, p.shape)] = 1;
}
void underrun(const Relu& p, const Relu::Buffers& b) {
  right(p, b);
  static_cast<float*>(b.y)[-1] = 1;
}
void unwritten(const Relu&, const Relu::Buffers& b) { static_cast<float*>(b.y)[0] = 0; }
void dirty_padding(const Relu& p, const Relu::Buffers& b) {
  right(p, b);
  static_cast<float*>(b.y)[15] = 1;
}
void writes_input(const Relu& p, const Relu::Buffers& b) {
  right(p, b);
  static_cast<float*>(const_cast<void*>(b.x))[0] += 1;
}
void one_wrong(const Relu& p, const Relu::Buffers& b) {
  right(p, b);
  static_cast<float*>(b.y)[3] += 1e-4F;
}
void fickle(const Relu& p, const Relu::Buffers& b) {
  static float calls = 0;
  right(p, b);
  static_cast<float*>(b.y)[3] += ++calls;
}

template <auto function>
std::vector<std::string> faults_of_planted() {
  register_kernels();
  const Relu problem{{.shape = planted_shape}};
  const Impl<Relu> impl{"planted", take_all<Relu>,
                        [](const Relu& p) -> std::unique_ptr<Kernel<Relu>> {
                          return std::make_unique<detail::FunctionKernel<Relu, function>>(p);
                        }};
  const HostData data = make_data(describe(problem));
  return faults_of(impl, problem, DeviceType::cpu, data, reference(problem, data));
}

bool mentions(const std::vector<std::string>& faults, const std::string& what) {
  return std::ranges::any_of(
      faults, [&](const std::string& f) { return f.find(what) != std::string::npos; });
}

}  // namespace

TEST_CASE("the harness finds planted faults", "[ops]") {
  CHECK(faults_of_planted<right>().empty());
  CHECK(mentions(faults_of_planted<unwritten>(), "nan"));
  CHECK(mentions(faults_of_planted<dirty_padding>(), "padding of y"));
  CHECK(mentions(faults_of_planted<writes_input>(), "changes its input x"));
  CHECK(mentions(faults_of_planted<one_wrong>(), "element 3"));
  CHECK(mentions(faults_of_planted<fickle>(), "differs by run"));
  if (!simt::sanitizer::address) {  // which ends the program at these
    CHECK(mentions(faults_of_planted<overrun>(), "writes beyond y"));
    CHECK(mentions(faults_of_planted<underrun>(), "writes beyond y"));
  }
}

namespace {

// The emulated kernel, and then a filter gradient rounded to the storage type.
class RoundedGradient final : public Kernel<Conv2dWeightGrad> {
 public:
  explicit RoundedGradient(const Conv2dWeightGrad& p)
      : kernel_(select(p, DeviceType::simt).make(p)), count_(p.geometry.filter().count()) {}
  size_t workspace() const override { return kernel_->workspace(); }
  void run(const Conv2dWeightGrad::Buffers& b, void* workspace, Stream& stream) const override {
    kernel_->run(b, workspace, stream);
    float* const dw = static_cast<float*>(b.dw);
    std::transform(dw, dw + count_, dw, [](float v) { return to_float(from_float<bf16>(v)); });
  }

 private:
  std::unique_ptr<Kernel<Conv2dWeightGrad>> kernel_;
  int64_t count_;
};

}  // namespace

TEST_CASE("one rounding too many is a fault, unless an implementation is registered with it",
          "[ops]") {
  register_kernels();
  const Conv2dWeightGrad problem{.geometry = {.x = {1, 5, 7, 3}, .k = 17}, .dtype = DType::bf16};
  const HostData data = make_data(describe(problem));
  const std::vector<Tensor> want = reference(problem, data);
  Impl<Conv2dWeightGrad> impl{
      "planted", take_all<Conv2dWeightGrad>,
      [](const Conv2dWeightGrad& p) -> std::unique_ptr<Kernel<Conv2dWeightGrad>> {
        return std::make_unique<RoundedGradient>(p);
      }};
  CHECK(mentions(faults_of(impl, problem, DeviceType::simt, data, want), "dw: element"));
  impl.rounds_to_storage = true;
  CHECK(faults_of(impl, problem, DeviceType::simt, data, want).empty());
}

TEMPLATE_LIST_TEST_CASE("who rounds more than the contract stands behind the hand-written kernels",
                        "[ops]", AllProblems) {
  register_kernels();
  load_cuda();  // whose lists are the same where there is no GPU
  for (const DeviceType device : {DeviceType::cpu, DeviceType::simt, DeviceType::cuda}) {
    const auto& list = impls<TestType>(device);
    const auto ours = std::ranges::find(list, "cuda", &Impl<TestType>::name);
    CHECK(std::none_of(list.begin(), ours,
                       [](const Impl<TestType>& impl) { return impl.rounds_to_storage; }));
  }
}

// Element-wise operations over the whole storage: padding is zero and stays so.
#include "engine/op/pointwise.h"

#include "engine/base/threads.h"
#include "engine/tensor/layout.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

namespace unetd::UNETD_ISA {
namespace {

constexpr int64_t grain = int64_t{1} << 14;  // elements a task handles

// f(offset) for every vector of the image's storage
template <class F>
void for_each_vector(const Shape& s, F&& f) {
  parallel_chunks(storage_count(Layout::blocked16, Kind::features, s), grain,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; i += block) f(i);
                  });
}

const float* in(const void* p) { return static_cast<const float*>(p); }
float* out(void* p) { return static_cast<float*>(p); }

void relu(const Relu& p, const Relu::Buffers& b) {
  for_each_vector(p.shape,
                  [&](int64_t i) { store(out(b.y) + i, positive_part(load(in(b.x) + i))); });
}

void relu_grad(const ReluGrad& p, const ReluGrad::Buffers& b) {
  for_each_vector(p.shape, [&](int64_t i) {
    store(out(b.dx) + i, choose(load(in(b.y) + i) > 0, load(in(b.dy) + i), Vec{}));
  });
}

void add(const Add& p, const Add::Buffers& b) {
  for_each_vector(p.shape,
                  [&](int64_t i) { store(out(b.y) + i, load(in(b.a) + i) + load(in(b.b) + i)); });
}

const char* reject_sum(const Add& p) {
  return p.kind == Kind::features ? f32_only(p) : "images only";
}

}  // namespace

void register_pointwise() {
  const auto cpu = DeviceType::cpu;
  add_function<relu, Relu>(cpu, isa_name, f32_only);
  add_function<relu_grad, ReluGrad>(cpu, isa_name, f32_only);
  add_function<add, Add>(cpu, isa_name, reject_sum);
}

}  // namespace unetd::UNETD_ISA

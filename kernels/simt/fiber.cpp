#include "kernels/simt/fiber.h"

#include "engine/base/error.h"

#include <cstdint>

#include <sys/mman.h>

// Saves the callee-saved registers and the stack pointer, and takes up those of the other side. It
// ends in a jump, not in `ret`: the return address is not the one the processor predicts.
extern "C" void unetd_simt_switch(void** save_stack_pointer, void* load_stack_pointer);
asm(R"(
.text
.globl unetd_simt_switch
.type unetd_simt_switch,@function
unetd_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size unetd_simt_switch,.-unetd_simt_switch
)");

namespace unetd::simt {
namespace {

// Sanitizers make frames several times larger. Pages that are not touched cost nothing.
constexpr size_t stack_bytes = (sanitizer::address || sanitizer::thread ? 256 : 64) << 10;
constexpr size_t guard_bytes = 4096;  // an overflow faults

// The host's side of the switch on this OS thread.
struct Host {
  void* stack_pointer = nullptr;
  Fiber* running = nullptr;
  [[maybe_unused]] const void* asan_bottom = nullptr;
  [[maybe_unused]] size_t asan_size = 0;
  [[maybe_unused]] void* asan_frames = nullptr;
  [[maybe_unused]] void* tsan_fiber = nullptr;
};
thread_local Host host;

}  // namespace

Fiber::Fiber(void (*entry)()) : entry_(entry) {
  void* p = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  UNETD_CHECK(p != MAP_FAILED && mprotect(p, guard_bytes, PROT_NONE) == 0,
              "no memory for the stack of an emulated GPU thread");
  mapping_ = static_cast<char*>(p);
#if defined(SIMT_TSAN)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
  restart();
}

Fiber::~Fiber() {
#if defined(SIMT_TSAN)
  __tsan_destroy_fiber(tsan_fiber_);
#endif
  sanitizer::allow(mapping_ + guard_bytes, stack_bytes);
  munmap(mapping_, guard_bytes + stack_bytes);
}

void Fiber::restart() {
  sanitizer::allow(mapping_ + guard_bytes, stack_bytes);  // red zones of frames given up
  auto* top = reinterpret_cast<uint64_t*>(mapping_ + guard_bytes + stack_bytes);
  *--top = 0;  // where first_call() would return to; also aligns its stack as the ABI wants
  *--top = reinterpret_cast<uint64_t>(&first_call);
  constexpr int saved_registers = 6;
  for (int i = 0; i < saved_registers; ++i) *--top = 0;
  stack_pointer_ = top;
}

void Fiber::first_call() {
#if defined(SIMT_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &host.asan_bottom, &host.asan_size);
#endif
  host.running->entry_();
}

void Fiber::resume() {
  host.running = this;
#if defined(SIMT_ASAN)
  __sanitizer_start_switch_fiber(&host.asan_frames, mapping_ + guard_bytes, stack_bytes);
#endif
#if defined(SIMT_TSAN)
  host.tsan_fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_fiber_, 0);  // the fiber sees what the host wrote
#endif
  unetd_simt_switch(&host.stack_pointer, stack_pointer_);
#if defined(SIMT_ASAN)
  __sanitizer_finish_switch_fiber(host.asan_frames, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
#if defined(SIMT_ASAN)
  __sanitizer_start_switch_fiber(&asan_frames_, host.asan_bottom, host.asan_size);
#endif
#if defined(SIMT_TSAN)
  // No edge back: through the host every lane would be ordered after every other.
  constexpr unsigned no_synchronisation = 1;
  __tsan_switch_to_fiber(host.tsan_fiber, no_synchronisation);
#endif
  unetd_simt_switch(&stack_pointer_, host.stack_pointer);
#if defined(SIMT_ASAN)
  __sanitizer_finish_switch_fiber(asan_frames_, &host.asan_bottom, &host.asan_size);
#endif
}

}  // namespace unetd::simt

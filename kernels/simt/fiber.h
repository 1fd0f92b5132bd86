// A stack of its own for each GPU thread, and the switch between it and the host's stack: some ten
// nanoseconds, where an operating-system thread would take microseconds. x86-64 Linux only.
#pragma once

#include "kernels/simt/sanitizer.h"

#include <cstddef>

namespace unetd::simt {

// Belongs to the OS thread that made it.
class Fiber {
 public:
  // `entry` must not return; it suspends for good. Throws Error when there is no memory for a
  // stack.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Host: goes on with the fiber; returns when it suspends.
  void resume();
  // Fiber: goes back to the host.
  void suspend();
  // Host: gives up what the fiber was doing (without unwinding); the next resume calls entry().
  void restart();

 private:
  static void first_call();

  void (*entry_)();
  char* mapping_ = nullptr;
  void* stack_pointer_ = nullptr;
  [[maybe_unused]] void* asan_frames_ = nullptr;
  [[maybe_unused]] void* tsan_fiber_ = nullptr;
};

}  // namespace unetd::simt

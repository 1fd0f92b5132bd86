// The sanitizers' interfaces that the emulator needs, as functions that do nothing in other builds.
// Under ThreadSanitizer the emulator's own files are compiled without instrumentation, with
// SIMT_TSAN defined: its bookkeeping, shared by all lanes, must not look like a race of the kernel.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN
#endif
#endif

#if defined(__SANITIZE_THREAD__) && !defined(SIMT_TSAN)
#define SIMT_TSAN
#endif

#if defined(SIMT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(SIMT_TSAN)
extern "C" {
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void* __tsan_get_current_fiber();
void __tsan_acquire(void* tag);
void __tsan_release(void* tag);
}
#endif

namespace unetd::simt::sanitizer {

#if defined(SIMT_ASAN)
inline constexpr bool address = true;
inline void forbid(const void* p, size_t bytes) { __asan_poison_memory_region(p, bytes); }
inline void allow(const void* p, size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
#else
inline constexpr bool address = false;
inline void forbid(const void*, size_t) {}
inline void allow(const void*, size_t) {}
#endif

// What happened before release(tag) on one lane happened before what follows acquire(tag) on
// another.
#if defined(SIMT_TSAN)
inline constexpr bool thread = true;
inline void release(void* tag) { __tsan_release(tag); }
inline void acquire(void* tag) { __tsan_acquire(tag); }
#else
inline constexpr bool thread = false;
inline void release(void*) {}
inline void acquire(void*) {}
#endif

}  // namespace unetd::simt::sanitizer

// Inside the emulator: the state of a lane, and what the runtime offers to the collectives.
#pragma once

#include "kernels/simt/fiber.h"
#include "kernels/simt/simt.h"

#include <array>
#include <cstdint>
#include <string>

namespace unetd::simt {

inline constexpr int max_block = 1024;

// Addresses that stand for "happened before" to ThreadSanitizer. Consecutive barriers alternate
// between two tags: on a single one, a lane that is already at the next barrier would be ordered
// before one that has not yet left this one, and races between the two would go unseen.
struct OrderTags {
  std::array<char, 2> barrier;
  std::array<std::array<char, 2>, max_block> lane;
};

// The copies of one lane that have not landed. A ring, allocated once.
struct CopyQueue {
  static constexpr unsigned capacity = 128;
  struct Entry {
    AsyncCopy copy;
    unsigned group = 0;
  };
  std::array<Entry, capacity> entries;
  unsigned begin = 0, end = 0;  // positions modulo the capacity
  unsigned group = 0;           // the one that copies join now
};

enum class State : uint8_t { ready, at_barrier, in_collective, exited };

// One GPU thread of the block that runs.
struct Lane {
  Fiber* fiber = nullptr;
  Dim thread;
  int index = 0;  // in the block
  State state = State::exited;
  Site site;  // of the barrier or collective it waits in

  // The collective it waits in: its contribution, and then its result.
  Collective kind = Collective::warp_sync;
  unsigned mask = 0;
  int operand = 0;
  std::array<uint32_t, 10> words{};

  unsigned warp_syncs = 0;
  CopyQueue copies;

  int lane() const { return index % warp_size; }
};

// The lane that runs now. Throws Error outside of a launch.
Lane& this_lane();
// Lane `l` of the warp of `self`; null if there is none or it has exited.
Lane* warp_mate(const Lane& self, int l);
// Suspends the lane that runs until its state is ready again.
void wait();
bool in_shared_memory(const void* p, size_t bytes);
OrderTags& order_tags();

// Called when a lane has left the kernel: the others of its warp wait for it no longer.
void complete_without(const Lane& exited);

// "in shfl_xor at pool.cu:12", for reports.
std::string describe(const Lane& waiting);
std::string describe(Site site);

}  // namespace unetd::simt

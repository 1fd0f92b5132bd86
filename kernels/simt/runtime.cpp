// The emulator's scheduler. Blocks run one after another; in a block each lane runs until it waits
// or leaves, in rounds, on one OS thread.
#include "kernels/simt/machine.h"
#include "kernels/simt/shared_memory.h"
#include "kernels/simt/simt.h"

#include <algorithm>
#include <exception>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

namespace unetd::simt {
namespace {

class Machine {
 public:
  void run(Dim grid, Dim block, size_t dynamic_bytes, const std::function<void()>& body);

  // For the lane that runs.
  Lane* current = nullptr;
  Dim grid, block, position;
  SharedMemory shared;
  Lane* lane(int index) { return index < threads_ ? &lanes_[static_cast<size_t>(index)] : nullptr; }
  void arrive_at_barrier(Site site);
  void suspend();

 private:
  static void run_lanes();  // what a fiber executes: the kernel, once per block
  void prepare(Dim grid, Dim block);
  void run_block(int64_t number);
  void start_block(int64_t number);
  bool run_ready_lanes();
  void release_barrier();
  std::string census() const;
  void finish();

  const std::function<void()>* body_ = nullptr;
  int threads_ = 0;
  size_t dynamic_bytes_ = 0;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Lane> lanes_;
  std::vector<int> turns_;
  std::mt19937 random_;
  unsigned barriers_ = 0;
  std::exception_ptr error_;
  char end_of_launch_ = 0;  // tag: all that lanes did happened before the launch returns
};

thread_local Machine machine;

int64_t count(Dim d) { return int64_t{d.x} * d.y * d.z; }
std::string text(Dim d) { return str('(', d.x, ',', d.y, ',', d.z, ')'); }

Dim position_in(Dim extent, int64_t index) {
  return {static_cast<unsigned>(index % extent.x),
          static_cast<unsigned>(index / extent.x % extent.y),
          static_cast<unsigned>(index / extent.x / extent.y)};
}

void check_limits(Dim grid, Dim block) {
  UNETD_CHECK(count(block) >= 1 && count(block) <= max_block && block.z <= 64,
              "simt: CUDA allows no block of ", text(block), " threads");
  UNETD_CHECK(count(grid) >= 1 && grid.x <= 0x7fffffffU && grid.y <= 65535 && grid.z <= 65535,
              "simt: CUDA allows no grid of ", text(grid), " blocks");
}

void Machine::run_lanes() {
  for (;;) {
    try {  // nothing may be thrown off this stack: the host rethrows it
      (*machine.body_)();
      machine.current->state = State::exited;
      complete_without(*machine.current);
    } catch (...) {
      machine.error_ = std::current_exception();
    }
    machine.current->state = State::exited;
    machine.suspend();
  }
}

void Machine::suspend() {
  sanitizer::release(&end_of_launch_);
  current->fiber->suspend();
}

void Machine::prepare(Dim new_grid, Dim new_block) {
  grid = new_grid;
  block = new_block;
  threads_ = static_cast<int>(count(block));
  while (static_cast<int>(fibers_.size()) < threads_) {
    fibers_.push_back(std::make_unique<Fiber>(&run_lanes));
  }
  if (static_cast<int>(lanes_.size()) < threads_) lanes_.resize(static_cast<size_t>(threads_));
  turns_.resize(static_cast<size_t>(threads_));
  std::iota(turns_.begin(), turns_.end(), 0);
  if (options().order == Order::reverse) std::reverse(turns_.begin(), turns_.end());
  random_.seed(options().seed);
}

void Machine::run(Dim new_grid, Dim new_block, size_t dynamic_bytes,
                  const std::function<void()>& body) {
  UNETD_CHECK(current == nullptr, "simt: a kernel cannot launch another");
  check_limits(new_grid, new_block);
  prepare(new_grid, new_block);
  dynamic_bytes_ = dynamic_bytes;
  body_ = &body;
  try {
    for (int64_t i = 0; i < count(grid); ++i) run_block(i);
  } catch (...) {
    finish();
    throw;
  }
  finish();
}

void Machine::finish() {
  sanitizer::acquire(&end_of_launch_);
  for (int i = 0; i < threads_; ++i) {  // after an error, lanes wait in the middle of the kernel
    Lane& l = *lane(i);
    if (l.state != State::exited) l.fiber->restart();
    l.state = State::exited;
  }
  shared.end_launch();
  error_ = nullptr;
}

void Machine::run_block(int64_t number) {
  start_block(number);
  const auto alive = [this] {
    return std::any_of(lanes_.begin(), lanes_.begin() + threads_,
                       [](const Lane& l) { return l.state != State::exited; });
  };
  while (alive()) {
    if (!run_ready_lanes()) release_barrier();
  }
  try {
    shared.end_block();
  } catch (const Error& e) {
    throw Error(str(e.what(), " in block ", text(position)));
  }
}

void Machine::start_block(int64_t number) {
  position = position_in(grid, number);
  barriers_ = 0;
  shared.begin_block(dynamic_bytes_);
  // Lanes move to other fibers from block to block. A fiber is a thread to ThreadSanitizer; if lane
  // i always had the same, its accesses in two blocks would be in program order and never race.
  const auto shift = static_cast<int>(number * 17 % threads_);
  for (int i = 0; i < threads_; ++i) {
    Lane& l = *lane(i);
    l.fiber = fibers_[static_cast<size_t>((i + shift) % threads_)].get();
    l.thread = position_in(block, i);
    l.index = i;
    l.state = State::ready;
    l.warp_syncs = 0;
    l.copies.begin = l.copies.end = l.copies.group = 0;
  }
}

// One round. False if every lane waits.
bool Machine::run_ready_lanes() {
  if (options().order == Order::shuffled) std::shuffle(turns_.begin(), turns_.end(), random_);
  bool progressed = false;
  for (const int i : turns_) {
    Lane& l = *lane(i);
    if (l.state != State::ready) continue;
    progressed = true;
    current = &l;
    l.fiber->resume();
    current = nullptr;
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  return progressed;
}

// Every lane that has not left the kernel must be at the barrier, and at the same one.
void Machine::release_barrier() {
  const Lane* first = nullptr;
  for (int i = 0; i < threads_; ++i) {
    const Lane& l = *lane(i);
    if (l.state == State::exited) continue;
    UNETD_CHECK(l.state == State::at_barrier, "simt: deadlock in block ", text(position), ": ",
                census());
    if (first == nullptr) first = &l;
    UNETD_CHECK(l.site == first->site, "simt: threads at different barriers in block ",
                text(position), ": ", census());
  }
  ++barriers_;
  for (int i = 0; i < threads_; ++i) {
    if (lane(i)->state == State::at_barrier) lane(i)->state = State::ready;
  }
}

// Who is where: "32 at the barrier at pool.cu:12 (first thread 0), 32 exited (first thread 8)".
std::string Machine::census() const {
  struct Group {
    int lanes = 0, first = 0;
  };
  std::map<std::string, Group> groups;
  for (int i = 0; i < threads_; ++i) {
    Group& g = groups[describe(lanes_[static_cast<size_t>(i)])];
    if (g.lanes++ == 0) g.first = i;
  }
  std::string text;
  for (const auto& [what, g] : groups) {
    text += str(text.empty() ? "" : ", ", g.lanes, ' ', what, " (first thread ", g.first, ')');
  }
  return text;
}

void Machine::arrive_at_barrier(Site site) {
  Lane& self = *current;
  self.site = site;
  self.state = State::at_barrier;
  char* const tag = &shared.tags().barrier[barriers_ % 2];
  sanitizer::release(tag);
  suspend();
  sanitizer::acquire(tag);
}

}  // namespace

Options& options() {
  thread_local Options options;
  return options;
}

void run(Dim grid, Dim block, size_t dynamic_bytes, const std::function<void()>& body) {
  machine.run(grid, block, dynamic_bytes, body);
}

Lane& this_lane() {
  UNETD_CHECK(machine.current != nullptr, "simt: device code is called outside of a launch");
  return *machine.current;
}
Lane* warp_mate(const Lane& self, int l) {
  Lane* mate = machine.lane(self.index / warp_size * warp_size + l);
  return mate == nullptr || mate->state == State::exited ? nullptr : mate;
}
void wait() {
  Lane& self = this_lane();
  machine.suspend();
  UNETD_CHECK(self.state == State::ready, "simt: a waiting lane was resumed");
}
bool in_shared_memory(const void* p, size_t bytes) { return machine.shared.contains(p, bytes); }
OrderTags& order_tags() { return machine.shared.tags(); }

std::string describe(Site site) {
  const std::string_view path = site.file;
  return str(path.substr(path.rfind('/') + 1), ':', site.line);
}

Dim thread_index() { return this_lane().thread; }
Dim block_index() { return machine.position; }
Dim block_extent() { return machine.block; }
Dim grid_extent() { return machine.grid; }

void block_sync(Site site) {
  this_lane();
  machine.arrive_at_barrier(site);
}

void* shared_array(const void* identity, size_t bytes) {
  this_lane();
  return machine.shared.array(identity, bytes);
}
void* dynamic_shared_memory() {
  this_lane();
  return machine.shared.dynamic();
}

void check_aligned16(const void* p, Site site) {
  UNETD_CHECK(reinterpret_cast<uintptr_t>(p) % 16 == 0, "simt: misaligned 16-byte access at ",
              describe(site));
}

void thread_fence() {
  // Orders this lane after every lane that passed a fence before it.
  static char fence = 0;
  sanitizer::release(&fence);
  sanitizer::acquire(&fence);
}

// --- asynchronous copies
// ---------------------------------------------------------------------------

void queue_copy(const AsyncCopy& copy, Site site) {
  CopyQueue& q = this_lane().copies;
  check_aligned16(copy.shared, site);
  UNETD_CHECK(in_shared_memory(copy.shared, sizeof(Bytes16)), "simt: copy_async16 at ",
              describe(site), " does not copy to shared memory");
  UNETD_CHECK(q.end - q.begin < CopyQueue::capacity, "simt: more than ", CopyQueue::capacity,
              " asynchronous copies of one thread in flight at ", describe(site));
  q.entries[q.end++ % CopyQueue::capacity] = {copy, q.group};
}

void copy_commit() { ++this_lane().copies.group; }

const AsyncCopy* next_copy(int pending) {
  CopyQueue& q = this_lane().copies;
  if (q.begin == q.end) return nullptr;
  const CopyQueue::Entry& oldest = q.entries[q.begin % CopyQueue::capacity];
  // Committed groups are 0 .. group - 1; the last `pending` of them may stay in flight.
  if (oldest.group + static_cast<unsigned>(pending) >= q.group) return nullptr;
  ++q.begin;
  return &oldest.copy;
}

}  // namespace unetd::simt

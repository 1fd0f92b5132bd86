// Uploads that run ahead, on a device whose two queues do their work as late as they may and in any
// order that events allow.
#include "engine/base/rng.h"
#include "engine/memory/buffer.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

// Two queues of work that nothing has done before somebody waits for it; then one of those that may
// go on does one piece, by chance. A wait for a moment that was not recorded is none, as on a GPU.
class LateDevice final : public Backend {
 public:
  LateDevice(uint64_t seed, bool holds) : rng_(seed, 0), holds_(holds) {}

  void open(int) override {}
  DeviceInfo info() const override { return {"late", 0, 0, {}}; }
  Stream stream() override { return {DeviceType::cuda, queues_}; }
  Stream copy_stream() override { return {DeviceType::cuda, queues_ + 1}; }
  bool host_reaches_memory() const override { return false; }
  std::byte* allocate(size_t bytes) override {
    std::byte* const memory = allocate_staging(bytes);
    fill(memory, 0, bytes, stream());
    return memory;
  }
  void release(std::byte* memory, size_t) noexcept override {
    sync(stream());
    sync(copy_stream());
    delete[] memory;
  }
  std::byte* allocate_staging(size_t bytes) override { return new std::byte[bytes]; }
  void release_staging(std::byte* memory, size_t bytes) noexcept override {
    release(memory, bytes);
  }
  void copy_in(void* to, const void* from, size_t bytes, const Stream& s) override {
    copy(to, from, bytes, s);
  }
  void copy_out(void* to, const void* from, size_t bytes, const Stream& s) override {
    copy(to, from, bytes, s);
  }
  void copy(void* to, const void* from, size_t bytes, const Stream& s) override {
    add(s, [=] { std::memcpy(to, from, bytes); });
  }
  void fill(void* memory, unsigned char value, size_t bytes, const Stream& s) override {
    add(s, [=] { std::memset(memory, value, bytes); });
  }
  void sync(const Stream& s) override {
    while (!queue(s).empty()) advance();
  }
  std::unique_ptr<Event> make_event() override { return std::make_unique<LateEvent>(*this); }
  std::unique_ptr<CapturedWork> capture(const Stream&, const std::function<void()>&) override {
    return nullptr;
  }
  void push_range(const char*) noexcept override {}
  void pop_range() noexcept override {}

 private:
  struct Piece {
    std::shared_ptr<bool> after;  // or null
    std::function<void()> work;
  };
  using Queue = std::deque<Piece>;

  class LateEvent final : public Event {
   public:
    explicit LateEvent(LateDevice& device) : device_(device) {}
    void record(const Stream& s) override {
      reached_ = std::make_shared<bool>(false);
      device_.add(s, [reached = reached_] { *reached = true; });
    }
    void wait() override {
      while (reached_ && !*reached_) device_.advance();
    }
    void hold(const Stream& s) override {
      if (device_.holds_) device_.queue(s).push_back({reached_, [] {}});
    }
    double seconds_since(const Event&) const override { return 0; }

   private:
    LateDevice& device_;
    std::shared_ptr<bool> reached_;  // the moment recorded last
  };

  static Queue& queue(const Stream& s) { return *static_cast<Queue*>(s.native); }
  static void add(const Stream& s, std::function<void()> work) {
    queue(s).push_back({nullptr, std::move(work)});
  }
  void advance() {
    std::vector<Queue*> ready;
    for (Queue& q : queues_) {
      if (!q.empty() && (q.front().after == nullptr || *q.front().after)) ready.push_back(&q);
    }
    REQUIRE_FALSE(ready.empty());
    Queue& chosen = *ready[rng_.below(static_cast<uint32_t>(ready.size()))];
    chosen.front().work();
    chosen.pop_front();
  }

  Rng rng_;
  bool holds_;
  Queue queues_[2];
};

// In the place of the CUDA device.
class Replaced {
 public:
  explicit Replaced(std::unique_ptr<Backend> device)
      : before_(register_cuda_backend(std::move(device))) {}
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;
  ~Replaced() { register_cuda_backend(std::move(before_)); }

 private:
  std::unique_ptr<Backend> before_;
};

// Steps as a trainer does them: each reads the input that was sent ahead during the one before.
// Returns what they read.
std::vector<uint8_t> staged_steps(uint64_t seed, bool holds) {
  constexpr size_t bytes = 3;
  constexpr uint8_t steps = 6;
  const Replaced scope(std::make_unique<LateDevice>(seed, holds));
  Backend& device = backend(DeviceType::cuda);
  const Buffer input(DeviceType::cuda, bytes), read(DeviceType::cuda, steps * bytes);
  Staging staging(DeviceType::cuda), results(DeviceType::cuda);
  const auto batch = [](uint8_t step) {
    return [=](std::byte* host) { std::fill_n(host, bytes, std::byte{step}); };
  };
  staging.upload(input.data(), bytes, batch(1));
  const std::unique_ptr<Event> done = device.make_event();
  for (uint8_t step = 1; step <= steps; ++step) {
    device.copy(read.data() + (step - 1) * bytes, input.data(), bytes, device.stream());
    done->record(device.stream());
    if (step < steps) staging.begin_upload(bytes, batch(step + 1));
    if (step % 2 == 0) done->wait();  // or issue two steps at once
    if (step < steps) staging.finish_upload(input.data());
  }
  return results.download(read.data(), read.bytes(), [&](const std::byte* host) {
    const auto* const all = reinterpret_cast<const uint8_t*>(host);
    return std::vector<uint8_t>(all, all + read.bytes());
  });
}

TEST_CASE("what is sent ahead arrives whole and in time", "[device]") {
  std::vector<uint8_t> want;
  for (uint8_t step = 1; step <= 6; ++step) want.insert(want.end(), 3, step);
  bool late = false;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    INFO("order " << seed);
    CHECK(staged_steps(seed, /*holds=*/true) == want);
    late = late || staged_steps(seed, /*holds=*/false) != want;
  }
  CHECK(late);  // where queues do not wait for each other it goes wrong: the orders differ
}

}  // namespace
}  // namespace unetd

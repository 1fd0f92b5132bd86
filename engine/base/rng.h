// Counter-based random numbers: Philox 4x32 with 10 rounds (Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). A number is a pure function of (seed, stream, counter),
// so any element of any sequence can be had anywhere, in any order, with the same bits on host and
// device.
#pragma once

#include "engine/base/host_device.h"

#include <cstdint>

namespace unetd {

struct PhiloxWords {
  uint32_t v[4];
};
// The Philox bijection: four 32-bit words from a 128-bit counter and a 64-bit key.
UNETD_HOST_DEVICE constexpr PhiloxWords philox(PhiloxWords counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter.v[0],
                   p1 = uint64_t{0xCD9E8D57} * counter.v[2];
    counter = {{static_cast<uint32_t>(p1 >> 32) ^ counter.v[1] ^ k0, static_cast<uint32_t>(p1),
                static_cast<uint32_t>(p0 >> 32) ^ counter.v[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

// A sequence of its own for each (seed, stream). The position is plain state: save it, restore it.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0, uint64_t position = 0)
      : seed_(seed), stream_(stream), position_(position) {}

  uint32_t next() {
    const uint64_t block = position_ / 4;
    const PhiloxWords words =
        philox({{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                 static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)}},
               seed_);
    return words.v[position_++ % 4];
  }
  // Uniform in [0, 1) with 24 random bits.
  float uniform() { return static_cast<float>(next() >> 8) * 0x1p-24F; }
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  // Uniform integer in [0, n), without modulo bias (Lemire's multiply-shift with rejection).
  uint32_t below(uint32_t n) {
    const uint32_t threshold = (0U - n) % n;
    for (;;) {
      const uint64_t product = uint64_t{next()} * n;
      if (static_cast<uint32_t>(product) >= threshold) return static_cast<uint32_t>(product >> 32);
    }
  }
  // Standard normal (Box-Muller; one of the pair is dropped so that the state stays one number).
  float normal();

  uint64_t position() const { return position_; }

 private:
  uint64_t seed_, stream_, position_;
};

}  // namespace unetd

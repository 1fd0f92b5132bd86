#include "io/digest.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

namespace unetd::io {
namespace {

static_assert(std::endian::native == std::endian::little,
              "both digests read words least byte first");

template <class T>
std::vector<std::byte> bytes_of(const T& words, size_t count) {
  std::vector<std::byte> bytes(count);
  std::memcpy(bytes.data(), words.data(), count);
  return bytes;
}

class Md5 final : public Digest {
 public:
  Md5() : Digest(64) {}

 private:
  void absorb(const std::byte* block) override {
    static const std::array<uint32_t, 64> constants = [] {
      std::array<uint32_t, 64> table{};
      for (size_t i = 0; i < table.size(); ++i)
        table[i] = static_cast<uint32_t>(
            std::floor(std::abs(std::sin(static_cast<double>(i + 1))) * 4294967296.0));
      return table;
    }();
    constexpr int turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    std::array<uint32_t, 16> words{};
    std::memcpy(words.data(), block, 64);
    auto [a, b, c, d] = state_;
    for (uint32_t i = 0; i < 64; ++i) {
      const uint32_t round = i / 16;
      const uint32_t mixed = round == 0   ? (b & c) | (~b & d)
                             : round == 1 ? (d & b) | (~d & c)
                             : round == 2 ? b ^ c ^ d
                                          : c ^ (b | ~d);
      constexpr uint32_t steps[4] = {1, 5, 3, 7}, starts[4] = {0, 1, 5, 0};
      const uint32_t word = words[(i * steps[round] + starts[round]) % 16];
      const uint32_t sum = a + mixed + constants[i] + word;
      a = d;
      d = c;
      c = b;
      b += std::rotl(sum, turns[round][i % 4]);
    }
    state_ = {state_[0] + a, state_[1] + b, state_[2] + c, state_[3] + d};
  }
  std::vector<std::byte> padded(std::vector<std::byte> rest, uint64_t total) const override {
    rest.push_back(std::byte{0x80});
    while (rest.size() % block() != block() - 8) rest.push_back(std::byte{0});
    const std::vector<std::byte> bits = bytes_of(std::array{total * 8}, 8);
    rest.insert(rest.end(), bits.begin(), bits.end());
    return rest;
  }
  std::vector<std::byte> result() const override { return bytes_of(state_, 16); }

  std::array<uint32_t, 4> state_{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476};
};

// Keccak-f[1600] with a rate of 1088 bits.
class Sha3 final : public Digest {
 public:
  Sha3() : Digest(136) {}

 private:
  using State = std::array<uint64_t, 25>;  // lane (x, y) at x + 5 y

  void absorb(const std::byte* bytes) override {
    for (size_t i = 0; i < block() / 8; ++i) {
      uint64_t word = 0;
      std::memcpy(&word, bytes + 8 * i, 8);
      state_[i] ^= word;
    }
    permute(state_);
  }
  std::vector<std::byte> padded(std::vector<std::byte> rest, uint64_t) const override {
    rest.push_back(std::byte{0x06});
    rest.resize(block());
    rest.back() |= std::byte{0x80};
    return rest;
  }
  std::vector<std::byte> result() const override { return bytes_of(state_, 32); }

  static void permute(State& a) {
    constexpr std::array<uint64_t, 24> constants = {
        0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000,
        0x000000000000808B, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
        0x000000000000008A, 0x0000000000000088, 0x0000000080008009, 0x000000008000000A,
        0x000000008000808B, 0x800000000000008B, 0x8000000000008089, 0x8000000000008003,
        0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
        0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};
    for (const uint64_t constant : constants) {
      spread(a);
      turn(a, std::make_index_sequence<24>());
      for (size_t y = 0; y < 25; y += 5) {
        const uint64_t l0 = a[y], l1 = a[y + 1], l2 = a[y + 2], l3 = a[y + 3], l4 = a[y + 4];
        a[y] = l0 ^ (~l1 & l2);
        a[y + 1] = l1 ^ (~l2 & l3);
        a[y + 2] = l2 ^ (~l3 & l4);
        a[y + 3] = l3 ^ (~l4 & l0);
        a[y + 4] = l4 ^ (~l0 & l1);
      }
      a[0] ^= constant;
    }
  }
  // Theta: each lane gets the parity of two columns.
  static void spread(State& a) {
    std::array<uint64_t, 5> parity{};
    for (size_t x = 0; x < 5; ++x) parity[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
    for (size_t x = 0; x < 5; ++x) {
      const uint64_t both = parity[(x + 4) % 5] ^ std::rotl(parity[(x + 1) % 5], 1);
      for (size_t y = 0; y < 25; y += 5) a[x + y] ^= both;
    }
  }
  // Rho and pi: lanes are rotated by the triangular numbers and change places. The places are known
  // to the compiler, or this would take most of the time.
  static constexpr std::array<size_t, 24> places = [] {
    std::array<size_t, 24> list{};
    size_t x = 1, y = 0;
    for (size_t& place : list) {
      const size_t next = (2 * x + 3 * y) % 5;
      x = y;
      y = next;
      place = x + 5 * y;
    }
    return list;
  }();
  template <size_t... t>
  static void turn(State& a, std::index_sequence<t...>) {
    uint64_t moving = a[1];
    ((moving = std::exchange(a[places[t]], std::rotl(moving, (t + 1) * (t + 2) / 2 % 64))), ...);
  }

  State state_{};
};

}  // namespace

std::unique_ptr<Digest> Digest::named(const std::string& name) {
  if (name == "MD5") return std::make_unique<Md5>();
  if (name == "SHA3-256") return std::make_unique<Sha3>();
  return nullptr;
}

void Digest::add(std::span<const std::byte> bytes) {
  total_ += bytes.size();
  if (!rest_.empty()) {
    const size_t missing = std::min(block_ - rest_.size(), bytes.size());
    rest_.insert(rest_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(missing));
    bytes = bytes.subspan(missing);
    if (rest_.size() < block_) return;
    absorb(rest_.data());
    rest_.clear();
  }
  for (; bytes.size() >= block_; bytes = bytes.subspan(block_)) absorb(bytes.data());
  rest_.assign(bytes.begin(), bytes.end());
}

std::string Digest::finish() {
  const std::vector<std::byte> last = padded(std::move(rest_), total_);
  for (size_t at = 0; at < last.size(); at += block_) absorb(last.data() + at);
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (const std::byte b : result()) {
    text += digits[std::to_integer<int>(b >> 4)];
    text += digits[std::to_integer<int>(b & std::byte{15})];
  }
  return text;
}

}  // namespace unetd::io

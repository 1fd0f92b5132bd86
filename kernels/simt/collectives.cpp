// What the lanes of a warp do together. Each lane leaves its contribution in its own record and
// waits; the last to arrive computes the results of all.
#include "kernels/simt/machine.h"
#include "kernels/simt/simt.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace unetd::simt {
namespace {

constexpr std::array names = {"shfl_xor",     "shfl_down", "shfl_idx",
                              "ballot",       "warp_sync", "mma_m16n8k16",
                              "mma_m16n8k16", "ldmatrix",  "ldmatrix_trans"};
const char* name_of(Collective kind) { return names[static_cast<size_t>(kind)]; }

// The lanes of one collective, by lane number; null where a lane does not take part.
using Group = std::array<Lane*, warp_size>;

// PTX's ".aligned": the whole warp, and all at the same instruction.
bool is_aligned(Collective kind) { return kind >= Collective::mma_bf16; }

bool same_collective(const Lane& a, const Lane& b) {
  return a.kind == b.kind && a.mask == b.mask && (!is_aligned(a.kind) || a.site == b.site);
}

bool names_lane(const Lane& waiting, int lane) { return ((waiting.mask >> lane) & 1U) != 0; }

// Lane fragments of an 8-row slice of a 16-bit matrix: lane l holds columns 2 (l % 4) and the next
// of row l / 4. Every operand of mma.m16n8k16 and ldmatrix is made of such 8x8 pieces.
constexpr size_t fragment_row(size_t lane) { return lane / 4; }
constexpr size_t fragment_column(size_t lane) { return lane % 4 * 2; }

// --- results
// ---------------------------------------------------------------------------------------

int shuffle_source(const Lane& lane) {
  switch (lane.kind) {
    case Collective::shfl_xor:
      return lane.lane() ^ lane.operand;
    case Collective::shfl_down: {
      const int source = lane.lane() + lane.operand;
      return source < warp_size ? source : lane.lane();
    }
    default:
      return lane.operand % warp_size;
  }
}

void compute_shuffle(const Group& group) {
  std::array<uint32_t, warp_size> sent;
  sent.fill(0xffffffffU);
  for (int l = 0; l < warp_size; ++l) {
    if (group[l] != nullptr) sent[l] = group[l]->words[0];
  }
  for (Lane* lane : group) {
    if (lane != nullptr) lane->words[0] = sent[static_cast<size_t>(shuffle_source(*lane))];
  }
}

// Bit l of every lane's word 1 becomes bit 0 of lane l's word 0; bit l of word 2 tells who took
// part.
void compute_bits(const Group& group) {
  uint32_t bits = 0, members = 0;
  for (int l = 0; l < warp_size; ++l) {
    if (group[l] == nullptr) continue;
    bits |= (group[l]->words[0] & 1U) << l;
    members |= 1U << l;
  }
  for (Lane* lane : group) {
    if (lane == nullptr) continue;
    lane->words[1] = bits;
    lane->words[2] = members;
  }
}

uint16_t half_of(uint32_t word, size_t i) { return static_cast<uint16_t>(word >> (16 * i)); }

void compute_ldmatrix(const Group& group) {
  // rows[8 i + r] is row r of matrix i, four words of two elements.
  std::array<std::array<uint32_t, 4>, warp_size> rows;
  for (size_t l = 0; l < warp_size; ++l) std::copy_n(group[l]->words.begin(), 4, rows[l].begin());
  const bool trans = group[0]->kind == Collective::ldmatrix_trans;
  const auto element = [&](size_t matrix, size_t row, size_t column) -> uint32_t {
    return half_of(rows[8 * matrix + row][column / 2], column % 2);
  };
  for (size_t l = 0; l < warp_size; ++l) {
    const size_t r = fragment_row(l), c = fragment_column(l);
    const auto matrices = static_cast<size_t>(group[l]->operand);
    for (size_t i = 0; i < matrices; ++i) {
      group[l]->words[i] = trans ? element(i, c, r) | element(i, c + 1, r) << 16
                                 : element(i, r, c) | element(i, r, c + 1) << 16;
    }
  }
}

// Words of a lane's record: accumulators 0..3, A fragments 4..7, B fragments 8..9.
template <class T>
void compute_mma(const Group& group) {
  float a[16][16], b[16][8], d[16][8];
  const auto value = [](uint32_t word, size_t i) { return to_float(T{half_of(word, i)}); };
  for (size_t l = 0; l < warp_size; ++l) {
    const auto& words = group[l]->words;
    const size_t row = fragment_row(l), column = fragment_column(l);
    for (size_t i = 0; i < 2; ++i) {
      for (size_t q = 0; q < 4; ++q) {  // quarters of A: rows first, then columns
        a[row + q % 2 * 8][column + q / 2 * 8 + i] = value(words[4 + q], i);
      }
      for (size_t q = 0; q < 2; ++q) {  // B is column-major: its column is the fragment's row
        b[column + q * 8 + i][row] = value(words[8 + q], i);
        std::memcpy(&d[row + q * 8][column + i], &words[2 * q + i], sizeof(float));
      }
    }
  }
  for (int i = 0; i < 16; ++i) {
    for (int k = 0; k < 16; ++k) {
      for (int j = 0; j < 8; ++j) d[i][j] += a[i][k] * b[k][j];
    }
  }
  for (size_t l = 0; l < warp_size; ++l) {
    const size_t row = fragment_row(l), column = fragment_column(l);
    for (size_t i = 0; i < 4; ++i) {
      std::memcpy(&group[l]->words[i], &d[row + i / 2 * 8][column + i % 2], sizeof(float));
    }
  }
}

void compute(Collective kind, const Group& group) {
  switch (kind) {
    case Collective::shfl_xor:
    case Collective::shfl_down:
    case Collective::shfl_idx:
      return compute_shuffle(group);
    case Collective::ballot:
    case Collective::warp_sync:
      return compute_bits(group);
    case Collective::ldmatrix:
    case Collective::ldmatrix_trans:
      return compute_ldmatrix(group);
    case Collective::mma_bf16:
      return compute_mma<bf16>(group);
    case Collective::mma_f16:
      return compute_mma<f16>(group);
  }
}

// --- meeting
// ---------------------------------------------------------------------------------------

// Two lanes that wait for one another in different collectives will never meet.
void check_agreement(const Lane& self) {
  for (int l = 0; l < warp_size; ++l) {
    const Lane* other = warp_mate(self, l);
    if (other == nullptr || other == &self || other->state != State::in_collective) continue;
    if (!names_lane(self, l) || !names_lane(*other, self.lane())) continue;
    UNETD_CHECK(same_collective(self, *other),
                "simt: lanes of one warp in different collectives: thread ", self.index, ' ',
                describe(self), ", thread ", other->index, ' ', describe(*other));
  }
}

// If all lanes that the mask names and that have not exited are there, gives each its result.
void complete(const Lane& self) {
  Group group{};
  for (int l = 0; l < warp_size; ++l) {
    Lane* mate = warp_mate(self, l);
    if (!names_lane(self, l)) continue;
    if (mate == nullptr) {
      UNETD_CHECK(!is_aligned(self.kind), "simt: thread ", self.index, ' ', describe(self),
                  " needs all 32 lanes of its warp, but lane ", l, " is not there");
      continue;
    }
    if (mate->state != State::in_collective || !same_collective(*mate, self)) return;
    group[static_cast<size_t>(l)] = mate;
  }
  compute(self.kind, group);
  for (Lane* lane : group) {
    if (lane != nullptr) lane->state = State::ready;
  }
}

// The calling lane has put its contribution into its record; returns when its result is there.
void meet(Lane& self, Collective kind, unsigned mask, int operand, Site site) {
  self.kind = kind;
  self.mask = mask;
  self.operand = operand;
  self.site = site;
  UNETD_CHECK(names_lane(self, self.lane()), "simt: thread ", self.index, ' ', describe(site),
              " is not in the mask it gives");
  self.state = State::in_collective;
  check_agreement(self);
  complete(self);
  if (self.state == State::in_collective) wait();
}

}  // namespace

void complete_without(const Lane& exited) {
  for (int l = 0; l < warp_size; ++l) {
    const Lane* mate = warp_mate(exited, l);
    if (mate != nullptr && mate->state == State::in_collective) complete(*mate);
  }
}

std::string describe(const Lane& lane) {
  switch (lane.state) {
    case State::at_barrier:
      return str("at the barrier at ", describe(lane.site));
    case State::in_collective:
      return str("in ", name_of(lane.kind), " at ", describe(lane.site));
    case State::exited:
      return "exited";
    case State::ready:
      break;
  }
  return "running";
}

uint32_t shuffle_word(Collective kind, uint32_t word, int operand, unsigned mask, Site site) {
  Lane& self = this_lane();
  self.words[0] = word;
  meet(self, kind, mask, operand, site);
  return self.words[0];
}

unsigned ballot(bool predicate, unsigned mask, Site site) {
  Lane& self = this_lane();
  self.words[0] = predicate ? 1 : 0;
  meet(self, Collective::ballot, mask, 0, site);
  return self.words[1];
}

void warp_sync(unsigned mask, Site site) {
  Lane& self = this_lane();
  auto& tags = order_tags().lane;
  // Each lane alternates between two tags, see OrderTags; the vote tells which one the others used.
  const unsigned parity = self.warp_syncs++ % 2;
  sanitizer::release(&tags[static_cast<size_t>(self.index)][parity]);
  self.words[0] = parity;
  meet(self, Collective::warp_sync, mask, 0, site);
  const auto warp = static_cast<size_t>(self.index - self.lane());
  for (size_t l = 0; l < warp_size; ++l) {
    if (((self.words[2] >> l) & 1U) == 0) continue;
    sanitizer::acquire(&tags[warp + l][(self.words[1] >> l) & 1U]);
  }
}

bool delivers_matrix_row(int count, const void* row, Site site) {
  if (this_lane().lane() >= 8 * count) return false;
  check_aligned16(row, site);
  UNETD_CHECK(in_shared_memory(row, sizeof(Bytes16)), "simt: ldmatrix at ", describe(site),
              " does not read shared memory");
  return true;
}

void exchange_matrix(Collective kind, uint32_t* d, int count, const Bytes16& row, Site site) {
  Lane& self = this_lane();
  std::copy_n(row.words, 4, self.words.begin());
  meet(self, kind, full_warp, count, site);
  std::copy_n(self.words.begin(), count, d);
}

void multiply_add(Collective kind, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  Site site) {
  Lane& self = this_lane();
  std::memcpy(self.words.data(), d, sizeof d);
  std::copy_n(a, 4, self.words.begin() + 4);
  std::copy_n(b, 2, self.words.begin() + 8);
  meet(self, kind, full_warp, 0, site);
  std::memcpy(d, self.words.data(), sizeof d);
}

}  // namespace unetd::simt

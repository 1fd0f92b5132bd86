// Turns the patches of a split into batches, on threads of its own that work ahead. Samples stay
// raw, and of augmentation only the draws are made: normalising and turning is the device's work
// (engine/op/prepare_patches.h). What a batch holds is a pure function of (seed, epoch, position):
// order, crops and draws come from counter-based random numbers, so a run resumed from a state sees
// the same bits.
#pragma once

#include "engine/tensor/patches.h"
#include "engine/tensor/tensor.h"
#include "io/patch_store.h"

#include <cstdint>
#include <memory>

namespace unetd::io {

// What is drawn for a patch; nothing by default.
struct Augmentation {
  // Mirror images and turns by 90 degrees: from above, ground has no preferred direction.
  bool flips = false, quarter_turns = false;
  // Share of patches of which a rectangle is erased, and its longest side as a share of the
  // patch's (random erasing: Zhong et al., 2020).
  double erasing = 0, erased_side = 0;
  double band_dropout = 0;  // share of bands that are blanked
  // Most that a patch's normalised values are shifted by, all bands alike and each by itself.
  double brightness = 0, band_noise = 0;
};

struct LoaderOptions {
  // drop: the patches that do not fill a batch are left out (of that epoch). pad: the last batch is
  // filled with patches without data, labelled 255 or NaN.
  enum class Tail : uint8_t { drop, pad };

  int64_t batch = 8;  // of this process
  int64_t crop = 0;   // side of the random square cut from a patch; 0: the whole patch
  bool shuffle = false;
  uint64_t seed = 0;
  Augmentation augmentation;
  Tail tail = Tail::drop;
  int threads = 1;
  int prefetch = 2;             // batches worked ahead
  int64_t rank = 0, world = 1;  // each rank takes its part of every global batch

  // Training order; and one pass in the store's order with every patch once.
  static LoaderOptions training(int64_t batch, uint64_t seed);
  static LoaderOptions evaluation(int64_t batch);
};

struct Batch {
  Tensor image;  // {batch, side, side, bands}, as the store holds it
  Tensor valid;  // {batch, side, side, 1} u8, 1 where there is data
  Tensor label;  // {batch, side, side, 1}: u8 classes, 255 = ignore; or f32 targets, NaN = ignore
  Draws draws;   // what is yet to be done to the patches
  int64_t filled = 0;  // patches that are not padding
  int64_t epoch = 0, position = 0;
};

// The next batch to come.
struct LoaderState {
  int64_t epoch = 0, position = 0;

  bool operator==(const LoaderState&) const = default;
};

class Loader {
 public:
  // `store` must outlive the loader. Throws UserError if the split is empty or, with Tail::drop,
  // has fewer patches than a global batch; UsageError for a crop larger than the patch.
  Loader(const PatchStore& store, Split split, const LoaderOptions& options);
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;
  ~Loader();

  int64_t batches_per_epoch() const;
  // Epoch follows epoch without end. Rethrows what a thread met while it made this batch.
  Batch next();
  LoaderState state() const;
  void restore(const LoaderState& state);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace unetd::io

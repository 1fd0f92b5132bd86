#include "io/loader.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace unetd::io {
namespace {

// Random streams: one per epoch for the order, one per (epoch, patch) for its crop and
// augmentation.
constexpr uint64_t order_stream = uint64_t{1} << 63;

// Two mirror images and a transposition, each applied to what the draws before it made.
int32_t draw_symmetry(Rng& rng, const Augmentation& a) {
  bool columns = false, rows = false, transposed = false;
  if (a.flips) {
    const uint32_t bits = rng.below(4);
    columns = (bits & 1) != 0;
    rows = (bits & 2) != 0;
  }
  if (a.quarter_turns) {
    const uint32_t turns = rng.below(4);
    if ((turns & 2) != 0) {
      columns = !columns;
      rows = !rows;
    }
    if ((turns & 1) != 0) {  // a transposition and a mirror image make a quarter turn
      transposed = true;
      std::swap(columns, rows);
      columns = !columns;
    }
  }
  return (columns ? 1 : 0) | (rows ? 2 : 0) | (transposed ? transposing : 0);
}

// An erased rectangle inside the patch, of sides that are all equally likely.
void draw_rectangle(Rng& rng, const Augmentation& a, int64_t side, PatchDraw& draw) {
  if (a.erasing <= 0 || rng.uniform() >= static_cast<float>(a.erasing)) return;
  const auto most =
      std::clamp<int64_t>(std::lround(a.erased_side * static_cast<double>(side)), 1, side);
  const auto within = [&](int64_t n) {
    return static_cast<int32_t>(rng.below(static_cast<uint32_t>(n)));
  };
  draw.height = 1 + within(most);
  draw.width = 1 + within(most);
  draw.top = within(side - draw.height + 1);
  draw.left = within(side - draw.width + 1);
}

void draw_bands(Rng& rng, const Augmentation& a, std::span<BandDraw> bands) {
  const auto shift = [&](double most) {
    const auto end = static_cast<float>(most);
    return most > 0 ? rng.uniform(-end, end) : 0.0F;
  };
  const float brightness = shift(a.brightness);
  for (BandDraw& band : bands) {
    band.offset = brightness + shift(a.band_noise);
    if (a.band_dropout > 0 && rng.uniform() < static_cast<float>(a.band_dropout)) band.kept = 0;
  }
}

// A square cut from a patch, whose rows are dense, and its place among those of a batch.
struct Square {
  int64_t patch, side;  // pixels along each side
  int64_t left, top, slot;

  void copy(const void* from, Tensor& batch) const {
    const int64_t pixel = static_cast<int64_t>(size_of(batch.dtype())) * batch.shape().c;
    const auto* const first = static_cast<const std::byte*>(from) + (top * patch + left) * pixel;
    auto* const to = static_cast<std::byte*>(batch.data()) + slot * side * side * pixel;
    for (int64_t row = 0; row < side; ++row)
      std::copy_n(first + row * patch * pixel, side * pixel, to + row * side * pixel);
  }
};

// Patches from `first` on are padding: nothing there counts.
void ignore_from(int64_t first, Tensor& labels) {
  const int64_t begin = first * labels.shape().h * labels.shape().w;
  if (labels.dtype() == DType::f32)
    std::ranges::fill(labels.span<float>().subspan(static_cast<size_t>(begin)), NAN);
  else
    std::ranges::fill(labels.span<uint8_t>().subspan(static_cast<size_t>(begin)), ignore_label);
}

}  // namespace

LoaderOptions LoaderOptions::training(int64_t batch, uint64_t seed) {
  LoaderOptions o;
  o.batch = batch;
  o.shuffle = true;
  o.seed = seed;
  o.augmentation = {.flips = true, .quarter_turns = true};
  return o;
}

LoaderOptions LoaderOptions::evaluation(int64_t batch) {
  LoaderOptions o;
  o.batch = batch;
  o.tail = Tail::pad;
  return o;
}

// Threads take the numbers of batches in turn and put what they make (or the exception they met)
// into `ready`; the consumer takes them out in order. A number counts batches from epoch 0 on.
struct Loader::State {
  State(const PatchStore& from, Split of, const LoaderOptions& how);
  ~State() { stop(); }

  const PatchStore& store;
  const std::vector<int64_t>& patches;
  const LoaderOptions options;
  const int64_t side;
  const int64_t per_epoch;

  struct Result {
    Batch batch;
    std::exception_ptr error;
  };
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::map<int64_t, Result> ready;
  int64_t to_make = 0, to_give = 0;
  bool stopping = false;
  std::vector<std::thread> threads;

  int64_t count_batches() const;
  std::vector<int64_t> order(int64_t epoch) const;
  Batch make(int64_t number, const std::vector<int64_t>& order) const;
  void fill(int64_t patch, int64_t epoch, int64_t slot, Batch& batch) const;
  void work();
  void start();
  void stop();
};

Loader::State::State(const PatchStore& from, Split of, const LoaderOptions& how)
    : store(from),
      patches(from.indices(of)),
      options(how),
      side(how.crop == 0 ? from.schema().patch : how.crop),
      per_epoch(count_batches()) {
  UNETD_CHECK(options.rank >= 0 && options.rank < options.world, "rank ", options.rank, " of ",
              options.world);
  const std::string where =
      str(store.path().string(), ": its ", split_names[static_cast<size_t>(of)], " split ");
  if (options.batch <= 0) throw UsageError(str("batch size ", options.batch));
  if (side <= 0 || side > store.schema().patch)
    throw UsageError(str("crop ", options.crop, " does not fit the patches of ",
                         store.path().string(), ", which are ", store.schema().patch, " wide"));
  if (patches.empty())
    throw UserError(where + "holds no patch; build the store with another division");
  if (per_epoch == 0)
    throw UserError(str(where, "holds ", patches.size(), " patches, fewer than one batch of ",
                        options.batch * options.world, "; lower the batch size"));
}

int64_t Loader::State::count_batches() const {
  const int64_t global = std::max<int64_t>(1, options.batch * options.world);
  const auto n = static_cast<int64_t>(patches.size());
  return options.tail == LoaderOptions::Tail::drop ? n / global : (n + global - 1) / global;
}

std::vector<int64_t> Loader::State::order(int64_t epoch) const {
  std::vector<int64_t> order = patches;
  if (!options.shuffle) return order;
  Rng rng(options.seed, order_stream | static_cast<uint64_t>(epoch));
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[rng.below(static_cast<uint32_t>(i))]);
  return order;
}

// Copies a crop of one patch into its place in the batch, and draws what is done to it. What is
// switched off draws no number.
void Loader::State::fill(int64_t patch, int64_t epoch, int64_t slot, Batch& batch) const {
  const StoreSchema& schema = store.schema();
  const PatchView view = store.view(patch);
  Rng rng(options.seed, static_cast<uint64_t>(epoch) << 32 | static_cast<uint64_t>(patch));
  const auto room = static_cast<uint32_t>(schema.patch - side + 1);
  const int64_t left = room > 1 ? rng.below(room) : 0, top = room > 1 ? rng.below(room) : 0;
  const size_t bands = schema.bands.size(), place = static_cast<size_t>(slot);
  PatchDraw& draw = batch.draws.patches[place];
  draw.symmetry = draw_symmetry(rng, options.augmentation);
  draw_rectangle(rng, options.augmentation, side, draw);
  draw_bands(rng, options.augmentation, std::span(batch.draws.bands).subspan(place * bands, bands));
  const Square square{schema.patch, side, left, top, slot};
  square.copy(view.image, batch.image);
  square.copy(view.labels(), batch.label);
  if (view.valid != nullptr)
    square.copy(view.valid, batch.valid);
  else
    std::fill_n(batch.valid.span<uint8_t>().data() + slot * side * side, side * side, uint8_t{1});
}

Batch Loader::State::make(int64_t number, const std::vector<int64_t>& order) const {
  const StoreSchema& schema = store.schema();
  Batch batch;
  batch.epoch = number / per_epoch;
  batch.position = number % per_epoch;
  batch.image = Tensor({options.batch, side, side, std::ssize(schema.bands)}, schema.dtype);
  batch.valid = Tensor({options.batch, side, side, 1}, DType::u8);
  batch.label = Tensor({options.batch, side, side, 1}, schema.label_type());
  batch.draws = Draws::none(options.batch, std::ssize(schema.bands));
  const int64_t first =
      std::min((batch.position * options.world + options.rank) * options.batch, std::ssize(order));
  batch.filled = std::min(std::ssize(order) - first, options.batch);
  const std::span<const int64_t> taken(order.data() + first, static_cast<size_t>(batch.filled));
  for (const int64_t patch : taken) store.prefetch(patch);
  for (int64_t slot = 0; slot < batch.filled; ++slot)
    fill(taken[static_cast<size_t>(slot)], batch.epoch, slot, batch);
  ignore_from(batch.filled, batch.label);
  return batch;
}

void Loader::State::work() {
  std::vector<int64_t> current;  // this thread's order of the epoch it is in
  int64_t epoch = -1;
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock,
                 [&] { return stopping || to_make < to_give + std::max(1, options.prefetch); });
    if (stopping) return;
    const int64_t number = to_make++;
    lock.unlock();
    Result result;
    try {
      if (std::exchange(epoch, number / per_epoch) != number / per_epoch) current = order(epoch);
      result.batch = make(number, current);
    } catch (...) {
      result.error = std::current_exception();
    }
    lock.lock();
    ready.emplace(number, std::move(result));
    changed.notify_all();
  }
}

void Loader::State::start() {
  stopping = false;
  for (int i = 0; i < std::max(1, options.threads); ++i) threads.emplace_back([this] { work(); });
}

void Loader::State::stop() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  changed.notify_all();
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  ready.clear();
}

Loader::Loader(const PatchStore& store, Split split, const LoaderOptions& options)
    : state_(std::make_unique<State>(store, split, options)) {}
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;
Loader::~Loader() = default;

int64_t Loader::batches_per_epoch() const { return state_->per_epoch; }

Batch Loader::next() {
  State& s = *state_;
  // Only now, so that a loader restored before its first batch makes none in vain.
  if (s.threads.empty()) s.start();
  std::unique_lock lock(s.mutex);
  s.changed.wait(lock, [&] { return s.ready.contains(s.to_give); });
  const auto at = s.ready.find(s.to_give);
  if (at->second.error) std::rethrow_exception(at->second.error);
  Batch batch = std::move(at->second.batch);
  s.ready.erase(at);
  ++s.to_give;
  s.changed.notify_all();
  return batch;
}

LoaderState Loader::state() const {
  const std::lock_guard lock(state_->mutex);
  return {state_->to_give / state_->per_epoch, state_->to_give % state_->per_epoch};
}

void Loader::restore(const LoaderState& state) {
  State& s = *state_;
  if (state.epoch < 0 || state.position < 0 || state.position >= s.per_epoch)
    throw UserError(str("cannot resume at batch ", state.position, " of epoch ", state.epoch,
                        ": an epoch has ", s.per_epoch,
                        " batches; was the store or the batch size changed?"));
  s.stop();
  s.to_make = s.to_give = state.epoch * s.per_epoch + state.position;
}

}  // namespace unetd::io

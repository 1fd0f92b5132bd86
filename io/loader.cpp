#include "io/loader.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

namespace unetd::io {
namespace {

// Random streams: one per epoch for the order, one per (epoch, patch) for its crop and
// augmentation.
constexpr uint64_t order_stream = uint64_t{1} << 63;

// Where row r, column c of a square crop lies in its patch: start + r * row_step + c * column_step.
// The eight symmetries of the square are steps of either sign, along either axis.
struct Cut {
  int64_t start = 0, row_step = 0, column_step = 1;
};

Cut draw_cut(Rng& rng, int64_t patch, int64_t side, const Augmentation& augmentation) {
  const auto room = static_cast<uint32_t>(patch - side + 1);
  const int64_t x = room > 1 ? rng.below(room) : 0, y = room > 1 ? rng.below(room) : 0;
  Cut cut{y * patch + x, patch, 1};
  const auto flip = [&](int64_t& step) {
    cut.start += (side - 1) * step;
    step = -step;
  };
  if (augmentation.flips) {
    const uint32_t bits = rng.below(4);
    if ((bits & 1) != 0) flip(cut.column_step);
    if ((bits & 2) != 0) flip(cut.row_step);
  }
  if (augmentation.quarter_turns) {
    const uint32_t turns = rng.below(4);
    if ((turns & 2) != 0) {
      flip(cut.column_step);
      flip(cut.row_step);
    }
    if ((turns & 1) != 0) {  // a transposition and a flip make a quarter turn
      std::swap(cut.row_step, cut.column_step);
      flip(cut.column_step);
    }
  }
  return cut;
}

}  // namespace

LoaderOptions LoaderOptions::training(int64_t batch, uint64_t seed) {
  LoaderOptions o;
  o.batch = batch;
  o.shuffle = true;
  o.seed = seed;
  o.augmentation = {true, true};
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
  State(const PatchStore& from, Split of, Normalisation with, const LoaderOptions& how);
  ~State() { stop(); }

  const PatchStore& store;
  const std::vector<int64_t>& patches;
  const Normalisation normalisation;
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

Loader::State::State(const PatchStore& from, Split of, Normalisation with, const LoaderOptions& how)
    : store(from),
      patches(from.indices(of)),
      normalisation(std::move(with)),
      options(how),
      side(how.crop == 0 ? from.schema().patch : how.crop),
      per_epoch(count_batches()) {
  UNETD_CHECK(normalisation.bands() == std::ssize(store.schema().bands), "normalisation of ",
              normalisation.bands(), " bands");
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

// Crops, turns and normalises one patch into its place in the batch.
void Loader::State::fill(int64_t patch, int64_t epoch, int64_t slot, Batch& batch) const {
  const StoreSchema& schema = store.schema();
  const PatchView view = store.view(patch);
  Rng rng(options.seed, static_cast<uint64_t>(epoch) << 32 | static_cast<uint64_t>(patch));
  const Cut cut = draw_cut(rng, schema.patch, side, options.augmentation);
  const int64_t bands = normalisation.bands(), pixels = side * side;
  const int64_t pixel_bytes = bands * static_cast<int64_t>(size_of(schema.dtype));
  float* image = batch.image.span<float>().data() + slot * pixels * bands;
  uint8_t* label = batch.label.span<uint8_t>().data() + slot * pixels;
  for (int64_t row = 0; row < side; ++row) {
    const int64_t start = cut.start + row * cut.row_step;
    normalisation.apply(view.image + start * pixel_bytes, schema.dtype,
                        view.valid == nullptr ? nullptr : view.valid + start, side, cut.column_step,
                        image + row * side * bands);
    for (int64_t column = 0; column < side; ++column)
      label[row * side + column] = view.label[start + column * cut.column_step];
  }
}

Batch Loader::State::make(int64_t number, const std::vector<int64_t>& order) const {
  Batch batch;
  batch.epoch = number / per_epoch;
  batch.position = number % per_epoch;
  batch.image = Tensor({options.batch, side, side, normalisation.bands()}, DType::f32);
  batch.label = Tensor({options.batch, side, side, 1}, DType::u8);
  const int64_t first = (batch.position * options.world + options.rank) * options.batch;
  batch.filled = std::clamp<int64_t>(std::ssize(order) - first, 0, options.batch);
  for (int64_t slot = 0; slot < batch.filled; ++slot)
    fill(order[static_cast<size_t>(first + slot)], batch.epoch, slot, batch);
  const auto label = batch.label.span<uint8_t>();
  std::fill(label.begin() + batch.filled * side * side, label.end(), ignore_label);
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

Loader::Loader(const PatchStore& store, Split split, const Normalisation& normalisation,
               const LoaderOptions& options)
    : state_(std::make_unique<State>(store, split, normalisation, options)) {}
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

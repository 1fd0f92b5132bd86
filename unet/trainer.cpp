#include "unet/trainer.h"

#include "engine/base/log.h"
#include "unet/fitting.h"
#include "unet/loss.h"
#include "unet/runtime.h"
#include "unet/schedule.h"
#include "unet/surrounded.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

namespace unetd {
namespace {

constexpr int64_t scalar_count = sizeof(OptimizerScalars) / sizeof(float);
constexpr int64_t loss_scale_count = sizeof(LossScale) / sizeof(float);
constexpr LossScale first_loss_scale{0x1p16F, 0};

}  // namespace

Trainer::Trainer(const Config& config, const UNetConfig& model, Shape batch, const Course& course,
                 std::span<const std::vector<float>> loss_weights, std::optional<DType> raw,
                 const TargetScale& target)
    : config_(config),
      model_(model),
      device_(open_device(config.runtime.device)),
      loss_weights_(loss_weights.begin(), loss_weights.end()),
      params_(unet_params(model, device_)),
      counter_(device_, model.classes, config.metrics.threshold),
      target_(target),
      errors_(target),
      batch_(batch),
      raw_(raw),
      course_(course),
      precision_(model.compute) {
  check_precision(model, device_);
  if (model.used_side(std::min(batch.h, batch.w)) == 0) {
    throw UsageError(str("patches of ", batch.h, "x", batch.w,
                         " pixels are too small for a network ",
                         "without padding, which reads at least ", model.input_side(1),
                         " a side; tile larger ones or lower model.depth"));
  }
  for (const std::vector<float>& w : loss_weights_) {
    UNETD_CHECK(w.empty() || static_cast<int64_t>(w.size()) == model.classes, w.size(),
                " weights for ", model.classes, " classes");
  }
  params_.initialise(static_cast<uint64_t>(config.training.seed));
  optimizer_ = OptimizerState::make(config, params_, model.compute == DType::f16);
  if (optimizer_.loss_scale) set_loss_scale(first_loss_scale);
  for (const auto& statistics : {params_.statistics(), optimizer_.average_statistics}) {
    if (!statistics) continue;
    good_statistics_.emplace_back(statistics,
                                  std::make_shared<Buffer>(device_, statistics->bytes()));
  }
  if (course_.f32_steps > 0) model_.compute = DType::f32;
  record();
}

void Trainer::record() {
  training_.reset();  // gives its arena back before the next is taken
  ahead_ = nullptr;
  update_.reset();
  evaluation_.reset();
  training_ = record_training();
  if (optimizer_.mean_gradients) update_ = record_update_alone();
}

void Trainer::set_step(int64_t step) {
  step_ = step;
  const DType wanted = step < course_.f32_steps ? DType::f32 : precision_;
  if (model_.compute == wanted) return;
  model_.compute = wanted;
  record();
}

LossScale Trainer::loss_scale() const {
  if (!optimizer_.loss_scale) return first_loss_scale;
  LossScale state;
  Staging(device_).download(optimizer_.loss_scale->data(), sizeof state,
                            [&](const std::byte* from) {
                              std::memcpy(&state, from, sizeof state);
                              return 0;
                            });
  return state;
}

void Trainer::set_loss_scale(const LossScale& state) {
  if (!optimizer_.loss_scale) return;
  Staging staging(device_);
  staging.upload(optimizer_.loss_scale->data(), sizeof state,
                 [&](std::byte* to) { std::memcpy(to, &state, sizeof state); });
  backend(device_).sync(backend(device_).stream());  // `staging` ends here
}

Params Trainer::inference_params() const {
  if (!optimizer_.average) return params_;
  return params_.with_buffers(optimizer_.average, optimizer_.average_statistics);
}

// A session of a graph that record(graph, shape) records for batches of any size, this one for
// `batch`.
std::unique_ptr<Session> Trainer::make_session(
    const Graph& g, Shape batch, const std::function<void(Graph&, Shape)>& record) const {
  const SessionOptions options = session_options(config_);
  const SizeKey size{
      .key = "training.batch", .wanted = batch.n, .otherwise = "lower training.crop"};
  const auto arena = [&](int64_t images) {
    Shape smaller = batch;
    smaller.n = images;
    Graph other;
    record(other, smaller);
    return Session::arena_of(other, options);
  };
  return with_fitting(device_, size, arena, [&] { return std::make_unique<Session>(g, options); });
}

void Trainer::record_training(Graph& g, Recorded& r, Shape batch) {
  r.input = record_input(g, batch, {raw_, label_type(), model_.compute});
  r.scalars = g.input({1, 1, 1, scalar_count}, DType::f32, "scalars", Kind::dense);
  for (const std::vector<float>& w : loss_weights_) {
    const Shape per_class{1, 1, 1, model_.classes};
    r.weights.push_back(w.empty() ? Value{} : g.input(per_class, DType::f32, "class_weights"));
  }
  if (model_.dropout > 0) r.batch = g.input({1, 1, 1, 1}, DType::i64, "batch", Kind::dense);
  const DropoutSource dropout{r.batch, static_cast<uint64_t>(config_.training.seed)};
  const Value output =
      unet(g, params_, model_, r.input.image, Mode::training, /*window=*/{}, dropout);
  const Value logits = on_whole_image(g, output, batch);
  const Value scale = loss_scale_value(g);
  r.loss = record_loss(g, logits, r.input.labels, r.weights, config_.loss, scale).loss;
  g.backward(r.loss);
  if (optimizer_.mean_gradients) {
    record_accumulation(g, params_, optimizer_, r.scalars);
  } else {
    r.norm = record_update(g, config_, params_, optimizer_, {r.loss, r.scalars, scale});
  }
}

std::unique_ptr<Trainer::Recorded> Trainer::record_training() {
  auto r = std::make_unique<Recorded>();
  Graph g;
  record_training(g, *r, batch_);
  r->session = make_session(g, batch_, [&](Graph& other, Shape smaller) {
    Recorded unused;
    record_training(other, unused, smaller);
  });
  const Shape per_class{1, 1, 1, model_.classes};
  for (size_t i = 0; i < r->weights.size(); ++i) {
    if (!r->weights[i]) continue;
    r->session->write(r->weights[i], Tensor::from<float>(per_class, loss_weights_[i]));
  }
  return r;
}

std::unique_ptr<Trainer::Recorded> Trainer::record_update_alone() {
  auto r = std::make_unique<Recorded>();
  Graph g;
  r->scalars = g.input({1, 1, 1, scalar_count}, DType::f32, "scalars", Kind::dense);
  r->loss = g.input({1, 1, 1, 1}, DType::f32, "loss", Kind::dense);
  r->norm =
      record_update(g, config_, params_, optimizer_, {r->loss, r->scalars, loss_scale_value(g)});
  r->session = std::make_unique<Session>(g, session_options(config_));
  return r;
}

Value Trainer::loss_scale_value(Graph& g) const {
  if (!optimizer_.loss_scale || model_.compute != DType::f16) return {};
  return g.external(optimizer_.loss_scale, 0, {1, 1, 1, loss_scale_count}, DType::f32,
                    "loss_scale");
}

void Trainer::run(Recorded& r, const OptimizerScalars& scalars) {
  r.session->write_dense(r.scalars, std::as_bytes(std::span(&scalars, 1)));
  r.session->run();
}

void Trainer::write_images(const Images& images, const Tensor& labels, Session::Write when) {
  const Tensor learnt = config_.loss.of_values() ? as_learnt(labels, target_) : Tensor();
  const PredictedLabels predicted(learnt.empty() ? labels : learnt, model_);
  write_input(*training_->session, training_->input, images, predicted.labels(), when);
}

void Trainer::write_batch(const Images& images, const Tensor& labels) {
  Recorded& r = *training_;
  if (std::exchange(ahead_, nullptr) == images.samples->data()) {
    r.session->place_ahead();
  } else {
    write_images(images, labels, Session::Write::now);
  }
  const int64_t number = step_ * config_.training.accumulate + gathered_;
  if (r.batch) r.session->write_dense(r.batch, std::as_bytes(std::span(&number, 1)));
}

void Trainer::bring_ahead(const Images& images, const Tensor& labels) {
  if (backend(device_).host_reaches_memory()) return;
  write_images(images, labels, Session::Write::ahead);
  ahead_ = images.samples->data();
}

double Trainer::add_gradients(const Images& images, const Tensor& labels,
                              const Meanwhile& meanwhile) {
  // Batch k of the step, from 0, has its share in the mean.
  write_batch(images, labels);
  const auto k = static_cast<float>(gathered_++);
  run(*training_, {.ema_decay = k / (k + 1)});
  if (meanwhile) meanwhile();
  return training_->session->scalar(training_->loss);
}

void Trainer::accumulate(const Images& images, const Tensor& labels, const Meanwhile& meanwhile) {
  UNETD_CHECK(gathered_ + 1 < config_.training.accumulate, "batch ", gathered_ + 1, " of ",
              config_.training.accumulate, " ends the step: call train()");
  if (gathered_ == 0) keep_statistics();
  loss_sum_ += add_gradients(images, labels, meanwhile);
}

StepResult Trainer::train(const Images& images, const Tensor& labels, const Meanwhile& meanwhile) {
  OptimizerScalars now = optimizer_scalars(config_, step_, course_.steps);
  now.learning_rate =
      static_cast<float>(rate_factor_ * learning_rate(config_, step_, course_.steps));
  StepResult result{.learning_rate = now.learning_rate};
  if (update_) {
    UNETD_CHECK(gathered_ + 1 == config_.training.accumulate, "batch ", gathered_ + 1, " of ",
                config_.training.accumulate, " is to end the step");
    const double loss = loss_sum_ + add_gradients(images, labels, meanwhile);
    result.loss = loss / static_cast<double>(std::exchange(gathered_, 0));
    loss_sum_ = 0;
    const auto mean = static_cast<float>(result.loss);
    update_->session->write_dense(update_->loss, std::as_bytes(std::span(&mean, 1)));
    run(*update_, now);
    result.grad_norm = update_->session->scalar(update_->norm);
  } else {
    keep_statistics();
    write_batch(images, labels);
    run(*training_, now);
    if (meanwhile) meanwhile();
    const auto measured = training_->session->scalars({training_->loss, training_->norm});
    result.loss = measured[0];
    result.grad_norm = measured[1];
  }
  check_finite(result);
  set_step(step_ + 1);
  return result;
}

void Trainer::keep_statistics() const {
  for (const auto& [current, kept] : good_statistics_) copy(*current, *kept);
}
void Trainer::restore_statistics() const {
  for (const auto& [current, kept] : good_statistics_) copy(*kept, *current);
}

void Trainer::check_finite(StepResult& result) {
  // A loss scale that starts too high, or grows too far, costs a few steps and not more.
  constexpr int64_t most_left_out = 40;
  result.skipped = !std::isfinite(result.loss) || !std::isfinite(result.grad_norm);
  if (!result.skipped) {
    left_out_ = 0;
    return;
  }
  restore_statistics();
  ++left_out_;
  const bool scaled = model_.compute == DType::f16;
  if (scaled && std::isfinite(result.loss) && left_out_ <= most_left_out) return;
  const std::string problem = str("step ", step_ + 1, ": loss ", result.loss, ", gradient norm ",
                                  result.grad_norm, "; ", first_not_finite());
  const bool skips = config_.training.on_nan == Config::OnNan::skip;
  if (!skips || left_out_ > most_left_out) {
    throw Error(problem + "; lower optimizer.lr or look for extreme input values");
  }
  log_warning(problem, "; the batch is left out");
}

// The batch once more, node by node. It changes nothing: what it must not leave behind is put back.
std::string Trainer::first_not_finite() {
  const LossScale scale = loss_scale();
  training_->session->set_check_nan(true);
  std::string found = "every node of its last batch is finite";
  try {
    training_->session->run();
  } catch (const Error& e) {
    found = str("first in ", e.what());
  }
  training_->session->set_check_nan(false);
  set_loss_scale(scale);
  restore_statistics();
  return found;
}

void Trainer::record_evaluation(Graph& g, Recorded& r, Shape shape, std::optional<DType> raw) {
  r.input = record_input(g, shape, {raw, label_type(), model_.compute});
  Params params = inference_params();
  const Value output = unet(g, params, model_, r.input.image, Mode::evaluation);
  const Value logits = on_whole_image(g, output, shape);
  const RecordedLoss recorded = record_loss(g, logits, r.input.labels, {}, config_.loss);
  r.loss = recorded.loss;
  r.errors = recorded.errors;
  if (r.errors) return g.mark_output(r.errors);
  const bool independent = config_.loss.independent_outputs();
  counter_.record(g, logits, 0, probabilities(g, logits, independent), r.input.labels);
}

Trainer::Recorded& Trainer::evaluation(const Images& images) {
  const Shape shape = images.shape();
  const std::optional<DType> raw = images.raw();
  if (evaluation_ && evaluation_->shape == shape && evaluation_->raw == raw) return *evaluation_;
  evaluation_.reset();  // gives its arena back before the next is taken
  auto r = std::make_unique<Recorded>();
  r->shape = shape;
  r->raw = raw;
  Graph g;
  record_evaluation(g, *r, shape, raw);
  r->session = make_session(g, shape, [&](Graph& other, Shape smaller) {
    Recorded unused;
    record_evaluation(other, unused, smaller, raw);
  });
  evaluation_ = std::move(r);
  return *evaluation_;
}

double Trainer::evaluate(const Images& images, const Tensor& labels) {
  Surrounded whole(images, model_);
  Recorded& r = evaluation(whole.images());
  if (!r.errors) {
    write_input(*r.session, r.input, whole.images(), whole.labels(labels));
    r.session->run();
    return r.session->scalar(r.loss);
  }
  const Tensor learnt = as_learnt(labels, target_);
  write_input(*r.session, r.input, whole.images(), whole.labels(learnt));
  r.session->run();
  const Tensor errors = r.session->read(r.errors);
  for (int64_t n = 0; n < errors.shape().n; ++n) {
    ImageErrors image;
    std::memcpy(static_cast<void*>(&image), errors.span<double>().data() + n * error_fields,
                sizeof image);
    errors_.add(image);
  }
  return r.session->scalar(r.loss);
}

}  // namespace unetd

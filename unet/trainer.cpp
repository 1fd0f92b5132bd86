#include "unet/trainer.h"

#include "unet/loss.h"
#include "unet/runtime.h"
#include "unet/schedule.h"

#include <cmath>
#include <cstring>
#include <span>
#include <utility>

namespace unetd {
namespace {

constexpr const char* smaller_batch = "lower training.batch or training.crop";
constexpr int64_t scalar_count = sizeof(OptimizerScalars) / sizeof(float);
constexpr int64_t loss_scale_count = sizeof(LossScale) / sizeof(float);
constexpr LossScale first_loss_scale{0x1p16F, 0};

// Records AdamW and the moving average for elements [begin, begin + count) of the flat
// buffers, with or without weight decay.
struct OptimizerRecorder {
  Graph& g;
  const Config& config;
  Params& params;
  const OptimizerState& state;
  Value scalars, factor;

  Value flat(const std::shared_ptr<Buffer>& buffer, const char* name, int64_t begin,
             int64_t count) const {
    return g.external(buffer, begin, {1, 1, 1, count}, DType::f32, name);
  }
  void update(int64_t begin, int64_t count, double weight_decay) const {
    if (count == 0) return;
    const auto& o = config.optimizer;
    const AdamW problem{count, static_cast<float>(o.beta1), static_cast<float>(o.beta2),
                        static_cast<float>(o.eps), static_cast<float>(weight_decay)};
    const Value values = flat(params.values(), "params", begin, count);
    g.emit(
        problem, {flat(params.gradients(), "gradients", begin, count), scalars, factor},
        {values, flat(state.m, "adamw.m", begin, count), flat(state.v, "adamw.v", begin, count)});
  }
  void average(const std::shared_ptr<Buffer>& from, const std::shared_ptr<Buffer>& to,
               int64_t count) const {
    g.emit(Ema{count}, {flat(from, "params", 0, count), scalars}, {flat(to, "average", 0, count)});
  }
};

}  // namespace

Trainer::Trainer(const Config& config, const UNetConfig& model, Shape batch, int64_t steps,
                 std::span<const std::vector<float>> loss_weights, std::optional<DType> raw)
    : config_(config),
      model_(model),
      device_(open_device(config.runtime.device)),
      loss_weights_(loss_weights.begin(), loss_weights.end()),
      params_(unet_params(model, device_)),
      counter_(device_, model.classes),
      steps_(steps) {
  check_precision(model, device_);
  for (const std::vector<float>& w : loss_weights_) {
    UNETD_CHECK(w.empty() || static_cast<int64_t>(w.size()) == model.classes, w.size(),
                " weights for ", model.classes, " classes");
  }
  params_.initialise(static_cast<uint64_t>(config.training.seed));
  const auto like = [&](const Buffer& buffer) {
    return std::make_shared<Buffer>(device_, buffer.bytes());
  };
  optimizer_.m = like(*params_.values());
  optimizer_.v = like(*params_.values());
  if (config.training.ema_decay > 0) {
    optimizer_.average = like(*params_.values());
    optimizer_.average_statistics = like(*params_.statistics());
  }
  if (model.compute == DType::f16) {
    optimizer_.loss_scale = std::make_shared<Buffer>(device_, sizeof(LossScale));
    set_loss_scale(first_loss_scale);
  }
  restart_average();
  training_ = with_remedy(smaller_batch, [&] { return record_training(batch, raw); });
}

void Trainer::restart_average() {
  if (!optimizer_.average) return;
  copy(*params_.values(), *optimizer_.average);
  copy(*params_.statistics(), *optimizer_.average_statistics);
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

std::unique_ptr<Trainer::Recorded> Trainer::record_training(Shape batch, std::optional<DType> raw) {
  auto r = std::make_unique<Recorded>();
  Graph g;
  r->input = record_input(g, batch, raw, /*labelled=*/true, model_.compute);
  r->scalars = g.input({1, 1, 1, scalar_count}, DType::f32, "scalars", Kind::dense);
  const Shape per_class{1, 1, 1, model_.classes};
  for (const std::vector<float>& w : loss_weights_) {
    r->weights.push_back(w.empty() ? Value{} : g.input(per_class, DType::f32, "class_weights"));
  }
  const Value logits = unet(g, params_, model_, r->input.image, Mode::training);
  Value scale;
  if (optimizer_.loss_scale) {
    scale =
        g.external(optimizer_.loss_scale, 0, {1, 1, 1, loss_scale_count}, DType::f32, "loss_scale");
  }
  r->loss = segmentation_loss(g, logits, r->input.labels, r->weights, config_.loss, scale);
  g.backward(r->loss);

  const int64_t all = params_.trained_elements(), filters = params_.weight_elements();
  r->norm = g.value({1, 1, 1, 1}, DType::f32, "grad_norm", Kind::dense);
  const Value gradients =
      g.external(params_.gradients(), 0, {1, 1, 1, all}, DType::f32, "gradients");
  g.emit(GlobalNorm{all}, {gradients}, {r->norm});
  const Value factor = g.value({1, 1, 1, 1}, DType::f32, "gradient_factor", Kind::dense);
  g.emit(GradientFactor{.max_norm = static_cast<float>(config_.optimizer.clip_norm),
                        .scaled = static_cast<bool>(scale)},
         {}, {factor, r->norm, scale});
  g.mark_output(r->norm);
  const OptimizerRecorder optimizer{g, config_, params_, optimizer_, r->scalars, factor};
  const double decay = config_.optimizer.weight_decay;
  optimizer.update(0, filters, decay);
  optimizer.update(filters, all - filters, config_.optimizer.decay_norm_and_bias ? decay : 0);
  if (optimizer_.average) {
    optimizer.average(params_.values(), optimizer_.average, all);
    optimizer.average(params_.statistics(), optimizer_.average_statistics,
                      params_.statistic_elements());
  }

  r->session = std::make_unique<Session>(g, session_options(config_));
  for (size_t i = 0; i < r->weights.size(); ++i) {
    if (!r->weights[i]) continue;
    r->session->write(r->weights[i], Tensor::from<float>(per_class, loss_weights_[i]));
  }
  return r;
}

OptimizerScalars Trainer::scalars() const {
  const auto& o = config_.optimizer;
  const auto t = static_cast<double>(step_ + 1);
  // Early averages follow the parameters closely: a plain decay would hold on to the start for
  // 1 / (1 - decay) steps.
  const double ema = std::min(config_.training.ema_decay, t / (t + 10));
  return {static_cast<float>(learning_rate(config_, step_, steps_)),
          static_cast<float>(1 - std::pow(o.beta1, t)),
          static_cast<float>(std::sqrt(1 - std::pow(o.beta2, t))), static_cast<float>(ema)};
}

StepResult Trainer::train(const Images& images, const Tensor& labels) {
  Session& session = *training_->session;
  const OptimizerScalars now = scalars();
  session.write_dense(training_->scalars, std::as_bytes(std::span(&now, 1)));
  write_input(session, training_->input, images, labels);
  session.run();
  const std::vector<double> measured = session.scalars({training_->loss, training_->norm});
  const StepResult result{measured[0], measured[1], now.learning_rate};
  // A loss scale that starts too high, or grows too far, costs a few steps and not more.
  constexpr int64_t most_left_out = 40;
  left_out_ = std::isfinite(result.grad_norm) ? 0 : left_out_ + 1;
  const int64_t allowed = optimizer_.loss_scale ? most_left_out : 0;
  if (!std::isfinite(result.loss) || left_out_ > allowed) {
    throw Error(str("step ", step_ + 1, ": loss ", result.loss, ", gradient norm ",
                    result.grad_norm,
                    "; lower optimizer.lr or look for extreme input values; "
                    "UNETD_CHECK_NAN=1 names the operation they come from"));
  }
  ++step_;
  return result;
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
  r->input = record_input(g, shape, raw, /*labelled=*/true, model_.compute);
  Params params = inference_params();
  const Value logits = unet(g, params, model_, r->input.image, Mode::evaluation);
  counter_.record(g, logits, r->input.labels, 0);
  r->loss = segmentation_loss(g, logits, r->input.labels, {}, config_.loss);
  r->session = with_remedy(smaller_batch,
                           [&] { return std::make_unique<Session>(g, session_options(config_)); });
  evaluation_ = std::move(r);
  return *evaluation_;
}

double Trainer::evaluate(const Images& images, const Tensor& labels) {
  Recorded& r = evaluation(images);
  write_input(*r.session, r.input, images, labels);
  r.session->run();
  return r.session->scalar(r.loss);
}

}  // namespace unetd

#include "unet/optimizer.h"

#include "engine/base/error.h"
#include "unet/schedule.h"

#include <algorithm>
#include <cmath>

namespace unetd {
namespace {

// What the optimiser steps by.
std::shared_ptr<Buffer> gradients_of(Params& params, const OptimizerState& state) {
  return state.mean_gradients ? state.mean_gradients : params.gradients();
}

struct StepValues {
  Value scalars, factor;
};

// Records the optimiser's step for elements [begin, begin + count) of the flat buffers.
void record_step(Graph& g, const Config::Optimizer& o, Params& params, const OptimizerState& state,
                 const StepValues& step, int64_t begin, int64_t count, double decay) {
  if (count == 0) return;
  const bool momentous = state.m != nullptr;
  const auto flat = [&](const std::shared_ptr<Buffer>& buffer, const char* name) {
    return buffer ? g.external(buffer, begin, {1, 1, 1, count}, DType::f32, name) : Value{};
  };
  const auto single = [](double x) { return static_cast<float>(x); };
  const Value gradients = flat(gradients_of(params, state), "gradients");
  const Value values = flat(params.values(), "params"), m = flat(state.m, "m"),
              v = flat(state.v, "v");
  switch (o.type) {
    case Config::OptimizerType::adamw:
    case Config::OptimizerType::adam:
      return g.emit(AdamW{.count = count,
                          .beta2 = single(o.beta2),
                          .eps = single(o.eps),
                          .weight_decay = single(decay),
                          .coupled = o.type == Config::OptimizerType::adam,
                          .amsgrad = o.amsgrad},
                    {gradients, step.scalars, step.factor},
                    {values, m, v, flat(state.largest, "largest")});
    case Config::OptimizerType::sgd:
      return g.emit(Sgd{.count = count,
                        .momentous = momentous,
                        .nesterov = o.nesterov,
                        .weight_decay = single(decay)},
                    {gradients, step.scalars, step.factor}, {values, m});
    case Config::OptimizerType::rmsprop:
      return g.emit(RmsProp{.count = count,
                            .alpha = single(o.alpha),
                            .eps = single(o.eps),
                            .weight_decay = single(decay),
                            .momentous = momentous},
                    {gradients, step.scalars, step.factor}, {values, v, m});
  }
}

void record_average(Graph& g, const std::shared_ptr<Buffer>& from,
                    const std::shared_ptr<Buffer>& to, int64_t count, Value scalars) {
  if (count == 0) return;  // statistics of a network without batch norm
  const Shape shape{1, 1, 1, count};
  g.emit(Ema{count}, {g.external(from, 0, shape, DType::f32, "params"), scalars},
         {g.external(to, 0, shape, DType::f32, "average")});
}

}  // namespace

OptimizerState OptimizerState::make(const Config& config, Params& params, bool loss_scale) {
  const auto& o = config.optimizer;
  const bool adaptive = o.type != Config::OptimizerType::sgd;
  const bool adam = adaptive && o.type != Config::OptimizerType::rmsprop;
  if (o.nesterov && (adaptive || !has_momentum(config)))
    throw UsageError("optimizer.nesterov needs optimizer.type sgd and a momentum above 0");
  if (o.amsgrad && !adam) throw UsageError("optimizer.amsgrad needs optimizer.type adamw or adam");
  if (o.momentum > 0 && adam)
    throw UsageError(
        "optimizer.momentum is of sgd and rmsprop; adamw and adam have optimizer.beta1");
  const auto like = [&](const Buffer& buffer, bool wanted) {
    return wanted ? std::make_shared<Buffer>(buffer.device(), buffer.bytes()) : nullptr;
  };
  const Buffer &values = *params.values(), &statistics = *params.statistics();
  const bool averaged = config.training.ema_decay > 0;
  OptimizerState s;
  s.m = like(values, has_momentum(config));
  s.v = like(values, adaptive);
  s.largest = like(values, o.amsgrad);
  s.average = like(values, averaged);
  s.average_statistics = like(statistics, averaged);
  s.mean_gradients = like(*params.gradients(), config.training.accumulate > 1);
  if (loss_scale) s.loss_scale = std::make_shared<Buffer>(values.device(), sizeof(LossScale));
  s.restart_average(params);
  return s;
}

void OptimizerState::restart_average(const Params& params) const {
  if (!average) return;
  copy(*params.values(), *average);
  copy(*params.statistics(), *average_statistics);
}

Value record_update(Graph& g, const Config& config, Params& params, const OptimizerState& state,
                    const UpdateInputs& in) {
  const int64_t all = params.trained_elements(), filters = params.weight_elements();
  const Value norm = g.value({1, 1, 1, 1}, DType::f32, "grad_norm", Kind::dense);
  const Value gradients =
      g.external(gradients_of(params, state), 0, {1, 1, 1, all}, DType::f32, "gradients");
  g.emit(GlobalNorm{all}, {gradients}, {norm});
  const Value factor = g.value({1, 1, 1, 1}, DType::f32, "gradient_factor", Kind::dense);
  g.emit(GradientFactor{.max_norm = static_cast<float>(config.optimizer.clip_norm),
                        .scaled = static_cast<bool>(in.loss_scale)},
         {in.loss}, {factor, norm, in.loss_scale});
  g.mark_output(norm);
  const auto& o = config.optimizer;
  const StepValues step{in.scalars, factor};
  const double decay_of_others = o.decay_norm_and_bias ? o.weight_decay : 0;
  record_step(g, o, params, state, step, 0, filters, o.weight_decay);
  record_step(g, o, params, state, step, filters, all - filters, decay_of_others);
  if (state.average) {
    record_average(g, params.values(), state.average, all, in.scalars);
    record_average(g, params.statistics(), state.average_statistics, params.statistic_elements(),
                   in.scalars);
  }
  return norm;
}

void record_accumulation(Graph& g, Params& params, const OptimizerState& state, Value scalars) {
  record_average(g, params.gradients(), state.mean_gradients, params.trained_elements(), scalars);
}

OptimizerScalars optimizer_scalars(const Config& config, int64_t step, int64_t steps) {
  const auto& o = config.optimizer;
  const double kept = momentum(config, step, steps);
  const auto t = static_cast<double>(step + 1);
  // Early averages follow the parameters closely: a plain decay would hold on to the start for
  // 1 / (1 - decay) steps.
  const double ema = std::min(config.training.ema_decay, t / (t + 10));
  return {.bias_correction1 = static_cast<float>(1 - std::pow(kept, t)),
          .bias_correction2_sqrt = static_cast<float>(std::sqrt(1 - std::pow(o.beta2, t))),
          .ema_decay = static_cast<float>(ema),
          .momentum = static_cast<float>(kept)};
}

}  // namespace unetd

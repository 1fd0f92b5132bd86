#include "unet/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace unetd {
namespace {

// From `begin` at p = 0 to `end` at p = 1.
double half_cosine(double begin, double end, double p) {
  return end + (begin - end) * (1 + std::cos(std::numbers::pi * p)) / 2;
}

// From `first` to `top` and on to `last`.
struct Cycle {
  double first, top, last;
};
double one_cycle(const Config::LearningRate& c, const Cycle& cycle, int64_t step, int64_t steps) {
  const double at = static_cast<double>(step), end = static_cast<double>(steps - 1);
  const double top = c.rise * static_cast<double>(steps) - 1;
  if (at <= top) return half_cosine(cycle.first, cycle.top, top > 0 ? at / top : 1);
  return half_cosine(cycle.top, cycle.last, std::min(1.0, (at - top) / (end - top)));
}

bool cycles_momentum(const Config& config) {
  return config.schedule.type == Config::Schedule::one_cycle && config.schedule.cycle_momentum;
}

}  // namespace

double learning_rate(const Config& config, int64_t step, int64_t steps) {
  const Config::LearningRate& c = config.schedule;
  const double p = std::min(1.0, static_cast<double>(step) / static_cast<double>(steps));
  const double lr = config.optimizer.lr, last = lr * c.final_lr_ratio;
  double rate = lr;
  switch (c.type) {
    case Config::Schedule::constant:
    case Config::Schedule::plateau:
      break;
    case Config::Schedule::cosine:
      rate = half_cosine(lr, last, p);
      break;
    case Config::Schedule::linear:
      rate = lr + (last - lr) * p;
      break;
    case Config::Schedule::step: {
      const int64_t falls = step / c.step_every;
      rate = lr * std::pow(c.factor, static_cast<double>(falls));
      break;
    }
    case Config::Schedule::polynomial:
      rate = lr * std::pow(1 - p, c.power);
      break;
    case Config::Schedule::one_cycle: {
      const double first = lr / c.div_factor;
      rate = one_cycle(c, {first, lr, first / c.final_div_factor}, step, steps);
      break;
    }
  }
  if (step >= c.warmup_steps) return rate;
  return rate * static_cast<double>(step + 1) / static_cast<double>(c.warmup_steps);
}

bool has_momentum(const Config& config) {
  const Config::Optimizer& o = config.optimizer;
  const bool adam = o.type == Config::OptimizerType::adamw || o.type == Config::OptimizerType::adam;
  return adam || o.momentum > 0 || cycles_momentum(config);
}

double momentum(const Config& config, int64_t step, int64_t steps) {
  const Config::Optimizer& o = config.optimizer;
  const Config::LearningRate& c = config.schedule;
  if (cycles_momentum(config)) {
    return one_cycle(c, {c.high_momentum, c.low_momentum, c.high_momentum}, step, steps);
  }
  const bool adam = o.type == Config::OptimizerType::adamw || o.type == Config::OptimizerType::adam;
  return adam ? o.beta1 : o.momentum;
}

bool better(Config::Judge judge, double score, double than) {
  return judge == Config::Judge::mean_iou ? score > than : score < than;
}

void Plateau::judge(const Config& config, double score) {
  constexpr double least_gain = 1e-4, least_fall = 1e-8;
  const Config::Judge by = config.training.best_by;
  const double gain = by == Config::Judge::mean_iou ? 1 + least_gain : 1 - least_gain;
  if (!best || !std::isfinite(*best) || better(by, score, *best * gain)) {
    best = score;
    waited = 0;
  } else if (++waited > config.schedule.patience) {
    const double fall = config.optimizer.lr * factor * (1 - config.schedule.factor);
    if (fall > least_fall) factor *= config.schedule.factor;
    waited = 0;
  }
}

}  // namespace unetd

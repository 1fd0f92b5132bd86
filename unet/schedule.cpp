#include "unet/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace unetd {

double learning_rate(const Config& config, int64_t step, int64_t steps) {
  const double p = std::min(1.0, static_cast<double>(step) / static_cast<double>(steps));
  const double lr = config.optimizer.lr, last = lr * config.schedule.final_lr_ratio;
  double rate = lr;
  if (config.schedule.type == Config::Schedule::cosine) {
    rate = last + (lr - last) * (1 + std::cos(std::numbers::pi * p)) / 2;
  } else if (config.schedule.type == Config::Schedule::linear) {
    rate = lr + (last - lr) * p;
  }
  const int64_t warmup = config.schedule.warmup_steps;
  if (step >= warmup) return rate;
  return rate * static_cast<double>(step + 1) / static_cast<double>(warmup);
}

}  // namespace unetd

// Learning-rate schedules. Those that know the course beforehand are pure functions of the step;
// that of the plateau follows the scores.
#pragma once

#include "unet/config.h"

#include <cstdint>
#include <optional>

namespace unetd {

// The learning rate of `step` (from 0) out of `steps`. Warm-up rises linearly over the first
// schedule.warmup_steps; with p = step / steps and last = lr * final_lr_ratio the rest follows
//   cosine      last + (lr - last) * (1 + cos(pi p)) / 2        (Loshchilov and Hutter, 2017)
//   linear      lr + (last - lr) * p
//   step        lr * factor^floor(step / step_every)
//   polynomial  lr * (1 - p)^power
//   one_cycle   by half cosines from lr / div_factor up to lr at step rise * steps - 1, and down to
//               lr / div_factor / final_div_factor at the last step (Smith and Topin, 2019)
//   constant and plateau  lr
double learning_rate(const Config& config, int64_t step, int64_t steps);

// Does the optimiser's step keep a share of the one before?
bool has_momentum(const Config& config);
// What it keeps: optimizer.beta1 of adamw and adam, optimizer.momentum of the others. With
// one_cycle and schedule.cycle_momentum it goes, where the rate rises and falls, from high_momentum
// down to low_momentum and back, by the same half cosines (PyTorch's OneCycleLR).
double momentum(const Config& config, int64_t step, int64_t steps);

// Is one score better than another? Of the mean IoU the higher, of the loss the lower.
bool better(Config::Judge judge, double score, double than);

// Lowers the learning rate where scores have stopped improving: after more than `patience`
// evaluations in a row that were not better than the best by a ten-thousandth of it, the rate is
// multiplied by schedule.factor unless it would fall by 1e-8 at most, and the count begins anew
// (PyTorch's ReduceLROnPlateau).
struct Plateau {
  std::optional<double> best;
  int64_t waited = 0;
  double factor = 1;  // of the learning rate, so far

  void judge(const Config& config, double score);
};

}  // namespace unetd

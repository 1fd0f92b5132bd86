// Learning-rate schedules: pure functions of the step.
#pragma once

#include "unet/config.h"

#include <cstdint>

namespace unetd {

// The learning rate of `step` (from 0) out of `steps`. Warm-up rises linearly over the first
// schedule.warmup_steps; with p = step / steps and last = lr * final_lr_ratio the rest follows
//   cosine  last + (lr - last) * (1 + cos(pi p)) / 2        (Loshchilov and Hutter, 2017)
//   linear  lr + (last - lr) * p
double learning_rate(const Config& config, int64_t step, int64_t steps);

}  // namespace unetd

// The optimiser that a configuration asks for, recorded into a graph. Another one is a problem of
// engine/op/optimizer.h, a name in the table of keys, and a case in optimizer.cpp.
#pragma once

#include "engine/autograd/graph.h"
#include "engine/memory/buffer.h"
#include "engine/op/optimizer.h"
#include "unet/config.h"
#include "unet/params.h"

#include <array>
#include <memory>
#include <utility>

namespace unetd {

// What optimiser and moving average keep from step to step: flat buffers in the layout of
// Params::values() and statistics(). Those that the configuration has no use for are null.
struct OptimizerState {
  std::shared_ptr<Buffer> m;        // mean gradient, or velocity
  std::shared_ptr<Buffer> v;        // mean of squared gradients
  std::shared_ptr<Buffer> largest;  // v so far, of amsgrad
  // Statistics of batch norm are averaged along: those of single batches do not fit averaged
  // filters, and jump.
  std::shared_ptr<Buffer> average, average_statistics;
  std::shared_ptr<Buffer> loss_scale;      // a LossScale, for f16 only
  std::shared_ptr<Buffer> mean_gradients;  // of the batches of a step, where they are several

  // All zero; the averages start from `params`. Throws UsageError for settings that exclude each
  // other.
  static OptimizerState make(const Config& config, Params& params, bool loss_scale);

  // What the optimiser keeps for each parameter, with the names that checkpoints use.
  std::array<std::pair<const char*, std::shared_ptr<Buffer>>, 3> moments() const {
    return {{{"m", m}, {"v", v}, {"largest", largest}}};
  }
  // Lets the averages begin with the parameters as they are.
  void restart_average(const Params& params) const;
};

struct UpdateInputs {
  Value loss;        // one number: where it is not finite, no parameter changes
  Value scalars;     // an OptimizerScalars, dense
  Value loss_scale;  // a LossScale, or absent
};
// Records one step: norm of the gradients, clipping, optimiser, moving average. Returns the norm
// before clipping.
Value record_update(Graph& g, const Config& config, Params& params, const OptimizerState& state,
                    const UpdateInputs& in);

// Records mean = d * mean + (1 - d) * gradients with d = scalars.ema_decay: k / (k + 1) for batch k
// of a step, from 0, makes it the mean of all.
void record_accumulation(Graph& g, Params& params, const OptimizerState& state, Value scalars);

// The scalars of step `step`, from 0, of `steps`, but for the learning rate.
OptimizerScalars optimizer_scalars(const Config& config, int64_t step, int64_t steps);

}  // namespace unetd

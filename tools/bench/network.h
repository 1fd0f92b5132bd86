// Timings of a whole network: a training step and inference on random images.
#pragma once

#include "engine/autograd/session.h"
#include "unet/config.h"
#include "unet/model.h"

#include <cstdint>
#include <vector>

namespace unetd::bench {

struct NetworkOptions {
  Config config;
  UNetConfig model;
  int64_t size = 256, batch = 1;  // of square images
  int64_t rounds = 5;
  bool profile = false;  // also time every operation
};

struct NetworkTiming {
  std::vector<double> seconds;             // of each round; two that warm up before are not counted
  double flops = 0;                        // of the convolutions of one round, by their definition
  size_t arena = 0;                        // bytes of activations
  size_t external = 0;                     // and of parameters with what the optimiser keeps
  std::vector<Session::NodeReport> nodes;  // per round; times only with `profile`
};

// Forward, loss, backward, clipping, AdamW, with the copies into the session.
NetworkTiming time_step(const NetworkOptions& options);

// The network with folded batch norm, with the copies into and out of the session.
NetworkTiming time_inference(const NetworkOptions& options);

}  // namespace unetd::bench

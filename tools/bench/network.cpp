#include "tools/bench/network.h"

#include "engine/base/rng.h"
#include "engine/device/timing.h"
#include "engine/op/conv2d.h"
#include "engine/op/conv_transpose2x2.h"
#include "unet/runtime.h"
#include "unet/trainer.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace unetd::bench {
namespace {

constexpr int warm_ups = 2;  // a GPU's second run is the one that captures

// The network recorded for inference.
struct Inference {
  Params params;
  Graph graph;
  Value image, logits;

  Inference(const NetworkOptions& o, Params folded) : params(std::move(folded)) {
    image = graph.input({o.batch, o.size, o.size, o.model.in_channels}, DType::f32, "image");
    logits = unet(graph, params, o.model, image, Mode::folded);
    graph.mark_output(logits);
  }
};

// Of the forward convolutions in the order of their execution.
std::vector<double> convolution_flops(const Graph& graph) {
  std::vector<double> all;
  for (const auto& node : graph.nodes()) {
    const std::string_view problem = node->problem();
    const bool transposed = problem == ConvTranspose2x2::name;
    if (!transposed && problem != Conv2d::name) continue;
    const double results = static_cast<double>(graph.info(node->out[0]).shape.count());
    const Shape filter = graph.info(node->in[1]).shape;
    // Each result of the transposed one has a single tap.
    const int64_t terms = transposed ? filter.c : filter.h * filter.w * filter.c;
    all.push_back(2 * results * static_cast<double>(terms));
  }
  return all;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double v : values) total += v;
  return total;
}

Tensor random_image(const NetworkOptions& o) {
  Tensor image({o.batch, o.size, o.size, o.model.in_channels}, DType::f32);
  Rng rng(1);
  for (float& x : image.span<float>()) x = rng.uniform(-1, 1);
  return image;
}

Tensor random_labels(const NetworkOptions& o) {
  Tensor labels({o.batch, o.size, o.size, 1}, DType::u8);
  Rng rng(2);
  const auto classes = static_cast<uint32_t>(o.model.classes);
  for (uint8_t& x : labels.span<uint8_t>()) x = static_cast<uint8_t>(rng.below(classes));
  return labels;
}

template <class Run>
NetworkTiming time_rounds(const NetworkOptions& o, Session& session, Run&& run) {
  NetworkTiming timing;
  for (int i = 0; i < warm_ups; ++i) run();
  if (o.profile) session.set_profiling(true);
  for (int64_t i = 0; i < o.rounds; ++i) timing.seconds.push_back(seconds_of(run));
  timing.arena = session.memory().arena;
  timing.external = session.memory().external;
  timing.nodes = session.report();
  const auto runs = static_cast<double>(std::max<int64_t>(1, session.profiled_runs()));
  for (Session::NodeReport& node : timing.nodes) node.seconds /= runs;
  return timing;
}

}  // namespace

NetworkTiming time_step(const NetworkOptions& o) {
  const Tensor image = random_image(o), labels = random_labels(o);
  Trainer trainer(o.config, o.model, image.shape(), o.rounds + warm_ups, {});
  NetworkTiming timing = time_rounds(o, trainer.session(), [&] { trainer.train(image, labels); });
  const Inference forward(o, unet_params(o.model, DeviceType::cpu, Mode::folded));
  const std::vector<double> flops = convolution_flops(forward.graph);
  timing.flops = 3 * sum(flops) - flops.front();  // images need no gradient
  return timing;
}

NetworkTiming time_inference(const NetworkOptions& o) {
  const SessionOptions options = session_options(o.config);
  const DeviceType device = options.device;
  const Tensor image = random_image(o);
  Params trained = unet_params(o.model, device);
  trained.initialise(static_cast<uint64_t>(o.config.training.seed));
  const Inference net(o, fold_batch_norm(trained, o.model, device));
  Session session(net.graph, options);
  NetworkTiming timing = time_rounds(o, session, [&] {
    session.write(net.image, image);
    session.run();
    session.read(net.logits);
  });
  timing.flops = sum(convolution_flops(net.graph));
  return timing;
}

}  // namespace unetd::bench

// Fusion: where a device has a kernel that does the work of several recorded nodes in fewer passes
// over memory, one node takes their place. Operations and gradients know nothing of it: a session
// rewrites the list of nodes that it is going to run.
//
//   batch_norm_apply (with ReLU), maxpool2x2      -> batch_norm_apply_pool
//   maxpool2x2_grad, add, batch_norm_grad         -> batch_norm_pool_grad
//   conv2d, batch_norm_stats                      -> conv2d_stats
//   conv2d_data_grad, batch_norm_grad (with ReLU) -> conv2d_norm_grad
//
// Only values that nothing else reads disappear. Nodes are fused where the device's first
// implementation that takes the problem is also what each of them would run on: a library's
// convolution is not given up for a pass over memory. KernelChoice fuses them by name all the same
// ("conv2d_stats=cuda"), and keeps them apart in two ways: by "batch_norm_apply_pool=none", or with
// the last implementation excluded; and by naming one of the parts, "maxpool2x2=cuda".
#pragma once

#include "engine/autograd/graph.h"

#include <memory>
#include <vector>

namespace unetd {

// What a session runs, in order. The graph must outlive it.
struct NodeList {
  std::vector<const Graph::Node*> nodes;
  std::vector<std::unique_ptr<Graph::Node>> made;  // those that are not the graph's own
};

// Throws Error where KernelChoice forces an implementation that is not there or declines.
NodeList fuse(const Graph& graph, DeviceType device, const KernelChoice& choice);

}  // namespace unetd

// The convolution problems as cuDNN graphs. Their tensors in memory are declared in the order of
// the problem's buffers: inputs, then the output.
#pragma once

#include "engine/op/conv2d_norm_grad.h"
#include "engine/op/conv2d_stats.h"
#include "engine/op/conv_transpose2x2.h"
#include "kernels/cudnn/graph.h"

namespace unetd::cudnn {

// With `fused`, bias and ReLU where the problem has them are part of the graph, and the bias is
// declared after the filter; without, y is the bare convolution. Throw Error when cuDNN does not
// accept a tensor or operation.
Graph graph_of(const Conv2d& p, bool fused);
// cuDNN fuses a bias only with the filter as (c, 2, 2, k): that is what a graph with bias takes,
// the problem's filter with its channels swapped.
Graph graph_of(const ConvTranspose2x2& p, bool fused);

// x, w, y, and the sums over pixels of y and of y^2. For problems without bias.
Graph graph_of(const Conv2dStats& p);

// dy, w, x, gamma, beta, mean, rstd; dz, dgamma, dbeta, and three vectors that tell dx from dz and
// x.
Graph graph_of(const Conv2dNormGrad& p);

Graph graph_of(const Conv2dDataGrad& p);
Graph graph_of(const ConvTranspose2x2DataGrad& p);

// x, dy, dw: the filter's gradient comes in the storage type, since cuDNN has no plans for others.
Graph graph_of(const Conv2dWeightGrad& p);
Graph graph_of(const ConvTranspose2x2WeightGrad& p);

}  // namespace unetd::cudnn

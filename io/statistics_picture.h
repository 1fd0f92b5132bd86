// The histograms of a store's bands in one picture, a row each, so that 13 of them can be told
// apart and compared: bands of one scale share an axis.
#pragma once

#include "engine/tensor/tensor.h"
#include "io/scene.h"
#include "io/statistics.h"

#include <span>

namespace unetd::io {

// {1, h, w, 3} u8. Each curve has its own height, and spikes are cut. From the 1st to the 99th
// percentile it is dark; the median is a line. Axes are in physical values, from the least
// 1st to the greatest 99th percentile of their bands.
Tensor statistics_picture(std::span<const SceneBand> bands,
                          std::span<const StatisticsAccumulator> statistics);

}  // namespace unetd::io

// A confusion matrix in device memory, which recorded graphs add to: of the outputs of a network
// only the counts are ever read.
#pragma once

#include "engine/autograd/graph.h"
#include "unet/metrics.h"

#include <memory>

namespace unetd {

class ConfusionCounter {
 public:
  // `outputs` of the network: one a class, or a single one that tells two classes apart.
  ConfusionCounter(DeviceType device, int64_t outputs);

  // Records the counting of a batch: the classes of `values` (n, h, w, outputs) by `threshold`
  // (engine/op/classify.h) against `labels`, dense u8 (n, h, w, 1). Labels that are no class are
  // left out.
  void record(Graph& g, Value values, Value labels, float threshold) const;
  // What was counted so far; counting begins again at zero.
  Confusion take();

  // The memory that graphs add to.
  const Buffer* memory() const { return counts_.get(); }

 private:
  int64_t classes_;
  std::shared_ptr<Buffer> counts_;
};

}  // namespace unetd

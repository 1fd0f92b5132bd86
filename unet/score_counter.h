// Counts in device memory, which recorded graphs add to: of the outputs of a network only these are
// ever read.
#pragma once

#include "engine/autograd/graph.h"
#include "unet/metrics.h"

#include <memory>

namespace unetd {

// Of logits: sigmoids where the classes are independent or the output is a single one, else a
// softmax.
Value probabilities(Graph& g, Value logits, bool independent);

class ScoreCounter {
 public:
  // `outputs` of the network: one a class, or a single one that tells two classes apart.
  // `threshold`: above which a probability claims its class.
  ScoreCounter(DeviceType device, int64_t outputs, double threshold);

  // Records the counting of a batch: the classes of `values` (n, h, w, outputs) by `split`, the
  // threshold of Classify (engine/op/classify.h), and what `probabilities` claim, against `labels`,
  // dense u8 (n, h, w, 1). Labels that are no class are left out.
  void record(Graph& g, Value values, float split, Value probabilities, Value labels) const;
  // What was counted so far; counting begins again at zero.
  Tallies take();

  // The memory that graphs add to.
  const Buffer* memory() const { return confusion_.get(); }

 private:
  int64_t classes_;
  double threshold_;
  std::shared_ptr<Buffer> confusion_, claims_;
};

}  // namespace unetd

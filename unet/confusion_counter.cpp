#include "unet/confusion_counter.h"

#include "engine/autograd/ops.h"

#include <cstring>
#include <utility>

namespace unetd {

ConfusionCounter::ConfusionCounter(DeviceType device, int64_t outputs)
    : classes_(outputs == 1 ? 2 : outputs),
      counts_(std::make_shared<Buffer>(
          device, static_cast<size_t>(classes_ * classes_) * sizeof(int64_t))) {}

void ConfusionCounter::record(Graph& g, Value values, Value labels, float threshold) const {
  confusion_matrix(g, values, labels, threshold,
                   g.external(counts_, 0, {1, 1, classes_, classes_}, DType::i64, "confusion"));
}

Confusion ConfusionCounter::take() {
  std::vector<int64_t> counts(static_cast<size_t>(classes_ * classes_));
  Staging(counts_->device())
      .download(counts_->data(), counts_->bytes(), [&](const std::byte* from) {
        std::memcpy(counts.data(), from, counts_->bytes());
        return 0;
      });
  Backend& device = backend(counts_->device());
  device.fill(counts_->data(), 0, counts_->bytes(), device.stream());
  return {classes_, std::move(counts)};
}

}  // namespace unetd

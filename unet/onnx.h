// A network as an ONNX file, for runtimes that know nothing of us. Batch norm is folded into the
// convolutions; the input is the normalised image (n, bands, h, w), the output what was asked for.
#pragma once

#include "unet/model.h"
#include "unet/targets.h"
#include "unet/weight_file.h"

#include <filesystem>

namespace unetd {

struct OnnxOptions {
  // values: the logits brought to the unit of the targets that the network was trained on.
  enum class Output : uint8_t { logits, softmax, sigmoid, values };
  Output output = Output::logits;
  TargetScale scale = {};  // of values
  // Height and width of the image; 0: any, and odd ones are padded or resized as the network does
  // it. Without padding it must be a side that is used whole (UNetConfig::used_side), without skip
  // connections a multiple of the stride.
  int64_t size = 0;
  Metadata metadata;  // of the file, keys and values as they are
};

// Operator set 17, any number of images. Throws UserError naming the file: it cannot be written, or
// the network has more than the 2 GiB that such a file can hold.
void write_onnx(const std::filesystem::path& file, const Params& params, const UNetConfig& model,
                const OnnxOptions& options);

}  // namespace unetd

// The metadata by which Deepness, the plugin of QGIS that runs ONNX models on map layers, sets
// itself up: keys and units are those of its documentation and sources (version 0.6).
#pragma once

#include "tools/model_file.h"

namespace unetd {

// `tile`: pixels a side of what the plugin is to cut. Mean and deviation are those of samples /
// 255, which is what the plugin standardises whatever the layer's type; a normalisation that is no
// straight line is left out with a note. Of weights without a description little is known, and no
// more is said.
Metadata deepness_metadata(const ModelFile& model, int64_t tile);

}  // namespace unetd

#include "io/label_sources.h"

#include "engine/base/error.h"
#include "engine/base/pixel_type.h"
#include "io/gdal.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

Tensor empty_labels(const Grid& grid, const ClassMap& map) {
  Tensor labels({1, grid.height, grid.width, 1}, DType::u8);
  std::ranges::fill(labels.span<uint8_t>(), map.background.value_or(ignore_label));
  return labels;
}

Tensor labels_from_band(const std::string& band, const fs::path& path, SceneOptions options,
                        const Grid& grid, const ClassMap& map, const Share& share) {
  options.bands = {band};
  options.extras.clear();
  const Scene scene = Scene::open(path, options);
  const std::string difference = grid_difference(grid, scene.grid());
  if (!difference.empty())
    throw UserError(str(band, " of ", path.string(), " is not on the scene's grid: ", difference));
  Tensor labels({1, grid.height, grid.width, 1}, DType::u8);
  uint8_t* out = labels.span<uint8_t>().data();
  LabelMapper mapper(map, scene.bands()[0].nodata);
  for_strips(grid, share, [&](const Window& rows) {
    const Raster raster = scene.read(rows);
    with_pixel_type(raster.image.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for (const T value : raster.image.span<T>()) *out++ = mapper(static_cast<double>(value));
    });
  });
  mapper.throw_if_unknown(path);
  return labels;
}

// A pixel without data in a rule's raster is not touched by the rule.
void apply_rule(const MaskRule& rule, const Grid& grid, Tensor& labels, const Share& share) {
  const Dataset raster = Dataset::open_on(rule.raster, grid, Resampling::nearest);
  uint8_t* label = labels.span<uint8_t>().data();
  std::vector<float> values;
  for_strips(grid, share, [&](const Window& rows) {
    values.resize(static_cast<size_t>(rows.width * rows.height));
    const int band = 0;
    raster.read(rows, {&band, 1}, DType::f32, values.data());
    for (const float value : values) {
      if (value >= rule.low && value <= rule.high) *label = rule.cls;
      ++label;
    }
  });
}

}  // namespace

Tensor make_labels(const fs::path& source, const fs::path& scene_path,
                   const SceneOptions& scene_options, const Grid& scene, const ClassMap& map,
                   const Share& share) {
  if (source == "SCL") return labels_from_band("SCL", scene_path, scene_options, scene, map, share);
  if (source == "rules") {
    if (map.rules.empty()) throw UsageError("labels by rules: the class file lists no `rules`");
    Tensor labels = empty_labels(scene, map);
    for (size_t i = 0; i < map.rules.size(); ++i)
      apply_rule(map.rules[i], scene, labels, [&](double done) {
        if (share) share((static_cast<double>(i) + done) / static_cast<double>(map.rules.size()));
      });
    return labels;
  }
  return is_vector_file(source) ? burn_vectors(source, scene, map, share)
                                : read_labels(source, scene, map, share);
}

}  // namespace unetd::io

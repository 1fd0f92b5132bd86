#include "tools/scene_map.h"

namespace unetd {

io::Scene open_scene(const std::filesystem::path& path, const ModelFile& model) {
  io::Scene scene = io::Scene::open(path, {.bands = model.bands});
  if (static_cast<int64_t>(scene.bands().size()) != model.unet.in_channels) {
    throw UserError(str(path.string(), ": has ", scene.bands().size(), " bands, the model wants ",
                        model.unet.in_channels));
  }
  return scene;
}

namespace {

// Winograd convolutions round by the place of a pixel in their 4x4 cells, so their logits differ by
// 1e-6 of the largest from tile size to tile size. That moves no class; but who asks for logits
// asks for numbers, and direct convolutions give the same ones for every tile size.
KernelChoice kernel_choice(const Config& config, bool logits) {
  const bool direct = logits && config.runtime.kernels.empty();
  return KernelChoice(direct ? "conv2d=-onednn_winograd" : config.runtime.kernels);
}

}  // namespace

SceneMapper::SceneMapper(const ModelFile& model, bool logits)
    : model_(model),
      logits_(logits),
      views_(model.config.inference.tta == Config::Tta::d4      ? 8
             : model.config.inference.tta == Config::Tta::flips ? 4
                                                                : 1),
      predictor_(model.params, model.unet,
                 {.device = open_device(model.config.runtime.device),
                  .kernels = kernel_choice(model.config, logits)}) {
  const bool exact = model.config.inference.stitch == Config::Stitch::exact;
  if (views_ > 1 && (exact || logits)) {
    throw UsageError(
        "--tta averages probabilities of turned tiles, which an exact map has none "
        "of; use it with --stitch blend and --emit classes or probabilities");
  }
}

io::TilePlan SceneMapper::plan(const io::Grid& grid) const {
  const auto& c = model_.config.inference;
  const int64_t stride = predictor_.model().stride();
  if (c.stitch == Config::Stitch::exact) {
    return io::plan_exact(grid.width, grid.height, c.tile, predictor_.model().receptive_radius(),
                          stride);
  }
  constexpr io::BlendWindow windows[] = {io::BlendWindow::hann, io::BlendWindow::triangular,
                                         io::BlendWindow::gaussian};
  return io::plan_blend(grid.width, grid.height, c.tile, c.overlap, stride,
                        windows[static_cast<size_t>(c.window)]);
}

void SceneMapper::map(const io::Scene& scene, const io::MapSink& sink,
                      const io::Progress& progress) {
  const std::vector<BandConstants> constants =
      model_.normalisation.for_scene(scene.bands()).constants();
  const bool exact = model_.config.inference.stitch == Config::Stitch::exact;
  const io::Grid& grid = scene.grid();
  const auto predict = [&](const Tensor& raw, const Tensor& valid, const io::Window& w) {
    const Images image(raw, valid, constants);
    const ScenePlace place = exact ? ScenePlace{w.y, w.x, grid.height, grid.width} : ScenePlace{};
    return logits_ ? predictor_.logits(image, place)
                   : predictor_.probabilities(image, model_.independent(), views_, place);
  };
  io::stitch(scene, plan(grid), predict, sink, progress);
}

}  // namespace unetd

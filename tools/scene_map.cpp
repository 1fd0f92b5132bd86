#include "tools/scene_map.h"

#include "engine/base/log.h"
#include "unet/runtime.h"

#include <algorithm>
#include <utility>

namespace unetd {

io::Scene open_scene(const std::filesystem::path& path, const ModelFile& model) {
  io::Scene scene = io::Scene::open(path, model.scene);
  if (static_cast<int64_t>(scene.bands().size()) != model.unet.in_channels) {
    throw UserError(str(path.string(), ": has ", scene.bands().size(), " bands, the model wants ",
                        model.unet.in_channels));
  }
  log_info(io::describe(scene));
  return scene;
}

namespace {

// Winograd convolutions round by the place of a pixel in their 4x4 cells, so their logits differ by
// 1e-6 of the largest from tile size to tile size. That moves no class; but who asks for logits or
// values asks for numbers, and direct convolutions give the same ones for every tile size (unless
// runtime.tune has tiles of different sizes use different ones).
SessionOptions options_of(const Config& config, Outputs outputs) {
  SessionOptions options = session_options(config);
  const bool numbers = outputs == Outputs::logits || outputs == Outputs::values;
  const bool direct = numbers && config.runtime.kernels.empty();
  if (direct) options.kernels = KernelChoice("conv2d=-onednn_winograd");
  return options;
}

// What the two kinds of stitching share: the network's input, and the tiles' places.
struct Tiles {
  const io::TilePlan& plan;
  Predictor& predictor;
  std::vector<BandConstants> bands;
  Outputs outputs;
  TargetScale scale;  // of values

  // What leaves: values in their unit.
  Tensor told(Tensor values) const {
    if (outputs == Outputs::values) bring_to_unit(values.span<float>(), scale);
    return values;
  }
};

class ExactSource final : public io::MapSource {
 public:
  ExactSource(Tiles tiles, const io::Grid& grid) : tiles_(std::move(tiles)), grid_(grid) {}

  void add(const Tensor& raw, const Tensor& valid, int64_t tile) override {
    const io::Window read = tiles_.plan.read_window(tile);
    values_ = tiles_.predictor.predict({raw, valid, tiles_.bands}, tiles_.outputs,
                                       {read.y, read.x, grid_.height, grid_.width});
    const int64_t margin = tiles_.predictor.model().margin();
    window_ = {read.x + margin, read.y + margin, values_.shape().w, values_.shape().h};
  }
  Tensor take(const io::Window& part) override {
    return tiles_.told(io::crop(values_, window_, part));
  }

 private:
  Tiles tiles_;
  const io::Grid& grid_;
  io::Window window_{};  // of what the last tile yields
  Tensor values_;
};

class BlendSource final : public io::MapSource {
 public:
  BlendSource(Tiles tiles, int views, Band& band)
      : tiles_(std::move(tiles)), views_(views), band_(band) {}

  void add(const Tensor& raw, const Tensor& valid, int64_t tile) override {
    const io::TileSpan &row = tiles_.plan.row(tile), &column = tiles_.plan.column(tile);
    band_.reach(row.write_end);
    // Classes are those of the blended probabilities.
    const Outputs summed =
        tiles_.outputs == Outputs::classes ? Outputs::probabilities : tiles_.outputs;
    tiles_.predictor.blend({raw, valid, tiles_.bands}, summed, views_, band_,
                           {row.write_begin, column.write_begin, row.weights, column.weights});
  }
  Tensor take(const io::Window& part) override {
    const int64_t end = part.y + part.height;
    return tiles_.outputs == Outputs::classes ? band_.take_classes(part.y, end)
                                              : tiles_.told(band_.take(part.y, end));
  }

 private:
  Tiles tiles_;
  int views_;
  Band& band_;
};

}  // namespace

SceneMapper::SceneMapper(const ModelFile& model, Outputs outputs)
    : model_(model),
      outputs_(outputs),
      views_(views_of(model.config.inference.tta)),
      predictor_(model.params, model.unet, options_of(model.config, outputs), model.independent()) {
  const bool exact = model.config.inference.stitch == Config::Stitch::exact;
  if (views_ > 1 && (exact || outputs == Outputs::logits)) {
    throw UsageError(
        "--tta averages probabilities or values of turned tiles, which an exact map has none of; "
        "use it with --stitch blend and --emit classes, probabilities or values");
  }
}

namespace {

io::BlendWindow blend_window(Config::Window window) {
  constexpr io::BlendWindow windows[] = {io::BlendWindow::hann, io::BlendWindow::triangular,
                                         io::BlendWindow::gaussian};
  return windows[static_cast<size_t>(window)];
}

}  // namespace

io::TilePlan SceneMapper::plan(const io::Grid& grid) const {
  const auto& c = model_.config.inference;
  const UNetConfig& net = predictor_.model();
  const bool exact = c.stitch == Config::Stitch::exact;
  io::TilePlan plan = exact ? io::plan_exact(grid.width, grid.height, c.tile,
                                             net.valid ? 0 : net.receptive_radius(), net.stride())
                            : io::plan_blend(grid.width, grid.height, c.tile, c.overlap,
                                             net.stride(), blend_window(c.window));
  if (!net.valid) return plan;
  return io::with_surroundings(
      std::move(plan), {.margin = net.margin(), .stride = net.stride(), .side = [&](int64_t size) {
                          return net.input_side(size);
                        }});
}

// As wide as the map and as high as its highest tile; one after another for maps of one size.
Band& SceneMapper::band(const io::TilePlan& plan) {
  Shape shape{1, 0, plan.columns.back().write_end, model_.unet.classes};
  for (const io::TileSpan& row : plan.rows) shape.h = std::max(shape.h, row.write_size());
  if (!band_ || band_->shape() != shape) band_.emplace(predictor_.options(), shape);
  band_->restart();
  return *band_;
}

void SceneMapper::map(const io::Scene& scene, const io::MapSink& sink,
                      const io::Progress& progress) {
  const io::TilePlan tiling = plan(scene.grid());
  Tiles tiles{tiling, predictor_, model_.normalisation.for_scene(scene.bands()).constants(),
              outputs_, model_.target ? model_.target->scale : TargetScale{}};
  if (tiling.blended()) {
    BlendSource source(std::move(tiles), views_, band(tiling));
    io::stitch(scene, tiling, source, sink, progress);
  } else {
    ExactSource source(std::move(tiles), scene.grid());
    io::stitch(scene, tiling, source, sink, progress);
  }
}

}  // namespace unetd

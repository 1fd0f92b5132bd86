#include "tools/report/samples.h"

#include "io/picture.h"
#include "unet/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>

namespace unetd::report {
namespace {

std::span<const uint8_t> labels_of(const io::PatchStore& store, int64_t patch) {
  const auto side = static_cast<size_t>(store.schema().patch);
  return {store.view(patch).label, side * side};
}

// Entropy of the classes' shares, in nats; below 0 where nothing is labelled.
double class_mix(std::span<const uint8_t> labels) {
  std::array<int64_t, 256> counts{};
  for (const uint8_t label : labels) ++counts[label];
  const auto labelled =
      static_cast<double>(labels.size()) - static_cast<double>(counts[io::ignore_label]);
  if (labelled == 0) return -1;
  double entropy = 0;
  for (size_t c = 0; c < io::ignore_label; ++c) {
    const double share = static_cast<double>(counts[c]) / labelled;
    if (share > 0) entropy -= share * std::log(share);
  }
  return entropy;
}

// Every k-th pixel, so that the longest side is at most `most`.
Tensor shrunk(Tensor picture, int64_t most) {
  const Shape s = picture.shape();
  const int64_t step = (std::max(s.h, s.w) + most - 1) / most;
  if (step <= 1) return picture;
  Tensor small({1, (s.h + step - 1) / step, (s.w + step - 1) / step, s.c}, DType::u8);
  auto to = small.span<uint8_t>().begin();
  for (int64_t y = 0; y < s.h; y += step) {
    for (int64_t x = 0; x < s.w; x += step) {
      const auto from = picture.span<uint8_t>().begin() + (y * s.w + x) * s.c;
      to = std::copy_n(from, s.c, to);
    }
  }
  return small;
}

std::string worst_mistake(const Confusion& confusion, const std::vector<io::ClassInfo>& classes) {
  int64_t most = 0;
  std::string text;
  for (int64_t truth = 0; truth < confusion.classes(); ++truth) {
    for (int64_t taken = 0; taken < confusion.classes(); ++taken) {
      const int64_t n = confusion.count(truth, taken);
      if (truth == taken || n <= most) continue;
      most = n;
      text = str(classes[static_cast<size_t>(truth)].name, " taken for ",
                 classes[static_cast<size_t>(taken)].name, ": ", n, " pixels");
    }
  }
  return text;
}

std::string place_of(const io::StoreSchema& schema, int64_t patch) {
  const io::PatchRecord& record = schema.patches[static_cast<size_t>(patch)];
  const std::filesystem::path scene = schema.sources[static_cast<size_t>(record.source)].scene;
  return str(scene.filename().string(), ", column ", record.window.x, ", row ", record.window.y);
}

Sample draw_sample(const io::PatchStore& store, int64_t patch, const Predict& predict) {
  constexpr int64_t longest = 256;
  const io::StoreSchema& schema = store.schema();
  const io::PatchView view = store.view(patch);
  const std::span<const uint8_t> truth = labels_of(store, patch);
  const Tensor classes = predict(store.raster(patch));
  const std::span<const uint8_t> prediction = classes.span<uint8_t>();
  Confusion confusion(static_cast<int64_t>(schema.classes.size()));
  confusion.add(truth, prediction);

  Sample sample{place_of(schema, patch), scores(confusion).accuracy,
                worst_mistake(confusion, schema.classes)};
  const auto add = [&](const char* what, Tensor picture) {
    sample.pictures.emplace_back(what, shrunk(std::move(picture), longest));
  };
  const io::BandTriple natural = io::true_colour(schema.bands);
  add("image", io::patch_picture(schema, view, natural));
  if (const auto bands = io::false_colour(schema.bands)) {
    add("false colour", io::patch_picture(schema, view, *bands));
  }
  add("truth", io::label_picture(truth, schema.classes));
  add("prediction", io::label_picture(prediction, schema.classes));
  add("difference", io::difference_picture(truth, prediction));
  return sample;
}

}  // namespace

std::vector<int64_t> choose_patches(const io::PatchStore& store, io::Split split, int64_t count) {
  const std::vector<int64_t>& all = store.indices(split);
  const auto size = static_cast<int64_t>(all.size());
  count = std::min(count, size);
  std::vector<int64_t> chosen;
  for (int64_t part = 0; part < count; ++part) {
    double best = -1;
    int64_t best_patch = -1;
    for (int64_t i = part * size / count; i < (part + 1) * size / count; ++i) {
      const int64_t patch = all[static_cast<size_t>(i)];
      const double mix = class_mix(labels_of(store, patch));
      if (mix > best) best = mix, best_patch = patch;
    }
    if (best_patch >= 0) chosen.push_back(best_patch);
  }
  return chosen;
}

std::vector<Sample> draw_samples(const io::PatchStore& store, const std::vector<int64_t>& patches,
                                 const Predict& predict) {
  std::vector<Sample> samples;
  for (const int64_t patch : patches) {
    samples.push_back(draw_sample(store, patch, predict));
  }
  return samples;
}

}  // namespace unetd::report

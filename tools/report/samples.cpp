#include "tools/report/samples.h"

#include "io/picture.h"
#include "tools/report/html.h"
#include "tools/report/values.h"
#include "unet/metrics.h"
#include "unet/targets.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>

namespace unetd::report {
namespace {

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

// The variance of the targets; below 0 where there is none.
double spread(std::span<const float> targets) {
  double count = 0, sum = 0, squares = 0;
  for (const float t : targets) {
    if (std::isnan(t)) continue;
    count += 1, sum += t, squares += double{t} * t;
  }
  return count > 0 ? std::max(0.0, squares / count - sum * sum / (count * count)) : -1;
}

// How much there is to see in a patch.
double interest(const Tensor& labels) {
  return labels.dtype() == DType::f32 ? spread(labels.span<float>())
                                      : class_mix(labels.span<uint8_t>());
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

// What a sample shows beside its image, and how it is told.
struct Compared {
  std::string result;
  Tensor truth, prediction, difference;
};

Compared compare_classes(const io::StoreSchema& schema, std::span<const uint8_t> truth,
                         std::span<const uint8_t> prediction) {
  Confusion confusion(static_cast<int64_t>(schema.classes.size()));
  confusion.add(truth, prediction);
  const std::string mistake = worst_mistake(confusion, schema.classes);
  return {percent(scores(confusion).accuracy) + " right" + (mistake.empty() ? "" : "; ") + mistake,
          io::label_picture(truth, schema.classes), io::label_picture(prediction, schema.classes),
          io::difference_picture(truth, prediction)};
}

Compared compare_values(const io::StoreSchema& schema, std::span<const float> truth,
                        std::span<const float> prediction) {
  ErrorTally tally;
  tally.add(image_errors(prediction, truth));
  const ErrorTally::Scores scores = tally.scores();
  const ValueRange range = shown_range(*schema.target);
  return {"RMSE " + significant(scores.rmse) + ", bias " + significant(scores.bias),
          value_picture(truth, truth, range), value_picture(prediction, truth, range),
          error_picture(prediction, truth, range)};
}

Compared compare(const io::StoreSchema& schema, const Tensor& truth, const Tensor& prediction) {
  return schema.target ? compare_values(schema, truth.span<float>(), prediction.span<float>())
                       : compare_classes(schema, truth.span<uint8_t>(), prediction.span<uint8_t>());
}

Sample draw_sample(const io::PatchStore& store, int64_t patch, const Predict& predict) {
  constexpr int64_t longest = 256;
  const io::StoreSchema& schema = store.schema();
  const io::PatchView view = store.view(patch);
  Compared compared = compare(schema, store.labels(patch), predict(store.raster(patch)));
  Sample sample{place_of(schema, patch), compared.result, {}};
  const auto add = [&](const char* what, Tensor picture) {
    sample.pictures.emplace_back(what, shrunk(std::move(picture), longest));
  };
  const io::BandTriple natural = io::true_colour(schema.bands);
  add("image", io::patch_picture(schema, view, natural));
  if (const auto bands = io::false_colour(schema.bands)) {
    add("false colour", io::patch_picture(schema, view, *bands));
  }
  add("truth", std::move(compared.truth));
  add("prediction", std::move(compared.prediction));
  add("difference", std::move(compared.difference));
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
      const double seen = interest(store.labels(patch));
      if (seen > best) best = seen, best_patch = patch;
    }
    if (best_patch >= 0) chosen.push_back(best_patch);
  }
  return chosen;
}

std::vector<Sample> draw_samples(const io::PatchStore& store, const std::vector<int64_t>& patches,
                                 const Predict& predict) {
  std::vector<Sample> samples;
  samples.reserve(patches.size());
  for (const int64_t patch : patches) {
    samples.push_back(draw_sample(store, patch, predict));
  }
  return samples;
}

}  // namespace unetd::report

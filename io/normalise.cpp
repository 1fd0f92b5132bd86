#include "io/normalise.h"

#include "engine/base/error.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

#include <nlohmann/json.hpp>

namespace unetd::io {
namespace {

using nlohmann::json;
using Method = Normalisation::Method;

// A band that never varies is mapped to 0 rather than to infinity.
double reciprocal(double width) { return width > 0 ? 1 / width : 0; }

double unit_of(DType dtype) { return dtype == DType::f32 ? 1 : dtype == DType::u8 ? 255 : 10000; }

// Physical values as 16-bit products store them, reflectance x 10000: x * factor(band) + offset.
double digital_factor(const SceneBand& band) { return band.scale == 1 ? 1 : 10000; }

struct Quantiles {
  double p30, p70, mean;
};
struct BandQuantiles {
  const char* band;
  Quantiles values;
};
// Level 1C over the tile 32TNS in 2021, reflectance x 10000.
constexpr BandQuantiles sentinel2[] = {
    {"B01", {1390, 9084, 3747}}, {"B02", {1032, 9637, 3561}}, {"B03", {759, 9415, 3307}},
    {"B04", {544, 10306, 3407}}, {"B05", {633, 10437, 3596}}, {"B06", {900, 10482, 4049}},
    {"B07", {974, 10377, 4203}}, {"B08", {907, 10113, 4089}}, {"B8A", {981, 10184, 4268}},
    {"B09", {470, 5892, 2270}},  {"B10", {16, 504, 138}},     {"B11", {236, 4044, 1831}},
    {"B12", {151, 3295, 1332}}};

// Terrain in metres beside them: (z - 1862.78) / 3913, of the Alps.
constexpr double terrain_mean = 1862.78, terrain_range = 3913.0;

const Quantiles* quantiles_of(const std::string& band) {
  const auto found =
      std::ranges::find_if(sentinel2, [&](const BandQuantiles& q) { return band == q.band; });
  return found == std::end(sentinel2) ? nullptr : &found->values;
}

// Those of the store as reflectance x 10000.
Quantiles quantiles_of(const BandStatistics& s, const SceneBand& band) {
  const auto digital = [&](double x) {
    return (x * band.scale + band.offset) * digital_factor(band);
  };
  return {digital(s.percentile(30)), digital(s.percentile(70)), digital(s.mean)};
}

struct Line {
  double shift = 0, scale = 1;
};

Line line_of(Method method, DType dtype, const SceneBand& band, const BandStatistics& s) {
  const double zero = -band.offset / band.scale;  // as stored
  switch (method) {
    case Method::scale:
    case Method::legacy:
      return {zero, band.scale / (band.scale == 1 ? unit_of(dtype) : 1)};
    case Method::zscore:
      return {s.mean, reciprocal(s.stddev)};
    case Method::percentile:
      return {s.percentile(1), reciprocal(s.percentile(99) - s.percentile(1))};
    case Method::sigma_clip: {
      constexpr double deviations = 2, highest = 65535, range = 255;
      const double low = std::max(zero, s.mean - deviations * s.stddev);
      const double high = std::min(highest, s.mean + deviations * s.stddev);
      return {low, range * reciprocal(high - low)};
    }
    case Method::dynamic_world:
      return {zero, band.scale * digital_factor(band)};
    default:
      return {};
  }
}

// Log of 0 and less is taken for 0, as in normalised().
double log_of(double digital) { return digital > 0 ? std::log10(digital) : 0; }

struct Curve {
  double slope, intercept, centre;
};

// logit(0.15) and logit(0.85) are -+1.7346.
Curve curve_of(const Quantiles& q) {
  constexpr double logit = 1.7346;
  const double low = log_of(q.p30), high = log_of(q.p70);
  const double slope = 2 * logit * reciprocal(high - low), intercept = -logit - low * slope;
  return {slope, intercept, 1 / (1 + std::exp(-(slope * log_of(q.mean) + intercept)))};
}

bool needs_statistics(Method method) {
  return method == Method::zscore || method == Method::percentile || method == Method::sigma_clip ||
         method == Method::dynamic_world;
}

}  // namespace

Method parse_normalisation(const std::string& name) {
  const auto* const found = std::ranges::find(normalisation_methods, name);
  if (found != normalisation_methods.end())
    return static_cast<Method>(found - normalisation_methods.begin());
  std::string known;
  for (const std::string_view method : normalisation_methods) known += str(" ", method);
  throw UsageError(str("unknown normalisation '", name, "': use one of", known));
}

std::string name_of(Method method) {
  return std::string(normalisation_methods[static_cast<size_t>(method)]);
}

Normalisation Normalisation::fit(Method method, DType dtype, std::span<const SceneBand> bands,
                                 std::span<const BandStatistics> statistics, Constants constants) {
  Normalisation n;
  n.method = method;
  UNETD_CHECK(bands.size() == statistics.size(), bands.size(), " bands");
  for (size_t b = 0; b < bands.size(); ++b) {
    const BandStatistics& s = statistics[b];
    const bool fixed = method == Method::dynamic_world && constants == Constants::sentinel2;
    const Quantiles* const known = fixed ? quantiles_of(bands[b].name) : nullptr;
    if (s.count == 0 && needs_statistics(method) && known == nullptr)
      throw UserError(str("cannot fit normalisation '", io::name_of(method), "' of band ",
                          bands[b].name,
                          ": the store has no valid training pixel; use none or scale, or put "
                          "patches into the train split"));
    const bool other = fixed && known == nullptr;
    const Line line = other && bands[b].name == "DEM"
                          ? Line{terrain_mean, 1 / terrain_range}
                          : line_of(other ? Method::zscore : method, dtype, bands[b], s);
    n.shift.push_back(line.shift);
    n.scale.push_back(line.scale);
    if (method == Method::dynamic_world) {
      const Curve curve =
          other ? Curve{} : curve_of(known != nullptr ? *known : quantiles_of(s, bands[b]));
      n.slope.push_back(curve.slope);
      n.intercept.push_back(curve.intercept);
      n.centre.push_back(curve.centre);
      if (!other && curve.slope == 0) n.scale.back() = 0;  // a band that never varies
    }
    n.source_scale.push_back(bands[b].scale);
    n.source_offset.push_back(bands[b].offset);
  }
  if (method == Method::percentile) n.clip = {0, 1};
  if (method == Method::sigma_clip) n.clip = {0, 255};
  return n;
}

Normalisation Normalisation::for_scene(std::span<const SceneBand> bands) const {
  UNETD_CHECK(std::ssize(bands) == this->bands(), bands.size(), " bands for ", this->bands());
  if (method == Method::none) return *this;  // the network wants the stored numbers
  Normalisation n = *this;
  for (size_t b = 0; b < bands.size(); ++b) {
    // x * s + o = x' * s' + o' is the physical value; solve for the fitted file's x.
    const double ratio = bands[b].scale / source_scale[b];
    n.shift[b] = (shift[b] + (source_offset[b] - bands[b].offset) / source_scale[b]) / ratio;
    n.scale[b] = scale[b] * ratio;
    n.source_scale[b] = bands[b].scale;
    n.source_offset[b] = bands[b].offset;
  }
  return n;
}

std::vector<BandConstants> Normalisation::constants() const {
  constexpr double log2_of_10 = std::numbers::ln10 / std::numbers::ln2;
  std::vector<BandConstants> all;
  for (size_t b = 0; b < shift.size(); ++b) {
    BandConstants& band = all.emplace_back();
    band.line.shift = static_cast<float>(shift[b]);
    band.line.scale = static_cast<float>(scale[b]);
    if (!slope.empty()) {
      band.slope = static_cast<float>(slope[b] * std::numbers::log2e / log2_of_10);
      band.intercept = static_cast<float>(intercept[b] * std::numbers::log2e);
      band.centre = static_cast<float>(centre[b]);
    }
    if (!clip) continue;
    band.line.low = static_cast<float>((*clip)[0]);
    band.line.high = static_cast<float>((*clip)[1]);
  }
  return all;
}

std::string Normalisation::to_json() const {
  json j = {{"method", io::name_of(method)},
            {"shift", shift},
            {"scale", scale},
            {"source_scale", source_scale},
            {"source_offset", source_offset}};
  if (clip) j["clip"] = *clip;
  if (!slope.empty()) {
    j["slope"] = slope;
    j["intercept"] = intercept;
    j["centre"] = centre;
  }
  return j.dump();
}

Normalisation Normalisation::from_json(const std::string& text) {
  Normalisation n;
  try {
    const json j = json::parse(text);
    n.method = parse_normalisation(j.at("method").get<std::string>());
    j.at("shift").get_to(n.shift);
    j.at("scale").get_to(n.scale);
    j.at("source_scale").get_to(n.source_scale);
    j.at("source_offset").get_to(n.source_offset);
    if (j.contains("slope")) {
      j.at("slope").get_to(n.slope);
      j.at("intercept").get_to(n.intercept);
      j.at("centre").get_to(n.centre);
    }
    if (j.contains("clip")) n.clip = j.at("clip").get<std::array<double, 2>>();
  } catch (const json::exception& e) {
    throw UserError(str("normalisation constants cannot be read: ", e.what()));
  }
  const size_t bands = n.shift.size(), curves = n.slope.empty() ? 0 : bands;
  if (n.slope.size() != curves || n.intercept.size() != curves || n.centre.size() != curves ||
      n.scale.size() != bands || n.source_scale.size() != bands || n.source_offset.size() != bands)
    throw UserError("normalisation constants cannot be read: their lists differ in length");
  return n;
}

}  // namespace unetd::io

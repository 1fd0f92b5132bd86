#include "io/normalise.h"

#include "engine/base/error.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace unetd::io {
namespace {

using nlohmann::json;
using Method = Normalisation::Method;

constexpr std::pair<const char*, Method> methods[] = {{"none", Method::none},
                                                      {"scale", Method::scale},
                                                      {"zscore", Method::zscore},
                                                      {"percentile", Method::percentile}};

// A band that never varies is mapped to 0 rather than to infinity.
double reciprocal(double width) { return width > 0 ? 1 / width : 0; }

double unit_of(DType dtype) { return dtype == DType::f32 ? 1 : dtype == DType::u8 ? 255 : 10000; }

}  // namespace

Method parse_normalisation(const std::string& name) {
  for (const auto& [text, method] : methods)
    if (name == text) return method;
  throw UsageError(
      str("unknown normalisation '", name, "': use none, scale, zscore or percentile"));
}

std::string name_of(Method method) {
  return std::find_if(std::begin(methods), std::end(methods),
                      [&](const auto& m) { return m.second == method; })
      ->first;
}

Normalisation Normalisation::fit(Method method, DType dtype, std::span<const SceneBand> bands,
                                 std::span<const BandStatistics> statistics) {
  Normalisation n;
  n.method = method;
  UNETD_CHECK(bands.size() == statistics.size(), bands.size(), " bands");
  for (size_t b = 0; b < bands.size(); ++b) {
    const BandStatistics& s = statistics[b];
    if (s.count == 0 && (method == Method::zscore || method == Method::percentile))
      throw UserError(str("cannot fit normalisation '", io::name_of(method),
                          "': the store has no valid training pixel; use none or scale, or put "
                          "patches into the train split"));
    double shift = 0, scale = 1;
    if (method == Method::scale) {
      const double unit = bands[b].scale == 1 ? unit_of(dtype) : 1;
      scale = bands[b].scale / unit;
      shift = -bands[b].offset / bands[b].scale;
    } else if (method == Method::zscore) {
      shift = s.mean;
      scale = reciprocal(s.stddev);
    } else if (method == Method::percentile) {
      shift = s.percentile(1);
      scale = reciprocal(s.percentile(99) - shift);
    }
    n.shift.push_back(shift);
    n.scale.push_back(scale);
    n.source_scale.push_back(bands[b].scale);
    n.source_offset.push_back(bands[b].offset);
  }
  if (method == Method::percentile) n.clip = {0, 1};
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
  std::vector<BandConstants> all;
  for (size_t b = 0; b < shift.size(); ++b) {
    BandConstants& band = all.emplace_back();
    band.shift = static_cast<float>(shift[b]);
    band.scale = static_cast<float>(scale[b]);
    if (!clip) continue;
    band.low = static_cast<float>((*clip)[0]);
    band.high = static_cast<float>((*clip)[1]);
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
    if (j.contains("clip")) n.clip = j.at("clip").get<std::array<double, 2>>();
  } catch (const json::exception& e) {
    throw UserError(str("normalisation constants cannot be read: ", e.what()));
  }
  const size_t bands = n.shift.size();
  if (n.scale.size() != bands || n.source_scale.size() != bands || n.source_offset.size() != bands)
    throw UserError("normalisation constants cannot be read: their lists differ in length");
  return n;
}

}  // namespace unetd::io

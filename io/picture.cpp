#include "io/picture.h"

#include "engine/base/pixel_type.h"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace unetd::io {
namespace {

constexpr size_t rgba = 4;

// The position of a band, or -1.
int position(std::span<const SceneBand> bands, std::string_view name) {
  const auto at = std::find_if(bands.begin(), bands.end(),
                               [&](const SceneBand& band) { return band.name == name; });
  return at == bands.end() ? -1 : static_cast<int>(at - bands.begin());
}

bool complete(const BandTriple& bands) {
  return std::all_of(bands.begin(), bands.end(), [](int band) { return band >= 0; });
}

void paint(std::span<uint8_t> picture, size_t pixel, const std::array<uint8_t, 3>& color) {
  std::copy(color.begin(), color.end(),
            picture.begin() + static_cast<std::ptrdiff_t>(rgba * pixel));
  picture[rgba * pixel + 3] = 255;
}

// 0 at the 2nd percentile of a band, 1 at the 98th.
struct Stretch {
  explicit Stretch(const BandStatistics& s)
      : low(s.percentile(2)), width(std::max(s.percentile(98) - low, 1e-12)) {}
  double operator()(double x) const { return std::clamp((x - low) / width, 0.0, 1.0); }

  double low, width;
};

// The exponent that makes the middle of the samples mid-grey, where they are mostly dark: clouds
// and snow leave little of a plain stretch to the land. One for all bands, or hues would change.
double tone(std::span<const BandStatistics> statistics, BandTriple bands) {
  constexpr double wanted = 0.4, least = 0.4;
  double middle = 0;
  for (const int band : bands) {
    const BandStatistics& s = statistics[static_cast<size_t>(band)];
    middle += Stretch(s)(s.percentile(50)) / static_cast<double>(bands.size());
  }
  if (middle >= wanted) return 1;
  return middle > 0 ? std::max(std::log(wanted) / std::log(middle), least) : least;
}

}  // namespace

BandTriple true_colour(std::span<const SceneBand> bands) {
  const BandTriple natural{position(bands, "B04"), position(bands, "B03"), position(bands, "B02")};
  if (complete(natural)) return natural;
  return bands.size() < 3 ? BandTriple{0, 0, 0} : BandTriple{0, 1, 2};
}

std::optional<BandTriple> false_colour(std::span<const SceneBand> bands) {
  const int wide = position(bands, "B08"), narrow = position(bands, "B8A");
  const BandTriple plants{wide >= 0 ? wide : narrow, position(bands, "B04"),
                          position(bands, "B03")};
  return complete(plants) ? std::optional(plants) : std::nullopt;
}

Tensor patch_picture(const StoreSchema& schema, const PatchView& view, BandTriple bands) {
  Tensor picture({1, schema.patch, schema.patch, rgba}, DType::u8);
  const auto to = picture.span<uint8_t>();
  const auto pixels = static_cast<size_t>(schema.patch * schema.patch);
  const double exponent = tone(schema.statistics, bands);
  with_pixel_type(schema.dtype, [&]<class T>(T) {
    const T* samples = reinterpret_cast<const T*>(view.image);
    for (size_t k = 0; k < bands.size(); ++k) {
      const auto band = static_cast<size_t>(bands[k]);
      const Stretch stretch(schema.statistics.at(band));
      for (size_t i = 0; i < pixels; ++i) {
        if (view.valid != nullptr && view.valid[i] == 0) continue;
        const auto x = static_cast<double>(samples[i * schema.bands.size() + band]);
        to[rgba * i + k] = static_cast<uint8_t>(std::lround(255 * std::pow(stretch(x), exponent)));
        to[rgba * i + 3] = 255;
      }
    }
  });
  return picture;
}

Tensor painted_picture(size_t pixels, const std::function<Color(size_t pixel)>& color) {
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(pixels))));
  UNETD_CHECK(static_cast<size_t>(side * side) == pixels, pixels, " pixels are no square");
  Tensor picture({1, side, side, rgba}, DType::u8);
  for (size_t i = 0; i < pixels; ++i)
    if (const Color c = color(i)) paint(picture.span<uint8_t>(), i, *c);
  return picture;
}

Tensor label_picture(std::span<const uint8_t> labels, std::span<const ClassInfo> classes) {
  std::vector<std::array<uint8_t, 3>> colors;
  for (const ClassInfo& c : classes) colors.push_back(rgb(c.color));
  return painted_picture(labels.size(), [&](size_t i) -> Color {
    return labels[i] == ignore_label ? std::nullopt : Color(colors.at(labels[i]));
  });
}

Tensor difference_picture(std::span<const uint8_t> truth, std::span<const uint8_t> prediction) {
  UNETD_CHECK(truth.size() == prediction.size(), truth.size(), " labels, ", prediction.size(),
              " predictions");
  return painted_picture(truth.size(), [&](size_t i) -> Color {
    if (truth[i] == ignore_label) return std::nullopt;
    return difference_colors[truth[i] == prediction[i] ? 0 : 1];
  });
}

}  // namespace unetd::io

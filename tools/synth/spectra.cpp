#include "tools/synth/spectra.h"

#include <cmath>

namespace unetd::synth {
namespace {

// Centre wavelengths in micrometres (ESA, Sentinel-2 MSI spectral responses, S2A).
constexpr Spectrum wavelength = {0.443F, 0.492F, 0.560F, 0.665F, 0.704F, 0.741F, 0.783F,
                                 0.833F, 0.865F, 0.945F, 1.374F, 1.614F, 2.202F};

// Read off published curves at the band centres, rounded. Snow: Wiscombe and Warren 1980 with grain
// radii of 50 and 500 micrometres, and Warren and Wiscombe 1980 for snow with dust. Water: Pope and
// Fry 1997 absorption; Doxaran et al. 2002 for sediment. Plants, soil, rock: ECOSTRESS / ASTER
// spectral library (Baldridge et al. 2009: conifer, deciduous, lawn grass, dry grass, brown loam,
// limestone, granite); gravel as a mix of the
// rocks. Clouds: King et al. 1997 and Nakajima and King
// 1990 (effective radii of 10 micrometres for water, 30 for ice).
constexpr std::array<Spectrum, static_cast<size_t>(Cover::count)> table = {{
    // B01   B02    B03    B04    B05    B06    B07    B08    B8A    B09    B10    B11    B12
    {.975F, .975F, .970F, .960F, .955F, .945F, .935F, .920F, .915F, .880F, .480F, .200F, .160F},
    {.955F, .955F, .945F, .915F, .900F, .870F, .840F, .800F, .780F, .680F, .160F, .035F, .025F},
    {.520F, .560F, .600F, .610F, .605F, .595F, .580F, .555F, .545F, .480F, .140F, .040F, .030F},
    {.040F, .038F, .030F, .012F, .008F, .005F, .004F, .003F, .003F, .002F, .001F, .001F, .001F},
    {.080F, .110F, .150F, .115F, .095F, .045F, .040F, .030F, .025F, .012F, .003F, .003F, .002F},
    {.020F, .022F, .040F, .025F, .060F, .160F, .210F, .230F, .240F, .240F, .150F, .100F, .045F},
    {.025F, .030F, .060F, .035F, .110F, .300F, .380F, .410F, .420F, .420F, .260F, .200F, .090F},
    {.030F, .038F, .085F, .050F, .130F, .340F, .430F, .460F, .470F, .470F, .300F, .250F, .120F},
    {.070F, .090F, .130F, .170F, .200F, .240F, .265F, .285F, .300F, .310F, .330F, .350F, .240F},
    {.060F, .080F, .115F, .160F, .180F, .200F, .215F, .230F, .245F, .260F, .310F, .330F, .280F},
    {.230F, .270F, .320F, .360F, .370F, .380F, .390F, .395F, .400F, .405F, .430F, .440F, .400F},
    {.110F, .130F, .155F, .175F, .180F, .185F, .190F, .190F, .195F, .200F, .230F, .240F, .220F},
    {.180F, .210F, .250F, .285F, .295F, .300F, .310F, .315F, .320F, .325F, .350F, .355F, .320F},
    {.035F, .040F, .045F, .050F, .055F, .060F, .065F, .070F, .070F, .065F, .050F, .055F, .040F},
    {.760F, .770F, .775F, .785F, .790F, .790F, .795F, .795F, .790F, .760F, .560F, .480F, .330F},
    {.740F, .750F, .755F, .765F, .770F, .770F, .770F, .765F, .760F, .730F, .420F, .220F, .170F},
}};

}  // namespace

const Spectrum& reflectance(Cover cover) { return table[static_cast<size_t>(cover)]; }

Atmosphere clear_sky(double sun_elevation) {
  const float mu = std::sin(static_cast<float>(sun_elevation) * 0.017453293F);
  Atmosphere sky{};
  for (int b = 0; b < bands; ++b) {
    const float w = wavelength[b];
    // Rayleigh optical depth at 700 hPa (Hansen and Travis 1974) and a thin continental haze.
    const float rayleigh = 0.7F * 0.008569F / std::pow(w, 4.0F) *
                           (1 + 0.0113F / (w * w) + 0.00013F / std::pow(w, 4.0F));
    const float haze = 0.04F * std::pow(w / 0.55F, -1.3F);
    sky.path[b] = 0.75F * (0.5F * rayleigh + 0.12F * haze) / mu;
    const float direct = std::exp(-(rayleigh + 0.6F * haze) / mu);
    const float scattered = 0.5F * (1 - direct);
    sky.diffuse[b] = scattered / (direct + scattered) + 0.02F;
    sky.passing[b] = std::exp(-0.45F * (rayleigh + 0.3F * haze) * (1 + 1 / mu));
  }
  return sky;
}

}  // namespace unetd::synth

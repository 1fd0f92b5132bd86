// unetd-synth: a plausible Sentinel-2 scene of any size, with its truth and terrain.
#include "tools/cli.h"
#include "tools/synth/synth.h"

namespace {

using unetd::cli::Args;
using unetd::cli::Kind;
using unetd::cli::Spec;

Spec spec() {
  return {
      .program = "unetd-synth",
      .summary = "make a plausible Sentinel-2 scene with its labels and terrain",
      .description =
          "Writes scene.tif (13 bands as Sentinel-2 L1C has them, uint16), labels.tif (background, "
          "snow, clouds, water; 255 is no data) and dem.tif (metres). The same options give the "
          "same files.",
      .flags = {{.name = "--out", .value = "FOLDER", .help = "where to write", .required = true},
                {.name = "--size",
                 .value = "N",
                 .help = "pixels of 10 m along each side",
                 .kind = Kind::integer,
                 .fallback = "1024"},
                {.name = "--seed",
                 .value = "N",
                 .help = "another seed is another scene",
                 .kind = Kind::integer,
                 .fallback = "1"},
                {.name = "--clouds",
                 .value = "SHARE",
                 .help = "share of clouds to aim at",
                 .kind = Kind::number,
                 .fallback = "0.22"},
                {.name = "--snow",
                 .value = "SHARE",
                 .help = "share of snow to aim at",
                 .kind = Kind::number,
                 .fallback = "0.28"},
                {.name = "--water",
                 .value = "SHARE",
                 .help = "share of water to aim at",
                 .kind = Kind::number,
                 .fallback = "0.1"},
                {.name = "--sun-azimuth",
                 .value = "DEGREES",
                 .help = "clockwise from north",
                 .kind = Kind::number,
                 .fallback = "155"},
                {.name = "--sun-elevation",
                 .value = "DEGREES",
                 .help = "above the horizon",
                 .kind = Kind::number,
                 .fallback = "34"},
                {.name = "--no-swath-edge",
                 .help = "data in the whole square",
                 .kind = Kind::toggle},
                {.name = "--product",
                 .help = "write a Sentinel-2 product of level 1C (.SAFE, a JP2 a band) instead of "
                         "scene.tif",
                 .kind = Kind::toggle}},
      .overwrite = true,
      .examples = "unetd-synth --size 2048 --seed 7 --out scene7\n"};
}

void synth(const Args& args) {
  unetd::synth::SynthOptions options;
  options.folder = args.path("--out");
  options.size = args.integer("--size");
  options.seed = static_cast<uint64_t>(args.integer("--seed"));
  options.clouds = args.number("--clouds");
  options.snow = args.number("--snow");
  options.water = args.number("--water");
  options.sun_azimuth = args.number("--sun-azimuth");
  options.sun_elevation = args.number("--sun-elevation");
  options.swath_edge = !args.has("--no-swath-edge");
  options.product = args.has("--product");
  options.overwrite = args.overwrite();
  unetd::cli::Progress progress("scene", 100);
  unetd::synth::generate(
      options, [&progress](double share) { progress.update(static_cast<int64_t>(share * 100)); });
}

}  // namespace

int main(int argc, char** argv) { return unetd::cli::run(argc, argv, spec(), synth); }

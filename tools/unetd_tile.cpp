// unetd-tile: scenes and label rasters in, a patch store out.
#include "io/build_store.h"
#include "io/date.h"
#include "tools/class_file.h"
#include "tools/cli.h"
#include "tools/scene_flags.h"
#include "tools/store_tables.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <string_view>

#include <nlohmann/json.hpp>

namespace {

using namespace unetd;
using cli::Args;
using cli::Kind;

cli::Spec spec() {
  cli::Spec spec{
      .program = "unetd-tile",
      .summary = "cut labelled scenes into a patch store",
      .description =
          "Reads scenes with their label rasters, cuts square patches, divides them into train, "
          "valid and test by ground (never by patch: neighbours would leak), counts classes and "
          "band statistics, and writes a patch store for unetd-train. In the store, statistics.png "
          "shows the histograms of the bands, overview.png where the patches of each split lie, "
          "and classes.png where on the scenes each class lives.\n\n"
          "With --target instead of --classes the label rasters hold a number a pixel that the "
          "network is to predict: their values, scaled as they state themselves, are stored as "
          "targets, and target.png shows where they are high and low. What has no data or is no "
          "finite number is left out.\n\n"
          "A SCENE is a GeoTIFF, COG or VRT stack, a folder of band files, a STAC item (.json) of "
          "local files, or a Sentinel-2 product (a .SAFE folder, a .zip of one, or its MTD_*.xml). "
          "With --labels naming "
          "a folder, SCENE is a folder of rasters, too, and files are paired by their stems.\n\n"
          "A source given by --train, --valid or --test lies in that split as a whole.",
      .flags =
          {{.name = "SCENE", .value = "PATH", .help = "scene or folder of scenes", .many = true},
           {.name = "--labels",
            .value = "PATH",
            .help =
                "labels of each SCENE in order: a raster, vectors (.gpkg, .geojson, .shp), SCL for "
                "a product's own classification, rules for those of the class file; or folders",
            .many = true},
           {.name = "--train",
            .value = "SCENES=LABELS",
            .help = "a pair of files or folders for training",
            .many = true},
           {.name = "--valid", .value = "SCENES=LABELS", .help = "for validation", .many = true},
           {.name = "--test", .value = "SCENES=LABELS", .help = "for testing", .many = true},
           {.name = "--classes",
            .value = "VALUE=NAME[:#RRGGBB],...|FILE.yml",
            .help = "label values in the order of the class indices, their names and colours; or a "
                    "file that says more (see docs/labels.md)"},
           {.name = "--target",
            .value = "NAME[:UNIT]",
            .help = "instead of --classes: the labels are rasters of a number a pixel, of this "
                    "name and unit (see docs/labels.md)"},
           {.name = "--ignore",
            .value = "VALUE,...",
            .help = "label values to leave out of loss and scores; of targets, none by default",
            .fallback = "255"},
           {.name = "--bands", .value = "NAME,...", .help = "bands to use; all by default"},
           {.name = "--resampling",
            .value = "METHOD",
            .help = "for bands coarser than the finest",
            .fallback = "bilinear",
            .choices = {"nearest", "bilinear", "cubic"}},
           {.name = "--resolution",
            .value = "METRES",
            .help = "of products and folders with several; 10 and the finest by default",
            .kind = Kind::integer,
            .fallback = "0"},
           {.name = "--patch",
            .value = "N",
            .help = "side of a patch in pixels",
            .kind = Kind::integer,
            .fallback = "256"},
           {.name = "--stride",
            .value = "N",
            .help = "pixels between training patches; the patch's side by default",
            .kind = Kind::integer,
            .fallback = "0"},
           {.name = "--samples",
            .value = "N",
            .help = "so many random training patches a scene instead of a regular grid",
            .kind = Kind::integer,
            .fallback = "0"},
           {.name = "--balance",
            .value = "equal|SHARE,...",
            .help = "with --samples: place patches around pixels of all classes alike, or in the "
                    "proportions given, one for each class"},
           {.name = "--min-coverage",
            .value = "SHARE",
            .help = "least share of labelled pixels in a patch",
            .kind = Kind::number,
            .fallback = "0.5"},
           {.name = "--max-per-scene",
            .value = "N",
            .help = "keep no more training patches of a scene, chosen at random; 0: all",
            .kind = Kind::integer,
            .fallback = "0"},
           {.name = "--max-per-date",
            .value = "N",
            .help = "the same for all scenes of a date",
            .kind = Kind::integer,
            .fallback = "0"},
           {.name = "--date",
            .value = "SCENE=YYYY-MM-DD",
            .help = "when a scene was sensed, by its path or name, instead of what it says; "
                    "products, STAC items and metadata items of rasters say it",
            .many = true},
           {.name = "--split",
            .value = "METHOD",
            .help = "scene, date (all scenes of a date in one split), blocks, or list:FILE.csv "
                    "(columns x, y, size, split)",
            .fallback = "blocks"},
           {.name = "--valid-share",
            .value = "SHARE",
            .help = "of scenes, dates or blocks",
            .kind = Kind::number,
            .fallback = "0.15"},
           {.name = "--test-share",
            .value = "SHARE",
            .help = "of scenes, dates or blocks",
            .kind = Kind::number,
            .fallback = "0.15"},
           {.name = "--block",
            .value = "N",
            .help = "side of a block in pixels; four patches by default",
            .kind = Kind::integer,
            .fallback = "0"},
           {.name = "--guard",
            .value = "N",
            .help = "least distance in pixels between training patches and held-out ground",
            .kind = Kind::integer,
            .fallback = "0"},
           {.name = "--seed",
            .value = "N",
            .help = "of the split and the random patches",
            .kind = Kind::integer,
            .fallback = "0"},
           {.name = "--append",
            .help =
                "add the scenes that the store does not have yet; with the same settings it "
                "becomes what one run on all of them makes. Scenes come by --train, --valid and "
                "--test, or are divided by blocks or list",
            .kind = Kind::toggle},
           {.name = "--out", .value = "STORE", .help = "folder to write", .required = true}},
      .json = true,
      .overwrite = true,
      .examples =
          "unetd-tile scene.tif --labels labels.tif \\\n"
          "    --classes 0=background,1=snow:#3080ff,2=cloud,3=water --patch 128 --out "
          "store\n"};
  for (cli::Flag& flag : cli::scene_flags()) spec.flags.push_back(std::move(flag));
  return spec;
}

std::vector<std::string> words(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

double number(const std::string& text, const char* flag) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || last != end)
    throw UsageError(str(flag, ": '", text, "' is no number"));
  return value;
}

// What --target says; nothing where there are classes.
std::optional<io::TargetOptions> target(const Args& args) {
  if (args.has("--target") == args.has("--classes"))
    throw UsageError(
        "give one of --classes, for labels that name classes, and --target, for rasters of "
        "numbers");
  if (!args.has("--target")) return std::nullopt;
  const std::string text = args.text("--target");
  const size_t colon = std::min(text.find(':'), text.size());
  io::TargetOptions options{text.substr(0, colon), text.substr(std::min(colon + 1, text.size()))};
  io::check(options);
  if (args.has("--ignore"))
    for (const std::string& word : words(args.text("--ignore"), ','))
      options.ignore.push_back(number(word, "--ignore"));
  return options;
}

io::ClassMap class_map(const Args& args) {
  const std::string text = args.text("--classes"), ignore = args.text("--ignore");
  const bool file = text.ends_with(".yml") || text.ends_with(".yaml");
  return file ? read_class_file(text, ignore) : parse_classes(text, ignore);
}

void add_sources(std::vector<io::LabelledScene>& sources, const std::filesystem::path& scene,
                 const std::filesystem::path& labels, std::optional<io::Split> split) {
  if (!std::filesystem::is_directory(labels)) {
    sources.push_back({scene, labels, split});
    return;
  }
  const auto pairs = io::pair_by_stem(scene, labels, split);
  sources.insert(sources.end(), pairs.begin(), pairs.end());
}

std::vector<io::LabelledScene> sources(const Args& args) {
  std::vector<io::LabelledScene> all;
  const auto scenes = args.all("SCENE"), labels = args.all("--labels");
  if (scenes.size() != labels.size()) {
    throw UsageError(str(scenes.size(), " scenes but ", labels.size(),
                         " label rasters; give one --labels for each SCENE"));
  }
  for (size_t i = 0; i < scenes.size(); ++i) add_sources(all, scenes[i], labels[i], std::nullopt);
  for (const auto& [flag, split] :
       {std::pair{"--train", io::Split::train}, std::pair{"--valid", io::Split::valid},
        std::pair{"--test", io::Split::test}}) {
    for (const std::string& pair : args.all(flag)) {
      const size_t equals = pair.find('=');
      if (equals == std::string::npos) {
        throw UsageError(str(flag, ": '", pair, "' is not of the form SCENES=LABELS"));
      }
      add_sources(all, pair.substr(0, equals), pair.substr(equals + 1), split);
    }
  }
  if (all.empty()) throw UsageError("no scene is given; see unetd-tile --help");
  return all;
}

// Lays what --date says over the sources.
void apply_dates(const Args& args, std::vector<io::LabelledScene>& sources) {
  for (const std::string& text : args.all("--date")) {
    const size_t equals = std::min(text.rfind('='), text.size());
    const std::string scene = text.substr(0, equals);
    const auto date =
        io::stated_date(std::string_view(text).substr(std::min(equals + 1, text.size())));
    if (!date) throw UsageError(str("--date: '", text, "' is not of the form SCENE=YYYY-MM-DD"));
    const auto named = [&](const io::LabelledScene& s) {
      return s.scene == scene || io::scene_name(s.scene) == scene;
    };
    const auto first = std::ranges::find_if(sources, named);
    if (first == sources.end()) throw UsageError(str("--date: no scene is called '", scene, "'"));
    const std::filesystem::path path = first->scene;
    for (io::LabelledScene& source : sources) {
      if (!named(source)) continue;
      if (source.scene != path)
        throw UsageError(str("--date: ", path.string(), " and ", source.scene.string(),
                             " are both called '", scene, "': give their paths"));
      source.date = *date;
    }
  }
}

io::SplitOptions split_options(const Args& args, const std::vector<io::LabelledScene>& sources) {
  io::SplitOptions options;
  std::string method = args.text("--split");
  if (const std::string prefix = "list:"; method.starts_with(prefix)) {
    options.list = method.substr(prefix.size());
    method = "list";
  }
  if (sources.front().split) method = "scene";
  options.method = io::parse_split_method(method);
  options.valid = args.number("--valid-share");
  options.test = args.number("--test-share");
  options.block = args.integer("--block");
  options.guard = args.integer("--guard");
  return options;
}

// A share for each class, or nothing where patches lie anywhere. A target is one class: its pixels
// are all alike.
std::vector<double> balance(const Args& args, size_t classes) {
  const std::string text = args.text("--balance");
  if (text.empty()) return {};
  if (args.integer("--samples") == 0)
    throw UsageError("--balance places random patches: say how many with --samples");
  if (text == "equal") return std::vector<double>(classes, 1.0);
  std::vector<double> shares;
  for (const std::string& word : words(text, ',')) shares.push_back(number(word, "--balance"));
  if (args.has("--target") && shares.size() > 1)
    throw UsageError(str("--balance: ", shares.size(),
                         " shares are for so many classes, and --target has none: give `equal` "
                         "for patches around pixels with a target"));
  if (shares.size() != classes)
    throw UsageError(str("--balance: ", shares.size(), " shares for ", classes, " classes"));
  return shares;
}

nlohmann::ordered_json facts(const io::StoreSchema& schema) {
  nlohmann::ordered_json splits, bands;
  for (size_t s = 0; s < io::split_names.size(); ++s) {
    auto& out = splits[io::split_names[s]];
    out["patches"] =
        std::ranges::count(schema.patches, static_cast<io::Split>(s), &io::PatchRecord::split);
    for (size_t c = 0; c < schema.classes.size(); ++c)
      out["pixels"][schema.classes[c].name] = schema.class_pixels[s][c];
    out["ignored"] = schema.class_pixels[s].back();
  }
  for (size_t b = 0; b < schema.bands.size(); ++b) {
    const io::BandStatistics& s = schema.statistics[b];
    bands.push_back({{"name", schema.bands[b].name},
                     {"min", s.min},
                     {"p1", s.percentile(1)},
                     {"mean", s.mean},
                     {"deviation", s.stddev},
                     {"p99", s.percentile(99)},
                     {"max", s.max},
                     {"nodata_share", s.nodata_share()}});
    if (schema.bands[b].saturated) bands.back()["saturated_share"] = s.saturated_share();
  }
  nlohmann::ordered_json all{{"patch", schema.patch}, {"splits", splits}, {"bands", bands}};
  if (schema.target) all["target"] = to_json(*schema.target);
  return all;
}

void tile(const Args& args) {
  io::BuildOptions options;
  options.sources = sources(args);
  apply_dates(args, options.sources);
  options.scene.bands = words(args.text("--bands"), ',');
  options.scene.resampling = io::parse_resampling(args.text("--resampling"));
  options.scene.resolution = static_cast<int>(args.integer("--resolution"));
  cli::apply_scene_flags(args, options.scene);
  options.target = target(args);
  if (!options.target) options.classes = class_map(args);
  options.split = split_options(args, options.sources);
  options.sampling = {.patch = args.integer("--patch"),
                      .stride = args.integer("--stride"),
                      .samples = args.integer("--samples"),
                      .balance = balance(args, options.target ? 1 : options.classes.classes.size()),
                      .min_coverage = args.number("--min-coverage"),
                      .max_per_scene = args.integer("--max-per-scene"),
                      .max_per_date = args.integer("--max-per-date"),
                      .seed = static_cast<uint64_t>(args.integer("--seed"))};
  options.out = args.path("--out");
  options.overwrite = args.overwrite();
  options.append = args.has("--append");
  std::optional<cli::Progress> progress;
  std::string stage;
  const io::StoreSchema schema =
      build_store(options, [&](const std::string& what, int64_t done, int64_t total) {
        if (what != stage) progress.emplace(stage = what, total);
        progress->update(done);
      });
  progress.reset();
  if (args.json())
    std::cout << facts(schema).dump(1) << '\n';
  else
    std::cout << class_table(schema) << '\n'
              << (schema.target ? target_table(*schema.target) + '\n' : "")
              << statistics_table(schema);
}

}  // namespace

int main(int argc, char** argv) { return cli::run(argc, argv, spec(), tile); }

// Weights of PyTorch through the programs: maps from them, and what unetd-convert makes of them.
#include "engine/base/file.h"
#include "io/gdal_map_writer.h"
#include "io/scene.h"
#include "tests/support/fixtures.h"
#include "tests/support/rasters.h"
#include "tests/support/run_program.h"
#include "tests/support/workshop.h"
#include "unet/weight_file.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;
const fs::path fixtures = UNETD_SOURCE_DIR "/tests/fixtures/weights";

// The image that PyTorch's logits in logits.safetensors are of, as a scene.
fs::path write_scene(const TempFolder& folder, const std::string& network) {
  const SafeTensorsFile answers = open_fixture("weights/logits");
  const Tensor image = load_tensor(answers, network + "/image");
  const Shape s = image.shape();
  const std::vector<io::GeoTiffBand> bands(static_cast<size_t>(s.c));
  const fs::path path = folder / (network + ".tif");
  io::write_raster<float>(
      path, io::test_grid(s.w, s.h), bands, [&](int64_t band, int64_t y, int64_t x) {
        return image.span<float>()[static_cast<size_t>((y * s.w + x) * s.c + band)];
      });
  return path;
}

const std::string plain = " --set normalisation.method=none ";

TEST_CASE("weights of PyTorch give its logits as a map", "[programs][weights]") {
  const TempFolder folder;
  for (const std::string network :
       {"transposed", "bilinear", "half", "bfloat", "double", "wp99cp", "aladdinpersson",
        "ronneberger2015", "elaouni", "single", "dumbnet"}) {
    INFO(network);
    const std::string padding = network == "ronneberger2015" ? "valid" : "same";
    const std::string map = (folder / (network + "_logits.tif")).string();
    const ProgramResult result = run_program(
        "unetd-infer --quiet --model " + (fixtures / (network + ".pth")).string() + " --scene " +
        write_scene(folder, network).string() + " --out " + map +
        " --emit logits --stitch exact --tile 16 --set model.padding=" + padding + plain);
    INFO(result.err);
    REQUIRE(result.code == 0);
    const io::Scene scene = io::Scene::open(map);
    const Tensor got = scene.read(scene.grid().whole()).image;
    const Tensor want = load_tensor(open_fixture("weights/logits"), network + "/logits");
    REQUIRE(got.shape() == want.shape());
    double worst = 0;
    for (size_t i = 0; i < got.span<float>().size(); ++i)
      worst = std::max(worst, std::abs(double{got.span<float>()[i]} - want.span<float>()[i]));
    CHECK(worst < 1e-4);
  }
}

TEST_CASE("weights whose target is described give values in its unit",
          "[programs][weights][values]") {
  const TempFolder folder;
  const fs::path model = folder / "net.pth", description = folder / "net.yml";
  fs::copy_file(fixtures / "elaouni.pth", model);
  const auto describe = [&](const std::string& target) {
    write_file(description,
               "bands: [B1, B2, B3]\nnormalisation: {method: none}\ntarget: {" + target + "}\n");
  };
  const std::string map = (folder / "map.tif").string();
  const std::string infer = "unetd-infer --quiet --model " + model.string() + " --scene " +
                            write_scene(folder, "elaouni").string() + " --out " + map;
  describe("name: height, unit: m, scale: 0");
  CHECK(run_program(infer).complains("`scale` cannot be 0"));
  describe("name: height, unit: m, shift: 300, scale: 20");
  const ProgramResult result = run_program(infer);
  INFO(result.err);
  REQUIRE(result.code == 0);
  const io::MapInfo info = io::map_info(map);
  CHECK(info.description == "height");
  CHECK(info.unit == "m");
  const io::Scene scene = io::Scene::open(map);
  const Tensor got = scene.read(scene.grid().whole()).image;
  const Tensor logits = load_tensor(open_fixture("weights/logits"), "elaouni/logits");
  REQUIRE(got.shape() == logits.shape());
  double worst = 0;
  for (size_t i = 0; i < got.span<float>().size(); ++i)
    worst = std::max(worst, std::abs(double{got.span<float>()[i]} -
                                     (300 + 20 * double{logits.span<float>()[i]})));
  CHECK(worst < 1e-3);
}

TEST_CASE("what weights alone do not say is asked for, or read beside them",
          "[programs][weights]") {
  const TempFolder folder;
  const fs::path model = folder / "net.pth", description = folder / "net.yml";
  fs::copy_file(fixtures / "transposed.pth", model);
  const std::string map = (folder / "map.tif").string();
  const std::string infer = "unetd-infer --quiet --model " + model.string() + " --scene " +
                            write_scene(folder, "transposed").string() + " --out " + map;
  const ProgramResult silent = run_program(infer);
  CHECK(silent.code == 1);
  CHECK(silent.complains("net.yml"));

  const auto refused = [&](const std::string& text, const std::string& about) {
    write_file(description, text);
    const ProgramResult result = run_program(infer);
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(result.complains(about));
    CHECK_FALSE(fs::exists(map));
  };
  const std::string bands = "bands: [B1, B2, B3]\n", classes = "classes: [land, {name: sea}]\n",
                    zscore = "normalisation: {method: zscore, mean: 0, deviation: [1, 1, 2]}\n";
  refused(classes + zscore, "no `bands`");
  refused(bands + zscore, "no `classes`");
  refused(bands + classes, "no `normalisation`");
  refused("bands: [B1, B2]\n" + classes + zscore, "2 names");
  refused(bands + "classes: [land]\n" + zscore, "1 entries");
  refused(bands + classes + "normalisation: {method: zscore, mean: 0}\n", "deviation");
  refused(bands + classes + "normalisation: {method: zscore, mean: 0, deviation: 0}\n", "width");
  refused(bands + classes + "normalisation: {method: sigma_clip}\n", "the method is");
  refused(bands + classes + "normalization: {method: none}\n" + zscore, "line 3");
  refused(bands + classes + zscore + "outputs: tanh\n", "softmax or sigmoid");
  refused(bands + classes + zscore + "target: {name: height}\n", "one of them");
  refused(bands + zscore + "target: {unit: m}\n", "needs `name`");
  refused(bands + zscore + "target: {name: height}\n", "2 outputs");

  write_file(description, bands + classes + zscore + "outputs: softmax\n");
  const ProgramResult told = run_program(infer);
  INFO(told.err);
  REQUIRE(told.code == 0);
  CHECK(fs::exists(map));
}

TEST_CASE("unetd-convert writes what PyTorch takes", "[programs][weights]") {
  const TempFolder folder;
  const std::string in = (fixtures / "transposed.pth").string(),
                    out = (folder / "net.safetensors").string();
  REQUIRE(run_program("unetd-convert --quiet " + in + " " + out).code == 0);
  const WeightFile before(in), after(out);
  CHECK(after.tensors().size() == before.tensors().size());
  for (const auto& [name, view] : before.tensors()) {
    INFO(name);
    REQUIRE(after.find(name) != nullptr);
    CHECK(after.find(name)->shape == view.shape);
    if (view.dtype == DType::f32) CHECK(to_floats(*after.find(name)) == to_floats(view));
  }
  const ProgramResult again = run_program("unetd-convert --quiet " + in + " " + out);
  CHECK(again.code == 1);
  CHECK(again.complains("--overwrite"));
  CHECK(run_program("unetd-convert --quiet --overwrite " + out + " " + out).code == 0);
  const ProgramResult kind =
      run_program("unetd-convert " + in + " " + (folder / "net.h5").string());
  CHECK(kind.code == 2);
  CHECK(kind.complains(".safetensors or .onnx"));
  const ProgramResult table = run_program("unetd-info model --table parameters " + in);
  CHECK(table.code == 0);
  CHECK(table.out == run_program("unetd-info model --table parameters --in-channels 3 --classes 2 "
                                 "--width 3 --depth 2")
                         .out);
}

TEST_CASE("training begins with the network of a file", "[programs][weights]") {
  const Workshop& w = workshop();
  const std::string first = w.at("to_convert"), second = w.at("from_weights"),
                    weights = w.at("net.safetensors");
  REQUIRE(train(first, "--set training.steps=1").code == 0);
  REQUIRE(run_program("unetd-convert --quiet " + first + "/last.ckpt " + weights).code == 0);
  const std::string begin = "unetd-train --quiet --data " + w.store + " --init " + weights +
                            " --set training.steps=1 --set training.batch=2 --out " + second;
  const ProgramResult other = run_program(begin + " --set model.width=8");
  CHECK(other.code == 1);
  CHECK(other.complains("of another shape"));
  REQUIRE(run_program(begin + " --overwrite").code == 0);
  const std::string settings = read_file(second + "/config.yml");
  CHECK(settings.find("width: 4\n  depth: 2\n") != std::string::npos);
  // What was converted is all there is, with what the store said of it.
  const WeightFile file(weights);
  CHECK(file.metadata().at("classes").find("snow") != std::string::npos);
  CHECK(file.find("optimizer.m.outc.conv.weight") == nullptr);
  CHECK(run_program("unetd-infer --quiet --model " + weights + " --scene " + w.scene + " --out " +
                    w.at("from_weights.tif"))
            .code == 0);
}

// The fields of a Protobuf message: numbers and contents, varints as little-endian bytes.
std::vector<std::pair<uint64_t, std::string>> fields(const std::string& message) {
  std::vector<std::pair<uint64_t, std::string>> found;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.at(at++));
      value |= uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    const bool bytes = (key & 7) == 2;
    const uint64_t value = varint();
    REQUIRE((bytes || (key & 7) == 0));
    found.emplace_back(key >> 3, bytes ? message.substr(at, value) : std::to_string(value));
    if (bytes) at += value;
    REQUIRE(at <= message.size());
  }
  return found;
}
std::string field(const std::string& message, uint64_t number) {
  for (const auto& [n, content] : fields(message))
    if (n == number) return content;
  return "";
}

std::map<std::string, std::string> metadata_of(const std::string& model) {
  std::map<std::string, std::string> metadata;
  for (const auto& [number, content] : fields(model))
    if (number == 14) metadata[field(content, 1)] = field(content, 2);
  return metadata;
}

TEST_CASE("unetd-convert says nothing of classes that nobody named", "[programs][weights]") {
  const TempFolder folder;
  const std::string out = (folder / "net.onnx").string();
  REQUIRE(
      run_program("unetd-convert --quiet " + (fixtures / "double.pth").string() + " " + out).code ==
      0);
  const auto metadata = metadata_of(read_file(out));
  CHECK(metadata.contains("model_type"));
  CHECK_FALSE(metadata.contains("class_names"));
  CHECK_FALSE(metadata.contains("standardization_mean"));
  const ProgramResult small = run_program("unetd-convert --quiet --overwrite --tile 1 " +
                                          (fixtures / "double.pth").string() + " " + out);
  CHECK(small.code == 2);
  CHECK(small.complains("at least 2 pixels"));
}

TEST_CASE("unetd-convert writes ONNX with what Deepness asks for", "[programs][weights]") {
  const TempFolder folder;
  fs::copy_file(fixtures / "bilinear.pth", folder / "net.pth");
  write_file(folder / "net.yml",
             "bands: [B1]\nresolution: 10\nclasses: [land, sea]\n"
             "normalisation: {method: zscore, mean: 51, deviation: 25.5}\n");
  const fs::path out = folder / "net.onnx";
  REQUIRE(run_program("unetd-convert --quiet " + (folder / "net.pth").string() + " " +
                      out.string() + " --tile 64 --outputs probabilities")
              .code == 0);
  const std::string model = read_file(out);
  CHECK(field(model, 1) == "8");             // ir_version
  CHECK(field(field(model, 8), 2) == "17");  // opset_import
  const auto metadata = metadata_of(model);
  CHECK(metadata.at("model_type") == "\"Segmentor\"");
  CHECK(metadata.at("class_names") == R"({"0":"land","1":"sea"})");
  CHECK(metadata.at("resolution") == "1000.0");
  CHECK(metadata.at("tile_size") == "64");
  CHECK(metadata.at("tiles_overlap") == "50");
  CHECK(metadata.at("standardization_mean") == "[0.2]");
  CHECK(metadata.at("standardization_std") == "[0.1]");

  std::map<std::string, int> operators, tensors;
  const std::string graph = field(model, 7);
  for (const auto& [number, content] : fields(graph)) {
    if (number == 1) ++operators[field(content, 4)];
    if (number == 5) ++tensors[field(content, 8)];
  }
  CHECK(operators["Conv"] == 11);  // two each of five blocks, and the last
  CHECK(operators["Relu"] == 10);
  CHECK(operators["MaxPool"] == 2);
  CHECK(operators["Resize"] == 2);
  CHECK(operators["Pad"] == 2);
  CHECK(operators["Sigmoid"] == 1);  // of a single output
  for (const auto& [name, times] : tensors) {
    INFO(name);
    CHECK(times == 1);
  }
  CHECK(tensors.contains("inc.double_conv.0.weight"));
}

TEST_CASE("what unetd-convert writes, other programs read", "[programs][weights]") {
  const char* chosen = std::getenv("UNETD_PYTHON");
  const std::string python = chosen != nullptr ? chosen : "python3";
  if (run_command(python + " -c 'import numpy'").code != 0) {
    std::cout << "skipped: " << python << " has no numpy (nor ONNX Runtime)\n";
    return;
  }
  const ProgramResult result =
      run_command(python + " " UNETD_SOURCE_DIR "/tests/check_weights.py " UNETD_PROGRAM_DIR);
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  std::cout << result.out;
}

}  // namespace
}  // namespace unetd

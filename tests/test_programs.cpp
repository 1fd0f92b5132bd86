// The whole way through the programs, on a small made-up scene; and what they do with bad input.
#include "engine/base/file.h"
#include "engine/tensor/safetensors.h"
#include "io/gdal_map_writer.h"
#include "io/patch_store.h"
#include "io/scene.h"
#include "tests/support/rasters.h"
#include "tests/support/run_program.h"
#include "tests/support/workshop.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace unetd {
namespace {

// One line of complaint about `about`, the exit code, and nothing at `output`.
void check_refused(const std::string& command, int code, const std::string& about,
                   const std::string& output) {
  const ProgramResult result = run_program(command);
  INFO(command << "\n" << result.err);
  CHECK(result.code == code);
  CHECK(result.complains(about));
  CHECK_FALSE(std::filesystem::exists(output));
}

bool same_tensors(const std::string& a, const std::string& b) {
  const SafeTensorsFile x(a), y(b);
  if (x.tensors().size() != y.tensors().size()) return false;
  for (const auto& [name, info] : x.tensors()) {
    const auto p = x.bytes(name), q = y.bytes(name);
    if (p.size() != q.size() || std::memcmp(p.data(), q.data(), p.size()) != 0) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("from a scene to a map and its scores", "[programs]") {
  const Workshop& w = workshop();
  const std::string run = w.at("run"), map = w.at("map.tif");
  REQUIRE(train(run, "--set training.steps=6").code == 0);
  for (const char* file : {"last.ckpt", "best.ckpt", "metrics.jsonl", "config.yml", "report.html"})
    CHECK(std::filesystem::exists(run + "/" + file));

  const ProgramResult scored =
      run_program("unetd-eval --quiet --model " + run + "/best.ckpt --data " + w.store);
  CHECK(scored.code == 0);
  CHECK(scored.out.find("mean") != std::string::npos);

  REQUIRE(run_program("unetd-infer --quiet --model " + run + "/best.ckpt --scene " + w.scene +
                      " --out " + map + " --tile 64 --quicklook " + w.at("map.png"))
              .code == 0);
  CHECK(std::filesystem::file_size(w.at("map.png")) > 1000);
  // The map has data exactly where the scene has.
  const io::Scene scene = io::Scene::open(w.scene), result = io::Scene::open(map);
  REQUIRE(io::same_grid(scene.grid(), result.grid()));
  const Tensor in = scene.read(scene.grid().whole()).valid;
  const Tensor out = result.read(result.grid().whole()).valid;
  CHECK(std::memcmp(in.data(), out.data(), in.bytes()) == 0);
}

TEST_CASE("a run that was killed and resumed has the bits of one left alone", "[programs]") {
  const Workshop& w = workshop();
  const std::string more = GENERATE(
      "--set training.ema_decay=0.9 ",
      "--set training.accumulate=2 --set optimizer.type=rmsprop --set optimizer.momentum=0.9 "
      "--set optimizer.lr=0.02 --set schedule.type=plateau --set schedule.patience=0 "
      "--set training.best_by=loss ");
  const std::string place = more.find("rmsprop") == std::string::npos ? "" : "_rmsprop";
  const std::string alone = w.at("alone" + place), killed = w.at("killed" + place);
  const std::string settings =
      "--set training.steps=12 --set training.save_every=2 --set training.eval_every=5 " + more;
  REQUIRE(train(alone, settings).code == 0);
  // SIGKILL as soon as a checkpoint of a step in the middle is there, wherever the run is then.
  const std::string shell =
      "unetd-train --quiet --data " + w.store + " --out " + killed + tiny + settings +
      ">/dev/null & pid=$!; for i in $(seq 3000); do [ -e " + killed +
      "/last.previous.ckpt ] && break; sleep 0.01; done; kill -9 $pid; wait $pid";
  run_program(shell);
  REQUIRE(std::filesystem::exists(killed + "/last.ckpt"));
  REQUIRE(train(killed, "--resume").code == 0);
  CHECK(same_tensors(alone + "/last.ckpt", killed + "/last.ckpt"));
  CHECK(same_tensors(alone + "/best.ckpt", killed + "/best.ckpt"));
  CHECK(read_file(alone + "/metrics.jsonl") == read_file(killed + "/metrics.jsonl"));
}

TEST_CASE("training ends early when the score no longer improves", "[programs]") {
  const std::string run = workshop().at("early");
  constexpr int64_t patience = 2, every = 2;
  REQUIRE(train(run,
                "--set training.steps=400 --set training.eval_every=2 --set optimizer.lr=0.05 "
                "--set training.patience=2")
              .code == 0);
  int64_t best_step = 0, last_step = 0;
  double best = -1;
  std::istringstream lines(read_file(run + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto entry = nlohmann::json::parse(line);
    last_step = entry["step"];
    if (!entry.contains("valid") || entry["valid"]["mean_iou"] <= best) continue;
    best = entry["valid"]["mean_iou"];
    best_step = last_step;
  }
  CHECK(last_step == best_step + patience * every);
  CHECK(SafeTensorsFile(run + "/best.ckpt").metadata().at("step") == std::to_string(best_step));
}

TEST_CASE("a run that diverges ends with an error and its last good checkpoint", "[programs]") {
  const std::string run = workshop().at("diverged");
  const ProgramResult result =
      train(run, "--set training.steps=50 --set optimizer.lr=1e30 --set optimizer.clip_norm=0");
  CHECK(result.code == 1);
  CHECK(result.complains("optimizer.lr"));
  CHECK(std::filesystem::exists(run + "/last.ckpt"));
}

TEST_CASE("a signal ends training with a checkpoint", "[programs]") {
  const Workshop& w = workshop();
  const std::string signal = GENERATE("INT", "TERM", "USR1");
  const std::string run = w.at("ended_by_" + signal);
  const ProgramResult result = run_program(
      "unetd-train --quiet --data " + w.store + " --out " + run + tiny +
      "--set training.steps=1000000 >/dev/null & pid=$!; for i in $(seq 3000); do [ -s " + run +
      "/metrics.jsonl ] && break; sleep 0.01; done; kill -" + signal + " $pid; wait $pid");
  CHECK(result.code == 0);
  CHECK(std::filesystem::exists(run + "/last.ckpt"));
}

namespace {

// A run of a few steps, and what its next steps must not take away.
struct SavedRun {
  static constexpr const char* settings =
      "--set schedule.type=constant --set training.eval_every=2 --set training.steps=";
  std::string folder, checkpoint;
  explicit SavedRun(const std::string& name) : folder(name) {
    REQUIRE(train(folder, str(settings, 2)).code == 0);
    checkpoint = read_file(folder + "/last.ckpt");
  }
  // A resumption under `limits` has failed in one line and has left the run as it was.
  void check_failed(const ProgramResult& result) const {
    INFO(result.err);
    CHECK(result.code == 1);
    CHECK(result.complains(folder));
    CHECK(read_file(folder + "/last.ckpt") == checkpoint);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      INFO(entry.path());
      CHECK(entry.path().string().find(".partial") == std::string::npos);
    }
  }
  void check_goes_on() const {
    const std::string alone = folder + "_alone";
    REQUIRE(train(alone, str(settings, 6)).code == 0);
    REQUIRE(train(folder, "--resume --set training.steps=6").code == 0);
    CHECK(same_tensors(alone + "/last.ckpt", folder + "/last.ckpt"));
  }
};

}  // namespace

TEST_CASE("a checkpoint that cannot be written takes none away", "[programs]") {
  const SavedRun run(workshop().at("no_room"));
  // Files end at 32 KiB for this process, and writing on is an error instead of a signal.
  run.check_failed(
      run_command("trap '' XFSZ; ulimit -f 64; " UNETD_PROGRAM_DIR "/unetd-train --quiet --data " +
                  workshop().store + " --out " + run.folder + " --resume --set training.steps=6"));
  run.check_goes_on();
}

TEST_CASE("a disk that fills up during a run takes no checkpoint away", "[programs]") {
  const std::string disk = workshop().at("disk");
  std::filesystem::create_directories(disk);
  if (run_command("mount -t tmpfs -o size=8m none " + disk).code != 0) {
    std::cout << "skipped: a small disk for the test needs the right to mount one\n";
    return;
  }
  struct Mounted {
    std::string at;
    ~Mounted() { run_command("umount " + at); }
  } const mounted{disk};
  const SavedRun run(disk + "/run");
  run_command("dd if=/dev/zero of=" + disk + "/filler bs=4k");
  run.check_failed(train(run.folder, "--resume --set training.steps=6"));
  std::filesystem::remove(disk + "/filler");
  run.check_goes_on();
}

TEST_CASE("a patch that cannot be read ends a run with all it has reached", "[programs]") {
  const Workshop& w = workshop();
  const std::string store = w.at("store_damaged"), run = w.at("unread"), whole = w.at("read");
  const std::string settings = tiny +
                               "--set training.steps=20 --set training.eval_every=1000 "
                               "--set training.accumulate=" +
                               GENERATE("1 ", "2 ");
  for (const std::string& folder : {store, run, whole}) std::filesystem::remove_all(folder);
  std::filesystem::copy(w.store, store, std::filesystem::copy_options::recursive);
  const auto opened = io::PatchStore::open(store);
  const std::string shard = store + "/" + opened.schema().shards[0].file;
  // The first byte of the image of the last training patch.
  const std::string file = read_file(shard);
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  const SafeTensorInfo image = SafeTensorsFile(shard).info("image");
  const size_t patch = (image.end - image.begin) / static_cast<size_t>(image.shape[0]);
  const size_t at = sizeof header + header + image.begin +
                    patch * static_cast<size_t>(opened.indices(io::Split::train).back());
  const auto write = [&](char byte) {
    std::fstream bytes(shard, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(static_cast<std::streamoff>(at));
    bytes.put(byte);
  };
  const std::string command = "unetd-train --quiet --data " + store + " --out ";
  REQUIRE(run_program(command + whole + settings).code == 0);
  write(static_cast<char>(~file[at]));
  const ProgramResult failed = run_program(command + run + settings);
  CHECK(failed.code == 1);
  CHECK(failed.complains(shard));
  write(file[at]);
  REQUIRE(run_program("unetd-train --quiet --resume --data " + store + " --out " + run).code == 0);
  CHECK(same_tensors(run + "/last.ckpt", whole + "/last.ckpt"));
}

TEST_CASE("epochs and evaluations may be cut short", "[programs]") {
  const std::string run = workshop().at("short_epochs");
  const ProgramResult result = run_program(
      "unetd-train --data " + workshop().store + " --out " + run + tiny +
      "--set training.epochs=3 --set training.steps_per_epoch=2 --set training.valid_batches=1");
  REQUIRE(result.code == 0);
  for (const char* line : {"Epoch: 3, train_loss: ", "EStop: 0/0", "union_over_inter_water: ",
                           "Most probable class:", " patches/s, ", " MiB"}) {
    INFO(line);
    CHECK(result.err.find(line) != std::string::npos);
  }
  std::vector<int64_t> evaluated;
  std::istringstream lines(read_file(run + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto entry = nlohmann::json::parse(line);
    if (!entry.contains("valid")) continue;
    evaluated.push_back(entry["step"]);
    CHECK(entry["train_loss"] > 0);
    int64_t pixels = 0;
    for (const auto& row : entry["valid"]["confusion"])
      for (const int64_t count : row) pixels += count;
    CHECK(pixels > 0);
    CHECK(pixels <= 2 * 32 * 32);
  }
  CHECK(evaluated == std::vector<int64_t>{2, 4, 6});
}

TEST_CASE("a run folder is not overwritten by accident", "[programs]") {
  const std::string run = workshop().at("twice");
  REQUIRE(train(run, "--set training.steps=1").code == 0);
  const std::string before = read_file(run + "/last.ckpt");
  const ProgramResult again = train(run, "--set training.steps=1");
  CHECK(again.code == 1);
  CHECK(again.complains("--resume"));
  CHECK(read_file(run + "/last.ckpt") == before);
  CHECK(train(run, "--set training.steps=1 --overwrite").code == 0);
}

namespace {

double largest_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.span<float>(), y = b.span<float>();
  REQUIRE(x.size() == y.size());
  double most = 0;
  for (size_t i = 0; i < x.size(); ++i) most = std::max(most, std::abs(double{x[i]} - y[i]));
  return most;
}

// Of all numbers of two checkpoints together, which must have the same tensors.
double relative_difference(const std::string& a, const std::string& b) {
  const SafeTensorsFile x(a), y(b);
  REQUIRE(x.tensors().size() == y.tensors().size());
  double squares = 0, error = 0;
  for (const auto& [name, info] : x.tensors()) {
    INFO(name);
    REQUIRE((info.dtype == y.info(name).dtype && info.shape == y.info(name).shape));
    if (info.dtype != DType::f32) continue;
    for (size_t i = 0; i + sizeof(float) <= x.bytes(name).size(); i += sizeof(float)) {
      float p = 0, q = 0;
      std::memcpy(&p, x.bytes(name).data() + i, sizeof p);
      std::memcpy(&q, y.bytes(name).data() + i, sizeof q);
      squares += double{p} * p;
      error += (double{p} - q) * (double{p} - q);
    }
  }
  REQUIRE(squares > 0);
  return std::sqrt(error / squares);
}

// The names in a run's folder; those of event files tell time and process.
std::set<std::string> files_of(const std::string& run) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(run)) {
    const std::string name = entry.path().filename().string();
    names.insert(name.starts_with("events.") ? "events" : name);
  }
  return names;
}

}  // namespace

// A checkpoint has no device: what one trained, another maps with.
TEST_CASE("the emulated GPU trains and maps as the CPU does", "[programs][simt][slow]") {
  const Workshop& w = workshop();
  const std::string settings = "--set training.steps=8 --set optimizer.lr=1e-4 ";
  const auto logits = [&](const std::string& run, const std::string& device) {
    const std::string out = w.at(run + "_on_" + device + ".tif");
    REQUIRE(run_program("unetd-infer --quiet --model " + w.at(run) + "/last.ckpt --scene " +
                        w.scene + " --emit logits --tile 64 --device " + device + " --out " + out)
                .code == 0);
    const io::Scene map = io::Scene::open(out);
    return map.read(map.grid().whole()).image;
  };
  REQUIRE(train(w.at("by_cpu"), settings + "--device cpu").code == 0);
  REQUIRE(train(w.at("by_simt"), settings + "--device simt").code == 0);
  CHECK(files_of(w.at("by_cpu")) == files_of(w.at("by_simt")));
  CHECK(relative_difference(w.at("by_cpu") + "/last.ckpt", w.at("by_simt") + "/last.ckpt") < 1e-3);
  const Tensor want = logits("by_cpu", "cpu");
  CHECK(largest_difference(logits("by_cpu", "simt"), want) < 1e-5);
  CHECK(largest_difference(logits("by_simt", "cpu"), want) < 1e-3);

  REQUIRE(train(w.at("rounded"), settings + "--device simt --set runtime.precision=bf16").code ==
          0);
  CHECK(largest_difference(logits("rounded", "cpu"), want) < 0.1);
  // The loss scale is part of what a resumed run goes on with.
  const std::string f16 = settings + "--device simt --set runtime.precision=f16 ";
  REQUIRE(train(w.at("alone_f16"), f16).code == 0);
  REQUIRE(train(w.at("resumed_f16"), f16 + "--set training.minutes=0.0001").code == 0);
  REQUIRE(train(w.at("resumed_f16"), "--resume --set training.minutes=0").code == 0);
  CHECK(same_tensors(w.at("alone_f16") + "/last.ckpt", w.at("resumed_f16") + "/last.ckpt"));
  check_refused("unetd-train --quiet --device cpu --set runtime.precision=bf16 --data " + w.store +
                    " --out " + w.at("refused") + tiny,
                2, "runtime.precision", w.at("refused") + "/last.ckpt");
}

TEST_CASE("logits of an odd scene do not depend on the tile", "[programs][exact]") {
  const Workshop& w = workshop();
  const std::string run = w.at("logits_run"), scene = w.at("odd.tif");
  REQUIRE(train(run, "--set training.steps=2 --set model.upsample=bilinear").code == 0);
  std::vector<io::GeoTiffBand> bands;
  const io::Scene full = io::Scene::open(w.scene);
  for (const io::SceneBand& b : full.bands()) bands.push_back({.name = b.name});
  io::write_raster<uint16_t>(scene, io::test_grid(109, 87), bands,
                             [](int64_t b, int64_t y, int64_t x) {
                               return 1500 + 900 * std::sin(0.13 * x * (b + 1) + 0.31 * y);
                             });
  const auto logits = [&](const std::string& tile) {
    const std::string out = w.at("logits" + tile + ".tif");
    REQUIRE(run_program("unetd-infer --quiet --model " + run + "/last.ckpt --scene " + scene +
                        " --emit logits --tile " + tile + " --out " + out)
                .code == 0);
    const io::Scene map = io::Scene::open(out);
    return map.read(map.grid().whole()).image;
  };
  CHECK(largest_difference(logits("512"), logits("16")) < 1e-5);
}

TEST_CASE("bad scenes and labels are refused in one line", "[programs][bad]") {
  const Workshop& w = workshop();
  const std::string out = w.at("bad_store");
  const auto tile = [&](const std::string& scene, const std::string& labels) {
    return "unetd-tile --quiet " + scene + " --labels " + labels + class_list +
           "--patch 32 --out " + out;
  };
  SECTION("truncated TIFF") {
    const std::string cut = w.at("cut.tif");
    write_file(cut, read_file(w.scene).substr(0, std::filesystem::file_size(w.scene) / 2));
    check_refused(tile(cut, w.labels), 1, "cut.tif", out);
  }
  SECTION("no such file") { check_refused(tile(w.at("none.tif"), w.labels), 1, "none.tif", out); }
  SECTION("label of another size") {
    const std::string other = w.at("small_labels.tif");
    io::write_raster<uint8_t>(other, io::test_grid(40, 30), {{.name = "labels"}},
                              [](int64_t, int64_t, int64_t) { return 0; });
    check_refused(tile(w.scene, other), 1, "small_labels.tif", out);
  }
  SECTION("unknown class value") {
    const std::string command = "unetd-tile --quiet " + w.scene + " --labels " + w.labels +
                                " --classes 0=background,1=snow --patch 32 --out " + out;
    check_refused(command, 1, "labels.tif", out);
  }
  SECTION("unknown band") {
    check_refused(tile(w.scene, w.labels) + " --bands B02,B77", 1, "B77", out);
  }
  SECTION("unwritable folder") {
    const std::string inside = "/proc/unetd/store";
    check_refused("unetd-tile --quiet " + w.scene + " --labels " + w.labels + class_list +
                      "--patch 32 --out " + inside,
                  1, "/proc/unetd", inside);
  }
  SECTION("a split by patch") {
    check_refused(tile(w.scene, w.labels) + " --split random", 2, "split", out);
  }
}

TEST_CASE("bad stores, models and settings are refused in one line", "[programs][bad]") {
  const Workshop& w = workshop();
  const std::string out = w.at("bad_run");
  const std::string train_on = "unetd-train --quiet --out " + out + " --data ";
  SECTION("no store") { check_refused(train_on + w.at("nowhere"), 1, "nowhere", out); }
  SECTION("empty store") {
    std::filesystem::create_directories(w.at("empty"));
    check_refused(train_on + w.at("empty"), 1, "empty", out);
  }
  SECTION("bad YAML key") {
    write_file(w.at("bad.yml"), "training:\n  bach: 4\n");
    check_refused(train_on + w.store + " --config " + w.at("bad.yml"), 2, "bad.yml:2", out);
  }
  SECTION("another number of bands") {
    check_refused(train_on + w.store + " --set model.in_channels=4", 2, "model.in_channels", out);
  }
  SECTION("no model in the file") {
    write_file(w.at("text.ckpt"), "this is no model");
    check_refused("unetd-infer --quiet --model " + w.at("text.ckpt") + " --scene " + w.scene +
                      " --out " + out,
                  1, "text.ckpt", out);
  }
  SECTION("a scene with other bands than the model's") {
    const std::string run = w.at("bands_run"), scene = w.at("two_bands.tif");
    REQUIRE(train(run, "--set training.steps=1 --overwrite").code == 0);
    io::write_raster<uint16_t>(scene, io::test_grid(64, 64), {{.name = "B02"}, {.name = "B03"}},
                               [](int64_t, int64_t, int64_t x) { return 1000 + x; });
    check_refused(
        "unetd-infer --quiet --model " + run + "/last.ckpt --scene " + scene + " --out " + out, 1,
        "two_bands.tif", out);
  }
  SECTION("turned tiles in an exact map") {
    const std::string run = w.at("tta_run");
    REQUIRE(train(run, "--set training.steps=1 --overwrite").code == 0);
    check_refused("unetd-infer --quiet --model " + run + "/last.ckpt --scene " + w.scene +
                      " --tta d4 --out " + out,
                  2, "--stitch blend", out);
  }
}

TEST_CASE("NaN pixels are no data, in the store and in the map", "[programs][bad]") {
  const Workshop& w = workshop();
  const std::string scene = w.at("nan.tif"), labels = w.at("nan_labels.tif");
  const io::Grid grid = io::test_grid(64, 64);
  io::write_raster<float>(scene, grid, {{.name = "red"}}, [](int64_t, int64_t y, int64_t x) {
    return x == 10 && y == 20 ? std::nan("") : 0.01 * static_cast<double>(x % 7);
  });
  io::write_raster<uint8_t>(labels, grid, {{.name = "labels"}},
                            [](int64_t, int64_t, int64_t x) { return x % 7 > 3 ? 1 : 0; });
  const std::string store = w.at("nan_store"), run = w.at("nan_run"), map = w.at("nan_map.tif");
  REQUIRE(run_program("unetd-tile --quiet --train " + scene + "=" + labels +
                      " --classes 0=low,1=high --patch 32 --out " + store)
              .code == 0);
  REQUIRE(run_program("unetd-train --quiet --data " + store + " --out " + run + tiny +
                      "--set training.steps=2")
              .code == 0);
  REQUIRE(run_program("unetd-infer --quiet --model " + run + "/last.ckpt --scene " + scene +
                      " --out " + map)
              .code == 0);
  const io::Scene result = io::Scene::open(map);
  const Tensor valid = result.read(result.grid().whole()).valid;
  for (int64_t i = 0; i < 64 * 64; ++i)
    REQUIRE((valid.span<uint8_t>()[static_cast<size_t>(i)] == 0) == (i == 20 * 64 + 10));
}

}  // namespace unetd

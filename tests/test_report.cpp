// What a run leaves for people: the report page, and TensorBoard's event files, which are read back
// here by a parser of their own.
#include "engine/base/file.h"
#include "io/picture.h"
#include "tests/support/workshop.h"
#include "tools/report/chart.h"
#include "tools/report/differences.h"
#include "tools/report/history.h"
#include "tools/report/html.h"
#include "tools/report/samples.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

using Catch::Matchers::Contains;

// --- event files ---------------------------------------------------------------------------------

// Bit by bit, as RFC 3720 defines it.
uint32_t plain_crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
  }
  return ~crc;
}

template <class T>
T take(std::string_view& bytes) {
  REQUIRE(bytes.size() >= sizeof(T));
  T value{};
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

std::string_view take_bytes(std::string_view& bytes, size_t count) {
  REQUIRE(bytes.size() >= count);
  const std::string_view taken = bytes.substr(0, count);
  bytes.remove_prefix(count);
  return taken;
}

void check_crc(std::string_view& bytes, std::string_view of) {
  const uint32_t unmasked = take<uint32_t>(bytes) - 0xA282EAD8;
  CHECK((unmasked << 15 | unmasked >> 17) == plain_crc32c(of));
}

// The data of all records of a TFRecord file.
std::vector<std::string> records(const std::string& file) {
  const std::string content = read_file(file);
  std::string_view bytes = content;
  std::vector<std::string> data;
  while (!bytes.empty()) {
    const std::string_view head = bytes.substr(0, sizeof(uint64_t));
    const auto length = take<uint64_t>(bytes);
    check_crc(bytes, head);
    data.emplace_back(take_bytes(bytes, length));
    check_crc(bytes, data.back());
  }
  return data;
}

uint64_t varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(bytes);
    value |= uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
}

// A protobuf message: field number to contents, numbers as their eight bytes.
std::multimap<uint64_t, std::string> message(std::string_view bytes) {
  std::multimap<uint64_t, std::string> fields;
  while (!bytes.empty()) {
    const uint64_t key = varint(bytes), wire = key & 7;
    if (wire == 0) {
      const uint64_t value = varint(bytes);
      fields.emplace(key >> 3, std::string(reinterpret_cast<const char*>(&value), sizeof value));
      continue;
    }
    REQUIRE((wire == 1 || wire == 2 || wire == 5));
    const size_t count = wire == 1 ? 8 : wire == 5 ? 4 : varint(bytes);
    fields.emplace(key >> 3, take_bytes(bytes, count));
  }
  return fields;
}

template <class T>
T number(const std::string& bytes) {
  std::string_view view = bytes;
  return take<T>(view);
}

struct Events {
  std::vector<std::string> versions;
  std::optional<int64_t> restart;  // steps from here on in earlier files do not count
  std::vector<std::pair<int64_t, std::map<std::string, float>>> scalars;
};

Events read_events(const std::string& file) {
  Events events;
  for (const std::string& record : records(file)) {
    const auto event = message(record);
    REQUIRE(event.count(1) == 1);
    CHECK(number<double>(event.find(1)->second) > 1.6e9);  // seconds since 1970
    const int64_t step = event.count(2) == 0 ? 0 : number<int64_t>(event.find(2)->second);
    if (const auto version = event.find(3); version != event.end()) {
      events.versions.push_back(version->second);
    } else if (const auto session = event.find(7); session != event.end()) {
      CHECK(number<int64_t>(message(session->second).find(1)->second) == 1);  // START
      events.restart = step;
    } else {
      std::map<std::string, float> values;
      for (const auto& [field, value] : message(event.find(5)->second)) {
        REQUIRE(field == 1);
        const auto scalar = message(value);
        values[scalar.find(1)->second] = number<float>(scalar.find(2)->second);
      }
      events.scalars.emplace_back(step, values);
    }
  }
  return events;
}

std::vector<std::string> event_files(const std::string& run) {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(run)) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) {
      files.insert(entry.path());
    }
  }
  return {files.begin(), files.end()};
}

std::vector<nlohmann::json> metrics(const std::string& run) {
  std::istringstream lines(read_file(run + "/metrics.jsonl"));
  std::vector<nlohmann::json> objects;
  for (std::string line; std::getline(lines, line);) {
    objects.push_back(nlohmann::json::parse(line));
  }
  return objects;
}

// Every number of a line of metrics.jsonl that is no matrix and not the step.
std::map<std::string, float> expected_scalars(const nlohmann::json& line) {
  std::map<std::string, float> expected;
  const auto add = [&](const nlohmann::json& object, const std::string& prefix) {
    for (const auto& [key, value] : object.items()) {
      if (value.is_number() && key != "step") expected[prefix + key] = value;
    }
  };
  add(line, "");
  if (!line.contains("valid")) return expected;
  const auto add_scores = [&](const nlohmann::json& object, const std::string& prefix) {
    add(object, prefix);
    for (const auto& c : object["classes"]) add(c, prefix + c["name"].get<std::string>() + "/");
  };
  add_scores(line["valid"], "valid/");
  add_scores(line["valid"]["at_threshold"], "valid/at_threshold/");
  add(line["valid"]["calibration"], "valid/calibration/");
  return expected;
}

}  // namespace

TEST_CASE("event files hold the scalars of metrics.jsonl, also of a resumed run",
          "[report][programs]") {
  const std::string run = workshop().at("events");
  REQUIRE(train(run, "--set training.steps=4 --set training.eval_every=2").code == 0);
  REQUIRE(event_files(run).size() == 1);
  const std::string before = read_file(event_files(run)[0]);
  REQUIRE(train(run, "--resume --set training.steps=7").code == 0);

  const std::vector<std::string> files = event_files(run);
  REQUIRE(files.size() == 2);
  CHECK(read_file(files[0]) == before);
  Events all = read_events(files[0]);
  const Events later = read_events(files[1]);
  CHECK(all.versions == std::vector<std::string>{"brain.Event:2"});
  CHECK_FALSE(all.restart);
  CHECK(later.versions == all.versions);
  CHECK(later.restart == 5);
  all.scalars.insert(all.scalars.end(), later.scalars.begin(), later.scalars.end());

  const std::vector<nlohmann::json> lines = metrics(run);
  REQUIRE(lines.size() == all.scalars.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    INFO(lines[i]);
    CHECK(all.scalars[i].first == lines[i]["step"]);
    CHECK(all.scalars[i].second == expected_scalars(lines[i]));
  }
  CHECK(std::any_of(all.scalars.begin(), all.scalars.end(),
                    [](const auto& s) { return s.second.contains("valid/water/iou"); }));

  REQUIRE(train(run, "--overwrite --set training.steps=1").code == 0);
  REQUIRE(event_files(run).size() == 1);
  CHECK(read_events(event_files(run)[0]).scalars.size() == metrics(run).size());
}

// --- the page ------------------------------------------------------------------------------------

namespace {

// The page of one short run, made once.
const std::string& run_folder() {
  static const std::string run = [] {
    std::string folder = workshop().at("reported");
    REQUIRE(train(folder, "--set training.steps=8 --set training.eval_every=4").code == 0);
    return folder;
  }();
  return run;
}

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// From the heading of a section to the end of it.
std::string section_of(const std::string& page, const std::string& heading) {
  const size_t begin = page.find("<h2>" + heading);
  INFO(heading);
  REQUIRE(begin != std::string::npos);
  return page.substr(begin, page.find("</section>", begin) - begin);
}

void check_self_contained(const std::string& page) {
  for (const char* part : {"http:", "https:", "<script", "@import", "url("}) {
    INFO(part);
    CHECK(page.find(part) == std::string::npos);
  }
  CHECK(occurrences(page, "src=\"") ==
        occurrences(page, "src=\"data:image/png;base64,iVBORw0KGgo"));
  CHECK(occurrences(page, "href=\"") == occurrences(page, "href=\"data:,"));
  CHECK_THAT(page, Contains("name=\"viewport\" content=\"width=device-width"));
}

}  // namespace

TEST_CASE("the report of a run shows what the run did", "[report][programs]") {
  const std::string page = read_file(run_folder() + "/report.html");
  check_self_contained(page);

  const std::string curves = section_of(page, "Curves over steps");
  for (const char* title : {"Loss<", "Loss, logarithmic<", "IoU", "Norm", "Learning rate"}) {
    CHECK_THAT(curves, Contains("<figcaption>" + std::string(title)));
  }
  CHECK(occurrences(curves, "<polyline") >= 7);

  // The scores and the matrix are those of the best line of metrics.jsonl.
  nlohmann::json best;
  for (const nlohmann::json& line : metrics(run_folder())) {
    if (!line.contains("valid")) continue;
    if (best.is_null() || line["valid"]["mean_iou"] > best["mean_iou"]) best = line["valid"];
  }
  const std::string scores = section_of(page, "Best validation");
  const std::string confusion = section_of(page, "Confusion matrix");
  CHECK_THAT(scores, Contains("<td>" + report::fixed(best["mean_iou"], 3) + "</td>"));
  for (size_t c = 0; c < best["classes"].size(); ++c) {
    CHECK_THAT(scores, Contains(best["classes"][c]["name"].get<std::string>()));
    CHECK_THAT(scores, Contains(report::grouped(best["classes"][c]["pixels"])));
    CHECK_THAT(confusion, Contains(report::grouped(best["confusion"][c][c]) + " pixels"));
  }

  CHECK_THAT(scores, Contains("its probability exceeds 0.5"));
  const std::string calibration = section_of(page, "Calibration");
  CHECK_THAT(calibration,
             Contains("error: " + report::fixed(best["calibration"]["error"], 4) + "."));
  CHECK(occurrences(calibration, "</svg>") == 1);
  CHECK_THAT(page, Contains("best mean IoU<b>" + report::fixed(best["mean_iou"], 3)));

  const auto store = io::PatchStore::open(workshop().store);
  const std::string classes = section_of(page, "Classes of each split");
  for (const auto& split : store.schema().class_pixels) {
    for (const int64_t pixels : split) CHECK_THAT(classes, Contains(report::grouped(pixels)));
  }
  const std::string timings = section_of(page, "Timings");
  for (const char* text : {"training steps", "validation", "conv2d", "slowest", " ms</td>"}) {
    CHECK_THAT(timings, Contains(text));
  }
  const std::string memory = section_of(page, "Memory");
  for (const char* text : {"parameters", "arena", "resident", "MiB"}) {
    CHECK_THAT(memory, Contains(text));
  }
  CHECK_THAT(section_of(page, "Configuration"), Contains("width: 4"));
}

TEST_CASE("the best of a run judged by its loss is a loss", "[report][programs]") {
  const std::string run = workshop().at("judged_by_loss");
  REQUIRE(
      train(run, "--set training.steps=4 --set training.eval_every=2 --set training.best_by=loss")
          .code == 0);
  double least = INFINITY;
  for (const nlohmann::json& line : metrics(run))
    if (line.contains("valid")) least = std::min(least, line["valid_loss"].get<double>());
  const std::string page = read_file(run + "/report.html");
  CHECK_THAT(page, Contains("best validation loss<b>" + report::fixed(least, 4)));
  CHECK_THAT(page, !Contains("best mean IoU"));
}

TEST_CASE("a loss that was not finite leaves a gap in the curves", "[report][programs]") {
  std::string text;
  for (nlohmann::json& line : metrics(run_folder())) {
    if (line.contains("valid")) line["valid_loss"] = nullptr;
    text += line.dump() + "\n";
  }
  const auto store = io::PatchStore::open(workshop().store);
  const report::History history(text, store.schema().classes, Config::Judge::mean_iou);
  CHECK_FALSE(history.best().is_null());
  CHECK_THAT(history.curves_section(), Contains("<figcaption>Loss<"));
}

TEST_CASE("sample patches show image, truth, prediction and difference", "[report][programs]") {
  const std::string page = read_file(run_folder() + "/report.html");
  const auto store = io::PatchStore::open(workshop().store);
  const std::vector<int64_t> patches = report::choose_patches(store, io::Split::valid);
  REQUIRE_FALSE(patches.empty());
  const std::string samples = section_of(page, "Sample patches of the valid split");
  for (const char* what : {"image", "false colour", "truth", "prediction", "difference"}) {
    CHECK(occurrences(samples, "<figcaption>" + std::string(what)) == patches.size());
  }
  CHECK(occurrences(samples, "<img") == 5 * patches.size());
}

TEST_CASE("samples come from all of a split and prefer mixed patches", "[report]") {
  const auto store = io::PatchStore::open(workshop().store);
  const std::vector<int64_t>& all = store.indices(io::Split::train);
  const std::vector<int64_t> chosen = report::choose_patches(store, io::Split::train, 4);
  REQUIRE(chosen.size() == 4);
  const auto classes_in = [&](int64_t patch) {
    const uint8_t* label = store.view(patch).label;
    std::set<uint8_t> found(label, label + 32 * 32);
    found.erase(io::ignore_label);
    return found.size();
  };
  const auto size = static_cast<int64_t>(all.size());
  for (int64_t part = 0; part < 4; ++part) {
    const auto begin = all.begin() + part * size / 4, end = all.begin() + (part + 1) * size / 4;
    const int64_t patch = chosen[static_cast<size_t>(part)];
    CHECK(std::count(begin, end, patch) == 1);
    // A patch of one class is taken only where there is no other.
    const bool mixed = std::any_of(begin, end, [&](int64_t p) { return classes_in(p) > 1; });
    CHECK((classes_in(patch) > 1) == mixed);
  }
  CHECK(report::choose_patches(store, io::Split::train, 1000).size() <= all.size());
}

TEST_CASE("unetd-eval writes the page of a split", "[report][programs]") {
  const std::string page = workshop().at("scores.html");
  const std::string command = "unetd-eval --quiet --model " + run_folder() + "/best.ckpt --data " +
                              workshop().store + " --split valid --report " + page;
  const ProgramResult scored = run_program(command + " --json");
  REQUIRE(scored.code == 0);
  const auto result = nlohmann::json::parse(scored.out);
  const std::string text = read_file(page);
  check_self_contained(text);
  CHECK_THAT(section_of(text, "Scores"),
             Contains("<td>" + report::fixed(result["mean_iou"], 3) + "</td>"));
  CHECK(occurrences(section_of(text, "Sample patches"), "<img") > 0);
  CHECK(occurrences(section_of(text, "Differences"), "<img") == 1);  // one scene
  CHECK_THAT(section_of(text, "Differences"),
             Contains(report::percent(1 - result["accuracy"].get<double>()) + " differ"));
  CHECK_THAT(section_of(text, "Calibration"), Contains("</svg>"));

  const ProgramResult again = run_program(command);
  CHECK(again.code == 1);
  CHECK(again.complains("scores.html"));

  const std::string scene_page = workshop().at("scene.html");
  const ProgramResult of_scene =
      run_program("unetd-eval --quiet --json --model " + run_folder() + "/best.ckpt --scene " +
                  workshop().scene + " --labels " + workshop().labels + " --report " + scene_page);
  REQUIRE(of_scene.code == 0);
  const std::string scene_text = read_file(scene_page);
  check_self_contained(scene_text);
  const double accuracy = nlohmann::json::parse(of_scene.out)["accuracy"];
  CHECK_THAT(section_of(scene_text, "Differences"),
             Contains("scene.tif: " + report::percent(1 - accuracy) + " differ"));
}

TEST_CASE("a map of differences has one square for many pixels", "[report]") {
  const io::Window area{100, 50, 2000, 10};
  report::DifferenceMap map(area);
  const std::vector<uint8_t> truth{0, 1, 1, 255}, found{0, 0, 1, 1};
  map.add({100, 50, 2, 2}, report::differences(truth, found));
  map.add({2098, 59, 4, 1}, report::differences(truth, found));  // half of it beyond the area
  CHECK(map.mean() == Approx(2. / 5));
  const Tensor picture = map.picture(report::class_painter());
  CHECK(picture.shape() == Shape{1, 4, 667, 4});  // squares of 3 x 3
  const auto pixel = [&](int64_t y, int64_t x) {
    return picture.span<uint8_t>().subspan(static_cast<size_t>((y * 667 + x) * 4), 4);
  };
  const auto& [agree, differ] = io::difference_colors;
  for (size_t c = 0; c < 3; ++c)
    CHECK(pixel(0, 0)[c] == std::lround(agree[c] + (differ[c] - agree[c]) / 3.));
  CHECK(pixel(0, 0)[3] == 255);
  CHECK(pixel(0, 1)[3] == 0);
  CHECK(pixel(3, 666)[3] == 255);
}

TEST_CASE("a browser shows the report without complaint", "[report][programs]") {
  if (run_command("command -v chromium").code != 0) {
    std::cout << "skipped: there is no chromium\n";
    return;
  }
  for (const char* size : {"390,844", "1280,900"}) {
    const ProgramResult shown = run_command(
        "timeout 120 chromium --headless --no-sandbox --disable-gpu --enable-logging=stderr "
        "--user-data-dir=" +
        workshop().at("browser") + " --window-size=" + size + " --dump-dom file://" + run_folder() +
        "/report.html");
    REQUIRE(shown.code == 0);
    // What the page itself gives rise to is logged with its source as "CONSOLE".
    INFO(shown.err);
    CHECK(shown.err.find("CONSOLE") == std::string::npos);
    CHECK(occurrences(shown.out, "<section") == 9);
    CHECK(occurrences(shown.out, "</svg>") == 6);
  }
}

// --- the pieces ----------------------------------------------------------------------------------

TEST_CASE("charts mark round numbers and leave out what has no place", "[report]") {
  const report::Points points{{0, 0.31}, {50, -1}, {100, 0.02}};
  const std::string linear = report::line_chart("a < b", {{"loss", "#123456", points}}, 100);
  CHECK_THAT(linear, Contains("a &lt; b") && Contains(">-1</text>") && Contains(">100</text>"));
  CHECK(occurrences(linear, "<circle") == 3);
  const std::string logarithmic =
      report::line_chart("log", {{"loss", "#123456", points}}, 100, true);
  CHECK(occurrences(logarithmic, "<circle") == 2);
  for (const char* tick : {"0.02", "0.05", "0.1", "0.2", "0.5"}) {
    CHECK_THAT(logarithmic, Contains(">" + std::string(tick) + "</text>"));
  }
  // One value has a chart, too; none has not.
  CHECK_THAT(report::line_chart("one", {{"x", "#123456", {{5, 0}}}}, 5), Contains("<circle"));
  CHECK(report::line_chart("none", {{"x", "#123456", {{5, -1}}}}, 5, true).empty());
  // Long curves are drawn by fewer points.
  report::Points many;
  for (int i = 0; i < 100000; ++i) many.emplace_back(i, std::sin(i));
  CHECK(report::line_chart("many", {{"x", "#123456", many}}, 1e5).size() < 20000);
}

TEST_CASE("numbers and names on a page", "[report]") {
  CHECK(report::grouped(0) == "0");
  CHECK(report::grouped(999) == "999");
  CHECK(report::grouped(1000) == "1,000");
  CHECK(report::grouped(-1234567) == "-1,234,567");
  CHECK(report::grouped(-123) == "-123");
  CHECK(report::fixed(NAN, 2) == "-");
  CHECK(report::percent(0.8754) == "87.5 %");
  CHECK(report::escaped("<a href=\"x\">&") == "&lt;a href=&quot;x&quot;&gt;&amp;");
}

TEST_CASE("pictures of labels and of differences", "[report][io]") {
  const std::vector<uint8_t> truth{0, 1, 255, 1}, prediction{0, 0, 1, 1};
  const std::vector<io::ClassInfo> classes{{0, "low", "#010203"}, {1, "high", "#fefdfc"}};
  const Tensor labels = io::label_picture(truth, classes);
  CHECK(labels.shape() == Shape{1, 2, 2, 4});
  const std::vector<uint8_t> colours{1, 2, 3, 255, 254, 253, 252, 255,
                                     0, 0, 0, 0,   254, 253, 252, 255};
  CHECK(std::ranges::equal(labels.span<uint8_t>(), colours));
  const Tensor difference = io::difference_picture(truth, prediction);
  const auto d = difference.span<uint8_t>();
  CHECK((d[0] == d[12] && d[4] != d[0]));
  CHECK((d[3] == 255 && d[7] == 255 && d[11] == 0));
}

TEST_CASE("bands that make pictures", "[report][io]") {
  const auto named = [](std::initializer_list<const char*> names) {
    std::vector<io::SceneBand> bands;
    for (const char* name : names) bands.push_back({.name = name});
    return bands;
  };
  CHECK(io::true_colour(named({"B02", "B03", "B04", "B8A"})) == io::BandTriple{2, 1, 0});
  CHECK(io::false_colour(named({"B02", "B03", "B04", "B8A"})) == io::BandTriple{3, 2, 1});
  CHECK(io::false_colour(named({"B8A", "B08", "B04", "B03"})) == io::BandTriple{1, 2, 3});
  CHECK(io::true_colour(named({"a", "b", "c"})) == io::BandTriple{0, 1, 2});
  CHECK(io::true_colour(named({"a"})) == io::BandTriple{0, 0, 0});
  CHECK_FALSE(io::false_colour(named({"B03", "B04"})));
}

}  // namespace unetd

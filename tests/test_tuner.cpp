// Implementations chosen by their cost. Costs are given here, not measured, but where a case says
// so.
#include "engine/autograd/ops.h"
#include "engine/autograd/session.h"
#include "engine/autograd/tuner.h"
#include "engine/base/file.h"
#include "engine/op/pointwise.h"
#include "kernels/register.h"
#include "tests/cases/all.h"
#include "tests/support/gpu.h"
#include "tests/support/random.h"
#include "tests/support/surroundings.h"
#include "tests/support/temp_folder.h"
#include "unet/trainer.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <map>

#include <catch2/catch.hpp>

using namespace unetd;

namespace {

namespace fs = std::filesystem;

// Two more implementations of ReLU for as long as the object lives, the last in order of
// preference. They write 1 and 2 everywhere.
class MoreRelus {
 public:
  MoreRelus() : before_(impls<Relu>(DeviceType::cpu).size()) {
    register_kernels();
    before_ = impls<Relu>(DeviceType::cpu).size();
    add_function<write<1>, Relu>(DeviceType::cpu, "ones");
    add_function<write<2>, Relu>(DeviceType::cpu, "twos");
  }
  MoreRelus(const MoreRelus&) = delete;
  MoreRelus& operator=(const MoreRelus&) = delete;
  ~MoreRelus() {
    auto& list = impls<Relu>(DeviceType::cpu);
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(before_), list.end());
  }

 private:
  template <int number>
  static void write(const Relu& p, const Relu::Buffers& b) {
    std::fill_n(static_cast<float*>(b.y), p.shape.count(), static_cast<float>(number));
  }
  size_t before_;
};

// One ReLU, and a session of it under a tuner that counts what it measures.
struct Measured {
  std::map<std::string, double, std::less<>> costs;  // of what is not named: 10
  TempFolder folder;
  int runs = 0;

  std::string chosen(const std::string& choice = "", const std::string& device = "a device") {
    Graph g;
    const Value x = g.input({1, 4, 4, 16}, DType::f32, "x");
    const Value y = relu(g, x);
    g.mark_output(y);
    const auto cost = [this](const BoundKernel& kernel, const std::function<void()>& run) {
      ++runs;
      run();
      const auto known = costs.find(kernel.implementation());
      return known == costs.end() ? 10.0 : known->second;
    };
    Session session(g, {.kernels = KernelChoice(choice),
                        .tuner = std::make_shared<Tuner>(DeviceType::cpu,
                                                         TuneStore(device, folder.path()), cost)});
    const std::string name = session.report().front().implementation;
    session.write(x, Tensor({1, 4, 4, 16}, DType::f32));
    session.run();
    const float expected = name == "ones" ? 1 : name == "twos" ? 2 : 0;
    CHECK(session.read(y).span<float>()[0] == expected);
    return name;
  }
  fs::path file(const std::string& device = "a device") const {
    return TuneStore(device, folder.path()).file();
  }
};

}  // namespace

TEST_CASE("the implementation of the least cost runs", "[tuner]") {
  const MoreRelus more;
  Measured measured;
  SECTION("whichever it is") {
    measured.costs = {{"twos", 1}, {"ones", 2}};
    CHECK(measured.chosen() == "twos");
  }
  SECTION("but the preferred one where the difference is chance") {
    measured.costs = {{"ones", 1}, {"twos", 0.97}};
    CHECK(measured.chosen() == "ones");
  }
  SECTION("and not one that rounds more than the contract, but by name") {
    measured.costs = {{"ones", 1}, {"twos", 0.1}};
    impls<Relu>(DeviceType::cpu).back().rounds_to_storage = true;
    CHECK(measured.chosen() == "ones");
    CHECK(measured.chosen("relu=twos") == "twos");
  }
  SECTION("and not the reference, which is measured only against nothing") {
    measured.costs = {{"ref", 0.1}, {"ones", 1}};
    CHECK(measured.chosen() == "ones");
  }
}

TEST_CASE("a choice is measured once", "[tuner]") {
  const MoreRelus more;
  Measured measured;
  measured.costs = {{"twos", 1}};
  REQUIRE(measured.chosen() == "twos");
  const int runs = measured.runs;
  CHECK(runs >= 2);
  measured.costs = {{"ones", 1}};
  CHECK(measured.chosen() == "twos");
  CHECK(measured.runs == runs);

  SECTION("but again on another device") {
    CHECK(measured.chosen("", "another device") == "ones");
    CHECK(measured.file("another device") != measured.file());
  }
  SECTION("and again where others compete") {
    CHECK(measured.chosen("relu=-twos") == "ones");
    CHECK(measured.chosen() == "twos");
  }
  SECTION("and no file but the one is left") {
    CHECK(std::distance(fs::directory_iterator(measured.folder.path()), {}) == 1);
  }
}

TEST_CASE("a forced implementation wins over a measured one", "[tuner]") {
  const MoreRelus more;
  Measured measured;
  measured.costs = {{"twos", 1}};
  REQUIRE(measured.chosen() == "twos");
  const int runs = measured.runs;
  CHECK(measured.chosen("relu=ones") == "ones");
  CHECK(measured.chosen("relu=ref") == "ref");
  CHECK(measured.runs == runs);
  CHECK_THROWS_WITH(measured.chosen("relu=abacus"), Catch::Contains("abacus"));
}

TEST_CASE("an implementation that fails is left out", "[tuner]") {
  MoreRelus more;
  impls<Relu>(DeviceType::cpu).back().make = [](const Relu&) -> std::unique_ptr<Kernel<Relu>> {
    throw Error("out of order");
  };
  Measured measured;
  measured.costs = {{"ones", 2}};
  Log log;
  CHECK(measured.chosen() == "ones");
  REQUIRE_FALSE(log.lines.empty());
  CHECK_THAT(log.lines[0], Catch::Contains("twos") && Catch::Contains("out of order"));
}

TEST_CASE("a damaged file of choices is replaced, with one line", "[tuner]") {
  const MoreRelus more;
  Measured measured;
  measured.costs = {{"twos", 1}};
  REQUIRE(measured.chosen() == "twos");
  const fs::path file = measured.file();
  const std::string kept = read_file(file);
  for (const std::string& content :
       {std::string(), std::string("text"), kept.substr(0, kept.size() / 2), std::string("[1]"),
        std::string(R"({"device": "another", "fastest": {}})"),
        std::string(R"({"device": "a device", "fastest": {"relu": 3}})")}) {
    INFO(content);
    write_file(file, content);
    const int runs = measured.runs;
    Log log;
    CHECK(measured.chosen() == "twos");
    CHECK(measured.runs > runs);
    const auto complaints = std::ranges::count_if(
        log.lines, [&](const std::string& line) { return line.starts_with(file.string()); });
    CHECK(complaints == 1);
    CHECK(read_file(file) == kept);
  }
  // A name that is not there any more counts as unknown.
  std::string renamed = kept;
  renamed.replace(renamed.rfind("\"twos\""), 6, "\"gone\"");
  write_file(file, renamed);
  CHECK(measured.chosen() == "twos");
  CHECK(read_file(file) == kept);
}

TEST_CASE("choices of two processes come together", "[tuner]") {
  const TempFolder folder;
  const std::string_view names[] = {"a", "b"};
  TuneStore first("device", folder.path()), second("device", folder.path());
  first.add("relu 1", names, "a");
  second.add("relu 2", names, "b");
  first.save();
  second.save();
  const TuneStore third("device", folder.path());
  CHECK(third.find("relu 1", names) == "a");
  CHECK(third.find("relu 2", names) == "b");
  CHECK(third.find("relu 3", names).empty());
}

TEST_CASE("a folder that cannot be written costs the file of choices only", "[tuner]") {
  const TempFolder folder;
  write_file(folder / "file", "");
  const std::string_view names[] = {"a", "b"};
  TuneStore store("device", folder / "file" / "folder");
  store.add("relu", names, "b");
  Log log;
  store.save();
  REQUIRE(log.lines.size() == 1);
  CHECK_THAT(log.lines[0], Catch::Contains("not kept"));
  CHECK(store.find("relu", names) == "b");
}

TEST_CASE("problems have the same text exactly where they are equal", "[tuner]") {
  for_each_problem([]<class P>() {
    const std::vector<P> problems = cases<P>().test;
    for (const P& a : problems) {
      for (const P& b : problems) {
        INFO(P::name);
        CHECK((identity_of(a) == identity_of(b)) == (a == b));
      }
      P half = a;
      half.dtype = a.dtype == DType::bf16 ? DType::f32 : DType::bf16;
      CHECK(identity_of(half) != identity_of(a));
    }
  });
  // What lies between the members does not count.
  const Conv2d problem{.geometry = {{1, 8, 8, 16}, 16}};
  Conv2d noisy = problem;
  const size_t padding = offsetof(Conv2d, dtype) + sizeof(DType);
  static_assert(sizeof(Conv2d) > padding);
  std::memset(reinterpret_cast<std::byte*>(&noisy) + padding, 0x55, sizeof(Conv2d) - padding);
  CHECK(identity_of(noisy) == identity_of(problem));
}

namespace {

// What two steps of a small network come to, with implementations measured on this machine.
std::vector<double> tuned_losses(const std::string& device) {
  Config config;
  config.runtime.device = device;
  config.runtime.tune = true;
  UNetConfig c;
  c.width = 8;
  c.depth = 1;
  const Shape shape{1, 16, 16, c.in_channels};
  Trainer trainer(config, c, shape, 2, {});
  const Tensor image = random_image(shape, 1), labels({1, 16, 16, 1}, DType::u8);
  std::vector<double> losses;
  for (int i = 0; i < 2; ++i) losses.push_back(trainer.train(image, labels).loss);
  return losses;
}

void check_tuned_training(const std::string& device) {
  register_kernels();
  const TempFolder cache;
  const Environment variable("XDG_CACHE_HOME", cache.path().string());
  const std::vector<double> first = tuned_losses(device);
  const fs::path file = TuneStore::present(open_device(device)).file();
  CHECK(file.parent_path() == cache / "unetd");
  const std::string kept = fs::exists(file) ? read_file(file) : "";
  CHECK(tuned_losses(device) == first);
  CHECK((fs::exists(file) ? read_file(file) : "") == kept);
  CHECK(kept.empty() == (device == "simt"));  // which has one implementation of each
}

}  // namespace

TEST_CASE("training with measured choices has the same bits again", "[tuner]") {
  check_tuned_training(GENERATE("cpu", "simt"));
}

TEST_CASE("training with measured choices on the GPU has the same bits again", "[tuner][gpu]") {
  register_kernels();
  if (gpu_is_there()) check_tuned_training("cuda");
}

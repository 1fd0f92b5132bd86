// Trained networks of PyTorch: they come in with PyTorch's logits, go out as they came, and files
// that do not hold a whole network are refused before memory is taken for one.
#include "engine/base/bytes.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "kernels/register.h"
#include "tests/support/fixtures.h"
#include "tests/support/memory_limit.h"
#include "tests/support/temp_folder.h"
#include "unet/checkpoint.h"
#include "unet/predictor.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;
const fs::path folder_of_weights = UNETD_SOURCE_DIR "/tests/fixtures/weights";

struct Expected {
  const char* name;
  UNetConfig model;
  int64_t batches;
};
// As tests/make_weights.py makes them.
const Expected networks[] = {
    {"transposed", {.in_channels = 3, .classes = 2, .width = 3, .depth = 2}, 11},
    {"bilinear",
     {.in_channels = 1, .classes = 1, .width = 2, .depth = 2, .bilinear = true, .conv_bias = true},
     13},
    {"half", {.in_channels = 4, .classes = 3, .width = 2, .depth = 3}, 13},
    {"bfloat", {.in_channels = 2, .classes = 2, .width = 2, .depth = 2}, 14},
    {"double", {.in_channels = 2, .classes = 2, .width = 2, .depth = 1}, 0},
    {"wp99cp", {.in_channels = 14, .classes = 4, .width = 2, .depth = 2}, 16},
    {"aladdinpersson",
     {.in_channels = 3,
      .classes = 1,
      .width = 3,
      .depth = 3,
      .resize = true,
      .names = Config::Names::aladdinpersson},
     17},
    {"ronneberger2015",
     {.in_channels = 1,
      .classes = 2,
      .width = 2,
      .depth = 2,
      .conv_bias = true,
      .valid = true,
      .norm = false},
     0},
    {"elaouni",
     {.in_channels = 3, .classes = 1, .width = 2, .depth = 3, .bilinear = true, .conv_bias = true},
     19},
    {"single",
     {.in_channels = 3,
      .classes = 1,
      .width = 4,
      .depth = 2,
      .bilinear = true,
      .conv_bias = true,
      .single = true},
     20},
    {"dumbnet",
     {.in_channels = 3,
      .classes = 2,
      .width = 5,
      .depth = 1,
      .bilinear = true,
      .conv_bias = true,
      .single = true,
      .strided = true,
      .skips = false},
     21}};

fs::path weights(const std::string& name) { return folder_of_weights / (name + ".pth"); }

Params params_of(const Checkpoint& checkpoint) {
  register_kernels();
  Params params = unet_params(checkpoint.model(), DeviceType::cpu);
  checkpoint.load(params);
  return params;
}

TEST_CASE("weights: networks of PyTorch give its logits", "[weights]") {
  const SafeTensorsFile answers = open_fixture("weights/logits");
  for (const Expected& want : networks) {
    INFO(want.name);
    const Checkpoint checkpoint(weights(want.name));
    UNetConfig c = checkpoint.model();
    c.valid = want.model.valid;  // tensors do not tell it
    CHECK(c.settings() == want.model.settings());
    CHECK(checkpoint.batches() == want.batches);
    Predictor predictor(params_of(checkpoint), c, {});
    const Tensor image = load_tensor(answers, str(want.name, "/image"));
    const Surrounded whole(image, c);
    const Tensor got = whole.part(predictor.logits(*whole.images().samples));
    const Tensor logits = load_tensor(answers, str(want.name, "/logits"));
    REQUIRE(got.shape() == logits.shape());
    double worst = 0;
    for (size_t i = 0; i < got.span<float>().size(); ++i)
      worst = std::max(worst, std::abs(double{got.span<float>()[i]} - logits.span<float>()[i]));
    CHECK(worst < 1e-4);
  }
}

TEST_CASE("weights: a network goes out as it came", "[weights]") {
  const TempFolder folder;
  const std::string network =
      GENERATE(as<std::string>(), "transposed", "aladdinpersson", "ronneberger2015", "dumbnet");
  INFO(network);
  const Checkpoint in(weights(network));
  save_model(folder / "net.safetensors", params_of(in), in.batches(), {{"classes", "[]"}});
  const WeightFile before(weights(network)), after(folder / "net.safetensors");
  CHECK(after.metadata().at("classes") == "[]");
  REQUIRE(after.tensors().size() == before.tensors().size());  // as strict=True wants
  for (const auto& [name, view] : before.tensors()) {
    INFO(name);
    const TensorView* const written = after.find(name);
    REQUIRE(written != nullptr);
    REQUIRE(written->shape == view.shape);
    REQUIRE(written->dtype == view.dtype);
    if (view.dtype == DType::f32) {
      CHECK(to_floats(*written) == to_floats(view));
    } else {
      CHECK(load<int64_t>(written->bytes) == load<int64_t>(view.bytes));
    }
  }
}

TEST_CASE("weights: what a file is its content tells", "[weights]") {
  const TempFolder folder;
  const Checkpoint in(weights("double"));
  save_model(folder / "safe.pth", params_of(in), 0, {});
  CHECK(Checkpoint(folder / "safe.pth").model().width == in.model().width);
  fs::copy_file(weights("double"), folder / "torch.safetensors");
  CHECK(Checkpoint(folder / "torch.safetensors").model().width == in.model().width);
  write_file(folder / "text.pth", "weights");
  CHECK_THROWS_WITH(Checkpoint(folder / "text.pth"),
                    Catch::Contains("torch.save(model.state_dict()"));
  CHECK_THROWS_WITH(Checkpoint(folder / "absent.pth"), Catch::Contains("cannot open"));
}

// A file of tensors that may be changed before it is written.
class Changed {
 public:
  struct Values {
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Values> tensors;

  Changed() {
    const WeightFile file(weights("double"));
    for (const auto& [name, view] : file.tensors()) set(name, view.shape, to_floats(view));
  }
  void set(const std::string& name, const std::vector<int64_t>& shape,
           const std::vector<float>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    tensors[name] = {DType::f32, shape, {bytes.begin(), bytes.end()}};
  }
  // What is said about the file; empty if it was read.
  std::string complaint() const {
    const TempFolder folder;
    std::vector<SafeTensorEntry> entries;
    for (const auto& [name, t] : tensors) entries.push_back({name, t.dtype, t.shape, t.bytes});
    write_safetensors(folder / "net.safetensors", entries, {});
    const MemoryLimit limit;
    try {
      Params params = params_of(Checkpoint(folder / "net.safetensors"));
      return "";
    } catch (const UserError& error) {
      return error.what();
    }
  }
};

TEST_CASE("weights: what is missing, left over or of another shape is named", "[weights]") {
  CHECK(Changed().complaint().empty());
  Changed file;
  file.tensors.erase("up1.up.bias");
  CHECK_THAT(file.complaint(), Catch::Contains("1 missing, such as up1.up.bias (2)"));
  file.set("attention.weight", {2, 1}, {0, 0});
  CHECK_THAT(file.complaint(), Catch::Contains("1 unknown to it, such as attention.weight (2x1)") &&
                                   Catch::Contains("missing"));
  file = {};
  file.set("outc.conv.bias", {3}, {0, 0, 0});
  CHECK_THAT(file.complaint(), Catch::Contains("outc.conv.bias (3 instead of 2)"));
  file = {};
  for (auto& [name, t] : file.tensors) {
    if (name.ends_with("running_mean")) t.shape.insert(t.shape.begin(), 1);
  }
  CHECK_THAT(file.complaint(), Catch::Contains("of another shape, such as"));
  file = {};
  file.tensors["up1.up.bias"].dtype = DType::i32;
  CHECK_THAT(file.complaint(), Catch::Contains("up1.up.bias holds i32"));
  file = {};
  file.set("module.outc.conv.bias", {2}, {0, 0});
  CHECK_THAT(file.complaint(), Catch::Contains("two tensors of the name outc.conv.bias"));
}

TEST_CASE("weights: the shape of one tensor does not decide alone how much is taken", "[weights]") {
  const auto first = [](std::vector<int64_t> shape) {
    Changed file;
    const auto count = static_cast<size_t>(element_count(shape));
    file.set("inc.double_conv.0.weight", shape, std::vector<float>(count));
    return file.complaint();
  };
  CHECK_THAT(first({1024, 1, 1, 1}), Catch::Contains("its tensors are not the network's"));
  CHECK_THAT(first({1025, 1, 1, 1}), Catch::Contains("width 1025"));
  CHECK_THAT(first({2, int64_t{1} << 40, 0, 3}), Catch::Contains("no convolution"));
  CHECK_THAT(first({}), Catch::Contains("no convolution"));
  Changed deep;
  for (int d = 2; d < 60; ++d)
    deep.set(str("down", d, ".maxpool_conv.1.double_conv.0.weight"), {1}, {0});
  CHECK_THAT(deep.complaint(), Catch::Contains("depth 59"));
  Changed other;
  other.tensors.erase("inc.double_conv.0.weight");
  CHECK_THAT(other.complaint(), Catch::Contains("holds no UNet"));
}

}  // namespace
}  // namespace unetd

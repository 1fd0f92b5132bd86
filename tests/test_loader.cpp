// The loader: batches are a pure function of (seed, epoch, position), whatever the threads do.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/checksum.h"
#include "io/loader.h"
#include "tests/support/temp_folder.h"
#include "unet/predictor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

using Catch::Contains;

constexpr int64_t side = 6;

// A sample that tells its patch, place and band: 1000 * patch + 20 * pixel + band, as f32.
float sample(int64_t patch, int64_t pixel, int64_t band) {
  return static_cast<float>(1000 * patch + 20 * pixel + band);
}

// A label that depends on the place in the same way as the image, for checks that both turn alike.
uint8_t label_at(int64_t patch, int64_t pixel) { return static_cast<uint8_t>((patch + pixel) % 3); }

// A store of `patches` training patches and one for validation, of two bands.
PatchStore make_store(const std::filesystem::path& path, int64_t patches) {
  StoreSchema schema;
  schema.patch = side;
  schema.dtype = DType::f32;
  schema.bands = {{"B02", {}, 1, 0}, {"B03", {}, 1, 0}};
  schema.classes = {{0, "a"}, {1, "b"}, {2, "c"}};
  schema.sources = {{}};
  PatchStoreWriter writer(path, schema, true);
  for (int64_t n = 0; n <= patches; ++n) {
    Raster raster{Tensor({1, side, side, 2}, DType::f32), Tensor({1, side, side, 1}, DType::u8)};
    Tensor labels({1, side, side, 1}, DType::u8);
    for (int64_t p = 0; p < side * side; ++p) {
      raster.valid.span<uint8_t>()[p] = 1;
      labels.span<uint8_t>()[p] = label_at(n, p);
      for (int64_t b = 0; b < 2; ++b) raster.image.span<float>()[2 * p + b] = sample(n, p, b);
    }
    writer.add({0, {0, 0, side, side}, n == patches ? Split::valid : Split::train}, raster,
               std::move(labels));
  }
  writer.finish();
  return PatchStore::open(path);
}

// All bytes of a batch, and where it stands.
std::string bits(const Batch& b) {
  std::string text = str(b.epoch, ' ', b.position, ' ', b.filled, ' ');
  for (const Tensor* t : {&b.image, &b.valid, &b.label})
    text.append(static_cast<const char*>(t->data()), t->bytes());
  text.append(reinterpret_cast<const char*>(b.draws.patches.data()),
              b.draws.patches.size() * sizeof(PatchDraw));
  text.append(reinterpret_cast<const char*>(b.draws.bands.data()),
              b.draws.bands.size() * sizeof(BandDraw));
  return text;
}

// A batch's images and labels once they are turned as its draws say.
struct Turned {
  Tensor image, label;
};
void turn_patch(const Tensor& from, size_t n, int symmetry, Tensor& to) {
  const Shape& s = from.shape();
  Tensor patch({1, s.h, s.w, s.c}, from.dtype());
  const size_t at = n * patch.bytes();
  std::memcpy(patch.data(), static_cast<const std::byte*>(from.data()) + at, patch.bytes());
  const Tensor result = apply_symmetry(patch, symmetry);
  std::memcpy(static_cast<std::byte*>(to.data()) + at, result.data(), result.bytes());
}
Turned turned(const Batch& b) {
  Turned t{b.image.clone(), b.label.clone()};
  for (size_t n = 0; n < b.draws.patches.size(); ++n) {
    turn_patch(b.image, n, b.draws.patches[n].symmetry, t.image);
    turn_patch(b.label, n, b.draws.patches[n].symmetry, t.label);
  }
  return t;
}

// The patches whose pixels a batch holds.
std::vector<int64_t> patches_of(const Batch& b) {
  std::vector<int64_t> patches;
  const Shape& s = b.image.shape();
  for (int64_t n = 0; n < b.filled; ++n)
    patches.push_back(static_cast<int64_t>(b.image.span<float>()[n * s.h * s.w * s.c]) / 1000);
  return patches;
}

LoaderOptions busy(uint64_t seed) {
  LoaderOptions o = LoaderOptions::training(3, seed);
  o.crop = 4;
  o.threads = 3;
  o.prefetch = 5;
  return o;
}

TEST_CASE("loader: threads and prefetch do not change a bit", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 11);
  LoaderOptions single = busy(7);
  single.threads = single.prefetch = 1;
  Loader a(store, Split::train, busy(7)), b(store, Split::train, single);
  Loader other(store, Split::train, busy(8));
  CHECK(a.batches_per_epoch() == 3);
  bool differs = false;
  for (int i = 0; i < 20; ++i) {
    const std::string from_a = bits(a.next());
    CHECK(from_a == bits(b.next()));
    differs = differs || from_a != bits(other.next());
  }
  CHECK(differs);
}

TEST_CASE("loader: a resumed loader goes on with the same bits", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 11);
  Loader whole(store, Split::train, busy(3));
  std::vector<std::string> expected;
  std::vector<LoaderState> states;
  for (int i = 0; i < 12; ++i) {
    states.push_back(whole.state());
    expected.push_back(bits(whole.next()));
  }
  CHECK(states[4] == LoaderState{1, 1});
  for (const size_t stop : {size_t{0}, size_t{2}, size_t{3}, size_t{8}}) {
    Loader resumed(store, Split::train, busy(3));
    resumed.next();  // whatever came before is forgotten
    resumed.restore(states[stop]);
    CHECK(resumed.state() == states[stop]);
    for (size_t i = stop; i < expected.size(); ++i) CHECK(bits(resumed.next()) == expected[i]);
  }
  CHECK_THROWS_AS(whole.restore({0, 3}), UserError);
  CHECK_THROWS_AS(whole.restore({-1, 0}), UserError);
}

TEST_CASE("loader: an epoch has each patch at most once, in an order of its own", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 13);
  LoaderOptions o = LoaderOptions::training(4, 1);
  Loader loader(store, Split::train, o);
  std::set<std::vector<int64_t>> orders;
  for (int epoch = 0; epoch < 5; ++epoch) {
    std::vector<int64_t> order;
    for (int64_t i = 0; i < loader.batches_per_epoch(); ++i) {
      const Batch batch = loader.next();
      CHECK(batch.epoch == epoch);
      CHECK(batch.filled == 4);
      for (const int64_t patch : patches_of(batch)) order.push_back(patch);
    }
    const std::set<int64_t> distinct(order.begin(), order.end());
    CHECK(distinct.size() == 12);
    CHECK(*distinct.rbegin() < 13);
    orders.insert(order);
  }
  CHECK(orders.size() == 5);
}

TEST_CASE("loader: evaluation is one pass in order, the last batch filled up with 255", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 7);
  Loader loader(store, Split::train, LoaderOptions::evaluation(3));
  REQUIRE(loader.batches_per_epoch() == 3);
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t i = 0; i < 3; ++i) {
      const Batch batch = loader.next();
      CHECK(batch.filled == (i == 2 ? 1 : 3));
      for (int64_t n = 0; n < 3; ++n) {
        for (int64_t p = 0; p < side * side; ++p) {
          const int64_t at = n * side * side + p, patch = 3 * i + n;
          REQUIRE(batch.label.span<uint8_t>()[at] == (patch < 7 ? label_at(patch, p) : 255));
          REQUIRE(batch.image.span<float>()[2 * at + 1] == (patch < 7 ? sample(patch, p, 1) : 0));
        }
      }
    }
  }
}

TEST_CASE("loader: crops are squares of the patch, turned in all eight ways, labels alike",
          "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 4);
  LoaderOptions o = LoaderOptions::training(4, 5);
  o.crop = 4;
  Loader loader(store, Split::train, o);
  std::map<std::pair<int64_t, int64_t>, int64_t> ways;
  std::set<std::pair<int64_t, int64_t>> corners;
  for (int i = 0; i < 100; ++i) {
    const Batch batch = loader.next();
    const Turned patch = turned(batch);
    const std::vector<int64_t> patches = patches_of(batch);
    for (int64_t n = 0; n < 4; ++n) {
      const auto pixel = [&](int64_t row, int64_t column) {
        const auto v =
            static_cast<int64_t>(patch.image.span<float>()[((n * 4 + row) * 4 + column) * 2]);
        return (v - 1000 * patches[static_cast<size_t>(n)]) / 20;
      };
      const int64_t down = pixel(1, 0) - pixel(0, 0), right = pixel(0, 1) - pixel(0, 0);
      ++ways[{down, right}];
      std::set<int64_t> rows, columns;
      for (int64_t p = 0; p < 16; ++p) {
        const int64_t at = pixel(p / 4, p % 4);
        REQUIRE(at == pixel(0, 0) + p / 4 * down + p % 4 * right);
        REQUIRE(patch.label.span<uint8_t>()[n * 16 + p] ==
                label_at(patches[static_cast<size_t>(n)], at));
        rows.insert(at / side);
        columns.insert(at % side);
      }
      CHECK(rows.size() == 4);
      CHECK(columns.size() == 4);
      corners.insert({*rows.begin(), *columns.begin()});
    }
  }
  CHECK(ways.size() == 8);
  for (const auto& [way, count] : ways) CHECK(count > 20);
  CHECK(corners.size() == 9);
}

TEST_CASE("loader: without augmentation a patch comes as it is", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 4);
  LoaderOptions o = LoaderOptions::training(2, 5);
  o.augmentation = {};
  o.shuffle = false;
  Loader loader(store, Split::train, o);
  for (int64_t i = 0; i < 2; ++i) {
    const Batch batch = loader.next();
    for (int64_t p = 0; p < 2 * side * side; ++p)
      REQUIRE(batch.image.span<float>()[2 * p] ==
              sample(2 * i + p / (side * side), p % (side * side), 0));
  }
}

TEST_CASE("loader: what is switched on is drawn as often and as far as asked for", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 40);
  LoaderOptions o = LoaderOptions::training(40, 3);
  o.augmentation = {.erasing = 0.25,
                    .erased_side = 0.5,
                    .band_dropout = 0.1,
                    .brightness = 0.5,
                    .band_noise = 0.125};
  Loader loader(store, Split::train, o), again(store, Split::train, o);
  int erased = 0, blanked = 0;
  float largest = 0, apart = 0;
  std::set<int32_t> heights, rights;
  for (int epoch = 0; epoch < 50; ++epoch) {
    const Batch batch = loader.next();
    CHECK(bits(again.next()) == bits(batch));
    for (const PatchDraw& d : batch.draws.patches) {
      CHECK(d.symmetry == 0);
      if (d.height == 0) continue;
      ++erased;
      heights.insert(d.height);
      rights.insert(d.left + d.width);
      CHECK((d.top >= 0 && d.left >= 0 && d.top + d.height <= side));
    }
    const std::vector<BandDraw>& bands = batch.draws.bands;
    REQUIRE(bands.size() == 80);
    for (size_t i = 0; i < bands.size(); i += 2) {
      blanked += (bands[i].kept == 0 ? 1 : 0) + (bands[i + 1].kept == 0 ? 1 : 0);
      largest = std::max(largest, std::abs(bands[i].offset));
      apart = std::max(apart, std::abs(bands[i].offset - bands[i + 1].offset));
    }
  }
  CHECK(std::abs(erased - 500) < 100);
  CHECK(std::abs(blanked - 400) < 100);
  CHECK(heights == std::set<int32_t>{1, 2, 3});
  CHECK(*rights.rbegin() == side);
  CHECK((largest > 0.5F && largest <= 0.625F));
  CHECK((apart > 0.125F && apart <= 0.25F));
  o.augmentation = {};
  const Draws none = Draws::none(40, 2), drawn = Loader(store, Split::train, o).next().draws;
  CHECK(drawn.patches == none.patches);
  CHECK(drawn.bands == none.bands);
}

TEST_CASE("loader: ranks share every global batch", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 13);
  LoaderOptions o = LoaderOptions::training(2, 9);
  o.augmentation = {};
  LoaderOptions one = o, other = o, alone = o;
  one.world = other.world = 2;
  other.rank = 1;
  alone.batch = 4;
  Loader a(store, Split::train, one), b(store, Split::train, other);
  Loader c(store, Split::train, alone);
  CHECK(a.batches_per_epoch() == 3);
  for (int i = 0; i < 7; ++i) {
    std::vector<int64_t> together = patches_of(a.next());
    for (const int64_t patch : patches_of(b.next())) together.push_back(patch);
    CHECK(together == patches_of(c.next()));
  }
}

TEST_CASE("loader: validity comes along, and padding is without data", "[io]") {
  const TempFolder folder;
  StoreSchema schema;
  schema.patch = side;
  schema.bands = {{"B02", {}, 1, 0}};
  schema.classes = {{0, "a"}, {1, "b"}};
  schema.sources = {{}};
  PatchStoreWriter writer(folder / "store", schema, true);
  Raster raster{Tensor({1, side, side, 1}, DType::u16), Tensor({1, side, side, 1}, DType::u8)};
  for (uint16_t p = 0; p < side * side; ++p) {
    raster.image.span<uint16_t>()[p] = static_cast<uint16_t>(60000 + p);
    raster.valid.span<uint8_t>()[p] = p % 5 == 0 ? 0 : 1;
  }
  writer.add({0, {0, 0, side, side}, Split::train}, raster, Tensor({1, side, side, 1}, DType::u8));
  writer.finish();
  const PatchStore store = PatchStore::open(folder / "store");
  Loader loader(store, Split::train, LoaderOptions::evaluation(2));
  const Batch batch = loader.next();
  for (size_t p = 0; p < side * side; ++p) {
    REQUIRE(batch.image.span<uint16_t>()[p] == 60000 + p);
    REQUIRE(batch.valid.span<uint8_t>()[p] == (p % 5 == 0 ? 0 : 1));
    REQUIRE(batch.label.span<uint8_t>()[p] == (p % 5 == 0 ? 255 : 0));
    REQUIRE(batch.valid.span<uint8_t>()[side * side + p] == 0);
  }
}

// A target that depends on the place as the image does; every seventh pixel has none.
float target_at(int64_t patch, int64_t pixel) {
  return pixel % 7 == 3 ? NAN : static_cast<float>(patch) + static_cast<float>(pixel) / 64;
}

PatchStore make_target_store(const std::filesystem::path& path, int64_t patches) {
  StoreSchema schema;
  schema.patch = side;
  schema.dtype = DType::f32;
  schema.bands = {{"B02", {}, 1, 0}};
  schema.target = Target{"height", "m"};
  schema.classes = {output_of(*schema.target)};
  schema.sources = {{}};
  PatchStoreWriter writer(path, schema, true);
  for (int64_t n = 0; n < patches; ++n) {
    Raster raster{Tensor({1, side, side, 1}, DType::f32), Tensor({1, side, side, 1}, DType::u8)};
    Tensor targets({1, side, side, 1}, DType::f32);
    for (int64_t p = 0; p < side * side; ++p) {
      raster.valid.span<uint8_t>()[p] = 1;
      raster.image.span<float>()[p] = sample(n, p, 0);
      targets.span<float>()[p] = target_at(n, p);
    }
    writer.add({0, {0, 0, side, side}, Split::train}, raster, std::move(targets));
  }
  writer.finish();
  return PatchStore::open(path);
}

bool same_target(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

TEST_CASE("loader: targets come as they are stored, padding as NaN", "[io][targets]") {
  const TempFolder folder;
  const PatchStore store = make_target_store(folder / "store", 5);
  Loader loader(store, Split::train, LoaderOptions::evaluation(3));
  for (int64_t i = 0; i < 2; ++i) {
    const Batch batch = loader.next();
    REQUIRE(batch.label.dtype() == DType::f32);
    REQUIRE(batch.label.shape() == Shape{3, side, side, 1});
    for (int64_t p = 0; p < 3 * side * side; ++p) {
      const int64_t patch = 3 * i + p / (side * side);
      const float want = patch < 5 ? target_at(patch, p % (side * side)) : NAN;
      REQUIRE(same_target(batch.label.span<float>()[p], want));
    }
  }
}

TEST_CASE("loader: targets are cropped and turned with their images", "[io][targets]") {
  const TempFolder folder;
  const PatchStore store = make_target_store(folder / "store", 4);
  LoaderOptions o = busy(5);
  o.batch = 4;
  Loader loader(store, Split::train, o), again(store, Split::train, o);
  std::set<int32_t> symmetries;
  for (int i = 0; i < 40; ++i) {
    const Batch batch = loader.next();
    CHECK(bits(batch) == bits(again.next()));
    for (const PatchDraw& draw : batch.draws.patches) symmetries.insert(draw.symmetry);
    const Turned patch = turned(batch);
    for (size_t p = 0; p < 4 * 16; ++p) {
      const auto place = static_cast<int64_t>(patch.image.span<float>()[p]);
      REQUIRE(
          same_target(patch.label.span<float>()[p], target_at(place / 1000, place % 1000 / 20)));
    }
  }
  CHECK(symmetries.size() == 8);
}

// What a run is resumed with must not change from version to version either.
TEST_CASE("loader: the patches, crops and turns of a seed are what they always were", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 11);
  Loader loader(store, Split::train, busy(7));
  uint32_t sum = 0;
  for (int i = 0; i < 6; ++i) {
    const Turned batch = turned(loader.next());
    sum = crc32(std::as_bytes(batch.image.span<float>()), sum);
    sum = crc32(std::as_bytes(batch.label.span<uint8_t>()), sum);
  }
  CHECK(sum == 0x36F371A3U);
}

TEST_CASE("loader: what a thread meets comes out of next()", "[io]") {
  const TempFolder folder;
  make_store(folder / "store", 5);
  const auto shard = folder / "store" / "shard-00000.safetensors";
  std::string bytes = read_file(shard);
  // A bit of each training patch: images of two f32 bands, then labels, of six patches.
  constexpr size_t image = side * side * 2 * sizeof(float), label = side * side;
  const size_t first = bytes.size() - 6 * (image + label);
  for (size_t n = 0; n < 5; ++n)
    bytes[first + n * image] = static_cast<char>(bytes[first + n * image] ^ 1);
  write_file(shard, bytes);
  const PatchStore store = PatchStore::open(folder / "store");
  Loader loader(store, Split::train, busy(1));
  for (int i = 0; i < 2; ++i)
    CHECK_THROWS_WITH(loader.next(), Contains("checksum") && Contains("shard-00000"));
  CHECK(loader.state() == LoaderState{});
}

TEST_CASE("loader: splits and options that give no batch are refused", "[io]") {
  const TempFolder folder;
  const PatchStore store = make_store(folder / "store", 5);
  const auto make = [&](Split split, const LoaderOptions& o) { return Loader(store, split, o); };
  CHECK_THROWS_WITH(make(Split::test, LoaderOptions::evaluation(1)), Contains("test split"));
  CHECK_THROWS_WITH(make(Split::train, LoaderOptions::training(6, 0)), Contains("5 patches"));
  LoaderOptions o = LoaderOptions::training(1, 0);
  o.crop = side + 1;
  CHECK_THROWS_AS(make(Split::train, o), UsageError);
  CHECK_THROWS_AS(make(Split::train, LoaderOptions::training(0, 0)), UsageError);
  // A loader that is never asked, and one that is dropped in the middle, must end cleanly.
  make(Split::train, busy(1));
  make(Split::train, busy(2)).next();
}

}  // namespace
}  // namespace unetd::io

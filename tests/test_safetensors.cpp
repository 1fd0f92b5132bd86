// The safetensors container: round trip, layout on disk, and every kind of damage.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/tensor/safetensors.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

void write_raw(const std::filesystem::path& path, const std::string& header,
               const std::string& data) {
  std::string text;
  for (size_t i = 0; i < 8; ++i) text.push_back(static_cast<char>(header.size() >> (8 * i) & 0xFF));
  std::ofstream(path, std::ios::binary) << text << header << data;
}

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

TEST_CASE("safetensors: what is written is read", "[io]") {
  const TempFolder folder;
  const auto path = folder / "a.safetensors";
  const std::vector<float> first = {1, 2, 3, 4, 5, 6}, second = {-1};
  const std::vector<SafeTensorEntry> entries = {{"z.first", DType::f32, {2, 3}, bytes_of(first)},
                                                {"a.second", DType::f32, {}, bytes_of(second)},
                                                {"empty", DType::i16, {0, 4}, {}}};
  write_safetensors(path, entries, {{"note", "two\nlines \"quoted\""}});

  SafeTensorsFile opened(path);
  const SafeTensorsFile file = std::move(opened);
  CHECK(file.tensors().size() == 3);
  CHECK(file.metadata().at("note") == "two\nlines \"quoted\"");
  CHECK(file.info("z.first").shape == std::vector<int64_t>{2, 3});
  CHECK(file.info("z.first").begin == 0);
  CHECK(file.info("a.second").begin == 24);
  CHECK(file.bytes("empty").empty());
  CHECK(std::ranges::equal(file.bytes("z.first"), bytes_of(first)));
  CHECK(reinterpret_cast<uintptr_t>(file.bytes("z.first").data()) % 8 == 0);
  CHECK_THROWS_AS(file.info("absent"), UserError);
  CHECK_THROWS_WITH(file.bytes("absent"), Catch::Contains("absent") && Catch::Contains("a.safe"));

  write_safetensors(folder / "b.safetensors", entries, {{"note", "two\nlines \"quoted\""}});
  CHECK(read_file(path) == read_file(folder / "b.safetensors"));
}

TEST_CASE("safetensors: a file cut anywhere is refused", "[io]") {
  const TempFolder folder;
  const std::vector<float> values = {1, 2, 3};
  const std::vector<SafeTensorEntry> entries = {{"x", DType::f32, {3}, bytes_of(values)}};
  write_safetensors(folder / "whole", entries, {});
  const std::string whole = read_file(folder / "whole");
  for (size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(folder / "cut", std::ios::binary) << whole.substr(0, size);
    CHECK_THROWS_AS(SafeTensorsFile(folder / "cut"), UserError);
  }
}

TEST_CASE("safetensors: headers that lie are refused", "[io]") {
  const TempFolder folder;
  const auto path = folder / "bad";
  const auto refused = [&](const std::string& header, const std::string& word) {
    write_raw(path, header, std::string(16, '\0'));
    CHECK_THROWS_WITH(SafeTensorsFile(path), Catch::Contains(word) && Catch::Contains("bad"));
    CHECK_THROWS_AS(SafeTensorsFile(path), UserError);
  };
  refused("[]", "JSON object");
  refused("{not json", "JSON object");
  refused(std::string(1'000'000, '['), "JSON object");
  refused(std::string(1'000'000, '[') + std::string(1'000'000, ']'), "JSON object");
  refused(R"({"x":{"dtype":"F32","shape":[1]}})", "lacks");
  refused(R"({"x":7})", "lacks");
  refused(R"({"x":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}})", "outside");
  refused(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}})", "outside");
  refused(R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}})", "shape");
  refused(R"({"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "shape");
  refused(R"({"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", "shape");
  refused(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
          R"("y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
          "overlap");
  CHECK_THROWS_AS(SafeTensorsFile(folder / "absent"), UserError);
  CHECK_THROWS_AS(SafeTensorsFile(folder.path()), UserError);
}

TEST_CASE("safetensors: types the engine has no use for are passed over", "[io]") {
  const TempFolder folder;
  write_raw(folder / "a",
            R"({"n":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]},)"
            R"("x":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
            std::string(16, '\0'));
  const SafeTensorsFile file(folder / "a");
  CHECK(file.contains("x"));
  CHECK_FALSE(file.contains("n"));
}

}  // namespace
}  // namespace unetd

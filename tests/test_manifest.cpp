// Images of a product's folder against the digests in manifest.safe: the only way to see a flipped
// bit in a JPEG 2000 codestream.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "io/digest.h"
#include "io/scene.h"
#include "tests/support/products.h"
#include "tests/support/rasters.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <memory>
#include <span>
#include <string>

#include <catch2/catch.hpp>

namespace unetd::io {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;

std::string digest(const char* method, const std::string& text, size_t part = 1000) {
  const std::unique_ptr<Digest> d = Digest::named(method);
  for (size_t at = 0; at < text.size(); at += part)
    d->add(std::as_bytes(std::span(text).subspan(at, std::min(part, text.size() - at))));
  return d->finish();
}

TEST_CASE("digest: published answers, and lengths around a block", "[io]") {
  const auto md5 = [](const std::string& text) { return digest("MD5", text); };
  const auto sha3 = [](const std::string& text) { return digest("SHA3-256", text); };
  CHECK(md5("") == "d41d8cd98f00b204e9800998ecf8427e");
  CHECK(md5("abc") == "900150983cd24fb0d6963f7d28e17f72");
  CHECK(sha3("") == "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a");
  CHECK(sha3("abc") == "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
  CHECK(sha3(std::string(200, '\xA3')) ==
        "79f38adec5c20307a98ef76e8324afbfd46cfd81b22e3973c65fa1bd9de31787");
  CHECK(md5(std::string(55, 'a')) == "ef1772b6dff9a122358552954ad0df65");
  CHECK(md5(std::string(56, 'a')) == "3b0c8ac703f828b04c6c197006d17218");
  CHECK(md5(std::string(64, 'a')) == "014842d480b571495a4a0363793f7367");
  CHECK(sha3(std::string(135, 'a')) ==
        "8094bb53c44cfb1e67b7c30447f9a1c33696d2463ecc1d9c92538913392843c9");
  CHECK(sha3(std::string(136, 'a')) ==
        "3fc5559f14db8e453a0a3091edbd2bc25e11528d81c66fa570a4efdcc2695ee1");
  const std::string text(300, 'x');
  for (const char* method : {"MD5", "SHA3-256"})
    for (const size_t part : {1, 7, 64, 135, 136, 137})
      CHECK(digest(method, text, part) == digest(method, text));
  CHECK(Digest::named("CRC") == nullptr);
}

std::string refusal(const fs::path& path, const SceneOptions& options) {
  try {
    Scene::open(path, options);
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

std::string entry(const fs::path& product, const fs::path& file, const char* method) {
  const std::string bytes = read_file(file);
  std::string sum = digest(method, bytes);
  std::ranges::transform(sum, sum.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return str("<dataObject><byteStream size=\"", bytes.size(), "\"><fileLocation href=\"./",
             fs::relative(file, product).string(), "\"/><checksum checksumName=\"", method, "\">",
             sum, "</checksum></byteStream></dataObject>");
}

TEST_CASE("manifest: an image that differs from its digest is refused", "[io][damaged]") {
  const auto data = real_data();
  if (!data) return;
  const TempFolder folder;
  const fs::path product =
      copied(product_in(*data / "safe-cutdown-real-pixels", "L1C", "N0509"), folder);
  const fs::path red = find_file(product, "_B04.jp2"), blue = find_file(product, "_B02.jp2");
  const SceneOptions both = at(10, {"B02", "B04"}), other = at(10, {"B03"});
  // Of the original product, which this one was cut from: the sizes are others.
  CHECK(refusal(product, both).empty());
  const std::string manifest = "<xfdu>" + entry(product, red, "SHA3-256") +
                               entry(product, blue, "MD5") +
                               entry(product, find_file(product, "_B08.jp2"), "MD5") + "</xfdu>";
  write_file(product / "manifest.safe", manifest);
  CHECK(refusal(product, both).empty());
  for (const fs::path& image : {red, blue}) {
    const std::string whole = read_file(image);
    std::string damaged = whole;
    damaged[damaged.size() / 2] ^= 4;
    write_file(image, damaged);
    fs::last_write_time(image, fs::last_write_time(image) + std::chrono::seconds(2));
    CHECK_THAT(refusal(product, both),
               Contains(image.filename().string()) && Contains("manifest.safe"));
    CHECK(refusal(product, other).empty());
    write_file(image, whole);
    CHECK(refusal(product, both).empty());
  }
  write_file(product / "manifest.safe", manifest.substr(0, manifest.size() - 20));
  CHECK_THAT(refusal(product, other), Contains("manifest.safe"));
  fs::remove(product / "manifest.safe");
  CHECK(refusal(product, both).empty());
}

}  // namespace
}  // namespace unetd::io

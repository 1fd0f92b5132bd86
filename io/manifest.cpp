#include "io/manifest.h"

#include "engine/base/error.h"
#include "io/digest.h"
#include "io/gdal_vsi.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

namespace unetd::io {
namespace fs = std::filesystem;

Manifest::Manifest(const fs::path& folder) : folder_(folder) {
  const fs::path path = folder / "manifest.safe";
  if (folder.string().starts_with("/vsizip/") || path_kind(path) != PathKind::file) return;
  read_xml(path).each("byteStream", [&](const XmlElement& e) {
    const XmlElement *const location = e.find("fileLocation"), *const sum = e.find("checksum");
    if (location == nullptr || sum == nullptr) return;
    Entry entry{std::atoll(e.attribute("size").c_str()), sum->attribute("checksumName"), sum->text};
    std::ranges::transform(entry.digest, entry.digest.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    entries_[fs::path(location->attribute("href")).lexically_normal().string()] = std::move(entry);
  });
}

void Manifest::verify(const fs::path& file) const {
  const auto at = entries_.find(file.lexically_relative(folder_).string());
  if (at == entries_.end()) return;
  const FileStamp stamp = file_stamp(file);
  const std::unique_ptr<Digest> digest = Digest::named(at->second.method);
  if (!digest || stamp.size != at->second.size) return;
  static std::mutex one_at_a_time;
  static std::map<fs::path, FileStamp> whole;
  const std::lock_guard lock(one_at_a_time);
  if (const auto known = whole.find(file); known != whole.end() && known->second == stamp) return;
  read_parts(file, [&](std::span<const std::byte> part) { digest->add(part); });
  if (digest->finish() != at->second.digest)
    throw UserError(str("cannot read ", file.string(), ": it differs from its ", at->second.method,
                        " in manifest.safe (the file is damaged or was changed: "
                        "copy or download the product again, or remove manifest.safe)"));
  whole[file] = stamp;
}

}  // namespace unetd::io

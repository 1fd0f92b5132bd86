#include "io/gdal_vsi.h"

#include "engine/base/error.h"
#include "io/gdal.h"
#include "io/gdal_zip.h"

#include <algorithm>
#include <memory>

#include <cpl_minixml.h>
#include <cpl_string.h>
#include <cpl_vsi.h>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

constexpr vsi_l_offset largest_xml = vsi_l_offset{64} << 20;
constexpr int deepest_element = 64;
constexpr const char* damaged_archive =
    "the folder cannot be listed or the archive is damaged: copy or download it again";
constexpr const char* damaged_file =
    "the file or its archive is damaged: copy or download it again";
constexpr const char* damaged_xml =
    "the metadata is damaged or incomplete: copy or download the product again";

struct CloseFile {
  void operator()(VSILFILE* file) const { VSIFCloseL(file); }
};
struct CloseDirectory {
  void operator()(VSIDIR* directory) const { VSICloseDir(directory); }
};
struct DestroyXml {
  void operator()(CPLXMLNode* node) const { CPLDestroyXMLNode(node); }
};

std::string local_name(const char* name) {
  const std::string full = name;
  const size_t colon = full.find(':');
  return colon == std::string::npos ? full : full.substr(colon + 1);
}

XmlElement element(const CPLXMLNode& node, const GdalErrors& errors, int depth) {
  if (depth > deepest_element) errors.fail("read the nested elements of", damaged_xml);
  XmlElement e;
  e.name = local_name(node.pszValue);
  for (const CPLXMLNode* child = node.psChild; child != nullptr; child = child->psNext) {
    if (child->eType == CXT_Text) e.text += child->pszValue;
    if (child->eType == CXT_Element) e.children.push_back(element(*child, errors, depth + 1));
    if (child->eType == CXT_Attribute && child->psChild != nullptr)
      e.attributes.emplace_back(local_name(child->pszValue), child->psChild->pszValue);
  }
  return e;
}

}  // namespace

PathKind path_kind(const fs::path& path) {
  VSIStatBufL stat;
  if (VSIStatExL(path.c_str(), &stat, VSI_STAT_EXISTS_FLAG | VSI_STAT_NATURE_FLAG) != 0)
    return PathKind::none;
  return VSI_ISDIR(stat.st_mode) != 0 ? PathKind::folder : PathKind::file;
}

FileStamp file_stamp(const fs::path& path) {
  VSIStatBufL stat;
  if (VSIStatL(path.c_str(), &stat) != 0)
    throw UserError(str("cannot open ", path.string(), ": it is missing"));
  return {static_cast<int64_t>(stat.st_size), static_cast<int64_t>(stat.st_mtime)};
}

void read_parts(const fs::path& path,
                const std::function<void(std::span<const std::byte>)>& visit) {
  constexpr size_t at_once = size_t{1} << 20;
  const auto size = static_cast<size_t>(file_stamp(path).size);
  const GdalErrors errors(path);
  const std::unique_ptr<VSILFILE, CloseFile> file(VSIFOpenL(path.c_str(), "rb"));
  errors.check(file != nullptr, "open", damaged_file);
  std::vector<std::byte> part(at_once);
  for (size_t done = 0; done < size;) {
    const size_t length = std::min(part.size(), size - done);
    errors.check(VSIFReadL(part.data(), 1, length, file.get()) == length, "read", damaged_file);
    visit({part.data(), length});
    done += length;
  }
  errors.check(true, "read", damaged_file);
}

std::vector<fs::path> files_below(const fs::path& folder, int depth) {
  const GdalErrors errors(folder);
  const std::unique_ptr<VSIDIR, CloseDirectory> directory(
      VSIOpenDir(folder.c_str(), depth, nullptr));
  errors.check(directory != nullptr, "list", damaged_archive);
  std::vector<fs::path> files;
  while (const VSIDIREntry* entry = VSIGetNextDirEntry(directory.get()))
    if (VSI_ISDIR(entry->nMode) == 0) files.emplace_back(entry->pszName);
  errors.check(true, "list", damaged_archive);
  std::sort(files.begin(), files.end());
  return files;
}

std::string XmlElement::attribute(const std::string& key) const {
  const auto found = std::find_if(attributes.begin(), attributes.end(),
                                  [&](const auto& a) { return a.first == key; });
  return found == attributes.end() ? "" : found->second;
}

void XmlElement::each(const std::string& wanted,
                      const std::function<void(const XmlElement&)>& visit) const {
  for (const XmlElement& child : children) {
    if (child.name == wanted) visit(child);
    child.each(wanted, visit);
  }
}

const XmlElement* XmlElement::find(const std::string& wanted) const {
  for (const XmlElement& child : children) {
    if (child.name == wanted) return &child;
    if (const XmlElement* below = child.find(wanted)) return below;
  }
  return nullptr;
}

XmlElement read_xml(const fs::path& path) {
  verify_archived(path);
  const GdalErrors errors(path);
  VSIStatBufL stat;
  errors.check(VSIStatL(path.c_str(), &stat) == 0, "open", "it is missing");
  if (static_cast<vsi_l_offset>(stat.st_size) > largest_xml)
    errors.fail("read so large a file as", damaged_xml);
  const std::unique_ptr<CPLXMLNode, DestroyXml> root(CPLParseXMLFile(path.c_str()));
  errors.check(root != nullptr, "read", damaged_xml);
  XmlElement document;
  for (const CPLXMLNode* node = root.get(); node != nullptr; node = node->psNext)
    if (node->eType == CXT_Element && node->pszValue[0] != '?')
      document.children.push_back(element(*node, errors, 1));
  if (document.children.empty()) errors.fail("find an element in", damaged_xml);
  return document;
}

}  // namespace unetd::io

#include "io/append_store.h"

#include "engine/base/error.h"
#include "engine/base/log.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>

namespace unetd::io {
namespace fs = std::filesystem;
namespace {

std::string class_list(const std::vector<ClassInfo>& classes) {
  std::string text;
  for (const ClassInfo& c : classes)
    text += str(text.empty() ? "" : ",", c.value, '=', c.name, ':', c.color);
  return text;
}

// "a target height in m", or "classes".
std::string target_text(const std::optional<Target>& target) {
  return target ? "a target " + target->in_words() : "classes";
}

std::optional<Target> target_of(const BuildOptions& options) {
  if (!options.target) return std::nullopt;
  return Target{options.target->name, options.target->unit};
}

bool same_place(const std::string& stored, const fs::path& path) {
  const auto absolute = [](const fs::path& p) {
    const fs::path full = fs::absolute(p).lexically_normal();
    return full.has_filename() ? full : full.parent_path();  // "scene/" is "scene"
  };
  return absolute(stored) == absolute(path);
}

[[noreturn]] void differs(const PatchStore& store, const std::string& how) {
  throw UserError(str(store.path().string(), ' ', how,
                      "; give what it was built with, or build it again with --overwrite"));
}

}  // namespace

void check_continues(const PatchStore& store, const BuildOptions& options) {
  const StoreSchema& s = store.schema();
  if (s.patch != options.sampling.patch)
    differs(store, str("has patches of ", s.patch, " pixels, not of ", options.sampling.patch));
  if (target_text(s.target) != target_text(target_of(options)))
    differs(store, str("has ", target_text(s.target), ", not ", target_text(target_of(options))));
  if (s.classes != options.classes.classes)
    differs(store, str("has the classes ", class_list(s.classes), ", not ",
                       class_list(options.classes.classes)));
  if (s.resolution != options.scene.resolution)
    differs(store,
            str("was read with --resolution ", s.resolution, ", not ", options.scene.resolution));
  if (s.resampling != options.scene.resampling)
    differs(store, str("was read with --resampling ", name_of(s.resampling), ", not ",
                       name_of(options.scene.resampling)));
}

std::vector<LabelledScene> sources_not_in(const PatchStore& store,
                                          const std::vector<LabelledScene>& sources) {
  std::vector<LabelledScene> missing;
  for (const LabelledScene& source : sources) {
    const auto& all = store.schema().sources;
    const auto same = std::ranges::find_if(
        all, [&](const StoreSource& s) { return same_place(s.scene, source.scene); });
    if (same == all.end()) {
      missing.push_back(source);
    } else if (!same_place(same->labels, source.labels) ||
               same->scene_bytes != file_bytes(source.scene) ||
               same->label_bytes != file_bytes(source.labels)) {
      throw UserError(str(store.path().string(), " has ", source.scene.string(),
                          " already, with labels of ", same->labels,
                          ", and one of both has changed since or is another file: build the store "
                          "again with --overwrite"));
    } else {
      log_warning(store.path().string(), " has ", source.scene.string(), " already");
    }
  }
  return missing;
}

StoreSchema schema_to_continue(const PatchStore& store) {
  StoreSchema schema = store.schema();
  schema.patches.clear();
  schema.checksums.clear();
  schema.shards.clear();
  schema.statistics.clear();
  if (schema.target) schema.target = Target{schema.target->name, schema.target->unit};
  return schema;
}

}  // namespace unetd::io

// store.json as text: the schema of a patch store, to and from JSON.
#pragma once

#include "io/patch_store.h"

#include <filesystem>
#include <string>

namespace unetd::io {

// A store of classes is of version 3, one of targets of version 4, so that programs from before
// there were targets refuse it instead of taking its labels for classes.
std::string to_json(const StoreSchema& schema);
// `path` is for messages. Throws UserError if the text is damaged or of another version.
StoreSchema schema_from_json(const std::string& text, const std::filesystem::path& path);

}  // namespace unetd::io

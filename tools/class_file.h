// Which label values mean which class: on the command line, or as a file that also tells how vector
// labels are burned and which rules make labels of other rasters. docs/labels.md describes the
// file.
#pragma once

#include "io/labels.h"

#include <filesystem>
#include <string>

namespace unetd {

// "1=snow:#3080ff,2=cloud" and "255,7". Classes without a colour get one of a fixed, well-spaced
// set; a value of `ignore` that a class has is the class's. Throws UsageError naming the part at
// fault.
io::ClassMap parse_classes(const std::string& classes, const std::string& ignore);

// That of class number i where none is given.
std::string default_color(size_t i);

// Throws UsageError naming file, line and key. The file's `ignore` takes precedence.
io::ClassMap read_class_file(const std::filesystem::path& path, const std::string& ignore);

}  // namespace unetd

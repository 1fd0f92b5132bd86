// Members of ZIP archives against the checksums in the archive's directory (APPNOTE 6.3). GDAL
// reads members without comparing them, and a damaged JPEG 2000 image decodes to other pixels in
// silence.
#pragma once

#include <filesystem>

namespace unetd::io {

// Reads the file at `path` whole if it lies in an archive ("/vsizip/product.zip/..."), and compares
// it with what the archive says of it; later calls for the same file of an unchanged archive cost
// nothing. Other paths pass. Safe for several threads. Throws UserError that names file and
// archive.
void verify_archived(const std::filesystem::path& path);

}  // namespace unetd::io

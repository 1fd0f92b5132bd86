// Rates of reading: patches through the loader against the disk that holds the store, and JPEG 2000
// decoding. A build without GDAL has io_none.cpp in the place of io.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace unetd::bench {

struct IoOptions {
  std::filesystem::path store, scene;  // empty: not measured
  std::vector<int> threads;            // to measure with, one after the other
  int64_t batch = 16;                  // patches
  double seconds = 2;                  // for each rate, as far as there is something to read
};

struct Rate {
  std::string what;  // "loader, cached"
  int threads = 1;
  std::string unit;  // of items: "patches", "Mpixels"
  double items = 0, bytes = 0, seconds = 0;
};

// Calls `done` after each of
//   disk, cold; disk, cached           the shards from beginning to end
//   loader, cold                       from a store just opened: reading and checksums
//   loader, cached; loader, augmented  from memory, without and with all draws
//   decoding                           blocks of the scene's finest band, a GDAL handle a thread
// "Cold" asks the system to drop what it holds of the shards; `held` in it gets the largest share
// that it kept all the same. Throws UserError; in a build without GDAL always.
void time_io(const IoOptions& options, double& held, const std::function<void(const Rate&)>& done);

}  // namespace unetd::bench

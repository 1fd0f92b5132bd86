// In builds without GDAL: there is nothing to read.
#include "engine/base/error.h"
#include "tools/bench/io.h"

namespace unetd::bench {

void time_io(const IoOptions&, double&, const std::function<void(const Rate&)>&) {
  throw UserError(
      "this unetd-bench was built without GDAL and the patch stores: build it with -DUNETD_IO=ON");
}

}  // namespace unetd::bench

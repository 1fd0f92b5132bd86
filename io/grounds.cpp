#include "io/grounds.h"

#include "engine/base/error.h"
#include "io/gdal_quicklook.h"

#include <algorithm>

namespace unetd::io {

size_t Ground::cell(const PatchRecord& patch, size_t pixel) const {
  const int64_t x = patch.window.x + static_cast<int64_t>(pixel) % patch.window.width;
  const int64_t y = patch.window.y + static_cast<int64_t>(pixel) / patch.window.width;
  return static_cast<size_t>(y * shape.h / grid.height * shape.w + x * shape.w / grid.width);
}

std::string Ground::heading() const {
  return scenes == 1 ? title : str(title, " and ", scenes - 1, " more on its grid");
}

Grounds grounds_of(const std::vector<StoreSource>& sources, int64_t long_side) {
  Grounds grounds;
  for (const StoreSource& source : sources) {
    const auto same = std::ranges::find(grounds.list, source.grid, &Ground::grid);
    grounds.of_source.push_back(same - grounds.list.begin());
    if (same != grounds.list.end())
      ++same->scenes;
    else if (grounds.list.size() < Grounds::most)
      grounds.list.push_back(
          {scene_name(source.scene), source.grid, picture_shape(source.grid, long_side), 1});
  }
  return grounds;
}

}  // namespace unetd::io

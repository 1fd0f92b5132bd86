// The land of a made-up scene: mountains cut by rivers, lakes in hollows, flat valley floors.
// Rivers need the whole catchment, so the relief is eroded once on a coarse grid that reaches
// beyond the scene; the 10 m surface is then a function of position on top of it.
#pragma once

#include <cstdint>
#include <vector>

namespace unetd::synth {

// One number per coarse cell of the scene and a margin around it, row by row.
struct CoarseGrid {
  static constexpr int64_t cell = 4;     // pixels along the side of a coarse cell
  static constexpr int64_t margin = 48;  // coarse cells around the scene

  int64_t side = 0;  // cells along each side

  explicit CoarseGrid(int64_t scene_size) : side((scene_size + cell - 1) / cell + 2 * margin) {}
  int64_t count() const { return side * side; }
  bool in_scene(int64_t i) const {
    const int64_t x = i % side, y = i / side;
    return x >= margin && y >= margin && x < side - margin && y < side - margin;
  }
};

// What the ground is at one point, before any land cover.
struct Site {
  float elevation = 0;    // metres; the level of the water where there is some
  float water_depth = 0;  // metres; 0 on land
  float river_bank = 0;   // 0 away from rivers to 1 on the gravel beside one
  float turbidity = 0;    // of the water: 0 clear to 1 full of glacial flour
};

class Terrain {
 public:
  // `water_share`: aim for the share of the scene under lakes.
  Terrain(int64_t scene_size, uint64_t seed, double water_share);
  // The site at pixel coordinates (x right, y down); the scene is [0, size) in both.
  Site at(float x, float y) const;

 private:
  std::vector<float> young_land();
  void erode();
  void make_lakes(double water_share);
  void spread_lake_levels();
  void survey();
  float coarse_height(float x, float y) const;
  float coarse_slope(float x, float y) const;
  void add_river(float x, float y, int64_t coarse, Site& site) const;

  CoarseGrid grid_;
  uint32_t seed_;
  std::vector<float> height_;      // metres, lake beds included
  std::vector<float> lake_level_;  // metres, `no_lake` away from lakes
  std::vector<float> slope_;       // tangent
  std::vector<int32_t> receiver_;  // the cell that a cell drains to
  std::vector<float> drained_;     // square metres that drain through a cell
  std::vector<uint8_t> near_river_;
};

}  // namespace unetd::synth

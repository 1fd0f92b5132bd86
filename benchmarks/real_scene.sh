#!/usr/bin/env bash
# From a labelled Sentinel-2 scene (60 m, 11 bands) to scores on held-out tiles and a map.
#   benchmarks/real_scene.sh DATA_FOLDER
# DATA_FOLDER holds scene_11b_60m.tif, mask_5class_60m.tif and tiles_128.csv. See common.sh for the
# environment variables it takes (MINUTES, STEPS, BUILD, OUT, PYTHON, ...).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

data=${1:?usage: real_scene.sh DATA_FOLDER}
[[ -f $data/tiles_128.csv ]] || fail "$data has no tiles_128.csv"
prepare real_scene

say "tiles"
# Training windows lie anywhere on the training tiles' ground, not on its grid of tiles only.
unetd-tile "$data/scene_11b_60m.tif" --labels "$data/mask_5class_60m.tif" \
  --classes "0=land:#b5a47a,1=water:#2f6fde,2=shadow:#3b3355,3=cloud:#f2f2f2,4=cirrus:#7fd0e6" \
  --patch 128 --split "list:$data/tiles_128.csv" --samples 800 --out "$OUT/store" --overwrite >&2
say "training"
train
say "scores"
evaluate
say "map"
map "$data/scene_11b_60m.tif"
say "PyTorch"
pytorch "$data"
print_table

#!/usr/bin/env bash
# Forest or not, from 25 labelled RGB images of 512x512; scored on 15 others.
#   benchmarks/forest.sh DATA_FOLDER
# DATA_FOLDER holds train/ and val/, each with images/ and masks/. Every seventh training image is
# kept for choices; val/ is the test. See common.sh for the environment variables it takes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

data=${1:?usage: forest.sh DATA_FOLDER}
[[ -d $data/train/images && -d $data/val/images ]] || fail "$data has no train/images and val/images"
prepare forest

sources=()
index=0
for image in "$data"/train/images/*.tif; do  # the same division as in labelled_data.py
  split=train
  ((index++ % 7 != 3)) || split=valid
  sources+=("--$split" "$image=$data/train/masks/$(basename "$image")")
done

say "tiles"
unetd-tile "${sources[@]}" --test "$data/val/images=$data/val/masks" \
  --classes "1=forest:#2c7a3f,2=other:#d9c27a" --patch 512 --out "$OUT/store" --overwrite >&2
say "training"
train
say "scores"
evaluate
say "map"
map "$(find "$data/val/images" -name '*.tif' | LC_ALL=C sort | head -n 1)"
say "PyTorch"
pytorch "$data"
print_table

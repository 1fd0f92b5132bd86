#!/usr/bin/env bash
# Background, snow, clouds and water on made-up mountain scenes with the preset wp99cp, scored on a scene
# that neither training nor the choice of the checkpoint has seen, beside the level that the founding
# system published for real scenes (IoU .93 / .92 / .93 / .78).
#   benchmarks/snow_scene.sh
# Trains for MINUTES (30), or STEPS steps; see common.sh for these and BUILD, OUT and SET. SIZE: pixels
# along each side of a scene (1024).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

prepare snow_scene
scene() { echo "$OUT/scene$1/scene.tif=$OUT/scene$1/labels.tif"; }

say "scenes"
for seed in 21 22 23 24 25 26; do
  [[ -e $OUT/scene$seed/labels.tif ]] \
    || unetd-synth --seed $seed --size "${SIZE:-1024}" --out "$OUT/scene$seed" --overwrite >&2
done
say "tiles"
unetd-tile --train "$(scene 21)" --train "$(scene 22)" --train "$(scene 23)" --train "$(scene 24)" \
  --valid "$(scene 25)" --test "$(scene 26)" --patch 256 --stride 128 \
  --classes '0=background:#8a7f5c,1=snow:#8fd3e8,2=clouds:#b3a6c9,3=water:#2f6fde' \
  --out "$OUT/store" --overwrite >&2
say "training"
train
say "scores"
evaluate
unetd-eval --model "$OUT/run/$MODEL.ckpt" --data "$OUT/store" --split test \
  --report "$OUT/test.html" --overwrite
say "map"
map "$OUT/scene26/scene.tif"
cp "$OUT/ours.json" "${RESULTS:-$root/benchmarks/results}/snow_scene.json"
echo "map: $OUT/map.tif, picture: $OUT/map.png, reports: $OUT/run/report.html, $OUT/test.html"
python3 "$root/benchmarks/scores.py" at-least "$OUT/ours.json" \
  background=.93 snow=.92 clouds=.93 water=.78

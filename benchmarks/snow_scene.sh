#!/usr/bin/env bash
# Background, snow, clouds and water on made-up mountain scenes with the preset wp99cp, scored on a scene
# that neither training nor the choice of the checkpoint has seen, beside the level that the founding
# system published for real scenes (IoU .93 / .92 / .93 / .78).
#   benchmarks/snow_scene.sh
# The scene's map is what is scored, made as the preset makes maps (overlapping tiles, mirrored four ways).
# Trains for MINUTES (30), or STEPS steps; see common.sh for these and BUILD, OUT and SET. SIZE: pixels
# along each side of a scene (1024).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

prepare snow_scene
chooses=25 held_out=26
mapfile -t trains < <(seq 27 40)
scene() { echo "$OUT/scene$1/scene.tif=$OUT/scene$1/labels.tif"; }
dem='DEM={folder}/dem.tif'

say "scenes"
for seed in "$chooses" "$held_out" "${trains[@]}"; do
  [[ -e $OUT/scene$seed/labels.tif ]] \
    || unetd-synth --seed "$seed" --size "${SIZE:-1024}" --out "$OUT/scene$seed" --overwrite >&2
done
say "tiles"
train_scenes=()
for seed in "${trains[@]}"; do train_scenes+=(--train "$(scene "$seed")"); done
unetd-tile "${train_scenes[@]}" --valid "$(scene "$chooses")" --test "$(scene "$held_out")" \
  --extra "$dem" --patch 256 \
  --classes '0=background:#8a7f5c,1=snow:#8fd3e8,2=clouds:#b3a6c9,3=water:#2f6fde' \
  --out "$OUT/store" --overwrite >&2
say "training"
train
say "map"
map "$OUT/scene$held_out/scene.tif" --extra "$dem"
say "scores"
unetd-eval --model "$OUT/run/$MODEL.ckpt" --data "$OUT/store" --split valid --json > "$OUT/valid.json"
unetd-eval --model "$OUT/run/$MODEL.ckpt" --scene "$OUT/scene$held_out/scene.tif" --extra "$dem" \
  --labels "$OUT/scene$held_out/labels.tif" --tile 256 --stitch blend --tta flips --json \
  --report "$OUT/test.html" --difference "$OUT/difference.tif" --overwrite > "$OUT/test.json"
python3 "$root/benchmarks/scores.py" join "$OUT/run" "$train_seconds" \
  "$OUT/valid.json" "$OUT/test.json" "$OUT/ours.json"
cp "$OUT/ours.json" "${RESULTS:-$root/benchmarks/results}/snow_scene.json"
echo "map: $OUT/map.tif, picture: $OUT/map.png, reports: $OUT/run/report.html, $OUT/test.html"
python3 "$root/benchmarks/scores.py" at-least "$OUT/ours.json" \
  background=.93 snow=.92 clouds=.93 water=.78

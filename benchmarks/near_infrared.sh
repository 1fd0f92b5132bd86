#!/usr/bin/env bash
# Values instead of classes on a real Sentinel-2 scene (60 m): the reflectance in the near infrared (B8A) from
# what the eye sees (B04, B03, B02), by the preset elaouni at a width that two cores train in minutes. Beside it
# what a pixel tells by itself: a linear regression and a random forest.
#   benchmarks/near_infrared.sh DATA_FOLDER
# DATA_FOLDER and the environment variables are those of real_scene.sh (MINUTES, 8 here); PYTHON, if given, also
# fits the two (tifffile, scikit-learn).
set -euo pipefail
MINUTES=${MINUTES:-8}
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

data=${1:?usage: near_infrared.sh DATA_FOLDER}
[[ -f $data/tiles_128.csv ]] || fail "$data has no tiles_128.csv"
prepare near_infrared
RESULTS=${RESULTS:-$root/benchmarks/results}

say "tiles"
gdal_translate -q -b 8 -a_scale 0.0001 -a_offset -0.1 "$data/scene_11b_60m.tif" "$OUT/b8a.tif"
unetd-tile "$data/scene_11b_60m.tif" --bands B04,B03,B02 --labels "$OUT/b8a.tif" \
  --target "near infrared reflectance" --patch 128 --split "list:$data/tiles_128.csv" --samples 800 \
  --out "$OUT/store" --overwrite >&2
say "training"
train
say "scores"
unetd-eval --model "$OUT/run/best.ckpt" --data "$OUT/store" --split test --report "$OUT/test.html" \
  --overwrite --json > "$OUT/test.json"
python3 "$root/benchmarks/scores.py" values "$OUT/run" "$train_seconds" "$OUT/test.json" \
  "$RESULTS/values_near_infrared_unetd.json"
if [[ -n ${PYTHON:-} ]]; then
  "$PYTHON" "$root/benchmarks/pixel_regression.py" "$data" --folder "$RESULTS"
fi
say "map"
unetd-infer --model "$OUT/run/best.ckpt" --scene "$data/scene_11b_60m.tif" --out "$OUT/map.tif" \
  --quicklook "$OUT/map.png" --overwrite >&2
python3 "$root/benchmarks/performance_table.py" --page "${PAGE:-$root/docs/accuracy.md}" --results "$RESULTS"
echo "map: $OUT/map.tif, picture: $OUT/map.png, reports: $OUT/run/report.html, $OUT/test.html"

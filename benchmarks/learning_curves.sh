#!/usr/bin/env bash
# How training goes beside PyTorch's, on the same data, seeds, batches and steps: mean IoU of the
# validation split as it grows, and the test split scored once at the end, with the last weights.
#   PYTHON=... benchmarks/learning_curves.sh REAL_SCENE_FOLDER FOREST_FOLDER
# The folders are those of real_scene.sh and forest.sh. A run that has its result in
# benchmarks/results/ is not repeated, so the script can be stopped and started again; at its end it
# writes the tables of docs/accuracy.md. Environment, beside that of common.sh (BUILD, OUT, PYTHON):
#   STEPS    of each run on the scene (400); on the forest, whose crops have four times the pixels, a
#            quarter of them; each run is evaluated ten times
#   SEEDS    the seeds ("0 1 2")
#   RESULTS  folder of the result files (benchmarks/results)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# == 2)) || fail "usage: learning_curves.sh REAL_SCENE_FOLDER FOREST_FOLDER"
[[ -n ${PYTHON:-} ]] || fail "set PYTHON to a Python with torch: the curves are PyTorch's and ours"
STEPS=${STEPS:-400}
RESULTS=${RESULTS:-$root/benchmarks/results}
prepare learning_curves
mkdir -p "$RESULTS"

# Both systems have the same patches: the tiles themselves, and of forest crops of 256 pixels.
real_scene_store() {
  unetd-tile "$1/scene_11b_60m.tif" --labels "$1/mask_5class_60m.tif" \
    --classes "0=land,1=water,2=shadow,3=cloud,4=cirrus" \
    --patch 128 --split "list:$1/tiles_128.csv" --out "$OUT/real_scene" --overwrite >&2
}
forest_store() {
  local sources=() index=0 image split
  for image in "$1"/train/images/*.tif; do  # the same division as in labelled_data.py
    split=train
    ((index++ % 7 != 3)) || split=valid
    sources+=("--$split" "$image=$1/train/masks/$(basename "$image")")
  done
  unetd-tile "${sources[@]}" --test "$1/val/images=$1/val/masks" --classes "1=forest,2=other" \
    --patch 512 --out "$OUT/forest" --overwrite >&2
}

# unetd NAME SEED CROP RESULT, for $steps steps
unetd() {
  local run=$OUT/run_$1_$2
  train_seconds=$(timed unetd-train --data "$OUT/$1" --out "$run" "${settings[@]}" --overwrite \
    --set training.seed="$2" --set training.crop="$3" --set training.steps="$steps" \
    --set training.eval_every="$((steps / 10))")
  unetd-eval --model "$run/last.ckpt" --data "$OUT/$1" --split test --json > "$run/test.json"
  python3 "$root/benchmarks/scores.py" curve "$run" "$2" "$train_seconds" "$run/test.json" "$4"
}

# torch NAME SEED CROP RESULT DATA
torch() {
  torch_python "$root/benchmarks/pytorch_baseline.py" "$1" "$5" --steps "$steps" --seed "$2" --crop "$3" \
    --eval-every "$((steps / 10))" --threads "$(nproc)" --json "$4.part"
  mv "$4.part" "$4"
}

for name in real_scene forest; do
  data=$1
  crop=0
  steps=$STEPS
  [[ $name == real_scene ]] || { data=$2; crop=256; steps=$((STEPS / 4)); }
  [[ -d $OUT/$name ]] || "${name}_store" "$data"
  for seed in ${SEEDS:-0 1 2}; do
    for system in unetd torch; do
      result=$RESULTS/curve_${name}_${system}_$seed.json
      [[ -e $result ]] && continue
      say "$name, seed $seed: $system"
      $system "$name" "$seed" "$crop" "$result" "$data"
    done
  done
done
python3 "$root/benchmarks/performance_table.py" --page "${PAGE:-$root/docs/accuracy.md}" --results "$RESULTS"

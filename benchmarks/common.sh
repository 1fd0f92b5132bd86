# What real_scene.sh and forest.sh share; read by both, not run by itself. Settings come from the
# environment:
#   MINUTES  length of the training, measured warm-up included (30)
#   STEPS    a fixed number of steps instead
#   BUILD    folder with the programs; without it the release preset is built
#   OUT      folder for store, run, map and scores (build/<name of the benchmark>)
#   PYTHON   a Python with torch: trains the PyTorch loop beside ours for the same time
#   MODEL    which checkpoint is scored: best (of the validation split) or last (best)
#   SET      further settings, such as "training.seed=1 optimizer.lr=0.002"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MINUTES=${MINUTES:-30}
MODEL=${MODEL:-best}

say() { echo "== $*" >&2; }
fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

# prepare NAME: programs, folder of results.
prepare() {
  local tool
  for tool in python3 gdal_translate gdalinfo; do
    command -v "$tool" > /dev/null || fail "$tool is missing; apt-get install python3 gdal-bin"
  done
  if [[ -z ${BUILD:-} ]]; then
    (cd "$root" && cmake --preset release > /dev/null && cmake --build --preset release >&2)
    BUILD=$root/build/release
  fi
  [[ -x $BUILD/unetd-train ]] || fail "no unetd-train in $BUILD; build it, or leave BUILD away"
  PATH=$(cd "$BUILD" && pwd):$PATH
  name=$1
  OUT=${OUT:-$root/build/$name}
  mkdir -p "$OUT"
  settings=(--config "$root/benchmarks/$name.yml")
  local key
  for key in ${SET:-}; do settings+=(--set "$key"); done
}

# timed COMMAND...: its wall time in seconds, on stdout.
timed() {
  local begin=$EPOCHREALTIME
  "$@" >&2 || return  # `set -e` does not reach into $(timed ...)
  awk "BEGIN { print $EPOCHREALTIME - $begin }"
}

warm_up() {
  unetd-train --data "$OUT/store" --out "$OUT/warm_up" "${settings[@]}" --overwrite --quiet \
    --set training.steps="$1" --set training.eval_every=1000000
}

# The schedule needs the number of steps: two short runs tell what a step costs, and 6 % of the time
# is left to evaluations.
plan_steps() {
  local few=5 many=25 short long
  short=$(timed warm_up $few)
  long=$(timed warm_up $many)
  rm -rf "$OUT/warm_up"
  minutes_left=$(awk "BEGIN { print $MINUTES - ($short + $long) / 60 }")
  STEPS=$(awk "BEGIN { step = ($long - $short) / ($many - $few)
                       steps = int(0.94 * 60 * $minutes_left / step)
                       print (steps > 1 ? steps : 1) }")
  say "a step takes $(awk "BEGIN { print ($long - $short) / ($many - $few) }") s: $STEPS steps"
}

train() {
  local limit=()
  if [[ -z ${STEPS:-} ]]; then
    plan_steps
    limit=(--set training.minutes="$minutes_left")
  fi
  train_seconds=$(timed unetd-train --data "$OUT/store" --out "$OUT/run" "${settings[@]}" \
    --overwrite --set training.steps="$STEPS" "${limit[@]}")
}

# Scores of both splits in $OUT/ours.json.
evaluate() {
  local split
  for split in valid test; do
    unetd-eval --model "$OUT/run/$MODEL.ckpt" --data "$OUT/store" --split $split --json \
      > "$OUT/$split.json"
  done
  python3 "$root/benchmarks/scores.py" join "$OUT/run" "$train_seconds" \
    "$OUT/valid.json" "$OUT/test.json" "$OUT/ours.json"
}

# map SCENE [FLAG...]: the map of a whole scene, its picture, and whether both lack the same pixels.
map() {
  unetd-infer --model "$OUT/run/$MODEL.ckpt" --scene "$@" --out "$OUT/map.tif" \
    --quicklook "$OUT/map.png" --overwrite >&2
  masks "$1" "$OUT/scene_masks.raw"
  masks "$OUT/map.tif" "$OUT/map_masks.raw"
  python3 "$root/benchmarks/scores.py" same-nodata "$OUT/scene_masks.raw" "$OUT/map_masks.raw" \
    || nodata_differs=1
  rm -f "$OUT"/*_masks.raw "$OUT"/*_masks.hdr "$OUT"/*.raw.aux.xml
}

# masks RASTER RAW: the validity masks of all bands, one byte a pixel, one after another.
masks() {
  local bands=() band
  for ((band = 1; band <= $(gdalinfo "$1" | grep -c '^Band '); ++band)); do
    bands+=(-b "mask,$band")
  done
  gdal_translate -q -of ENVI -co INTERLEAVE=BSQ -ot Byte "${bands[@]}" "$1" "$2"
}

# torch_python ARGUMENT...: PYTHON, in the mode in which PyTorch is fast on CPUs.
torch_python() {
  local jemalloc
  jemalloc=$(ldconfig -p | awk '/libjemalloc.so.2/ { print $NF; exit }')
  [[ -n $jemalloc ]] || say "without libjemalloc PyTorch loses time to page faults"
  LD_PRELOAD=$jemalloc "$PYTHON" "$@"
}

# pytorch DATA_FOLDER: the PyTorch loop for as many minutes, or what it reached when last measured.
pytorch() {
  pytorch_scores=$root/benchmarks/results/pytorch_$name.json
  pytorch_title="PyTorch, measured earlier"
  [[ -n ${PYTHON:-} ]] || return 0
  pytorch_scores=$OUT/pytorch.json
  pytorch_title="PyTorch, beside it"
  torch_python "$root/benchmarks/pytorch_baseline.py" "$name" "$1" \
    --minutes "$MINUTES" --threads "$(nproc)" --json "$pytorch_scores"
}

print_table() {
  python3 "$root/benchmarks/scores.py" table "unetd=$OUT/ours.json" \
    "$pytorch_title=$pytorch_scores" "pixel forest=$root/benchmarks/results/pixel_forest_$name.json"
  echo "map: $OUT/map.tif, picture: $OUT/map.png, report: $OUT/run/report.html"
  return "${nodata_differs:-0}"
}

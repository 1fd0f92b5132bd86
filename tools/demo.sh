#!/usr/bin/env bash
# From nothing to a map: installs what is missing, builds the programs, makes five mountain scenes,
# trains a small UNet on three of them, and scores and maps the fifth, which it never saw.
#   tools/demo.sh [FOLDER]     results go to FOLDER, out/demo by default
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-out/demo}
bin=build/release

bash tools/setup.sh
cmake --preset release
cmake --build --preset release --target unetd-synth unetd-tile unetd-train unetd-eval unetd-infer
mkdir -p "$out"

for seed in 11 12 13 14 15; do
  $bin/unetd-synth --seed $seed --size 768 --out "$out/scene$seed" --overwrite
done
pair() { echo "$out/scene$1/scene.tif=$out/scene$1/labels.tif"; }

$bin/unetd-tile --train "$(pair 11)" --train "$(pair 12)" --train "$(pair 13)" \
  --valid "$(pair 14)" --test "$(pair 15)" --patch 128 --stride 96 \
  --classes '0=background:#8a7f5c,1=snow:#8fd3e8,2=clouds:#b3a6c9,3=water:#2f6fde' \
  --out "$out/store" --overwrite

$bin/unetd-train --data "$out/store" --out "$out/run" --overwrite \
  --set model.width=16 --set training.steps=900 --set training.minutes=8 \
  --set training.eval_every=150 --set training.ema_decay=0.99 \
  --set loss.class_weights=inverse_sqrt --set optimizer.lr=0.002

echo
echo "Scores of the scene that was held out:"
$bin/unetd-eval --model "$out/run/best.ckpt" --data "$out/store" --split test
$bin/unetd-infer --model "$out/run/best.ckpt" --scene "$out/scene15/scene.tif" \
  --out "$out/map.tif" --quicklook "$out/map.png" --overwrite
cp "$out/run/report.html" "$out/report.html"
echo
echo "Look at $out/map.png, $out/map.tif and $out/report.html"

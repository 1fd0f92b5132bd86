#!/usr/bin/env bash
# A store of patches from a made-up Sentinel-2 product of full size: level 1C, 13 bands, 10,980 pixels
# a side, JPEG 2000. Tells the time of each stage and the most memory that each program held, and
# fails where unetd-tile held 3 GiB or more. Then it measures how fast store and product are read.
#   SIZE     pixels of 10 m along a side, a multiple of 6 (10980)
#   PATCHES  random training patches (2000)
#   BUILD    folder with the programs; without it the release preset is built
#   OUT      folder for product and store (build/large_product); a product that is there is used
set -euo pipefail
# shellcheck source=benchmarks/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
SIZE=${SIZE:-10980}
PATCHES=${PATCHES:-2000}
limit_kib=$((3 * 1024 * 1024))

prepare large_product
[[ -x /usr/bin/time ]] || fail "GNU time is missing; apt-get install time"

# measured COMMAND...: runs it and leaves its largest memory in `kib`.
measured() {
  /usr/bin/time -o "$OUT/measured" -f '%e %M' "$@"
  read -r seconds kib < "$OUT/measured"
  rm "$OUT/measured"
  say "$1: $seconds s, at most $((kib / 1024)) MiB"
}

find_product() { find "$OUT/scene" -maxdepth 1 -name '*.SAFE'; }

mkdir -p "$OUT/scene"
product=$(find_product)
if [[ -z $product ]]; then
  say "a product of $SIZE x $SIZE pixels"
  measured unetd-synth --product --size "$SIZE" --out "$OUT/scene" --overwrite
  product=$(find_product)
fi
say "$PATCHES training patches, and all of the validation and test blocks"
measured unetd-tile "$product" --labels "$OUT/scene/labels.tif" \
  --classes 0=background,1=snow,2=clouds,3=water --samples "$PATCHES" --out "$OUT/store" --overwrite
((kib < limit_kib)) || fail "unetd-tile held $((kib / 1024)) MiB, 3072 or more"
measured unetd-bench io --data "$OUT/store" --scene "$product"

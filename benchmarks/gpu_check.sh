#!/usr/bin/env bash
# Everything that only a GPU can show, in one call: builds engine, kernels and unetd-bench, runs the tests
# that use a GPU, saves how cuDNN describes the card, writes timings to benchmarks/results/ (gpu_ops.json,
# gpu_step_*.json and gpu_infer_*.json for f32, bf16 and f16, and against_pytorch_gpu.json where there is
# PyTorch), from which performance_table.py writes the tables of docs/performance.md, and repeats tests of
# our own kernels under compute-sanitizer.
#
#   bash benchmarks/gpu_check.sh                            all of it, within 9 minutes
#   STEPS="tests bench" bash benchmarks/gpu_check.sh        parts: build tests card bench sanitizer pytorch
#   bash benchmarks/gpu_check.sh pack FOLDER                collects the packages below from a machine that
#                                                           has them, for one that has not
#
# A step that fails or runs out of time leaves what it has written, and the next one begins; without a
# build nothing does. Steps that there is no time for are named: call them next, the build stays. Step
# pytorch goes on from the cases that its file has, so several calls measure all of CASES. The exit code
# is 0 when all steps passed.
#
# The machine needs: an NVIDIA driver, the CUDA toolkit (nvcc, compute-sanitizer), CMake 3.25, g++ 12 or
# later. GDAL, oneDNN and a network are not needed. cuDNN 9.11 is taken from the toolkit, from CUDNN_ROOT or
# from PyTorch's package. These packages are to be there: Eigen 3, yaml-cpp, CLI11, nlohmann-json and
# Catch2 2; where they are not installed, DEPS names a folder that `pack` made (16 MiB).
#
# From the environment:
#   DEPS     folder of packages (build/gpu_packages where that exists)
#   ARCH     what to compile for (native: this machine's GPU)
#   OUT      folder of the results (benchmarks/results)
#   MINUTES  for the whole call; a step that is not done by then is ended (9; 0: no limit)
#   PYTHON   a Python with torch (python3)
#   CASES    of against_pytorch.py (all; --list names them)
#   TOOLS    of compute-sanitizer (memcheck racecheck synccheck initcheck)
#   JOBS     of the build (all cores)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/gpu
OUT=${OUT:-$root/benchmarks/results}

say() { echo "== $*" >&2; }

# The toolkit's usual place, for shells that do not look there. cuDNN loads the toolkit's compiler by name.
command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
if nvcc=$(command -v nvcc); then
  toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
  PATH=$PATH:$toolkit/bin:$toolkit/compute-sanitizer
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$toolkit/lib64
fi

# pack FOLDER: headers, CMake files and yaml-cpp's library, as they lie under /usr. The CMake files find
# theirs by their own place, so that the folder may lie anywhere.
pack() {
  local package
  mkdir -p "$1"
  for package in libeigen3-dev libyaml-cpp-dev libyaml-cpp0.7 libcli11-dev nlohmann-json3-dev catch2; do
    dpkg -L "$package" | grep -E '^/usr/(include|lib|share/(cmake|eigen3))/' |
      while read -r file; do
        if [[ ! -d $file || -h $file ]]; then echo "${file#/usr/}"; fi
      done | tar -C /usr -cf - -T - | tar -C "$1" -xf -
  done
  say "packed $(du -sh "$1" | cut -f1) into $1"
}

# The folder of the cuDNN that PyTorch brings, or nothing.
cudnn_of_python() {
  "${PYTHON:-python3}" - 2>/dev/null <<'END' || true
import importlib.util
spec = importlib.util.find_spec("nvidia.cudnn")
print(spec.submodule_search_locations[0] if spec else "")
END
}

build() {
  local packages=()
  if [[ -z ${CUDNN_ROOT:-} && -z $(find -L "${toolkit:-/usr/local/cuda}/include" /usr/include -maxdepth 2 -name cudnn.h) ]]; then
    CUDNN_ROOT=$(cudnn_of_python)
    say "cuDNN: ${CUDNN_ROOT:-none: its kernels are left out}"
    if [[ -n $CUDNN_ROOT ]]; then export CUDNN_ROOT; else unset CUDNN_ROOT; fi
  fi
  DEPS=${DEPS:-$root/build/gpu_packages}
  if [[ -d $DEPS ]]; then
    DEPS=$(cd "$DEPS" && pwd)
    packages=(-DCMAKE_PREFIX_PATH="$DEPS" -DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu
              -DCMAKE_BUILD_RPATH="$DEPS/lib/x86_64-linux-gnu")
  fi
  (cd "$root" && cmake --preset gpu "${packages[@]}" -DCMAKE_CUDA_ARCHITECTURES="${ARCH:-native}" \
    -G "$(command -v ninja >/dev/null && echo Ninja || echo "Unix Makefiles")" >&2)
  cmake --build "$build" --parallel "${JOBS:-$(nproc)}" >&2
}

built() {
  if [[ ! -x $build/unetd_tests || ! -x $build/unetd-bench ]]; then
    say "$build holds no build; STEPS=build makes one"
    return 1
  fi
}

# A test that finds no GPU passes with a note, which here would prove nothing.
tests() {
  local log=$build/gpu_tests.log
  built
  "$build/unetd_tests" "[gpu]" | tee "$log" >&2
  if grep -q '^skipped:' "$log"; then
    say "no GPU was used"
    return 1
  fi
}

# What cuDNN knows of this card: of the cards in tests/data/cudnn_sm*.json this is the real one.
card() {
  built
  mkdir -p "$OUT"
  if [[ ! -x $build/unetd_cudnn_tests ]]; then
    say "the build has no cuDNN: nothing to describe"
    return 1
  fi
  UNETD_CUDNN_CARD=$OUT/gpu_cudnn_card.json "$build/unetd_cudnn_tests" "[cudnn-card]" >&2
}

# Every kernel of ours on all cases of its tests; libraries' kernels are theirs to check. What one tool
# finds stops no other.
sanitizer() {
  local tool failed=0
  built
  if ! command -v compute-sanitizer >/dev/null; then
    say "the CUDA toolkit has no compute-sanitizer: install it with cuda-sanitizer of the same version"
    return 1
  fi
  for tool in ${TOOLS:-memcheck racecheck synccheck initcheck}; do
    say "compute-sanitizer --tool $tool"
    compute-sanitizer --tool "$tool" --kernel-name kns=unetd --error-exitcode 1 \
      "$build/unetd_tests" "[ops][gpu],[device][gpu]" >&2 || failed=1
  done
  return $failed
}

# With what is measured to be fastest on this card; if choosing fails, without.
bench() {
  local failed=0 kind precision command
  built
  mkdir -p "$OUT"
  for precision in bf16 f16 f32; do
    for kind in step infer; do
      command=("$build/unetd-bench" "$kind" --device cuda --width 64 --size 256 --batch 16 --rounds 20
               --set "runtime.precision=$precision" --json "$OUT/gpu_${kind}_$precision.json")
      "${command[@]}" --tune >&2 || { failed=1 && "${command[@]}" >&2; } || true
    done
  done
  "$build/unetd-bench" ops --device cuda --seconds 0.05 --json "$OUT/gpu_ops.json" >&2 || failed=1
  return $failed
}

pytorch() {
  local options=()
  built
  if ! "${PYTHON:-python3}" -c 'import torch; assert torch.cuda.is_available()'; then
    say "PyTorch with CUDA is missing: no comparison"
    return 1
  fi
  mkdir -p "$OUT"
  if [[ -n ${CASES:-} ]]; then options=(--cases "$CASES"); fi
  if ((${LEFT:-0} > 0)); then options+=(--minutes "$(awk "BEGIN { print ($LEFT - 5) / 60 }")"); fi
  "${PYTHON:-python3}" "$root/benchmarks/against_pytorch.py" --device cuda --build "$build" \
    "${options[@]}" --runs 20 --rounds 1 --tune --resume --json "$OUT/against_pytorch_gpu.json" >&2
}

case ${1:-} in
  pack)
    pack "${2:-$root/build/gpu_packages}"
    exit
    ;;
  step)  # for this script itself: one step, in a process that can be ended
    "$2"
    exit
    ;;
esac
limit=$((${MINUTES:-9} * 60)) least=15  # seconds
failed=() late=()
for step in ${STEPS:-build tests card bench sanitizer pytorch}; do
  begin=$SECONDS
  left=0  # no limit
  if ((limit > 0)); then
    left=$((limit - begin))
    if ((left < least)); then
      late+=("$step")
      continue
    fi
  fi
  say "$step"
  if LEFT=$left timeout --kill-after=10 $left bash "$root/benchmarks/gpu_check.sh" step "$step"; then
    say "$step: passed after $((SECONDS - begin)) s"
  else
    say "$step: FAILED after $((SECONDS - begin)) s"
    failed+=("$step")
  fi
  if [[ ${failed[*]-} == build ]]; then break; fi  # nothing else can run
done
if ((${#late[@]} > 0)); then say "no time was left for: ${late[*]}; go on with STEPS=\"${late[*]}\""; fi
if ((${#failed[@]} > 0)); then say "FAILED: ${failed[*]}"; fi
if ((${#failed[@]} + ${#late[@]} > 0)); then exit 1; fi
say "all passed"

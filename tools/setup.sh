#!/usr/bin/env bash
# Installs what unetd is built with, from Debian 12's own packages. Does nothing where all is there.
#   tools/setup.sh           install what is missing
#   tools/setup.sh --check   only say what is missing; exit code 1 if anything is
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache git   # build
  libgdal-dev                        # rasters and vectors
  libeigen3-dev libdnnl-dev          # matrix products, convolutions
  libyaml-cpp-dev libcli11-dev nlohmann-json3-dev
  catch2 clang-format clang-tidy python3  # tests and checks
  pandoc                             # man pages
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done

if ((${#missing[@]} == 0)); then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi
echo "setup: missing: ${missing[*]}"
if [[ ${1:-} == --check ]]; then
  exit 1
fi

as_root=()
((EUID == 0)) || as_root=(sudo)
echo "setup: installing them with apt-get"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends "${missing[@]}"
echo "setup: done"

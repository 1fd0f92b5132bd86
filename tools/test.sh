#!/usr/bin/env bash
# Installs what is missing, builds the release and runs all its tests. With UNETD_DATA set to a
# folder of real scenes, the tests that need such data run as well.
set -euo pipefail
cd "$(dirname "$0")/.."

bash tools/setup.sh
cmake --preset release
cmake --build --preset release
ctest --preset release --verbose

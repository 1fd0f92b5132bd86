// A small made-up scene with its labels and patch store, made once for all tests of the program,
// and a folder for what they write.
#pragma once

#include "tests/support/run_program.h"
#include "tests/support/temp_folder.h"

#include <string>

#include <catch2/catch.hpp>

namespace unetd {

inline const std::string class_list = " --classes 0=background,1=snow,2=clouds,3=water ";
inline const std::string tiny =
    " --set model.width=4 --set model.depth=2 --set training.batch=2 --set training.log_every=1 ";

struct Workshop {
  TempFolder folder;
  std::string scene = (folder / "scene" / "scene.tif").string();
  std::string labels = (folder / "scene" / "labels.tif").string();
  std::string store = (folder / "store").string();

  Workshop() {
    REQUIRE(
        run_program("unetd-synth --quiet --size 192 --seed 3 --out " + (folder / "scene").string())
            .code == 0);
    REQUIRE(run_program("unetd-tile --quiet " + scene + " --labels " + labels + class_list +
                        "--patch 32 --block 64 --out " + store)
                .code == 0);
  }
  std::string at(const std::string& name) const { return (folder / name).string(); }
};

inline Workshop& workshop() {
  static Workshop once;
  return once;
}

inline ProgramResult train(const std::string& run, const std::string& more) {
  return run_program("unetd-train --quiet --data " + workshop().store + " --out " + run + tiny +
                     more);
}

}  // namespace unetd

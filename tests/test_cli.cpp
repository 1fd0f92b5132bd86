// The command line that all programs share: what they answer, complain about and return.
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/device/backend.h"
#include "tests/support/gpu.h"
#include "tests/support/run_program.h"
#include "tests/support/temp_folder.h"
#include "tools/cli.h"

#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

TEST_CASE("every program answers --help and --version", "[cli]") {
  for (const std::string& name : program_names()) {
    INFO(name);
    const ProgramResult help = run_program(name + " --help");
    CHECK(help.code == 0);
    CHECK(help.err.empty());
    CHECK(help.out.find("Usage: " + name) != std::string::npos);
    const ProgramResult version = run_program(name + " --version");
    CHECK(version.code == 0);
    CHECK(version.out == name + " " UNETD_VERSION "\n");
  }
}

TEST_CASE("every program meets wrong usage with one line and exit code 2", "[cli]") {
  for (const std::string& name : program_names()) {
    INFO(name);
    for (const char* wrong : {" --no-such-flag", " --quiet=maybe", " --set", ""}) {
      const ProgramResult result = run_program(name + wrong);
      INFO(wrong << ": " << result.err);
      CHECK(result.code == 2);
      CHECK(result.out.empty());
      CHECK(result.complains(name + ": error: "));
    }
  }
}

TEST_CASE("a misspelt flag is met with the nearest one", "[cli]") {
  CHECK(run_program("unetd-synth --ouput x").complains("did you mean '--out'?"));
  CHECK(run_program("unetd-synth --out x --sed 3").complains("did you mean '--seed'?"));
  CHECK(run_program("unetd-synth --out x --overwrit").complains("did you mean '--overwrite'?"));
}

TEST_CASE("values of flags are checked before anything is done", "[cli]") {
  const TempFolder folder;
  const std::string out = (folder / "scene").string();
  const auto rejected = [&out](const std::string& flags, const std::string& message) {
    const ProgramResult result = run_program("unetd-synth --out " + out + " " + flags);
    INFO(flags << ": " << result.err);
    return result.code == 2 && result.complains(message) && !std::filesystem::exists(out);
  };
  CHECK(rejected("--size big", "--size wants a whole number"));
  CHECK(rejected("--clouds many", "--clouds wants a number"));
  CHECK(rejected("--size", "--size needs a value"));
  CHECK(rejected("--size 64 --size 65", "--size is given twice"));
  CHECK(rejected("--size 3", "size"));
  CHECK(rejected("stray", "unexpected argument 'stray'"));
  CHECK(rejected("--threads many", "runtime.threads is 'many'"));
  CHECK(rejected("--set training.bach=3", "did you mean 'training.batch'?"));
  CHECK(rejected("--set training.batch=0", "training.batch is '0' but must be integer >= 1"));
  CHECK(rejected("--quiet --verbose", "contradict"));
}

TEST_CASE("a bad YAML key names file, line and the nearest key", "[cli]") {
  const TempFolder folder;
  const std::string file = (folder / "run.yml").string(), out = (folder / "scene").string();
  write_file(file, "model:\n  width: 16\ntraining:\n  bach: 4\n");
  const ProgramResult result = run_program("unetd-synth --out " + out + " --config " + file);
  CHECK(result.code == 2);
  CHECK(result.complains(file + ":4: unknown key 'training.bach'; did you mean 'training.batch'?"));
  CHECK_FALSE(std::filesystem::exists(out));

  const ProgramResult missing = run_program("unetd-synth --out " + out + " --config " + file + "x");
  CHECK(missing.code == 1);
  CHECK(missing.complains(file + "x"));
}

TEST_CASE("a program falls back to the CPU where it may, and says so once", "[cli]") {
  const ProgramResult any = run_program("unetd-info device --device auto");
  CHECK(any.code == 0);
  const ProgramResult wanted = run_program("unetd-info device --device cuda");
  if (gpu_is_there()) {
    CHECK(any.out.find("device: cuda") != std::string::npos);
    CHECK(wanted.out.find("device: cuda") != std::string::npos);
    return;
  }
  CHECK(any.out.find("device: cpu") != std::string::npos);
  CHECK(any.complains("computing on the CPU: ") == !cuda_library_file().empty());
  CHECK(wanted.code == 1);
  CHECK(wanted.complains("device 'cuda': "));
  CHECK(run_program("unetd-info device --device auto --quiet").err.empty());
  CHECK(run_program("unetd-info device --device simt").out.find("device: simt") !=
        std::string::npos);
  CHECK(run_program("unetd-info device --device cuda:one").code == 2);
}

TEST_CASE("unetd-bench --tune measures once, and the choices stay", "[cli]") {
  const TempFolder cache;
  const auto bench = [&](const std::string& arguments) {
    return run_command("XDG_CACHE_HOME=" + cache.path().string() +
                       " " UNETD_PROGRAM_DIR "/unetd-bench " + arguments +
                       " --device cpu --threads 1 --json -");
  };
  const std::string step = "step --width 4 --depth 1 --size 16 --rounds 1";
  CHECK(bench(step).out.find("\"tuned\": false") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(cache / "unetd"));
  const ProgramResult first = bench(step + " --tune"), second = bench(step + " --tune");
  CHECK(first.out.find("\"tuned\": true") != std::string::npos);
  CHECK(first.complains("measured the implementations of"));
  CHECK(second.code == 0);
  CHECK(second.err.empty());

  const std::filesystem::path file = *std::filesystem::directory_iterator(cache / "unetd");
  const std::string kept = read_file(file);
  CHECK(bench("ops --seconds 0.0001 --filter \"relu f32\" --tune").code == 0);
  CHECK(read_file(file).size() > kept.size());
  const ProgramResult wrong = bench("ops --tune --impl ref");
  CHECK(wrong.code == 2);
  CHECK(wrong.complains("--impl"));
}

cli::Spec example() {
  return {.program = "unetd-example",
          .summary = "an example",
          .flags = {{.name = "SCENE", .help = "scenes", .required = true, .many = true},
                    {.name = "--band", .value = "B", .help = "bands", .many = true},
                    {.name = "--stride",
                     .value = "N",
                     .help = "stride",
                     .kind = cli::Kind::integer,
                     .fallback = "128"},
                    {.name = "--mode", .help = "mode", .choices = {"fast", "slow"}},
                    cli::key_flag("--tile", "inference.tile")},
          .groups = {"inference"},
          .json = true};
}

int run_example(const std::vector<const char*>& words,
                const std::function<void(const cli::Args&)>& body) {
  std::vector<const char*> argv = {"unetd-example", "--quiet"};
  argv.insert(argv.end(), words.begin(), words.end());
  return cli::run(static_cast<int>(argv.size()), argv.data(), example(), body);
}

TEST_CASE("arguments arrive with their values, fallbacks and configuration", "[cli]") {
  bool ran = false;
  const int code =
      run_example({"a.tif", "--band", "B02", "b.tif", "--band=B03", "--tile", "64", "--json"},
                  [&ran](const cli::Args& args) {
                    ran = true;
                    CHECK(args.all("SCENE") == std::vector<std::string>{"a.tif", "b.tif"});
                    CHECK(args.all("--band") == std::vector<std::string>{"B02", "B03"});
                    CHECK(args.integer("--stride") == 128);
                    CHECK(args.text("--mode").empty());
                    CHECK(args.json());
                    CHECK_FALSE(args.overwrite());
                    CHECK(args.config().inference.tile == 64);
                    Config stored;
                    stored.model.width = 8;
                    CHECK(args.config(stored).inference.tile == 64);
                    CHECK(args.config(stored).model.width == 8);
                  });
  CHECK(code == 0);
  CHECK(ran);
}

TEST_CASE("--print-config prints a file that --config reads", "[cli]") {
  const ProgramResult printed =
      run_program("unetd-train --print-config --preset wp99cp --set optimizer.lr=0.0125");
  REQUIRE(printed.code == 0);
  CHECK(printed.out.find("  lr: 0.0125\n") != std::string::npos);
  CHECK(printed.out.find("  # learning rate (number >= 0; default: 0.001)\n") != std::string::npos);
  for (const ConfigKey& key : config_keys()) {
    if (key.name.starts_with("inference.")) continue;  // which training does not read
    const std::string name = "  " + key.name.substr(key.name.find('.') + 1) + ": ";
    INFO(key.name);
    CHECK(printed.out.find(name) != std::string::npos);
  }
  const TempFolder folder;
  const std::string file = (folder / "all.yml").string();
  write_file(file, printed.out);
  const ProgramResult again = run_program("unetd-train --print-config --config " + file);
  CHECK(again.out == printed.out);
  CHECK(run_program("unetd-train --print-config --set optimizer.lr=-1").code == 2);
}

TEST_CASE("exceptions become exit codes", "[cli]") {
  CHECK(run_example({"a.tif"}, [](const cli::Args&) { throw UsageError("usage"); }) == 2);
  CHECK(run_example({"a.tif"}, [](const cli::Args&) { throw UserError("input"); }) == 1);
  CHECK(run_example({"a.tif"}, [](const cli::Args&) { throw std::bad_alloc(); }) == 1);
  const auto never = [](const cli::Args&) { FAIL("the body ran"); };
  CHECK(run_example({}, never) == 2);
  CHECK(run_example({"a.tif", "--mode", "medium"}, never) == 2);
  CHECK(run_example({"a.tif", "--tile", "3"}, never) == 2);
}

}  // namespace
}  // namespace unetd

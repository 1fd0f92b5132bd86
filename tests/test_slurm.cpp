// The job scripts of tools/slurm: their syntax, the flags and keys they name, and the one that
// queues itself again, run without Slurm.
#include "engine/base/file.h"
#include "engine/tensor/safetensors.h"
#include "tests/support/workshop.h"
#include "unet/config.h"

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace unetd {
namespace {

namespace fs = std::filesystem;
const fs::path scripts = fs::path(UNETD_SOURCE_DIR) / "tools/slurm";

// What matches the first group of a pattern in all scripts.
std::vector<std::string> found(const std::regex& pattern) {
  std::vector<std::string> all;
  for (const fs::directory_entry& entry : fs::directory_iterator(scripts)) {
    if (entry.path().extension() == ".md") continue;
    const std::string text = read_file(entry.path());
    for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at)
      all.push_back((*at)[1]);
  }
  return all;
}

}  // namespace

TEST_CASE("job scripts are valid and name what there is", "[slurm][docs]") {
  int jobs = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(scripts)) {
    if (entry.path().extension() == ".md") continue;
    INFO(entry.path());
    jobs += entry.path().extension() == ".sbatch" ? 1 : 0;
    const ProgramResult checked = run_command("bash -n " + entry.path().string());
    CHECK(checked.err.empty());
    CHECK(checked.code == 0);
  }
  CHECK(jobs == 3);
  const std::string help = run_program("unetd-train --help").out;
  const std::vector<std::string> flags = found(std::regex(R"((?:^|[ (])(--[a-z]+) )"));
  CHECK(flags.size() > 5);
  for (const std::string& flag : flags) {
    INFO(flag);
    CHECK(help.find(flag) != std::string::npos);
  }
  const std::vector<std::string> keys = found(std::regex(R"(--set ([a-z_]+\.[a-z0-9_]+)=)"));
  CHECK(keys.size() == 3);
  for (const std::string& key : keys) CHECK_NOTHROW(config_key(key));
}

TEST_CASE("a job that nears its limit is saved, queued again, and goes on", "[slurm][programs]") {
  const Workshop& w = workshop();
  const std::string run = w.at("requeued"), tools = w.at("slurm_tools"), queue = w.at("queue");
  fs::create_directories(tools);
  write_file(tools + "/scontrol", "#!/bin/sh\necho \"$@\" >> " + queue + "\n");
  fs::permissions(tools + "/scontrol", fs::perms::owner_all);
  const auto job = [&](const std::string& steps, const std::string& then) {
    return run_command("{ cd " UNETD_SOURCE_DIR "; env PATH=" + tools +
                       ":$PATH BUILD=" UNETD_PROGRAM_DIR " DATA=" + w.store + " RUN=" + run +
                       " SLURM_JOB_ID=4711 SLURM_CPUS_PER_TASK=1 DEVICE=cpu SET='model.width=4 "
                       "model.depth=2 training.batch=2 training.log_every=1 training.steps=" +
                       steps + "' bash tools/slurm/train_requeue.sbatch & job=$!; " + then +
                       " wait $job; }");
  };
  const ProgramResult first =
      job("1000000", "for i in $(seq 3000); do [ -s " + run +
                         "/metrics.jsonl ] && break; sleep 0.01; done; kill -USR1 $job;");
  INFO(first.err);
  CHECK(first.code == 0);
  CHECK(read_file(queue) == "requeue 4711\n");
  const auto step = [&] {
    return std::stoll(SafeTensorsFile(run + "/last.ckpt").metadata().at("step"));
  };
  const int64_t reached = step();
  REQUIRE(reached > 0);
  const ProgramResult second = job(std::to_string(reached + 2), "");
  INFO(second.err);
  CHECK(second.code == 0);
  CHECK(step() == reached + 2);
  CHECK(read_file(queue) == "requeue 4711\n");  // a run that is complete is not queued again
}

}  // namespace unetd

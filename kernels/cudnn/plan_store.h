// Plans by problem: each is searched for once. They stay for the life of the process, since cuDNN
// unloads a plan's kernels with it and captured graphs may still launch them, and on disk for the
// next process.
#pragma once

#include "kernels/cudnn/plan.h"

#include <filesystem>
#include <map>
#include <mutex>

namespace unetd::cudnn {

class PlanStore {
 public:
  // Plans for `target` with files in `folder`; an empty folder keeps nothing on disk. With `tuned`
  // > 1 plans are measured (Plan::build), and those on disk that were not count for nothing.
  PlanStore(const Target& target, std::filesystem::path folder, int tuned = 0)
      : target_(target), folder_(std::move(folder)), tuned_(tuned) {}

  // The store for the process's card: files in $XDG_CACHE_HOME/unetd or ~/.cache/unetd. The
  // environment variable UNETD_CUDNN_TUNE=N has the first N plans of each problem measured. Throws
  // UsageError when it is no number, Error without a GPU.
  static PlanStore& present();

  // Null if cuDNN has no plan. A file that is damaged, or that cuDNN no longer takes, is replaced,
  // with a note in the log.
  std::shared_ptr<const Plan> get(Graph graph);

  // Where the plan for this graph lies.
  std::filesystem::path file_of(const Graph& graph) const;

 private:
  std::unique_ptr<Plan> load(const Plan::Shared& prepared) const;
  void save(const Plan& plan) const;
  std::string key_of(const Graph& graph) const;

  const Target& target_;
  std::filesystem::path folder_;
  int tuned_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Plan>, std::less<>> plans_;
};

}  // namespace unetd::cudnn

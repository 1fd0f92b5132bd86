// Plans by problem: each is searched for once. They stay for the life of the process, since cuDNN
// unloads a plan's kernels with it and captured graphs may still launch them, and on disk for the
// next process.
#pragma once

#include "kernels/cudnn/plan.h"

#include <filesystem>
#include <map>
#include <mutex>
#include <utility>

namespace unetd::cudnn {

class PlanStore {
 public:
  // Plans for `target` with files in `folder`; an empty folder keeps nothing on disk.
  PlanStore(const Target& target, std::filesystem::path folder)
      : target_(target), folder_(std::move(folder)) {}

  // The store for the process's card, with files in cache_folder(). Throws Error without a GPU.
  static PlanStore& present();

  // Null if cuDNN has no plan. With `tuned` > 1 so many are measured (Plan::build), and one on disk
  // that came from fewer counts for nothing. A file that is damaged, or that cuDNN no longer takes,
  // is replaced, with a note in the log.
  std::shared_ptr<const Plan> get(Graph graph, int tuned = 0);

  // Where the plan for this graph lies.
  std::filesystem::path file_of(const Graph& graph) const;

 private:
  std::unique_ptr<Plan> load(const Plan::Shared& prepared, int least_tuned) const;
  void save(const Plan& plan, int tuned) const;
  std::string key_of(const Graph& graph) const;

  const Target& target_;
  std::filesystem::path folder_;
  std::mutex mutex_;
  // By the graph's text and how many were to be measured.
  std::map<std::pair<std::string, int>, std::shared_ptr<const Plan>> plans_;
};

}  // namespace unetd::cudnn

#include "kernels/cudnn/plan_store.h"

#include "engine/base/cache.h"
#include "engine/base/file.h"
#include "engine/base/log.h"

#include <charconv>
#include <system_error>

namespace unetd::cudnn {
namespace {

// A file is this line, the key and cuDNN's JSON. The checksum is that of the two.
std::string first_line(std::string_view body, int tuned) {
  return str("unetd cudnn plan, checksum ", checksum(body), ", tuned ", tuned, "\n");
}

// How many plans were measured for a file, or -1 if its first line is not that of its body.
int tuned_of(std::string_view file) {
  const size_t end = file.find('\n');
  const size_t number = file.substr(0, end).rfind(' ');
  if (end == file.npos || number == file.npos) return -1;
  int tuned = -1;
  std::from_chars(file.data() + number + 1, file.data() + end, tuned);
  return file.substr(0, end + 1) == first_line(file.substr(end + 1), tuned) ? tuned : -1;
}

}  // namespace

PlanStore& PlanStore::present() {
  // Never destroyed, as the handle that its plans belong to.
  static PlanStore& store = *new PlanStore(Target::present(), cache_folder());
  return store;
}

std::string PlanStore::key_of(const Graph& graph) const {
  return str("unetd ", UNETD_VERSION, ", cuDNN ", cudnnGetVersion(), "\n", target_.text(), "\n",
             graph.text(), "\n");
}

std::filesystem::path PlanStore::file_of(const Graph& graph) const {
  return folder_ / str("cudnn-", checksum(key_of(graph)), ".plan");
}

std::shared_ptr<const Plan> PlanStore::get(Graph graph, int tuned) {
  const std::lock_guard lock(mutex_);
  const auto key = std::make_pair(graph.text(), tuned);
  if (const auto known = plans_.find(key); known != plans_.end()) return known->second;
  const auto prepared = std::make_shared<const Plan::Prepared>(std::move(graph), target_);
  std::unique_ptr<Plan> plan = load(prepared, tuned);
  if (plan == nullptr) {
    plan = Plan::build(prepared, target_, tuned);
    if (plan != nullptr) save(*plan, tuned);
  }
  return plans_.emplace(key, std::move(plan)).first->second;
}

std::unique_ptr<Plan> PlanStore::load(const Plan::Shared& prepared, int least_tuned) const {
  if (folder_.empty()) return nullptr;
  const std::filesystem::path path = file_of(prepared->graph);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return nullptr;
  std::unique_ptr<Plan> plan;
  try {
    const std::string file = read_file(path), key = key_of(prepared->graph);
    const int tuned = tuned_of(file);
    std::string_view body(file);
    body.remove_prefix(std::min(body.size(), body.find('\n') + 1));
    if (tuned >= 0) {
      if (tuned < least_tuned || !body.starts_with(key)) return nullptr;
      plan = Plan::restore(prepared, target_, body.substr(key.size()));
    }
  } catch (const UserError&) {
  }
  if (plan == nullptr)
    log_warning(path.string(), " holds no plan that can be used; it is replaced");
  return plan;
}

void PlanStore::save(const Plan& plan, int tuned) const {
  if (folder_.empty()) return;
  try {
    const std::string body = key_of(plan.graph()) + plan.json();
    std::filesystem::create_directories(folder_);
    write_file(file_of(plan.graph()), first_line(body, tuned) + body);
  } catch (const std::exception& e) {  // the next process will search again, no more
    log_warning("the plan for ", plan.graph().text(), " is not kept: ", e.what());
  }
}

}  // namespace unetd::cudnn

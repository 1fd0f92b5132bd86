#include "kernels/cudnn/plan_store.h"

#include "engine/base/file.h"
#include "engine/base/log.h"

#include <charconv>
#include <cstdlib>
#include <system_error>

namespace unetd::cudnn {
namespace {

// FNV-1a, 64 bits: names files, and tells damaged ones.
uint64_t hash(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return h;
}

std::string hexadecimal(uint64_t number) {
  std::ostringstream out;
  out << std::hex << number;
  return out.str();
}

// A file is this line, the key and cuDNN's JSON. The checksum is that of the two.
std::string first_line(std::string_view body, int tuned) {
  return str("unetd cudnn plan, checksum ", hexadecimal(hash(body)), ", tuned ", tuned, "\n");
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

std::filesystem::path cache_folder() {
  const auto folder = [](const char* variable) -> std::filesystem::path {
    const char* const value = std::getenv(variable);
    return value == nullptr ? "" : value;
  };
  if (const auto cache = folder("XDG_CACHE_HOME"); !cache.empty()) return cache / "unetd";
  const auto home = folder("HOME");
  return home.empty() ? home : home / ".cache" / "unetd";
}

int tuned_on_request() {
  const char* const text = std::getenv("UNETD_CUDNN_TUNE");
  if (text == nullptr) return 0;
  const std::string_view word(text);
  int number = -1;
  const auto [end, error] = std::from_chars(word.begin(), word.end(), number);
  if (error != std::errc() || end != word.end() || number < 0) {
    throw UsageError(str("UNETD_CUDNN_TUNE is '", word, "', not a number of plans to measure"));
  }
  return number;
}

}  // namespace

PlanStore& PlanStore::present() {
  // Never destroyed, as the handle that its plans belong to.
  static PlanStore& store = *new PlanStore(Target::present(), cache_folder(), tuned_on_request());
  return store;
}

std::string PlanStore::key_of(const Graph& graph) const {
  return str("unetd ", UNETD_VERSION, ", cuDNN ", cudnnGetVersion(), "\n", target_.text(), "\n",
             graph.text(), "\n");
}

std::filesystem::path PlanStore::file_of(const Graph& graph) const {
  return folder_ / str("cudnn-", hexadecimal(hash(key_of(graph))), ".plan");
}

std::shared_ptr<const Plan> PlanStore::get(Graph graph) {
  const std::lock_guard lock(mutex_);
  if (const auto known = plans_.find(graph.text()); known != plans_.end()) return known->second;
  const auto prepared = std::make_shared<const Plan::Prepared>(std::move(graph), target_);
  std::unique_ptr<Plan> plan = load(prepared);
  if (plan == nullptr) {
    plan = Plan::build(prepared, target_, tuned_);
    if (plan != nullptr) save(*plan);
  }
  return plans_.emplace(prepared->graph.text(), std::move(plan)).first->second;
}

std::unique_ptr<Plan> PlanStore::load(const Plan::Shared& prepared) const {
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
      if (tuned < tuned_ || !body.starts_with(key)) return nullptr;
      plan = Plan::restore(prepared, target_, body.substr(key.size()));
    }
  } catch (const UserError&) {
  }
  if (plan == nullptr)
    log_warning(path.string(), " holds no plan that can be used; it is replaced");
  return plan;
}

void PlanStore::save(const Plan& plan) const {
  if (folder_.empty()) return;
  try {
    const std::string body = key_of(plan.graph()) + plan.json();
    std::filesystem::create_directories(folder_);
    write_file(file_of(plan.graph()), first_line(body, tuned_) + body);
  } catch (const std::exception& e) {  // the next process will search again, no more
    log_warning("the plan for ", plan.graph().text(), " is not kept: ", e.what());
  }
}

}  // namespace unetd::cudnn

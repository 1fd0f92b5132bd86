#include "engine/op/tune_store.h"

#include "engine/base/cache.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/log.h"
#include "engine/base/threads.h"
#include "engine/device/backend.h"
#include "engine/op/registry.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

namespace unetd {
namespace {

constexpr const char *device_key = "device", *choices_key = "fastest";

// Driver and library versions may change what is fastest, and on the CPU the number of threads.
std::string text_of(DeviceType device) {
  const DeviceInfo info = backend(device).info();
  std::string text = str("unetd ", UNETD_VERSION, " on ", name_of(device), ", ", info.name);
  for (const auto& [key, value] : info.more) text += str(", ", key, " ", value);
  if (device != DeviceType::cuda) text += str(", threads ", thread_count());
  for (const std::string& library : libraries(device)) text += ", " + library;
  return text;
}

std::string contest(const std::string& problem, std::span<const std::string_view> names) {
  std::string text = problem + ":";
  for (const std::string_view name : names) text += str(" ", name);
  return text;
}

}  // namespace

std::vector<std::string_view> competitors(std::vector<std::string_view> takers) {
  if (takers.size() > 1) std::erase(takers, "ref");
  return takers;
}

size_t fastest(std::span<const double> seconds) {
  constexpr double chance = 1.05;
  size_t best = 0;
  for (size_t i = 1; i < seconds.size(); ++i) {
    if (seconds[i] * chance < seconds[best]) best = i;
  }
  return best;
}

TuneStore::TuneStore(std::string device, const std::filesystem::path& folder)
    : device_(std::move(device)) {
  if (folder.empty()) return;
  file_ = folder / str("tune-", checksum(device_), ".json");
  if (auto known = load()) {
    choices_ = std::move(*known);
  } else {
    log_warning(file_.string(), " holds no choices that can be used; it is replaced");
  }
}

TuneStore TuneStore::present(DeviceType device) { return {text_of(device), cache_folder()}; }

std::string TuneStore::find(const std::string& problem,
                            std::span<const std::string_view> names) const {
  const auto known = choices_.find(contest(problem, names));
  const bool usable =
      known != choices_.end() && std::ranges::find(names, known->second) != names.end();
  return usable ? known->second : std::string();
}

void TuneStore::add(const std::string& problem, std::span<const std::string_view> names,
                    std::string_view fastest) {
  choices_[contest(problem, names)] = fastest;
  changed_ = true;
}

std::optional<TuneStore::Choices> TuneStore::load() const {
  std::error_code ignored;
  if (!std::filesystem::exists(file_, ignored)) return Choices{};
  try {
    const auto content = nlohmann::json::parse(read_file(file_));
    if (content.at(device_key) == device_) return content.at(choices_key).get<Choices>();
  } catch (const nlohmann::json::exception&) {
  } catch (const UserError&) {
  }
  return std::nullopt;
}

void TuneStore::save() {
  if (file_.empty() || !std::exchange(changed_, false)) return;
  try {
    Choices all = choices_;
    if (auto others = load()) all.merge(*others);
    std::filesystem::create_directories(file_.parent_path());
    const nlohmann::ordered_json content{{device_key, device_}, {choices_key, all}};
    write_file(file_, content.dump(1) + "\n");
  } catch (const std::exception& e) {  // the next process will measure again, no more
    log_warning("the measured choices are not kept: ", e.what());
  }
}

}  // namespace unetd

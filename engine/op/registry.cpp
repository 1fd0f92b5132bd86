#include "engine/op/registry.h"

namespace unetd {

KernelChoice::KernelChoice(std::string_view spec) {
  while (!spec.empty()) {
    const size_t comma = std::min(spec.find(','), spec.size());
    const std::string_view item = spec.substr(0, comma);
    spec.remove_prefix(std::min(comma + 1, spec.size()));
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == item.size()) {
      throw UsageError(str("kernel choice '", item, "' is not of the form problem=implementation"));
    }
    choices_.emplace_back(item.substr(0, equals), item.substr(equals + 1));
  }
}

std::string_view KernelChoice::forced(std::string_view problem) const {
  std::string_view fallback;
  for (const auto& [name, implementation] : choices_) {
    if (name == problem) return implementation;
    if (name == "*") fallback = implementation;
  }
  return fallback;
}

bool KernelChoice::allows(std::string_view problem, std::string_view implementation) const {
  const std::string_view name = forced(problem);
  if (name.starts_with('-')) return implementation != name.substr(1);
  return name.empty() || implementation == name;
}

bool KernelChoice::names(std::string_view problem) const {
  return std::ranges::any_of(choices_, [&](const auto& c) { return c.first == problem; });
}

int& MeasuredPlans::count() {
  static thread_local int living = 0;
  return living;
}

std::vector<std::string>& libraries(DeviceType device) {
  static std::vector<std::string> lists[device_types];
  return lists[static_cast<size_t>(device)];
}

}  // namespace unetd

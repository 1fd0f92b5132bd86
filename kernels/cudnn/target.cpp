#include "kernels/cudnn/target.h"

namespace unetd::cudnn {
namespace {

cudnnHandle_t create_handle() {
  cudnnHandle_t handle = nullptr;
  check(cudnnCreate(&handle), "handle");
  return handle;
}

Descriptor properties_of(cudnnHandle_t handle) {
  Descriptor properties(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  properties.set(CUDNN_ATTR_DEVICEPROP_HANDLE, handle);
  properties.finalize();
  return properties;
}

}  // namespace

const Target& Target::present() {
  // Never destroyed: at the end of the process the driver may be gone before us.
  static const Target& target = *[] {
    const cudnnHandle_t handle = create_handle();
    return new Target(handle, properties_of(handle));
  }();
  return target;
}

Target Target::described(std::string_view json) {
  Descriptor properties(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  properties.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<const char>(json));
  properties.finalize();
  return {nullptr, std::move(properties)};
}

std::string Target::text() const {
  const std::vector<char> json = properties_.get<char>(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION);
  return {json.begin(), json.end()};
}

void Target::bind_graph(Descriptor& graph) const {
  if (runs()) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle_);
}

void Target::bind_heuristics(Descriptor& heuristics) const {
  if (!runs()) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, properties_);
}

void Target::bind_plan(Descriptor& plan) const {
  if (runs()) {
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle_);
  } else {
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, properties_);
  }
}

}  // namespace unetd::cudnn

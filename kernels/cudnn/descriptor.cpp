#include "kernels/cudnn/descriptor.h"

#include <array>

namespace unetd::cudnn {
namespace {

// Names of the descriptors that we build, for messages.
std::string_view name_of(cudnnBackendDescriptorType_t type) {
  switch (type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
      return "tensor";
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      return "convolution";
    case CUDNN_BACKEND_POINTWISE_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      return "point-wise operation";
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      return "graph";
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      return "heuristics";
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
      return "plan";
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
      return "arguments";
    case CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR:
      return "description of the card";
    default:
      return "descriptor";
  }
}

std::string last_message() {
  std::array<char, 1024> text{};
  cudnnGetLastErrorString(text.data(), text.size());
  return text.data();
}

}  // namespace

void check(cudnnStatus_t status, std::string_view what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  const std::string more = last_message();
  throw Error(
      str("cudnn: ", what, ": ", cudnnGetErrorString(status), more.empty() ? "" : ": ", more));
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) : type_(type) {
  cudnnBackendDescriptor_t made = nullptr;
  check(cudnnBackendCreateDescriptor(type, &made), name_of(type));
  native_.reset(made);
}

void Descriptor::set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         size_t count, const void* values) {
  check(cudnnBackendSetAttribute(native(), name, type, static_cast<int64_t>(count), values),
        str(name_of(type_), ", attribute ", static_cast<int>(name)));
}

void Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& other) {
  cudnnBackendDescriptor_t const native = other.native();
  set_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &native);
}

void Descriptor::set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& others) {
  std::vector<cudnnBackendDescriptor_t> natives;
  natives.reserve(others.size());
  for (const Descriptor& d : others) natives.push_back(d.native());
  set_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, natives.size(), natives.data());
}

void Descriptor::finalize() { check(cudnnBackendFinalize(native()), name_of(type_)); }

bool Descriptor::try_finalize() { return cudnnBackendFinalize(native()) == CUDNN_STATUS_SUCCESS; }

size_t Descriptor::count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
  int64_t count = 0;
  check(cudnnBackendGetAttribute(native(), name, type, 0, &count, nullptr),
        str(name_of(type_), ", number of attributes ", static_cast<int>(name)));
  return static_cast<size_t>(count);
}

void Descriptor::get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         size_t count, void* values) const {
  int64_t got = 0;
  check(cudnnBackendGetAttribute(native(), name, type, static_cast<int64_t>(count), &got, values),
        str(name_of(type_), ", attribute ", static_cast<int>(name)));
  UNETD_CHECK(static_cast<size_t>(got) == count, "cudnn: ", name_of(type_), ", attribute ",
              static_cast<int>(name), " has ", got, " values, not ", count);
}

std::vector<Descriptor> Descriptor::get_descriptors(cudnnBackendAttributeName_t name,
                                                    cudnnBackendDescriptorType_t type) const {
  // cuDNN fills descriptors that the caller has made.
  std::vector<Descriptor> descriptors;
  std::vector<cudnnBackendDescriptor_t> natives;
  for (size_t i = count(name, CUDNN_TYPE_BACKEND_DESCRIPTOR); i > 0; --i) {
    natives.push_back(descriptors.emplace_back(type).native());
  }
  int64_t got = 0;
  check(cudnnBackendGetAttribute(native(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                 static_cast<int64_t>(natives.size()), &got, natives.data()),
        str(name_of(type_), ", descriptors ", static_cast<int>(name)));
  descriptors.erase(descriptors.begin() + got, descriptors.end());
  return descriptors;
}

Descriptor Descriptor::get_descriptor(cudnnBackendAttributeName_t name,
                                      cudnnBackendDescriptorType_t type) const {
  Descriptor descriptor(type);
  cudnnBackendDescriptor_t native_descriptor = descriptor.native();
  get_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &native_descriptor);
  return descriptor;
}

}  // namespace unetd::cudnn

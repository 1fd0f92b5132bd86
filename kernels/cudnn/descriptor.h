// cuDNN's backend descriptors with an owner: attributes typed by their C++ type, failures as Error
// with cuDNN's own message.
#pragma once

#include "engine/base/error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <cudnn.h>

namespace unetd::cudnn {

// Throws Error "cudnn: WHAT: ..." unless the call succeeded.
void check(cudnnStatus_t status, std::string_view what);

// cuDNN's word for a C++ type; types of no attribute do not compile.
template <class T>
consteval cudnnBackendAttributeType_t attribute_type() = delete;
template <>
consteval cudnnBackendAttributeType_t attribute_type<int64_t>() {
  return CUDNN_TYPE_INT64;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<bool>() {
  return CUDNN_TYPE_BOOLEAN;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<char>() {
  return CUDNN_TYPE_CHAR;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<float>() {
  return CUDNN_TYPE_FLOAT;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<void*>() {
  return CUDNN_TYPE_VOID_PTR;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<cudnnHandle_t>() {
  return CUDNN_TYPE_HANDLE;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<cudnnDataType_t>() {
  return CUDNN_TYPE_DATA_TYPE;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<cudnnConvolutionMode_t>() {
  return CUDNN_TYPE_CONVOLUTION_MODE;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<cudnnPointwiseMode_t>() {
  return CUDNN_TYPE_POINTWISE_MODE;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<cudnnGenStatsMode_t>() {
  return CUDNN_TYPE_GENSTATS_MODE;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<cudnnBackendHeurMode_t>() {
  return CUDNN_TYPE_HEUR_MODE;
}
template <>
consteval cudnnBackendAttributeType_t attribute_type<cudnnBackendNumericalNote_t>() {
  return CUDNN_TYPE_NUMERICAL_NOTE;
}

// A descriptor refers to others without owning them: whoever builds one on top of another keeps
// both.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);

  template <class T>
  void set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    set_raw(name, attribute_type<T>(), values.size(), values.data());
  }
  template <class T>
  void set(cudnnBackendAttributeName_t name, const T& value) {
    set(name, std::span<const T>(&value, 1));
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& other);
  void set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& others);

  // Throws Error when cuDNN does not accept what was set.
  void finalize();
  // The same where a refusal is an answer: false, and nothing is thrown.
  bool try_finalize();

  // What a finalised descriptor tells. get_one() throws unless there is exactly one value.
  template <class T>
  std::vector<T> get(cudnnBackendAttributeName_t name) const {
    std::vector<T> values(count(name, attribute_type<T>()));
    get_raw(name, attribute_type<T>(), values.size(), values.data());
    return values;
  }
  template <class T>
  T get_one(cudnnBackendAttributeName_t name) const {
    T value{};
    get_raw(name, attribute_type<T>(), 1, &value);
    return value;
  }
  std::vector<Descriptor> get_descriptors(cudnnBackendAttributeName_t name,
                                          cudnnBackendDescriptorType_t type) const;
  Descriptor get_descriptor(cudnnBackendAttributeName_t name,
                            cudnnBackendDescriptorType_t type) const;

  cudnnBackendDescriptor_t native() const { return native_.get(); }

 private:
  void set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, size_t count,
               const void* values);
  size_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const;
  void get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, size_t count,
               void* values) const;

  struct Destroy {
    void operator()(void* descriptor) const noexcept { cudnnBackendDestroyDescriptor(descriptor); }
  };
  std::unique_ptr<void, Destroy> native_;
  cudnnBackendDescriptorType_t type_;
};

}  // namespace unetd::cudnn

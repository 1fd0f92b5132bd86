// The parameters of one model: names (those of PyTorch's state dict), shapes, and where each lies
// in a few flat buffers. One optimiser launch, one gradient norm and one average then serve the
// whole model. Structure lives in the model function (model.h), which declares what it uses; state
// lives here.
#pragma once

#include "engine/autograd/graph.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace unetd {

enum class ParamRole : uint8_t {
  weight,     // filters: trained
  vector,     // biases, scales and shifts: trained
  statistic,  // running means and variances of batch norm: state, not trained
};

struct ParamSpec {
  std::string name = {};  // "down1.maxpool_conv.1.double_conv.0.weight"
  Shape shape = {};       // filters (k, r, s, c), vectors (1, 1, 1, c)
  Kind kind = Kind::features;
  ParamRole role = ParamRole::vector;
  // Start value: uniform in +-bound, normal of a standard deviation, or, where both are 0,
  // `constant`.
  float bound = 0, constant = 0, deviation = 0;
  int64_t offset = 0;  // elements from the start of its flat buffer

  // Numbers a user counts: 1,728 for a 3->64 filter of 3x3, whatever the padding in memory.
  int64_t count() const { return shape.count(); }
};

class Params {
 public:
  // Declares a parameter; the order of declaration is the order in files and tables. The same name
  // again, with the same shape, is the same parameter. Throws Error after allocate().
  void declare(ParamSpec spec);
  // Fixes the offsets and takes zero-filled buffers. Weights come before vectors, so that an
  // optimiser may treat the two parts differently.
  void allocate(DeviceType device);
  bool allocated() const { return values_ != nullptr; }
  // Start values: a pure function of (seed, name, element).
  void initialise(uint64_t seed);

  const std::vector<ParamSpec>& specs() const { return specs_; }
  const ParamSpec& spec(std::string_view name) const;
  bool contains(std::string_view name) const { return index_.contains(std::string(name)); }
  int64_t trained_count() const;  // sum of count() over weights and vectors

  // The flat buffers, f32. Gradients and averages exist after the calls that ask for them.
  int64_t trained_elements() const { return weight_elements_ + vector_elements_; }
  int64_t weight_elements() const { return weight_elements_; }
  int64_t statistic_elements() const { return statistic_elements_; }
  std::shared_ptr<Buffer> values() const { return values_; }
  std::shared_ptr<Buffer> statistics() const { return statistics_; }
  std::shared_ptr<Buffer> gradients();
  // The same parameters with other values and statistics of the same layout (moving averages).
  Params with_buffers(std::shared_ptr<Buffer> values, std::shared_ptr<Buffer> statistics) const;

  // The parameter as a value of a graph; with `trainable`, its gradient goes to gradients().
  // Filters are taken in the storage type `filters`, from a copy of theirs that record_filters()
  // renews.
  Value bind(Graph& g, std::string_view name, bool trainable, DType filters = DType::f32);
  // Records the rounding of all filters to `type`, in one node. Nothing for f32.
  void record_filters(Graph& g, DType type);

  // To and from dense host tensors.
  Tensor read(std::string_view name) const;
  void write(std::string_view name, const Tensor& tensor);
  // The same for another flat buffer with the layout of values() (moments, averages).
  Tensor read_from(const Buffer& flat, const ParamSpec& spec) const;
  void write_to(Buffer& flat, const ParamSpec& spec, const Tensor& tensor) const;

 private:
  size_t storage_bytes(const ParamSpec& spec) const;
  const std::shared_ptr<Buffer>& home(const ParamSpec& spec) const {
    return spec.role == ParamRole::statistic ? statistics_ : values_;
  }

  std::vector<ParamSpec> specs_;
  std::map<std::string, size_t, std::less<>> index_;
  DeviceType device_ = DeviceType::cpu;
  int64_t weight_elements_ = 0, vector_elements_ = 0, statistic_elements_ = 0;
  std::shared_ptr<Buffer> values_, statistics_, gradients_;
  std::shared_ptr<Buffer> filters_;   // rounded
  std::shared_ptr<Staging> staging_;  // shared by copies, as the buffers are
};

}  // namespace unetd

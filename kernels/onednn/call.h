// The little that our kernels need of oneDNN: descriptions of convolutions on the blocked layout,
// and primitives whose arguments get new pointers before each run.
#pragma once

#include "engine/op/conv2d.h"
#include "engine/tensor/layout.h"

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

#include <dnnl.hpp>

namespace unetd::onednn {

// Descriptions of the three convolution primitives, which tell the implementation that oneDNN would
// choose. They throw dnnl::error where it has none.
dnnl::convolution_forward::primitive_desc describe_forward(const ConvGeometry& g,
                                                           dnnl::algorithm algorithm, bool bias,
                                                           bool relu);
// The filter's format is left to oneDNN, which may want it transposed (`weights_desc()`).
dnnl::convolution_backward_data::primitive_desc describe_data_grad(const ConvGeometry& g,
                                                                   dnnl::algorithm algorithm);
dnnl::convolution_backward_weights::primitive_desc describe_weight_grad(const ConvGeometry& g,
                                                                        dnnl::algorithm algorithm,
                                                                        bool bias);

// nullptr if `describe()` gives a primitive that is worth running, else the reason why it does not.
template <class Describe>
const char* reject_description(Describe&& describe) {
  try {
    const std::string_view name = describe().impl_info_str();
    return name.find("ref") == name.npos ? nullptr : "oneDNN has only its reference loops for it";
  } catch (const dnnl::error&) {
    return "oneDNN has no primitive for it";
  }
}

// A primitive and its arguments, built once. Running it replaces the arguments' pointers, so one
// Call must not run twice at a time.
class Call {
 public:
  // `arguments`: DNNL_ARG_... in the order in which run() gets their pointers.
  Call(const dnnl::primitive_desc_base& description, std::initializer_list<int> arguments);

  size_t scratch_bytes() const { return scratch_bytes_; }
  // Null stands for an argument that the primitive does without. Throws Error if oneDNN fails.
  void run(std::initializer_list<const void*> pointers, void* scratch) const;

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;  // the same as oneDNN's C interface takes them
  size_t scratch_bytes_ = 0;
};

// The data gradient: brings the filter into the format that oneDNN wants, then runs the primitive.
class DataGradCall {
 public:
  DataGradCall(const ConvGeometry& g, dnnl::algorithm algorithm);

  size_t workspace() const { return filter_bytes_ + call_.scratch_bytes(); }
  void run(const void* dy, const void* w, void* dx, void* workspace) const;

 private:
  explicit DataGradCall(const dnnl::convolution_backward_data::primitive_desc& description,
                        const dnnl::memory::desc& filter);

  Call call_;
  std::vector<Call> reorder_;  // empty if the format is ours
  size_t filter_bytes_ = 0;
};

void register_conv2d();
void register_conv_transpose2x2();

}  // namespace unetd::onednn

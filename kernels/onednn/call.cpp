#include "kernels/onednn/call.h"

#include "kernels/onednn/onednn.h"

#include <string_view>

namespace unetd::onednn {
namespace {

using dnnl::memory;
constexpr auto f32 = memory::data_type::f32;

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

const dnnl::stream& stream() {
  static const dnnl::stream in_order(engine());
  return in_order;
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

memory::desc features_desc(const Shape& s) {
  return {{s.n, padded(s.c), s.h, s.w}, f32, memory::format_tag::nChw16c};
}

memory::desc filter_desc(const Shape& s) {
  return {{padded(s.n), padded(s.c), s.h, s.w}, f32, memory::format_tag::OIhw16i16o};
}

memory::desc vector_desc(int64_t channels) {
  return {{padded(channels)}, f32, memory::format_tag::x};
}

memory::desc bias_desc(const ConvGeometry& g, bool bias) {
  return bias ? vector_desc(g.k) : memory::desc();
}

}  // namespace

dnnl::convolution_forward::primitive_desc describe_forward(const ConvGeometry& g,
                                                           dnnl::algorithm algorithm, bool bias,
                                                           bool relu) {
  dnnl::primitive_attr attributes = user_scratchpad();
  if (relu) {
    dnnl::post_ops ops;
    ops.append_eltwise(1, dnnl::algorithm::eltwise_relu, 0, 0);
    attributes.set_post_ops(ops);
  }
  // For inference, Winograd would want filters in a format of its own.
  return {{dnnl::prop_kind::forward_training,
           algorithm,
           features_desc(g.x),
           filter_desc(g.filter()),
           bias_desc(g, bias),
           features_desc(g.y()),
           {g.stride, g.stride},
           {g.pad, g.pad},
           {g.pad, g.pad}},
          attributes,
          engine()};
}

dnnl::convolution_backward_data::primitive_desc describe_data_grad(const ConvGeometry& g,
                                                                   dnnl::algorithm algorithm) {
  const Shape f = g.filter();
  const memory::desc any_filter({padded(f.n), padded(f.c), f.h, f.w}, f32, memory::format_tag::any);
  return {{algorithm,
           features_desc(g.x),
           any_filter,
           features_desc(g.y()),
           {g.stride, g.stride},
           {g.pad, g.pad},
           {g.pad, g.pad}},
          user_scratchpad(),
          engine(),
          describe_forward(g, algorithm, false, false)};
}

dnnl::convolution_backward_weights::primitive_desc describe_weight_grad(const ConvGeometry& g,
                                                                        dnnl::algorithm algorithm,
                                                                        bool bias) {
  return {{algorithm,
           features_desc(g.x),
           filter_desc(g.filter()),
           bias_desc(g, bias),
           features_desc(g.y()),
           {g.stride, g.stride},
           {g.pad, g.pad},
           {g.pad, g.pad}},
          user_scratchpad(),
          engine(),
          describe_forward(g, algorithm, bias, false)};
}

Call::Call(const dnnl::primitive_desc_base& description, std::initializer_list<int> arguments)
    : primitive_(description.get()) {
  const auto add = [&](int id) {
    const memory::desc desc = description.query_md(dnnl::query::exec_arg_md, id);
    memories_.emplace_back(desc, engine(), nullptr);
    arguments_.push_back({id, memories_.back().get()});
  };
  for (const int id : arguments) add(id);
  add(DNNL_ARG_SCRATCHPAD);
  scratch_bytes_ = memories_.back().get_desc().get_size();
}

void Call::run(std::initializer_list<const void*> pointers, void* scratch) const {
  size_t i = 0;
  // oneDNN takes inputs and outputs alike as void*.
  for (const void* p : pointers) memories_[i++].set_data_handle(const_cast<void*>(p));
  memories_[i].set_data_handle(scratch);
  const dnnl_status_t status = dnnl_primitive_execute(
      primitive_.get(), stream().get(), static_cast<int>(arguments_.size()), arguments_.data());
  UNETD_CHECK(status == dnnl_success, "oneDNN failed with status ", status);
}

DataGradCall::DataGradCall(const ConvGeometry& g, dnnl::algorithm algorithm)
    : DataGradCall(describe_data_grad(g, algorithm), filter_desc(g.filter())) {}

DataGradCall::DataGradCall(const dnnl::convolution_backward_data::primitive_desc& description,
                           const memory::desc& filter)
    : call_(description, {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC}) {
  const memory::desc wanted = description.weights_desc();
  if (wanted == filter) return;
  reorder_.emplace_back(
      dnnl::reorder::primitive_desc(engine(), filter, engine(), wanted, user_scratchpad()),
      std::initializer_list<int>{DNNL_ARG_FROM, DNNL_ARG_TO});
  filter_bytes_ = wanted.get_size();
}

void DataGradCall::run(const void* dy, const void* w, void* dx, void* workspace) const {
  std::byte* const scratch = static_cast<std::byte*>(workspace) + filter_bytes_;
  for (const Call& reorder : reorder_) reorder.run({w, workspace}, scratch);
  call_.run({dy, reorder_.empty() ? w : workspace, dx}, scratch);
}

void register_kernels() {
  const dnnl_version_t& version = *dnnl_version();
  libraries(DeviceType::cpu)
      .push_back(str("oneDNN ", version.major, ".", version.minor, ".", version.patch));
  register_conv2d();
  register_conv_transpose2x2();
}

}  // namespace unetd::onednn

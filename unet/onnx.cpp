#include "unet/onnx.h"

#include "engine/base/file.h"
#include "engine/base/protobuf.h"
#include "engine/op/conv2d.h"
#include "engine/op/conv_transpose2x2.h"
#include "engine/op/maxpool2x2.h"
#include "engine/op/resize_bilinear.h"
#include "engine/op/shape_ops.h"
#include "unet/torch_layout.h"

#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace unetd {
namespace {

using protobuf::bytes_field;
using protobuf::packed_field;
using protobuf::varint_field;

// The numbers of the fields that are used, by message, of onnx/onnx.proto.
namespace model_proto {
constexpr unsigned ir_version = 1, producer_name = 2, producer_version = 3, graph = 7,
                   opset_import = 8, metadata_props = 14;
}
namespace opset {
constexpr unsigned version = 2;
}
namespace entry {  // of metadata
constexpr unsigned key = 1, value = 2;
}
namespace graph_proto {
constexpr unsigned node = 1, name = 2, initializer = 5, input = 11, output = 12;
}
namespace node_proto {
constexpr unsigned input = 1, output = 2, name = 3, op_type = 4, attribute = 5;
}
namespace attribute_proto {
constexpr unsigned name = 1, i = 3, s = 4, ints = 8, type = 20;
constexpr int64_t is_int = 2, is_string = 3, is_ints = 7;
}  // namespace attribute_proto
namespace tensor_proto {
constexpr unsigned dims = 1, data_type = 2, name = 8, raw_data = 9;
constexpr int64_t is_float = 1, is_int64 = 7;
}  // namespace tensor_proto
namespace value_proto {
constexpr unsigned name = 1, type = 2, tensor_type = 1, elem_type = 1, shape = 2, dim = 1,
                   dim_value = 1, dim_param = 2;
}

constexpr int64_t ir_version = 8, opset_version = 17;

std::string attribute(const char* name, int64_t value) {
  using namespace attribute_proto;
  return bytes_field(attribute_proto::name, name) + varint_field(i, value) +
         varint_field(type, is_int);
}
std::string attribute(const char* name, const std::string& value) {
  using namespace attribute_proto;
  return bytes_field(attribute_proto::name, name) + bytes_field(s, value) +
         varint_field(type, is_string);
}
std::string attribute(const char* name, std::initializer_list<int64_t> values) {
  using namespace attribute_proto;
  return bytes_field(attribute_proto::name, name) +
         packed_field(ints, {values.begin(), values.size()}) + varint_field(type, is_ints);
}

std::string tensor(const std::string& name, std::span<const int64_t> dims, int64_t type,
                   std::span<const std::byte> data) {
  using namespace tensor_proto;
  const std::string raw(reinterpret_cast<const char*>(data.data()), data.size());
  return packed_field(tensor_proto::dims, dims) + varint_field(data_type, type) +
         bytes_field(tensor_proto::name, name) + bytes_field(raw_data, raw);
}

// The type of an input or output: f32 of these extents, each a number, a name, or open.
std::string image_value(const std::string& name, std::initializer_list<std::string> dimensions) {
  using namespace value_proto;
  std::string shape;
  for (const std::string& d : dimensions) shape += bytes_field(dim, d);
  const std::string type_of_tensor =
      varint_field(elem_type, tensor_proto::is_float) + bytes_field(value_proto::shape, shape);
  return bytes_field(value_proto::name, name) +
         bytes_field(type, bytes_field(tensor_type, type_of_tensor));
}
std::string extent(int64_t value) { return varint_field(value_proto::dim_value, value); }
std::string named(const char* name) { return bytes_field(value_proto::dim_param, name); }

// Turns the recorded network, with batch norm folded, into nodes of ONNX, one after another.
class Exporter {
 public:
  Exporter(const Params& folded, const UNetConfig& model) : params_(folded) {
    // Odd at every level, so that every padding there may be is recorded; strided convolutions
    // round halves up. Without padding even, and every crop is. Where nothing is joined the image
    // is not brought back to an odd size.
    const int64_t stride = model.stride(), odd = model.strided ? stride + 1 : 2 * stride - 1;
    const int64_t side = model.valid ? model.input_side(1) : model.skips ? odd : 2 * stride;
    UNetConfig c = model;
    c.compute = DType::f32;
    Params bound = folded;
    const Value x = graph_.input({1, side, side, c.in_channels}, DType::f32, "image");
    names_[x.id] = "image";
    logits_ = unet(graph_, bound, c, x, Mode::folded);
    for (const auto& node : graph_.nodes()) translate(*node);
  }

  // The graph's nodes and tensors, with `logits` or what is made of them as the output.
  std::string finish(const OnnxOptions& options, const std::string& result) {
    switch (options.output) {
      case OnnxOptions::Output::logits:
        node("Identity", {name(logits_)}, result);
        break;
      case OnnxOptions::Output::softmax:
        node("Softmax", {name(logits_)}, result, attributes({attribute("axis", 1)}));
        break;
      case OnnxOptions::Output::sigmoid:
        node("Sigmoid", {name(logits_)}, result);
        break;
      case OnnxOptions::Output::values:
        node("Mul", {name(logits_), number("scale", options.scale.scale)}, result + "/scaled");
        node("Add", {result + "/scaled", number("shift", options.scale.shift)}, result);
        break;
    }
    return std::move(nodes_) + std::move(tensors_);
  }

 private:
  static std::string attributes(std::initializer_list<std::string> all) {
    std::string fields;
    for (const std::string& a : all) fields += bytes_field(node_proto::attribute, a);
    return fields;
  }
  void node(const char* type, const std::vector<std::string>& in, const std::string& out,
            const std::string& attributes = "") {
    std::string fields;
    for (const std::string& i : in) fields += bytes_field(node_proto::input, i);
    fields += bytes_field(node_proto::output, out) + bytes_field(node_proto::name, out + "/node") +
              bytes_field(node_proto::op_type, type) + attributes;
    nodes_ += bytes_field(graph_proto::node, fields);
  }
  template <class T>
  std::string constant(const std::string& name, int64_t type, const std::vector<T>& values) {
    if (constants_.insert(name).second) {
      const int64_t size = std::ssize(values);
      tensors_ += bytes_field(graph_proto::initializer,
                              tensor(name, {&size, 1}, type, std::as_bytes(std::span(values))));
    }
    return name;
  }
  std::string number(const std::string& name, double value) {
    return constant(name, tensor_proto::is_float, std::vector{static_cast<float>(value)});
  }
  std::string integers(const std::string& name, const std::vector<int64_t>& values) {
    return constant(name, tensor_proto::is_int64, values);
  }

  // What ONNX calls a value: parameters by their own name, which brings them into the file.
  std::string name(Value v) {
    const auto known = names_.find(v.id);
    if (known != names_.end()) return known->second;
    const Graph::ValueInfo& info = graph_.info(v);
    if (info.role != Graph::Role::external) return names_[v.id] = str("value_", v.id);
    const ParamSpec& spec = params_.spec(info.name);
    const Tensor values = to_torch(spec, params_.read(spec.name));
    tensors_ += bytes_field(graph_proto::initializer,
                            tensor(spec.name, torch_shape(spec), tensor_proto::is_float,
                                   std::as_bytes(values.span<float>())));
    return names_[v.id] = spec.name;
  }
  std::vector<std::string> inputs(const Graph::Node& n) {
    std::vector<std::string> all;
    for (const Value v : n.in) all.push_back(name(v));
    return all;
  }

  void translate(const Graph::Node& n) {
    const std::string out = name(n.out.front());
    if (const auto* conv = Graph::problem_as<Conv2d>(n)) {
      convolution(n, *conv, out);
    } else if (Graph::problem_as<ConvTranspose2x2>(n) != nullptr) {
      node("ConvTranspose", inputs(n), out,
           attributes({attribute("kernel_shape", {2, 2}), attribute("strides", {2, 2})}));
    } else if (Graph::problem_as<MaxPool2x2>(n) != nullptr) {
      node("MaxPool", inputs(n), out,
           attributes({attribute("kernel_shape", {2, 2}), attribute("strides", {2, 2})}));
    } else if (const auto* resize = Graph::problem_as<ResizeBilinear>(n)) {
      resizing(n, resize->geometry, out);
    } else if (Graph::problem_as<Pad2d>(n) != nullptr) {
      padding(n, out);
    } else if (Graph::problem_as<ConcatChannels>(n) != nullptr) {
      node("Concat", inputs(n), out, attributes({attribute("axis", 1)}));
    } else {
      throw UserError(str("a network with ", n.problem(), " cannot be written as ONNX"));
    }
  }

  void convolution(const Graph::Node& n, const Conv2d& conv, const std::string& out) {
    const ConvGeometry& g = conv.geometry;
    const std::string sum = conv.relu ? out + "/sum" : out;
    node("Conv", inputs(n), sum,
         attributes({attribute("kernel_shape", {g.r, g.s}),
                     attribute("pads", {g.pad, g.pad, g.pad, g.pad}),
                     attribute("strides", {g.stride, g.stride})}));
    if (conv.relu) node("Relu", {sum}, out);
  }

  // To twice the size, or to the size of what the result is joined with.
  void resizing(const Graph::Node& n, const ResizeGeometry& g, const std::string& out) {
    const std::string x = name(n.in.front());
    const std::string corners = g.align_corners ? "align_corners" : "half_pixel";
    const std::string how = attributes({attribute("mode", std::string("linear")),
                                        attribute("coordinate_transformation_mode", corners)});
    if (g.y() == ResizeGeometry::twice(g.x, g.align_corners).y()) {
      const std::vector<float> scales{1, 1, 2, 2};
      node("Resize", {x, "", constant("scales", tensor_proto::is_float, scales)}, out, how);
      return;
    }
    node("Shape", {x}, out + "/images", attributes({attribute("start", 0), attribute("end", 2)}));
    node("Shape", {name(joined_with(n.out.front()))}, out + "/extents",
         attributes({attribute("start", 2), attribute("end", 4)}));
    node("Concat", {out + "/images", out + "/extents"}, out + "/sizes",
         attributes({attribute("axis", 0)}));
    node("Resize", {x, "", "", out + "/sizes"}, out, how);
  }

  // What is padded or cropped is brought to the size of what it is then joined with: half of the
  // difference before, the rest behind.
  void padding(const Graph::Node& n, const std::string& out) {
    const std::string x = name(n.in.front());
    const std::string like = name(joined_with(n.out.front()));
    const std::string extents = attributes({attribute("start", 2), attribute("end", 4)});
    node("Shape", {like}, out + "/want", extents);
    node("Shape", {x}, out + "/have", extents);
    node("Sub", {out + "/want", out + "/have"}, out + "/both");
    node("Div", {out + "/both", integers("two", {2})}, out + "/before");
    node("Sub", {out + "/both", out + "/before"}, out + "/behind");
    const std::string zeros = integers("zeros", {0, 0});
    node("Concat", {zeros, out + "/before", zeros, out + "/behind"}, out + "/pads",
         attributes({attribute("axis", 0)}));
    node("Pad", {x, out + "/pads"}, out);
  }
  Value joined_with(Value padded) const {
    for (const auto& n : graph_.nodes()) {
      if (Graph::problem_as<ConcatChannels>(*n) == nullptr) continue;
      if (n->in[1] == padded) return n->in[0];
      if (n->in[0] == padded) return n->in[1];
    }
    throw UserError("a network that fits what it does not join cannot be written as ONNX");
  }

  const Params& params_;
  Graph graph_;
  Value logits_;
  std::map<int, std::string> names_;  // by value
  std::set<std::string> constants_;
  std::string nodes_, tensors_;
};

}  // namespace

void write_onnx(const std::filesystem::path& file, const Params& params, const UNetConfig& model,
                const OnnxOptions& options) {
  const Params folded = fold_batch_norm(params, model, DeviceType::cpu);
  constexpr const char* results[] = {"logits", "probabilities", "probabilities", "values"};
  const std::string result = results[static_cast<size_t>(options.output)];
  const auto side = [&](const char* name) {
    return options.size > 0 ? extent(options.size) : named(name);
  };
  // Open extents of the output stay without a name: runtimes work them out, and the plugin Deepness
  // takes two different names for an image that is not square.
  const std::string open = options.size > 0 ? extent(model.output_side(options.size)) : "";
  std::string graph = Exporter(folded, model).finish(options, result);
  graph += bytes_field(graph_proto::name, "unet") +
           bytes_field(graph_proto::input,
                       image_value("image", {named("batch"), extent(model.in_channels),
                                             side("height"), side("width")})) +
           bytes_field(graph_proto::output,
                       image_value(result, {named("batch"), extent(model.classes), open, open}));
  constexpr size_t largest = (size_t{1} << 31) - (size_t{1} << 20);  // Protobuf's 2 GiB
  if (graph.size() > largest)
    throw UserError(str(file.string(), ": an ONNX file holds 2 GiB, the network is larger"));

  std::string text =
      varint_field(model_proto::ir_version, ir_version) +
      bytes_field(model_proto::producer_name, "unetd") +
      bytes_field(model_proto::producer_version, UNETD_VERSION) +
      bytes_field(model_proto::opset_import, varint_field(opset::version, opset_version)) +
      bytes_field(model_proto::graph, graph);
  for (const auto& [key, value] : options.metadata) {
    text += bytes_field(model_proto::metadata_props,
                        bytes_field(entry::key, key) + bytes_field(entry::value, value));
  }
  write_file(file, text);
}

}  // namespace unetd

#include "unet/checkpoint.h"

#include "engine/base/bytes.h"
#include "engine/base/file.h"
#include "engine/tensor/torch_pickle.h"
#include "unet/param_names.h"
#include "unet/torch_layout.h"

#include <cstring>
#include <set>
#include <utility>
#include <vector>

namespace unetd {
namespace {

constexpr const char* format_version = "1";

// Tensors in PyTorch's layout, kept alive until the file is written.
class Writer {
 public:
  void add(const std::string& name, const ParamSpec& spec, const Tensor& value) {
    add(name, torch_shape(spec), to_torch(spec, value));
  }
  void add(const std::string& name, std::vector<int64_t> shape, Tensor value) {
    kept_.push_back(std::move(value));
    const Tensor& t = kept_.back();
    entries_.push_back(
        {name, t.dtype(), std::move(shape), {static_cast<const std::byte*>(t.data()), t.bytes()}});
  }
  void write(const std::filesystem::path& file, const Metadata& metadata) const {
    write_safetensors(file, entries_, metadata);
  }

 private:
  std::vector<Tensor> kept_;  // moving a Tensor keeps its memory in place
  std::vector<SafeTensorEntry> entries_;
};

Tensor scalar(int64_t value) { return Tensor::from<int64_t>(Shape{}, {&value, 1}); }

void add_model(Writer& out, const Params& params, int64_t steps) {
  for (const ParamSpec& s : params.specs()) {
    out.add(s.name, s, params.read(s.name));
    // PyTorch's batch norm counts its batches; its loader wants the tensor to be there.
    if (s.name.ends_with(".running_var")) {
      const std::string layer = s.name.substr(0, s.name.size() - std::strlen("running_var"));
      out.add(layer + "num_batches_tracked", std::vector<int64_t>{}, scalar(steps));
    }
  }
}

constexpr const char* loss_scale_name = "optimizer.loss_scale";

std::string moment_name(const char* moment, const ParamSpec& spec) {
  return str("optimizer.", moment, ".", spec.name);
}

void add_state(Writer& out, const Trainer& trainer) {
  const Params& params = trainer.params();
  const OptimizerState& state = trainer.optimizer();
  for (const ParamSpec& s : params.specs()) {
    if (state.average) out.add("optimizer.param." + s.name, s, params.read(s.name));
    if (s.role == ParamRole::statistic) continue;
    for (const auto& [name, buffer] : state.moments()) {
      if (buffer) out.add(moment_name(name, s), s, params.read_from(*buffer, s));
    }
  }
  if (!state.loss_scale) return;
  const LossScale scale = trainer.loss_scale();
  const float numbers[] = {scale.scale, scale.good_steps};
  out.add(loss_scale_name, std::vector<int64_t>{2}, Tensor::from<float>({1, 1, 1, 2}, numbers));
}

}  // namespace

void save_checkpoint(const std::filesystem::path& file, const Trainer& trainer,
                     const Metadata& metadata, bool keep_previous) {
  Writer out;
  add_model(out, trainer.inference_params(), trainer.step());
  add_state(out, trainer);
  Metadata all = metadata;
  all["format"] = str("unetd-checkpoint-", format_version);
  all["step"] = str(trainer.step());
  all["steps"] = str(trainer.steps());
  std::error_code ignored;
  if (keep_previous && std::filesystem::exists(file, ignored)) {
    // A second name for the old file first: at every moment one complete checkpoint has a name.
    std::filesystem::path previous = file;
    previous.replace_extension(".previous" + file.extension().string());
    const std::filesystem::path link = temporary_beside(previous);
    std::filesystem::create_hard_link(file, link, ignored);
    if (!ignored) publish(link, previous);
  }
  out.write(file, all);
}

void save_model(const std::filesystem::path& file, const Params& params, int64_t batches,
                const Metadata& metadata) {
  Writer out;
  add_model(out, params, batches);
  out.write(file, metadata);
}

namespace {

// A few of the tensors that are wrong in one way.
class Complaint {
 public:
  explicit Complaint(const char* what) : what_(what) {}
  void add(const std::string& tensor) {
    constexpr size_t shown = 3;
    if (++count_ <= shown) list_ += (list_.empty() ? "" : ", ") + tensor;
  }
  std::string text() const {
    return count_ == 0 ? "" : str("; ", count_, ' ', what_, ", such as ", list_);
  }

 private:
  const char* what_;
  size_t count_ = 0;
  std::string list_;
};

// What a file may hold beside the parameters.
bool is_extra(const std::string& name) {
  return name.ends_with(".num_batches_tracked") || name.starts_with("optimizer.");
}

// All of the network's tensors and no others, in its shapes.
void check_tensors(const WeightFile& file, const std::vector<ParamSpec>& specs) {
  Complaint missing("missing"), differing("of another shape"), unknown("unknown to it");
  std::set<std::string> known;
  for (const ParamSpec& s : specs) {
    known.insert(s.name);
    const std::vector<int64_t> want = torch_shape(s);
    const TensorView* const view = file.find(s.name);
    if (view == nullptr) {
      missing.add(str(s.name, " (", shape_text(want), ")"));
    } else if (view->shape != want) {
      differing.add(
          str(s.name, " (", shape_text(view->shape), " instead of ", shape_text(want), ")"));
    }
  }
  for (const auto& [name, view] : file.tensors()) {
    if (!known.contains(name) && !is_extra(name))
      unknown.add(str(printable(name), " (", shape_text(view.shape), ")"));
  }
  const std::string wrong = missing.text() + differing.text() + unknown.text();
  if (!wrong.empty())
    throw UserError(str(file.path().string(), ": its tensors are not the network's", wrong));
}

// The names of one kind of network, and how deep a file's network of that kind is; 0 where the file
// holds none.
UNetConfig deepest(const WeightFile& file, UNetConfig c) {
  const auto has_level = [&](int64_t level) {
    const ParamNames names(c);
    return file.find(names.convolution(names.down(level), 0) + ".weight") != nullptr;
  };
  int64_t found = 0;
  for (c.depth = 1; c.depth <= c.finest() || has_level(c.depth - 1); ++c.depth) {
    if (has_level(c.depth)) found = c.depth;
  }
  c.depth = found;
  return c;
}

// Which of the kinds of names the file has.
UNetConfig named(const WeightFile& file) {
  for (const Config::Names names : {Config::Names::milesial, Config::Names::aladdinpersson}) {
    for (const bool skips : {true, false}) {
      for (const bool strided : {false, true}) {
        for (const bool single : {false, true}) {
          const UNetConfig c =
              deepest(file, {.single = single, .strided = strided, .skips = skips, .names = names});
          if (c.depth > 0) return c;
        }
      }
    }
  }
  throw UserError(str(file.path().string(),
                      ": holds no UNet whose tensors have names that are known; give a checkpoint ",
                      "of unetd-train or a state dict of milesial's or aladdinpersson's UNet"));
}

// The network that names and shapes of the first and last tensors tell of.
UNetConfig deduce(const WeightFile& file) {
  const auto filter = [&](const std::string& layer) {
    const TensorView* const view = file.find(layer + ".weight");
    constexpr size_t rank = 4;
    if (view == nullptr || view->shape.size() != rank || element_count(view->shape) < 1)
      throw UserError(str(file.path().string(), ": ", layer, ".weight is no convolution"));
    return view->shape;
  };
  UNetConfig c = named(file);
  const ParamNames names(c);
  const std::string block = names.down(c.finest());
  const auto first = filter(names.convolution(block, 0));
  c.width = first[0];
  c.in_channels = first[1];
  c.classes = filter(names.output())[0];
  c.bilinear = file.find(names.upsampling(c.depth - 1) + ".weight") == nullptr;
  c.conv_bias = file.find(names.convolution(block, 0) + ".bias") != nullptr;
  c.norm = file.find(names.norm(block, 0) + ".running_mean") != nullptr;
  c.resize = c.names == Config::Names::aladdinpersson;  // as that implementation does
  constexpr int64_t widest = 1024, deepest = 8;         // as in the configuration
  if (c.width > widest || c.depth > deepest) {
    throw UserError(str(file.path().string(), ": a UNet of width ", c.width, " and depth ", c.depth,
                        "; they may be up to ", widest, " and ", deepest));
  }
  return c;
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& path) : file_(path), model_(deduce(file_)) {
  // Before anything is allocated: the shapes of a few tensors must not decide alone how much.
  check_tensors(file_, unet_specs(model_));
  if (const std::string yaml = get("config"); !yaml.empty()) {
    Config config;
    apply_yaml(config, yaml, path.string());
    model_.take_untold(config.model);
  }
}

std::string Checkpoint::get(const std::string& key) const {
  const auto found = metadata().find(key);
  return found == metadata().end() ? std::string() : found->second;
}

int64_t Checkpoint::batches() const {
  const std::string norm = ParamNames(model_).convolutions().front().norm;
  const TensorView* const count = file_.find(norm + ".num_batches_tracked");
  const bool told = count != nullptr && count->dtype == DType::i64 && count->shape.empty();
  return told ? unetd::load<int64_t>(count->bytes) : 0;
}

Tensor Checkpoint::read(const std::string& name, const ParamSpec& spec) const {
  return from_torch(spec, file_.read(name, torch_shape(spec)));
}

void Checkpoint::load(Params& params) const {
  check_tensors(file_, params.specs());
  for (const ParamSpec& s : params.specs()) params.write(s.name, read(s.name, s));
}

void Checkpoint::restore(Trainer& trainer) const {
  const std::string step = get("step");
  if (step.empty()) {
    throw UserError(str(file_.path().string(),
                        ": holds a model but no training state; start from it with --init"));
  }
  Params& params = trainer.params();
  const OptimizerState& state = trainer.optimizer();
  for (const ParamSpec& s : params.specs()) {
    const bool statistic = s.role == ParamRole::statistic;
    const Tensor model = read(s.name, s);
    if (state.average) {
      params.write_to(statistic ? *state.average_statistics : *state.average, s, model);
      params.write(s.name, read("optimizer.param." + s.name, s));
    } else {
      params.write(s.name, model);
    }
    if (statistic) continue;
    for (const auto& [name, buffer] : state.moments()) {
      if (!buffer) continue;
      const std::string tensor = moment_name(name, s);
      if (file_.find(tensor) == nullptr) {
        throw UserError(str(file_.path().string(), ": has no ", tensor,
                            ": its run had another optimizer; keep that, or start with --init"));
      }
      params.write_to(*buffer, s, read(tensor, s));
    }
  }
  if (file_.find(loss_scale_name) != nullptr) {
    const ParamSpec pair{.name = loss_scale_name, .shape = {1, 1, 1, 2}};
    const Tensor numbers = read(loss_scale_name, pair);
    trainer.set_loss_scale({numbers.span<float>()[0], numbers.span<float>()[1]});
  }
  trainer.set_step(std::stoll(step));
}

}  // namespace unetd

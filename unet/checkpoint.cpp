#include "unet/checkpoint.h"

#include "engine/base/file.h"
#include "engine/tensor/safetensors.h"

#include <cstring>
#include <utility>
#include <vector>

namespace unetd {
namespace {

constexpr const char* format_version = "1";

// The order of PyTorch's axes in terms of ours: (k, r, s, c) -> (k, c, r, s), and for transposed
// filters (c, k, r, s).
std::vector<int64_t> torch_shape(const ParamSpec& s) {
  if (s.kind == Kind::filter) return {s.shape.n, s.shape.c, s.shape.h, s.shape.w};
  if (s.kind == Kind::transposed_filter) return {s.shape.c, s.shape.n, s.shape.h, s.shape.w};
  return {s.shape.c};
}

// Calls move(index in our dense order, index in PyTorch's).
template <class Move>
void for_each_element(const ParamSpec& s, Move&& move) {
  int64_t ours = 0;
  const int64_t taps = s.shape.h * s.shape.w;
  for (int64_t k = 0; k < s.shape.n; ++k) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t c = 0; c < s.shape.c; ++c, ++ours) {
        const int64_t outer =
            s.kind == Kind::transposed_filter ? c * s.shape.n + k : k * s.shape.c + c;
        move(ours, outer * taps + tap);
      }
    }
  }
}

// Tensors in PyTorch's layout, kept alive until the file is written.
class Writer {
 public:
  void add(const std::string& name, const ParamSpec& spec, const Tensor& value) {
    Tensor out(spec.shape, DType::f32);
    const auto from = value.span<float>();
    const auto to = out.span<float>();
    for_each_element(spec, [&](int64_t ours, int64_t theirs) {
      to[static_cast<size_t>(theirs)] = from[static_cast<size_t>(ours)];
    });
    add(name, torch_shape(spec), std::move(out));
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

struct Checkpoint::File {
  explicit File(const std::filesystem::path& path) : tensors(path) {}

  const SafeTensorInfo* find(const std::string& name) const {
    const auto found = tensors.tensors().find(name);
    return found == tensors.tensors().end() ? nullptr : &found->second;
  }
  Tensor read(const std::string& name, const ParamSpec& spec) const;

  SafeTensorsFile tensors;
};

Tensor Checkpoint::File::read(const std::string& name, const ParamSpec& spec) const {
  const SafeTensorInfo* info = find(name);
  const std::string path = tensors.path().string();
  if (info == nullptr) throw UserError(str(path, ": has no tensor ", name));
  if (info->shape != torch_shape(spec) || info->dtype != DType::f32) {
    throw UserError(
        str(path, ": ", name, " has another shape or type than the model's ", spec.shape, " f32"));
  }
  Tensor result(spec.shape, DType::f32);
  const float* from = reinterpret_cast<const float*>(tensors.bytes(name).data());
  const auto to = result.span<float>();
  for_each_element(
      spec, [&](int64_t ours, int64_t theirs) { to[static_cast<size_t>(ours)] = from[theirs]; });
  return result;
}

Checkpoint::Checkpoint(const std::filesystem::path& path) : file_(std::make_unique<File>(path)) {
  if (file_->find("inc.double_conv.0.weight") == nullptr ||
      file_->find("outc.conv.weight") == nullptr) {
    throw UserError(str(path.string(), ": holds no UNet (no tensor inc.double_conv.0.weight); ",
                        "give a checkpoint of unetd-train"));
  }
}

Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

const Metadata& Checkpoint::metadata() const { return file_->tensors.metadata(); }

std::string Checkpoint::get(const std::string& key) const {
  const auto found = metadata().find(key);
  return found == metadata().end() ? std::string() : found->second;
}

UNetConfig Checkpoint::model() const {
  const auto shape = [&](const std::string& name, size_t rank) {
    const SafeTensorInfo& info = file_->tensors.info(name);
    if (info.shape.size() != rank) {
      throw UserError(str(file_->tensors.path().string(), ": ", name, " is no convolution"));
    }
    return info.shape;
  };
  UNetConfig c;
  const auto first = shape("inc.double_conv.0.weight", 4);
  c.width = first[0];
  c.in_channels = first[1];
  c.classes = shape("outc.conv.weight", 4)[0];
  c.depth = 0;
  while (file_->find(str("down", c.depth + 1, ".maxpool_conv.1.double_conv.0.weight"))) ++c.depth;
  c.bilinear = file_->find("up1.up.weight") == nullptr;
  c.conv_bias = file_->find("inc.double_conv.0.bias") != nullptr;
  if (const std::string yaml = get("config"); !yaml.empty()) {
    Config config;
    apply_yaml(config, yaml, file_->tensors.path().string());
    c.bn_eps = static_cast<float>(config.model.bn_eps);
    c.bn_momentum = static_cast<float>(config.model.bn_momentum);
  }
  return c;
}

void Checkpoint::load(Params& params) const {
  for (const ParamSpec& s : params.specs()) params.write(s.name, file_->read(s.name, s));
}

void Checkpoint::restore(Trainer& trainer) const {
  const std::string step = get("step");
  if (step.empty()) {
    throw UserError(str(file_->tensors.path().string(),
                        ": holds a model but no training state; start from it with --init"));
  }
  Params& params = trainer.params();
  const OptimizerState& state = trainer.optimizer();
  for (const ParamSpec& s : params.specs()) {
    const bool statistic = s.role == ParamRole::statistic;
    const Tensor model = file_->read(s.name, s);
    if (state.average) {
      params.write_to(statistic ? *state.average_statistics : *state.average, s, model);
      params.write(s.name, file_->read("optimizer.param." + s.name, s));
    } else {
      params.write(s.name, model);
    }
    if (statistic) continue;
    for (const auto& [name, buffer] : state.moments()) {
      if (!buffer) continue;
      const std::string tensor = moment_name(name, s);
      if (file_->find(tensor) == nullptr) {
        throw UserError(str(file_->tensors.path().string(), ": has no ", tensor,
                            ": its run had another optimizer; keep that, or start with --init"));
      }
      params.write_to(*buffer, s, file_->read(tensor, s));
    }
  }
  if (file_->find(loss_scale_name) != nullptr) {
    const ParamSpec pair{.name = loss_scale_name, .shape = {1, 1, 1, 2}};
    const Tensor numbers = file_->read(loss_scale_name, pair);
    trainer.set_loss_scale({numbers.span<float>()[0], numbers.span<float>()[1]});
  }
  trainer.set_step(std::stoll(step));
}

}  // namespace unetd

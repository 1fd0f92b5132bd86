// unetd-convert: a trained network from one kind of file into another.
#include "engine/base/log.h"
#include "kernels/register.h"
#include "tools/cli.h"
#include "tools/deepness.h"
#include "tools/model_description.h"
#include "tools/model_file.h"
#include "unet/onnx.h"

#include <algorithm>

namespace {

using namespace unetd;
using cli::Args;

cli::Spec spec() {
  return {
      .program = "unetd-convert",
      .summary = "bring trained networks from PyTorch and take them to other programs",
      .description =
          "IN is a checkpoint of unetd-train, a state dict as torch.save writes it (.pth; read "
          "without Python, and nothing in it is run), or one as safetensors. What kind it is its "
          "content tells.\n\n"
          "OUT ending in .safetensors gets the network's tensors with the names and layouts of "
          "PyTorch, so that load_state_dict takes them with strict=True, and all that is known of "
          "bands, classes and normalisation. OUT ending in .onnx gets the network for ONNX "
          "runtimes (operator set 17), with batch norm folded: the input is the normalised image, "
          "of any number, height and width unless --tile fixes the latter two, and the metadata "
          "are those that the QGIS plugin Deepness reads.\n\n"
          "Weights alone do not say what they are for. A file of the same name with the suffix "
          ".yml beside IN may say it: bands, classes, normalisation (docs/weights.md).",
      .flags = {{.name = "IN", .value = "FILE", .help = "trained network", .required = true},
                {.name = "OUT",
                 .value = "FILE",
                 .help = "to write: .safetensors or .onnx",
                 .required = true},
                {.name = "--outputs",
                 .value = "NAME",
                 .help = "of an ONNX file: logits, probabilities, which Deepness wants, or the "
                         "values of a model that was trained on targets; by default values of "
                         "such, logits of others",
                 .choices = {"logits", "probabilities", "values"}},
                {.name = "--tile",
                 .value = "N",
                 .help = "height and width of an ONNX file's images; 0: any",
                 .kind = cli::Kind::integer,
                 .fallback = "0"}},
      .groups = {"inference"},
      .overwrite = true,
      .examples =
          "unetd-convert run/best.ckpt best.safetensors\n"
          "unetd-convert unet.pth unet.onnx --outputs probabilities --tile 512\n"};
}

void check_target(const std::filesystem::path& out, bool overwrite) {
  if (!overwrite && std::filesystem::exists(out))
    throw UserError(str(out.string(), " exists; choose another name or allow --overwrite"));
}

OnnxOptions::Output onnx_output(const Args& args, const ModelFile& model) {
  using Output = OnnxOptions::Output;
  const std::string wanted = args.has("--outputs") ? args.text("--outputs")
                             : model.target        ? "values"
                                                   : "logits";
  if (wanted == "logits") return Output::logits;
  if ((wanted == "values") != model.target.has_value())
    throw UsageError(str("--outputs ", wanted, ": the model ",
                         model.target ? "predicts values" : "tells classes apart"));
  if (wanted == "values") return Output::values;
  return model.independent() ? Output::sigmoid : Output::softmax;
}

OnnxOptions onnx_options(const Args& args, const ModelFile& model) {
  OnnxOptions options;
  options.size = args.integer("--tile");
  const UNetConfig& net = model.unet;
  if (options.size != 0 && options.size < net.stride())
    throw UsageError(
        str("--tile: images of the network have at least ", net.stride(), " pixels a side"));
  if (!net.skips && options.size % net.stride() != 0)
    throw UsageError(
        str("--tile: images of the network are multiples of ", net.stride(), " a side"));
  if (const int64_t used = net.used_side(options.size); used != options.size) {
    throw UsageError(str("--tile: without padding the network reads ", net.input_side(1), ", ",
                         net.input_side(1) + net.stride(), " and so on, such as ",
                         net.input_side(std::max<int64_t>(options.size - 2 * net.margin(), 1)),
                         " pixels a side"));
  }
  options.output = onnx_output(args, model);
  if (model.target) options.scale = model.target->scale;
  options.metadata =
      deepness_metadata(model, options.size > 0 ? options.size : model.config.inference.tile);
  return options;
}

// Weights without a description can be converted, too: normalisation is then left to their user.
ModelFile open(const Args& args, const std::filesystem::path& path) {
  const Checkpoint file(path);
  const bool described =
      complete_metadata(path, file.metadata(), file.model()).contains("normalisation");
  if (!described) log_info(path.string(), ": says nothing of bands, classes and normalisation");
  return open_model(path, [&](const Config& stored) {
    Config config = args.config(stored);
    if (!described) config.normalisation.method = NormalisationMethod::none;
    return config;
  });
}

void convert(const Args& args) {
  const std::filesystem::path in = args.path("IN"), out = args.path("OUT");
  const std::string kind = out.extension().string();
  if (kind != ".safetensors" && kind != ".onnx")
    throw UsageError(str(out.string(), ": the name must end in .safetensors or .onnx"));
  if (kind != ".onnx" && (args.has("--outputs") || args.has("--tile")))
    throw UsageError("--outputs and --tile are for .onnx");
  check_target(out, args.overwrite());
  register_kernels();
  const ModelFile model = open(args, in);
  if (kind == ".onnx") {
    write_onnx(out, model.params, model.unet, onnx_options(args, model));
    return;
  }
  Metadata metadata;  // of the network, not of its training
  for (const char* key :
       {"bands", "resampling", "resolution", "classes", "target", "normalisation", "config"}) {
    const auto found = model.metadata.find(key);
    if (found != model.metadata.end()) metadata.insert(*found);
  }
  save_model(out, model.params, model.batches, metadata);
}

}  // namespace

int main(int argc, char** argv) { return cli::run(argc, argv, spec(), convert); }

#include "unet/runtime.h"

#include "engine/autograd/tuner.h"

namespace unetd {

SessionOptions session_options(const Config& config) {
  SessionOptions options{.device = open_device(config.runtime.device),
                         .kernels = KernelChoice(config.runtime.kernels)};
  if (config.runtime.tune) {
    options.tuner = std::make_shared<Tuner>(options.device, TuneStore::present(options.device));
  }
  return options;
}

}  // namespace unetd

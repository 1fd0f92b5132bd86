// The card that plans are made for: the one of this process, or one that a description stands for.
// cuDNN makes plans for a described card without a driver, which is how they are tested.
#pragma once

#include "kernels/cudnn/descriptor.h"

namespace unetd::cudnn {

class Target {
 public:
  // The process's card, with the one handle to cuDNN of this process. Throws Error without a GPU.
  static const Target& present();
  // A card by cuDNN's JSON for it, as text() gives on a machine that has the card. Plans for it
  // cannot run. Throws Error for a text that cuDNN does not take.
  static Target described(std::string_view json);

  // cuDNN's JSON: name, compute capability, sizes, driver. Tells cards apart on disk.
  std::string text() const;
  bool runs() const { return handle_ != nullptr; }
  cudnnHandle_t handle() const { return handle_; }

  // Tells graph, heuristics and plan about the card.
  void bind_graph(Descriptor& graph) const;
  void bind_heuristics(Descriptor& heuristics) const;
  void bind_plan(Descriptor& plan) const;

 private:
  Target(cudnnHandle_t handle, Descriptor properties)
      : handle_(handle), properties_(std::move(properties)) {}

  cudnnHandle_t handle_;  // null for a described card
  Descriptor properties_;
};

}  // namespace unetd::cudnn

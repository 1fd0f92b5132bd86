// What a network is given: images, and how they enter its graph. Images come either normalised, in
// f32, or raw as a store or a scene holds them; raw ones are normalised and turned on the device,
// by the graph's first node.
#pragma once

#include "engine/autograd/ops.h"
#include "engine/autograd/session.h"
#include "engine/tensor/patches.h"

#include <optional>
#include <span>

namespace unetd {

// A view of images: what it names must outlive it.
struct Images {
  Images(const Tensor& normalised) : samples(&normalised) {}  // NOLINT(google-explicit-constructor)
  // samples: u8, u16, i16 or f32; valid: u8 (n, h, w, 1); one of `constants` a channel. Without
  // draws patches stay as they are.
  Images(const Tensor& raw_samples, const Tensor& valid_pixels,
         std::span<const BandConstants> constants, const Draws* drawn = nullptr)
      : samples(&raw_samples), valid(&valid_pixels), bands(constants), draws(drawn) {}

  const Shape& shape() const { return samples->shape(); }
  // The type of raw samples; none for normalised images.
  std::optional<DType> raw() const {
    return valid == nullptr ? std::nullopt : std::optional(samples->dtype());
  }

  const Tensor* samples;
  const Tensor* valid = nullptr;
  std::span<const BandConstants> bands;
  const Draws* draws = nullptr;
};

// A graph's inputs for images of one shape, and what the network and its loss make use of.
struct NetworkInput {
  Value image, labels;
  RawPatches raw;  // of normalised images: `image` as samples, and the labels
};

// Types: of raw samples, or none; of labels (u8 classes, f32 targets), or none; of what the network
// reads.
struct InputTypes {
  std::optional<DType> raw, labels;
  DType image = DType::f32;
};
NetworkInput record_input(Graph& g, const Shape& shape, const InputTypes& types);

// Throws Error where shapes or types differ from the recorded ones, and for a symmetry that the
// patches do not have.
void write_input(Session& session, const NetworkInput& input, const Images& images,
                 Session::Write when = Session::Write::now);
void write_input(Session& session, const NetworkInput& input, const Images& images,
                 const Tensor& labels, Session::Write when = Session::Write::now);

}  // namespace unetd

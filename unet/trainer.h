// Training: one recorded step (forward, loss, backward, clipping, optimiser, moving average) that
// is replayed for every batch, and evaluation on the same parameters.
#pragma once

#include "engine/autograd/session.h"
#include "unet/config.h"
#include "unet/input.h"
#include "unet/model.h"
#include "unet/optimizer.h"
#include "unet/score_counter.h"
#include "unet/targets.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace unetd {

struct StepResult {
  double loss = 0, grad_norm = 0, learning_rate = 0;
  bool skipped = false;  // something was not finite, and no parameter has changed
};

// The length of the schedule, and how many steps at its beginning compute in f32 whatever the
// network's storage type.
struct Course {
  int64_t steps, f32_steps;
  Course(int64_t all, int64_t f32 = 0)  // NOLINT(google-explicit-constructor)
      : steps(all), f32_steps(f32) {}
};

class Trainer {
 public:
  using Meanwhile = std::function<void()>;

  // `batch` is the shape of every image tensor; `loss_weights`
  // has one factor a class for each term of the loss, none of them where a term has no weights, or
  // is empty for no weights at all; `raw` is the type of the samples trained on, or none where
  // images come normalised; `target` is the scale of values, where the loss is one on values.
  Trainer(const Config& config, const UNetConfig& model, Shape batch, const Course& course,
          std::span<const std::vector<float>> loss_weights, std::optional<DType> raw = {},
          const TargetScale& target = {});

  // One optimiser step. labels: u8 (n, h, w, 1), 255 ignored, or, where the loss is one on values,
  // f32 targets in their unit, NaN ignored; turned along with raw images. Without padding the
  // network learns from the middle of each image.
  // A step whose loss or gradient is not finite changes neither parameters nor statistics. In f16
  // its loss scale is halved, and that is all unless it happens too often in a row; otherwise
  // training.on_nan says whether it throws Error or is reported and left out. Both name the step
  // and the node that was first not finite.
  // `meanwhile` is called while the device is at work on the step: the time to get the next batch
  // and to bring_ahead() with it. It must not throw.
  StepResult train(const Images& images, const Tensor& labels, const Meanwhile& meanwhile = {});
  // With training.accumulate = k, k - 1 calls go before each train(), which then steps by the mean
  // gradient of all k batches and returns their mean loss.
  void accumulate(const Images& images, const Tensor& labels, const Meanwhile& meanwhile = {});
  // Brings what the next call of those two will be given to the device, beside the work there. Does
  // nothing where the host shares the device's memory.
  void bring_ahead(const Images& images, const Tensor& labels);
  // Multiplies the learning rate from now on: for a schedule that follows the scores.
  void set_rate_factor(double factor) { rate_factor_ = factor; }

  // Counts the predictions for a batch of any size, mirrored at its borders where the network has
  // no padding, on the device, and returns the loss over its valid pixels, without weights of
  // classes. Uses the moving average of the parameters where there is one.
  double evaluate(const Images& images, const Tensor& labels);
  // What evaluate() counted since the last call: of classes, or of values.
  Tallies take_tallies() { return counter_.take(); }
  ErrorTally take_errors() { return std::exchange(errors_, ErrorTally(target_)); }

  int64_t step() const { return step_; }
  void set_step(int64_t step);
  int64_t steps() const { return course_.steps; }
  const UNetConfig& model() const { return model_; }
  Params& params() { return params_; }
  const Params& params() const { return params_; }
  // What inference should use: the moving average where there is one.
  Params inference_params() const;
  OptimizerState& optimizer() { return optimizer_; }
  const OptimizerState& optimizer() const { return optimizer_; }
  // The loss scale of f16, for checkpoints; the start value where there is none.
  LossScale loss_scale() const;
  void set_loss_scale(const LossScale& state);
  // After the parameters were set from outside: the average starts from them.
  void restart_average() const { optimizer_.restart_average(params_); }
  // Another one after the last step of the course in f32.
  Session& session() { return *training_->session; }
  const Session& session() const { return *training_->session; }

 private:
  struct Recorded {  // a graph's session with the values that are read or written
    std::unique_ptr<Session> session;
    NetworkInput input;
    Value scalars, loss, norm;
    Value errors;                // of an evaluation of values
    Value batch;                 // its number, for dropout
    std::vector<Value> weights;  // of the terms of the loss
    Shape shape;
    std::optional<DType> raw;
  };
  void record();
  std::unique_ptr<Recorded> record_training();
  void record_training(Graph& g, Recorded& r, Shape batch);
  void record_evaluation(Graph& g, Recorded& r, Shape shape, std::optional<DType> raw);
  std::unique_ptr<Session> make_session(const Graph& g, Shape batch,
                                        const std::function<void(Graph&, Shape)>& record) const;
  Recorded& evaluation(const Images& images);
  std::unique_ptr<Recorded> record_update_alone();
  Value loss_scale_value(Graph& g) const;
  void run(Recorded& r, const OptimizerScalars& scalars);
  DType label_type() const { return config_.loss.of_values() ? DType::f32 : DType::u8; }
  void write_images(const Images& images, const Tensor& labels, Session::Write when);
  void write_batch(const Images& images, const Tensor& labels);
  double add_gradients(const Images& images, const Tensor& labels, const Meanwhile& meanwhile);
  void keep_statistics() const;
  void restore_statistics() const;
  void check_finite(StepResult& result);
  std::string first_not_finite();

  Config config_;
  UNetConfig model_;
  DeviceType device_;
  std::vector<std::vector<float>> loss_weights_;
  Params params_;
  OptimizerState optimizer_;
  ScoreCounter counter_;
  TargetScale target_;
  ErrorTally errors_;
  Shape batch_;
  std::optional<DType> raw_;
  Course course_;
  DType precision_;  // after the course's steps in f32; model_.compute is that of now
  int64_t step_ = 0;
  int64_t left_out_ = 0;  // steps in a row
  int64_t gathered_ = 0;  // batches of the step in progress
  double loss_sum_ = 0, rate_factor_ = 1;
  const void* ahead_ = nullptr;  // samples of the batch that is on the device already
  // Batch norm's statistics and their average, with copies from before the step in progress.
  std::vector<std::pair<std::shared_ptr<Buffer>, std::shared_ptr<Buffer>>> good_statistics_;
  std::unique_ptr<Recorded> training_, update_, evaluation_;
};

}  // namespace unetd

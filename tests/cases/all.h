// Every problem there is.
#pragma once

#include "tests/cases/batch_norm.h"
#include "tests/cases/blend_tile.h"
#include "tests/cases/cast.h"
#include "tests/cases/classify.h"
#include "tests/cases/conv2d.h"
#include "tests/cases/conv2d_norm_grad.h"
#include "tests/cases/conv2d_stats.h"
#include "tests/cases/conv_transpose2x2.h"
#include "tests/cases/dropout.h"
#include "tests/cases/loss.h"
#include "tests/cases/maxpool2x2.h"
#include "tests/cases/optimizer.h"
#include "tests/cases/pointwise.h"
#include "tests/cases/prepare_patches.h"
#include "tests/cases/regression.h"
#include "tests/cases/resize_bilinear.h"
#include "tests/cases/shape_ops.h"

#include <tuple>

namespace unetd {

using AllProblems =
    std::tuple<Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Conv2dStats, Conv2dNormGrad,
               ConvTranspose2x2, ConvTranspose2x2DataGrad, ConvTranspose2x2WeightGrad,
               BatchNormStats, BatchNormApply, BatchNormGrad, BatchNormInference,
               BatchNormApplyPool, BatchNormPoolGrad, Relu, ReluGrad, Sigmoid, SigmoidGrad, Softmax,
               SoftmaxGrad, Add, Dropout, MaxPool2x2, MaxPool2x2Grad, ResizeBilinear,
               ResizeBilinearGrad, ConcatChannels, SplitChannels, Pad2d, CrossEntropy,
               BceWithLogits, TverskyLoss, ErrorSums, RegressionLoss, GlobalNorm, ScaleGradient,
               GradientFactor, AdamW, Sgd, RmsProp, Ema, Cast, Classify, ConfusionMatrix,
               ProbabilityCounts, BlendTile, PreparePatches>;

// visit.template operator()<P>() for every problem.
template <class Visit>
void for_each_problem(Visit&& visit) {
  [&]<class... P>(std::tuple<P...>*) {
    (visit.template operator()<P>(), ...);
  }(static_cast<AllProblems*>(nullptr));
}

}  // namespace unetd

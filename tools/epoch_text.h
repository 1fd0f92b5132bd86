// What a training run says after each evaluation: first in the form in which wp99cp/bachelor-thesis
// prints its epochs, so that two logs can be laid side by side, then as a table.
#pragma once

#include "tools/scores_json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace unetd {

struct EpochResult {
  double epoch = 0;  // passes that are complete; not whole where an evaluation fell in between
  std::optional<double> train_loss;
  double valid_loss = 0;
  int64_t waited = 0, patience = 0;  // evaluations without a better score, and those allowed
};

// Several lines: losses; of classes accuracy, IoU and Dice of each at the threshold of the tally,
// over all pixels; and the table of tools/scores_json.h, of classes the most probable one's.
std::string epoch_text(const EpochResult& epoch, const Counts& counts,
                       const std::vector<io::ClassInfo>& classes);

}  // namespace unetd

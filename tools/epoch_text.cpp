#include "tools/epoch_text.h"

#include "engine/base/error.h"
#include "tools/scores_json.h"

#include <cmath>
#include <cstdio>

namespace unetd {
namespace {

std::string fixed(double x, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}

// Of each class by itself.
std::string at_threshold(const std::string& epoch, const Tallies& tallies,
                         const std::vector<io::ClassInfo>& classes) {
  if (!tallies.probabilities) return "";
  std::string text = str("Metrics for validation of epoch:  ", epoch, " (probability above ",
                         tallies.probabilities->threshold, ")\n");
  const std::vector<ClassScores> scores =
      scores_at_threshold(*tallies.probabilities, tallies.confusion);
  for (size_t i = 0; i < classes.size(); ++i) {
    const std::string& name = classes[i].name;
    text += str(" - pixel_accuracy___", name, ": ", fixed(scores[i].accuracy, 4),
                "\n - union_over_inter_", name, ": ", fixed(scores[i].iou, 4),
                "\n - dice_coefficient_", name, ": ", fixed(scores[i].dice, 4), "\n");
  }
  return text;
}

}  // namespace

std::string epoch_text(const EpochResult& e, const Counts& counts,
                       const std::vector<io::ClassInfo>& classes) {
  const std::string epoch = fixed(e.epoch, e.epoch == std::floor(e.epoch) ? 0 : 2);
  std::string text =
      str("Epoch: ", epoch, ", train_loss: ", e.train_loss ? fixed(*e.train_loss, 6) : "-",
          ", test_loss: ", fixed(e.valid_loss, 6), ", EStop: ", e.waited, "/", e.patience, "\n");
  if (const auto* tallies = std::get_if<Tallies>(&counts))
    text += at_threshold(epoch, *tallies, classes) + "Most probable class:\n";
  text += to_table(counts, classes);
  text.pop_back();  // the log ends the line
  return text;
}

}  // namespace unetd

#include "tools/tables.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

namespace unetd {
namespace {

std::string centred(const std::string& text, size_t width) {
  const size_t space = width - std::min(width, text.size());
  const size_t left =
      space / 2 + (space & width & 1);  // where Python's str.center puts the odd one
  return std::string(left, ' ') + text + std::string(space - left, ' ');
}

std::string grouped(int64_t n) {
  std::string digits = std::to_string(n);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

}  // namespace

std::string parameter_table(const UNetConfig& c) {
  const Params params = unet_params(c, DeviceType::cpu);
  const std::string second = "Parameters";
  size_t width = std::string("Modules").size();
  for (const ParamSpec& s : params.specs()) {
    if (s.role != ParamRole::statistic) width = std::max(width, s.name.size());
  }
  const std::string rule =
      "+" + std::string(width + 2, '-') + "+" + std::string(second.size() + 2, '-') + "+\n";
  std::ostringstream out;
  const auto row = [&](const std::string& name, const std::string& count) {
    out << "| " << centred(name, width) << " | " << centred(count, second.size()) << " |\n";
  };
  out << rule;
  row("Modules", second);
  out << rule;
  for (const ParamSpec& s : params.specs()) {
    if (s.role != ParamRole::statistic) row(s.name, std::to_string(s.count()));
  }
  out << rule << "Total Trainable Params: " << params.trained_count() << '\n';
  return out.str();
}

std::string layer_table(const UNetConfig& c, int64_t height, int64_t width) {
  constexpr int wide = 77;
  std::ostringstream out;
  const auto row = [&](const std::string& layer, const std::string& shape,
                       const std::string& count) {
    out << std::right << std::setw(21) << layer << std::setw(23) << shape << std::setw(16) << count
        << std::setw(16) << count << '\n';
  };
  out << std::string(wide, '-') << '\n'
      << std::right << std::setw(21) << "Layer (type)" << std::setw(23) << "Input Shape"
      << std::setw(16) << "Param #" << std::setw(16) << "Tr. Param #" << '\n'
      << std::string(wide, '=') << '\n';
  int64_t number = 0, total = 0;
  for (const LayerInfo& l : unet_layers(c, height, width)) {
    row(str(l.type, "-", ++number), str("[1, ", l.input.c, ", ", l.input.h, ", ", l.input.w, "]"),
        grouped(l.parameters));
    total += l.parameters;
  }
  out << std::string(wide, '=') << '\n'
      << "Total params: " << grouped(total) << '\n'
      << "Trainable params: " << grouped(total) << '\n'
      << "Non-trainable params: 0\n"
      << std::string(wide, '-') << '\n';
  return out.str();
}

}  // namespace unetd

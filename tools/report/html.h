// The small pieces that a report page is put together from. A page is one file: style, charts and
// pictures are inside, nothing is fetched and nothing runs.
#pragma once

#include "engine/tensor/tensor.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace unetd::report {

// Text in which &, <, > and quotes stand for themselves, in elements and in attributes.
std::string escaped(const std::string& text);
// "0.875"; "-" for NaN and infinity.
std::string fixed(double x, int digits);
// "0.01234", "1.2e+07": four digits.
std::string significant(double x);
// "87.5 %".
std::string percent(double share);
// "12,345,678".
std::string grouped(int64_t n);
// "12.3 MiB".
std::string mebibytes(size_t bytes);
// "#rrggbb".
std::string html_color(const std::array<uint8_t, 3>& color);
// A small square of a colour, as legends and tables have it.
std::string swatch(const std::string& color);

// A heading and what is under it.
std::string section(const std::string& title, const std::string& content);

// A table whose first column is a heading; it scrolls by itself where the page is too narrow. Cells
// are HTML.
class Table {
 public:
  explicit Table(const std::vector<std::string>& columns);
  // `attributes` of a cell go into its tag: style="...".
  struct Cell {
    Cell(std::string html) : html(std::move(html)) {}
    Cell(const char* html) : html(html) {}
    Cell(std::string html, std::string attributes)
        : html(std::move(html)), attributes(std::move(attributes)) {}
    std::string html, attributes;
  };
  void add(const std::vector<Cell>& cells);
  std::string html() const;

 private:
  std::string rows_;
};

// <img> with the picture inside: a u8 tensor {1, h, w, 3 or 4}.
std::string image(const Tensor& picture, const std::string& description);

// The whole document.
std::string page(const std::string& title, const std::string& body);

}  // namespace unetd::report

#include "tools/report/html.h"

#include "engine/base/error.h"
#include "io/gdal_quicklook.h"

#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>

namespace unetd::report {
namespace {

constexpr const char* style = R"css(
:root{color-scheme:light dark;--text:#222;--dim:#666;--line:#ddd;--back:#fff;--panel:#f6f6f6}
@media(prefers-color-scheme:dark){
:root{--text:#ddd;--dim:#999;--line:#3a3d42;--back:#17191c;--panel:#22252a}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:0 auto;padding:1em;
color:var(--text);background:var(--back)}
h1{margin:.3em 0;overflow-wrap:anywhere}h2{margin:1.6em 0 .5em;font-size:1.25em}p{margin:.5em 0}
.dim{color:var(--dim)}
.facts{display:flex;flex-wrap:wrap;gap:.6em;margin:1em 0}
.facts div{background:var(--panel);border-radius:6px;padding:.5em .9em;flex:1 1 130px}
.facts b{display:block;font-size:1.25em}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:1em}
figure{margin:0;min-width:0}figcaption{font-weight:600}
svg{width:100%;height:auto;display:block}svg text{font-size:13px;fill:var(--dim)}
.grid{stroke:var(--line)}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.line,circle{filter:drop-shadow(0 0 .5px var(--text))}
.legend{margin:0}.legend span{margin-right:1.2em;white-space:nowrap}
.swatch{display:inline-block;width:.8em;height:.8em;margin-right:.4em;border:1px solid #888}
.ramp{display:inline-block;width:8em;height:.8em;border:1px solid #888}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.25em .7em;border:1px solid var(--line);text-align:right;white-space:nowrap}
th{text-align:left;font-weight:600}
.bar{display:flex;height:1.5em;border:1px solid #888;border-radius:3px;overflow:hidden;
margin:.1em 0 .7em}
.sample{margin:0 0 1.4em}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(47%,190px),1fr));gap:.6em}
.pictures img{width:100%;display:block;image-rendering:pixelated;border:1px solid var(--line);
background:repeating-conic-gradient(#bbb 0 25%,#ddd 0 50%) 0/12px 12px}
.pictures figcaption{font-weight:400;font-size:.9em;color:var(--dim)}
.maps{display:flex;flex-wrap:wrap;gap:1em}.maps figure{flex:0 1 auto;max-width:100%}
.maps img{max-width:100%;display:block;border:1px solid var(--line);
background:repeating-conic-gradient(#bbb 0 25%,#ddd 0 50%) 0/12px 12px}
.maps figcaption{font-weight:400;font-size:.9em;color:var(--dim)}
pre{background:var(--panel);padding:1em;overflow:auto;border-radius:6px}
summary{cursor:pointer;font-weight:600}
)css";

std::string base64(std::string_view bytes) {
  constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t triple = 0;
    for (size_t k = i; k < i + 3; ++k) {
      triple = triple << 8 | (k < bytes.size() ? static_cast<uint8_t>(bytes[k]) : 0U);
    }
    for (size_t k = 0; k < 4; ++k) {
      const bool padding = i + k > bytes.size();
      out += padding ? '=' : alphabet[triple >> (18 - 6 * k) & 63];
    }
  }
  return out;
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string fixed(double x, int digits) {
  if (!std::isfinite(x)) return "-";
  char text[400];  // the longest double has 309 digits before the point
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}

std::string significant(double x) {
  if (!std::isfinite(x)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", x);
  return text;
}

std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

std::string grouped(int64_t n) {
  std::string text = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > (n < 0 ? 1 : 0); at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

std::string mebibytes(size_t bytes) {
  return fixed(static_cast<double>(bytes) / (1 << 20), 1) + " MiB";
}

std::string html_color(const std::array<uint8_t, 3>& color) {
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", color[0], color[1], color[2]);
  return text;
}

std::string swatch(const std::string& color) {
  return "<i class=\"swatch\" style=\"background:" + escaped(color) + "\"></i>";
}

std::string section(const std::string& title, const std::string& content) {
  return "<section><h2>" + escaped(title) + "</h2>\n" + content + "</section>\n";
}

Table::Table(const std::vector<std::string>& columns) {
  rows_ = "<tr>";
  for (const std::string& column : columns) rows_ += "<th>" + column + "</th>";
  rows_ += "</tr>\n";
}

void Table::add(const std::vector<Cell>& cells) {
  rows_ += "<tr>";
  for (size_t i = 0; i < cells.size(); ++i) {
    const char* const tag = i == 0 ? "th" : "td";
    rows_ += str('<', tag, cells[i].attributes.empty() ? "" : " ", cells[i].attributes, '>',
                 cells[i].html, "</", tag, '>');
  }
  rows_ += "</tr>\n";
}

std::string Table::html() const {
  return "<div class=\"scroll\"><table>\n" + rows_ + "</table></div>\n";
}

std::string image(const Tensor& picture, const std::string& description) {
  return "<img alt=\"" + escaped(description) + "\" src=\"data:image/png;base64," +
         base64(io::png_bytes(picture)) + "\">";
}

std::string page(const std::string& title, const std::string& body) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
         "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
         "<link rel=\"icon\" href=\"data:,\"><title>" +
         escaped(title) + "</title><style>" + style + "</style></head>\n<body>\n<h1>" +
         escaped(title) + "</h1>\n" + body + "</body></html>\n";
}

}  // namespace unetd::report

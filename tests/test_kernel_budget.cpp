// What the CUDA kernels take of a processor: registers, spills and shared memory, as the assembler
// reports them, against tests/data/kernel_budget.txt. Nothing may spill, and a change of the rest
// is to be seen in a diff. UNETD_UPDATE_BUDGET=1 writes the table anew.
#include "engine/base/error.h"
#include "engine/base/file.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <cxxabi.h>

namespace unetd {
namespace {

struct Usage {
  int registers = 0, spilled_bytes = 0, shared_bytes = 0;
  bool operator==(const Usage&) const = default;
};
// By "sm_90 file.cu kernel<arguments>".
using Budget = std::map<std::string, Usage>;

std::string text_of(const Usage& u) {
  return str(u.registers, " registers, ", u.spilled_bytes, " bytes spilled, ", u.shared_bytes,
             " bytes shared");
}

// A kernel's name without namespaces and parameters.
std::string readable(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  if (status != 0) return symbol;
  static const std::regex decoration(R"(^void |unetd::|cuda::|simt::|\(anonymous namespace\)::)");
  const std::string name = std::regex_replace(demangled.get(), decoration, "");
  const size_t template_end = name.rfind(">(");
  return template_end != std::string::npos ? name.substr(0, template_end + 1)
                                           : name.substr(0, name.find('('));
}

// Adds what `ptxas -v` says about the kernels of one file.
void add_report(Budget& budget, const std::string& file, std::istream& report) {
  static const std::regex entry(R"(Compiling entry function '(\w+)' for '(\w+)')");
  static const std::regex spills(R"((\d+) bytes spill stores, (\d+) bytes spill loads)");
  static const std::regex registers(R"(Used (\d+) registers)"), shared(R"((\d+) bytes smem)");
  std::string line;
  std::smatch match;
  Usage* kernel = nullptr;
  while (std::getline(report, line)) {
    if (std::regex_search(line, match, entry)) {
      kernel = &budget[str(match[2].str(), ' ', file, ' ', readable(match[1]))];
    }
    if (kernel == nullptr) continue;
    if (std::regex_search(line, match, spills)) {
      kernel->spilled_bytes += std::stoi(match[1]) + std::stoi(match[2]);
    }
    if (std::regex_search(line, match, registers)) kernel->registers = std::stoi(match[1]);
    if (std::regex_search(line, match, shared)) kernel->shared_bytes = std::stoi(match[1]);
  }
}

// The table: a line of three numbers and the key for each kernel.
std::string written(const Budget& budget) {
  std::string text = "# registers, bytes spilled, static bytes shared, kernel\n";
  for (const auto& [key, u] : budget) {
    text += str(u.registers, ' ', u.spilled_bytes, ' ', u.shared_bytes, ' ', key, '\n');
  }
  return text;
}
Budget read_budget(std::istream& table) {
  Budget budget;
  std::string line;
  std::getline(table, line);  // the heading
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    Usage u;
    std::string key;
    fields >> u.registers >> u.spilled_bytes >> u.shared_bytes >> std::ws;
    std::getline(fields, key);
    budget[key] = u;
  }
  return budget;
}

// Everything that is not as the table says, and every spill.
std::vector<std::string> faults_of(const Budget& found, const Budget& allowed) {
  std::vector<std::string> faults;
  for (const auto& [key, u] : found) {
    if (u.spilled_bytes > 0) faults.push_back(str(key, " spills: ", text_of(u)));
    const auto known = allowed.find(key);
    if (known == allowed.end()) {
      faults.push_back(str(key, " is not in the table: ", text_of(u)));
    } else if (!(known->second == u)) {
      faults.push_back(str(key, " takes ", text_of(u), ", not ", text_of(known->second)));
    }
  }
  for (const auto& [key, u] : allowed) {
    if (!found.contains(key)) faults.push_back(str(key, " is in the table only"));
  }
  return faults;
}

TEST_CASE("the CUDA kernels keep to their budget of registers", "[cuda][budget]") {
  if (std::string(UNETD_KERNEL_REPORTS).empty()) {
    std::cout << "skipped: this build has no nvcc\n";
    return;
  }
  Budget found;
  // Written when the kernels were compiled (kernels/cuda/with_report.sh), `FILE.cu.o.ptxas` each.
  for (const auto& entry : std::filesystem::directory_iterator(UNETD_KERNEL_REPORTS)) {
    const std::filesystem::path& report = entry.path();
    if (report.extension() != ".ptxas") continue;
    const std::string source = report.stem().stem();
    if (!std::filesystem::exists(std::string(UNETD_SOURCE_DIR "/kernels/cuda/") + source)) continue;
    std::istringstream text(read_file(report.string()));
    add_report(found, source, text);
  }
  const std::string table = UNETD_SOURCE_DIR "/tests/data/kernel_budget.txt";
  if (std::getenv("UNETD_UPDATE_BUDGET") != nullptr) write_file(table, written(found));
  std::istringstream golden(read_file(table));
  INFO("run with UNETD_UPDATE_BUDGET=1 to accept a change");
  CHECK_THAT(faults_of(found, read_budget(golden)), Catch::Equals(std::vector<std::string>{}));
}

TEST_CASE("the assembler's report is read kernel by kernel", "[unit][budget]") {
  std::istringstream report(
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function '_ZN5unetd4cuda3addIfEEvPKT_' for 'sm_80'\n"
      "ptxas info    : Function properties for _ZN5unetd4cuda3addIfEEvPKT_\n"
      "    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n"
      "ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem\n"
      "ptxas info    : Compiling entry function 'plain' for 'sm_90'\n"
      "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
      "ptxas info    : Used 255 registers\n");
  Budget found;
  add_report(found, "x.cu", report);
  CHECK(found == Budget{{"sm_80 x.cu add<float>", {40, 16, 1024}}, {"sm_90 x.cu plain", {255}}});
  std::istringstream table(written(found));
  CHECK(read_budget(table) == found);
}

TEST_CASE("the budget's faults are found", "[unit][budget]") {
  const Budget allowed{{"a", {32}}, {"b", {40, 0, 512}}};
  CHECK(faults_of(allowed, allowed).empty());
  CHECK(faults_of({{"a", {33}}, {"b", {40, 0, 512}}}, allowed).size() == 1);
  CHECK(faults_of({{"a", {32}}, {"b", {40, 0, 1024}}}, allowed).size() == 1);
  CHECK(faults_of({{"a", {32}}}, allowed).size() == 1);
  CHECK(faults_of({{"a", {32}}, {"b", {40, 0, 512}}, {"c", {1}}}, allowed).size() == 1);
  const Budget spilling{{"a", {32, 4}}};
  CHECK(faults_of(spilling, spilling).size() == 1);
}

}  // namespace
}  // namespace unetd

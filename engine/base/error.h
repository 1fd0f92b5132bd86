// The exceptions of unetd. Everything below tools/ reports failure by throwing one of these;
// nothing there prints, exits or aborts. The programs turn them into one line on stderr and an exit
// code.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace unetd {

// A broken invariant or a failing environment (out of memory, a library call). Exit code 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Memory of a device ran out; the text says how much was wanted. Whoever chose the sizes adds what
// would fit (unet/fitting.h).
struct OutOfMemory : Error {
  using Error::Error;
};

// Input the user can mend: a file, its content, a folder. The text names it and the remedy. Exit
// code 1.
struct UserError : Error {
  using Error::Error;
};

// A command line or configuration the program cannot accept: a flag, a YAML key, a value. Exit
// code 2.
struct UsageError : UserError {
  using UserError::UserError;
};

// Joins its arguments into one string.
template <class... T>
std::string str(const T&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace unetd

// Checks an invariant in every build type; the further arguments carry the values at hand.
#define UNETD_CHECK(condition, ...)                                                            \
  ((condition) ? void()                                                                        \
               : throw ::unetd::Error(::unetd::str(__VA_ARGS__, " [", __FILE__, ":", __LINE__, \
                                                   ": ", #condition, "]")))

// What a call complains about.
#pragma once

#include "engine/base/error.h"

#include <string>
#include <utility>

#include <catch2/catch.hpp>

namespace unetd {

// The one line of the UserError (or UsageError) that `action` throws; without one the test fails.
template <class F>
std::string refusal(F&& action) {
  try {
    std::forward<F>(action)();
  } catch (const UserError& e) {
    CHECK(std::string(e.what()).find('\n') == std::string::npos);
    return e.what();
  }
  FAIL("nothing was thrown");
  return "";
}

}  // namespace unetd

// Lets a part of a test have so much more memory than there is in use, and no more: reading a small
// file must not take what the file merely claims.
#pragma once

#include "engine/base/error.h"

#include <cstddef>
#include <fstream>

#include <sys/resource.h>
#include <unistd.h>

namespace unetd {

class MemoryLimit {
 public:
  explicit MemoryLimit(size_t more = size_t{512} << 20) {
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;  // of address space
    UNETD_CHECK(::getrlimit(RLIMIT_AS, &before_) == 0, "no limits here");
    rlimit limited = before_;
    limited.rlim_cur = pages * static_cast<size_t>(::sysconf(_SC_PAGESIZE)) + more;
    UNETD_CHECK(::setrlimit(RLIMIT_AS, &limited) == 0, "no limits here");
  }
  ~MemoryLimit() { ::setrlimit(RLIMIT_AS, &before_); }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
};

}  // namespace unetd

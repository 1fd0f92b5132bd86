#include "engine/memory/buffer.h"

#include "engine/base/error.h"
#include "engine/base/threads.h"

#include <algorithm>
#include <cstring>

#include <sys/mman.h>

namespace unetd {

void detail::Unmap::operator()(std::byte* p) const { ::munmap(p, mapped); }

Buffer::Buffer(DeviceType device, size_t bytes) : bytes_(bytes), device_(device) {
  UNETD_CHECK(device != DeviceType::cuda, "CUDA memory is not managed by this back end");
  constexpr size_t page = 4096, huge_page = size_t{2} << 20;
  const size_t alignment = bytes >= huge_page ? huge_page : page;
  const size_t mapped = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* p = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw Error(str("out of memory: ", mapped >> 20, " MiB wanted"));
  data_ = {static_cast<std::byte*>(p), detail::Unmap{mapped}};
  if (bytes < huge_page) return;
  ::madvise(p, mapped, MADV_HUGEPAGE);  // a hint: without it the buffer works just as well
  parallel_chunks(static_cast<int64_t>(mapped), huge_page, [&](int64_t begin, int64_t end) {
    std::memset(data_.get() + begin, 0, static_cast<size_t>(end - begin));
  });
}

}  // namespace unetd

// Conversion between storage types: reads and writes each element once. A thread has 16 bytes of
// the wider type; a parameter that begins anywhere in its flat buffer goes element by element.
#include "engine/op/cast.h"
#include "kernels/cuda/flat.h"

namespace unetd::UNETD_GPU {
namespace {

struct Same {
  SIMT_DEVICE float operator()(float x) const { return x; }
};

void cast(const Cast& p, const Cast::Buffers& b, const Stream& stream) {
  with_storage_type(p.dtype, [&]<class X>(X) {
    with_storage_type(p.to, [&]<class Y>(Y) {
      map(stream, Same{}, p.shape.count(), static_cast<Y*>(b.y), static_cast<const X*>(b.x));
    });
  });
}

}  // namespace

void register_cast() { add<cast, Cast>(only_storage_types); }

}  // namespace unetd::UNETD_GPU

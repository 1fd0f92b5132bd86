// Convolutions by oneDNN, for the cpu device in f32.
//
// The engine's blocked layout is oneDNN's nChw16c and OIhw16i16o, so tensors are handed over as
// they are: oneDNN merely sees channel counts rounded up to whole blocks. oneDNN fixes its number
// of threads when a kernel is made: set_thread_count() comes first.
#pragma once

namespace unetd::onednn {

void register_kernels();

}  // namespace unetd::onednn

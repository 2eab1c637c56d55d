// What libtorch's C++ interface has and tch does not: autocast to a chosen type on any device.

#include <ATen/autocast_mode.h>

extern "C" void autorep_autocast_begin(bool cuda, bool bfloat16) {
  const auto device = cuda ? at::kCUDA : at::kCPU;
  at::autocast::set_autocast_dtype(device, bfloat16 ? at::kBFloat16 : at::kHalf);
  at::autocast::set_autocast_enabled(device, true);
  at::autocast::increment_nesting();
}

extern "C" void autorep_autocast_end(bool cuda) {
  if (at::autocast::decrement_nesting() == 0) {
    at::autocast::clear_cache();
  }
  at::autocast::set_autocast_enabled(cuda ? at::kCUDA : at::kCPU, false);
}

// The types of maps, and the one that each is computed in. Compiled by NVRTC, which has no headers of
// CUDA here, and by a C++ compiler for the emulator of the tests (emulator.h).
#pragma once

#ifdef __CUDACC_RTC__
#define AUTOREP_DEVICE __device__ __forceinline__
#else
#include <c10/util/Half.h>
#define AUTOREP_DEVICE inline
#endif

namespace autorep_cuda {

struct Bfloat16 {
  unsigned short bits;
};

struct Float16 {
  unsigned short bits;
};

// What a map of T is computed in, and elements that a thread of a wide kernel reads at once.
template <typename T>
struct Element {
  using Computed = float;
  static constexpr int WIDE = 4;
};
template <>
struct Element<double> {
  using Computed = double;
  static constexpr int WIDE = 2;
};

template <typename T>
using Computed = typename Element<T>::Computed;

AUTOREP_DEVICE unsigned bits_of(float value) {
  unsigned bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

AUTOREP_DEVICE float widened(float value) { return value; }
AUTOREP_DEVICE double widened(double value) { return value; }

// bfloat16 is the upper half of a float.
AUTOREP_DEVICE float widened(Bfloat16 value) {
  const unsigned bits = static_cast<unsigned>(value.bits) << 16;
  float wide;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

AUTOREP_DEVICE float widened(Float16 value) {
#ifdef __CUDA_ARCH__
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
  return wide;
#else
  return c10::detail::fp16_ieee_to_fp32_value(value.bits);
#endif
}

AUTOREP_DEVICE void narrow(float value, float& to) { to = value; }
AUTOREP_DEVICE void narrow(double value, double& to) { to = value; }

// To the nearest, to the even one of two; any NaN becomes one, as rounding could make it infinite.
AUTOREP_DEVICE void narrow(float value, Bfloat16& to) {
  const unsigned bits = bits_of(value);
  const unsigned rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  to.bits = static_cast<unsigned short>(value != value ? 0x7fc0u : rounded >> 16);
}

AUTOREP_DEVICE void narrow(float value, Float16& to) {
#ifdef __CUDA_ARCH__
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(value));
#else
  to.bits = c10::detail::fp16_ieee_from_fp32_value(value);
#endif
}

// V neighbours, read and written at once.
template <typename T, int V>
struct alignas(sizeof(T) * V) Pack {
  T values[V];
};

}  // namespace autorep_cuda

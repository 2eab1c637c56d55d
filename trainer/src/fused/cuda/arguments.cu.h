// What the host passes to a kernel.
#pragma once

namespace autorep_cuda {

// Threads of a block.
constexpr int THREADS = 256;

// The argument of every kernel. The host packs it (masked.cpp), so it has the same fields on both
// sides, of types with the same sizes.
struct Arguments {
  const void* z;
  const void* dy;            // backward: the gradient at the result
  void* out;                 // y, or backward the gradient at z
  const void* keep;          // null for zeros
  void* dkeep;               // null if not wanted; in the order of the map's memory
  const void* coefficients;  // [powers, columns]
  void* partials;            // null if not wanted; [kinds, elements / run]
  long long images;
  long long keep_strides[3];  // of [channels, height, width]
  int elements;               // of an image
  int channels;
  int height;
  int width;
  int channels_last;
  int powers;
  int columns;  // channels, or 1 where they share a polynomial
  int run;      // a power of two
};
static_assert(sizeof(Arguments) == 120, "both sides lay it out alike");

}  // namespace autorep_cuda

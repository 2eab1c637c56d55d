// The arithmetic of the masked activation on one run of elements: what the compiler vectorises.
//
// Every function goes over `count` elements of one image that lie side by side in memory. A tile
// holds one number per element of such a run and is the same for every image of the batch; sums
// over the batch are collected in tiles, too, so that nothing is reduced across lanes here. No two
// pointers of a call overlap: the loops say so (omp simd), for compilers lose sight of `__restrict`
// among so many.
#pragma once

#include <cstdint>

namespace autorep {

// What a run of elements shares over the batch. Pointers that a call does not need may be null.
template <typename A>
struct Tiles {
  const A* scale;   // of the normalisation: x = scale * z + shift
  const A* shift;
  const A* mean;    // of z, by which products with z are centred
  const A* c0;      // the polynomial's coefficients
  const A* c1;
  const A* c2;
  const A* keep;    // the share of ReLU: 1 keeps it, 0 replaces it
};

// Sums over the batch, element by element.
template <typename A>
struct Sums {
  A* keep;          // dy (relu(x) - g(x))
  A* c0;            // (1 - keep) dy x^p
  A* c1;
  A* c2;
  A* shift;         // dx
  A* scale;         // dx (z - mean)
};

// y = keep relu(x) + (1 - keep) g(x), written so that a kept ReLU is exactly one.
template <typename A, bool NORM, bool RESIDUAL, bool WATCH>
inline __attribute__((always_inline)) void forward_row(
    const Tiles<A>& tiles, const A* __restrict z, const A* __restrict residual, A* __restrict y,
    A* __restrict sum, A* __restrict squares, int64_t count) {
  const A *__restrict scale = tiles.scale, *__restrict shift = tiles.shift;
  const A *__restrict c0 = tiles.c0, *__restrict c1 = tiles.c1, *__restrict c2 = tiles.c2;
  const A* __restrict keep = tiles.keep;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    A x = NORM ? scale[i] * z[i] + shift[i] : z[i];
    if (RESIDUAL) x += residual[i];
    if (WATCH) {
      sum[i] += x;
      squares[i] += x * x;
    }
    const A g = (c2[i] * x + c1[i]) * x + c0[i];
    const A rectified = x > A(0) ? x : A(0);
    y[i] = keep[i] * rectified + (A(1) - keep[i]) * g;
  }
}

// Sums of z - pivot and of its square.
template <typename A>
inline __attribute__((always_inline)) void moments_row(
    const A* __restrict z, const A* __restrict pivot, A* __restrict sum, A* __restrict squares,
    int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const A centred = z[i] - pivot[i];
    sum[i] += centred;
    squares[i] += centred * centred;
  }
}

// The gradient at x into `dx` where it is given (STORE), and all sums over the batch.
template <typename A, bool NORM, bool RESIDUAL, bool STORE, bool KEEP>
inline __attribute__((always_inline)) void backward_row(
    const Tiles<A>& tiles, const A* __restrict z, const A* __restrict residual,
    const A* __restrict dy, A* __restrict dx, const Sums<A>& sums, int64_t count) {
  const A *__restrict scale = tiles.scale, *__restrict shift = tiles.shift;
  const A* __restrict mean = tiles.mean;
  const A *__restrict c0 = tiles.c0, *__restrict c1 = tiles.c1, *__restrict c2 = tiles.c2;
  const A* __restrict keep = tiles.keep;
  A *__restrict s_keep = sums.keep, *__restrict s0 = sums.c0, *__restrict s1 = sums.c1;
  A *__restrict s2 = sums.c2, *__restrict s_shift = sums.shift, *__restrict s_scale = sums.scale;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    A x = NORM ? scale[i] * z[i] + shift[i] : z[i];
    if (RESIDUAL) x += residual[i];
    const A rectified = x > A(0) ? x : A(0);
    const A replaced = (A(1) - keep[i]) * dy[i];
    if (KEEP) {
      const A g = (c2[i] * x + c1[i]) * x + c0[i];
      s_keep[i] += dy[i] * (rectified - g);
    }
    s0[i] += replaced;
    const A first = replaced * x;
    s1[i] += first;
    s2[i] += first * x;
    const A slope = (A(2) * c2[i]) * x + c1[i];
    // A product, not a choice: two choices by one condition become a branch, which no compiler
    // makes a vector of.
    const A open = x > A(0) ? A(1) : A(0);
    const A gradient = open * (keep[i] * dy[i]) + replaced * slope;
    if (NORM) {
      s_shift[i] += gradient;
      s_scale[i] += gradient * (z[i] - mean[i]);
    }
    if (STORE) dx[i] = gradient;
  }
}

// The gradient at z behind a normalisation by the batch's statistics:
// dz = scale dx + slope (z - mean) + offset. `dx` is given (RESIDUAL) or computed again.
template <typename A, bool RESIDUAL>
inline __attribute__((always_inline)) void norm_backward_row(
    const Tiles<A>& tiles, const A* __restrict slope, const A* __restrict offset,
    const A* __restrict z, const A* __restrict dy, const A* __restrict dx, A* __restrict dz,
    int64_t count) {
  const A *__restrict scale = tiles.scale, *__restrict shift = tiles.shift;
  const A *__restrict mean = tiles.mean, *__restrict keep = tiles.keep;
  const A *__restrict c1 = tiles.c1, *__restrict c2 = tiles.c2;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    A gradient;
    if (RESIDUAL) {
      gradient = dx[i];
    } else {
      const A x = scale[i] * z[i] + shift[i];
      const A at = (A(2) * c2[i]) * x + c1[i];
      const A open = x > A(0) ? A(1) : A(0);
      gradient = open * (keep[i] * dy[i]) + (A(1) - keep[i]) * dy[i] * at;
    }
    dz[i] = scale[i] * gradient + slope[i] * (z[i] - mean[i]) + offset[i];
  }
}

}  // namespace autorep

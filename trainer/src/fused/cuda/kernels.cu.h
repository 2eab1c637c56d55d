// The masked activation on a CUDA device: one kernel forward, one backward.
//
// A map is [images, elements], with elements in the order of its memory: planes or channels last. A
// thread owns V neighbouring elements and walks the batch, so that what belongs to an element is read
// once and its sums need no atomics. A block is `lanes` such threads wide and `slices` high: slice s
// takes the images s, s + slices, and so on, and the slices' sums are added in shared memory, in one
// order. Then neighbours of one channel, `run` of them, are added up; what is left of a map's sums by
// channel is a table of [kinds, elements / run] for one tensor operation. Nothing depends on timing.
#pragma once

#include "arguments.cu.h"
#include "numbers.cu.h"

namespace autorep_cuda {

// Where an element lies in an image.
struct Place {
  int channel;
  int y;
  int x;

  AUTOREP_DEVICE Place(const Arguments& all, int element) {
    const int pixels = all.height * all.width;
    const int pixel = all.channels_last ? element / all.channels : element % pixels;
    channel = all.channels_last ? element % all.channels : element / pixels;
    y = pixel / all.width;
    x = pixel % all.width;
  }

  // To the next one in memory.
  AUTOREP_DEVICE void advance(const Arguments& all) {
    if (all.channels_last) {
      if (++channel < all.channels) return;
      channel = 0;
    }
    if (++x < all.width) return;
    x = 0;
    if (++y < all.height) return;
    y = 0;
    ++channel;
  }
};

// What a thread's elements have for the whole batch.
template <typename A, int V>
struct Own {
  A keep[V];
  A c0[V];
  A c1[V];
  A c2[V];

  AUTOREP_DEVICE Own(const Arguments& all, int element) {
    const A* kept = static_cast<const A*>(all.keep);
    const A* rows = static_cast<const A*>(all.coefficients);
    Place place(all, element);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const A* column = rows + (all.columns == 1 ? 0 : place.channel);
      const long long* strides = all.keep_strides;
      const long long at = place.channel * strides[0] + place.y * strides[1] + place.x * strides[2];
      keep[v] = kept == nullptr ? A(0) : kept[at];
      c0[v] = column[0];
      c1[v] = all.powers > 1 ? column[all.columns] : A(0);
      c2[v] = all.powers > 2 ? column[2 * all.columns] : A(0);
      place.advance(all);
    }
  }
};

// The first of a thread's elements; past the end for a thread without any.
template <int V>
AUTOREP_DEVICE int first_element(const Arguments& all) {
  const long long first = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * V;
  return first < all.elements ? static_cast<int>(first) : all.elements;
}

// Adds up what the block's threads have by kind and element: `sums[kind]` of the first slice's threads
// becomes the sum over slices. Then runs of elements go to the table of partial sums, for the first
// `tabled` kinds. All threads of a block must come here.
template <typename A, int KINDS, int V>
AUTOREP_DEVICE void add_up(const Arguments& all, A (&sums)[KINDS][V], int tabled) {
  __shared__ A room[KINDS * THREADS * V];
  const int lane = threadIdx.x, slice = threadIdx.y, slices = blockDim.y;
  const int across = blockDim.x * V;
  // Of a kind, one after the other: the slices, each `across` elements.
  const auto at = [&](int kind, int row, int column) -> A& {
    return room[(kind * slices + row) * across + column];
  };
#pragma unroll
  for (int kind = 0; kind < KINDS; ++kind)
#pragma unroll
    for (int v = 0; v < V; ++v) at(kind, slice, lane * V + v) = sums[kind][v];
  for (int half = slices / 2; half > 0; half /= 2) {
    __syncthreads();
    if (slice < half)
#pragma unroll
      for (int kind = 0; kind < KINDS; ++kind)
#pragma unroll
        for (int v = 0; v < V; ++v)
          at(kind, slice, lane * V + v) += at(kind, slice + half, lane * V + v);
  }
  __syncthreads();
#pragma unroll
  for (int kind = 0; kind < KINDS; ++kind)
#pragma unroll
    for (int v = 0; v < V; ++v) sums[kind][v] = at(kind, 0, lane * V + v);
  if (all.partials == nullptr) return;

  const int thread = slice * blockDim.x + lane;
  const int many = blockDim.x * slices;
  for (int half = all.run / 2; half > 0; half /= 2) {
    __syncthreads();
    for (int column = thread; column < across; column += many)
      if ((column & (all.run - 1)) < half)
        for (int kind = 0; kind < tabled; ++kind) at(kind, 0, column) += at(kind, 0, column + half);
  }
  __syncthreads();
  A* table = static_cast<A*>(all.partials);
  const int runs = all.elements / all.run;
  const int begin = blockIdx.x * (across / all.run);
  for (int at_run = thread; at_run < across / all.run && begin + at_run < runs; at_run += many)
    for (int kind = 0; kind < tabled; ++kind)
      table[static_cast<long long>(kind) * runs + begin + at_run] = at(kind, 0, at_run * all.run);
}

// y = keep relu(x) + (1 - keep) g(x). WATCHED, also the sums over the batch of x and of its square.
template <typename T, int V, bool WATCHED>
AUTOREP_DEVICE void forward(const Arguments& all) {
  using A = Computed<T>;
  const int element = first_element<V>(all);
  A sums[2][V] = {};
  if (element < all.elements) {
    const Own<A, V> own(all, element);
    const T* __restrict__ z = static_cast<const T*>(all.z);
    T* __restrict__ y = static_cast<T*>(all.out);
    const long long step = static_cast<long long>(gridDim.y) * blockDim.y;
    long long image = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
#pragma unroll 4
    for (; image < all.images; image += step) {
      const long long at = image * all.elements + element;
      const Pack<T, V> from = *reinterpret_cast<const Pack<T, V>*>(z + at);
      Pack<T, V> to;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const A x = widened(from.values[v]);
        const A rectified = x > A(0) ? x : A(0);
        const A g = (own.c2[v] * x + own.c1[v]) * x + own.c0[v];
        narrow(own.keep[v] * rectified + (A(1) - own.keep[v]) * g, to.values[v]);
        if (WATCHED) {
          sums[0][v] += x;
          sums[1][v] += x * x;
        }
      }
      *reinterpret_cast<Pack<T, V>*>(y + at) = to;
    }
  }
  if (WATCHED) add_up<A, 2, V>(all, sums, 2);
}

// The gradient at z, and the sums over the batch for those at coefficients and indicators.
template <typename T, int V>
AUTOREP_DEVICE void backward(const Arguments& all) {
  using A = Computed<T>;
  const int element = first_element<V>(all);
  // (1 - keep) dy x^p, then dy (relu(x) - g(x)).
  A sums[4][V] = {};
  if (element < all.elements) {
    const Own<A, V> own(all, element);
    const T* __restrict__ z = static_cast<const T*>(all.z);
    const T* __restrict__ dy = static_cast<const T*>(all.dy);
    T* __restrict__ dz = static_cast<T*>(all.out);
    long long image = threadIdx.y;
#pragma unroll 4
    for (; image < all.images; image += blockDim.y) {
      const long long at = image * all.elements + element;
      const Pack<T, V> from = *reinterpret_cast<const Pack<T, V>*>(z + at);
      const Pack<T, V> above = *reinterpret_cast<const Pack<T, V>*>(dy + at);
      Pack<T, V> to;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const A x = widened(from.values[v]);
        const A up = widened(above.values[v]);
        const A rectified = x > A(0) ? x : A(0);
        const A g = (own.c2[v] * x + own.c1[v]) * x + own.c0[v];
        const A slope = (A(2) * own.c2[v]) * x + own.c1[v];
        const A replaced = (A(1) - own.keep[v]) * up;
        const A kept = x > A(0) ? own.keep[v] * up : A(0);
        sums[0][v] += replaced;
        sums[1][v] += replaced * x;
        sums[2][v] += replaced * x * x;
        sums[3][v] += up * (rectified - g);
        narrow(kept + replaced * slope, to.values[v]);
      }
      *reinterpret_cast<Pack<T, V>*>(dz + at) = to;
    }
  }
  if (all.dkeep == nullptr && all.partials == nullptr) return;
  add_up<A, 4, V>(all, sums, all.powers);
  if (all.dkeep != nullptr && threadIdx.y == 0 && element < all.elements) {
    A* dkeep = static_cast<A*>(all.dkeep);
#pragma unroll
    for (int v = 0; v < V; ++v) dkeep[element + v] = sums[3][v];
  }
}

}  // namespace autorep_cuda

// The kernels for maps of AUTOREP_ELEMENT, under the names that `fused/cuda/mod.rs` looks up.
#ifdef __CUDACC_RTC__
namespace autorep_cuda {
using Float32 = float;
using Float64 = double;
}  // namespace autorep_cuda

#define AUTOREP_KERNEL(name, ...)                                        \
  extern "C" __global__ void __launch_bounds__(autorep_cuda::THREADS)    \
      name(const autorep_cuda::Arguments all) {                          \
    using T = autorep_cuda::AUTOREP_ELEMENT;                             \
    [[maybe_unused]] constexpr int WIDE = autorep_cuda::Element<T>::WIDE; \
    autorep_cuda::__VA_ARGS__(all);                                      \
  }
AUTOREP_KERNEL(masked_forward, forward<T, 1, false>)
AUTOREP_KERNEL(masked_forward_wide, forward<T, WIDE, false>)
AUTOREP_KERNEL(masked_watched, forward<T, 1, true>)
AUTOREP_KERNEL(masked_watched_wide, forward<T, WIDE, true>)
AUTOREP_KERNEL(masked_backward, backward<T, 1>)
AUTOREP_KERNEL(masked_backward_wide, backward<T, WIDE>)
#endif

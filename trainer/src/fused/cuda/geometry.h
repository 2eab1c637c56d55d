// How a map is divided among the threads of a launch. See kernels.cu.h for the terms.
#pragma once

#include <algorithm>
#include <cstdint>

#include "arguments.cu.h"

namespace autorep_cuda {

// What a launch's geometry depends on.
struct Extent {
  int64_t images;
  int64_t channels;
  int64_t pixels;
  bool channels_last;
  // Elements that a thread of the wide kernels reads at once, and whether memory lies so that it may.
  int wide;
  bool aligned;

  int64_t elements() const { return channels * pixels; }
};

// Blocks that keep a device with some 130 multiprocessors busy.
constexpr int64_t ENOUGH_BLOCKS = 512;

struct Geometry {
  bool wide;
  int lanes;
  int slices;
  int64_t blocks;  // over elements
  int run;

  explicit Geometry(const Extent& map) {
    slices = 1;
    while (slices < 8 && slices * 2 <= map.images) slices *= 2;
    lanes = THREADS / slices;
    wide = map.aligned && map.elements() % map.wide == 0 &&
           map.elements() >= ENOUGH_BLOCKS * lanes * map.wide;
    const int64_t across = lanes * (wide ? map.wide : 1);
    blocks = (map.elements() + across - 1) / across;
    // Neighbours are of one channel in planes only, and only runs that divide a plane are.
    run = 1;
    while (!map.channels_last && run < across && map.pixels % (run * 2) == 0) run *= 2;
  }

  // Parts into which a kernel without sums over the batch divides it, beyond a block's slices.
  int64_t parts(int64_t images) const {
    const int64_t most = (images + slices - 1) / slices;
    const int64_t wanted = (ENOUGH_BLOCKS + blocks - 1) / blocks;
    return std::clamp<int64_t>(wanted, 1, std::min<int64_t>(most, 65535));
  }
};

}  // namespace autorep_cuda

// Whoever runs kernels: the other side of `Launcher` in `fused/cuda/launcher.rs`.
#pragma once

#include <cstddef>
#include <cstdint>

// A kernel by its place among the names in `fused/cuda/mod.rs`; its wide form comes after it.
enum AutorepKernel : int32_t { AUTOREP_FORWARD = 0, AUTOREP_WATCHED = 2, AUTOREP_BACKWARD = 4 };

struct AutorepLaunch {
  int32_t device;
  int32_t element;  // the type of maps, by its place among those in `fused/cuda/mod.rs`
  int32_t kernel;
  uint32_t grid[2];
  uint32_t block[2];
  void* stream;     // a CUstream
  void* arguments;  // an autorep_cuda::Arguments
};

struct AutorepLauncher {
  void* context;
  // 0, or anything else with the reason in `why`, a text that ends with a zero in `room` bytes.
  int32_t (*launch)(void* context, const AutorepLaunch* launch, char* why, size_t room);
};

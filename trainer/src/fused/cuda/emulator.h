// Runs CUDA kernels, compiled as C++, one block after the other on this thread. For tests.
//
// A block's threads are contexts that give way to each other at barriers alone. From one barrier to
// the next they run in an order that changes each time, so that a kernel in which a barrier is missing
// reads what has not been written yet, sooner or later.
#pragma once

// Its check of jumps takes other stacks for errors.
#undef _FORTIFY_SOURCE

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#define __shared__ static thread_local

struct Index {
  int x, y;
};

namespace emulated {

// A thread with a stack of its own, for one block after the other. It is entered once as a context;
// from then on by jumps, which cost no system call.
struct Thread {
  std::unique_ptr<char[]> stack;
  bool begun = false;
  bool ended = false;
  jmp_buf at{};
  Index index{};
};

inline thread_local Index block_index, block_size, grid_size;
inline thread_local Thread* now = nullptr;
inline thread_local jmp_buf scheduler;
inline thread_local const std::function<void()>* body = nullptr;

inline void give_way() {
  if (_setjmp(now->at) == 0) _longjmp(scheduler, 1);
}

inline void enter() {
  for (;;) {
    (*body)();
    now->ended = true;
    give_way();
  }
}

// Goes on with a thread until it gives way.
inline void resume(Thread& thread) {
  constexpr size_t ROOM = 64 * 1024;
  now = &thread;
  if (_setjmp(scheduler) != 0) return;
  if (thread.begun) _longjmp(thread.at, 1);
  thread.begun = true;
  thread.stack = std::make_unique<char[]>(ROOM);
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = thread.stack.get();
  context.uc_stack.ss_size = ROOM;
  context.uc_link = nullptr;
  makecontext(&context, enter, 0);
  setcontext(&context);
}

// Runs a grid of kernels; returns what no device would bear, or nothing.
inline std::string run(Index grid, Index size, const std::function<void()>& kernel) {
  thread_local std::vector<Thread> all(1024);
  const size_t count = size.x * size.y;
  body = &kernel;
  grid_size = grid;
  block_size = size;
  std::minstd_rand random(20240229);
  std::vector<size_t> order(count);
  for (size_t at = 0; at < count; ++at) {
    order[at] = at;
    all[at].index = {int(at) % size.x, int(at) / size.x};
  }
  for (int y = 0; y < grid.y; ++y)
    for (int x = 0; x < grid.x; ++x) {
      block_index = {x, y};
      for (size_t at = 0; at < count; ++at) all[at].ended = false;
      for (size_t ended = 0; ended == 0;) {
        std::shuffle(order.begin(), order.end(), random);
        for (const size_t at : order) {
          resume(all[at]);
          if (all[at].ended) ++ended;
        }
        if (ended != 0 && ended != count) {
          // Those that wait are in the middle of a kernel, for ever.
          all = std::vector<Thread>(1024);
          return "some threads of a block ended while others wait at a barrier";
        }
      }
    }
  return "";
}

}  // namespace emulated

#define threadIdx (emulated::now->index)
#define blockIdx emulated::block_index
#define blockDim emulated::block_size
#define gridDim emulated::grid_size

inline void __syncthreads() { emulated::give_way(); }

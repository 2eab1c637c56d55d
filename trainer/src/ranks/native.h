// The ranks of a group, in libtorch's own terms. Every function for Rust returns null, or why it
// failed as a text that Rust gives back to autorep_ranks_forget.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "pooled.h"

namespace autorep {

// What every failure of a collective begins with, however it reaches Rust: see RanksError.
constexpr const char* LOST = "the group of ranks: ";

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  // What the ranks agree on, in tensors of the CPU: over Gloo, so that no GPU is waited for.
  c10::intrusive_ptr<c10d::Backend> control;
  // What the ranks exchange in the middle of a pass, and wait for.
  c10::intrusive_ptr<c10d::Backend> main;
  // Gradients, on their way while the backward pass goes on. Gloo has threads for each backend, so
  // that nothing small waits behind them; on GPUs it is the same backend, as two communicators at
  // work at once may wait for each other.
  c10::intrusive_ptr<c10d::Backend> bulk;
};

// A process group over NCCL, from libtorch's CUDA part, which is loaded at run time.
c10::intrusive_ptr<c10d::Backend> open_nccl(
    const c10::intrusive_ptr<c10d::Store>& store,
    int rank,
    int ranks,
    std::chrono::milliseconds deadline);

// Gives what `body` throws the beginning by which Rust knows it, also through libtorch's autograd.
template <class Body>
void known(Body&& body) {
  try {
    std::forward<Body>(body)();
  } catch (const c10::Error& error) {
    throw std::runtime_error(LOST + std::string(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    throw std::runtime_error(LOST + std::string(error.what()));
  }
}

inline char* told(const std::string& what) {
  const auto text = what.compare(0, std::strlen(LOST), LOST) == 0 ? what : LOST + what;
  return strdup(text.c_str());
}

template <class Body>
char* guarded(Body&& body) {
  try {
    std::forward<Body>(body)();
    return nullptr;
  } catch (const c10::Error& error) {
    return told(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return told(error.what());
  } catch (...) {
    return told("an unknown exception");
  }
}

} // namespace autorep

// Stands in for Gloo's own headers, which libtorch does not come with: as much of them as libtorch's
// ProcessGroupGloo.hpp names. Its layout depends on none of it (it holds pointers), and what is
// called is compiled into libtorch.
#pragma once

#include <chrono>

namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
namespace transport {
class Device;
class UnboundBuffer;
} // namespace transport
} // namespace gloo

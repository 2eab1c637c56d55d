// The kernels as C++, behind what the tests' driver calls. In no other program than the tests'.

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "emulator.h"
#include "kernels.cu.h"

namespace {

using namespace autorep_cuda;

using Kernel = void (*)(const Arguments&);

struct Emulated {
  Kernel kernel;
  size_t element;
  size_t computed;
};

template <typename T>
void add(std::map<std::string, Emulated>& all, const std::string& element) {
  constexpr int WIDE = Element<T>::WIDE;
  const auto one = [&](const char* name, Kernel kernel) {
    all[element + ' ' + name] = {kernel, sizeof(T), sizeof(Computed<T>)};
  };
  one("masked_forward", forward<T, 1, false>);
  one("masked_forward_wide", forward<T, WIDE, false>);
  one("masked_watched", forward<T, 1, true>);
  one("masked_watched_wide", forward<T, WIDE, true>);
  one("masked_backward", backward<T, 1>);
  one("masked_backward_wide", backward<T, WIDE>);
}

const std::map<std::string, Emulated>& kernels() {
  static const auto all = [] {
    std::map<std::string, Emulated> made;
    add<float>(made, "Float32");
    add<double>(made, "Float64");
    add<Bfloat16>(made, "Bfloat16");
    add<Float16>(made, "Float16");
    return made;
  }();
  return all;
}

}  // namespace

extern "C" {

// A kernel by the type of its maps and its name; null if there is none.
const void* autorep_emulated_find(const char* element, const char* name) {
  const auto found = kernels().find(std::string(element) + ' ' + name);
  return found == kernels().end() ? nullptr : &found->second;
}

// Runs a kernel with the parameters of a launch. What it is to write is filled with NaNs before, so
// that whatever it leaves out is seen. Returns null, or what went wrong; the text is static.
const char* autorep_emulated_run(const void* found, unsigned grid_x, unsigned grid_y,
                                 unsigned block_x, unsigned block_y, void** parameters) {
  const Emulated& emulated = *static_cast<const Emulated*>(found);
  const Arguments& all = *static_cast<const Arguments*>(parameters[0]);
  if (block_x * block_y != THREADS) return "expected a block of 256 threads";
  std::memset(all.out, 0xff, all.images * all.elements * emulated.element);
  if (all.dkeep != nullptr) std::memset(all.dkeep, 0xff, all.elements * emulated.computed);
  static thread_local std::string problem;
  problem = emulated::run({int(grid_x), int(grid_y)}, {int(block_x), int(block_y)},
                          [&] { emulated.kernel(all); });
  return problem.empty() ? nullptr : problem.c_str();
}
}

// The masked activation over whole feature maps on a CPU: threads over blocks, images inside.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <array>
#include <type_traits>
#include <vector>

#include "clones.h"
#include "plan.h"
#include "rows.h"

namespace autorep {

// What is computed in: float, but double for double.
template <typename T>
using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;

#define AUTOREP_ROWS(A, name)                                                                       \
  AUTOREP_CLONES inline void name##_forward(                                                        \
      int variant, const Tiles<A>& tiles, const A* z, const A* residual, A* y, A* sum, A* squares,  \
      int64_t count) {                                                                              \
    switch (variant) {                                                                              \
      case 0: return forward_row<A, false, false, false>(tiles, z, residual, y, sum, squares, count); \
      case 1: return forward_row<A, true, false, false>(tiles, z, residual, y, sum, squares, count);  \
      case 2: return forward_row<A, false, true, false>(tiles, z, residual, y, sum, squares, count);  \
      case 3: return forward_row<A, true, true, false>(tiles, z, residual, y, sum, squares, count);   \
      case 4: return forward_row<A, false, false, true>(tiles, z, residual, y, sum, squares, count);  \
      case 5: return forward_row<A, true, false, true>(tiles, z, residual, y, sum, squares, count);   \
      case 6: return forward_row<A, false, true, true>(tiles, z, residual, y, sum, squares, count);   \
      default: return forward_row<A, true, true, true>(tiles, z, residual, y, sum, squares, count);   \
    }                                                                                               \
  }                                                                                                 \
  AUTOREP_CLONES inline void name##_moments(const A* z, const A* pivot, A* sum, A* squares,         \
                                            int64_t count) {                                        \
    moments_row<A>(z, pivot, sum, squares, count);                                                  \
  }                                                                                                 \
  AUTOREP_CLONES inline void name##_backward(                                                       \
      int variant, const Tiles<A>& tiles, const A* z, const A* residual, const A* dy, A* dx,        \
      const Sums<A>& sums, int64_t count) {                                                         \
    switch (variant) {                                                                              \
      case 0: return backward_row<A, false, false, true, false>(tiles, z, residual, dy, dx, sums, count); \
      case 1: return backward_row<A, true, false, false, false>(tiles, z, residual, dy, dx, sums, count); \
      case 2: return backward_row<A, false, true, true, false>(tiles, z, residual, dy, dx, sums, count);  \
      case 3: return backward_row<A, true, true, true, false>(tiles, z, residual, dy, dx, sums, count);   \
      case 4: return backward_row<A, false, false, true, true>(tiles, z, residual, dy, dx, sums, count);  \
      case 5: return backward_row<A, true, false, false, true>(tiles, z, residual, dy, dx, sums, count);  \
      case 6: return backward_row<A, false, true, true, true>(tiles, z, residual, dy, dx, sums, count);   \
      default: return backward_row<A, true, true, true, true>(tiles, z, residual, dy, dx, sums, count);   \
    }                                                                                               \
  }                                                                                                 \
  AUTOREP_CLONES inline void name##_norm_backward(                                                  \
      bool stored, const Tiles<A>& tiles, const A* slope, const A* offset, const A* z, const A* dy, \
      const A* dx, A* dz, int64_t count) {                                                          \
    if (stored) {                                                                                   \
      norm_backward_row<A, true>(tiles, slope, offset, z, dy, dx, dz, count);                       \
    } else {                                                                                        \
      norm_backward_row<A, false>(tiles, slope, offset, z, dy, dx, dz, count);                      \
    }                                                                                               \
  }
AUTOREP_ROWS(float, float)
AUTOREP_ROWS(double, double)
#undef AUTOREP_ROWS

template <typename A> struct Rows;
template <> struct Rows<float> {
  static constexpr auto forward = float_forward;
  static constexpr auto moments = float_moments;
  static constexpr auto backward = float_backward;
  static constexpr auto norm_backward = float_norm_backward;
};
template <> struct Rows<double> {
  static constexpr auto forward = double_forward;
  static constexpr auto moments = double_moments;
  static constexpr auto backward = double_backward;
  static constexpr auto norm_backward = double_norm_backward;
};

// Which of a row's forms is meant.
inline int variant(bool norm, bool residual, bool extra) {
  return int(norm) + 2 * int(residual) + 4 * int(extra);
}

// A run of elements to be read, converted where the map is in fewer bits than are computed in.
template <typename T>
const Acc<T>* read(const T* from, Acc<T>* buffer, int64_t count) {
  if constexpr (std::is_same_v<T, Acc<T>>) {
    return from;
  } else {
    for (int64_t i = 0; i < count; ++i) buffer[i] = static_cast<Acc<T>>(from[i]);
    return buffer;
  }
}

// Where a run of results goes: straight to the map, or to a buffer that `wrote` converts.
template <typename T>
Acc<T>* target(T* to, Acc<T>* buffer) {
  if constexpr (std::is_same_v<T, Acc<T>>) {
    return to;
  } else {
    return buffer;
  }
}

template <typename T>
void wrote(const Acc<T>* buffer, T* to, int64_t count) {
  if constexpr (!std::is_same_v<T, Acc<T>>) {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(buffer[i]);
  }
}

// Asks for the beginning of a run before it is needed: the memory's own prefetching sees a jump
// from one image's run to the next one's.
inline void expect(const void* from) {
  const char* bytes = static_cast<const char*>(from);
  for (int line = 0; line < 4; ++line) __builtin_prefetch(bytes + 64 * line);
}

// Numbers by channel, of what a block's tiles are made.
template <typename A>
struct ByChannel {
  const A* scale = nullptr;
  const A* shift = nullptr;
  const A* mean = nullptr;
  std::array<const A*, 3> coefficients{};
};

// The tiles of one thread, refilled block by block.
template <typename A>
class Workspace {
 public:
  Workspace(const Plan& plan, int tiles) : length_(std::max<int64_t>(1, plan.block)), memory_(length_ * tiles) {}
  A* tile(int at) { return memory_.data() + at * length_; }
  void clear(int first, int last) { std::fill(tile(first), memory_.data() + last * length_, A(0)); }

 private:
  int64_t length_;
  std::vector<A> memory_;
};

// Fills what depends on the channel alone: once where every block has all channels.
template <typename A>
Tiles<A> channel_tiles(const Plan& plan, const ByChannel<A>& by, int64_t at, bool fresh, Workspace<A>& space) {
  Tiles<A> tiles{};
  int next = 0;
  const auto tile = [&](const A* values) -> const A* {
    A* to = space.tile(next++);
    if (values == nullptr) return nullptr;
    if (fresh || !plan.channels_last) plan.spread(values, at, to);
    return to;
  };
  tiles.scale = tile(by.scale);
  tiles.shift = tile(by.shift);
  tiles.mean = tile(by.mean);
  tiles.c0 = tile(by.coefficients[0]);
  tiles.c1 = tile(by.coefficients[1]);
  tiles.c2 = tile(by.coefficients[2]);
  return tiles;
}
// The first tile that `channel_tiles` does not use.
constexpr int FREE_TILE = 6;

// By block and channel, sums over the batch in f64, added up in the order of the blocks.
class Partials {
 public:
  Partials(const Plan& plan, int kinds)
      : plan_(plan), kinds_(kinds), sums_(plan.blocks * kinds * plan.block_channels(), 0.0) {}
  double* of(int64_t block, int kind) {
    return sums_.data() + (block * kinds_ + kind) * plan_.block_channels();
  }
  std::vector<double> total(int kind) {
    std::vector<double> all(plan_.channels, 0.0);
    for (int64_t block = 0; block < plan_.blocks; ++block) {
      const double* from = of(block, kind);
      double* to = all.data() + plan_.first_channel(block);
      for (int64_t c = 0; c < plan_.block_channels(); ++c) to[c] += from[c];
    }
    return all;
  }

 private:
  const Plan& plan_;
  int kinds_;
  std::vector<double> sums_;
};

// Sums of z - pivot and of its square, by channel.
template <typename T>
std::array<std::vector<double>, 2> moments(const Plan& plan, const T* z, const Acc<T>* pivot) {
  using A = Acc<T>;
  Partials partials(plan, 2);
  at::parallel_for(0, plan.blocks, plan.grain(), [&](int64_t first, int64_t last) {
    Workspace<A> space(plan, 4);
    for (int64_t at = first; at < last; ++at) {
      const int64_t count = plan.size(at), begin = plan.begin(at);
      if (at == first || !plan.channels_last) plan.spread(pivot, at, space.tile(0));
      space.clear(1, 3);
      for (int64_t n = 0; n < plan.images; ++n) {
        const T* from = z + n * plan.elements() + begin;
        expect(from + plan.elements());
        Rows<A>::moments(read<T>(from, space.tile(3), count), space.tile(0), space.tile(1),
                         space.tile(2), count);
      }
      plan.add_up(space.tile(1), at, partials.of(at, 0));
      plan.add_up(space.tile(2), at, partials.of(at, 1));
    }
  });
  return {partials.total(0), partials.total(1)};
}

// A mask by element: strides of a [channels, height, width] tensor; no values for all zeros.
template <typename A>
struct Mask {
  const A* values = nullptr;
  std::array<int64_t, 3> strides{};
  void fill(const Plan& plan, int64_t at, A* tile) const {
    if (values == nullptr) {
      std::fill(tile, tile + plan.size(at), A(0));
    } else {
      plan.gather(values, strides, at, tile);
    }
  }
};

// The activation of every element into `y`. `watched`, where given, receives by channel the sums
// of the pre-activations and of their squares.
template <typename T>
void forward(const Plan& plan, const ByChannel<Acc<T>>& by, const Mask<Acc<T>>& mask, const T* z,
             const T* residual, T* y, std::array<std::vector<double>, 2>* watched) {
  using A = Acc<T>;
  Partials partials(plan, watched == nullptr ? 0 : 2);
  const int form = variant(by.scale != nullptr, residual != nullptr, watched != nullptr);
  at::parallel_for(0, plan.blocks, plan.grain(), [&](int64_t first, int64_t last) {
    constexpr int KEEP = FREE_TILE, SUMS = KEEP + 1, BUFFERS = SUMS + 2;
    Workspace<A> space(plan, BUFFERS + 3);
    for (int64_t at = first; at < last; ++at) {
      const int64_t count = plan.size(at), begin = plan.begin(at);
      Tiles<A> tiles = channel_tiles(plan, by, at, at == first, space);
      mask.fill(plan, at, space.tile(KEEP));
      tiles.keep = space.tile(KEEP);
      if (watched != nullptr) space.clear(SUMS, SUMS + 2);
      for (int64_t n = 0; n < plan.images; ++n) {
        const int64_t offset = n * plan.elements() + begin;
        expect(z + offset + plan.elements());
        const A* from = read<T>(z + offset, space.tile(BUFFERS), count);
        const A* beside = nullptr;
        if (residual != nullptr) {
          expect(residual + offset + plan.elements());
          beside = read<T>(residual + offset, space.tile(BUFFERS + 1), count);
        }
        A* to = target<T>(y + offset, space.tile(BUFFERS + 2));
        Rows<A>::forward(form, tiles, from, beside, to, space.tile(SUMS), space.tile(SUMS + 1), count);
        wrote<T>(to, y + offset, count);
      }
      for (int kind = 0; watched != nullptr && kind < 2; ++kind)
        plan.add_up(space.tile(SUMS + kind), at, partials.of(at, kind));
    }
  });
  if (watched != nullptr) *watched = {partials.total(0), partials.total(1)};
}

// Sums over the batch that a backward pass makes, by channel.
struct Gradients {
  std::array<std::vector<double>, 3> coefficients;
  // Of dx, and of dx (z - mean); behind a normalisation.
  std::vector<double> dx;
  std::vector<double> dx_centred;
};

// The gradient at the pre-activation into `dx`, where that is needed, the mask's into `keep`, of
// shape [channels, height, width], where it is given, and the sums of all others.
template <typename T>
Gradients backward(const Plan& plan, const ByChannel<Acc<T>>& by, const Mask<Acc<T>>& mask,
                   const T* z, const T* residual, const T* dy, T* dx, Acc<T>* keep) {
  using A = Acc<T>;
  const bool norm = by.scale != nullptr;
  const int kinds = norm ? 5 : 3;
  Partials partials(plan, kinds);
  const int form = variant(norm, residual != nullptr, keep != nullptr);
  at::parallel_for(0, plan.blocks, plan.grain(), [&](int64_t first, int64_t last) {
    constexpr int KEEP = FREE_TILE, SUMS = KEEP + 1, BUFFERS = SUMS + 6;
    Workspace<A> space(plan, BUFFERS + 4);
    const Sums<A> sums{space.tile(SUMS + 5), space.tile(SUMS), space.tile(SUMS + 1),
                       space.tile(SUMS + 2), space.tile(SUMS + 3), space.tile(SUMS + 4)};
    for (int64_t at = first; at < last; ++at) {
      const int64_t count = plan.size(at), begin = plan.begin(at);
      Tiles<A> tiles = channel_tiles(plan, by, at, at == first, space);
      mask.fill(plan, at, space.tile(KEEP));
      tiles.keep = space.tile(KEEP);
      space.clear(SUMS, SUMS + 6);
      for (int64_t n = 0; n < plan.images; ++n) {
        const int64_t offset = n * plan.elements() + begin;
        expect(z + offset + plan.elements());
        expect(dy + offset + plan.elements());
        const A* from = read<T>(z + offset, space.tile(BUFFERS), count);
        const A* beside = nullptr;
        if (residual != nullptr) {
          expect(residual + offset + plan.elements());
          beside = read<T>(residual + offset, space.tile(BUFFERS + 1), count);
        }
        const A* above = read<T>(dy + offset, space.tile(BUFFERS + 2), count);
        A* to = dx == nullptr ? nullptr : target<T>(dx + offset, space.tile(BUFFERS + 3));
        Rows<A>::backward(form, tiles, from, beside, above, to, sums, count);
        if (dx != nullptr) wrote<T>(to, dx + offset, count);
      }
      for (int kind = 0; kind < kinds; ++kind)
        plan.add_up(space.tile(SUMS + kind), at, partials.of(at, kind));
      if (keep != nullptr) plan.scatter(sums.keep, at, keep);
    }
  });
  Gradients all;
  for (int power = 0; power < 3; ++power) all.coefficients[power] = partials.total(power);
  if (norm) {
    all.dx = partials.total(3);
    all.dx_centred = partials.total(4);
  }
  return all;
}

// The gradient at what is normalised, into `dz`: scale dx + slope (z - mean) + offset by channel.
// `dx` is computed again where it is not given.
template <typename T>
void norm_backward(const Plan& plan, const ByChannel<Acc<T>>& by, const Mask<Acc<T>>& mask,
                   const Acc<T>* slope, const Acc<T>* offset_by, const T* z, const T* dy,
                   const T* dx, T* dz) {
  using A = Acc<T>;
  at::parallel_for(0, plan.blocks, plan.grain(), [&](int64_t first, int64_t last) {
    constexpr int KEEP = FREE_TILE, SLOPE = KEEP + 1, OFFSET = SLOPE + 1, BUFFERS = OFFSET + 1;
    Workspace<A> space(plan, BUFFERS + 3);
    for (int64_t at = first; at < last; ++at) {
      const int64_t count = plan.size(at), begin = plan.begin(at);
      Tiles<A> tiles = channel_tiles(plan, by, at, at == first, space);
      if (at == first || !plan.channels_last) {
        plan.spread(slope, at, space.tile(SLOPE));
        plan.spread(offset_by, at, space.tile(OFFSET));
      }
      if (dx == nullptr) mask.fill(plan, at, space.tile(KEEP));
      tiles.keep = space.tile(KEEP);
      const T* gradient = dx == nullptr ? dy : dx;
      for (int64_t n = 0; n < plan.images; ++n) {
        const int64_t offset = n * plan.elements() + begin;
        expect(z + offset + plan.elements());
        expect(gradient + offset + plan.elements());
        const A* from = read<T>(z + offset, space.tile(BUFFERS), count);
        const A* above = read<T>(gradient + offset, space.tile(BUFFERS + 1), count);
        A* to = target<T>(dz + offset, space.tile(BUFFERS + 2));
        Rows<A>::norm_backward(dx != nullptr, tiles, space.tile(SLOPE), space.tile(OFFSET), from,
                               above, above, to, count);
        wrote<T>(to, dz + offset, count);
      }
    }
  });
}

}  // namespace autorep

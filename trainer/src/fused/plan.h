// How a feature map is cut into blocks, and what a block's tiles are filled with.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

namespace autorep {

// Elements of a block: its tiles fit the first cache, and the runs of one image are long enough
// for the memory's prefetching.
constexpr int64_t BLOCK = 512;

// A feature map of shape [images, channels, pixels], and the blocks of its elements over which
// threads are divided. A block belongs to one thread for all images, so sums over the batch are
// made in one order whatever the number of threads.
struct Plan {
  int64_t images;
  int64_t channels;
  int64_t height;
  int64_t width;
  bool channels_last;
  // Channels last: whole pixels, each with all its channels. Planes: a part of one channel.
  int64_t block;
  int64_t blocks_per_channel;
  int64_t blocks;

  explicit Plan(const at::Tensor& z)
      : images(z.size(0)), channels(z.size(1)), height(z.size(2)), width(z.size(3)),
        channels_last(z.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    if (channels_last) {
      block = std::max<int64_t>(1, BLOCK / std::max<int64_t>(1, channels)) * channels;
      blocks_per_channel = 0;
      blocks = block == 0 ? 0 : (elements() + block - 1) / block;
    } else {
      block = std::min(BLOCK, pixels());
      blocks_per_channel = block == 0 ? 0 : (pixels() + block - 1) / block;
      blocks = channels * blocks_per_channel;
    }
  }

  int64_t pixels() const { return height * width; }
  int64_t elements() const { return channels * pixels(); }
  at::MemoryFormat format() const {
    return channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  }
  // Channels whose sums a block collects.
  int64_t block_channels() const { return channels_last ? channels : 1; }
  // The first of them.
  int64_t first_channel(int64_t at) const { return channels_last ? 0 : at / blocks_per_channel; }
  // Where a block begins among an image's elements.
  int64_t begin(int64_t at) const {
    if (channels_last) return at * block;
    return (at / blocks_per_channel) * pixels() + (at % blocks_per_channel) * block;
  }
  int64_t size(int64_t at) const {
    if (channels_last) return std::min(block, elements() - at * block);
    return std::min(block, pixels() - (at % blocks_per_channel) * block);
  }

  // Blocks of which a thread should have at least so many, to be worth starting.
  int64_t grain() const {
    const int64_t work = std::max<int64_t>(1, images * block);
    return std::max<int64_t>(1, 32768 / work);
  }

  // One number per channel, for every element of a block.
  template <typename A>
  void spread(const A* values, int64_t at, A* tile) const {
    const int64_t count = size(at);
    if (!channels_last) {
      std::fill(tile, tile + count, values[first_channel(at)]);
      return;
    }
    for (int64_t i = 0; i < count; i += channels) std::copy(values, values + channels, tile + i);
  }

  // One number per element of a [channels, height, width] tensor with these strides.
  template <typename A>
  void gather(const A* values, at::IntArrayRef strides, int64_t at, A* tile) const {
    each_pixel(at, [&](int64_t i, int64_t step, int64_t channel, int64_t y, int64_t x, int64_t run) {
      const A* from = values + channel * strides[0] + y * strides[1] + x * strides[2];
      const int64_t stride = channels_last ? strides[0] : strides[2];
      (void)step;
      for (int64_t k = 0; k < run; ++k) tile[i + k] = from[k * stride];
    });
  }

  // The reverse of `gather`, into a contiguous tensor.
  template <typename A>
  void scatter(const A* tile, int64_t at, A* values) const {
    each_pixel(at, [&](int64_t i, int64_t step, int64_t channel, int64_t y, int64_t x, int64_t run) {
      A* to = values + channel * pixels() + y * width + x;
      for (int64_t k = 0; k < run; ++k) to[k * step] = tile[i + k];
    });
  }

  // Adds a block's tile up by channel, onto `block_channels()` sums.
  template <typename A>
  void add_up(const A* tile, int64_t at, double* sums) const {
    const int64_t count = size(at);
    if (!channels_last) {
      double sum = 0;
      for (int64_t i = 0; i < count; ++i) sum += tile[i];
      *sums += sum;
      return;
    }
    for (int64_t i = 0; i < count; i += channels)
      for (int64_t c = 0; c < channels; ++c) sums[c] += tile[i + c];
  }

 private:
  // Calls `f` for each run of elements whose places in a [channels, height, width] tensor are
  // evenly spaced: the channels of a pixel, or pixels of a row.
  template <typename F>
  void each_pixel(int64_t at, const F& f) const {
    const int64_t count = size(at);
    if (channels_last) {
      int64_t pixel = begin(at) / channels;
      for (int64_t i = 0; i < count; i += channels, ++pixel)
        f(i, pixels(), int64_t{0}, pixel / width, pixel % width, channels);
      return;
    }
    const int64_t channel = first_channel(at);
    int64_t pixel = begin(at) - channel * pixels();
    for (int64_t i = 0; i < count;) {
      const int64_t run = std::min(count - i, width - pixel % width);
      f(i, int64_t{1}, channel, pixel / width, pixel % width, run);
      i += run;
      pixel += run;
    }
  }
};

}  // namespace autorep

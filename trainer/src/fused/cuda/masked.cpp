// The masked activation as an operator of autograd whose kernels a launcher runs: on a CUDA device by
// its driver, in tests by the emulator.

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <optional>
#include <stdexcept>

#include "../errors.h"
#include "geometry.h"
#include "launcher.h"
#include "numbers.cu.h"

namespace autorep_cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Optional = std::optional<at::Tensor>;

// In the order of `Element` in `fused/cuda/mod.rs`.
int32_t element_of(const at::Tensor& map) {
  switch (map.scalar_type()) {
    case at::kFloat: return 0;
    case at::kDouble: return 1;
    case at::kBFloat16: return 2;
    case at::kHalf: return 3;
    default: TORCH_CHECK(false, "expected a map of floats, found ", map.scalar_type());
  }
}

at::ScalarType computed_in(const at::Tensor& map) {
  return map.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

bool is_channels_last(const at::Tensor& map) {
  return map.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::MemoryFormat format_of(const at::Tensor& map) {
  return is_channels_last(map) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

at::Tensor map_like(const at::Tensor& map) {
  return at::empty(map.sizes(), map.options().memory_format(format_of(map)));
}

// A [channels, height, width] tensor in the order of a map's memory.
at::Tensor image_like(const at::Tensor& map) {
  const auto options = map.options().dtype(computed_in(map));
  if (!is_channels_last(map)) return at::empty({map.size(1), map.size(2), map.size(3)}, options);
  return at::empty({map.size(2), map.size(3), map.size(1)}, options).permute({2, 0, 1});
}

Extent extent_of(const at::Tensor& map, std::initializer_list<at::Tensor> maps) {
  const int wide = map.scalar_type() == at::kDouble ? Element<double>::WIDE : Element<float>::WIDE;
  const auto bytes = static_cast<uintptr_t>(wide * map.element_size());
  bool aligned = true;
  for (const at::Tensor& each : maps)
    aligned = aligned && reinterpret_cast<uintptr_t>(each.const_data_ptr()) % bytes == 0;
  return {map.size(0), map.size(1), map.size(2) * map.size(3), is_channels_last(map), wide, aligned};
}

// What both kernels take.
Arguments arguments_of(const at::Tensor& map, const at::Tensor& keep, const at::Tensor& coefficients) {
  Arguments all{};
  all.z = map.const_data_ptr();
  all.images = map.size(0);
  all.channels = static_cast<int>(map.size(1));
  all.height = static_cast<int>(map.size(2));
  all.width = static_cast<int>(map.size(3));
  all.elements = all.channels * all.height * all.width;
  all.channels_last = is_channels_last(map);
  if (keep.defined()) {
    all.keep = keep.const_data_ptr();
    for (int at = 0; at < 3; ++at) all.keep_strides[at] = keep.stride(at);
  }
  all.coefficients = coefficients.const_data_ptr();
  all.powers = static_cast<int>(coefficients.size(0));
  all.columns = static_cast<int>(coefficients.size(1));
  all.run = 1;
  return all;
}

void launch(const AutorepLauncher& launcher, AutorepKernel kernel, const at::Tensor& map,
            const Geometry& geometry, int64_t parts, Arguments& all) {
  const c10::Device device = map.device();
  void* stream = nullptr;
  if (device.is_cuda())
    stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
  const AutorepLaunch one{device.has_index() ? device.index() : 0,
                          element_of(map),
                          kernel + (geometry.wide ? 1 : 0),
                          {static_cast<uint32_t>(geometry.blocks), static_cast<uint32_t>(parts)},
                          {static_cast<uint32_t>(geometry.lanes), static_cast<uint32_t>(geometry.slices)},
                          stream,
                          &all};
  char why[512] = "";
  if (launcher.launch(launcher.context, &one, why, sizeof why) != 0) throw std::runtime_error(why);
}

// The table of partial sums of `kinds`, to be filled.
at::Tensor table_for(const at::Tensor& map, int64_t kinds, const Geometry& geometry, Arguments& all) {
  all.run = geometry.run;
  at::Tensor table =
      at::empty({kinds, all.elements / all.run}, map.options().dtype(computed_in(map)));
  all.partials = table.mutable_data_ptr();
  return table;
}

// A table's sums by channel, [kinds, channels] in f64.
at::Tensor by_channel(const at::Tensor& table, const Arguments& all) {
  if (all.channels_last) return table.view({table.size(0), -1, all.channels}).sum(1, false, at::kDouble);
  return table.view({table.size(0), all.channels, -1}).sum(2, false, at::kDouble);
}

// Means and unbiased variances from a table of sums and sums of squares.
void tell(const at::Tensor& table, const Arguments& all, at::Tensor watched) {
  const double count = static_cast<double>(all.images * all.height * all.width);
  const at::Tensor moments = by_channel(table, all) / count;
  const double unbiased = count / std::max(1.0, count - 1.0);
  const at::Tensor variance = (moments[1] - moments[0].square()).clamp_min(0) * unbiased;
  watched.copy_(at::stack({moments[0], variance}));
}

struct MaskedActivation : torch::autograd::Function<MaskedActivation> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& z, const Optional& maybe_keep,
                            const at::Tensor& coefficients, const Optional& maybe_watched,
                            const AutorepLauncher* launcher) {
    const c10::DeviceGuard guard(z.device());
    const at::Tensor keep = maybe_keep.value_or(at::Tensor());
    const at::Tensor map = is_channels_last(z) ? z : z.contiguous();
    const at::Tensor rows = coefficients.to(computed_in(map)).contiguous();
    at::Tensor y = map_like(map);
    Arguments all = arguments_of(map, keep, rows);
    all.out = y.mutable_data_ptr();
    const Geometry geometry(extent_of(map, {map, y}));
    if (maybe_watched.has_value()) {
      const at::Tensor table = table_for(map, 2, geometry, all);
      launch(*launcher, AUTOREP_WATCHED, map, geometry, 1, all);
      tell(table, all, *maybe_watched);
    } else {
      launch(*launcher, AUTOREP_FORWARD, map, geometry, geometry.parts(all.images), all);
    }
    ctx->save_for_backward({map, keep, coefficients});
    ctx->saved_data["launcher"] = reinterpret_cast<int64_t>(launcher);
    ctx->saved_data["keep"] = keep.defined() && keep.requires_grad();
    ctx->saved_data["coefficients"] = coefficients.requires_grad();
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list above) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &z = saved[0], &keep = saved[1], &coefficients = saved[2];
    const c10::DeviceGuard guard(z.device());
    const auto* launcher = reinterpret_cast<const AutorepLauncher*>(ctx->saved_data["launcher"].toInt());
    const at::Tensor dy = above[0].to(z.scalar_type()).contiguous(format_of(z));
    const at::Tensor rows = coefficients.to(computed_in(z)).contiguous();
    at::Tensor dz = map_like(z), dkeep, dcoefficients, table;
    Arguments all = arguments_of(z, keep, rows);
    all.dy = dy.const_data_ptr();
    all.out = dz.mutable_data_ptr();
    const Geometry geometry(extent_of(z, {z, dy, dz}));
    if (ctx->saved_data["keep"].toBool()) {
      dkeep = image_like(z);
      all.dkeep = dkeep.mutable_data_ptr();
    }
    if (ctx->saved_data["coefficients"].toBool()) table = table_for(z, all.powers, geometry, all);
    launch(*launcher, AUTOREP_BACKWARD, z, geometry, 1, all);
    if (table.defined()) {
      const at::Tensor sums = all.columns == 1 ? table.sum(1, true, at::kDouble) : by_channel(table, all);
      dcoefficients = sums.to(coefficients.scalar_type());
    }
    return {dz, dkeep, dcoefficients, {}, {}};
  }
};

Optional optional(const at::Tensor* tensor) { return tensor == nullptr ? Optional() : Optional(*tensor); }

}  // namespace
}  // namespace autorep_cuda

extern "C" {

// What one call computes with; as in `fused/cuda/mod.rs`. No dimension may be zero, and an image has
// fewer than 2^31 elements.
struct AutorepLaunched {
  const at::Tensor* z;             // [batch, channels, height, width]
  const at::Tensor* keep;          // optional: [channels, height, width]; null for zeros
  const at::Tensor* coefficients;  // [degree + 1, channels or 1]
  const at::Tensor* watched;       // optional: receives means, then unbiased variances
  const AutorepLauncher* launcher;  // for as long as the result's graph
};

// The activation into `*result`; returns what went wrong, or null.
char* autorep_launched_activation(const AutorepLaunched* call, at::Tensor** result) {
  using autorep_cuda::optional;
  return autorep::caught([&] {
    *result = new at::Tensor(autorep_cuda::MaskedActivation::apply(
        *call->z, optional(call->keep), *call->coefficients, optional(call->watched), call->launcher));
  });
}
}

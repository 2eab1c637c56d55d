// The masked activation as one operator of autograd, with the batch normalisation and the sum
// before it where there are any: what is saved for the backward pass is the operator's input.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <optional>

#include "errors.h"
#include "../ranks/pooled.h"
#include "kernels.h"

namespace autorep {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;
using Optional = std::optional<at::Tensor>;

// Calls `f` with a zero of the map's element type.
template <typename F>
void by_type(const at::Tensor& map, const F& f) {
  switch (map.scalar_type()) {
    case at::kFloat: return f(float{});
    case at::kDouble: return f(double{});
    case at::kBFloat16: return f(at::BFloat16{});
    case at::kHalf: return f(at::Half{});
    default: TORCH_CHECK(false, "masked activation: expected a map of floats, found ", map.scalar_type());
  }
}

at::ScalarType computed_in(const at::Tensor& map) {
  return map.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// What a call has beside the tensors that may ask for a gradient.
struct Settings {
  at::Tensor running_mean, running_variance, watched;
  // The ranks whose images the batch's statistics are of; null for this one's own.
  Group* ranks = nullptr;
  bool training = false;
  double momentum = 0;
  double epsilon = 0;
};

// Numbers by channel as the kernels take them.
template <typename A>
struct Channels {
  at::Tensor coefficients;  // [3, channels]
  at::Tensor scale, shift, mean;

  ByChannel<A> view() const {
    ByChannel<A> by;
    const int64_t channels = coefficients.size(1);
    for (int power = 0; power < 3; ++power)
      by.coefficients[power] = coefficients.const_data_ptr<A>() + power * channels;
    if (scale.defined()) {
      by.scale = scale.const_data_ptr<A>();
      by.shift = shift.const_data_ptr<A>();
      by.mean = mean.const_data_ptr<A>();
    }
    return by;
  }
};

// Coefficients of shape [degree + 1, channels or 1] as [3, channels]; zeros above the degree.
at::Tensor spread_coefficients(const at::Tensor& coefficients, int64_t channels, at::ScalarType kind) {
  at::Tensor all = at::zeros({3, channels}, coefficients.options().dtype(kind));
  all.narrow(0, 0, coefficients.size(0)).copy_(coefficients);
  return all;
}

template <typename A>
Channels<A> channels_of(const Plan& plan, const at::Tensor& coefficients, const at::Tensor& gamma,
                        const at::Tensor& beta, const at::Tensor& mean, const at::Tensor& inverse) {
  const auto kind = c10::CppTypeToScalarType<A>::value;
  Channels<A> by;
  by.coefficients = spread_coefficients(coefficients, plan.channels, kind);
  if (gamma.defined()) {
    by.mean = mean;
    by.scale = inverse * gamma.to(kind);
    by.shift = beta.to(kind) - mean * by.scale;
  }
  return by;
}

template <typename A>
Mask<A> mask_of(const at::Tensor& keep) {
  Mask<A> mask;
  if (keep.defined()) {
    mask.values = keep.const_data_ptr<A>();
    for (int at = 0; at < 3; ++at) mask.strides[at] = keep.stride(at);
  }
  return mask;
}

// Mean and variance (biased) of each channel of a map, as [2, channels] in f64.
template <typename T>
at::Tensor batch_statistics(const Plan& plan, const T* z) {
  using A = Acc<T>;
  // Sums are taken of differences from a value amid the channel's own, lest squares of a large
  // mean swamp a small variance.
  std::vector<A> pivot(plan.channels, A(0));
  const int64_t sample = plan.images == 0 ? 0 : std::min<int64_t>(plan.pixels(), 16);
  for (int64_t c = 0; c < plan.channels; ++c) {
    for (int64_t p = 0; p < sample; ++p)
      pivot[c] += static_cast<A>(plan.channels_last ? z[p * plan.channels + c] : z[c * plan.pixels() + p]);
    if (sample > 0) pivot[c] /= A(sample);
  }
  const auto sums = moments<T>(plan, z, pivot.data());
  at::Tensor statistics = at::empty({2, plan.channels}, at::kDouble);
  double* mean = statistics.mutable_data_ptr<double>();
  double* variance = mean + plan.channels;
  const double count = static_cast<double>(plan.images * plan.pixels());
  for (int64_t c = 0; c < plan.channels; ++c) {
    const double from_pivot = count == 0 ? 0 : sums[0][c] / count;
    mean[c] = pivot[c] + from_pivot;
    variance[c] = count == 0 ? 0 : std::max(0.0, sums[1][c] / count - from_pivot * from_pivot);
  }
  return statistics;
}

// How a batch is normalised.
struct Normalisation {
  at::Tensor values;  // mean and 1 / deviation by channel, [2, channels]
  double count = 0;   // values of a channel in the batch, on all ranks
};

// By the batch's statistics, which move the running ones, or by the running ones.
template <typename T>
Normalisation normalisation(const Plan& plan, const at::Tensor& z, const Settings& settings) {
  const auto kind = computed_in(z);
  at::Tensor running_mean = settings.running_mean, running_variance = settings.running_variance;
  at::Tensor mean, variance;
  double count = static_cast<double>(plan.images * plan.pixels());
  if (settings.training) {
    const at::Tensor statistics = batch_statistics<T>(plan, z.const_data_ptr<T>());
    mean = statistics[0];
    variance = statistics[1];
    if (settings.ranks != nullptr) {
      at::Tensor all;
      std::tie(mean, variance, all) = pooled(*settings.ranks, mean, variance, count);
      count = all.item<double>();
    }
    const double unbiased = count / std::max(1.0, count - 1.0);
    running_mean.mul_(1 - settings.momentum).add_(mean.to(running_mean.scalar_type()), settings.momentum);
    running_variance.mul_(1 - settings.momentum)
        .add_((variance * unbiased).to(running_variance.scalar_type()), settings.momentum);
  } else {
    mean = running_mean.to(at::kDouble);
    variance = running_variance.to(at::kDouble);
  }
  return {at::stack({mean, (variance + settings.epsilon).rsqrt()}).to(kind), count};
}

template <typename T>
const T* pointer(const at::Tensor& map) {
  return map.defined() ? map.const_data_ptr<T>() : nullptr;
}

at::Tensor from_sums(const std::vector<double>& sums) {
  return at::tensor(at::ArrayRef<double>(sums), at::kDouble);
}

struct MaskedActivation : torch::autograd::Function<MaskedActivation> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& z, const Optional& maybe_residual,
                            const Optional& maybe_keep, const at::Tensor& coefficients,
                            const Optional& maybe_gamma, const Optional& maybe_beta,
                            Settings settings) {
    const at::Tensor residual = maybe_residual.value_or(at::Tensor());
    const at::Tensor keep = maybe_keep.value_or(at::Tensor());
    const at::Tensor gamma = maybe_gamma.value_or(at::Tensor());
    const at::Tensor beta = maybe_beta.value_or(at::Tensor());
    at::Tensor watched = settings.watched;
    const bool last = z.is_contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor map = last ? z : z.contiguous();
    const Plan plan(map);
    const at::Tensor beside = residual.defined() ? residual.contiguous(plan.format()) : residual;
    at::Tensor y = at::empty(map.sizes(), map.options().memory_format(plan.format()));
    Normalisation norm;
    by_type(map, [&](auto zero) {
      using T = decltype(zero);
      using A = Acc<T>;
      if (gamma.defined()) norm = normalisation<T>(plan, map, settings);
      const at::Tensor& normal = norm.values;
      const auto by = channels_of<A>(plan, coefficients, gamma, beta,
                                     normal.defined() ? normal[0] : normal,
                                     normal.defined() ? normal[1] : normal);
      std::array<std::vector<double>, 2> sums;
      const bool watches = watched.defined();
      autorep::forward<T>(plan, by.view(), mask_of<A>(keep), map.const_data_ptr<T>(),
                          pointer<T>(beside), y.mutable_data_ptr<T>(), watches ? &sums : nullptr);
      if (watches) {
        const double count = static_cast<double>(plan.images * plan.pixels());
        const at::Tensor mean = from_sums(sums[0]) / count;
        const at::Tensor squares = from_sums(sums[1]) / count;
        const double unbiased = count / std::max(1.0, count - 1.0);
        watched.copy_(at::stack({mean, (squares - mean * mean).clamp_min(0) * unbiased}));
      }
    });
    ctx->save_for_backward({map, beside, keep, coefficients, gamma, beta, norm.values});
    ctx->saved_data["training"] = settings.training;
    ctx->saved_data["count"] = norm.count;
    ctx->saved_data["ranks"] = reinterpret_cast<int64_t>(settings.ranks);
    ctx->saved_data["keep"] = keep.defined() && keep.requires_grad();
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list above) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &z = saved[0], &residual = saved[1], &keep = saved[2], &coefficients = saved[3];
    const at::Tensor &gamma = saved[4], &beta = saved[5], &normal = saved[6];
    const Plan plan(z);
    const at::Tensor dy = above[0].to(z.scalar_type()).contiguous(plan.format());
    const auto kind = computed_in(z);
    const bool norm = gamma.defined();
    const auto map_like = [&] { return at::empty(z.sizes(), z.options().memory_format(plan.format())); };
    at::Tensor dz, dresidual, dkeep, dcoefficients, dgamma, dbeta;
    // Without a sum behind it a normalisation's own gradient is computed again rather than kept.
    at::Tensor dx = !norm || residual.defined() ? map_like() : at::Tensor();
    if (ctx->saved_data["keep"].toBool())
      dkeep = at::empty({plan.channels, plan.height, plan.width}, z.options().dtype(kind));
    by_type(z, [&](auto zero) {
      using T = decltype(zero);
      using A = Acc<T>;
      const auto by = channels_of<A>(plan, coefficients, gamma, beta, norm ? normal[0] : normal,
                                     norm ? normal[1] : normal);
      const auto mask = mask_of<A>(keep);
      T* to = dx.defined() ? dx.mutable_data_ptr<T>() : nullptr;
      A* to_keep = dkeep.defined() ? dkeep.mutable_data_ptr<A>() : nullptr;
      const Gradients sums = autorep::backward<T>(plan, by.view(), mask, z.const_data_ptr<T>(),
                                                  pointer<T>(residual), dy.const_data_ptr<T>(), to, to_keep);
      std::vector<at::Tensor> rows;
      for (int64_t power = 0; power < coefficients.size(0); ++power)
        rows.push_back(from_sums(sums.coefficients[power]));
      dcoefficients = at::stack(rows);
      if (coefficients.size(1) == 1) dcoefficients = dcoefficients.sum(1, true);
      dcoefficients = dcoefficients.to(coefficients.scalar_type());
      if (!norm) {
        dz = dx;
        return;
      }
      const at::Tensor inverse = normal[1].to(at::kDouble);
      const at::Tensor dx_sum = from_sums(sums.dx), centred_sum = from_sums(sums.dx_centred);
      dgamma = (centred_sum * inverse).to(gamma.scalar_type());
      dbeta = dx_sum.to(beta.scalar_type());
      at::Tensor slope = at::zeros_like(by.scale), offset = at::zeros_like(by.scale);
      if (ctx->saved_data["training"].toBool()) {
        at::Tensor all = at::stack({centred_sum, dx_sum});
        // The statistics depend on every rank's images, so every rank's gradients reach these.
        auto* ranks = reinterpret_cast<Group*>(ctx->saved_data["ranks"].toInt());
        if (ranks != nullptr) sum(*ranks, all);
        const at::Tensor factor = by.scale.to(at::kDouble) / -ctx->saved_data["count"].toDouble();
        slope = (factor * all[0] * inverse * inverse).to(kind);
        offset = (factor * all[1]).to(kind);
      }
      dz = map_like();
      norm_backward<T>(plan, by.view(), mask, slope.const_data_ptr<A>(), offset.const_data_ptr<A>(),
                       z.const_data_ptr<T>(), dy.const_data_ptr<T>(), to, dz.mutable_data_ptr<T>());
    });
    if (residual.defined()) dresidual = dx;
    return {dz, dresidual, dkeep, dcoefficients, dgamma, dbeta, {}};
  }
};

Optional optional(const at::Tensor* tensor) { return tensor == nullptr ? Optional() : Optional(*tensor); }

at::Tensor tensor_or_none(const at::Tensor* tensor) { return tensor == nullptr ? at::Tensor() : *tensor; }

}  // namespace
}  // namespace autorep

extern "C" {

// What one call computes with; pointers marked optional may be null. The Rust declaration in
// `fused/mod.rs` must have the same fields.
struct AutorepMasked {
  const at::Tensor* z;                 // [batch, channels, height, width]
  const at::Tensor* residual;          // optional: added before the activation, of the same shape
  const at::Tensor* keep;              // optional: [channels, height, width]; absent for zeros
  const at::Tensor* coefficients;      // [degree + 1, channels or 1]
  const at::Tensor* gamma;             // optional: the normalisation's, each [channels]
  const at::Tensor* beta;
  const at::Tensor* running_mean;
  const at::Tensor* running_variance;
  const at::Tensor* watched;           // optional: receives means, then unbiased variances
  autorep::Group* ranks;               // optional: whose images the batch's statistics are of
  double momentum;
  double epsilon;
  bool training;
};

// The activation into `*result`; returns what went wrong, or null.
char* autorep_masked_activation(const AutorepMasked* call, at::Tensor** result) {
  using autorep::optional;
  using autorep::tensor_or_none;
  return autorep::caught([&] {
    const autorep::Settings settings{
        tensor_or_none(call->running_mean), tensor_or_none(call->running_variance),
        tensor_or_none(call->watched), call->ranks, call->training, call->momentum, call->epsilon};
    *result = new at::Tensor(autorep::MaskedActivation::apply(
        *call->z, optional(call->residual), optional(call->keep), *call->coefficients,
        optional(call->gamma), optional(call->beta), settings));
  });
}

void autorep_fused_free(char* text) { std::free(text); }
}

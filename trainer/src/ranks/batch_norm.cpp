// Batch normalisation with the statistics of all ranks' images together.
//
// Forward: mean and variance come of sums over the ranks; the rest is libtorch's own kernel with
// statistics given from outside. Backward (Ioffe and Szegedy 2015, arXiv:1502.03167, section 3), with
// x^ = (x - M) / sqrt(V + eps), sums over all N values of a channel on all ranks, and dy the gradient
// of the rank's own share of the loss:
//
//   dx = w / sqrt(V + eps) * (dy - sum(dy) / N - x^ sum(dy x^) / N)
//
// whose first term and local sums are, again, libtorch's own kernel for given statistics.

#include "native.h"

#include <torch/csrc/autograd/custom_function.h>

namespace autorep {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// One value per channel, so that it broadcasts to [images, channels, height, width].
at::Tensor per_channel(const at::Tensor& values) {
  return values.view({1, -1, 1, 1});
}

// (M, V, N) of all ranks' values, by channel: f32, f32 without Bessel's correction, and how many they
// are, a scalar in f64 on the device.
std::tuple<at::Tensor, at::Tensor, at::Tensor> statistics(Group& group, const at::Tensor& x) {
  const auto channels = x.size(1);
  const auto exact = x.options().dtype(at::kDouble).requires_grad(false);
  const auto own = static_cast<double>(x.numel()) / static_cast<double>(channels);
  // A rank without images has nothing that could be measured.
  at::Tensor own_mean = at::zeros({channels}, exact), own_variance = own_mean;
  // On a CPU what libtorch measures of a narrow map is as narrow.
  const bool narrow = x.device().is_cpu() && x.scalar_type() != at::kDouble;
  if (own > 0)
    std::tie(own_mean, own_variance) =
        at::batch_norm_update_stats(narrow ? x.to(at::kFloat) : x, {}, {}, 0.0);
  const auto [mean, variance, all] = pooled(group, own_mean, own_variance, own);
  return {mean.to(at::kFloat), variance.to(at::kFloat), all};
}

struct Norm : torch::autograd::Function<Norm> {
  static at::Tensor forward(
      AutogradContext* context,
      const at::Tensor& x,
      const at::Tensor& scale,
      const at::Tensor& shift,
      const at::Tensor& running_mean,
      const at::Tensor& running_variance,
      int64_t group,
      bool updates,
      double momentum,
      double epsilon) {
    auto [mean, variance, count] = statistics(*reinterpret_cast<Group*>(group), x);
    if (updates) {
      const auto unbiased = variance * (count / (count - 1).clamp_min(1)).to(at::kFloat);
      running_mean.mul_(1 - momentum).add_(mean, momentum);
      running_variance.mul_(1 - momentum).add_(unbiased, momentum);
    }
    context->save_for_backward({x, scale, mean, variance, count});
    context->saved_data["group"] = group;
    context->saved_data["epsilon"] = epsilon;
    if (x.numel() == 0) return at::empty_like(x);  // libtorch's own kernel divides by it
    return std::get<0>(
        at::native_batch_norm(x, scale, shift, mean, variance, false, 0.0, epsilon));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &scale = saved[1], &mean = saved[2], &variance = saved[3];
    const auto& count = saved[4];
    const auto epsilon = context->saved_data["epsilon"].toDouble();
    auto* group = reinterpret_cast<Group*>(context->saved_data["group"].toInt());

    at::Tensor dx = at::empty_like(x), dscale = at::zeros_like(scale), dshift = dscale.clone();
    if (x.numel() > 0)
      std::tie(dx, dscale, dshift) = at::native_batch_norm_backward(
          gradients[0], x, scale, mean, variance, {}, {}, false, epsilon, {true, true, true});
    auto sums = at::cat({dscale, dshift}).to(at::kDouble);
    sum(*group, sums);
    const auto channels = x.size(1);
    const auto of_scale = sums.narrow(0, 0, channels) / count;
    const auto of_shift = sums.narrow(0, channels, channels) / count;
    const auto inverse = (variance.to(at::kDouble) + epsilon).rsqrt();
    const auto slope = scale.detach().to(at::kDouble) * inverse;
    // What is taken off is linear in x, by channel.
    const auto factor = slope * inverse * of_scale;
    const auto constant = slope * of_shift - factor * mean.to(at::kDouble);
    const auto in_kind = [&](const at::Tensor& values) {
      return per_channel(values.to(at::kFloat));
    };
    if (x.scalar_type() == at::kFloat) {
      dx.addcmul_(x, in_kind(factor), -1).sub_(in_kind(constant));
    } else {
      const auto off = at::addcmul(in_kind(constant), x.to(at::kFloat), in_kind(factor));
      dx = (dx.to(at::kFloat) - off).to(x.scalar_type());
    }
    const at::Tensor none;
    return {dx, dscale, dshift, none, none, none, none, none, none};
  }
};

} // namespace

std::tuple<at::Tensor, at::Tensor, at::Tensor> pooled(
    Group& group,
    const at::Tensor& mean,
    const at::Tensor& variance,
    double count) {
  const auto channels = mean.size(0);
  const auto own = mean.to(at::kDouble);
  const auto squares = variance.to(at::kDouble) + own * own;
  auto sums = at::cat({own, squares, at::ones({1}, own.options())}) * count;
  sum(group, sums);
  const auto all = sums[2 * channels];
  const auto of_all = sums.narrow(0, 0, channels) / all;
  const auto spread = sums.narrow(0, channels, channels) / all - of_all * of_all;
  return {of_all, spread.clamp_min(0), all};
}

} // namespace autorep

extern "C" char* autorep_ranks_batch_norm(
    autorep::Group* group,
    at::Tensor* x,
    at::Tensor* scale,
    at::Tensor* shift,
    at::Tensor* running_mean,
    at::Tensor* running_variance,
    bool updates,
    double momentum,
    double epsilon,
    at::Tensor** y) {
  return autorep::guarded([&] {
    *y = new at::Tensor(autorep::Norm::apply(
        *x,
        *scale,
        *shift,
        *running_mean,
        *running_variance,
        reinterpret_cast<int64_t>(group),
        updates,
        momentum,
        epsilon));
  });
}

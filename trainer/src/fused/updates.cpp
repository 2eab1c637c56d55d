// Optimizer steps over many tensors in one call, by libtorch's own fused operators, which tch does
// not offer.

#include <ATen/ATen.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_sgd.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "errors.h"

namespace {

using Pointers = const at::Tensor* const*;

std::vector<at::Tensor> list(Pointers tensors, int64_t count) {
  std::vector<at::Tensor> all;
  for (int64_t at = 0; at < count; ++at) all.push_back(*tensors[at]);
  return all;
}

// The gradients, laid out as their tensors are: the operators go over memory, whatever the strides,
// and a convolution's gradient may lie channels last where its weight does not.
std::vector<at::Tensor> alike(Pointers gradients, const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> all;
  for (size_t at = 0; at < tensors.size(); ++at) {
    const at::Tensor& gradient = *gradients[at];
    const bool fits = gradient.strides() == tensors[at].strides();
    all.push_back(fits ? gradient : at::empty_like(tensors[at]).copy_(gradient));
  }
  return all;
}

}  // namespace

extern "C" {

// Adam on tensors with one weight decay, whose moments are `first` and `second`; `step` counts from
// 1. Returns what went wrong, or null.
char* autorep_fused_adam(Pointers tensors, Pointers gradients, Pointers first, Pointers second,
                         int64_t count, double lr, double beta1, double beta2, double weight_decay,
                         double epsilon, double step) {
  return autorep::caught([&] {
    c10::NoGradGuard guard;
    const auto all = list(tensors, count);
    if (all.empty()) return;
    const at::Tensor steps = at::full({}, step, all[0].options().dtype(at::kFloat));
    at::_fused_adam_(all, alike(gradients, all), list(first, count), list(second, count), {},
                     std::vector<at::Tensor>(all.size(), steps), lr, beta1, beta2, weight_decay,
                     epsilon, false, false);
  });
}

// Stochastic gradient descent with momentum on tensors with one weight decay.
char* autorep_fused_sgd(Pointers tensors, Pointers gradients, Pointers velocities, int64_t count,
                        double lr, double momentum, double weight_decay) {
  return autorep::caught([&] {
    c10::NoGradGuard guard;
    const auto all = list(tensors, count);
    if (all.empty()) return;
    // Without momentum the operator insists on having no velocities, which nothing would read.
    at::_fused_sgd_(all, alike(gradients, all), list(velocities, momentum == 0 ? 0 : count),
                    weight_decay, momentum, lr, 0.0, false, false, false);
  });
}
}

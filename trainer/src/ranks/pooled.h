// What a pass needs of the other ranks in its middle.
#pragma once

#include <ATen/ATen.h>

#include <tuple>

namespace autorep {

struct Group;

// Sums a tensor over the ranks, in place.
void sum(Group& group, at::Tensor& tensor);

// (mean, biased variance, number) by channel of all ranks' values, from those of a rank's own, of
// which there are `count`: f64 of shape [channels], the number of shape [].
std::tuple<at::Tensor, at::Tensor, at::Tensor> pooled(
    Group& group,
    const at::Tensor& mean,
    const at::Tensor& variance,
    double count);

} // namespace autorep

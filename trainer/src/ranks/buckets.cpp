// Gradients on their way to the other ranks while the backward pass goes on.
//
// Leaves are laid out in buckets in the order in which the caller names them. A hook on each leaf
// copies its gradient into its bucket as soon as the pass has it whole; a bucket that is full is
// summed over the ranks on the backend's own threads. Buckets start in their order, whatever the
// order in which they fill: every rank must start the same ones after one another.

#include "native.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

namespace autorep {

namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

struct Leaf {
  at::Tensor tensor;
  unsigned hook;
  size_t bucket;
  int64_t offset;
  int64_t size;
  bool ready;
};

struct Bucket {
  at::Tensor flat;
  std::vector<size_t> leaves;
  size_t missing;
  c10::intrusive_ptr<c10d::Work> work;
  Clock::time_point begun;
  // When the sum was there, by the backend's own word; zero while it is not.
  std::shared_ptr<std::atomic<Clock::rep>> ended;
};

} // namespace

class Buckets {
 public:
  Buckets(Group& group, at::Tensor** leaves, size_t count, int64_t first_bytes, int64_t bytes)
      : bulk_(group.bulk) {
    std::vector<int64_t> sizes;
    int64_t limit = first_bytes;
    for (size_t at = 0; at < count; ++at) {
      const at::Tensor& tensor = *leaves[at];
      const int64_t size = tensor.numel();
      const auto kind = tensor.scalar_type();
      const bool fits = !buckets_.empty() && kinds_.back() == kind &&
          (sizes.back() + size) * tensor.element_size() <= limit;
      if (!fits) {
        limit = buckets_.empty() ? first_bytes : bytes;
        buckets_.emplace_back();
        kinds_.push_back(kind);
        sizes.push_back(0);
      }
      buckets_.back().leaves.push_back(at);
      leaves_.push_back(Leaf{tensor, 0, buckets_.size() - 1, sizes.back(), size, false});
      sizes.back() += size;
    }
    for (size_t at = 0; at < buckets_.size(); ++at) {
      const auto& first = leaves_[buckets_[at].leaves.front()].tensor;
      buckets_[at].flat = at::zeros({sizes[at]}, first.options().requires_grad(false));
    }
    for (size_t at = 0; at < leaves_.size(); ++at) {
      leaves_[at].hook = leaves_[at].tensor.register_hook(
          [this, at](const at::Tensor& gradient) { arrived(at, gradient); });
    }
  }

  ~Buckets() {
    for (auto& leaf : leaves_) {
      leaf.tensor.remove_hook(leaf.hook);
    }
  }

  Buckets(const Buckets&) = delete;
  Buckets& operator=(const Buckets&) = delete;

  void begin() {
    for (auto& leaf : leaves_) {
      leaf.ready = false;
    }
    for (auto& bucket : buckets_) {
      bucket.missing = bucket.leaves.size();
      bucket.work.reset();
    }
    next_ = 0;
    armed_ = true;
  }

  // Waits for every sum. A leaf that the pass did not reach has a gradient of zero here.
  void finish(at::Tensor** gradients, double* times) {
    armed_ = false;
    const auto pass_ended = Clock::now();
    for (size_t at = 0; at < leaves_.size(); ++at) {
      if (!leaves_[at].ready) {
        place(leaves_[at]).zero_();
      }
    }
    while (next_ < buckets_.size()) {
      start(buckets_[next_++]);
    }
    for (auto& bucket : buckets_) {
      bucket.work->wait();
    }
    const auto all_ended = Clock::now();
    measure(pass_ended, all_ended, times);
    for (size_t at = 0; at < leaves_.size(); ++at) {
      gradients[at] = new at::Tensor(place(leaves_[at]).view(leaves_[at].tensor.sizes()));
    }
  }

 private:
  at::Tensor place(const Leaf& leaf) {
    return buckets_[leaf.bucket].flat.narrow(0, leaf.offset, leaf.size);
  }

  void arrived(size_t at, const at::Tensor& gradient) {
    auto& leaf = leaves_[at];
    if (!armed_ || leaf.ready || !gradient.defined()) {
      return;
    }
    at::NoGradGuard no_grad;
    place(leaf).view(leaf.tensor.sizes()).copy_(gradient);
    leaf.ready = true;
    buckets_[leaf.bucket].missing -= 1;
    while (next_ < buckets_.size() && buckets_[next_].missing == 0) {
      start(buckets_[next_++]);
    }
  }

  void start(Bucket& bucket) {
    bucket.begun = Clock::now();
    bucket.ended = std::make_shared<std::atomic<Clock::rep>>(0);
    std::vector<at::Tensor> tensors{bucket.flat};
    known([&] { bucket.work = bulk_->allreduce(tensors); });
    if (bucket.flat.is_cpu()) {
      bucket.work->getFuture()->addCallback([ended = bucket.ended](c10::ivalue::Future&) {
        ended->store(Clock::now().time_since_epoch().count());
      });
    }
  }

  // Bytes that were summed; seconds in which sums were under way; those of them after the pass.
  void measure(Clock::time_point pass_ended, Clock::time_point all_ended, double* times) {
    double bytes = 0, busy = 0;
    std::optional<Clock::time_point> until;
    for (const auto& bucket : buckets_) {
      bytes += static_cast<double>(bucket.flat.nbytes());
      const auto said = bucket.ended->load();
      const auto ended = said == 0 ? all_ended : Clock::time_point(Clock::duration(said));
      const auto from = until ? std::max(*until, bucket.begun) : bucket.begun;
      busy += std::max(0.0, seconds(ended - from));
      until = until ? std::max(*until, ended) : ended;
    }
    const auto last = until.value_or(pass_ended);
    times[0] = bytes;
    times[1] = busy;
    times[2] = std::min(busy, std::max(0.0, seconds(last - pass_ended)));
  }

  c10::intrusive_ptr<c10d::Backend> bulk_;
  std::vector<Leaf> leaves_;
  std::vector<Bucket> buckets_;
  std::vector<at::ScalarType> kinds_;
  size_t next_ = 0;
  bool armed_ = false;
};

} // namespace autorep

using autorep::Buckets;
using autorep::Group;
using autorep::guarded;

extern "C" {

char* autorep_buckets_lay_out(
    Group* group,
    at::Tensor** leaves,
    size_t count,
    int64_t first_bytes,
    int64_t bytes,
    Buckets** buckets) {
  return guarded([&] { *buckets = new Buckets(*group, leaves, count, first_bytes, bytes); });
}

void autorep_buckets_drop(Buckets* buckets) {
  delete buckets;
}

void autorep_buckets_begin(Buckets* buckets) {
  buckets->begin();
}

char* autorep_buckets_finish(Buckets* buckets, at::Tensor** gradients, double* times) {
  return guarded([&] { buckets->finish(gradients, times); });
}

} // extern "C"

// Process groups over NCCL. They are in libtorch's CUDA part, which this program is not linked
// against (see cuda.rs) and whose header needs CUDA's and NCCL's. So the two constructors are looked
// up by their names once that part is loaded, and what they make is used as what it derives from.
//
// An object is given more room than it needs, since its size is not known here; its destructor frees
// it by its address alone.

#include "native.h"

#include <dlfcn.h>

#include <new>

namespace autorep {

namespace {

// The types named in the constructor's signature, for their place in it only: both are pointers that
// are passed by the address of a temporary.
class NcclOptions : public c10d::Backend::Options {
 public:
  using c10d::Backend::Options::Options;
};

// Far more than either takes in libtorch 2.11 (below 3 KiB).
constexpr size_t ROOM = 64 * 1024;

constexpr const char* OPTIONS = "_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb";
constexpr const char* GROUP =
    "_ZN4c10d16ProcessGroupNCCLC1EN3c1013intrusive_ptrINS_5StoreENS1_6detail34intrusive_target_default_null_typeIS3_EEEEiiNS2_INS0_7OptionsENS5_IS8_EEEE";

template <class Function>
Function find(const char* name) {
  void* found = dlsym(RTLD_DEFAULT, name);
  TORCH_CHECK(
      found != nullptr,
      "libtorch's CUDA part has no NCCL (found no ",
      name,
      "); expected that of a PyTorch 2.11 for Linux with CUDA");
  return reinterpret_cast<Function>(found);
}

struct Room {
  void* at = ::operator new(ROOM);
  Room() {
    std::memset(at, 0, ROOM);
  }
  ~Room() {
    ::operator delete(at);
  }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  void* take() {
    return std::exchange(at, nullptr);
  }
};

} // namespace

c10::intrusive_ptr<c10d::Backend> open_nccl(
    const c10::intrusive_ptr<c10d::Store>& store,
    int rank,
    int ranks,
    std::chrono::milliseconds deadline) {
  using StorePointer = c10::intrusive_ptr<c10d::Store>;
  using OptionsPointer = c10::intrusive_ptr<NcclOptions>;
  using MakeOptions = void (*)(void*, bool);
  using MakeGroup = void (*)(void*, StorePointer, int, int, OptionsPointer);
  const auto make_options = find<MakeOptions>(OPTIONS);
  const auto make_group = find<MakeGroup>(GROUP);

  Room for_options;
  make_options(for_options.at, false);
  auto options = OptionsPointer::unsafe_steal_from_new(static_cast<NcclOptions*>(for_options.take()));
  const_cast<std::chrono::milliseconds&>(options->timeout) = deadline;

  Room for_group;
  make_group(for_group.at, store, rank, ranks, options);
  return c10::intrusive_ptr<c10d::Backend>::unsafe_steal_from_new(
      static_cast<c10d::Backend*>(for_group.take()));
}

} // namespace autorep

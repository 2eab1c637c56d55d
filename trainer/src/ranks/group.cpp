// Groups of ranks over libtorch's c10d: rendezvous over TCP, Gloo on CPUs, NCCL on GPUs.

#include "native.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace autorep {

// A listening socket on this machine's loopback: c10d's own would listen to every network.
static int listen_on_loopback(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  TORCH_CHECK(fd >= 0, "no socket: ", std::strerror(errno));
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, generic, sizeof address) != 0 || listen(fd, SOMAXCONN) != 0) {
    const auto why = std::string(std::strerror(errno));
    close(fd);
    TORCH_CHECK(false, "cannot listen on 127.0.0.1:", port, ": ", why);
  }
  return fd;
}

static bool is_loopback(const std::string& host) {
  return host == "127.0.0.1" || host == "localhost";
}

static c10::intrusive_ptr<c10d::TCPStore> meet(
    const std::string& host,
    uint16_t port,
    bool leads,
    std::chrono::milliseconds deadline) {
  c10d::TCPStoreOptions options;
  options.port = port;
  options.isServer = leads;
  options.waitWorkers = false;
  options.timeout = deadline;
  if (leads && is_loopback(host)) {
    options.masterListenFd = listen_on_loopback(port);
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(*options.masterListenFd, reinterpret_cast<sockaddr*>(&address), &size);
    options.port = ntohs(address.sin_port);
  }
  return c10::make_intrusive<c10d::TCPStore>(host, options);
}

static c10::intrusive_ptr<c10d::Backend> open_gloo(
    const std::string& name,
    const c10::intrusive_ptr<c10d::Store>& store,
    int rank,
    int ranks,
    bool local,
    std::chrono::milliseconds deadline) {
  using c10d::ProcessGroupGloo;
  auto options = ProcessGroupGloo::Options::create(deadline);
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (local) {
    options->devices.push_back(ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
  } else if (interface != nullptr) {
    options->devices.push_back(ProcessGroupGloo::createDeviceForInterface(interface));
  } else {
    options->devices.push_back(ProcessGroupGloo::createDefaultDevice());
  }
  auto own = c10::make_intrusive<c10d::PrefixStore>(name, store);
  return c10::make_intrusive<ProcessGroupGloo>(own, rank, ranks, options);
}

void sum(Group& group, at::Tensor& tensor) {
  known([&] {
    std::vector<at::Tensor> tensors{tensor};
    group.main->allreduce(tensors)->wait();
  });
}

} // namespace autorep

using autorep::Group;
using autorep::guarded;

extern "C" {

void autorep_ranks_forget(char* text) {
  std::free(text);
}

// Rank 0 listens at host:port (0 for any that is free) and says at which port in `listens`.
char* autorep_ranks_meet(
    const char* host,
    uint16_t port,
    bool leads,
    uint64_t deadline_ms,
    uint16_t* listens,
    c10d::Store** store) {
  return guarded([&] {
    auto met = autorep::meet(host, port, leads, std::chrono::milliseconds(deadline_ms));
    *listens = met->getPort();
    *store = met.release();
  });
}

void autorep_ranks_part(c10d::Store* store) {
  c10::intrusive_ptr<c10d::Store>::reclaim(store);
}

// Waits until every rank is there. Takes the store.
char* autorep_ranks_open(
    c10d::Store* met,
    const char* host,
    int rank,
    int ranks,
    bool cuda,
    uint64_t deadline_ms,
    Group** group) {
  auto store = c10::intrusive_ptr<c10d::Store>::reclaim(met);
  return guarded([&] {
    const auto deadline = std::chrono::milliseconds(deadline_ms);
    const auto local = autorep::is_loopback(host);
    const auto control = autorep::open_gloo("control", store, rank, ranks, local, deadline);
    auto main = control, bulk = control;
    if (cuda) {
      main = bulk = autorep::open_nccl(store, rank, ranks, deadline);
    } else {
      bulk = autorep::open_gloo("bulk", store, rank, ranks, local, deadline);
    }
    *group = new Group{store, control, main, bulk};
  });
}

void autorep_ranks_close(Group* group) {
  delete group;
}

char* autorep_ranks_sum(Group* group, at::Tensor* tensor) {
  return guarded([&] { autorep::sum(*group, *tensor); });
}

// In place: the values of rank 0.
char* autorep_ranks_broadcast(Group* group, at::Tensor* tensor) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    group->main->broadcast(tensors)->wait();
  });
}

// As autorep_ranks_sum, of a tensor on the CPU, without regard to any GPU.
char* autorep_ranks_agree(Group* group, at::Tensor* tensor) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    group->control->allreduce(tensors)->wait();
  });
}

} // extern "C"

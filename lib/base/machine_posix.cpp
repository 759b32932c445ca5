#ifndef _WIN32
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

#include "puna/base/machine.hpp"
#include "puna/base/status.hpp"

namespace puna {
namespace {

#ifdef __linux__
// Of a container: "max 100000", or microseconds of processor time per period.
std::uint32_t quota_cores(std::uint32_t otherwise) {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return otherwise;
  return static_cast<std::uint32_t>(std::clamp(quota / period + 0.5, 1.0, static_cast<double>(otherwise)));
}

// Whether a core is the first of its hyper-threads: the list of them begins with its number.
bool first_sibling(int core) {
  std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(core) + "/topology/thread_siblings_list");
  int first = core;
  file >> first;
  return first == core;
}

std::vector<int> allowed_cores() {
  std::vector<int> first, second;
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return first;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &set)) (first_sibling(core) ? first : second).push_back(core);
  first.insert(first.end(), second.begin(), second.end());
  return first;
}
#endif

}  // namespace

std::uint64_t physical_memory() noexcept {
  const long pages = ::sysconf(_SC_PHYS_PAGES), size = ::sysconf(_SC_PAGESIZE);
  std::uint64_t bytes = pages > 0 && size > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(size) : 0;
#ifdef __linux__
  try {
    std::ifstream file("/sys/fs/cgroup/memory.max");  // of a container: "max", or bytes
    if (std::uint64_t allowed = 0; file >> allowed && allowed != 0) bytes = std::min(bytes, allowed);
  } catch (...) {
  }
#endif
  return bytes;
}

std::uint32_t usable_cores() noexcept {
  const std::uint32_t all = std::max(1u, std::thread::hardware_concurrency());
#ifdef __linux__
  try {
    cpu_set_t set;
    const std::uint32_t allowed = ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<std::uint32_t>(CPU_COUNT(&set)) : all;
    return quota_cores(std::max(1u, allowed));
  } catch (...) {
    return all;
  }
#else
  return all;
#endif
}

bool pin_this_thread([[maybe_unused]] std::uint32_t index) noexcept {
#ifdef __linux__
  try {
    const std::vector<int> cores = allowed_cores();
    if (cores.empty()) return false;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cores[index % cores.size()], &one);
    return ::pthread_setaffinity_np(::pthread_self(), sizeof one, &one) == 0;
  } catch (...) {
    return false;
  }
#else
  return false;
#endif
}

LockedPages::~LockedPages() {
  for (const Range& r : ranges_) ::munlock(r.data, r.bytes);
}

void LockedPages::add(const void* data, std::size_t bytes, const std::string& what) {
  ranges_.reserve(ranges_.size() + 1);
  if (::mlock(data, bytes) == 0) return ranges_.push_back({data, bytes});
  const int error = errno;
  std::string limit = "no limit is set";
  rlimit most{};
  if (::getrlimit(RLIMIT_MEMLOCK, &most) == 0 && most.rlim_cur != RLIM_INFINITY)
    limit = "the limit of locked memory is " + std::to_string(most.rlim_cur) + " bytes (ulimit -l)";
  fail(Code::memory, what + ": cannot lock " + std::to_string(bytes) + " bytes in memory: " + std::generic_category().message(error) + "; " + limit);
}

}  // namespace puna
#endif

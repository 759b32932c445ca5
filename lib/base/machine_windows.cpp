#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <thread>

#include "puna/base/machine.hpp"
#include "puna/base/status.hpp"

namespace puna {

std::uint32_t usable_cores() noexcept { return std::max(1u, std::thread::hardware_concurrency()); }

std::uint64_t physical_memory() noexcept {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  return ::GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

bool pin_this_thread(std::uint32_t index) noexcept {
  const DWORD_PTR bits = sizeof(DWORD_PTR) * 8;
  return ::SetThreadAffinityMask(::GetCurrentThread(), DWORD_PTR{1} << (index % std::min<DWORD_PTR>(bits, usable_cores()))) != 0;
}

LockedPages::~LockedPages() {
  for (const Range& r : ranges_) ::VirtualUnlock(const_cast<void*>(r.data), r.bytes);
}

void LockedPages::add(const void* data, std::size_t bytes, const std::string& what) {
  ranges_.reserve(ranges_.size() + 1);
  SIZE_T low = 0, high = 0;
  const HANDLE process = ::GetCurrentProcess();
  if (::GetProcessWorkingSetSize(process, &low, &high)) ::SetProcessWorkingSetSize(process, low + bytes, high + bytes);
  if (::VirtualLock(const_cast<void*>(data), bytes)) return ranges_.push_back({data, bytes});
  fail(Code::memory, what + ": cannot lock " + std::to_string(bytes) + " bytes in memory: error " + std::to_string(::GetLastError()));
}

}  // namespace puna
#endif

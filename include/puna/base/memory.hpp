// The runtime's account of large memory: the host's allocator, a limit, what is used and what the peak was.
// Weights, caches, workspaces and training state live in Buffers; small control structures use the C++ heap.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "puna/base/checked.hpp"

namespace puna {

struct Allocator {
  void* user = nullptr;
  void* (*allocate)(void* user, std::size_t bytes, std::size_t alignment) = nullptr;  // null: the C++ heap
  void (*release)(void* user, void* memory, std::size_t bytes, std::size_t alignment) = nullptr;
};

class Memory {
 public:
  static constexpr std::size_t alignment = 64;

  // limit in bytes, 0 for none.
  explicit Memory(Allocator allocator = {}, std::uint64_t limit = 0) : allocator_(allocator), limit_(limit) {}
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // Throws Error(memory) when the limit or the allocator refuses. `what` names the use in the message.
  void* allocate(std::size_t bytes, const char* what);
  void release(void* memory, std::size_t bytes) noexcept;

  std::uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  std::uint64_t peak() const noexcept { return peak_.load(std::memory_order_relaxed); }
  std::uint64_t limit() const noexcept { return limit_; }

 private:
  Allocator allocator_;
  std::uint64_t limit_;
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> peak_{0};
};

struct Raw {};  // tag: memory as the allocator gives it, for caches that are written before they are read

// An owned array of trivially copyable T, 64-byte aligned, zeroed when made unless asked for raw.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  Buffer(Memory& memory, std::size_t count, const char* what, Raw)
      : memory_(&memory), size_(count), data_(static_cast<T*>(memory.allocate(size_product(count, sizeof(T)), what))) {}
  Buffer(Memory& memory, std::size_t count, const char* what) : Buffer(memory, count, what, Raw{}) {
    if (data_) std::memset(static_cast<void*>(data_), 0, size_ * sizeof(T));
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer() {
    if (data_) memory_->release(data_, size_ * sizeof(T));
  }
  void swap(Buffer& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
  }

  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T& operator[](std::size_t i) noexcept { return data_[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  std::span<T> span() noexcept { return {data_, size_}; }
  std::span<const T> span() const noexcept { return {data_, size_}; }

 private:
  Memory* memory_ = nullptr;
  std::size_t size_ = 0;
  T* data_ = nullptr;
};

}  // namespace puna

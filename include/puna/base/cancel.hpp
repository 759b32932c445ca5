// Stopping long work: a token that any thread may trip, and a time budget.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

namespace puna {

class CancelToken {
 public:
  CancelToken() = default;
  // Also tripped when its parent is.
  explicit CancelToken(std::shared_ptr<const CancelToken> parent) : parent_(std::move(parent)) {}
  void trip() noexcept { tripped_.store(true, std::memory_order_relaxed); }
  bool tripped() const noexcept { return tripped_.load(std::memory_order_relaxed) || (parent_ && parent_->tripped()); }

 private:
  std::atomic<bool> tripped_{false};
  std::shared_ptr<const CancelToken> parent_;
};

using CancelRef = std::shared_ptr<CancelToken>;

using Clock = std::chrono::steady_clock;

// The end of a step's time budget. Default: never.
class Deadline {
 public:
  Deadline() = default;
  static Deadline after(double milliseconds) {
    Deadline d;
    d.end_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(
                                    milliseconds < 1e12 ? milliseconds : 1e12));
    d.bounded_ = true;
    return d;
  }
  bool bounded() const noexcept { return bounded_; }
  bool passed() const noexcept { return bounded_ && Clock::now() >= end_; }

 private:
  Clock::time_point end_{};
  bool bounded_ = false;
};

}  // namespace puna

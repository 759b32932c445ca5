// A forward pass that can stop after any tile and go on later.
//
// The code of a pass is written straight down, operation after operation, as the paper has it. The cursor is (operation,
// tile). To resume, the same code runs again: operations before the cursor are skipped, the one at the cursor goes on at
// its tile. So step(max_ms), cancel, progress and threads all meet here, and nowhere in the layers.
#pragma once

#include <cstdint>

#include "puna/base/cancel.hpp"
#include "puna/base/tasks.hpp"

namespace puna {

class Pass {
 public:
  // Operations with less work than this (multiply-adds) stay on the calling thread: waking the others costs more.
  static constexpr std::uint64_t inline_work = 150'000;

  Pass(TaskSystem& tasks, std::uint32_t width) : tasks_(tasks), width_(width) {}

  // A new pass from the top.
  void start() noexcept { done_ops_ = 0, tile_ = 0; }
  // Begins a replay within a budget.
  void resume(const Deadline& deadline, const CancelToken* cancel) noexcept {
    deadline_ = deadline, cancel_ = cancel, op_ = 0, stopped_ = false;
  }
  bool stopped() const noexcept { return stopped_; }  // after a replay: true when there is more to do
  std::uint64_t operations_done() const noexcept { return done_ops_; }
  std::uint32_t width() const noexcept { return width_; }

  // One operation: `tiles` independent calls of tile(index, worker); work is its size in multiply-adds.
  template <class F>
  void operator()(std::uint32_t tiles, std::uint64_t work, const F& tile) {
    if (stopped_ || op_++ < done_ops_) return;
    const std::uint32_t width = work < inline_work ? 1 : width_;
    const std::uint32_t done = tasks_.run(tiles, tile_, width, TileFn(tile), deadline_, cancel_);
    if (done < tiles) {
      tile_ = done;
      stopped_ = true;
      return;
    }
    ++done_ops_;
    tile_ = 0;
    if ((cancel_ && cancel_->tripped()) || deadline_.passed()) stopped_ = true;
  }

 private:
  TaskSystem& tasks_;
  std::uint32_t width_;
  Deadline deadline_;
  const CancelToken* cancel_ = nullptr;
  std::uint64_t op_ = 0;        // reached in this replay
  std::uint64_t done_ops_ = 0;  // complete in this pass
  std::uint32_t tile_ = 0;      // complete tiles of the operation at the cursor
  bool stopped_ = false;
};

}  // namespace puna

// Running the tiles of an operation on several threads: a persistent pool that spins for a bounded time and then sleeps,
// or the host's own task system. Tiles are independent and write to different places, so any thread count gives the same
// bits, and a run can stop after any tile and go on later.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "puna/base/cancel.hpp"

namespace puna {

// A borrowed callable (tile, worker), to keep tiles free of allocation.
class TileFn {
 public:
  template <class F>
  TileFn(const F& f)  // NOLINT: implicit on purpose
      : object_(&f), call_([](const void* o, std::uint32_t tile, std::uint32_t worker) {
          (*static_cast<const F*>(o))(tile, worker);
        }) {}
  void operator()(std::uint32_t tile, std::uint32_t worker) const { call_(object_, tile, worker); }

 private:
  const void* object_;
  void (*call_)(const void*, std::uint32_t, std::uint32_t);
};

struct HostTasks {
  using Task = void (*)(void* context, std::uint32_t index);
  void (*parallel_for)(void* user, std::uint32_t count, Task task, void* context) = nullptr;
  void* user = nullptr;
};

std::uint32_t default_threads() noexcept;  // one per core that the process may use

class TaskSystem {
 public:
  // threads: the width, the caller included; 0 for one per core.
  // pin: the pool's threads each to a core of its own; the caller's thread is the host's and stays as it is.
  TaskSystem(std::uint32_t threads, std::uint32_t spin_us, HostTasks host = {}, bool pin = false);
  ~TaskSystem();
  TaskSystem(const TaskSystem&) = delete;
  TaskSystem& operator=(const TaskSystem&) = delete;

  std::uint32_t width() const noexcept { return width_; }

  // Runs tiles [first, tiles) on at most `width` workers, numbered from 0 (the caller), and returns the number of tiles
  // now complete: fewer than `tiles` when the deadline passed or the token was tripped. At least one tile is run.
  // Workers each see their number, which is below `width`, so a caller can give each its scratch. Never throws.
  std::uint32_t run(std::uint32_t tiles, std::uint32_t first, std::uint32_t width, const TileFn& tile,
                    const Deadline& deadline = {}, const CancelToken* cancel = nullptr) noexcept;

 private:
  struct Pool;
  std::uint32_t width_;
  HostTasks host_;
  std::unique_ptr<Pool> pool_;
};

}  // namespace puna

#include "puna/base/tasks.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <unistd.h>
#endif

#include "puna/base/fpenv.hpp"
#include "puna/base/machine.hpp"

namespace puna {
namespace {

inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

long process_id() noexcept {
#ifndef _WIN32
  return static_cast<long>(::getpid());
#else
  return 0;
#endif
}

// One run: tiles are handed out in order, so when all workers have stopped, every tile below `next` is complete.
struct Run {
  std::uint32_t tiles;
  const TileFn& tile;
  const Deadline& deadline;
  const CancelToken* cancel;
  std::atomic<std::uint32_t> next;
  std::atomic<bool> stop{false};

  void work(std::uint32_t worker) noexcept {
    while (!stop.load(std::memory_order_relaxed)) {
      const std::uint32_t t = next.fetch_add(1, std::memory_order_relaxed);
      if (t >= tiles) return;
      tile(t, worker);
      if ((cancel && cancel->tripped()) || deadline.passed()) stop.store(true, std::memory_order_relaxed);
    }
  }
};

}  // namespace

struct TaskSystem::Pool {
  Pool(std::uint32_t helpers, std::uint32_t spin_us, bool pin_each) : spin(spin_us), pin(pin_each), owner(process_id()) {
    threads.reserve(helpers);
    try {
      for (std::uint32_t i = 0; i < helpers; ++i) threads.emplace_back([this, i] { loop(i + 1); });
    } catch (const std::system_error&) {
      // Fewer threads than wished for is slower, not wrong.
    }
  }
  ~Pool() {
    // After fork() the threads do not exist here: leave their handles alone.
    if (process_id() != owner) {
      for (auto& thread : threads) new std::thread(std::move(thread));  // deliberately leaked: it cannot be joined
      return;
    }
    quit.store(true);
    epoch.fetch_add(1);
    epoch.notify_all();
    for (auto& thread : threads) thread.join();
  }

  // The caller is worker 0. Helpers join while the gate is open; one that the system has not let run in time finds it shut
  // and is not waited for, so that more threads than free cores cost little.
  void dispatch(std::uint32_t width, Run& work) noexcept {
    run = &work;
    active = width;
    const std::uint32_t now = epoch.load(std::memory_order_relaxed) + 1;
    gate.store(ticket(now) | open, std::memory_order_release);
    epoch.store(now, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) > 0) epoch.notify_all();
    work.work(0);
    gate.fetch_and(~open, std::memory_order_acq_rel);
    while (inside() != 0) wait_inside();
  }

  static constexpr std::uint64_t open = 1ull << 32;  // below it: how many helpers are inside; above: the epoch
  static std::uint64_t ticket(std::uint32_t epoch) noexcept { return static_cast<std::uint64_t>(epoch & 0x7fffffffu) << 33; }
  std::uint32_t inside() const noexcept { return static_cast<std::uint32_t>(gate.load(std::memory_order_acquire)); }

  bool enter(std::uint32_t seen) noexcept {
    std::uint64_t g = gate.load(std::memory_order_acquire);
    while ((g & ~0xffffffffull) == (ticket(seen) | open))
      if (gate.compare_exchange_weak(g, g + 1, std::memory_order_acq_rel)) return true;
    return false;
  }

  void wait_inside() noexcept {
    const auto end = Clock::now() + std::chrono::microseconds(200);
    do {
      for (int i = 0; i < 64; ++i) {
        if (inside() == 0) return;
        relax();
      }
    } while (Clock::now() < end);
    // A descheduled helper: let it have this core.
    std::this_thread::yield();
  }

  void loop(std::uint32_t worker) noexcept {
    FpGuard fp;
    if (pin) pin_this_thread(worker);
    std::uint32_t seen = 0;
    for (;;) {
      wait_epoch(seen);
      seen = epoch.load(std::memory_order_acquire);
      if (quit.load()) return;
      if (!enter(seen)) continue;
      if (worker < active) run->work(worker);
      gate.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  void wait_epoch(std::uint32_t seen) noexcept {
    const auto end = Clock::now() + std::chrono::microseconds(spin);
    do {
      for (int i = 0; i < 64; ++i) {
        if (epoch.load(std::memory_order_acquire) != seen) return;
        relax();
      }
    } while (Clock::now() < end);
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    while (epoch.load(std::memory_order_seq_cst) == seen) epoch.wait(seen);
    sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }

  std::uint32_t spin;
  bool pin;
  long owner;
  std::mutex in_use;
  Run* run = nullptr;
  std::uint32_t active = 0;
  std::atomic<std::uint32_t> epoch{0};
  std::atomic<std::uint64_t> gate{0};
  std::atomic<std::uint32_t> sleepers{0};
  std::atomic<bool> quit{false};
  std::vector<std::thread> threads;
};

std::uint32_t default_threads() noexcept { return usable_cores(); }

TaskSystem::TaskSystem(std::uint32_t threads, std::uint32_t spin_us, HostTasks host, bool pin)
    : width_(threads ? std::min(threads, 1024u) : default_threads()), host_(host) {
  if (!host_.parallel_for && width_ > 1) pool_ = std::make_unique<Pool>(width_ - 1, spin_us, pin);
}

TaskSystem::~TaskSystem() = default;

std::uint32_t TaskSystem::run(std::uint32_t tiles, std::uint32_t first, std::uint32_t width, const TileFn& tile,
                              const Deadline& deadline, const CancelToken* cancel) noexcept {
  if (first >= tiles) return tiles;
  Run run{tiles, tile, deadline, cancel, {first}};
  width = std::min({width, width_, tiles - first});
  if (width <= 1) {
    run.work(0);
  } else if (host_.parallel_for) {
    struct Context {
      Run& run;
    } context{run};
    host_.parallel_for(
        host_.user, width,
        [](void* c, std::uint32_t index) {
          FpGuard fp;
          static_cast<Context*>(c)->run.work(index);
        },
        &context);
  } else if (std::unique_lock lock(pool_->in_use, std::try_to_lock); lock.owns_lock()) {
    pool_->dispatch(width, run);
  } else {
    // Another session has the pool: this one goes on alone rather than waiting or crowding the cores.
    run.work(0);
  }
  return std::min(run.next.load(std::memory_order_relaxed), tiles);
}

}  // namespace puna

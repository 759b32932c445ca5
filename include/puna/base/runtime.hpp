// What the host is in charge of: memory, threads, log. Children hold a reference, so destroy order is free.
#pragma once

#include <memory>

#include "puna/base/log.hpp"
#include "puna/base/memory.hpp"
#include "puna/base/tasks.hpp"

namespace puna {

struct RuntimeOptions {
  std::uint32_t threads = 0;
  std::uint32_t spin_us = 50;
  bool pin = false;  // the pool's threads each to a core of its own
  std::uint64_t memory_limit = 0;
  Allocator allocator;
  HostTasks tasks;
  Log log;
};

struct Runtime {
  explicit Runtime(const RuntimeOptions& options = {})
      : memory(options.allocator, options.memory_limit),
        tasks(options.threads, options.spin_us, options.tasks, options.pin),
        log(options.log) {}

  Memory memory;
  TaskSystem tasks;
  Log log;
};

using RuntimeRef = std::shared_ptr<Runtime>;

}  // namespace puna

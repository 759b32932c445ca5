// Cores and locked memory: what the operating system says was asked for.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <fstream>
#include <set>
#include <string>

#include "puna/base/machine.hpp"
#include "puna/infer/model.hpp"
#include "puna/infer/synthetic.hpp"
#include "support.hpp"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

using namespace puna;

namespace {

// A field of /proc/self/status in kB; -1 where there is none.
long status_kb(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(field + ":")) return std::stol(line.substr(field.size() + 1));
  return -1;
}

std::shared_ptr<const Model> load(bool lock, bool as_stored) {
  LoadOptions options;
  options.lock = lock;
  options.as_stored = as_stored;
  ModelLoader loader(std::make_shared<Runtime>(), nullptr, [] { return synthetic_weights("15m:q8_0"); }, options);
  while (!loader.step({}, nullptr)) {
  }
  return loader.take();
}

}  // namespace

TEST_CASE("the pool's threads keep to a core of their own when asked, the caller's roams") {
#ifdef __linux__
  cpu_set_t before;
  REQUIRE(::pthread_getaffinity_np(::pthread_self(), sizeof before, &before) == 0);
  const auto allowed = static_cast<std::uint32_t>(CPU_COUNT(&before));
  CHECK(usable_cores() <= allowed);
  CHECK(usable_cores() >= 1);
  for (const bool pin : {false, true}) {
    TaskSystem tasks(3, 1000, {}, pin);
    std::array<std::atomic<int>, 3> cores{};  // each worker's cores, seen by itself
    const auto tile = [&](std::uint32_t, std::uint32_t worker) {
      cpu_set_t mine;
      if (::pthread_getaffinity_np(::pthread_self(), sizeof mine, &mine) == 0) cores[worker] = CPU_COUNT(&mine);
      ::sched_yield();
    };
    for (int round = 0; round < 2000 && (cores[1] == 0 || cores[2] == 0); ++round) tasks.run(300, 0, 3, tile);
    REQUIRE(cores[1] > 0);
    REQUIRE(cores[2] > 0);
    CHECK(cores[0] == static_cast<int>(allowed));
    CHECK(cores[1] == (pin ? 1 : static_cast<int>(allowed)));
    CHECK(cores[2] == (pin ? 1 : static_cast<int>(allowed)));
  }
#else
  PUNA_SKIP("no call to read a thread's cores here");
#endif
}

TEST_CASE("locked weights are counted by the system, and let go with the model; a refusal names tensor, bytes and limit") {
  const long before = status_kb("VmLck");
  if (before < 0) PUNA_SKIP("no /proc/self/status here");
  if (puna_test::sanitized()) PUNA_SKIP("sanitizers swallow mlock");
  for (const bool as_stored : {false, true}) {
    CHECK(status_kb("VmLck") == before);
    try {
      const auto model = load(true, as_stored);
      CHECK(status_kb("VmLck") - before >= static_cast<long>(model->weight_bytes() / 1024));
    } catch (const Error& error) {
      CHECK(error.code() == Code::memory);
      CHECK(std::string(error.what()).find("bytes in memory: ") != std::string::npos);
      CHECK(std::string(error.what()).find("(ulimit -l)") != std::string::npos);
      PUNA_SKIP("this process may not lock so much: only the refusal was seen");
    }
    CHECK(status_kb("VmLck") == before);
    const auto free = load(false, as_stored);
    CHECK(status_kb("VmLck") == before);
  }
}

// The library as a user sees it: puna.h alone.
#pragma once

#include <puna.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "../support.hpp"

namespace puna_test {

struct Error : puna_error {
  Error() { puna_error_init(this, sizeof(puna_error)); }
};

#define PUNA_OKAY(call)                        \
  do {                                        \
    ::puna_test::Error puna_e;                 \
    puna_error* e = &puna_e;                   \
    const int32_t puna_s = (call);             \
    INFO(puna_e.text);                         \
    REQUIRE(puna_s == PUNA_OK);                \
  } while (0)

template <class T, void(PUNA_CALL* destroy)(T*)>
struct Deleter {
  void operator()(T* handle) const { destroy(handle); }
};
using Runtime = std::unique_ptr<puna_runtime, Deleter<puna_runtime, puna_runtime_destroy>>;
using Model = std::unique_ptr<puna_model, Deleter<puna_model, puna_model_destroy>>;
using Session = std::unique_ptr<puna_session, Deleter<puna_session, puna_session_destroy>>;
using Job = std::unique_ptr<puna_job, Deleter<puna_job, puna_job_destroy>>;
using Cancel = std::unique_ptr<puna_cancel, Deleter<puna_cancel, puna_cancel_destroy>>;
using Sampler = std::unique_ptr<puna_sampler, Deleter<puna_sampler, puna_sampler_destroy>>;

inline Model open_model(const fs::path& path, puna_runtime* runtime = nullptr, const puna_model_options* options = nullptr) {
  puna_model* model = nullptr;
  PUNA_OKAY(puna_model_open(&model, runtime, path.string().c_str(), options, e));
  return Model(model);
}

inline Session make_session(const puna_model* model, const puna_session_options* options = nullptr) {
  puna_session* session = nullptr;
  PUNA_OKAY(puna_session_create(&session, model, options, e));
  return Session(session);
}

inline int32_t PUNA_CALL append_text(void* user, const char* text, size_t n) {
  static_cast<std::string*>(user)->append(text, n);
  return 0;
}

inline std::vector<int32_t> sequence_ids(const puna_session* session, uint32_t sequence = 0) {
  size_t count = 0;
  PUNA_OKAY(puna_session_tokens(session, sequence, nullptr, 0, &count, e));
  std::vector<int32_t> ids(count);
  PUNA_OKAY(puna_session_tokens(session, sequence, ids.data(), ids.size(), &count, e));
  return ids;
}

// A host's allocator that counts, and fails its nth call.
struct CountingAllocator {
  std::atomic<uint64_t> bytes{0}, calls{0};
  uint64_t fail_at = 0;  // 0: never

  static void* PUNA_CALL allocate(void* user, size_t bytes, size_t alignment) {
    auto& self = *static_cast<CountingAllocator*>(user);
    if (++self.calls == self.fail_at) return nullptr;
    self.bytes += bytes;
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }
  static void PUNA_CALL release(void* user, void* memory, size_t bytes, size_t) {
    static_cast<CountingAllocator*>(user)->bytes -= bytes;
    std::free(memory);
  }
  Runtime runtime(int32_t threads = 1) {
    puna_runtime_options options;
    puna_runtime_options_init(&options, sizeof options);
    options.threads = threads;
    options.allocate = allocate;
    options.release = release;
    options.allocator_user = this;
    puna_runtime* out = nullptr;
    PUNA_OKAY(puna_runtime_create(&out, &options, e));
    return Runtime(out);
  }
};

}  // namespace puna_test

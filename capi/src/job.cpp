#include "job.hpp"

#include <system_error>

#ifndef _WIN32
#include <unistd.h>
#endif

namespace puna::capi {
namespace {

constexpr double slice_ms = 20;  // how often progress is told and a background job looks up

long process_id() noexcept {
#ifndef _WIN32
  return static_cast<long>(::getpid());
#else
  return 0;
#endif
}

[[noreturn]] void other_kind(const char* wanted) { fail(Code::state, std::string("this job does not make ") + wanted); }

}  // namespace

std::shared_ptr<const Model> Work::take_model() { other_kind("a model"); }
GenerateResult Work::generated() const { other_kind("text"); }
puna_perplexity Work::perplexity() const { other_kind("a perplexity"); }
puna_quantize_result Work::quantized() const { other_kind("a model file"); }

CancelRef cancel_of(const puna_cancel* cancel) { return cancel ? cancel->token : nullptr; }

}  // namespace puna::capi

using puna::Code;
using puna::Deadline;
using puna::fail;
namespace capi = puna::capi;

puna_job::puna_job(std::unique_ptr<capi::Work> work, capi::JobOptions options)
    : work_(std::move(work)),
      options_(std::move(options)),
      cancel_(std::make_shared<puna::CancelToken>(options_.cancel)),
      owner_(capi::process_id()) {}

puna_job::~puna_job() {
  cancel_->trip();
  if (!thread_.joinable()) return;
  // After fork() the thread is not here; an orphan is deleted by its own thread.
  if (capi::process_id() != owner_ || orphan_)
    thread_.detach();
  else
    thread_.join();
}

void puna_job::destroy() noexcept {
  cancel_->trip();
  const bool own_thread = thread_.joinable() && thread_.get_id() == std::this_thread::get_id();
  if (own_thread || (!started_ && busy_.load()))
    orphan_ = true;
  else
    delete this;
}

bool puna_job::slice(const Deadline& deadline) {
  bool finished = false;
  try {
    finished = work_->step(deadline, cancel_.get());
  } catch (...) {
    error_ = std::current_exception();
    finished = true;
  }
  const capi::WorkProgress p = work_->progress();
  phase_.store(p.phase, std::memory_order_relaxed);
  progress_done_.store(p.done, std::memory_order_relaxed);
  progress_total_.store(p.total, std::memory_order_relaxed);
  if (options_.progress && !error_) {
    const puna_progress told = progress();
    if (const std::int32_t code = options_.progress(options_.progress_user, &told)) {
      error_ = std::make_exception_ptr(puna::Error(Code::callback, "the progress callback stopped the work", code));
      finished = true;
    }
  }
  if (finished) done_.store(true, std::memory_order_release);
  return finished;
}

bool puna_job::failed_with(std::int32_t status) const noexcept {
  if (!done_.load(std::memory_order_acquire) || !error_) return false;
  return capi::entry(nullptr, [&] { rethrow(); }) == status;
}

void puna_job::rethrow() const {
  if (error_) std::rethrow_exception(error_);
}

bool puna_job::step(double max_ms) {
  capi::Claim claim(busy_, "the job");
  if (started_) fail(Code::state, "the job was started: poll or wait for it");
  if (!done_.load()) {
    if (max_ms >= 0) {
      slice(Deadline::after(max_ms));
    } else {
      while (!slice(options_.progress ? Deadline::after(capi::slice_ms) : Deadline{})) {
      }
    }
  }
  if (done_.load()) rethrow();
  return done_.load();
}

void puna_job::background() noexcept {
  puna::FpGuard fp;
  while (!slice(Deadline::after(capi::slice_ms))) {
  }
  if (orphan_) {
    delete this;
    return;
  }
  // Under the lock, so that a waiter cannot miss it.
  std::lock_guard lock(mutex_);
  finished_.notify_all();
}

void puna_job::start() {
  capi::Claim claim(busy_, "the job");
  if (started_) fail(Code::state, "the job was started already");
  if (done_.load()) fail(Code::state, "the job is finished");
  try {
    thread_ = std::thread([this] { background(); });
  } catch (const std::system_error& error) {
    fail(Code::memory, std::string("a thread could not be made: ") + error.what());
  }
  started_ = true;
}

bool puna_job::poll() {
  if (!done_.load(std::memory_order_acquire)) return false;
  rethrow();
  return true;
}

bool puna_job::wait(double max_ms) {
  if (!started_) fail(Code::state, "the job was not started: step it, or start it");
  if (thread_.get_id() == std::this_thread::get_id()) fail(Code::busy, "the job cannot wait for itself");
  std::unique_lock lock(mutex_);
  const auto done = [&] { return done_.load(std::memory_order_acquire); };
  if (max_ms < 0)
    finished_.wait(lock, done);
  else
    finished_.wait_until(lock, std::chrono::system_clock::now() + std::chrono::microseconds(static_cast<std::int64_t>(std::min(max_ms, 1e12) * 1e3)), done);
  lock.unlock();
  return poll();
}

puna_progress puna_job::progress() const {
  puna_progress p{};
  p.struct_size = sizeof p;
  p.phase = phase_.load(std::memory_order_relaxed);
  p.done = progress_done_.load(std::memory_order_relaxed);
  p.total = progress_total_.load(std::memory_order_relaxed);
  p.elapsed_ms = std::chrono::duration<double, std::milli>(puna::Clock::now() - created_).count();
  return p;
}

capi::Work& puna_job::finished_work() const {
  if (!done_.load(std::memory_order_acquire)) fail(Code::state, "the job is not finished");
  rethrow();
  return *work_;
}

namespace {

// Work that failed is finished too, so that a loop until done ends; wrong calls leave *done alone.
void tell_failed(const puna_job* job, std::int32_t status, std::int32_t* done) {
  if (done && job && status != PUNA_OK && job->failed_with(status)) *done = 1;
}

}  // namespace

extern "C" {

int32_t PUNA_CALL puna_cancel_create(puna_cancel** out, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = new puna_cancel{std::make_shared<puna::CancelToken>()};
  });
}

void PUNA_CALL puna_cancel_trip(puna_cancel* cancel) {
  if (cancel) cancel->token->trip();
}

void PUNA_CALL puna_cancel_destroy(puna_cancel* cancel) { delete cancel; }

int32_t PUNA_CALL puna_job_step(puna_job* job, double max_ms, int32_t* done, puna_error* error) {
  const int32_t status = capi::entry(error, [&] {
    if (max_ms != max_ms) fail(Code::argument, "max_ms is not a number");
    const bool finished = capi::required(job, "job").step(max_ms);
    if (done) *done = finished;
  });
  tell_failed(job, status, done);
  if (job && status != PUNA_E_BUSY && job->orphaned()) delete job;
  return status;
}

int32_t PUNA_CALL puna_job_start(puna_job* job, puna_error* error) {
  return capi::entry(error, [&] { capi::required(job, "job").start(); });
}

int32_t PUNA_CALL puna_job_poll(puna_job* job, int32_t* done, puna_error* error) {
  const int32_t status = capi::entry(error, [&] {
    const bool finished = capi::required(job, "job").poll();
    if (done) *done = finished;
  });
  tell_failed(job, status, done);
  return status;
}

int32_t PUNA_CALL puna_job_wait(puna_job* job, double max_ms, int32_t* done, puna_error* error) {
  const int32_t status = capi::entry(error, [&] {
    const bool finished = capi::required(job, "job").wait(max_ms);
    if (done) *done = finished;
  });
  tell_failed(job, status, done);
  return status;
}

int32_t PUNA_CALL puna_job_progress(const puna_job* job, puna_progress* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] { capi::write_output(out, size, capi::required(job, "job").progress(), "out"); });
}

void PUNA_CALL puna_job_cancel(puna_job* job) {
  if (job) job->cancel();
}

void PUNA_CALL puna_job_destroy(puna_job* job) {
  if (job) job->destroy();
}

}  // extern "C"

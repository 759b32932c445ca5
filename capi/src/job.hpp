// Long work behind puna_job: one way to step, start, poll, wait, cancel and see progress, whatever the work is.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "border.hpp"
#include "handles.hpp"

namespace puna::capi {

struct WorkProgress {
  std::int32_t phase = 0;
  std::uint64_t done = 0, total = 0;
};

class Work {
 public:
  virtual ~Work() = default;
  virtual bool step(const Deadline& deadline, const CancelToken* cancel) = 0;  // true when done
  virtual WorkProgress progress() const = 0;
  // What it leaves, for the calls that fetch results; each throws Error(state) on work of another kind.
  virtual std::shared_ptr<const Model> take_model();
  virtual GenerateResult generated() const;
  virtual puna_perplexity perplexity() const;
  virtual puna_quantize_result quantized() const;
};

struct JobOptions {
  CancelRef cancel;  // the host's, may be null
  puna_progress_fn progress = nullptr;
  void* progress_user = nullptr;
};

CancelRef cancel_of(const puna_cancel* cancel);

}  // namespace puna::capi

struct puna_job {
  puna_job(std::unique_ptr<puna::capi::Work> work, puna::capi::JobOptions options);
  ~puna_job();

  bool step(double max_ms);          // throws what the work throws, again when asked again
  void run() { step(-1); }
  void start();
  bool poll();
  bool wait(double max_ms);
  puna_progress progress() const;
  void cancel() noexcept { cancel_->trip(); }
  puna::capi::Work& finished_work() const;
  // A destroy from inside the job's own callback is carried out when the call that it interrupts returns.
  void destroy() noexcept;
  bool orphaned() const noexcept { return orphan_; }
  bool failed_with(std::int32_t status) const noexcept;  // finished, with an error of this status

 private:
  bool slice(const puna::Deadline& deadline);  // one step of the work, and its progress told
  void background() noexcept;
  void rethrow() const;

  std::unique_ptr<puna::capi::Work> work_;
  puna::capi::JobOptions options_;
  puna::CancelRef cancel_;
  std::atomic<bool> busy_{false};
  std::atomic<bool> done_{false};
  bool started_ = false;
  bool orphan_ = false;  // touched only by the thread that runs the work
  std::exception_ptr error_;
  std::thread thread_;
  long owner_ = 0;
  std::mutex mutex_;
  std::condition_variable finished_;
  // Told across threads.
  std::atomic<std::int32_t> phase_{0};
  std::atomic<std::uint64_t> progress_done_{0}, progress_total_{0};
  puna::Clock::time_point created_ = puna::Clock::now();
};

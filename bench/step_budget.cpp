// Does step(max_ms) keep its budget on a 7B prompt, and how soon does a cancel from another thread take hold?
//
//   build/dev/bench/step_budget [SHAPE:TYPE] [BUDGET_MS]      (default 7b:q4_0 1)
//
// Prints the overshoot of each step past its budget (median, 90th and 99th percentile) and the time from a trip to the
// return of the call. Steps with budgets of 1x and 4x alternate, so that a slow minute of the machine meets both.
#include <puna.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double ms(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

void check(int32_t status, const puna_error& error) {
  if (status == PUNA_OK) return;
  std::fprintf(stderr, "%s\n", error.text);
  std::exit(1);
}

double percentile(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0.0 : values[static_cast<std::size_t>(p * static_cast<double>(values.size() - 1))];
}

void print(const char* what, const std::vector<double>& values) {
  std::printf("%-28s n %5zu  median %7.3f ms  p90 %7.3f  p99 %7.3f\n", what, values.size(), percentile(values, 0.5),
              percentile(values, 0.9), percentile(values, 0.99));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string spec = argc > 1 ? argv[1] : "7b:q4_0";
  const double budget = argc > 2 ? std::atof(argv[2]) : 1.0;
  puna_error error;
  puna_error_init(&error, sizeof error);
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.kind = PUNA_SOURCE_SYNTHETIC;
  source.path = spec.c_str();
  puna_model* model = nullptr;
  check(puna_model_open_source(&model, nullptr, &source, nullptr, &error), error);
  puna_session_options options;
  puna_session_options_init(&options, sizeof options);
  options.context = 1024;
  puna_session* session = nullptr;
  check(puna_session_create(&session, model, &options, &error), error);
  std::vector<int32_t> ids(512);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 37 % 500);
  puna_batch batch;
  puna_batch_init(&batch, sizeof batch);
  batch.ids = ids.data();
  batch.count = 512;

  std::vector<double> over[2];
  puna_job* job = nullptr;
  check(puna_session_feed_job(&job, session, &batch, nullptr, &error), error);
  int32_t done = 0;
  for (int i = 0; !done && i < 4000; ++i) {
    const double limit = i % 2 ? 4 * budget : budget;
    const auto from = Clock::now();
    check(puna_job_step(job, limit, &done, &error), error);
    over[i % 2].push_back(ms(Clock::now() - from) - limit);
  }
  puna_job_destroy(job);
  std::printf("%s, prompt of 512\n", spec.c_str());
  print("past a budget of 1x", over[0]);
  print("past a budget of 4x", over[1]);

  std::vector<double> cancelled;
  for (int i = 0; i < 20; ++i) {
    check(puna_session_drop(session, 0, &error), error);
    puna_cancel* cancel = nullptr;
    check(puna_cancel_create(&cancel, &error), error);
    check(puna_session_feed_job(&job, session, &batch, cancel, &error), error);
    Clock::time_point tripped;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20 + 7 * i));
      tripped = Clock::now();
      puna_cancel_trip(cancel);
    });
    const int32_t status = puna_job_step(job, -1, nullptr, nullptr);
    const auto returned = Clock::now();
    other.join();
    if (status == PUNA_E_CANCELLED) cancelled.push_back(ms(returned - tripped));
    puna_job_destroy(job);
    puna_cancel_destroy(cancel);
  }
  print("cancel until returned", cancelled);
  puna_session_destroy(session);
  puna_model_destroy(model);
}

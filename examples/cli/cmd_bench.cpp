#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

struct Request {
  Options options;
  std::uint32_t prompt = 512, decode = 64, depth = 0, reps = 5;
};

bool parse(const Arguments& arguments, Request& request) {
  CommandLine line("bench",
                   "Speed in tokens per second: the median of several runs, with the slowest and the fastest. Compare\n"
                   "two programs only in interleaved runs on one machine.",
                   "  puna bench -m llama.gguf -p 512 -n 64\n"
                   "  puna bench --synthetic 7b --type q4_0 --depth 1024");
  line.integer("-p,--prompt", request.prompt, 0, 1u << 20, "tokens of the prompt; 0: do not measure; default 512");
  line.integer("-n,--tokens", request.decode, 0, 1u << 20,
               "tokens decoded one by one; 0: do not measure; default 64");
  line.integer("--depth", request.depth, 0, 1u << 20, "tokens already in the cache; default 0");
  line.integer("--reps", request.reps, 1, 10000, "runs after one that does not count; default 5");
  line.add_model();
  line.add_synthetic();
  line.add_machine();
  line.add_cache(false);
  line.add_output();
  if (!line.parse(arguments)) return false;
  request.options = line.options();
  require_model(request.options);
  if (request.prompt + request.decode == 0) throw Usage("nothing to measure: -p and -n are both 0");
  return true;
}

struct Speeds {
  std::vector<double> values;
  void add(std::uint32_t tokens, double seconds) { values.push_back(tokens / std::max(seconds, 1e-9)); }
  double at(double part) const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t n = sorted.size();
    if (part == 0.5) return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    return part < 0.5 ? sorted.front() : sorted.back();
  }
};

class Bench {
 public:
  Bench(const Request& request, const puna::Model& model, const Interrupt& interrupt)
      : request_(request), interrupt_(interrupt), session_(model, options(request)), vocab_(model.info().vocab) {
    // What is read does not matter to the speed; ids above the control tokens, the same each time.
    ids_.resize(std::max({request.prompt, request.decode, request.depth, 1u}));
    std::uint32_t state = 1;
    for (std::int32_t& id : ids_) {
      state = state * 1664525u + 1013904223u;
      id = static_cast<std::int32_t>(vocab_ > 6 ? 3 + (state >> 8) % (vocab_ - 3) : 0);
    }
  }
  void repeat(bool counts) {
    session_.truncate(0, 0);
    if (request_.depth) feed(0, request_.depth);
    if (request_.prompt) {
      const double seconds = timed([&] { feed(0, request_.prompt); });
      if (counts) prompt_.add(request_.prompt, seconds);
      session_.truncate(0, request_.depth);
    }
    if (request_.decode) {
      const double seconds = timed([&] {
        for (std::uint32_t i = 0; i < request_.decode; ++i) feed(i, 1);
      });
      if (counts) decode_.add(request_.decode, seconds);
    }
  }
  const Speeds& prompt() const { return prompt_; }
  const Speeds& decode() const { return decode_; }

 private:
  static puna::SessionOptions options(const Request& request) {
    puna::SessionOptions out = session_options(request.options);
    out.context = request.depth + std::max(request.prompt, request.decode);
    return out;
  }
  template <class F>
  static double timed(F&& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  void feed(std::uint32_t begin, std::uint32_t count) {
    puna::Batch batch;
    batch.ids = ids_.data() + begin;
    batch.count = count;
    puna_job* raw = nullptr;
    puna::call(puna_session_feed_job, &raw, session_.get(), &batch, interrupt_.token());
    puna::Job job(raw);
    job.step(-1);
  }

  const Request& request_;
  const Interrupt& interrupt_;
  puna::Session session_;
  std::uint32_t vocab_;
  std::vector<std::int32_t> ids_;
  Speeds prompt_, decode_;
};

void add_speed(Json& out, const std::string& name, const Speeds& speeds) {
  const bool measured = !speeds.values.empty();
  out[name + "_tps"] = measured ? Json(speeds.at(0.5)) : Json(nullptr);
  out[name + "_tps_min"] = measured ? Json(speeds.at(0)) : Json(nullptr);
  out[name + "_tps_max"] = measured ? Json(speeds.at(1)) : Json(nullptr);
}

std::string speed_text(const char* name, std::uint32_t tokens, const Speeds& speeds) {
  if (speeds.values.empty()) return {};
  return fmt::format("{:<7} {:>5} tokens  {:>10.2f} tokens/s  ({:.2f} to {:.2f})\n", name, tokens, speeds.at(0.5),
                     speeds.at(0), speeds.at(1));
}

int bench(const Request& request) {
  const Interrupt interrupt;
  Progress progress(request.options.quiet);
  const puna::Runtime runtime = make_runtime(request.options);
  const puna::Model model = open_model(request.options, runtime, progress, interrupt, PUNA_MODEL_NO_TOKENIZER);
  Bench bench(request, model, interrupt);
  puna_progress shown{};
  shown.phase = PUNA_PHASE_EVALUATE;
  shown.total = std::uint64_t{request.reps + 1} * (request.depth + request.prompt + request.decode);
  const auto start = std::chrono::steady_clock::now();
  for (std::uint32_t i = 0; i <= request.reps; ++i) {
    progress.draw(shown);
    bench.repeat(i > 0);
    shown.done += request.depth + request.prompt + request.decode;
    shown.elapsed_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  progress.clear();

  const puna_runtime_info info = runtime.info();
  if (request.options.json) {
    Json out;
    add_speed(out, "prompt", bench.prompt());
    add_speed(out, "decode", bench.decode());
    out.update({{"prompt", request.prompt},
                {"decode", request.decode},
                {"depth", request.depth},
                {"reps", request.reps},
                {"threads", info.threads},
                {"isa", info.isa},
                {"memory_peak_bytes", info.memory_peak},
                {"weight_bytes", model.info().weight_bytes}});
    write_json(out);
  } else {
    write_out(speed_text("prompt", request.prompt, bench.prompt()) +
              speed_text("decode", request.decode, bench.decode()));
    say(request.options.quiet, fmt::format("{} kernels, {} threads, depth {}, median of {} (slowest to fastest)",
                                           info.isa, info.threads, request.depth, request.reps));
  }
  return exit_ok;
}

}  // namespace

int run_bench(const Arguments& arguments) {
  Request request;
  return parse(arguments, request) ? bench(request) : exit_ok;
}

}  // namespace cli

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

struct Request {
  Options options;
  std::uint32_t prompt = 512, decode = 64, depth = 0, reps = 5, probe_ms = 20;
};

bool parse(const Arguments& arguments, Request& request) {
  CommandLine line("bench",
                   "Speed in tokens per second: the median of several runs, with the slowest and the fastest, and its share\n"
                   "of what the machine reached in between: reading the same weights with the same threads (decode), the\n"
                   "arithmetic instruction in use (prompt). Compare two programs only in interleaved runs on one machine.",
                   "  puna bench -m llama.gguf -p 512 -n 64\n"
                   "  puna bench --synthetic 7b --type q4_0 --depth 1024");
  line.integer("-p,--prompt", request.prompt, 0, 1u << 20, "tokens of the prompt; 0: do not measure; default 512");
  line.integer("-n,--tokens", request.decode, 0, 1u << 20,
               "tokens decoded one by one; 0: do not measure; default 64");
  line.integer("--depth", request.depth, 0, 1u << 20, "tokens already in the cache; default 0");
  line.integer("--reps", request.reps, 1, 10000, "runs after one that does not count; default 5");
  line.integer("--probe-ms", request.probe_ms, 0, 10000,
               "length of each measurement of the machine's limits; 0: none; default 20");
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
  void add(double count, double seconds) { values.push_back(count / std::max(seconds, 1e-9)); }
  double at(double part) const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t n = sorted.size();
    if (part == 0.5) return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    return part < 0.5 ? sorted.front() : sorted.back();
  }
};

// Work in slices, and between them what the machine can do: whoever else uses it slows both.
class Limit {
 public:
  Limit(const puna::Model& model, std::uint32_t figure, double ms) : model_(model), figure_(figure), ms_(ms) {}
  // The time of a slice of work; the next look at the limit is due.
  void add(double seconds) {
    time_ += seconds;
    slices_.push_back(seconds);
    look();
  }
  void look() {
    if (ms_ <= 0) return;
    puna_machine_speed speed{};
    puna::call(puna_machine_probe, nullptr, model_.get(), figure_, ms_, &speed, sizeof speed);
    limits_.push_back(figure_ == PUNA_PROBE_READ   ? speed.read_bytes
                      : figure_ == PUNA_PROBE_INT8 ? speed.int8_operations
                                                   : speed.fp32_operations);
  }
  double seconds() const { return time_; }
  // What could have been done in the time of the work, by the limits before and after each slice.
  double possible() const {
    double sum = 0;
    for (std::size_t i = 0; i + 1 < limits_.size(); ++i) sum += slices_[i] * (limits_[i] + limits_[i + 1]) / 2;
    return sum;
  }

 private:
  const puna::Model& model_;
  std::uint32_t figure_;
  double ms_, time_ = 0;
  std::vector<double> slices_, limits_;
};

// One kind of work: its speed, the limit of the machine during it, and the share of the limit that it reached.
struct Measured {
  Speeds tokens, limit, share;
  void add(std::uint32_t count, double work, const Limit& by) {
    tokens.add(count, by.seconds());
    if (by.possible() <= 0) return;
    limit.add(by.possible(), by.seconds());
    share.values.push_back(work / by.possible());
  }
};

class Bench {
 public:
  Bench(const Request& request, const puna::Model& model, const Interrupt& interrupt)
      : request_(request), interrupt_(interrupt), model_(model), info_(model.info()), session_(model, options(request)) {
    // What is read does not matter to the speed; ids above the control tokens, the same each time.
    ids_.resize(std::max({request.prompt, request.decode, request.depth, 1u}));
    std::uint32_t state = 1;
    for (std::int32_t& id : ids_) {
      state = state * 1664525u + 1013904223u;
      id = static_cast<std::int32_t>(info_.vocab > 6 ? 3 + (state >> 8) % (info_.vocab - 3) : 0);
    }
  }
  void repeat(bool counts) {
    const double probe = counts ? request_.probe_ms : 0;
    session_.truncate(0, 0);
    if (request_.depth) feed(0, request_.depth, [](double) {});
    if (request_.prompt) {
      Limit limit(model_, peak(), probe);
      limit.look();
      feed(0, request_.prompt, [&](double seconds) { limit.add(seconds); });
      if (counts) prompt_.add(request_.prompt, prompt_work(), limit);
      session_.truncate(0, request_.depth);
    }
    if (request_.decode) {
      Limit limit(model_, PUNA_PROBE_READ, probe);
      limit.look();
      double slice = 0;
      for (std::uint32_t i = 0; i < request_.decode; ++i) {
        feed(i, 1, [&](double seconds) { slice += seconds; });
        if (slice * 1e3 < slice_ms && i + 1 < request_.decode) continue;
        limit.add(slice);
        slice = 0;
      }
      if (counts) decode_.add(request_.decode, double(request_.decode) * double(info_.decode_bytes), limit);
    }
  }
  const Measured& prompt() const { return prompt_; }
  const Measured& decode() const { return decode_; }
  const puna_model_info& info() const { return info_; }
  // Two operations per weight of the layers and token, and of the head once.
  double prompt_work() const { return 2.0 * (double(info_.layer_weights) * request_.prompt + double(info_.head_weights)); }
  // Block types multiply in int8; floats have 16 bits or more.
  std::uint32_t peak() const {
    const double bits = 8.0 * double(info_.decode_bytes) / double(info_.layer_weights + info_.head_weights);
    return bits < 12 ? PUNA_PROBE_INT8 : PUNA_PROBE_FP32;
  }

 private:
  static constexpr double slice_ms = 100;
  static puna::SessionOptions options(const Request& request) {
    puna::SessionOptions out = session_options(request.options);
    out.context = request.depth + std::max(request.prompt, request.decode);
    return out;
  }
  template <class F>
  void feed(std::uint32_t begin, std::uint32_t count, F&& slice) {
    puna::Batch batch;
    batch.ids = ids_.data() + begin;
    batch.count = count;
    auto start = std::chrono::steady_clock::now();
    puna_job* raw = nullptr;
    puna::call(puna_session_feed_job, &raw, session_.get(), &batch, interrupt_.token());
    puna::Job job(raw);
    for (bool done = false; !done;) {
      done = job.step(request_.probe_ms ? slice_ms : -1);
      slice(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      start = std::chrono::steady_clock::now();
    }
  }

  const Request& request_;
  const Interrupt& interrupt_;
  const puna::Model& model_;
  puna_model_info info_;
  puna::Session session_;
  std::vector<std::int32_t> ids_;
  Measured prompt_, decode_;
};

void add_speeds(Json& out, const std::string& name, const Speeds& speeds, double unit = 1) {
  const bool measured = !speeds.values.empty();
  out[name] = measured ? Json(speeds.at(0.5) * unit) : Json(nullptr);
  out[name + "_min"] = measured ? Json(speeds.at(0) * unit) : Json(nullptr);
  out[name + "_max"] = measured ? Json(speeds.at(1) * unit) : Json(nullptr);
}

std::string speed_text(const char* name, std::uint32_t tokens, const Measured& m, const std::string& limit, double unit) {
  if (m.tokens.values.empty()) return {};
  std::string text = fmt::format("{:<7} {:>5} tokens  {:>10.2f} tokens/s  ({:.2f} to {:.2f})", name, tokens, m.tokens.at(0.5),
                                 m.tokens.at(0), m.tokens.at(1));
  if (!m.share.values.empty())
    text += fmt::format("  {:.1f}% ({:.1f} to {:.1f}) of {:.1f} {}", 100 * m.share.at(0.5), 100 * m.share.at(0),
                        100 * m.share.at(1), m.limit.at(0.5) * unit, limit);
  return text + '\n';
}

// What disturbed the run: the share of time that other guests of the machine took, and that other programs left us.
class Disturbance {
 public:
  Disturbance() : before_(jiffies()), cpu_(std::clock()), start_(std::chrono::steady_clock::now()) {}
  Json stolen() const {  // null where the system does not tell
    const auto now = jiffies();
    if (now.second <= before_.second) return nullptr;
    return double(now.first - before_.first) / double(now.second - before_.second);
  }
  Json cpu(std::int32_t threads) const {
#ifdef _WIN32
    return nullptr;  // std::clock counts wall time there
#else
    const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    return double(std::clock() - cpu_) / CLOCKS_PER_SEC / (std::max(wall, 1e-9) * threads);
#endif
  }

 private:
  static std::pair<std::uint64_t, std::uint64_t> jiffies() {
    std::ifstream file("/proc/stat");
    std::string name;
    std::uint64_t all = 0, stolen = 0, value = 0;
    file >> name;
    for (int i = 0; i < 8 && file >> value; ++i) {
      all += value;
      if (i == 7) stolen = value;
    }
    return {stolen, all};
  }
  std::pair<std::uint64_t, std::uint64_t> before_;
  std::clock_t cpu_;
  std::chrono::steady_clock::time_point start_;
};

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
  const Disturbance disturbance;
  for (std::uint32_t i = 0; i <= request.reps; ++i) {
    progress.draw(shown);
    bench.repeat(i > 0);
    shown.done += request.depth + request.prompt + request.decode;
    shown.elapsed_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  progress.clear();

  const puna_runtime_info info = runtime.info();
  puna_machine_speed names{};  // of the instructions; the shortest measurement there is
  puna::call(puna_machine_probe, nullptr, model.get(), bench.peak(), 0.001, &names, sizeof names);
  const std::string instruction = bench.peak() == PUNA_PROBE_INT8 ? names.int8_instruction : names.fp32_instruction;
  if (request.options.json) {
    Json out;
    add_speeds(out, "prompt_tps", bench.prompt().tokens);
    add_speeds(out, "decode_tps", bench.decode().tokens);
    add_speeds(out, "read_gbs", bench.decode().limit, 1e-9);
    add_speeds(out, "decode_of_read", bench.decode().share);
    add_speeds(out, "peak_gops", bench.prompt().limit, 1e-9);
    add_speeds(out, "prompt_of_peak", bench.prompt().share);
    out.update({{"prompt", request.prompt},
                {"decode", request.decode},
                {"depth", request.depth},
                {"reps", request.reps},
                {"threads", info.threads},
                {"isa", info.isa},
                {"peak_instruction", instruction},
                {"decode_bytes", bench.info().decode_bytes},
                {"prompt_operations", bench.prompt_work()},
                {"stolen", disturbance.stolen()},
                {"cpu", disturbance.cpu(info.threads)},
                {"memory_peak_bytes", info.memory_peak},
                {"weight_bytes", model.info().weight_bytes}});
    write_json(out);
  } else {
    write_out(speed_text("prompt", request.prompt, bench.prompt(), "GOP/s of " + instruction, 1e-9) +
              speed_text("decode", request.decode, bench.decode(), "GB/s read", 1e-9));
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

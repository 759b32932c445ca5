#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli.hpp"
#include "files.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

struct Request {
  Options options;
  std::string data, out, held_out, general, shape, objective = "auto", schedule = "cosine", targets = "all";
  std::optional<std::string> type, chat, method;
  std::uint32_t held_out_permille = 0;
  std::optional<std::uint32_t> rank, epochs, steps, batch, accumulate, length, warmup, evaluate_every, patience;
  std::uint32_t checkpoint_every = 50;
  std::optional<double> alpha, dropout, beta, rate, decay, clip;
  std::uint64_t seed = 0;
  bool no_pack = false, no_shuffle = false, rslora = false, dora = false, adam8 = false, nf4 = false, fresh = false, scratch = false;
};

std::uint32_t parse_targets(const std::string& text) {
  constexpr std::pair<const char*, std::uint32_t> names[] = {
      {"q", PUNA_TARGET_Q},   {"k", PUNA_TARGET_K},       {"v", PUNA_TARGET_V},       {"o", PUNA_TARGET_O},          {"gate", PUNA_TARGET_GATE},
      {"up", PUNA_TARGET_UP}, {"down", PUNA_TARGET_DOWN}, {"head", PUNA_TARGET_HEAD}, {"all", PUNA_TARGET_PROJECTIONS}};
  std::uint32_t bits = 0;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');) {
    std::uint32_t bit = 0;
    for (const auto& [name, value] : names)
      if (word == name) bit = value;
    if (!bit) throw Usage("--targets: '" + printable(word, 40) + "' is none of q, k, v, o, gate, up, down, head, all");
    bits |= bit;
  }
  return bits;
}

template <class T>
std::int32_t choose(const char* option, const std::string& text, const T& names) {
  std::string all;
  for (const auto& [name, value] : names) {
    if (text == name) return value;
    all += std::string(all.empty() ? "" : ", ") + name;
  }
  throw Usage(std::string(option) + ": '" + printable(text, 40) + "' is none of " + all);
}

// The losses as a drawing that any browser shows.
std::string loss_curve(const std::vector<double>& losses) {
  constexpr double width = 720, height = 360, left = 60, bottom = 40;
  double low = losses[0], high = losses[0];
  for (const double l : losses) low = std::min(low, l), high = std::max(high, l);
  if (high - low < 1e-9) high = low + 1e-9;
  const auto x = [&](std::size_t i) { return left + (width - left - 20) * static_cast<double>(i) / std::max<double>(1, static_cast<double>(losses.size() - 1)); };
  const auto y = [&](double l) { return 20 + (height - bottom - 20) * (high - l) / (high - low); };
  std::string points, smooth;
  double mean = losses[0];
  for (std::size_t i = 0; i < losses.size(); ++i) {
    mean += 0.1 * (losses[i] - mean);
    points += fmt::format("{:.1f},{:.1f} ", x(i), y(losses[i]));
    smooth += fmt::format("{:.1f},{:.1f} ", x(i), y(mean));
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<polyline points=\"{2}\" fill=\"none\" stroke=\"#9ecae1\"/>\n<polyline points=\"{3}\" fill=\"none\" stroke=\"#08519c\" stroke-width=\"2\"/>\n"
      "<text x=\"4\" y=\"{4:.0f}\">{5:.3f}</text>\n<text x=\"4\" y=\"{6:.0f}\">{7:.3f}</text>\n"
      "<text x=\"{8}\" y=\"{9}\">loss over {10} steps</text>\n</svg>\n",
      width, height, points, smooth, y(high) + 4, high, y(low) + 4, low, width / 2 - 60, height - 12, losses.size());
}

class Report {
 public:
  Report(const Request& request, Progress& progress) : request_(request), progress_(progress) {}
  static std::int32_t PUNA_CALL event(void* self, const puna_train_event* e) {
    static_cast<Report*>(self)->take(*e);
    return 0;
  }

 private:
  void take(const puna_train_event& e) {
    const bool step = e.kind == PUNA_TRAIN_EVENT_STEP;
    if (request_.options.json) {
      progress_.clear();
      const char* name = step ? "step" : e.kind == PUNA_TRAIN_EVENT_GENERAL ? "general" : "held_out";
      Json line{{"event", name}, {"step", e.step}, {"steps", e.steps}, {"loss", e.loss}};
      if (step) {
        line["epoch"] = e.epoch, line["lr"] = e.learning_rate, line["grad_norm"] = e.gradient_norm;
        line["tokens"] = e.tokens, line["tokens_per_second"] = e.tokens_per_second, line["seconds_left"] = e.seconds_left;
        line["memory_bytes"] = e.memory_bytes;
      }
      if (!std::isnan(e.accuracy)) line["reward_accuracy"] = e.accuracy, line["reward_margin"] = e.margin;
      write_json(line);
    } else if (!step) {
      progress_.clear();
      say(request_.options.quiet, fmt::format("step {}: {} loss {:.4f}{}", e.step, e.kind == PUNA_TRAIN_EVENT_GENERAL ? "general" : "held-out", e.loss, preference(e)));
    }
    if (step)
      progress_.label(fmt::format("step {}/{}  loss {:.4f}{}  {:.0f} tok/s  {:.0f} MB  {:.0f} s left", e.step, e.steps, e.loss, preference(e),
                                  e.tokens_per_second, static_cast<double>(e.memory_bytes) / 1e6, e.seconds_left));
  }
  static std::string preference(const puna_train_event& e) {
    return std::isnan(e.accuracy) ? "" : fmt::format("  chosen ahead in {:.0f}%, margin {:.3f}", 100 * e.accuracy, e.margin);
  }
  const Request& request_;
  Progress& progress_;
};

struct DestroyTrainer {
  void operator()(puna_trainer* t) const { puna_trainer_destroy(t); }
};
struct DestroyJob {
  void operator()(puna_job* j) const { puna_job_destroy(j); }
};

bool exists(const std::string& name) { return std::filesystem::exists(utf8_path(name)); }

puna_train_options train_options(const Request& r, Report& report, const std::string& checkpoint) {
  puna_train_options o;
  puna_train_options_init(&o, sizeof o);
  o.method = choose("--method", *r.method, std::vector<std::pair<const char*, std::int32_t>>{{"lora", PUNA_TRAIN_LORA}, {"full", PUNA_TRAIN_FULL}});
  o.schedule = choose("--schedule", r.schedule,
                      std::vector<std::pair<const char*, std::int32_t>>{
                          {"constant", PUNA_SCHEDULE_CONSTANT}, {"linear", PUNA_SCHEDULE_LINEAR}, {"cosine", PUNA_SCHEDULE_COSINE}});
  o.objective = choose("--objective", r.objective,
                       std::vector<std::pair<const char*, std::int32_t>>{
                           {"auto", PUNA_OBJECTIVE_AUTO}, {"text", PUNA_OBJECTIVE_TOKENS}, {"sft", PUNA_OBJECTIVE_TOKENS}, {"dpo", PUNA_OBJECTIVE_DPO}});
  o.targets = parse_targets(r.targets);
  const auto put = [](auto& to, const auto& from) {
    if (from) to = *from;
  };
  put(o.rank, r.rank), put(o.alpha, r.alpha), put(o.dropout, r.dropout), put(o.beta, r.beta), put(o.learning_rate, r.rate), put(o.weight_decay, r.decay);
  put(o.clip, r.clip), put(o.warmup, r.warmup), put(o.epochs, r.epochs), put(o.steps, r.steps), put(o.batch, r.batch);
  put(o.accumulate, r.accumulate), put(o.length, r.length), put(o.evaluate_every, r.evaluate_every), put(o.patience, r.patience);
  o.seed = r.seed;
  o.threads = static_cast<std::int32_t>(r.options.threads);
  o.flags = (r.no_pack ? PUNA_TRAIN_NO_PACKING : 0u) | (r.no_shuffle ? PUNA_TRAIN_NO_SHUFFLE : 0u) | (r.rslora ? PUNA_TRAIN_RANK_STABILIZED : 0u) |
            (r.scratch ? PUNA_TRAIN_FROM_SCRATCH : 0u) | (r.dora ? PUNA_TRAIN_DORA : 0u) | (r.adam8 ? PUNA_TRAIN_ADAM8 : 0u) |
            (r.nf4 ? PUNA_TRAIN_NF4 : 0u);
  o.held_out_permille = r.held_out_permille;
  o.checkpoint = checkpoint.c_str(), o.checkpoint_every = r.checkpoint_every;
  o.event = Report::event, o.event_user = &report;
  return o;
}

bool is_empty_folder(const std::string& name) {
  const auto path = utf8_path(name);
  return std::filesystem::is_directory(path) && std::filesystem::is_empty(path);
}

// What can be known to fail at the end is told at the beginning.
void check_output(const Request& r, const std::string& checkpoint) {
  if (exists(r.out) && !is_empty_folder(r.out)) throw Failed(r.out + ": exists already; nothing was done");
  AtomicFile probe(checkpoint);  // leaves nothing
  if (!r.type) return;
  if (r.method != "full") throw Usage("--type goes with --method full: an adapter is written in f32");
  const ModelFiles files(r.options);
  puna_quantize_options o;
  puna_quantize_options_init(&o, sizeof o);
  o.type = r.type->c_str();
  o.flags = PUNA_QUANTIZE_REQUANTIZE;
  puna_plan plan{};
  puna::call(puna_plan_quantize, &files.model(), &o, &plan, sizeof plan);
}

int train(const Request& r) {
  const std::string checkpoint = r.out + ".checkpoint";
  const Interrupt interrupt;
  Progress progress(r.options.quiet);
  Report report(r, progress);
  const puna_train_options o = train_options(r, report, checkpoint);
  if (exists(r.out) && exists(checkpoint) && !is_empty_folder(r.out)) {  // killed between the last two deeds: the output is whole
    std::filesystem::remove(utf8_path(checkpoint));
    say(r.options.quiet, fmt::format("{}: the run is complete", printable(r.out)));
    return exit_ok;
  }
  check_output(r, checkpoint);
  const puna::Runtime runtime = make_runtime(r.options);
  const puna::Model model = open_model(r.options, runtime, progress, interrupt);
  puna_trainer* made = nullptr;
  puna::call(puna_trainer_create, &made, model.get(), &o);
  const std::unique_ptr<puna_trainer, DestroyTrainer> trainer(made);
  const char* chat = r.chat ? r.chat->c_str() : nullptr;
  puna::call(puna_trainer_add_file, made, 0, r.data.c_str(), chat);
  if (!r.held_out.empty()) puna::call(puna_trainer_add_file, made, 1, r.held_out.c_str(), chat);
  if (!r.general.empty()) puna::call(puna_trainer_add_file, made, 2, r.general.c_str(), chat);
  puna_train_info info{};
  puna::call(puna_trainer_get_info, made, &info, sizeof info);
  if (exists(checkpoint) && !r.fresh) {
    puna::call(puna_trainer_restore, made, checkpoint.c_str());
    puna::call(puna_trainer_get_info, made, &info, sizeof info);
    say(r.options.quiet, fmt::format("going on from {} at step {} of {}", printable(checkpoint), info.steps_done, info.steps));
  }
  say(r.options.quiet, fmt::format("{} rows, {} tokens, {} of them learnt; {} parameters trained in {} steps", info.rows, info.tokens, info.learnt,
                                   info.parameters, info.steps));
  try {
    puna_job* started = nullptr;
    puna::call(puna_trainer_job, &started, made, interrupt.token(), Progress::report, &progress);
    const std::unique_ptr<puna_job, DestroyJob> job(started);
    puna::call(puna_job_step, started, -1.0, nullptr);
  } catch (const puna::Error& error) {
    if (error.code() != PUNA_E_CANCELLED) throw;
    progress.clear();
    puna::call(puna_trainer_save_state, made, checkpoint.c_str());
    puna::call(puna_trainer_get_info, made, &info, sizeof info);
    say(r.options.quiet, fmt::format("stopped after step {} of {}; the same command goes on from {}", info.steps_done, info.steps, printable(checkpoint)));
    return exit_interrupted;
  }
  progress.clear();
  puna::call(puna_trainer_save, made, r.out.c_str(), r.type ? r.type->c_str() : nullptr);
  puna::call(puna_trainer_get_info, made, &info, sizeof info);
  std::vector<double> losses(info.steps_done);
  for (std::size_t i = 0; i < losses.size(); ++i) puna::call(puna_trainer_loss, made, i, &losses[i]);
  const bool folder = std::filesystem::is_directory(utf8_path(r.out));
  AtomicFile drawing(folder ? r.out + "/loss.svg" : r.out + ".loss.svg");
  const std::string svg = loss_curve(losses);
  drawing.write(svg.data(), svg.size());
  drawing.commit();
  std::error_code ignored;
  std::filesystem::remove(utf8_path(checkpoint), ignored);
  if (r.options.json) {
    Json line{{"event", "done"}, {"out", r.out}, {"steps", info.steps_done}, {"loss", info.loss}};
    line["held_out_before"] = std::isnan(info.held_out_before) ? Json() : Json(info.held_out_before);
    const auto perplexity = [](double loss) { return std::isnan(loss) ? Json() : Json(std::exp(loss)); };
    line["best_step"] = info.best_step;
    line["general_ppl_before"] = perplexity(info.general_before), line["general_ppl_after"] = perplexity(info.general_after);
    line["held_out_after"] = std::isnan(info.held_out_after) ? Json() : Json(info.held_out_after);
    write_json(line);
  } else {
    write_out(fmt::format("{}: loss {:.4f} after {} steps", printable(r.out), info.loss, info.steps_done));
    if (!std::isnan(info.held_out_after)) write_out(fmt::format("; held-out loss {:.4f}, was {:.4f}", info.held_out_after, info.held_out_before));
    if (info.best_step != info.steps_done) write_out(fmt::format("; the best measurement, of step {}", info.best_step));
    write_out("\n");
    if (!std::isnan(info.general_after))
      write_out(fmt::format("{}: perplexity {:.4g}, was {:.4g} ({:+.1f}%)\n", printable(r.general), std::exp(info.general_after), std::exp(info.general_before),
                            100 * (std::exp(info.general_after - info.general_before) - 1)));
  }
  return exit_ok;
}

// --from-scratch and --held-out as they were meant.
void settle_source(Request& r) {
  r.scratch = !r.shape.empty();
  if (!r.method) r.method = r.scratch ? "full" : "lora";
  if (r.scratch && r.shape != "same") {
    if (!r.options.model.empty()) throw Usage("--from-scratch: a shape needs no -m; with -m say --from-scratch same");
    if (r.options.tokenizer.empty()) throw Usage("--from-scratch: a shape needs --tokenizer FILE, where the words are");
    r.options.synthetic = r.shape, r.options.type = "f32";
  }
  if (r.held_out.size() < 2 || r.held_out.back() != '%') return;
  const double percent = parse_real("--held-out", r.held_out.substr(0, r.held_out.size() - 1), 0.1, 99.9);
  r.held_out_permille = static_cast<std::uint32_t>(std::lround(percent * 10));
  r.held_out.clear();
}

}  // namespace

namespace {

void add_options(CommandLine& line, Request& r) {
  line.text("--data", r.data, "FILE", "rows to train on");
  line.text("--held-out", r.held_out, "FILE|N%", "rows that are only measured, before and after; N%: the last of --data");
  line.text("--general", r.general, "FILE", "a text of another kind: its perplexity before and after tells what is forgotten");
  line.text("--template,--chat", r.chat, "NAME", "chat template of rows with messages, or one as JSON; default: the model's own");
  line.text("--out", r.out, "PATH", "a name ending in .gguf, or a new folder: PEFT's for lora, Hugging Face's for full");
  line.text("--method", r.method, "METHOD", "lora (default) or full");
  line.text("--from-scratch", r.shape, "SHAPE|same", "a new model: numbers of a shape, its words from --tokenizer; same: both as in -m");
  line.text("--objective", r.objective, "NAME", "text or sft: tokens; dpo: chosen and rejected answers; default: as the rows are");
  line.real("--beta", r.beta, 0, 1e6, "dpo: how closely the model that it was is kept; default 0.1");
  line.text("--type", r.type, "TYPE", "full: what is written, such as f16; default f32");
  line.group("LoRA");
  line.integer("--rank", r.rank, 1, 4096, "default 8");
  line.real("--alpha", r.alpha, 0, 1e6, "default 16");
  line.real("--dropout", r.dropout, 0, 0.99, "default 0");
  line.text("--targets", r.targets, "LIST", "of q,k,v,o,gate,up,down,head; default all but head");
  line.flag("--rslora", r.rslora, "scale by alpha / sqrt(rank)");
  line.flag("--dora", r.dora, "DoRA: a magnitude for each row, trained beside the adapter");
  line.flag("--nf4", r.nf4, "QLoRA: train on the layers' weights as NF4, whatever the file's type");
  line.group("Steps");
  line.real("--lr", r.rate, 0, 1e3, "learning rate; default 2e-4, full 2e-5, dpo 5e-6");
  line.text("--schedule", r.schedule, "NAME", "cosine (default), linear, constant");
  line.integer("--warmup", r.warmup, 0, 1u << 30, "steps; default 0");
  line.real("--weight-decay", r.decay, 0, 10, "default 0.01");
  line.flag("--adam8", r.adam8, "moments of AdamW in 8 bits a value: a quarter of their memory");
  line.real("--clip", r.clip, 0, 1e9, "norm of the gradient; default 1, 0: none");
  line.integer("--epochs", r.epochs, 1, 1u << 20, "default 1");
  line.integer("--steps", r.steps, 1, 1u << 30, "instead of epochs");
  line.integer("--batch", r.batch, 1, 4096, "rows of a pass; default 1");
  line.integer("--accumulate", r.accumulate, 1, 65536, "passes of a step; default 1");
  line.integer("--length", r.length, 2, 1u << 24, "tokens of a row; default 512 or the model's context");
  line.flag("--no-pack", r.no_pack, "one text a row");
  line.flag("--no-shuffle", r.no_shuffle, "rows in the order of the file");
  line.value("--seed", "N", "default 0", [&r](const std::string& name, const std::string& text) { r.seed = parse_unsigned(name, text); });
  line.integer("--eval-every", r.evaluate_every, 1, 1u << 30, "steps between measurements of held-out rows");
  line.integer("--patience", r.patience, 1, 1u << 20, "stop after so many measurements without a better one, and keep the best");
  line.integer("--checkpoint-every", r.checkpoint_every, 1, 1u << 30, "steps; default 50");
  line.flag("--fresh", r.fresh, "begin anew even where a checkpoint is");
  line.add_model();
  line.add_machine();
  line.add_output();
}

std::string megabytes(std::uint64_t n) { return fmt::format("{:.{}f} MB", static_cast<double>(n) / 1e6, n < 10'000'000 ? 2 : 0); }

std::string time_text(double seconds) {
  if (seconds < 120) return fmt::format("{:.3g} s", seconds);
  return seconds < 7200 ? fmt::format("{:.0f} min", seconds / 60) : fmt::format("{:.1f} h", seconds / 3600);
}

// The settings that the library found, as options of this command; "" where it found none.
std::string fit_text(const puna_train_plan& plan) {
  if (!plan.fit_memory_bytes) return "";
  return fmt::format("--method {} --batch {} --accumulate {} --length {}{}", plan.fit_method == PUNA_TRAIN_FULL ? "full" : "lora", plan.fit_batch,
                     plan.fit_accumulate, plan.fit_length, plan.fit_method == PUNA_TRAIN_LORA ? fmt::format(" --rank {}", plan.fit_rank) : "");
}

std::uint64_t tokens_of(const Request& r) {
  if (r.data.empty()) return 0;
  const puna::Tokenizer tokenizer(puna::Source(r.options.tokenizer.empty() ? r.options.model.c_str() : r.options.tokenizer.c_str()));
  puna_data_options o;
  puna_data_options_init(&o, sizeof o);
  o.length = r.length.value_or(512);
  if (r.chat) o.chat_template = r.chat->c_str();
  const puna::Data data(tokenizer.get(), puna::Source(r.data.c_str()), o);
  return puna::fetch<puna_data_info>(puna_data_get_info, data.get()).tokens;
}

}  // namespace

int run_plan_train(const Arguments& arguments) {
  Request r;
  CommandLine line("plan", "Memory and time that training will need, told before it begins, and settings that fit into --memory-limit.",
                   "  puna plan --task train -m llama.gguf --data rows.jsonl --rank 16\n"
                   "  puna plan --task train --synthetic 7b:q4_0 --length 1024 --steps 1000 --memory-limit 8G");
  std::string task;
  line.text("--task", task, "TASK", "train; `puna plan --help` for the others");
  add_options(line, r);
  std::string synthetic;
  line.group("Model");
  line.text("--synthetic", synthetic, "SHAPE:TYPE", "a known shape instead of a file: 7b:q4_0, 1.1b:f16, 110m:f32 ...");
  if (!line.parse(arguments)) return exit_ok;
  r.options = line.options();
  if (const std::size_t colon = synthetic.find(':'); !synthetic.empty()) {
    r.options.synthetic = synthetic.substr(0, colon);
    if (colon != std::string::npos) r.options.type = synthetic.substr(colon + 1);
  }
  settle_source(r);
  ModelFiles files(r.options);
  Progress progress(true);
  Report report(r, progress);
  const puna_train_options o = train_options(r, report, "");
  Options machine = r.options;
  machine.memory_limit = 0;  // it is the plan's budget
  const puna::Runtime runtime = make_runtime(machine);
  puna_train_plan plan{};
  puna::call(puna_plan_train, runtime.get(), &files.model(), &files.model_options(), &o, r.options.memory_limit, tokens_of(r), &plan, sizeof plan);
  if (r.options.json) {
    const auto known = [](auto value) { return value > 0 ? Json(value) : Json(nullptr); };
    write_json({{"memory_bytes", plan.memory_bytes}, {"mapped_bytes", plan.mapped_bytes}, {"copied_bytes", plan.copied_bytes},
                {"state_bytes", plan.state_bytes}, {"workspace_bytes", plan.workspace_bytes}, {"disk_bytes", plan.disk_bytes},
                {"parameters", plan.parameters}, {"steps", known(plan.steps)}, {"seconds_per_step", known(plan.seconds_per_step)},
                {"seconds", known(plan.seconds)}, {"fits", plan.fits != 0},
                {"fit", plan.fit_memory_bytes ? Json{{"memory_bytes", plan.fit_memory_bytes}, {"options", fit_text(plan)}} : Json(nullptr)}});
    return plan.fits ? exit_ok : exit_failed;
  }
  write_out(fmt::format("memory     {}\n  weights  {} ({} copied, the rest mapped from the file)\n  trained  {} ({} parameters, their gradients and moments)\n"
                        "  rows     {}\ndisk       {} for a checkpoint\n",
                        megabytes(plan.memory_bytes), megabytes(plan.mapped_bytes + plan.copied_bytes), megabytes(plan.copied_bytes), megabytes(plan.state_bytes),
                        plan.parameters, megabytes(plan.workspace_bytes), megabytes(plan.disk_bytes)));
  if (plan.seconds_per_step > 0)
    write_out(fmt::format("time       about {} a step of full rows{}\n", time_text(plan.seconds_per_step),
                          plan.seconds > 0 ? fmt::format(", {} for {} steps", time_text(plan.seconds), plan.steps) : ""));
  if (!plan.fits) {
    const std::string fit = fit_text(plan);
    write_out(fmt::format("too much   {} are allowed: {}\n", megabytes(r.options.memory_limit),
                          fit.empty() ? "no setting of these targets fits" : fmt::format("{} needs {}", fit, megabytes(plan.fit_memory_bytes))));
  }
  return plan.fits ? exit_ok : exit_failed;
}

int run_train(const Arguments& arguments) {
  Request r;
  CommandLine line("train",
                   "Tunes a model on your own texts: --method lora leaves a small PEFT adapter beside the model, full a whole\n"
                   "model. The base may be quantized. Killed or stopped by Ctrl-C, the same command goes on where it was, to the\n"
                   "same bits. Data: JSON lines, CSV or text; chats, prompts and answers, chosen and rejected answers (DPO), or texts, recognised by\n"
                   "themselves.",
                   "  puna train -m llama.gguf --data rows.jsonl --out adapter\n"
                   "  puna train -m llama.gguf --data notes.txt --held-out more.txt --out adapter --rank 16 --epochs 3\n"
                   "  puna train -m stories.gguf --data rows.jsonl --out tuned.gguf --method full --lr 1e-4\n"
                   "  puna train --from-scratch dim=64,layers=5,heads=8,vocab=512 --tokenizer tok512.bin --data stories.txt\n"
                   "             --held-out 2% --out new.gguf");
  add_options(line, r);
  if (!line.parse(arguments)) return exit_ok;
  r.options = line.options();
  if (r.data.empty()) throw Usage("--data is needed");
  if (r.out.empty()) throw Usage("--out is needed");
  settle_source(r);
  require_model(r.options);
  return train(r);
}

int run_merge(const Arguments& arguments) {
  std::string out;
  std::vector<std::string> adapters;
  std::optional<std::string> type;
  CommandLine line("merge", "Writes the model with adapters merged into its weights, in any type.",
                   "  puna merge -m llama.gguf --lora adapter --out merged.gguf --type q4_k_m");
  line.texts("--lora", adapters, "PATH[=SCALE]", "a PEFT folder or a GGUF adapter; may be given several times");
  line.text("--out", out, "PATH", "a name ending in .gguf, or a new Hugging Face folder");
  line.text("--type", type, "TYPE", "f32, f16, q4_k_m and the like; default: merged matrices f32, the others as they are");
  line.add_model();
  line.add_machine();
  line.add_output();
  if (!line.parse(arguments)) return exit_ok;
  const Options& options = line.options();
  if (adapters.empty()) throw Usage("--lora is needed");
  if (out.empty()) throw Usage("--out is needed");
  require_model(options);
  const Interrupt interrupt;
  Progress progress(options.quiet);
  const puna::Runtime runtime = make_runtime(options);
  const puna::Source source(options.model.c_str());
  std::vector<const char*> paths;
  std::vector<float> scales;
  for (std::string& text : adapters) scales.push_back(split_adapter(text)), paths.push_back(text.c_str());
  puna_quantize_options o;
  puna_quantize_options_init(&o, sizeof o);
  o.type = type ? type->c_str() : nullptr;
  o.cancel = interrupt.token(), o.progress = Progress::report, o.progress_user = &progress;
  puna_quantize_result result{};
  puna::call(puna_merge, runtime.get(), &source, paths.data(), scales.data(), paths.size(), out.c_str(), &o, &result, sizeof result);
  progress.clear();
  if (options.json)
    write_json({{"bytes", result.bytes}, {"bits_per_weight", result.bits_per_weight}, {"tensors", result.tensors}, {"out", out}});
  else
    write_out(fmt::format("{}: {:.1f} MB, {:.2f} bits per weight\n", printable(out), static_cast<double>(result.bytes) / 1e6, result.bits_per_weight));
  return exit_ok;
}

}  // namespace cli

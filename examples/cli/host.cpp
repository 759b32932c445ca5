#include "cli.hpp"
#include "terminal.hpp"

namespace cli {
namespace {

// Warnings of the library, one line each; the user pointer is only a yes or no.
void PUNA_CALL log_line(void*, std::int32_t level, const char* text, std::size_t length) {
  if (level >= PUNA_LOG_WARNING) say(false, "puna: warning: " + printable({text, length}, 500));
}

}  // namespace

void require_model(const Options& options) {
  if (!options.model.empty() && !options.synthetic.empty()) throw Usage("-m and --synthetic exclude each other");
  if (options.model.empty() && options.synthetic.empty())
    throw Usage("no model: name one with -m MODEL (./dev demo builds the tool and runs a small one)");
}

ModelFiles::ModelFiles(const Options& options) {
  require_model(options);
  if (!options.synthetic.empty()) {
    synthetic_ = options.synthetic + ":" + options.type;
    model_.kind = PUNA_SOURCE_SYNTHETIC;
    model_.path = synthetic_.c_str();
  } else {
    model_.path = options.model.c_str();
  }
  if (options.lock) model_options_.flags |= PUNA_MODEL_LOCK;
  if (options.as_stored) model_options_.flags |= PUNA_MODEL_AS_STORED;
  if (!options.sha256.empty()) model_.sha256 = options.sha256.c_str();
  if (!options.tokenizer.empty()) {
    tokenizer_.path = options.tokenizer.c_str();
    model_options_.tokenizer = &tokenizer_;
  }
}

puna::Runtime make_runtime(const Options& options) {
  puna::RuntimeOptions runtime;
  runtime.threads = static_cast<std::int32_t>(options.threads);
  runtime.memory_limit = options.memory_limit;
  if (options.pin) runtime.flags |= PUNA_RUNTIME_PIN;
  if (!options.quiet) runtime.log = log_line;
  return puna::Runtime(runtime);
}

puna::Model open_model(const Options& options, const puna::Runtime& runtime, Progress& progress,
                       const Interrupt& interrupt, std::uint32_t flags) {
  ModelFiles files(options);
  puna::ModelOptions& model_options = files.model_options();
  model_options.flags |= flags;
  model_options.cancel = interrupt.token();
  model_options.progress = Progress::report;
  model_options.progress_user = &progress;
  puna::Model model(files.model(), model_options, &runtime);
  progress.clear();
  return model;
}

puna::SessionOptions session_options(const Options& options) {
  puna::SessionOptions session;
  session.context = options.context;
  session.cache_type = options.cache;
  return session;
}

void use_adapters(const puna::Session& session, const puna::Model& model, std::vector<std::string> adapters) {
  struct Destroy {
    void operator()(puna_adapter* a) const { puna_adapter_destroy(a); }
  };
  std::vector<std::unique_ptr<puna_adapter, Destroy>> owned;
  std::vector<const puna_adapter*> handles;
  std::vector<float> scales;
  for (std::string& text : adapters) {
    scales.push_back(split_adapter(text));
    puna_adapter* made = nullptr;
    puna::call(puna_adapter_open, &made, model.get(), text.c_str());
    owned.emplace_back(made);
    handles.push_back(made);
  }
  if (!handles.empty()) puna::call(puna_session_set_adapters, session.get(), handles.data(), scales.data(), handles.size());
}

}  // namespace cli

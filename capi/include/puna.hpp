// puna.hpp: puna.h for C++17. Handles that close themselves, failures as puna::Error, text as it is made:
//
//   puna::Model model("stories.gguf");
//   puna::Session session(model);
//   for (std::string_view piece : session.generate("Once upon a time")) std::cout << piece << std::flush;
//
// A thin layer over puna.h alone, and nothing of it is compiled into the library: get() is the C handle.
// Handles are move-only; one that was moved from may only be destroyed or assigned. The option structs are the C ones,
// initialised. What a callback throws stops the work and comes out of the call again.
#ifndef PUNA_HPP
#define PUNA_HPP

#include <puna.h>

#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace puna {
inline namespace api1 {  // names of its own at link time, whatever else is called puna

class Error : public std::runtime_error {
 public:
  Error(int32_t code, const char* text, int32_t user_code = 0)
      : std::runtime_error(text), code_(code), user_code_(user_code) {}
  int32_t code() const noexcept { return code_; }            // PUNA_E_...
  int32_t user_code() const noexcept { return user_code_; }  // what a callback returned
 private:
  int32_t code_, user_code_;
};

// Calls a function of puna.h with an error behind the given arguments, and throws what it reports.
template <class F, class... A>
void call(F function, A&&... arguments) {
  puna_error error;
  puna_error_init(&error, sizeof error);
  const int32_t status = function(std::forward<A>(arguments)..., &error);
  if (status != PUNA_OK) throw Error(status, *error.text ? error.text : puna_status_name(status), error.user_code);
}

// A struct that puna.h hands out.
template <class T, class F, class... A>
T fetch(F function, A... arguments) {
  T out{};
  call(function, arguments..., &out, sizeof out);
  return out;
}

// The structs of puna.h as they must begin.
template <class T, void(PUNA_CALL* Init)(T*, size_t)>
struct Initialised : T {
  Initialised() { Init(this, sizeof(T)); }
};
using ModelOptions = Initialised<puna_model_options, puna_model_options_init>;
using SessionOptions = Initialised<puna_session_options, puna_session_options_init>;
using GenerateOptions = Initialised<puna_generate_options, puna_generate_options_init>;
using RuntimeOptions = Initialised<puna_runtime_options, puna_runtime_options_init>;
using TrainOptions = Initialised<puna_train_options, puna_train_options_init>;
using EncodeOptions = Initialised<puna_encode_options, puna_encode_options_init>;
using PerplexityOptions = Initialised<puna_perplexity_options, puna_perplexity_options_init>;
using Batch = Initialised<puna_batch, puna_batch_init>;
struct Source : Initialised<puna_source, puna_source_init> {  // what it names is borrowed
  Source() = default;
  explicit Source(const char* utf8_path) { path = utf8_path; }
  Source(const void* bytes, size_t n) { kind = PUNA_SOURCE_MEMORY, data = bytes, size = n; }
};

template <class T>
struct Span {  // borrowed elements; C++17 has no std::span
  T* data = nullptr;
  size_t size = 0;
  Span() = default;
  Span(T* first, size_t count) : data(first), size(count) {}
  template <class C, class = decltype(std::declval<C&>().data())>
  Span(C&& container) : data(container.data()), size(container.size()) {}
  T* begin() const { return data; }
  T* end() const { return data + size; }
  T& operator[](size_t i) const { return data[i]; }
};
using Ids = Span<const int32_t>;

template <class T, void(PUNA_CALL* Destroy)(T*)>
class Handle {
 public:
  Handle() = default;
  explicit Handle(T* adopted) : handle_(adopted) {}
  T* get() const noexcept { return handle_.get(); }
  explicit operator bool() const noexcept { return handle_ != nullptr; }

 protected:
  template <class F, class... A>
  void create(F function, A&&... arguments) {
    T* made = nullptr;
    call(function, &made, std::forward<A>(arguments)...);
    handle_.reset(made);
  }

 private:
  struct Destroyer {
    void operator()(T* handle) const noexcept { Destroy(handle); }
  };
  std::unique_ptr<T, Destroyer> handle_;
};

// Reads a text or ids of unknown length: a first try with room for most, a second with what was asked for.
template <class C, class F, class... A>
C read_sized(size_t room, F function, A... arguments) {
  C out;
  out.resize(room);
  size_t needed = 0;
  try {
    call(function, arguments..., out.data(), out.size(), &needed);
  } catch (const Error& error) {
    if (error.code() != PUNA_E_BUFFER) throw;
    out.resize(needed);
    call(function, arguments..., out.data(), out.size(), &needed);
  }
  out.resize(needed);
  return out;
}

class Cancel : public Handle<puna_cancel, puna_cancel_destroy> {
 public:
  Cancel() { create(puna_cancel_create); }
  void trip() noexcept { puna_cancel_trip(get()); }
};

class Runtime : public Handle<puna_runtime, puna_runtime_destroy> {
 public:
  explicit Runtime(const RuntimeOptions& options = {}) { create(puna_runtime_create, &options); }
  puna_runtime_info info() const { return fetch<puna_runtime_info>(puna_runtime_get_info, get()); }
};

class Tokenizer {  // borrowed from its model, or alone
 public:
  explicit Tokenizer(const puna_tokenizer* borrowed) : tokenizer_(borrowed) {}
  explicit Tokenizer(const Source& source) {
    puna_tokenizer* made = nullptr;
    call(puna_tokenizer_open, &made, &source);
    owned_.reset(made, puna_tokenizer_destroy);
    tokenizer_ = made;
  }
  const puna_tokenizer* get() const noexcept { return tokenizer_; }
  explicit operator bool() const noexcept { return tokenizer_ != nullptr; }
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const {
    const size_t guess = text.size() + 4;
    return read_sized<std::vector<int32_t>>(guess, puna_tokenizer_encode, get(), text.data(), text.size(), &options);
  }
  std::vector<int32_t> encode_infill(std::string_view prefix, std::string_view suffix, bool spm = false) const {
    return read_sized<std::vector<int32_t>>(prefix.size() + suffix.size() + 8, puna_tokenizer_encode_infill, get(),
                                            prefix.data(), prefix.size(), suffix.data(), suffix.size(), spm);
  }
  std::string decode(Ids ids) const {
    return read_sized<std::string>(ids.size * 16, puna_tokenizer_decode, get(), ids.data, ids.size);
  }
  puna_token_info token(int32_t id) const { return fetch<puna_token_info>(puna_tokenizer_token, get(), id); }
  std::string_view piece(int32_t id) const {
    const puna_token_info info = token(id);
    return {info.piece, info.piece_length};
  }
  uint32_t size() const { return puna_tokenizer_size(get()); }
  int32_t special(int32_t which) const { return puna_tokenizer_special(get(), which); }  // -1: none

 private:
  std::shared_ptr<puna_tokenizer> owned_;
  const puna_tokenizer* tokenizer_ = nullptr;
};

class Data : public Handle<puna_data, puna_data_destroy> {  // a file of training data, looked at
 public:
  Data(const puna_tokenizer* tokenizer, const puna_source& source, const puna_data_options& options) {
    create(puna_data_open, tokenizer, &source, &options);
  }
};

class Detokenizer : public Handle<puna_detokenizer, puna_detokenizer_destroy> {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer) { create(puna_detokenizer_create, tokenizer.get()); }
  std::string_view feed(int32_t id) { return text(puna_detokenizer_feed, get(), id); }  // until the next call
  std::string_view flush() { return text(puna_detokenizer_flush, get()); }

 private:
  template <class F, class... A>
  std::string_view text(F function, A... arguments) {
    Span<const char> out;
    return call(function, arguments..., &out.data, &out.size), std::string_view(out.data, out.size);
  }
};

class Model : public Handle<puna_model, puna_model_destroy> {
 public:
  explicit Model(const Source& source, const ModelOptions& options = {}, const Runtime* runtime = nullptr) {
    create(puna_model_open_source, runtime ? runtime->get() : nullptr, &source, &options);
  }
  explicit Model(const std::string& path, const ModelOptions& options = {}, const Runtime* runtime = nullptr)
      : Model(Source(path.c_str()), options, runtime) {}
  puna_model_info info() const { return fetch<puna_model_info>(puna_model_get_info, get()); }
  Tokenizer tokenizer() const { return Tokenizer(puna_model_tokenizer(get())); }  // false where there is none
  const char* metadata(const char* key) const { return puna_model_metadata_find(get(), key); }  // nullptr: unknown
};

class Adapter : public Handle<puna_adapter, puna_adapter_destroy> {  // a PEFT folder or a GGUF
 public:
  Adapter(const Model& model, const std::string& path) { create(puna_adapter_open, model.get(), path.c_str()); }
  void save(const std::string& path) const { call(puna_adapter_save, get(), path.c_str()); }  // as GGUF
};

class Sampler : public Handle<puna_sampler, puna_sampler_destroy> {  // steps in the order added
 public:
  explicit Sampler(uint64_t seed = 0) { create(puna_sampler_create, seed); }
  Sampler& greedy() { return add(puna_sampler_add_greedy); }
  Sampler& temperature(double t) { return add(puna_sampler_add_temperature, t); }
  Sampler& top_k(uint32_t k) { return add(puna_sampler_add_top_k, k); }
  Sampler& top_p(double p) { return add(puna_sampler_add_top_p, p); }
  Sampler& min_p(double p) { return add(puna_sampler_add_min_p, p); }
  Sampler& typical(double p) { return add(puna_sampler_add_typical, p); }
  Sampler& mirostat(double tau, double eta) { return add(puna_sampler_add_mirostat, tau, eta); }
  Sampler& penalties(uint32_t window, double repeat, double frequency, double presence) {
    return add(puna_sampler_add_penalties, window, repeat, frequency, presence);
  }
  Sampler& dry(double multiplier, double base, uint32_t allowed, uint32_t window, Ids breakers) {
    return add(puna_sampler_add_dry, multiplier, base, allowed, window, breakers.data, breakers.size);
  }
  Sampler& logit_bias(Ids ids, Span<const float> biases) {
    return add(puna_sampler_add_logit_bias, ids.data, biases.data, ids.size);
  }
  Sampler& callback(puna_logits_fn function, void* user) { return add(puna_sampler_add_callback, function, user); }
  int32_t sample(Span<const float> logits) {
    int32_t id = -1;
    return call(puna_sampler_sample, get(), logits.data, logits.size, &id), id;
  }
  void accept(int32_t id) { call(puna_sampler_accept, get(), id); }

 private:
  template <class F, class... A>
  Sampler& add(F function, A... arguments) {
    call(function, get(), arguments...);
    return *this;
  }
};

class Job : public Handle<puna_job, puna_job_destroy> {
 public:
  using Handle::Handle;
  bool step(double max_ms) { return call(puna_job_step, get(), max_ms, &done_), done_; }  // true: finished
  bool wait(double max_ms = -1) { return call(puna_job_wait, get(), max_ms, &done_), done_; }
  bool poll() { return call(puna_job_poll, get(), &done_), done_; }
  void start() { call(puna_job_start, get()); }
  void cancel() noexcept { puna_job_cancel(get()); }
  puna_progress progress() const { return fetch<puna_progress>(puna_job_progress, get()); }
  puna_generate_result generated() const { return fetch<puna_generate_result>(puna_job_generated, get()); }

 private:
  int32_t done_ = 0;
};

// The pieces of an answer, each made when it is asked for. Leaving the loop early cancels the rest.
class Generation {
 public:
  Generation(puna_session* session, std::string_view prompt, const GenerateOptions& options) : state_(new State) {
    puna_job* job = nullptr;
    call(puna_session_generate_job, &job, session, prompt.data(), prompt.size(), &options, &take,
         static_cast<void*>(state_.get()));
    state_->job = Job(job);
  }
  class Iterator {  // as much of one as a range-for asks for
   public:
    explicit Iterator(Generation* from) : from_(from), more_(from->next()) {}
    std::string_view operator*() const { return from_->piece_; }  // until the next step
    void operator++() { more_ = from_->next(); }
    bool operator!=(std::nullptr_t) const { return more_; }

   private:
    Generation* from_;
    bool more_;
  };
  Iterator begin() { return Iterator(this); }
  std::nullptr_t end() { return nullptr; }
  puna_generate_result result() const { return state_->job.generated(); }  // after the last piece

 private:
  struct State {  // stays where it is when the object moves: the job points at it
    std::deque<std::string> ready;
    bool done = false;
    Job job;
  };
  static int32_t PUNA_CALL take(void* user, const char* text, size_t length) {
    try {
      static_cast<State*>(user)->ready.emplace_back(text, length);
      return 0;
    } catch (...) { return 1; }
  }
  bool next() {
    while (state_->ready.empty() && !state_->done) state_->done = state_->job.step(5);
    if (state_->ready.empty()) return false;
    piece_ = std::move(state_->ready.front());
    state_->ready.pop_front();
    return true;
  }
  std::unique_ptr<State> state_;
  std::string piece_;
};

class Session : public Handle<puna_session, puna_session_destroy> {
 public:
  explicit Session(const Model& model, const SessionOptions& options = {}) {
    create(puna_session_create, model.get(), &options);
  }
  puna_session_info info() const { return fetch<puna_session_info>(puna_session_get_info, get()); }
  Generation generate(std::string_view prompt, const GenerateOptions& options = {}) { return {get(), prompt, options}; }
  // The same with a function: each(std::string_view), called from inside.
  template <class F>
  void generate(std::string_view prompt, const GenerateOptions& options, F&& each) {
    std::pair<F&, std::exception_ptr> context{each, nullptr};
    const puna_text_fn show = [](void* user, const char* text, size_t length) -> int32_t {
      auto& c = *static_cast<std::pair<F&, std::exception_ptr>*>(user);
      try {
        c.first(std::string_view(text, length));
        return 0;
      } catch (...) {
        c.second = std::current_exception();
        return 1;
      }
    };
    try {
      call(puna_session_generate, get(), prompt.data(), prompt.size(), &options, show, static_cast<void*>(&context));
    } catch (const Error&) {
      if (context.second) std::rethrow_exception(context.second);
      throw;
    }
  }
  void feed(const Batch& batch) { call(puna_session_feed, get(), &batch); }
  Span<const float> feed(Ids ids) {  // to sequence 0; the last token's logits
    Batch batch;
    batch.ids = ids.data;
    batch.count = static_cast<uint32_t>(ids.size);
    feed(batch);
    return logits(batch.count - 1);
  }
  Span<const float> logits(uint32_t index) const {  // until the next feed
    Span<const float> out;
    return call(puna_session_logits, get(), index, &out.data, &out.size), out;
  }
  uint32_t length(uint32_t sequence = 0) const {
    uint32_t out = 0;
    return call(puna_session_length, get(), sequence, &out), out;
  }
  std::vector<int32_t> tokens(uint32_t sequence = 0) const {
    return read_sized<std::vector<int32_t>>(length(sequence), puna_session_tokens, get(), sequence);
  }
  // Beside the model from now on, each with its scale; none: the model alone. Tokens that are in the cache stay as they are.
  void set_adapters(Span<const Adapter* const> adapters, Span<const float> scales = {}) {
    std::vector<const puna_adapter*> handles;
    for (const Adapter* a : adapters) handles.push_back(a->get());
    if (scales.size != 0 && scales.size != adapters.size) throw Error(PUNA_E_ARGUMENT, "as many scales as adapters are needed");
    call(puna_session_set_adapters, get(), handles.data(), scales.size ? scales.data : nullptr, handles.size());
  }
  void fork(uint32_t from, uint32_t to) { call(puna_session_fork, get(), from, to); }
  void truncate(uint32_t sequence, uint32_t length) { call(puna_session_truncate, get(), sequence, length); }
  void drop(uint32_t sequence) { call(puna_session_drop, get(), sequence); }
};

class Trainer : public Handle<puna_trainer, puna_trainer_destroy> {
 public:
  explicit Trainer(const Model& model, const TrainOptions& options = {}) { create(puna_trainer_create, model.get(), &options); }
  // held_out: 0 learnt, 1 measured, 2 of a general kind, measured before and after.
  void add(Ids ids, Span<const uint8_t> loss = {}, int32_t held_out = 0) {
    if (loss.size != 0 && loss.size != ids.size) throw Error(PUNA_E_ARGUMENT, "as many marks as ids are needed");
    call(puna_trainer_add, get(), held_out, ids.data, loss.size ? loss.data : nullptr, ids.size);
  }
  void add_text(std::string_view text, int32_t held_out = 0) { call(puna_trainer_add_text, get(), held_out, text.data(), text.size()); }
  void add_file(const std::string& path, int32_t held_out = 0, const char* chat = nullptr) {
    call(puna_trainer_add_file, get(), held_out, path.c_str(), chat);
  }
  void run() { call(puna_trainer_run, get(), nullptr); }
  Job job() {  // in steps, or in the background
    puna_job* made = nullptr;
    return call(puna_trainer_job, &made, get(), nullptr, nullptr, nullptr), Job(made);
  }
  puna_train_info info() { return fetch<puna_train_info>(puna_trainer_get_info, get()); }
  double loss(uint64_t step) {
    double out = 0;
    return call(puna_trainer_loss, get(), step, &out), out;
  }
  void save(const std::string& path, const char* type = nullptr) { call(puna_trainer_save, get(), path.c_str(), type); }
  void save_state(const std::string& path) { call(puna_trainer_save_state, get(), path.c_str()); }
  void restore(const std::string& path) { call(puna_trainer_restore, get(), path.c_str()); }
};

}  // namespace api1
}  // namespace puna

#endif

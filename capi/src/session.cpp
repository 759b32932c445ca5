// puna_session: create, feed, logits, sequences.
#include "session.hpp"

#include "job.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace {

puna_session_options session_defaults() {
  puna_session_options o{};
  o.struct_size = sizeof o;
  o.sequences = 1;
  o.batch = 512;
  o.cache_type = PUNA_CACHE_F16;
  return o;
}

puna_batch batch_defaults() {
  puna_batch b{};
  b.struct_size = sizeof b;
  return b;
}

puna::FeedInput feed_input(const puna_batch& b, std::uint32_t dim) {
  puna::FeedInput in;
  in.count = b.count;
  if (b.ids) in.ids = {b.ids, b.count};
  if (b.embeddings) in.embeddings = {b.embeddings, static_cast<std::size_t>(b.count) * dim};
  if (b.sequences) in.sequences = {b.sequences, b.count};
  if (b.positions) in.positions = {b.positions, b.count};
  if (b.want_logits) in.want_logits = {b.want_logits, b.count};
  return in;
}

// The session is claimed for as long as the feed lasts.
class FeedWork final : public capi::Work {
 public:
  FeedWork(std::shared_ptr<capi::SessionBox> box, const puna_batch& batch) : box_(std::move(box)), claim_(std::in_place, box_->busy, "the session") {
    box_->session.begin_feed(feed_input(batch, box_->session.model().config().D));
    total_ = batch.count;
  }
  ~FeedWork() override {
    if (claim_) box_->session.abort_feed();
  }
  bool step(const puna::Deadline& deadline, const puna::CancelToken* cancel) override {
    try {
      if (!box_->session.step_feed(deadline, cancel)) return false;
    } catch (...) {
      release();
      throw;
    }
    release();
    return true;
  }
  capi::WorkProgress progress() const override {
    return {PUNA_PHASE_PROMPT, claim_ ? box_->session.fed() : fed_, total_};
  }

 private:
  void release() {
    fed_ = box_->session.fed();
    box_->session.abort_feed();
    claim_.reset();
  }
  std::shared_ptr<capi::SessionBox> box_;
  std::optional<capi::Claim> claim_;
  std::uint64_t fed_ = 0, total_ = 0;
};

// A look at a session that nobody else is using.
template <class F>
std::int32_t with_session(const puna_session* session, puna_error* error, F&& body) {
  return capi::entry(error, [&] {
    capi::SessionBox& box = *capi::required(session, "session").box;
    capi::Claim claim(box.busy, "the session");
    body(box.session);
  });
}

}  // namespace

namespace puna::capi {

SessionOptions session_options(const puna_session_options* options) {
  const auto o = read_options(options, session_defaults(), "options");
  if (o.threads < 0) fail(Code::argument, "options.threads is " + std::to_string(o.threads));
  SessionOptions s;
  s.context = o.context;
  s.sequences = o.sequences;
  s.cache_tokens = o.cache_tokens;
  s.batch = o.batch;
  s.max_logits = o.max_logits;
  s.cache_type = static_cast<DType>(o.cache_type);
  s.threads = static_cast<std::uint32_t>(o.threads);
  s.speculate = o.speculate;
  return s;
}

}  // namespace puna::capi

extern "C" {

void PUNA_CALL puna_session_options_init(puna_session_options* options, size_t size) {
  capi::init_options(options, size, session_defaults());
}

int32_t PUNA_CALL puna_session_create(puna_session** out, const puna_model* model, const puna_session_options* options,
                                      puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    auto ref = capi::required(model, "model").ref;
    *out = new puna_session{std::make_shared<capi::SessionBox>(std::move(ref), capi::session_options(options))};
  });
}

void PUNA_CALL puna_session_destroy(puna_session* session) { delete session; }

void PUNA_CALL puna_batch_init(puna_batch* batch, size_t size) { capi::init_options(batch, size, batch_defaults()); }

int32_t PUNA_CALL puna_session_feed(puna_session* session, const puna_batch* batch, puna_error* error) {
  return with_session(session, error, [&](puna::Session& s) {
    capi::required(batch, "batch");
    s.feed(feed_input(capi::read_options(batch, batch_defaults(), "batch"), s.model().config().D));
  });
}

int32_t PUNA_CALL puna_session_feed_job(puna_job** out, puna_session* session, const puna_batch* batch, puna_cancel* cancel,
                                        puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    capi::required(batch, "batch");
    auto work = std::make_unique<FeedWork>(capi::required(session, "session").box, capi::read_options(batch, batch_defaults(), "batch"));
    *out = new puna_job(std::move(work), {capi::cancel_of(cancel)});
  });
}

int32_t PUNA_CALL puna_session_logits(const puna_session* session, uint32_t index, const float** logits, size_t* count,
                                      puna_error* error) {
  return with_session(session, error, [&](puna::Session& s) {
    const auto row = s.logits(index);
    capi::required(logits, "logits") = row.data();
    if (count) *count = row.size();
  });
}

int32_t PUNA_CALL puna_session_length(const puna_session* session, uint32_t sequence, uint32_t* length, puna_error* error) {
  return with_session(session, error, [&](puna::Session& s) { capi::required(length, "length") = s.length(sequence); });
}

int32_t PUNA_CALL puna_session_tokens(const puna_session* session, uint32_t sequence, int32_t* ids, size_t capacity, size_t* count,
                                      puna_error* error) {
  return with_session(session, error, [&](puna::Session& s) {
    s.length(sequence);  // checks it
    const auto held = s.cache().ids(sequence);
    capi::write_array(held.data(), held.size(), ids, capacity, count, "ids");
  });
}

int32_t PUNA_CALL puna_session_fork(puna_session* session, uint32_t from, uint32_t to, puna_error* error) {
  return with_session(session, error, [&](puna::Session& s) { s.fork(from, to); });
}

int32_t PUNA_CALL puna_session_truncate(puna_session* session, uint32_t sequence, uint32_t length, puna_error* error) {
  return with_session(session, error, [&](puna::Session& s) { s.truncate(sequence, length); });
}

int32_t PUNA_CALL puna_session_get_info(const puna_session* session, puna_session_info* out, size_t size, puna_error* error) {
  return with_session(session, error, [&](puna::Session& s) {
    const puna::SessionOptions& o = s.options();
    puna_session_info info{};
    info.context = o.context;
    info.sequences = o.sequences;
    info.batch = o.batch;
    info.cache_tokens = o.cache_tokens;
    info.cache_bytes = puna::KvCache::bytes(s.cache().layout(), o.sequences, o.cache_tokens);
    info.max_logits = o.max_logits;
    info.cache_type = static_cast<std::int32_t>(o.cache_type);
    info.threads = static_cast<std::int32_t>(o.threads);
    capi::write_output(out, size, info, "out");
  });
}

int32_t PUNA_CALL puna_session_drop(puna_session* session, uint32_t sequence, puna_error* error) {
  return with_session(session, error, [&](puna::Session& s) { s.truncate(sequence, 0); });
}

}  // extern "C"

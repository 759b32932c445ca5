// Mutable state on a shared model: a cache of sequences and a workspace. Used by one thread at a time; all memory is taken
// when it is made.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "puna/infer/adapter.hpp"
#include "puna/infer/cache.hpp"
#include "puna/infer/model.hpp"
#include "puna/infer/sampler.hpp"
#include "puna/infer/suffix_index.hpp"
#include "puna/nn/block.hpp"

namespace puna {

struct SessionOptions {
  std::uint32_t context = 0;       // 0: the model's
  std::uint32_t sequences = 1;
  std::uint64_t cache_tokens = 0;  // 0: context x sequences
  std::uint32_t batch = 512;
  std::uint32_t max_logits = 0;    // 0: one per sequence
  DType cache_type = DType::f16;   // f32, f16, q8_0 or q4_0; where no block of 32 divides a head, f16 is taken
  std::uint32_t threads = 0;       // 0: the runtime's
  std::uint32_t speculate = 0;     // guesses that a generation may compute in one pass; max_logits is one more at least
};

// What a session with these options takes, checked; also the forecast.
struct SessionPlan {
  SessionOptions options;  // with every 0 settled
  std::uint64_t cache_bytes = 0, workspace_bytes = 0;
};
SessionPlan plan_session(const Config& config, bool quantized, SessionOptions options, std::uint32_t runtime_width);

// Tokens to append. Spans are of equal length, or empty for the default.
struct FeedInput {
  std::span<const std::int32_t> ids;          // or empty, with embeddings
  std::span<const float> embeddings;          // [count][D]
  std::uint32_t count = 0;
  std::span<const std::uint32_t> sequences;   // default: all 0
  std::span<const std::uint32_t> positions;   // default: each sequence goes on
  std::span<const std::uint8_t> want_logits;  // default: the last row of each sequence
};

class Session {
 public:
  Session(std::shared_ptr<const Model> model, const SessionOptions& options);

  const Model& model() const { return *model_; }
  const std::shared_ptr<const Model>& model_ref() const { return model_; }
  const SessionOptions& options() const { return options_; }
  const KvCache& cache() const { return cache_; }

  // Feeding as resumable work. begin copies the input and reserves its room: it throws with nothing changed.
  void begin_feed(const FeedInput& input);
  // True when all of it is in the cache. A tripped token ends it: Error(cancelled), and each sequence is as long as the
  // passes that were complete.
  bool step_feed(const Deadline& deadline, const CancelToken* cancel);
  void abort_feed();
  bool feeding() const { return feeding_; }
  std::uint32_t fed() const { return next_row_; }
  std::uint32_t feed_count() const { return static_cast<std::uint32_t>(feed_ids_.size()); }
  void feed(const FeedInput& input) {
    begin_feed(input);
    step_feed({}, nullptr);
  }

  // What chooses when a caller gives no sampler: made with the session, so that generating takes no more memory.
  Sampler& greedy() { return greedy_; }
  // For speculation, likewise; of no use when options().speculate is 0.
  SuffixIndex& suffixes() { return suffixes_; }

  // Sees every product of later feeds; null for none. Not owned.
  void observe(LinearObserver* observer) { observer_ = observer; }

  // What later feeds add to the model; what is in the cache stays as it was computed. Error(state) during a feed.
  void set_adapters(std::vector<AdapterUse> uses);
  const std::vector<AdapterUse>& adapters() const { return adapters_.uses(); }

  // Of the last feed's row `index`; Error(argument) when they were not wanted.
  std::span<const float> logits(std::uint32_t index) const;

  void fork(std::uint32_t from, std::uint32_t to);
  void truncate(std::uint32_t sequence, std::uint32_t length);
  std::uint32_t length(std::uint32_t sequence) const;

 private:
  void check_sequence(std::uint32_t sequence) const;
  void check_feed(const FeedInput& input) const;
  void choose_logits(const FeedInput& input);
  void copy_pages(const Deadline& deadline, const CancelToken* cancel);
  void begin_pass();
  void run_pass();
  void end_pass();

  std::shared_ptr<const Model> model_;
  SessionOptions options_;
  KvCache cache_;
  RopeTable rope_;
  Workspace workspace_;
  Pass pass_;
  Sampler greedy_;
  SuffixIndex suffixes_;
  LinearObserver* observer_ = nullptr;
  AdapterSet adapters_;

  // The feed in progress; vectors keep their capacity, so decoding does not allocate.
  bool feeding_ = false;
  bool in_pass_ = false;
  std::vector<std::int32_t> feed_ids_;         // negative: an embedding
  std::vector<std::uint32_t> feed_sequences_;
  std::vector<std::uint32_t> counts_;          // per sequence
  Buffer<float> feed_embeddings_;
  std::vector<std::uint32_t> wanted_;          // rows of the feed whose logits are kept, ascending
  std::uint32_t next_row_ = 0;                 // of the feed: rows before it are in the cache
  std::uint32_t pass_rows_ = 0;
  std::uint32_t next_wanted_ = 0, pass_wanted_ = 0;
  std::vector<RowPlace> places_;               // [batch]
  std::vector<std::uint32_t> pass_wanted_rows_;  // relative to the pass
};

}  // namespace puna

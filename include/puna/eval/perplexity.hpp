// How surprised a model is by a text: mean natural-log loss per token, by three protocols.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "puna/infer/session.hpp"

namespace puna {

enum class PerplexityProtocol : std::int32_t {
  half = 0,       // llama.cpp's: chunks of N tokens, the first replaced by BOS, tokens N/2+1 .. N-1 scored
  windows = 1,    // chunks of N tokens as they are, every token but the first scored
  documents = 2,  // each text by itself: BOS first, cut to N tokens with BOS, every token but BOS scored
};

struct PerplexityOptions {
  PerplexityProtocol protocol = PerplexityProtocol::half;
  std::uint32_t context = 512;  // N
  std::uint32_t threads = 0;
};

class PerplexityRun {
 public:
  // Tokenises; throws Error(argument) when a text is too short to score anything.
  PerplexityRun(std::shared_ptr<const Model> model, const std::vector<std::string_view>& texts, const PerplexityOptions& options);
  bool step(const Deadline& deadline, const CancelToken* cancel);  // true when done

  double nll() const { return scored_ ? sum_ / static_cast<double>(scored_) : 0.0; }
  std::uint64_t tokens() const { return scored_; }
  std::uint64_t done() const { return done_; }
  std::uint64_t total() const { return total_; }

 private:
  struct Window {
    std::vector<std::int32_t> ids;
    std::uint32_t first_scored;  // index of the first token that is a target
  };
  void add_documents(const std::vector<std::string_view>& texts, std::uint32_t n);
  void add_chunks(std::string_view text, std::uint32_t n, PerplexityProtocol protocol);
  void begin_slice();
  void score_row();

  std::shared_ptr<const Model> model_;
  std::vector<Window> windows_;
  std::unique_ptr<Session> session_;
  std::size_t window_ = 0;
  std::uint32_t slice_begin_ = 0, slice_size_ = 0, scored_rows_ = 0;
  std::vector<std::uint8_t> want_;
  double sum_ = 0;
  std::uint64_t scored_ = 0, done_ = 0, total_ = 0;
};

}  // namespace puna

// An importance matrix from the user's own text: how large the inputs of each weight matrix are, column by column.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "puna/infer/session.hpp"
#include "puna/slim/imatrix.hpp"

namespace puna {

struct CalibrateOptions {
  std::uint32_t context = 512;  // tokens a chunk, BOS first, as llama.cpp's imatrix does
  std::uint32_t chunks = 0;     // 0: all whole chunks of the text
  std::uint32_t threads = 0;
};

class Calibration final : private LinearObserver {
 public:
  // Error(argument) for a text of less than one chunk.
  Calibration(std::shared_ptr<const Model> model, std::string_view text, const CalibrateOptions& options);
  bool step(const Deadline& deadline, const CancelToken* cancel);  // true when done
  Imatrix result() const;

  std::uint64_t done() const { return done_; }    // tokens
  std::uint64_t total() const { return total_; }

 private:
  struct Sums {
    std::string name;
    std::vector<double> squares;  // [columns]
    std::uint64_t rows = 0;
  };
  void see(const Compute& c, const Rows& x, std::uint32_t T, std::initializer_list<Product> products) override;
  void begin_chunk();

  std::shared_ptr<const Model> model_;
  CalibrateOptions options_;
  std::vector<std::int32_t> ids_;
  std::unordered_map<const std::byte*, Sums> sums_;  // by where the weights are
  std::unique_ptr<Session> session_;
  std::uint32_t chunk_ = 0;
  std::uint64_t done_ = 0, total_ = 0;
};

}  // namespace puna

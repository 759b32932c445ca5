// What training sees of a row, whoever made it: ids, and which of them are learnt.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace puna {

struct Example {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> loss;  // loss[i]: predicting ids[i] counts; loss[0] is never read, nothing predicts it
};

using Examples = std::vector<Example>;

// Rows, and of preferences a rejected answer to each.
struct TrainData {
  TrainData(Examples all = {}, Examples worse = {}) : examples(std::move(all)), rejected(std::move(worse)) {}
  Examples examples;
  Examples rejected;  // none, or as many
};

}  // namespace puna

// What training sees of a row, whoever made it: ids, and which of them are learnt.
#pragma once

#include <cstdint>
#include <vector>

namespace puna {

struct Example {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> loss;  // loss[i]: predicting ids[i] counts; loss[0] is never read, nothing predicts it
};

using Examples = std::vector<Example>;

}  // namespace puna

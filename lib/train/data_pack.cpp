#include "puna/train/data_pack.hpp"

#include <numeric>
#include <string>

#include "puna/base/status.hpp"

namespace puna {

std::vector<Packed> pack(std::span<const Example> examples, std::uint32_t length) {
  std::vector<std::uint32_t> order(examples.size());
  std::iota(order.begin(), order.end(), 0u);
  return pack(examples, order, length);
}

std::vector<Packed> pack(std::span<const Example> examples, std::span<const std::uint32_t> order, std::uint32_t length) {
  std::vector<Packed> out;
  for (const std::uint32_t row : order) {
    if (row >= examples.size()) fail(Code::argument, "there is no row " + std::to_string(row) + " to pack");
    const Example& e = examples[row];
    const std::size_t n = e.ids.size();
    if (n == 0 || n > length || e.loss.size() != n)
      fail(Code::argument, "row " + std::to_string(row) + " has " + std::to_string(n) + " tokens; from 1 to " + std::to_string(length) + " are packed");
    if (out.empty() || out.back().ids.size() + n > length) out.emplace_back();
    Packed& p = out.back();
    p.ids.insert(p.ids.end(), e.ids.begin(), e.ids.end());
    p.loss.insert(p.loss.end(), e.loss.begin(), e.loss.end());
    p.loss[p.loss.size() - n] = 0;
    for (std::size_t i = 0; i < n; ++i) p.positions.push_back(static_cast<std::uint32_t>(i));
    p.starts.push_back(static_cast<std::uint32_t>(p.ids.size()));
    p.rows.push_back(row);
  }
  return out;
}

}  // namespace puna

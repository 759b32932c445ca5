// Rows of logits, fixtures and a chi-square test for the sampler's tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "puna/infer/sampler.hpp"
#include "support.hpp"

namespace puna_test {

// As make_sampler.py's row(): 24 bits of a multiplicative hash, spread over `scale`.
inline std::vector<float> row(std::size_t n, std::uint64_t seed, double scale) {
  std::vector<float> out(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto bits = static_cast<std::uint32_t>((i + 1 + seed * 7919) * 2654435761u) >> 8;
    out[i] = static_cast<float>(bits / 16777216.0 * scale - scale / 2);
  }
  return out;
}

// A fixture's lines, each as its words.
inline std::vector<std::vector<std::string>> fixture_lines(const char* name) {
  std::ifstream in(fixture(std::string("sampler/") + name));
  if (!in) throw std::runtime_error(std::string("no fixture sampler/") + name);
  std::vector<std::vector<std::string>> lines;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    lines.emplace_back();
    for (std::string word; words >> word;) lines.back().push_back(word);
  }
  return lines;
}

inline double real(const std::string& word) { return std::strtod(word.c_str(), nullptr); }
inline std::uint64_t whole(const std::string& word) { return std::strtoull(word.c_str(), nullptr, 10); }

inline std::vector<float> row_of(const std::vector<std::string>& line) {
  return row(whole(line.at(1)), whole(line.at(2)), real(line.at(3)));
}

inline std::vector<std::int32_t> ids_of(const std::vector<std::string>& line, std::size_t from = 1) {
  std::vector<std::int32_t> out;
  for (std::size_t i = from; i < line.size(); ++i) out.push_back(static_cast<std::int32_t>(whole(line[i])));
  return out;
}

// Q(a, x), the upper regularised incomplete gamma function: a series below a + 1, a continued fraction above.
inline double upper_gamma(double a, double x) {
  if (x <= 0) return 1;
  const double front = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int n = 1; n < 10000 && term > sum * 1e-17; ++n) sum += term *= x / (a + n);
    return 1 - front * sum;
  }
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (int n = 1; n < 10000; ++n) {
    const double an = -n * (n - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
    if (std::fabs(d * c - 1) < 1e-16) break;
  }
  return front * h;
}

// The chance of a chi-square statistic at least this large.
inline double chi_square_tail(double statistic, double degrees) { return upper_gamma(degrees / 2, statistic / 2); }

}  // namespace puna_test

// Importance matrices: read and written as PyPI gguf and llama.cpp's source have them, and calibrated as transformers'
// own activations say (tests/fixtures/scripts/make_imatrix.py).
#include "puna/slim/imatrix.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "model_support.hpp"
#include "puna/slim/calibrate.hpp"
#include "refusal.hpp"

using namespace puna_test;

namespace {

puna::Imatrix read(const fs::path& path) { return puna::read_imatrix(puna::File::open(path.string())); }

}  // namespace

TEST_CASE(
    "an importance matrix by gguf's writer, and llama.cpp's older form, hold the same values; written again, the same "
    "bytes") {
  const TempDir folder;
  const auto expected = read_floats(fixture("imatrix/values.f32"));
  for (const char* name : {"matrix.gguf", "matrix.dat"}) {
    CAPTURE(std::string(name));
    const puna::Imatrix m = read(fixture("imatrix") / name);
    CHECK(m.entries.size() == 14);
    CHECK(m.chunks == 8);
    CHECK(m.datasets == std::vector<std::string>{"some.txt"});
    std::vector<float> values;
    for (const auto& [tensor, entry] : m.entries)
      values.insert(values.end(), entry.mean_square.begin(), entry.mean_square.end());
    CHECK(values == expected);
    puna::write_imatrix(m, (folder / name).string());
    CHECK(read_file(folder / name) == read_file(fixture("imatrix") / name));
  }
}

TEST_CASE("calibration finds the mean squares of transformers' activations") {
  const auto model = load_model(fixture("tiny/model.gguf"));
  const std::string text = read_text(fixture("outsiders/text.txt"));
  puna::CalibrateOptions options;
  options.context = 64;
  options.chunks = 4;
  puna::Calibration calibration(model, text, options);
  while (!calibration.step({}, nullptr)) {
  }
  const puna::Imatrix m = calibration.result();
  const auto expected = read_floats(fixture("imatrix/activations.f32"));
  std::istringstream table(read_text(fixture("imatrix/activations.tsv")));
  std::size_t at = 0;
  double worst = 0;
  for (auto [name, columns] = std::pair<std::string, std::size_t>(); table >> name >> columns; at += columns) {
    CAPTURE(name);
    const float* mean = m.find(name, columns, "calibration");
    REQUIRE(mean != nullptr);
    double largest = 0;
    for (std::size_t i = 0; i < columns; ++i) largest = std::max<double>(largest, expected[at + i]);
    for (std::size_t i = 0; i < columns; ++i)
      worst = std::max(worst, std::fabs(mean[i] - expected[at + i]) / (expected[at + i] + 0.01 * largest));
  }
  CHECK(at == expected.size());
  CHECK(m.entries.size() == 28);
  MESSAGE("largest relative difference " << worst);
  CHECK(worst < 0.01);
}

// What a call that must fail says.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "puna/base/status.hpp"

namespace puna_test {

// Runs `work`, which must throw puna::Error with this code; returns its text. Every part must be in it.
template <class Work>
std::string refusal(puna::Code code, std::initializer_list<std::string_view> parts, Work work) {
  try {
    work();
  } catch (const puna::Error& error) {
    INFO("it said: " << error.text());
    CHECK(static_cast<int>(error.code()) == static_cast<int>(code));
    for (const std::string_view part : parts) {
      INFO("it should say: " << std::string(part));
      CHECK(error.text().find(part) != std::string::npos);
    }
    return error.text();
  }
  FAIL_CHECK("nothing was refused");
  return {};
}

}  // namespace puna_test

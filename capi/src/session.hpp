#pragma once

#include "border.hpp"
#include "puna/infer/session.hpp"

namespace puna::capi {

SessionOptions session_options(const puna_session_options* options);

}  // namespace puna::capi

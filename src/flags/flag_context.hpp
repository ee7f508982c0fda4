// Contexts as SQL gives them.
#pragma once

#include "flags/evaluation.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

// Of a JSON object; nullopt where the argument is NULL or something else.
std::optional<flags::Context> context_argument(FunctionCallInfo fcinfo, int number);

// With nothing but userId; what the view is of must stay.
flags::Context context_of_user(const std::string_view& user_id);

// The clock, and chance.
const flags::World& world();

}  // namespace pgcache

// LIKE patterns over keys: PostgreSQL's own matching, byte by byte.
#pragma once

#include "pg/postgres.hpp"

namespace pgcache {

// 22025 for a pattern that ends with its escape character, which PostgreSQL would raise only when it comes so far with
// some key.
void check_pattern(const struct varlena* pattern);
bool matches_pattern(const struct varlena* pattern, std::string_view key);

}  // namespace pgcache

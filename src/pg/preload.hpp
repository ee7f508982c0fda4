// Whether the module can work in this server: preloaded, and beside SQL objects of its own version.
#pragma once

#include "pg/postgres.hpp"

namespace pgcache::pg {

// 55000 with the SQL that mends it.
[[noreturn]] void raise_not_preloaded();

// Raises 55000 if the extension's SQL objects are of another version than the library. Reads the catalog once in a
// backend's life; until then it costs one comparison.
void require_same_version();

// The ALTER SYSTEM that adds pgcache to the libraries that are preloaded now; nullptr where the caller may not see
// them.
char* preload_statement();

}  // namespace pgcache::pg

// The query that cache_fetch is given: checked, run, and its result as jsonb. All of it may ERROR.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "utils/jsonb.h"
}

namespace pgcache {

struct FetchQuery {
  const char* text;
  Jsonb* params;  // an array, or nullptr
  bool shared;    // row-level security is allowed
};

// Under the active snapshot, as the current user, in a transaction that is read-only meanwhile. The result is the
// caller's. 25006 for what is no pure query, 42601 for several statements, 22023 for another number of params, 42501 if
// its plan depends on row-level security.
Jsonb* run_query(const FetchQuery& query);

void install_fetch_query();

}  // namespace pgcache

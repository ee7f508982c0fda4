// What a call costs before any flag comes into it, as src/cache/benchmark_floor.cpp does it for the cache.
#include "pg/arguments.hpp"
#include "pg/function.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/jsonb.h"
}

// (flag, context, fallback)
PGCACHE_FUNCTION(pgcache_floor_flag_enabled) {
  pgcache::pg::required_varlena(fcinfo, 0, "flag");
  pgcache::pg::require_not_null(fcinfo, 1, "context");
  PG_RETURN_BOOL(JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(1)));
}

// (flag, user_id, fallback)
PGCACHE_FUNCTION(pgcache_floor_flag_enabled_for) {
  pgcache::pg::required_varlena(fcinfo, 0, "flag");
  pgcache::pg::required_varlena(fcinfo, 1, "user_id");
  PG_RETURN_BOOL(true);
}

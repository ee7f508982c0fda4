// How a C++ function becomes one that SQL can call.
//
// PostgreSQL's ERROR is a longjmp: it skips destructors, so no object with a non-trivial one may be alive where a
// PostgreSQL function is called. A C++ exception must not reach PostgreSQL: nothing here throws on purpose, and the
// wrapper turns what does after all into an ERROR once the handler has ended.
#pragma once

#include "pg/postgres.hpp"

#define PGCACHE_EXPORT __attribute__((visibility("default")))

namespace pgcache::pg {

template <Datum (*body)(FunctionCallInfo)>
Datum guarded(FunctionCallInfo fcinfo) {
  try {
    return body(fcinfo);
  } catch (...) {
  }
  ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pgcache met an unexpected C++ exception")));
}

}  // namespace pgcache::pg

#define PGCACHE_FUNCTION(name)                                                       \
  extern "C" {                                                                       \
  PGCACHE_EXPORT Datum name(PG_FUNCTION_ARGS);                                       \
  PGCACHE_EXPORT const Pg_finfo_record* pg_finfo_##name(void);                       \
  PG_FUNCTION_INFO_V1(name);                                                         \
  }                                                                                  \
  static Datum name##_body(FunctionCallInfo fcinfo);                                 \
  Datum name(PG_FUNCTION_ARGS) { return pgcache::pg::guarded<name##_body>(fcinfo); } \
  static Datum name##_body([[maybe_unused]] FunctionCallInfo fcinfo)

// What a call costs before any limit comes into it, as src/cache/benchmark_floor.cpp does it for the cache.
#include "limits/limit_row.hpp"
#include "pg/arguments.hpp"
#include "pg/function.hpp"

extern "C" {
#include "utils/memutils.h"
#include "utils/timestamp.h"
}

namespace pgcache {

namespace {

// The row of a call that is allowed; made by a backend's first call.
const HeapTupleHeaderData* constant() {
  static HeapTupleHeader row = nullptr;
  if (likely(row != nullptr)) return row;
  MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
  limits::Verdict verdict{};
  verdict.allowed = true;
  row = reinterpret_cast<HeapTupleHeader>(DatumGetPointer(limit_row(verdict, 1)));
  MemoryContextSwitchTo(caller);
  return row;
}

void take_arguments(FunctionCallInfo fcinfo) {
  pg::required_varlena(fcinfo, 0, "key");
  pg::require_not_null(fcinfo, 1, "quota");
  pg::require_not_null(fcinfo, 2, "period");
  pg::require_not_null(fcinfo, 3, "cost");
}

}  // namespace

}  // namespace pgcache

// (key, quota, period, cost, burst, algorithm, block)
PGCACHE_FUNCTION(pgcache_floor_rate_limit) {
  pgcache::take_arguments(fcinfo);
  pgcache::pg::required_varlena(fcinfo, 5, "algorithm");
  const HeapTupleHeaderData* row = pgcache::constant();
  void* copy = palloc(VARSIZE(row));
  memcpy(copy, row, VARSIZE(row));
  PG_RETURN_POINTER(copy);
}

// (key, quota, period, cost)
PGCACHE_FUNCTION(pgcache_floor_rate_limit_allowed) {
  pgcache::take_arguments(fcinfo);
  PG_RETURN_BOOL(true);
}

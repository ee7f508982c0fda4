// What a call costs before any cache comes into it: functions with the signatures of cache_get and cache_set that take
// their arguments the same way and answer with a constant. scripts/bench measures ours against them.
//
// They are in the module because only a function of the same library, with the same wrapper around it, costs the server
// the same. The extension creates neither: the benchmark does, in its own database.
#include "cache/entries.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
}

namespace pgcache {

namespace {

// The JSON that `SET benchmark.value` gives, as jsonb: read once, by a backend's first call.
const struct varlena* constant() {
  static const struct varlena* value = nullptr;
  if (unlikely(value == nullptr)) {
    const char* json = GetConfigOption("benchmark.value", true, false);
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    value = reinterpret_cast<const struct varlena*>(
        DatumGetPointer(DirectFunctionCall1(jsonb_in, CStringGetDatum(json != nullptr ? json : "null"))));
    MemoryContextSwitchTo(caller);
  }
  return value;
}

}  // namespace

}  // namespace pgcache

// (key)
PGCACHE_FUNCTION(pgcache_floor_get) {
  (void)PG_GETARG_TEXT_PP(0);
  const struct varlena* value = pgcache::constant();
  void* copy = palloc(VARSIZE(value));
  memcpy(copy, value, VARSIZE(value));
  PG_RETURN_POINTER(copy);
}

// (key, value, ttl, mode, keep_ttl, if_version, tags, immediate)
PGCACHE_FUNCTION(pgcache_floor_set) {
  using namespace pgcache;
  pg::required_varlena(fcinfo, 0, "key");
  pg::required_varlena(fcinfo, 1, "value");
  pg::required_varlena(fcinfo, 3, "mode");
  PG_RETURN_BOOL(true);
}

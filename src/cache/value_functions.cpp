// cache_get, cache_set and cache_take in their three kinds.
#include "cache/reading.hpp"
#include "cache/settings.hpp"
#include "cache/storing.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace pgcache {

namespace {

engine::WriteMode mode_argument(FunctionCallInfo fcinfo, int number) {
  const std::string_view mode = pg::view_of(pg::required_varlena(fcinfo, number, "mode"));
  if (likely(mode == "always")) return engine::WriteMode::always;
  if (mode == "if_absent") return engine::WriteMode::if_absent;
  if (mode == "if_present") return engine::WriteMode::if_present;
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                  errmsg("unknown mode: \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(number))),
                  errhint("It must be always, if_absent or if_present.")));
}

// (key, value, ttl, mode, keep_ttl, if_version, tags, immediate)
Datum set(FunctionCallInfo fcinfo, engine::Kind kind) {
  require_cache();
  require_writer();
  SetRequest request;
  request.key = required_key(fcinfo, 0);
  request.kind = kind;
  request.value = checked_value(pg::required_varlena(fcinfo, 1, "value"));
  const TimestampTz now = pg::clock_now();
  request.expiry = expiry_argument(fcinfo, 2, now);
  request.mode = mode_argument(fcinfo, 3);
  if (!PG_ARGISNULL(4) && PG_GETARG_BOOL(4)) {
    if (!PG_ARGISNULL(2))
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                      errmsg("ttl and keep_ttl exclude each other: ttl %s, keep_ttl true",
                             DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(2)))),
                      errhint("Leave one of them out.")));
    request.expiry = engine::Expiry::keep_or(request.expiry.at);
  }
  if (!PG_ARGISNULL(5)) request.if_version = static_cast<engine::Version>(PG_GETARG_INT64(5));
  request.tags = tags_argument(fcinfo, 6);
  request.immediate = !PG_ARGISNULL(7) && PG_GETARG_BOOL(7);
  PG_RETURN_BOOL(set_entry(request, now));
}

// (key)
Datum get(FunctionCallInfo fcinfo, engine::Kinds kinds) {
  require_cache();
  const EntryValue read = read_entry(key_argument(fcinfo, 0), kinds);
  if (read.value == nullptr) PG_RETURN_NULL();
  return datum_of(read);
}

// (key); a write, so a NULL key is an error.
Datum take(FunctionCallInfo fcinfo, engine::Kinds kinds) {
  require_cache();
  require_writer();
  const EntryValue taken = take_entry(required_key(fcinfo, 0), kinds);
  if (taken.value == nullptr) PG_RETURN_NULL();
  return datum_of(taken);
}

constexpr engine::Kinds kText = engine::only(engine::Kind::text);
constexpr engine::Kinds kBytes = engine::only(engine::Kind::bytes);

}  // namespace

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_get) { return pgcache::get(fcinfo, pgcache::kJsonKinds); }

PGCACHE_FUNCTION(pgcache_get_text) { return pgcache::get(fcinfo, pgcache::kText); }

PGCACHE_FUNCTION(pgcache_get_bytes) { return pgcache::get(fcinfo, pgcache::kBytes); }

PGCACHE_FUNCTION(pgcache_take) { return pgcache::take(fcinfo, pgcache::kJsonKinds); }

PGCACHE_FUNCTION(pgcache_take_text) { return pgcache::take(fcinfo, pgcache::kText); }

PGCACHE_FUNCTION(pgcache_take_bytes) { return pgcache::take(fcinfo, pgcache::kBytes); }

PGCACHE_FUNCTION(pgcache_set) { return pgcache::set(fcinfo, pgcache::engine::Kind::json); }

PGCACHE_FUNCTION(pgcache_set_text) { return pgcache::set(fcinfo, pgcache::engine::Kind::text); }

PGCACHE_FUNCTION(pgcache_set_bytes) { return pgcache::set(fcinfo, pgcache::engine::Kind::bytes); }

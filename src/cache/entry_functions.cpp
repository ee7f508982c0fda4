// Functions about one entry, whatever its kind.
#include "cache/own_events.hpp"
#include "cache/reading.hpp"
#include "cache/storing.hpp"

extern "C" {
#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
}

namespace pgcache {

namespace {

TimestampTz timestamp_of(engine::Milliseconds at) { return at * 1000; }

// json and counters as cache_get returns them, text as a JSON string; bytes have no JSON form.
Datum any_value_as_jsonb(const EntryValue& read, bool& is_null) {
  is_null = read.entry.kind == engine::Kind::bytes;
  if (is_null) return Datum{0};
  if (read.entry.kind != engine::Kind::text) return datum_of(read);
  JsonbValue text;
  text.type = jbvString;
  text.val.string.val = VARDATA(read.value);
  text.val.string.len = static_cast<int>(VARSIZE(read.value) - VARHDRSZ);
  return JsonbPGetDatum(JsonbValueToJsonb(&text));
}

}  // namespace

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_exists) {
  using namespace pgcache;
  require_cache();
  PG_RETURN_BOOL(find_entry(key_argument(fcinfo, 0)).has_value());
}

PGCACHE_FUNCTION(pgcache_ttl) {
  using namespace pgcache;
  require_cache();
  const TimestampTz now = pg::clock_now();
  const std::optional<engine::EntryInfo> found = find_entry(key_argument(fcinfo, 0), now);
  if (!found) PG_RETURN_NULL();
  auto* left = static_cast<Interval*>(palloc0(sizeof(Interval)));
  // Counted as an expiry is made: so that it is never more than was given; 0 would mean that there is no end.
  if (found->expires_at != 0)
    left->time = std::max<engine::Milliseconds>(found->expires_at - pg::for_expiry(now), 1) * 1000;
  PG_RETURN_INTERVAL_P(left);
}

// (key, ttl)
PGCACHE_FUNCTION(pgcache_touch) {
  using namespace pgcache;
  require_cache();
  require_writer();
  const engine::Key key = required_key(fcinfo, 0);
  const TimestampTz now = pg::clock_now();
  const engine::Expiry expiry = expiry_argument(fcinfo, 1, now);
  if (have_own_events() && own_state(key).state != OwnState::untouched) PG_RETURN_BOOL(touch_held(key, expiry.at));
  PG_RETURN_BOOL(cache.touch(key, pg::for_reading(now), expiry) == engine::Status::ok);
}

// (found, kind, value, version, expires_at, size_bytes)
PGCACHE_FUNCTION(pgcache_entry) {
  using namespace pgcache;
  require_cache();
  const engine::Key key = key_argument(fcinfo, 0);
  TupleDesc descriptor;
  if (get_call_result_type(fcinfo, nullptr, &descriptor) != TYPEFUNC_COMPOSITE)
    elog(ERROR, "return type must be a row type");
  const EntryValue read = read_entry(key, engine::kAnyKind);
  const bool found = read.value != nullptr;
  Datum values[6] = {BoolGetDatum(found)};
  bool nulls[6] = {false, !found, true, false, !found || read.entry.expires_at == 0, !found};
  values[3] = Int64GetDatum(static_cast<int64_t>(read.entry.version));
  if (found) {
    values[1] = CStringGetTextDatum(kind_name(read.entry.kind));
    values[2] = any_value_as_jsonb(read, nulls[2]);
    values[4] = TimestampTzGetDatum(timestamp_of(read.entry.expires_at));
    values[5] = Int64GetDatum(static_cast<int64_t>(read.entry.size_bytes));
  }
  PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

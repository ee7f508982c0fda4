// cache_incr: atomic on a counter in place; on a JSON integer by compare and set.
#include "cache/reading.hpp"
#include "cache/storing.hpp"
#include "cache/visibility.hpp"

extern "C" {
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
}

namespace pgcache {

namespace {

[[noreturn]] void raise_overflow(int64_t by) {
  ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                  errmsg("counter would overflow: adding %lld leaves the range of bigint", static_cast<long long>(by)),
                  errhint("The counter keeps its value.")));
}

// 42804 unless the entry is a JSON number without a fraction; 22003 if it is no bigint.
int64_t integer_of(struct varlena* json) {
  JsonbValue number;
  if (!JsonbExtractScalar(&reinterpret_cast<Jsonb*>(json)->root, &number) || number.type != jbvNumeric ||
      !DatumGetBool(DirectFunctionCall2(
          numeric_eq, NumericGetDatum(number.val.numeric),
          DirectFunctionCall2(numeric_trunc, NumericGetDatum(number.val.numeric), Int32GetDatum(0)))))
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                    errmsg("the cache entry is of kind json and holds no integer, so it is no counter"),
                    errhint("Delete it first, or count under another key.")));
  return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(number.val.numeric)));
}

struct varlena* json_of(int64_t value) {
  JsonbValue number;
  number.type = jbvNumeric;
  number.val.numeric = int64_to_numeric(value);
  return reinterpret_cast<struct varlena*>(JsonbValueToJsonb(&number));
}

// Nothing if someone else changed the entry meanwhile.
std::optional<int64_t> increment_json(const engine::Key& key, int64_t by) {
  const TimestampTz now = pg::clock_now();
  const EntryValue read = read_shared_entry(key, engine::only(engine::Kind::json), now);
  if (read.value == nullptr) return std::nullopt;
  int64_t sum;
  if (pg_add_s64_overflow(integer_of(read.value), by, &sum)) raise_overflow(by);
  engine::WriteRequest request;
  request.kind = engine::Kind::json;
  request.value = pg::bytes_of(json_of(sum));
  request.expiry = engine::Expiry::keep_or(0);
  request.mode = engine::WriteMode::if_present;
  request.if_version = read.entry.version;
  request.keep_tags = true;
  if (write_at_once(key, request, now) != engine::Status::ok) return std::nullopt;
  return sum;
}

}  // namespace

}  // namespace pgcache

// (key, by, ttl, create_missing)
PGCACHE_FUNCTION(pgcache_incr) {
  using namespace pgcache;
  require_cache();
  require_writer();
  const engine::Key key = required_key(fcinfo, 0);
  for (int number : {1, 3})
    if (PG_ARGISNULL(number))
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                      errmsg("%s must not be null", number == 1 ? "\"by\"" : "create_missing")));
  const int64_t by = PG_GETARG_INT64(1);
  const TimestampTz now = pg::clock_now();
  const engine::Expiry expiry = expiry_argument(fcinfo, 2, now);
  const bool create_missing = PG_GETARG_BOOL(3);
  settle(key, {});
  for (;;) {
    const engine::CounterResult result = cache.increment(key, by, expiry, create_missing, pg::for_reading(now));
    switch (result.status) {
      case engine::Status::ok:
        count(&Counts::sets);
        PG_RETURN_INT64(result.value);
      case engine::Status::not_found:
        PG_RETURN_NULL();
      case engine::Status::out_of_range:
        raise_overflow(by);
      case engine::Status::wrong_kind:
        if (result.kind != engine::Kind::json) raise_wrong_kind(result.kind, engine::only(engine::Kind::counter));
        if (const std::optional<int64_t> sum = increment_json(key, by)) PG_RETURN_INT64(*sum);
        CHECK_FOR_INTERRUPTS();
        break;
      default:
        wait_a_little();
    }
  }
}

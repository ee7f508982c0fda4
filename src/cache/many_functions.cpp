// Many entries in one call.
#include "cache/patterns.hpp"
#include "cache/reading.hpp"
#include "cache/storing.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"
}

namespace pgcache {

namespace {

ReturnSetInfo* begin_rows(FunctionCallInfo fcinfo) {
  InitMaterializedSRF(fcinfo, 0);
  return reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
}

Datum get_many(FunctionCallInfo fcinfo, engine::Kinds kinds) {
  require_cache();
  const pg::Elements keys = pg::elements_of(PG_GETARG_DATUM(0), TEXTOID, "keys", true);
  ReturnSetInfo* rows = begin_rows(fcinfo);
  const TimestampTz now = pg::clock_now();
  auto* checked = static_cast<engine::Key*>(palloc(sizeof(engine::Key) * static_cast<size_t>(keys.count)));
  for (int i = 0; i < keys.count; ++i) {
    if (keys.nulls[i]) continue;
    checked[i] = checked_key(DatumGetTextPP(keys.values[i]));
  }
  for (int i = 0; i < keys.count; ++i) {
    if (keys.nulls[i]) continue;
    CHECK_FOR_INTERRUPTS();
    const EntryValue read = read_entry(checked[i], kinds, now);
    if (read.value == nullptr) continue;
    Datum values[2] = {keys.values[i], datum_of(read)};
    bool nulls[2] = {false, false};
    tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
    pfree(DatumGetPointer(values[1]));
  }
  return Datum{0};
}

// All is checked before the first is stored, so that a bad one leaves nothing behind.
struct Pair {
  engine::Key key;
  engine::Bytes value;
};

// The arguments that follow the pairs: (..., ttl, tags, immediate)
Datum store(FunctionCallInfo fcinfo, int first, const Pair* pairs, int count, engine::Kind kind) {
  const TimestampTz now = pg::clock_now();
  SetRequest request;
  request.kind = kind;
  request.expiry = expiry_argument(fcinfo, first, now);
  request.tags = tags_argument(fcinfo, first + 1);
  request.immediate = !PG_ARGISNULL(first + 2) && PG_GETARG_BOOL(first + 2);
  int64_t stored = 0;
  for (int i = 0; i < count; ++i) {
    CHECK_FOR_INTERRUPTS();
    request.key = pairs[i].key;
    request.value = pairs[i].value;
    stored += set_entry(request, now) ? 1 : 0;
  }
  return Int64GetDatum(stored);
}

Pair* allocate_pairs(int count) {
  return static_cast<Pair*>(palloc(sizeof(Pair) * static_cast<size_t>(std::max(count, 1))));
}

// (keys, values, ttl, tags, immediate)
Datum set_many(FunctionCallInfo fcinfo, engine::Kind kind, Oid element_type) {
  require_cache();
  require_writer();
  for (int number : {0, 1})
    if (PG_ARGISNULL(number))
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                      errmsg("%s must not be null", number == 0 ? "keys" : "new_values")));
  const pg::Elements keys = pg::elements_of(PG_GETARG_DATUM(0), TEXTOID, "keys", false);
  const pg::Elements values = pg::elements_of(PG_GETARG_DATUM(1), element_type, "new_values", false);
  if (keys.count != values.count)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("keys and new_values must be equally many: %d keys, %d values", keys.count, values.count)));
  Pair* pairs = allocate_pairs(keys.count);
  for (int i = 0; i < keys.count; ++i)
    pairs[i] = {checked_key(DatumGetTextPP(keys.values[i])), checked_value(PG_DETOAST_DATUM_PACKED(values.values[i]))};
  return store(fcinfo, 2, pairs, keys.count, kind);
}

engine::ScanBatch* allocate_batch() { return static_cast<engine::ScanBatch*>(palloc(sizeof(engine::ScanBatch))); }

}  // namespace

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_get_many) { return pgcache::get_many(fcinfo, pgcache::kJsonKinds); }

PGCACHE_FUNCTION(pgcache_get_many_text) {
  return pgcache::get_many(fcinfo, pgcache::engine::only(pgcache::engine::Kind::text));
}

PGCACHE_FUNCTION(pgcache_get_many_bytes) {
  return pgcache::get_many(fcinfo, pgcache::engine::only(pgcache::engine::Kind::bytes));
}

PGCACHE_FUNCTION(pgcache_set_many_text) { return pgcache::set_many(fcinfo, pgcache::engine::Kind::text, TEXTOID); }

PGCACHE_FUNCTION(pgcache_set_many_bytes) { return pgcache::set_many(fcinfo, pgcache::engine::Kind::bytes, BYTEAOID); }

// (entries, ttl, tags, immediate)
PGCACHE_FUNCTION(pgcache_set_many) {
  using namespace pgcache;
  require_cache();
  require_writer();
  auto* entries =
      reinterpret_cast<Jsonb*>(PG_DETOAST_DATUM(PointerGetDatum(pg::required_varlena(fcinfo, 0, "entries"))));
  if (!JB_ROOT_IS_OBJECT(entries))
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
             errmsg("entries must be a JSON object, not %s", JB_ROOT_IS_SCALAR(entries) ? "a scalar" : "an array"),
             errhint("Write keys and values as in {\"a\": 1, \"b\": [2]}.")));
  Pair* pairs = allocate_pairs(static_cast<int>(JB_ROOT_COUNT(entries)));
  int count = 0;
  JsonbIterator* iterator = JsonbIteratorInit(&entries->root);
  JsonbValue item;
  for (JsonbIteratorToken token; (token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE;) {
    if (token == WJB_KEY)
      pairs[count].key = checked_key(cstring_to_text_with_len(item.val.string.val, item.val.string.len));
    else if (token == WJB_VALUE)
      pairs[count++].value = checked_value(reinterpret_cast<struct varlena*>(JsonbValueToJsonb(&item)));
  }
  return store(fcinfo, 1, pairs, count, engine::Kind::json);
}

// (pattern, max)
PGCACHE_FUNCTION(pgcache_keys) {
  using namespace pgcache;
  require_cache();
  const text* pattern = PG_GETARG_TEXT_PP(0);
  check_pattern(pattern);
  const int64_t most = PG_GETARG_INT64(1);
  if (most < 0)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("max must not be negative: %lld", static_cast<long long>(most))));
  ReturnSetInfo* rows = begin_rows(fcinfo);
  engine::ScanBatch* batch = allocate_batch();
  int64_t found = 0;
  for (engine::ScanCursor cursor; found < most && cache.scan(cursor, my_database, pg::now_for_reading(), *batch);) {
    CHECK_FOR_INTERRUPTS();
    for (uint32_t i = 0; i < batch->count && found < most; ++i) {
      const auto& entry = batch->entries[i];
      const std::string_view key = batch->key(entry);
      if (!matches_pattern(pattern, key)) continue;
      // The walk does not look at the slots of the keys.
      if (cache.peek(cache.key(my_database, key), pg::now_for_reading()).status != engine::Status::ok) continue;
      ++found;
      Datum values[4] = {PointerGetDatum(cstring_to_text_with_len(key.data(), static_cast<int>(key.size()))),
                         CStringGetTextDatum(kind_name(entry.info.kind)),
                         Int64GetDatum(static_cast<int64_t>(entry.info.size_bytes)),
                         TimestampTzGetDatum(entry.info.expires_at * 1000)};
      bool nulls[4] = {false, false, false, entry.info.expires_at == 0};
      tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
      pfree(DatumGetPointer(values[0]));
      pfree(DatumGetPointer(values[1]));
    }
  }
  return Datum{0};
}

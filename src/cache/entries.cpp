#include "cache/entries.hpp"

#include "cache/settings.hpp"

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
}

namespace pgcache {

namespace {

// What the next value is expected to need, so that one copy is enough: the size of the last one.
size_t expected_bytes = 256;
constexpr size_t kMostExpected = 64 * 1024;

engine::Buffer room_in(struct varlena* value, size_t bytes) {
  return {reinterpret_cast<std::byte*>(VARDATA(value)), bytes};
}

struct varlena* allocate(size_t bytes) {
  return static_cast<struct varlena*>(palloc(VARHDRSZ + bytes));
}

template <typename Read>
EntryValue copy_entry(engine::Kinds kinds, Read read) {
  size_t room = expected_bytes;
  struct varlena* value = allocate(room);
  for (;;) {
    const engine::ReadResult result = read(room_in(value, room));
    if (result.status == engine::Status::ok) {
      count(&Counts::hits);
      SET_VARSIZE(value, VARHDRSZ + result.entry.value_bytes);
      expected_bytes = std::clamp<size_t>(std::bit_ceil(result.entry.value_bytes), 64, kMostExpected);
      return {value, result.entry};
    }
    pfree(value);
    if (result.status == engine::Status::wrong_kind) raise_wrong_kind(result.entry.kind, kinds);
    if (result.status != engine::Status::buffer_too_small) {
      count(&Counts::misses);
      return {nullptr, result.entry};
    }
    room = result.entry.value_bytes;
    value = allocate(room);
  }
}

}  // namespace

engine::Key checked_key(const struct varlena* text) {
  const std::string_view bytes = pg::view_of(text);
  if (unlikely(bytes.empty()))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("cache key must not be empty: ''")));
  if (unlikely(bytes.size() > engine::kMaxKeyBytes))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("cache key is %zu bytes long, the limit is %zu", bytes.size(), engine::kMaxKeyBytes),
                    errdetail("The key begins with \"%s\".",
                              pnstrdup(bytes.data(), pg_mbcliplen(bytes.data(), static_cast<int>(bytes.size()), 64))),
                    errhint("Use a hash of the long part, such as md5().")));
  return cache.key(my_database, bytes);
}

engine::Key required_key(FunctionCallInfo fcinfo, int number) {
  return checked_key(pg::required_varlena(fcinfo, number, "key"));
}

engine::Bytes checked_value(const struct varlena* value) {
  const engine::Bytes bytes = pg::bytes_of(value);
  const uint64_t limit = max_value_size_setting();
  if (unlikely(bytes.size() > limit))
    ereport(ERROR,
            (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
             errmsg("value is %zu bytes long, the limit is %llu", bytes.size(), static_cast<unsigned long long>(limit)),
             errhint("The limit is the smaller of pgcache.max_value_size and a quarter of pgcache.memory.")));
  return bytes;
}

engine::Expiry expiry_argument(FunctionCallInfo fcinfo, int number, TimestampTz now) {
  const engine::Milliseconds ttl =
      PG_ARGISNULL(number) ? default_ttl_setting() : pg::ttl_milliseconds(PG_GETARG_INTERVAL_P(number));
  return ttl == 0 ? engine::Expiry::never() : engine::Expiry::when(pg::for_expiry(now) + ttl);
}

const char* kind_name(engine::Kind kind) {
  switch (kind) {
    case engine::Kind::json:
      return "json";
    case engine::Kind::text:
      return "text";
    case engine::Kind::bytes:
      return "bytes";
    case engine::Kind::counter:
      return "counter";
  }
  return "unknown";
}

void raise_wrong_kind(engine::Kind found, engine::Kinds wanted) {
  auto name = engine::Kind::json;
  for (auto kind : {engine::Kind::counter, engine::Kind::bytes, engine::Kind::text, engine::Kind::json})
    if ((wanted & engine::only(kind)) != 0) name = kind;
  const char* hint = found == engine::Kind::text    ? "Read it with cache_get_text."
                     : found == engine::Kind::bytes ? "Read it with cache_get_bytes."
                                                    : "Read it with cache_get.";
  ereport(ERROR,
          (errcode(ERRCODE_DATATYPE_MISMATCH),
           errmsg("the cache entry is of kind %s, not %s", kind_name(found), kind_name(name)), errhint("%s", hint)));
}

EntryValue read_entry(const engine::Key& key, engine::Kinds kinds, TimestampTz now) {
  return copy_entry(kinds, [&](engine::Buffer buffer) { return cache.read(key, pg::for_reading(now), kinds, buffer); });
}

EntryValue take_entry(const engine::Key& key, engine::Kinds kinds) {
  const engine::Milliseconds now = pg::now_for_reading();
  const EntryValue taken =
      copy_entry(kinds, [&](engine::Buffer buffer) { return cache.take(key, now, kinds, buffer); });
  if (taken.value != nullptr) count(&Counts::deletes);
  return taken;
}

bool write_entry(const engine::Key& key, const engine::WriteRequest& request, TimestampTz now) {
  for (;;) {
    const engine::WriteResult written = cache.write(key, request, pg::for_reading(now));
    if (written.status == engine::Status::ok) {
      count(&Counts::sets);
      return true;
    }
    if (written.status == engine::Status::refused) return false;
    wait_a_little();
  }
}

Datum datum_of(const EntryValue& read) {
  if (read.entry.kind != engine::Kind::counter) return PointerGetDatum(read.value);
  int64_t number;
  memcpy(&number, VARDATA(read.value), sizeof number);
  JsonbValue value;
  value.type = jbvNumeric;
  value.val.numeric = int64_to_numeric(number);
  return JsonbPGetDatum(JsonbValueToJsonb(&value));
}

}  // namespace pgcache

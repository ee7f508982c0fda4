#include "cache/entries.hpp"

#include "cache/settings.hpp"

extern "C" {
#include "access/parallel.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
}

namespace pgcache {

namespace {

uint64_t checked_tag(const struct varlena* text) {
  const std::string_view bytes = pg::view_of(text);
  if (bytes.empty() || bytes.size() > engine::kMaxKeyBytes)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("tag is %zu bytes long, it must have 1 to %zu", bytes.size(), engine::kMaxKeyBytes)));
  return cache.tag(my_database, bytes);
}

}  // namespace

engine::Key checked_key(const struct varlena* text) {
  return cache.key(my_database, pg::checked_key(text, "cache key"));
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

TagHashes tag_hashes(Datum array) {
  const pg::Elements tags = pg::elements_of(array, TEXTOID, "tags", false);
  auto* hashes = static_cast<uint64_t*>(palloc(sizeof(uint64_t) * static_cast<size_t>(std::max(tags.count, 1))));
  for (int i = 0; i < tags.count; ++i) hashes[i] = checked_tag(DatumGetTextPP(tags.values[i]));
  std::sort(hashes, hashes + tags.count);
  return {hashes, static_cast<uint32_t>(std::unique(hashes, hashes + tags.count) - hashes)};
}

engine::TagSlots tags_argument(FunctionCallInfo fcinfo, int number) {
  engine::TagSlots slots;
  if (PG_ARGISNULL(number)) return slots;
  const TagHashes tags = tag_hashes(PG_GETARG_DATUM(number));
  if (tags.count > engine::kMaxTags)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("an entry may have %u tags, these are %u", engine::kMaxTags, tags.count),
                    errhint("Use one tag for what is always invalidated together.")));
  std::transform(tags.hashes, tags.hashes + tags.count, slots.slots,
                 [](uint64_t hash) { return cache.tag_slot_number(hash); });
  std::sort(slots.slots, slots.slots + tags.count);
  slots.count = static_cast<uint32_t>(std::unique(slots.slots, slots.slots + tags.count) - slots.slots);
  return slots;
}

void require_writer() {
  if (likely(!IsParallelWorker())) return;
  ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE), errmsg("cannot change the cache in a parallel worker"),
                  errhint("Mark the function that does it PARALLEL UNSAFE.")));
}

}  // namespace pgcache

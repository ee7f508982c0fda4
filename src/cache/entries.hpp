// What the SQL functions of this room share: keys, values and options checked, entries read and written, refusals
// reported. All of it may ERROR; the engine's calls inside hold their lock only while they run.
#pragma once

#include "cache/shared_cache.hpp"
#include "engine/cache.hpp"
#include "pg/arguments.hpp"
#include "pg/clock.hpp"
#include "pg/function.hpp"

namespace pgcache {

// The key, of 1 to 1,024 bytes; 22023 otherwise. Points into `text`.
engine::Key checked_key(const struct varlena* text);
// For functions that are STRICT, and for those that are not: 22004 if NULL.
inline engine::Key key_argument(FunctionCallInfo fcinfo, int number) { return checked_key(PG_GETARG_TEXT_PP(number)); }
engine::Key required_key(FunctionCallInfo fcinfo, int number);

// 54000 if it is over pgcache.max_value_size.
engine::Bytes checked_value(const struct varlena* value);

// When an entry with this ttl ends; pgcache.default_ttl stands for NULL.
engine::Expiry expiry_argument(FunctionCallInfo fcinfo, int number, TimestampTz now);

// 42804 naming both kinds.
[[noreturn]] void raise_wrong_kind(engine::Kind found, engine::Kinds wanted);
const char* kind_name(engine::Kind kind);

// An entry's value as a new varlena in the caller's memory context; nullptr on a miss. 42804 for a kind not wanted.
// Counts a hit or a miss.
struct EntryValue {
  struct varlena* value;
  engine::EntryInfo entry;
};
EntryValue read_entry(const engine::Key& key, engine::Kinds kinds, TimestampTz now = pg::clock_now());
EntryValue take_entry(const engine::Key& key, engine::Kinds kinds);

// Stores, waiting while other writers hold the memory; false if mode or if_version said no.
bool write_entry(const engine::Key& key, const engine::WriteRequest& request, TimestampTz now);

// The value as SQL sees it: a counter as a JSON number, everything else as it was stored.
Datum datum_of(const EntryValue& read);

constexpr engine::Kinds kJsonKinds = engine::only(engine::Kind::json) | engine::only(engine::Kind::counter);

}  // namespace pgcache

// What the SQL functions of this room share: keys, values, tags and options checked. All of it may ERROR.
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

// The slots of the tags, none if NULL: 22023 for too many or too long ones, 22004 for a NULL among them.
engine::TagSlots tags_argument(FunctionCallInfo fcinfo, int number);
// Their hashes, without duplicates, in ascending order.
struct TagHashes {
  uint64_t* hashes;
  uint32_t count;
};
TagHashes tag_hashes(Datum array);

// 25000 in a parallel worker: what it did, its leader's transaction would not know.
void require_writer();

constexpr engine::Kinds kJsonKinds = engine::only(engine::Kind::json) | engine::only(engine::Kind::counter);

}  // namespace pgcache

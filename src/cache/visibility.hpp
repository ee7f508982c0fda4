// Which entries a snapshot may take, and which values may be stored: the reading side of the protocol that
// engine/versions.hpp states. All of it may ERROR, and must be called without a lock.
#pragma once

#include "cache/shared_cache.hpp"
#include "engine/cache.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

// Whether the active snapshot may take an entry of that version: it sees every invalidation of what the entry depends
// on, and none of those has committed that is not counted yet. On a standby it may take any.
bool may_take(const engine::Key& key, engine::Version version, const engine::Evidence& evidence);

// Counts what prepared transactions that have ended have invalidated of the key, the tags and the whole database.
void settle(const engine::Key& key, std::span<const uint32_t> tags);

// Whether an invalidation of what the entry depends on has committed that is not counted yet, whatever the snapshot.
bool is_due(const engine::Key& key, const engine::Evidence& evidence);

// Whether nobody has invalidated what a held set depends on, after that number.
bool nothing_since(uint64_t key_hash, std::span<const uint32_t> tags, engine::Version number);

// The number that a miss gives: what is stored after it must not have been invalidated later. `sequence` was read after
// the active snapshot was taken; 0, which nothing fits, if that does not see all that was invalidated until then.
engine::Version number_of_miss(engine::Version sequence);

// What a value was computed from: whatever the statements that run have read, or rows of the active snapshot alone.
enum class ValueOf : uint8_t { running_statements, active_snapshot };

// Whether a value that was computed until now may be stored under the key: the active snapshot and the outermost one
// see all invalidations of what it depends on, and none came after `missed_at`. If so, `known` says until when that is
// so; the engine refuses what comes later.
bool may_store(const engine::Key& key, const engine::TagSlots& tags, std::optional<engine::Version> missed_at,
               engine::KnownStamps& known, ValueOf value_of = ValueOf::running_statements);

// False on a standby, where nobody knows what the primary invalidates.
bool cache_is_exact();

}  // namespace pgcache

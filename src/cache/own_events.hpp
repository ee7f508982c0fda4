// What this transaction has done to the cache and nobody else sees yet: held sets, deletions, invalidated tags.
//
// Contract
//  - They take effect when the transaction has committed, and not at all if it rolls back; a savepoint's go with it.
//  - The later of two events on a key wins; an invalidation of a tag, a pattern or the database ends what was held
//    before.
//  - A lone statement's invalidations happen at once, before they are noted. They are early events: its own transaction
//    does not see them, but if it turns out to write rows they happen again at its commit, because somebody may have
//    computed a value from the old rows in between.
//  - Invalidations never fail for lack of room: beyond kMostInvalidations the slot is noted instead of the key or tag,
//    and where those are many, the whole database. A savepoint's rollback does not
//    take those back.
//  - The memory is the transaction's; publication.cpp reads it after the commit, when nothing may be allocated.
#pragma once

#include "engine/cache.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

constexpr uint32_t kMostInvalidations = 65'536;

// One piece of memory; key and value lie behind it.
struct HeldSet {
  engine::Kind kind;
  uint32_t value_bytes;
  uint32_t key_bytes;
  engine::Milliseconds expires_at;  // 0: never
  engine::Version version;          // what cache_entry shows the own transaction
  engine::Version called_at;        // the cache's sequence then: nobody may have invalidated since
  engine::WriteMode mode;           // what must be so when it is published
  std::optional<engine::Version> if_version;
  std::optional<engine::Version> unwritten_since;
  uint32_t tags;
  uint32_t slots[];  // of the tags

  [[nodiscard]] std::span<const uint32_t> tag_slots() const { return {slots, tags}; }
  [[nodiscard]] const char* key_at() const { return reinterpret_cast<const char*>(slots + tags); }
  [[nodiscard]] std::string_view key() const { return {key_at(), key_bytes}; }
  [[nodiscard]] engine::Bytes value() const {
    return {reinterpret_cast<const std::byte*>(key_at() + key_bytes), value_bytes};
  }
  [[nodiscard]] size_t bytes() const { return sizeof(HeldSet) + tags * sizeof(uint32_t) + key_bytes + value_bytes; }
};

enum class OwnState : uint8_t { untouched, gone, held };
struct Own {
  OwnState state;
  const HeldSet* held;
};

namespace internal {
extern bool own_events;
}

inline bool have_own_events() { return unlikely(internal::own_events); }

// Whether what is done now takes effect at commit: in a transaction block, in a transaction that has an id, or in a
// statement that will give it one.
bool events_are_held();

// Only where there are own events.
Own own_state(const engine::Key& key);
inline Own own_state_of(const engine::Key& key) {
  return have_own_events() ? own_state(key) : Own{OwnState::untouched, nullptr};
}
// Of an entry that others see, on which there is no own event: whether this transaction has invalidated it otherwise.
bool own_invalidation_ends(const engine::Key& key, std::span<const uint32_t> tags);

bool own_pattern_matches(std::string_view key, bool with_early);

// 54000 if the transaction's held sets would take more than pgcache.transaction_memory. `like` gives everything but the
// key, the value and the tags.
void hold_set(const engine::Key& key, const HeldSet& like, engine::Bytes value, std::span<const uint32_t> tags);
// An early one unless events are held.
void note_deleted(const engine::Key& key);
// What stands there may be older than what this transaction has written: a watched row's, or that of a set that was
// refused.
void note_outdated(const engine::Key& key);
void note_invalidated(engine::SlotNumber tag);
void note_pattern(const struct varlena* pattern);
void note_cleared();
// Whether the whole database is invalidated already, and nothing is held that an invalidation now would end.
bool everything_is_invalidated();
// Visits what is held and not ended by a later event.
void visit_held(void (*visit)(const HeldSet& held, void* argument), void* argument);

// For the publication. No event comes after it is closed: 25000.
void close_own_events();
// In the order of events; `key_hash` is of held and deleted keys.
enum class EventKind : uint8_t { held, deleted, outdated, tag, pattern, clear };
struct OwnEvent {
  EventKind kind;
  uint64_t key_hash;
  engine::SlotNumber slot;
  const HeldSet* held;
  bool deletes;  // the key, if only before it is set anew
  bool early;
};
uint32_t own_event_count();
// Nothing if a later event on the same has taken its place.
std::optional<OwnEvent> own_event(uint32_t number);
// Whether a held set is still to be published, or a later invalidation of its tags or the database has ended it.
bool is_still_held(uint32_t number);
// The whole database is invalidated. Then only what is still held counts besides.
bool own_clear();
void visit_invalidated_slots(void (*visit)(engine::SlotNumber slot, void* argument), void* argument, bool with_early);

void roll_back_own_events(SubTransactionId subtransaction);
// Frees all.
void forget_own_events();
// Memory that lives as long.
MemoryContext own_events_context();

}  // namespace pgcache

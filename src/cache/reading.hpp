// Reading entries as this transaction may see them: its own held sets first, then what is shared, by the rules of
// visibility.hpp. All of it may ERROR.
#pragma once

#include "cache/entries.hpp"
#include "cache/fetched_value.hpp"

namespace pgcache {

// An entry's value as a new varlena in the caller's memory context; nullptr on a miss. 42804 for a kind not wanted.
// Counts a hit or a miss, and remembers the miss.
struct EntryValue {
  struct varlena* value;
  engine::EntryInfo entry;  // on a miss: its version alone
  FetchedHeader fetched = {};
};
EntryValue read_entry(const engine::Key& key, engine::Kinds kinds, TimestampTz now = pg::clock_now());
// The same, but not counted.
EntryValue look_up(const engine::Key& key, engine::Kinds kinds, TimestampTz now = pg::clock_now());

// The entry alone; counts as no use of it. Remembers a miss.
std::optional<engine::EntryInfo> find_entry(const engine::Key& key, TimestampTz now = pg::clock_now());
// Whether there is one, for who counts entries and asks for none: remembers nothing.
bool is_visible(const engine::Key& key);

// What is shared, whatever this transaction or its snapshot says: for functions that act at once.
EntryValue read_shared_entry(const engine::Key& key, engine::Kinds kinds, TimestampTz now);
EntryValue take_entry(const engine::Key& key, engine::Kinds kinds);

// The value as SQL sees it: a counter as a JSON number, everything else as it was stored.
Datum datum_of(const EntryValue& read);

}  // namespace pgcache

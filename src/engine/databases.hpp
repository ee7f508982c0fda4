// The databases whose entries the cache holds, and what is counted for each.
#pragma once

#include "shared.hpp"
#include "types.hpp"
#include "versions.hpp"

namespace pgcache::engine {

// Read without a lock; the counters are sums of relaxed additions.
struct alignas(64) Database {
  VersionSlot slot;    // of all its entries; changes under the databases' lock
  uint32_t oid;        // 0: nobody's. Set under the databases' lock
  Version registered;  // the slot's stamp when its owner got the number
  // Entries with versions above the first and up to the second are no more: they came while a transaction was looking
  // for the keys that it would delete. 0: there was no such time.
  Version gap_from;
  Version gap_to;
  // Apart from what every read looks at.
  alignas(64) int64_t items;
  int64_t bytes;
  uint64_t evictions;
  uint64_t expirations;
  uint32_t clearing;  // callers that sweep what they have invalidated, and count it
};
static_assert(Shareable<Database> && sizeof(Database) == 192);

}  // namespace pgcache::engine

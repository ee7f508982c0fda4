// The databases whose entries the cache holds, and what is counted for each.
#pragma once

#include "shared.hpp"
#include "types.hpp"

namespace pgcache::engine {

// Read without a lock; the counters are sums of relaxed additions.
struct alignas(64) Database {
  uint32_t oid;   // 0: nobody's. Set under the databases' lock
  Version floor;  // entries up to it are no more
  Version fence;  // fills whose miss was up to it are refused
  // Apart from what every read looks at.
  alignas(64) int64_t items;
  int64_t bytes;
  uint64_t evictions;
  uint64_t expirations;
  uint32_t clearing;  // callers that sweep what they have invalidated, and count it
};
static_assert(Shareable<Database> && sizeof(Database) == 128);

}  // namespace pgcache::engine

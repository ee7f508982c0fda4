// The rules of the commit-exact protocol, each of which a test build can switch off, to see that the stale-read checker
// notices: COPT=-DPGCACHE_WITHOUT=seen. Elsewhere all of them hold, and `rule` costs nothing.
#pragma once

#include <cstdint>

namespace pgcache::engine {

enum class Rule : uint8_t {
  none,
  stamp,              // what is counted ends older entries
  pending,            // a hit waits for no pending invalidation, but is none once that has committed
  seen,               // a hit needs a snapshot that sees what was invalidated
  strict,             // where the snapshot's end alone does not say so, its running transactions are asked
  latest,             // the count notes the latest transaction that has completed, not only its own
  seen_at_fill,       // a value is stored only if its snapshot sees what was invalidated
  miss_number,        // and if nothing was since the miss that it follows
  publish_count,      // a held set counts as an invalidation of its key
  publish_check,      // and is published only if nobody else has invalidated since the call
  bare_delete,        // a delete without transaction id tells which snapshots are too old for it
  outermost,          // the snapshot of the outermost statement must see it too, not only that of the active one
  miss_snapshot,      // a miss under an old snapshot gives no number
  prepared_at_start,  // transactions that were prepared before the cache began are pending on the whole database
};

#ifndef PGCACHE_WITHOUT
#define PGCACHE_WITHOUT none
#endif

constexpr Rule kWithout = Rule::PGCACHE_WITHOUT;

constexpr bool holds(Rule rule) noexcept { return kWithout == Rule::none || rule != kWithout; }

}  // namespace pgcache::engine

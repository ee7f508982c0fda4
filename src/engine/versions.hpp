// What has happened to keys that are no longer there to tell: a slot stands for all keys whose hash falls on it, so a
// question about one key may be answered "changed" because of another, never "unchanged" by mistake.
#pragma once

#include <algorithm>

#include "shared.hpp"
#include "types.hpp"

namespace pgcache::engine {

// One cache line. A key's slot belongs to the key's shard and changes under its lock.
struct alignas(64) VersionSlot {
  Version stamp;    // the last delete: no value computed before it may be stored after it
  Version written;  // the last write
  // Of invalidations that a transaction has announced or made; see how-it-works. Zero while nothing is transactional.
  uint64_t max_xid;
  uint64_t horizon;
  uint64_t done;
  uint64_t pending[3];

  [[nodiscard]] Version changed() const noexcept { return std::max(stamp, written); }
};
static_assert(Shareable<VersionSlot> && sizeof(VersionSlot) == 64);

}  // namespace pgcache::engine

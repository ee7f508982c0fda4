// Counts the bytes and items touched while a lock is held. Compiled in for unit tests, which assert the bounds below;
// nothing otherwise.
#pragma once

#include <cstdint>

#include "geometry.hpp"
#include "index.hpp"
#include "record.hpp"

namespace pgcache::engine {

// What one lock hold may touch, whichever is more: every record of a segment, read and moved; or the records of all
// buckets that a search may visit (when their hashes collide; one or two otherwise), twice where a counter is made, and
// the one record that is written.
constexpr uint64_t kMaxBytesPerHold =
    2 * (kSegmentBytes + uint64_t{kMaxProbes} * kBucketEntries * (kRecordHeaderBytes + kMaxKeyBytes));
constexpr uint64_t kMaxItemsPerHold = 2 * (kSegmentBytes / (kRecordHeaderBytes + 1) + kMaxProbes * kBucketEntries);

#ifdef PGCACHE_WORK_METER
struct WorkMeter {
  uint64_t bytes = 0;
  uint64_t items = 0;
  uint64_t most_bytes = 0;
  uint64_t most_items = 0;
  uint64_t holds = 0;
};
inline thread_local WorkMeter work_meter;

inline void work_begins() noexcept { work_meter.bytes = work_meter.items = 0; }
inline void work_ends() noexcept {
  ++work_meter.holds;
  if (work_meter.bytes > work_meter.most_bytes) work_meter.most_bytes = work_meter.bytes;
  if (work_meter.items > work_meter.most_items) work_meter.most_items = work_meter.items;
}
inline void touched(uint64_t items, uint64_t bytes) noexcept {
  work_meter.items += items;
  work_meter.bytes += bytes;
}
#else
inline void work_begins() noexcept {}
inline void work_ends() noexcept {}
inline void touched(uint64_t, uint64_t) noexcept {}
#endif

}  // namespace pgcache::engine

// What the engine's own files share and its callers do not see.
#pragma once

#include "cache.hpp"
#include "work_meter.hpp"

namespace pgcache::engine {

struct Cache::Header {
  uint64_t memory;
  uint64_t secret;
  alignas(64) Version sequence;
  alignas(64) Transaction latest_done;
  alignas(64) uint32_t large_segments;  // promised to writers that are still copying
  alignas(64) uint32_t reclaim_hand;
  FreeStack free_stack;
};

// A shard's lock, or with kDatabasesLock the one of the table of databases, for the scope.
class Cache::Hold {
 public:
  Hold(const Cache& cache, uint32_t lock, bool exclusive) noexcept
      : environment_(cache.environment_), lock_(lock), exclusive_(exclusive) {
    environment_.lock(environment_.context, lock_, exclusive_);
    work_begins();
  }
  ~Hold() noexcept {
    work_ends();
    environment_.unlock(environment_.context, lock_, exclusive_);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  const Environment& environment_;
  uint32_t lock_;
  bool exclusive_;
};

// The large part is the record's once the record is in the index; until then it goes back to the free stack with this.
struct Cache::Incoming {
  TagSlots kept_tags;
  std::span<const uint32_t> tags;
  LargeValue large{0, kNone, kNone, 0};
  Bytes inline_part;
  bool is_large = false;
  bool returns = false;  // evicted not long ago: it goes straight to the main queue

  [[nodiscard]] uint32_t inline_bytes() const noexcept {
    return static_cast<uint32_t>(inline_part.size() + (is_large ? sizeof(LargeValue) : 0));
  }
};

inline uint16_t Cache::shard_of(const Key& key) const noexcept {
  return static_cast<uint16_t>(HashParts{key.hash}.shard(geometry_.shards));
}

inline Index Cache::index(uint16_t shard) const noexcept {
  const uint64_t first = uint64_t{shard} * geometry_.buckets_per_shard;
  return {buckets_ + first, ghosts_ + first, geometry_.buckets_per_shard, shards_[shard].entries};
}

inline VersionSlot& Cache::slot(const Key& key) const noexcept { return slots_[slot_number(key.hash)]; }

// A time as records and segments keep it.
inline Milliseconds storable(Milliseconds at) noexcept { return std::clamp<Milliseconds>(at, 1, kMaxExpiry); }

inline bool Cache::expired(const Record& record, Milliseconds now) const noexcept {
  const Milliseconds expiry = record.expiry();
  return expiry != 0 && storable(now) >= expiry;
}

inline bool Cache::tag_ended(const Record& record) const noexcept {
  bool over = false;
  const Version version = record.version();
  if (record.tagged())
    record.visit_tags([&](uint32_t slot) noexcept { return !(over = version <= load_acquire(slots_[slot].floor)); });
  return over;
}

inline bool Cache::invalidated(const Record& record) const noexcept {
  const Database& database = databases_[record.database()];
  const Version version = record.version();
  if (version <= load_acquire(database.slot.floor)) return true;
  if (version <= load_acquire(database.gap_to) && version > load_relaxed(database.gap_from)) return true;
  return tag_ended(record);
}

inline bool Cache::ended(const Record& record, Milliseconds now) const noexcept {
  return expired(record, now) || invalidated(record);
}

inline bool Cache::uncounted(const VersionSlot& slot, Version since) noexcept {
  return load_acquire(slot.counting) == 0 && load_acquire(slot.stamp) <= since;
}

// Used in the small queue, or in the main one for it.
inline bool worth_keeping(const SegmentMeta& meta, const Record& record) noexcept {
  return meta.queue == QueueName::main || record.frequency() > 0;
}

inline uint64_t footprint(const Record& record, uint32_t address_shift) noexcept {
  return record.size(address_shift) + (record.large() ? uint64_t{record.large_value().segments} * kSegmentBytes : 0);
}

}  // namespace pgcache::engine

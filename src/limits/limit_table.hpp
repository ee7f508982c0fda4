// The counts of rate limits, and what a call does to them: in a fixed budget of bytes, for many processes.
//
// Contract
//
//  - A call is one step: it finds the count, judges and charges it under one lock, so that of many at once exactly as
//    many are allowed as the limit says.
//
//  - A count, and a block, stays until it has run off, and so equals none. Only then another key may take its place.
//    Where a key finds no place, the caller says whether it is allowed; nothing else gives way.
//
//  - Counts are named by 128 bits of two keyed hashes of database and key, and by algorithm and period. Two keys whose
//    hashes agree would share a count, which could only deny more. A reset goes by the first 64 bits.
//
//  - Locks: one for each partition, and a key belongs to one. No two are held at once. A hold looks at the key's two
//    buckets, at the other buckets of their cells where both are full, and at their logs, of at most kMaxExactQuota
//    hits each, where the clock was set back; at one list of denied keys; and at kBucketsPerHold buckets where logs
//    that have run off are sought.
//
//  - The clock is read before the lock is taken; partition.hpp (Moment) says what becomes of a cell that was charged
//    later. It is read twice at most, and once more for each kBucketsPerHold buckets that are searched.
//
//  - Nothing allocates, nothing fails but for lack of room. The memory may be copied while nobody uses it, and
//    attached elsewhere, if `belongs` says so.
#pragma once

#include "engine/environment.hpp"
#include "engine/types.hpp"
#include "limits/partition.hpp"

namespace pgcache::limits {

constexpr uint32_t kPartitions = 32;

struct Secrets {
  uint64_t first;
  uint64_t second;
};

// Called without a lock; what leaves it by longjmp leaves the call, which has changed nothing that counts.
using Clock = int64_t (*)();

struct Totals {
  uint64_t cells;
  uint64_t cells_max;
  uint64_t log_entries;
  uint64_t log_entries_max;
  uint64_t bytes;
  int64_t allowed;
  int64_t denied;
  int64_t forgotten;
  int64_t no_room;
  int64_t since;
};

// So that a partition's logs hold a whole quota of exact.
constexpr uint64_t kMinTableBytes = uint64_t{4} * 1024 * 1024;

class LimitTable {
 public:
  LimitTable() noexcept = default;

  // memory: 64-byte aligned, kMinTableBytes or more, the same for all that attach it. The environment brings
  // kPartitions locks.
  static LimitTable format(engine::Buffer memory, const engine::Environment& environment, const Secrets& secrets,
                           int64_t now) noexcept;
  static LimitTable attach(engine::Buffer memory, const engine::Environment& environment) noexcept;
  // Whether the bytes at the front are those of a table that was formatted with so much memory.
  static constexpr size_t kFrontBytes = 128;
  static bool belongs(const std::byte* front, uint64_t bytes) noexcept;

  [[nodiscard]] Key key(uint32_t database, std::string_view text) const noexcept;

  // Takes the cost if it is there. One of 0 is a look.
  Verdict charge(const Key& key, const Request& request, Clock clock) noexcept;
  Verdict peek(const Key& key, const Request& request, Clock clock) noexcept;
  Verdict refund(const Key& key, const Request& request, Clock clock) noexcept;

  // The end of the block; 0: there was no room.
  int64_t block(const Key& key, int64_t duration, Clock clock) noexcept;
  bool unblock(const Key& key, Clock clock) noexcept;
  // The number of counts that were not fresh.
  uint32_t reset(const Key& key, Clock clock) noexcept;

  [[nodiscard]] Totals totals() const noexcept;
  void reset_totals(int64_t now) noexcept;

  // Of a partition; all together are the list.
  void copy_denied(uint32_t partition, DeniedKeys& copy) const noexcept;

 private:
  struct Front;
  struct Geometry;
  class Lock;

  static Geometry geometry(uint64_t bytes) noexcept;
  LimitTable(engine::Buffer memory, const engine::Environment& environment) noexcept;

  [[nodiscard]] Partition partition(uint32_t number) const noexcept;
  // Calls step(call, clock) under the lock of the key's partition, until it answers.
  template <typename Step>
  Verdict until_answered(const Key& key, Clock clock, Step step) noexcept;

  Front* front_ = nullptr;
  PartitionState* states_ = nullptr;
  Bucket* buckets_ = nullptr;
  LogBlock* logs_ = nullptr;
  uint32_t buckets_each_ = 0;  // of a partition
  uint32_t logs_each_ = 0;
  engine::Environment environment_{};
};

}  // namespace pgcache::limits

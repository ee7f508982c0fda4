// How often flags were evaluated, by result and variant: for many processes, in a fixed number of places. Pure.
//
// Contract
//
//  - A place belongs to a flag of a database, or to one of its variants. Where a new one finds its places taken,
//    the one that was seen least recently gives way, with its counts.
//
//  - Locks: one for each partition; a place belongs to one. Adding to a place takes it shared, making one
//    exclusive. No two are held at once. A hold looks at kWays places.
#pragma once

#include <array>

#include "engine/environment.hpp"
#include "engine/shared.hpp"
#include "flags/flag.hpp"

namespace pgcache::flags {

struct CountKey {
  uint64_t flag;  // 0: no flag that exists
  uint32_t database;
  uint32_t table;            // whose flag it is: ids begin anew with each CREATE EXTENSION
  std::string_view variant;  // at most kLongestCounted bytes; empty: the flag itself
};

struct Counted {
  CountKey key;
  Counts counts;
  int64_t last;
};

class CountTable {
 public:
  static constexpr uint32_t kPartitions = 16;
  static constexpr uint32_t kWays = 8;
  static constexpr uint32_t kPlaces = 16'384;
  static constexpr size_t kLongestCounted = 128;

  CountTable() noexcept = default;
  static constexpr size_t bytes() noexcept;
  // memory: bytes() of it, 64-byte aligned. The environment brings kPartitions locks; its hash is not used.
  static CountTable format(void* memory, const engine::Environment& environment, int64_t now) noexcept;
  static CountTable attach(void* memory, const engine::Environment& environment) noexcept;

  void add(const CountKey& key, const Counts& counts, int64_t now) noexcept;
  // Of a database's table. Its counts begin anew.
  void reset(uint32_t database, uint32_t table, int64_t now) noexcept;
  // When they began: the last reset, or the server's start.
  int64_t since(uint32_t database, uint32_t table) const noexcept;

  // Calls visit(counted) for each of a database's table, from copies, without a lock. The variant's name stays during
  // the call.
  template <typename Visit>
  void visit(uint32_t database, uint32_t table, Visit visit) const;

 private:
  // The flag of a place that only remembers when it was made.
  static constexpr uint64_t kReset = UINT64_MAX;

  struct Front {
    alignas(64) int64_t since;
  };

  struct Place {
    uint64_t flag;
    uint32_t database;  // 0: free
    uint32_t table;
    Counts counts;
    int64_t last;
    uint64_t variant_bytes;
    char variant[kLongestCounted];
  };
  static_assert(engine::Shareable<Place>);

  class Lock;

  static constexpr uint32_t kSets = kPlaces / kWays;

  CountTable(void* memory, const engine::Environment& environment) noexcept;
  static bool is_of(const Place& place, const CountKey& key) noexcept;
  Place* find(uint32_t set, const CountKey& key) const noexcept;
  Place& make(uint32_t set, const CountKey& key) noexcept;
  // False if it may have to be made under the exclusive lock first.
  bool add_to(uint32_t set, const CountKey& key, const Counts& counts, int64_t now, bool exclusive) noexcept;
  std::array<Place, kWays> copy_of(uint32_t set) const noexcept;

  Front* front_ = nullptr;
  Place* places_ = nullptr;
  engine::Environment environment_{};
};

constexpr size_t CountTable::bytes() noexcept { return sizeof(Front) + sizeof(Place) * kPlaces; }

template <typename Visit>
void CountTable::visit(uint32_t database, uint32_t table, Visit visit) const {
  for (uint32_t set = 0; set < kSets; ++set) {
    for (const Place& copy : copy_of(set)) {
      if (copy.database != database || copy.table != table || copy.flag == kReset) continue;
      visit(
          Counted{{copy.flag, copy.database, copy.table, {copy.variant, copy.variant_bytes}}, copy.counts, copy.last});
    }
  }
}

}  // namespace pgcache::flags

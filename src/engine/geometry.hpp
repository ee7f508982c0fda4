// How a budget of bytes is cut into the parts of the cache. A pure function of the budget, so every process that
// attaches computes the same cut.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pgcache::engine {

constexpr uint32_t kSegmentBytes = 16 * 1024;
constexpr uint64_t kMinMemory = uint64_t{4} << 20;
constexpr uint64_t kMaxMemory = uint64_t{1} << 40;

struct Geometry {
  uint64_t memory;
  uint32_t shards;             // a power of two
  uint32_t address_shift;      // records start at multiples of 1 << address_shift bytes
  uint32_t buckets_per_shard;  // index buckets, and as many ghost sets
  uint32_t slots_per_shard;    // version slots: half of them for keys, half for tags; a power of two
  uint32_t segments;

  // Offsets from the start of the memory, multiples of 64.
  uint64_t databases_at;
  uint64_t shards_at;
  uint64_t slots_at;
  uint64_t buckets_at;
  uint64_t ghosts_at;
  uint64_t metas_at;
  uint64_t segments_at;

  // memory is rounded down to what can be used; below kMinMemory or above kMaxMemory it is clamped.
  static Geometry of(uint64_t memory) noexcept;

  // Keys' slots come first in each shard.
  [[nodiscard]] uint32_t key_slots_per_shard() const noexcept { return slots_per_shard / 2; }
  [[nodiscard]] uint64_t record_bytes() const noexcept { return uint64_t{segments} * kSegmentBytes; }
  // Values over this can never be stored: a few writers of such values together must leave most of the memory to
  // others.
  [[nodiscard]] uint64_t max_value_bytes() const noexcept { return memory / 4; }
};

}  // namespace pgcache::engine

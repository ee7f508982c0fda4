#include "geometry.hpp"

#include <algorithm>
#include <bit>

#include "databases.hpp"
#include "index.hpp"
#include "segments.hpp"
#include "shard.hpp"
#include "versions.hpp"

namespace pgcache::engine {

namespace {

// One bucket for so many bytes of memory: at entries of 100 bytes the index is about four fifths full.
constexpr uint64_t kBytesPerBucket = 1024;
constexpr uint64_t kBytesPerSlot = 8192;  // for keys, and as many for tags
constexpr uint64_t kBytesPerShard = uint64_t{4} << 20;
static_assert(kBytesPerShard / kBytesPerBucket > 2 * UINT8_MAX + 1, "a step of a search may wrap around once");
constexpr uint32_t kMaxShards = 256;
constexpr uint64_t kHeaderBytes = 512;  // cache.cpp asserts that the header fits

}  // namespace

Geometry Geometry::of(uint64_t memory) noexcept {
  Geometry g{};
  g.memory = std::clamp(memory, kMinMemory, kMaxMemory) & ~uint64_t{63};
  g.shards = static_cast<uint32_t>(std::bit_floor(std::min<uint64_t>(g.memory / kBytesPerShard, kMaxShards)));
  // Addresses are 32 bits wide and every byte of memory has one.
  g.address_shift = static_cast<uint32_t>(std::bit_width((g.memory - 1) >> 32));
  g.buckets_per_shard = static_cast<uint32_t>(std::min<uint64_t>(g.memory / kBytesPerBucket / g.shards, UINT32_MAX));
  g.slots_per_shard = 2 * static_cast<uint32_t>(std::bit_floor(g.memory / kBytesPerSlot / g.shards));

  uint64_t at = kHeaderBytes;
  const auto part = [&at](uint64_t bytes) {
    const uint64_t start = at;
    at += (bytes + 63) & ~uint64_t{63};
    return start;
  };
  g.databases_at = part(uint64_t{kMaxDatabases} * sizeof(Database));
  g.shards_at = part(uint64_t{g.shards} * sizeof(Shard));
  g.slots_at = part(uint64_t{g.shards} * g.slots_per_shard * sizeof(VersionSlot));
  g.buckets_at = part(uint64_t{g.shards} * g.buckets_per_shard * sizeof(Bucket));
  g.ghosts_at = part(uint64_t{g.shards} * g.buckets_per_shard * sizeof(GhostSet));
  g.segments = static_cast<uint32_t>((g.memory - at) / (kSegmentBytes + sizeof(SegmentMeta)));
  g.metas_at = part(uint64_t{g.segments} * sizeof(SegmentMeta));
  g.segments_at = at;
  return g;
}

}  // namespace pgcache::engine

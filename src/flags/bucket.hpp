// Where a context falls: MurmurHash3 of "group:id", cut into a hundred as Unleash does, and each hundredth into a
// thousand. Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace pgcache::flags {

// MurmurHash3_x86_32, fed piece by piece: what is in front of every id is hashed once and copied.
class Murmur3 {
 public:
  explicit Murmur3(uint32_t seed) noexcept : hash_(seed) {}

  void add(std::string_view bytes) noexcept;
  uint32_t finish() const noexcept;

 private:
  uint32_t hash_;
  uint32_t length_ = 0;
  uint32_t tail_ = 0;  // the last length_ % 4 bytes, the first one lowest
};

// Fractions of everybody: all of them are kAllPoints.
using Points = uint32_t;
constexpr Points kAllPoints = 100'000;
constexpr Points kPointsAPercent = kAllPoints / 100;

// From 0 to kAllPoints - 1. A rollout of so many points reaches those below it: whole percentages exactly the contexts
// that hash % 100 + 1 <= percent reaches, and who is reached stays so when it grows.
constexpr Points point_of(uint32_t hash) noexcept {
  return hash % 100 * kPointsAPercent + hash / 100 % kPointsAPercent;
}

constexpr uint32_t kRolloutSeed = 0;
constexpr uint32_t kVariantSeed = 86028157;

inline Murmur3 hash_of_group(std::string_view group, uint32_t seed) noexcept {
  Murmur3 hash(seed);
  hash.add(group);
  hash.add(":");
  return hash;
}

inline uint32_t hash_in_group(Murmur3 group, std::string_view id) noexcept {
  group.add(id);
  return group.finish();
}

}  // namespace pgcache::flags

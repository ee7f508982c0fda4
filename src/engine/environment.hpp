// What the engine asks of the process that it runs in: locks and a hash. The time is an argument of each call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pgcache::engine {

// Contract: lock and unlock neither fail nor throw nor return early; the engine never holds two locks at once, so there
// is no order among them. hash is keyed by its seed and gives the same answer in every process that shares the memory.
struct Environment {
  void (*lock)(void* context, uint32_t lock, bool exclusive) noexcept;
  void (*unlock)(void* context, uint32_t lock, bool exclusive) noexcept;
  uint64_t (*hash)(const void* bytes, size_t size, uint64_t seed) noexcept;
  void* context;
};

// A key's hash: no two databases share one, and nobody without the secret can make keys collide.
inline uint64_t key_hash(const Environment& environment, uint64_t secret, uint16_t database,
                         std::string_view key) noexcept {
  // The multiplier spreads small numbers over the seed's bits.
  return environment.hash(key.data(), key.size(), secret + database * 0x9e3779b97f4a7c15);
}

// A tag's, which stays the same while secret and oid do.
inline uint64_t tag_hash(const Environment& environment, uint64_t secret, uint32_t database_oid,
                         std::string_view tag) noexcept {
  return environment.hash(tag.data(), tag.size(), secret + (uint64_t{1} << 32 | database_oid) * 0x9e3779b97f4a7c15);
}

}  // namespace pgcache::engine

// A shard's hash table: buckets of one cache line with twelve one-byte tags and twelve record addresses. A key that
// finds its bucket full goes to another; a bucket counts the keys that passed it by, so that a search knows
// when to stop and no deletion leaves a tombstone (as F14 does). Guarded by the shard's lock.
//
// Beside each bucket lies a ghost set: fingerprints of the last keys evicted from the small queue (S3-FIFO).
#pragma once

#include <bit>
#include <cstring>

#include "shared.hpp"

namespace pgcache::engine {

constexpr uint32_t kBucketEntries = 12;
// A search visits so many buckets at most. A key that finds them all full takes the place of another.
constexpr uint32_t kMaxProbes = 16;
constexpr uint32_t kGhosts = 4;

struct alignas(64) Bucket {
  // The tags come first: `tagged` reads the sixteen bytes from the start.
  uint8_t tags[kBucketEntries];  // 0: empty
  uint8_t passed;                // keys that went on to later buckets; stays at 255 once there
  uint8_t unused[3];             // always zero
  uint32_t addresses[kBucketEntries];

  // A bit for each entry whose tag is this one.
  [[nodiscard]] uint32_t tagged(uint8_t tag) const noexcept;
};
static_assert(Shareable<Bucket> && sizeof(Bucket) == 64);

struct GhostSet {
  uint16_t fingerprints[kGhosts];  // newest first; 0: none
};
static_assert(Shareable<GhostSet> && sizeof(GhostSet) == 8);

inline uint32_t Bucket::tagged(uint8_t tag) const noexcept {
  // Eight tags at a time: a byte's high bit is set where it equals the tag (exactly: no borrow from its neighbour), and
  // the multiplication gathers the high bits.
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kLow = 0x7f * kOnes;
  uint32_t entries = 0;
  for (uint32_t first = 0; first < 16; first += 8) {
    uint64_t word;
    std::memcpy(&word, reinterpret_cast<const std::byte*>(this) + first, sizeof word);
    word ^= tag * kOnes;
    const uint64_t equal = ~(((word & kLow) + kLow) | word | kLow);
    entries |= static_cast<uint32_t>((equal >> 7) * 0x0102040810204080 >> 56) << first;
  }
  return entries & ((1U << kBucketEntries) - 1);
}

// Which bits of a key's hash decide what.
struct HashParts {
  uint64_t hash;

  [[nodiscard]] uint32_t shard(uint32_t shards) const noexcept {
    return static_cast<uint32_t>(hash >> 48) & (shards - 1);
  }
  [[nodiscard]] uint32_t bucket(uint32_t buckets) const noexcept {
    return static_cast<uint32_t>(((hash >> 16 & 0xffffffff) * buckets) >> 32);
  }
  // The bucket to go on to: keys of one full bucket scatter, so that full ones do not crowd together.
  [[nodiscard]] uint32_t next(uint32_t bucket, uint32_t buckets) const noexcept {
    const uint32_t step = 2U * tag() + 1;
    return bucket + step < buckets ? bucket + step : bucket + step - buckets;
  }
  [[nodiscard]] uint8_t tag() const noexcept {
    const auto tag = static_cast<uint8_t>(hash);
    return tag == 0 ? 1 : tag;
  }
  [[nodiscard]] uint16_t fingerprint() const noexcept {
    const auto print = static_cast<uint16_t>(hash);
    return print == 0 ? 1 : print;
  }
  [[nodiscard]] uint32_t slot(uint32_t slots) const noexcept { return static_cast<uint32_t>(hash) & (slots - 1); }
};

// Where an address stands in the index.
struct Place {
  Bucket* bucket = nullptr;
  uint32_t entry = 0;
  uint32_t probes = 0;  // buckets passed by on the way

  explicit operator bool() const noexcept { return bucket != nullptr; }
  [[nodiscard]] uint32_t& address() const noexcept { return bucket->addresses[entry]; }
};

class Index {
 public:
  // entries: the count of what stands in the index, which the index keeps.
  Index(Bucket* buckets, GhostSet* ghosts, uint32_t count, uint32_t& entries) noexcept
      : buckets_(buckets), ghosts_(ghosts), count_(count), entries_(entries) {}

  // The first place with the hash's tag of which `is_it(address)` says yes.
  template <typename Predicate>
  [[nodiscard]] Place find(HashParts hash, Predicate is_it) const noexcept;

  // An empty place, or none after kMaxProbes buckets. Nothing changes until `occupy`.
  [[nodiscard]] Place find_empty(HashParts hash) const noexcept;
  void occupy(HashParts hash, const Place& place, uint32_t address) noexcept;
  void vacate(HashParts hash, const Place& place) noexcept;

  [[nodiscard]] Bucket& bucket(uint32_t number) const noexcept { return buckets_[number]; }
  [[nodiscard]] Bucket& home(HashParts hash) const noexcept { return buckets_[hash.bucket(count_)]; }
  [[nodiscard]] uint32_t count() const noexcept { return count_; }

  void remember_evicted(HashParts hash) noexcept;
  // True if the key was evicted not long ago; forgets it.
  bool was_evicted(HashParts hash) noexcept;

 private:
  [[nodiscard]] uint32_t ghosts_in_use(uint32_t set) const noexcept;

  Bucket* buckets_;
  GhostSet* ghosts_;
  uint32_t count_;
  uint32_t& entries_;
};

template <typename Predicate>
Place Index::find(HashParts hash, Predicate is_it) const noexcept {
  const uint8_t tag = hash.tag();
  uint32_t number = hash.bucket(count_);
  for (uint32_t probes = 0; probes < kMaxProbes; ++probes) {
    Bucket& bucket = buckets_[number];
    for (uint32_t candidates = bucket.tagged(tag); candidates != 0; candidates &= candidates - 1) {
      const auto entry = static_cast<uint32_t>(std::countr_zero(candidates));
      if (is_it(bucket.addresses[entry])) return {&bucket, entry, probes};
    }
    if (bucket.passed == 0) break;
    number = hash.next(number, count_);
  }
  return {};
}

}  // namespace pgcache::engine

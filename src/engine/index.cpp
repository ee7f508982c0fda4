#include "index.hpp"

#include <algorithm>

namespace pgcache::engine {

Place Index::find_empty(HashParts hash) const noexcept {
  uint32_t number = hash.bucket(count_);
  for (uint32_t probes = 0; probes < std::min(kMaxProbes, count_); ++probes) {
    Bucket& bucket = buckets_[number];
    for (uint32_t entry = 0; entry < kBucketEntries; ++entry)
      if (bucket.tags[entry] == 0) return {&bucket, entry, probes};
    number = next(number);
  }
  return {};
}

void Index::occupy(HashParts hash, const Place& place, uint32_t address) noexcept {
  uint32_t number = hash.bucket(count_);
  for (uint32_t probes = 0; probes < place.probes; ++probes) {
    Bucket& passed = buckets_[number];
    if (passed.passed < UINT8_MAX) ++passed.passed;
    number = next(number);
  }
  place.bucket->tags[place.entry] = hash.tag();
  place.address() = address;
}

void Index::vacate(HashParts hash, const Place& place) noexcept {
  uint32_t number = hash.bucket(count_);
  for (uint32_t probes = 0; probes < place.probes; ++probes) {
    Bucket& passed = buckets_[number];
    if (passed.passed < UINT8_MAX) --passed.passed;
    number = next(number);
  }
  place.bucket->tags[place.entry] = 0;
  place.address() = 0;
}

void Index::remember_evicted(HashParts hash) noexcept {
  GhostSet& set = ghosts_[hash.bucket(count_)];
  std::copy_backward(set.fingerprints, set.fingerprints + kGhosts - 1, set.fingerprints + kGhosts);
  set.fingerprints[0] = hash.fingerprint();
}

bool Index::was_evicted(HashParts hash) noexcept {
  GhostSet& set = ghosts_[hash.bucket(count_)];
  auto* const end = set.fingerprints + kGhosts;
  auto* const found = std::find(set.fingerprints, end, hash.fingerprint());
  if (found == end) return false;
  std::copy(found + 1, end, found);
  set.fingerprints[kGhosts - 1] = 0;
  return true;
}

}  // namespace pgcache::engine

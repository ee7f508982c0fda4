#include "index.hpp"

#include <algorithm>

namespace pgcache::engine {

Place Index::find_empty(HashParts hash) const noexcept {
  uint32_t number = hash.bucket(count_);
  for (uint32_t probes = 0; probes < kMaxProbes; ++probes) {
    Bucket& bucket = buckets_[number];
    for (uint32_t entry = 0; entry < kBucketEntries; ++entry)
      if (bucket.tags[entry] == 0) return {&bucket, entry, probes};
    number = hash.next(number, count_);
  }
  return {};
}

void Index::occupy(HashParts hash, const Place& place, uint32_t address) noexcept {
  uint32_t number = hash.bucket(count_);
  for (uint32_t probes = 0; probes < place.probes; ++probes) {
    Bucket& passed = buckets_[number];
    if (passed.passed < UINT8_MAX) ++passed.passed;
    number = hash.next(number, count_);
  }
  place.bucket->tags[place.entry] = hash.tag();
  place.address() = address;
  ++entries_;
}

void Index::vacate(HashParts hash, const Place& place) noexcept {
  uint32_t number = hash.bucket(count_);
  for (uint32_t probes = 0; probes < place.probes; ++probes) {
    Bucket& passed = buckets_[number];
    if (passed.passed < UINT8_MAX) --passed.passed;
    number = hash.next(number, count_);
  }
  place.bucket->tags[place.entry] = 0;
  place.address() = 0;
  --entries_;
}

// As many ghosts as entries (S3-FIFO: as in the main queue): more would bring back what nobody needs soon, and push out
// what is used. Sets use one more or less of their places, so that it holds on average.
uint32_t Index::ghosts_in_use(uint32_t set) const noexcept {
  const uint64_t eighths_of_place = uint64_t{entries_} * 8 / count_;
  return static_cast<uint32_t>(std::min<uint64_t>(kGhosts, (eighths_of_place + set % 8) / 8));
}

void Index::remember_evicted(HashParts hash) noexcept {
  const uint32_t number = hash.bucket(count_);
  const uint32_t in_use = ghosts_in_use(number);
  if (in_use == 0) return;
  auto* const first = ghosts_[number].fingerprints;
  std::copy_backward(first, first + in_use - 1, first + in_use);
  *first = hash.fingerprint();
}

bool Index::was_evicted(HashParts hash) noexcept {
  const uint32_t number = hash.bucket(count_);
  auto* const first = ghosts_[number].fingerprints;
  auto* const end = first + ghosts_in_use(number);
  auto* const found = std::find(first, end, hash.fingerprint());
  if (found == end) return false;
  std::copy(found + 1, end, found);
  end[-1] = 0;
  return true;
}

}  // namespace pgcache::engine

#include "flags/count_table.hpp"

#include <algorithm>
#include <cstring>

namespace pgcache::flags {

class CountTable::Lock {
 public:
  Lock(const engine::Environment& environment, uint32_t set, bool exclusive) noexcept
      : environment_(environment), partition_(set % kPartitions), exclusive_(exclusive) {
    environment_.lock(environment_.context, partition_, exclusive_);
  }
  ~Lock() { environment_.unlock(environment_.context, partition_, exclusive_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  const engine::Environment& environment_;
  uint32_t partition_;
  bool exclusive_;
};

namespace {

uint32_t set_of(const CountKey& key, uint32_t sets) noexcept {
  Murmur3 hash(key.database ^ key.table);
  hash.add({reinterpret_cast<const char*>(&key.flag), sizeof key.flag});
  hash.add(key.variant);
  return hash.finish() % sets;
}

}  // namespace

CountTable::CountTable(void* memory, const engine::Environment& environment) noexcept
    : front_(static_cast<Front*>(memory)), places_(reinterpret_cast<Place*>(front_ + 1)), environment_(environment) {}

CountTable CountTable::attach(void* memory, const engine::Environment& environment) noexcept {
  return {memory, environment};
}

CountTable CountTable::format(void* memory, const engine::Environment& environment, int64_t now) noexcept {
  std::memset(memory, 0, bytes());
  CountTable table(memory, environment);
  table.front_->since = now;
  return table;
}

bool CountTable::is_of(const Place& place, const CountKey& key) noexcept {
  return place.database == key.database && place.table == key.table && place.flag == key.flag &&
         std::string_view(place.variant, place.variant_bytes) == key.variant;
}

CountTable::Place* CountTable::find(uint32_t set, const CountKey& key) const noexcept {
  Place* first = places_ + size_t{set} * kWays;
  Place* found = std::find_if(first, first + kWays, [&](const Place& place) { return is_of(place, key); });
  return found == first + kWays ? nullptr : found;
}

// A free one, else that which was seen least recently.
CountTable::Place& CountTable::make(uint32_t set, const CountKey& key) noexcept {
  Place* first = places_ + size_t{set} * kWays;
  Place& place = *std::min_element(first, first + kWays, [](const Place& a, const Place& b) {
    if (a.database == 0 || b.database == 0) return a.database == 0 && b.database != 0;
    return a.last < b.last;
  });
  place = Place{};
  place.flag = key.flag;
  place.database = key.database;
  place.table = key.table;
  place.variant_bytes = std::min(key.variant.size(), kLongestCounted);
  std::copy_n(key.variant.begin(), place.variant_bytes, place.variant);
  return place;
}

bool CountTable::add_to(uint32_t set, const CountKey& key, const Counts& counts, int64_t now, bool exclusive) noexcept {
  const Lock lock(environment_, set, exclusive);
  Place* place = find(set, key);
  if (place == nullptr && !exclusive) return false;
  if (place == nullptr) place = &make(set, key);
  if (counts.enabled > 0) engine::add_relaxed(place->counts.enabled, counts.enabled);
  if (counts.disabled > 0) engine::add_relaxed(place->counts.disabled, counts.disabled);
  if (counts.fallback > 0) engine::add_relaxed(place->counts.fallback, counts.fallback);
  engine::store_relaxed(place->last, now);
  return true;
}

void CountTable::add(const CountKey& key, const Counts& counts, int64_t now) noexcept {
  const uint32_t set = set_of(key, kSets);
  if (!add_to(set, key, counts, now, false)) add_to(set, key, counts, now, true);
}

void CountTable::reset(uint32_t database, uint32_t table, int64_t now) noexcept {
  for (uint32_t set = 0; set < kSets; ++set) {
    const Lock lock(environment_, set, true);
    for (Place& place : std::span(places_ + size_t{set} * kWays, kWays))
      if (place.database == database && place.table == table) place = Place{};
  }
  add({kReset, database, table, {}}, {}, now);
}

int64_t CountTable::since(uint32_t database, uint32_t table) const noexcept {
  const CountKey key{kReset, database, table, {}};
  const uint32_t set = set_of(key, kSets);
  const Lock lock(environment_, set, false);
  const Place* reset = find(set, key);
  return reset == nullptr ? front_->since : reset->last;
}

std::array<CountTable::Place, CountTable::kWays> CountTable::copy_of(uint32_t set) const noexcept {
  std::array<Place, kWays> copy;
  const Lock lock(environment_, set, true);
  std::copy_n(places_ + size_t{set} * kWays, kWays, copy.begin());
  return copy;
}

}  // namespace pgcache::flags

// The keys that were denied most, in a bounded list: Space-Saving (Metwally, Agrawal, El Abbadi, ICDT 2005). A key that
// is not in the full list takes the place of the one with the least denials, and inherits their number as its error, so
// that no count is too low, and whoever has more than all / kEntries is in the list.
// Guarded by the lock of its partition; holds all that one call touches: kEntries hashes, one key.
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>

#include "engine/shared.hpp"
#include "engine/types.hpp"

namespace pgcache::limits {

struct DeniedKey {
  int64_t denied;
  int64_t error;  // at most so much of it was others'
  int64_t last_denied;
  uint32_t database;
  uint16_t bytes;
  char key[engine::kMaxKeyBytes];
};

class DeniedKeys {
 public:
  static constexpr uint32_t kEntries = 12;

  void count(uint64_t hash, uint32_t database, std::string_view key, int64_t now) noexcept {
    uint32_t entry = find(hash);
    if (entry == kEntries) {
      entry = least();
      hashes_[entry] = hash;
      DeniedKey& its = entries_[entry];
      its.error = its.denied;
      its.last_denied = now;
      its.database = database;
      its.bytes = static_cast<uint16_t>(key.size());
      std::memcpy(its.key, key.data(), key.size());
    }
    ++entries_[entry].denied;
    entries_[entry].last_denied = std::max(entries_[entry].last_denied, now);
  }

  // Calls visit(entry) for each.
  template <typename Visit>
  void visit(Visit visit_entry) const noexcept {
    for (const DeniedKey& entry : entries_)
      if (entry.denied > 0) visit_entry(entry);
  }

 private:
  [[nodiscard]] uint32_t find(uint64_t hash) const noexcept {
    return static_cast<uint32_t>(std::find(hashes_, hashes_ + kEntries, hash) - hashes_);
  }
  [[nodiscard]] uint32_t least() const noexcept {
    return static_cast<uint32_t>(
        std::min_element(entries_, entries_ + kEntries,
                         [](const DeniedKey& one, const DeniedKey& other) { return one.denied < other.denied; }) -
        entries_);
  }

  uint64_t hashes_[kEntries];  // 0: none
  DeniedKey entries_[kEntries];
};
static_assert(engine::Shareable<DeniedKeys>);

}  // namespace pgcache::limits

// What cache_fetch stores: a header, then the jsonb. The entry is of kind json; no jsonb begins with a word whose
// highest bit is set, so the header tells itself apart. Everybody but cache_fetch reads the jsonb alone.
#pragma once

#include <bit>
#include <cstring>

#include "engine/types.hpp"

namespace pgcache {

struct FetchedHeader {
  uint32_t mark = 0;
  uint32_t owner = 0;  // the role that ran the query
  uint32_t cost = 0;   // of that run, in milliseconds
  uint32_t stale_low = 0;
  uint32_t stale_high = 0;

  static constexpr uint32_t kMark = 1U << 31;
  static constexpr uint32_t kShared = 1;

  // Whether there is one at all.
  [[nodiscard]] explicit operator bool() const noexcept { return (mark & kMark) != 0; }
  [[nodiscard]] bool shared() const noexcept { return (mark & kShared) != 0; }
  // The last part of the entry's time, in which its value is old.
  [[nodiscard]] engine::Milliseconds stale_for() const noexcept {
    return static_cast<engine::Milliseconds>(uint64_t{stale_high} << 32 | stale_low);
  }

  static FetchedHeader of(uint32_t owner, bool shared, engine::Milliseconds cost,
                          engine::Milliseconds stale_for) noexcept {
    FetchedHeader header;
    header.mark = kMark | (shared ? kShared : 0);
    header.owner = owner;
    header.cost = static_cast<uint32_t>(cost < 0 ? 0 : cost > UINT32_MAX ? UINT32_MAX : cost);
    header.stale_low = static_cast<uint32_t>(stale_for);
    header.stale_high = static_cast<uint32_t>(static_cast<uint64_t>(stale_for) >> 32);
    return header;
  }

  // Of a value of kind json; without a mark if it has none.
  static FetchedHeader read(engine::Bytes value) noexcept {
    FetchedHeader header;
    if (value.size() > sizeof header) std::memcpy(&header, value.data(), sizeof header);
    return header ? header : FetchedHeader{};
  }
};
static_assert(sizeof(FetchedHeader) == 20);

}  // namespace pgcache

// Points in time as texts: ISO 8601, as RFC 3339 narrows it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pgcache::flags {

// Microseconds since 2000-01-01 00:00 UTC, as a TimestampTz is. "2026-12-24", "2026-12-24T18:00", with seconds, a
// fraction of which a microsecond is the least that counts, and "Z" or an offset, "+01:00" or shorter; UTC without one.
std::optional<int64_t> parse_moment(std::string_view text) noexcept;

}  // namespace pgcache::flags

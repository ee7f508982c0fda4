// Semantic Versioning 2.0.0. Pure.
#pragma once

#include <compare>
#include <optional>
#include <string_view>

namespace pgcache::flags {

// Views into what was parsed. Numbers may be of any length; build metadata does not count.
struct SemanticVersion {
  std::string_view major;
  std::string_view minor;
  std::string_view patch;
  std::string_view prerelease;  // empty: none
};

std::optional<SemanticVersion> parse_version(std::string_view text) noexcept;

std::weak_ordering compare(const SemanticVersion& one, const SemanticVersion& other) noexcept;

}  // namespace pgcache::flags

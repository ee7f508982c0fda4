#include "flags/semantic_version.hpp"

#include <algorithm>

namespace pgcache::flags {

namespace {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_identifier(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

bool is_numeric(std::string_view text) noexcept { return std::all_of(text.begin(), text.end(), is_digit); }

// Without a leading zero.
bool is_number(std::string_view text) noexcept {
  return !text.empty() && is_numeric(text) && (text.size() == 1 || text.front() != '0');
}

// Takes what stands before the first of `separators` off the text; all of it if there is none.
std::string_view take_until(std::string_view& text, std::string_view separators) noexcept {
  const size_t at = std::min(text.find_first_of(separators), text.size());
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(at);
  return taken;
}

template <typename IsGood>
bool all_identifiers(std::string_view text, IsGood is_good) noexcept {
  while (true) {
    const std::string_view identifier = take_until(text, ".");
    if (identifier.empty() || !std::all_of(identifier.begin(), identifier.end(), is_identifier) || !is_good(identifier))
      return false;
    if (text.empty()) return true;
    text.remove_prefix(1);
  }
}

std::strong_ordering compare_numbers(std::string_view one, std::string_view other) noexcept {
  if (one.size() != other.size()) return one.size() <=> other.size();
  return one.compare(other) <=> 0;
}

// Numbers come before words.
std::strong_ordering compare_identifiers(std::string_view one, std::string_view other) noexcept {
  const bool is_word = !is_numeric(one);
  const bool other_is_word = !is_numeric(other);
  if (is_word != other_is_word) return is_word <=> other_is_word;
  return is_word ? one.compare(other) <=> 0 : compare_numbers(one, other);
}

// A version without comes after all that have one.
std::strong_ordering compare_prereleases(std::string_view one, std::string_view other) noexcept {
  if (one.empty() || other.empty()) return one.empty() <=> other.empty();
  while (true) {
    const auto order = compare_identifiers(take_until(one, "."), take_until(other, "."));
    if (order != 0) return order;
    if (one.empty() || other.empty()) return other.empty() <=> one.empty();
    one.remove_prefix(1);
    other.remove_prefix(1);
  }
}

}  // namespace

std::optional<SemanticVersion> parse_version(std::string_view text) noexcept {
  SemanticVersion version;
  version.major = take_until(text, ".");
  if (text.empty()) return std::nullopt;
  text.remove_prefix(1);
  version.minor = take_until(text, ".");
  if (text.empty()) return std::nullopt;
  text.remove_prefix(1);
  version.patch = take_until(text, "-+");
  if (!is_number(version.major) || !is_number(version.minor) || !is_number(version.patch)) return std::nullopt;
  if (!text.empty() && text.front() == '-') {
    text.remove_prefix(1);
    version.prerelease = take_until(text, "+");
    if (!all_identifiers(version.prerelease, [](std::string_view it) { return !is_numeric(it) || is_number(it); }))
      return std::nullopt;
  }
  if (text.empty()) return version;
  text.remove_prefix(1);
  return all_identifiers(text, [](std::string_view) { return true; }) ? std::optional(version) : std::nullopt;
}

std::weak_ordering compare(const SemanticVersion& one, const SemanticVersion& other) noexcept {
  if (const auto order = compare_numbers(one.major, other.major); order != 0) return order;
  if (const auto order = compare_numbers(one.minor, other.minor); order != 0) return order;
  if (const auto order = compare_numbers(one.patch, other.patch); order != 0) return order;
  return compare_prereleases(one.prerelease, other.prerelease);
}

}  // namespace pgcache::flags

// Regular expressions of RE2, which run in time linear in the text. Pure, but for RE2's own memory.
#pragma once

#include <span>
#include <string_view>

namespace re2 {
class RE2;
}

namespace pgcache::flags {

enum class Anchor : unsigned char { none, start, end };

// Compiled when it is first used; the memory for that is RE2's own, and release_all gives it back. Where there is none,
// *lacks_memory is set, and what was answered means nothing.
struct RegularExpression {
  std::string_view pattern;                    // in RE2's syntax; or else
  std::span<const std::string_view> literals;  // one of these, where `anchor` says
  Anchor anchor;
  bool ignores_case;
  bool is_utf8;  // else each byte is a character
  re2::RE2* compiled;
  bool* lacks_memory;
  RegularExpression* next;  // in the list of those that release_all goes through
};

// Longer texts match nothing: RE2 cannot be interrupted.
constexpr size_t kLongestText = 64 * 1024;

// Whether it occurs in the text; never, where it does not compile.
bool matches(RegularExpression& expression, std::string_view text) noexcept;

// Empty if it compiles, or there is no memory; else why not, cut to the buffer.
std::string_view problem_of(RegularExpression& expression, std::span<char> buffer) noexcept;

void release_all(RegularExpression* first) noexcept;

}  // namespace pgcache::flags

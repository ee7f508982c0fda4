// Regular expressions of RE2, which run in time linear in the text. Pure, but for RE2's own memory.
#pragma once

#include <span>
#include <string_view>

namespace pgcache::flags {

struct CompiledExpression;

enum class Anchor : unsigned char { none, start, end };

// Compiled when it is first used, in memory of RE2's own. release_all lets go of it; it is kept for the next one that
// is written alike, because flags are read anew whenever one has changed, as long as not too many are kept. Where there
// is no memory, *lacks_memory is set, and what was answered means nothing. For one thread.
struct RegularExpression {
  std::string_view pattern;                    // in RE2's syntax; or else
  std::span<const std::string_view> literals;  // one of these, where `anchor` says
  Anchor anchor;
  bool ignores_case;
  bool is_utf8;  // else each byte is a character
  CompiledExpression* compiled;
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

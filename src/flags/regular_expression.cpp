#include "flags/regular_expression.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

namespace pgcache::flags {

struct CompiledExpression {
  CompiledExpression(const std::string& pattern, const re2::RE2::Options& options) : expression(pattern, options) {}

  re2::RE2 expression;
  size_t users = 0;
};

namespace {

// By pattern, after a letter that says whether case counts, and one for what may take more memory.
using Compiled = std::unordered_map<std::string, CompiledExpression>;

constexpr size_t kMostUnused = 1'000;

Compiled& all_compiled() {
  static Compiled compiled;
  return compiled;
}

size_t unused = 0;  // of them

void drop_unused() {
  std::erase_if(all_compiled(), [](const auto& it) { return it.second.users == 0; });
}

// Of an expression as it is written; a list of literals may need more.
constexpr int64_t kMostMemory = 1 << 20;
constexpr int64_t kMostMemoryOfLiterals = 256 << 20;

// Work may throw, which is only ever that there is no memory. Whether it did not.
template <typename Work>
bool has_memory_for(const RegularExpression& expression, Work work) noexcept {
  try {
    work();
    return true;
  } catch (...) {
    *expression.lacks_memory = true;
    return false;
  }
}

// Bytes as the characters of Latin-1, in UTF-8. RE2's own mode for these loses its way where alternatives begin with
// the same character outside ASCII.
std::string as_utf8(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    const auto character = static_cast<unsigned char>(byte);
    if (character >= 0x80) text += static_cast<char>(0xC0 | character >> 6);
    text += static_cast<char>(character < 0x80 ? character : 0x80 | (character & 0x3F));
  }
  return text;
}

std::string in_utf8(const RegularExpression& expression, std::string_view text) {
  return expression.is_utf8 ? std::string(text) : as_utf8(text);
}

std::string pattern_of(const RegularExpression& expression) {
  if (expression.literals.empty()) return in_utf8(expression, expression.pattern);
  std::string pattern = expression.anchor == Anchor::start ? "\\A(?:" : "(?:";
  for (const std::string_view& literal : expression.literals) {
    if (&literal != expression.literals.data()) pattern += '|';
    pattern += re2::RE2::QuoteMeta(in_utf8(expression, literal));
  }
  return pattern += expression.anchor == Anchor::end ? ")\\z" : ")";
}

std::string key_of(const RegularExpression& expression, const std::string& pattern) {
  std::string key{expression.ignores_case ? 'i' : 'c', expression.literals.empty() ? 'e' : 'l'};
  return key += pattern;
}

void compile(RegularExpression& expression) noexcept {
  if (expression.compiled != nullptr) return;
  has_memory_for(expression, [&] {
    re2::RE2::Options options;
    options.set_case_sensitive(!expression.ignores_case);
    options.set_log_errors(false);
    options.set_max_mem(expression.literals.empty() ? kMostMemory : kMostMemoryOfLiterals);
    const std::string pattern = pattern_of(expression);
    const auto [found, is_new] = all_compiled().try_emplace(key_of(expression, pattern), pattern, options);
    if (!is_new && found->second.users == 0) --unused;
    ++found->second.users;
    expression.compiled = &found->second;
  });
}

bool occurs_in(const re2::RE2& expression, std::string_view text) {
  return expression.Match(re2::StringPiece(text.data(), text.size()), 0, text.size(), re2::RE2::UNANCHORED, nullptr, 0);
}

}  // namespace

bool matches(RegularExpression& expression, std::string_view text) noexcept {
  if (text.size() > kLongestText) return false;
  compile(expression);
  if (expression.compiled == nullptr || !expression.compiled->expression.ok()) return false;
  bool found = false;
  has_memory_for(expression, [&] {
    found = occurs_in(expression.compiled->expression, expression.is_utf8 ? text : std::string_view(as_utf8(text)));
  });
  return found;
}

std::string_view problem_of(RegularExpression& expression, std::span<char> buffer) noexcept {
  compile(expression);
  if (expression.compiled == nullptr || expression.compiled->expression.ok()) return {};
  const std::string& error = expression.compiled->expression.error();
  const size_t size = std::min(error.size(), buffer.size());
  std::copy_n(error.data(), size, buffer.data());
  // What is not of the caller's encoding.
  if (!expression.is_utf8)
    std::replace_if(
        buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(size), [](char c) { return (c & 0x80) != 0; }, '?');
  return {buffer.data(), size};
}

void release_all(RegularExpression* first) noexcept {
  for (; first != nullptr; first = first->next) {
    CompiledExpression* compiled = std::exchange(first->compiled, nullptr);
    if (compiled != nullptr && --compiled->users == 0) ++unused;
  }
  if (unused <= kMostUnused) return;
  drop_unused();
  unused = 0;
}

}  // namespace pgcache::flags

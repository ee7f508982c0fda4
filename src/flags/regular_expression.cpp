#include "flags/regular_expression.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <string>
#include <utility>

namespace pgcache::flags {

namespace {

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

std::string pattern_of(std::span<const std::string_view> literals, Anchor anchor) {
  std::string pattern = anchor == Anchor::start ? "\\A(?:" : "(?:";
  for (const std::string_view& literal : literals) {
    if (&literal != literals.data()) pattern += '|';
    pattern += re2::RE2::QuoteMeta(re2::StringPiece(literal.data(), literal.size()));
  }
  return pattern += anchor == Anchor::end ? ")\\z" : ")";
}

void compile(RegularExpression& expression) noexcept {
  if (expression.compiled != nullptr) return;
  has_memory_for(expression, [&] {
    re2::RE2::Options options;
    options.set_encoding(expression.is_utf8 ? re2::RE2::Options::EncodingUTF8 : re2::RE2::Options::EncodingLatin1);
    options.set_case_sensitive(!expression.ignores_case);
    options.set_log_errors(false);
    options.set_max_mem(expression.literals.empty() ? kMostMemory : kMostMemoryOfLiterals);
    if (expression.literals.empty())
      expression.compiled =
          new re2::RE2(re2::StringPiece(expression.pattern.data(), expression.pattern.size()), options);
    else
      expression.compiled = new re2::RE2(pattern_of(expression.literals, expression.anchor), options);
  });
}

}  // namespace

bool matches(RegularExpression& expression, std::string_view text) noexcept {
  if (text.size() > kLongestText) return false;
  compile(expression);
  if (expression.compiled == nullptr || !expression.compiled->ok()) return false;
  bool found = false;
  has_memory_for(expression, [&] {
    found = expression.compiled->Match(re2::StringPiece(text.data(), text.size()), 0, text.size(), re2::RE2::UNANCHORED,
                                       nullptr, 0);
  });
  return found;
}

std::string_view problem_of(RegularExpression& expression, std::span<char> buffer) noexcept {
  compile(expression);
  if (expression.compiled == nullptr || expression.compiled->ok()) return {};
  const std::string& error = expression.compiled->error();
  const size_t size = std::min(error.size(), buffer.size());
  std::copy_n(error.data(), size, buffer.data());
  return {buffer.data(), size};
}

void release_all(RegularExpression* first) noexcept {
  for (; first != nullptr; first = first->next) {
    delete first->compiled;
    first->compiled = nullptr;
  }
}

}  // namespace pgcache::flags

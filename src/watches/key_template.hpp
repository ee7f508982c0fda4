// Templates of keys and tags, such as 'user:{id}:profile': text with names of columns in braces. Pure: no PostgreSQL.
//
// A brace that stands for itself is written twice. Values are put in with '%', ':', '{' and '}' written as %25, %3A,
// %7B and %7D, so that none can be taken for a part of the template, and no value can name another one's key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/types.hpp"

namespace pgcache {

enum class TemplateError : uint8_t { none, unclosed_brace, stray_brace, no_name };

// Reads a template from left to right.
class TemplateReader {
 public:
  struct Piece {
    bool is_column;
    std::string_view text;  // the column's name, or what stands for itself; points into the template
  };

  explicit TemplateReader(std::string_view source) noexcept : text_(source) {}

  // The next piece; false at the end and where an error is.
  [[nodiscard]] bool next(Piece& piece) noexcept;
  [[nodiscard]] TemplateError error() const noexcept { return error_; }
  // Bytes read, those of the last piece included; where the error is.
  [[nodiscard]] size_t position() const noexcept { return position_; }

 private:
  [[nodiscard]] bool fail(TemplateError error) noexcept;
  [[nodiscard]] bool read_column(Piece& piece) noexcept;

  std::string_view text_;
  size_t position_ = 0;
  TemplateError error_ = TemplateError::none;
};

[[nodiscard]] constexpr bool needs_quoting(char c) noexcept { return c == '%' || c == ':' || c == '{' || c == '}'; }

// A key or tag in the making. One that is too long to be anybody's is not kept.
class RenderedKey {
 public:
  void clear() noexcept {
    size_ = 0;
    fits_ = true;
  }
  void append(std::string_view text) noexcept;
  void append_quoted(std::string_view value) noexcept;
  // Whether there can be an entry or a tag of this name.
  [[nodiscard]] bool is_valid() const noexcept { return fits_ && size_ > 0; }
  [[nodiscard]] std::string_view text() const noexcept { return {bytes_, size_}; }

 private:
  size_t size_ = 0;
  bool fits_ = true;
  char bytes_[engine::kMaxKeyBytes];
};

// Writes the quoted value, of up to three times its bytes, and returns how many they are.
size_t quote_value(std::string_view value, char* to) noexcept;

}  // namespace pgcache

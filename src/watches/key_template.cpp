#include "watches/key_template.hpp"

#include <algorithm>
#include <cstring>

namespace pgcache {

bool TemplateReader::fail(TemplateError error) noexcept {
  error_ = error;
  return false;
}

bool TemplateReader::read_column(Piece& piece) noexcept {
  const size_t name = position_ + 1;
  const size_t end = text_.find_first_of("{}", name);
  if (end == std::string_view::npos || text_[end] == '{') return fail(TemplateError::unclosed_brace);
  if (end == name) return fail(TemplateError::no_name);
  piece = {true, text_.substr(name, end - name)};
  position_ = end + 1;
  return true;
}

bool TemplateReader::next(Piece& piece) noexcept {
  if (error_ != TemplateError::none || position_ == text_.size()) return false;
  const std::string_view rest = text_.substr(position_);
  if (rest.starts_with("{{") || rest.starts_with("}}")) {
    piece = {false, rest.substr(0, 1)};
    position_ += 2;
    return true;
  }
  if (rest.front() == '{') return read_column(piece);
  if (rest.front() == '}') return fail(TemplateError::stray_brace);
  piece = {false, rest.substr(0, rest.find_first_of("{}"))};
  position_ += piece.text.size();
  return true;
}

void RenderedKey::append(std::string_view text) noexcept {
  if (!fits_ || text.size() > sizeof bytes_ - size_) {
    fits_ = false;
    return;
  }
  if (!text.empty()) std::memcpy(bytes_ + size_, text.data(), text.size());
  size_ += text.size();
}

void RenderedKey::append_quoted(std::string_view value) noexcept {
  while (!value.empty() && fits_) {
    const auto plain = static_cast<size_t>(std::find_if(value.begin(), value.end(), needs_quoting) - value.begin());
    append(value.substr(0, plain));
    value.remove_prefix(plain);
    if (value.empty()) return;
    char quoted[3];
    append({quoted, quote_value(value.substr(0, 1), quoted)});
    value.remove_prefix(1);
  }
}

size_t quote_value(std::string_view value, char* to) noexcept {
  constexpr char kDigits[] = "0123456789ABCDEF";
  char* end = to;
  for (const char c : value) {
    if (needs_quoting(c)) {
      *end++ = '%';
      *end++ = kDigits[static_cast<unsigned char>(c) >> 4];
      *end++ = kDigits[static_cast<unsigned char>(c) & 15];
    } else {
      *end++ = c;
    }
  }
  return static_cast<size_t>(end - to);
}

}  // namespace pgcache

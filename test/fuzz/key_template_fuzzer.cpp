// Templates of keys with any bytes: the pieces make up the text again, an error is where it says, and no value can be
// taken for a part of a key.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "watches/key_template.hpp"

namespace {

using namespace pgcache;

void demand(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

std::string unquoted(std::string_view text) {
  std::string value;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      value += text[i];
      continue;
    }
    value += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
    i += 2;
  }
  return value;
}

void read_and_write_again(std::string_view text) {
  TemplateReader reader(text);
  std::string again;
  for (TemplateReader::Piece piece; reader.next(piece);) {
    demand(!piece.text.empty(), "a piece has text");
    const bool is_brace = !piece.is_column && (piece.text == "{" || piece.text == "}");
    demand(is_brace || piece.text.find_first_of("{}") == std::string_view::npos, "a brace stands alone");
    again += piece.is_column ? "{" + std::string(piece.text) + "}" : std::string(piece.text);
    if (is_brace) again += piece.text;
  }
  demand(again == text.substr(0, reader.position()), "the pieces are the text");
  demand((reader.error() == TemplateError::none) == (reader.position() == text.size()),
         "it ends at the end or an error");
}

void quote_and_unquote(std::string_view value) {
  std::vector<char> quoted(value.size() * 3 + 1);
  const std::string_view text(quoted.data(), quote_value(value, quoted.data()));
  demand(text.find_first_of(":{}") == std::string_view::npos, "a quoted value has no special characters");
  demand(unquoted(text) == value, "a quoted value is the value");
  RenderedKey key;
  key.append("k:");
  key.append_quoted(value);
  demand(key.is_valid() == (text.size() + 2 <= engine::kMaxKeyBytes), "what fits is kept");
  if (key.is_valid()) demand(key.text() == "k:" + std::string(text), "a key is its parts");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_and_write_again(text);
  quote_and_unquote(text);
  return 0;
}

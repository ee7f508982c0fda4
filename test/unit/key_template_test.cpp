// Templates of keys: read, rendered, quoted.
#include "watches/key_template.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgcache {
namespace {

struct Read {
  std::string pieces;  // literals as they are, columns in <>, a bar between two
  TemplateError error;
  size_t position;
};

Read read(std::string_view text) {
  TemplateReader reader(text);
  Read result{};
  for (TemplateReader::Piece piece; reader.next(piece);) {
    if (!result.pieces.empty()) result.pieces += '|';
    result.pieces += piece.is_column ? "<" + std::string(piece.text) + ">" : std::string(piece.text);
  }
  result.error = reader.error();
  result.position = reader.position();
  return result;
}

TEST(KeyTemplate, IsReadPieceByPiece) {
  EXPECT_EQ(read("user:{id}:profile").pieces, "user:|<id>|:profile");
  EXPECT_EQ(read("{a}{b}").pieces, "<a>|<b>");
  EXPECT_EQ(read("plain").pieces, "plain");
  EXPECT_EQ(read("").pieces, "");
  EXPECT_EQ(read("{Odd name; \"quoted\"}").pieces, "<Odd name; \"quoted\">");
  EXPECT_EQ(read("{{{id}}}").pieces, "{|<id>|}");
  EXPECT_EQ(read("a{{b}}c").pieces, "a|{|b|}|c");
  for (const char* good : {"user:{id}:profile", "", "{{", "}}", "{{}}", "{a}"}) {
    EXPECT_EQ(read(good).error, TemplateError::none) << good;
    EXPECT_EQ(read(good).position, std::string_view(good).size()) << good;
  }
}

TEST(KeyTemplate, SaysWhatIsWrongAndWhere) {
  const struct {
    const char* text;
    TemplateError error;
    size_t position;
  } bad[] = {{"k:{id", TemplateError::unclosed_brace, 2}, {"{", TemplateError::unclosed_brace, 0},
             {"{a{b}", TemplateError::unclosed_brace, 0}, {"k:{}", TemplateError::no_name, 2},
             {"k}", TemplateError::stray_brace, 1},       {"{a}}", TemplateError::stray_brace, 3},
             {"{{}", TemplateError::stray_brace, 2}};
  for (const auto& it : bad) {
    EXPECT_EQ(read(it.text).error, it.error) << it.text;
    EXPECT_EQ(read(it.text).position, it.position) << it.text;
  }
}

TEST(KeyTemplate, StopsAtAnError) {
  TemplateReader reader("a{}b");
  TemplateReader::Piece piece;
  EXPECT_TRUE(reader.next(piece));
  EXPECT_FALSE(reader.next(piece));
  EXPECT_FALSE(reader.next(piece));
}

TEST(KeyTemplate, QuotesWhatCouldBeAPartOfIt) {
  RenderedKey key;
  key.append("a:");
  key.append_quoted("1:{2}%x");
  EXPECT_EQ(key.text(), "a:1%3A%7B2%7D%25x");
  char buffer[64];
  EXPECT_EQ(std::string_view(buffer, quote_value("1:{2}%x", buffer)), "1%3A%7B2%7D%25x");
  EXPECT_EQ(quote_value("", buffer), 0U);
}

TEST(KeyTemplate, NoTwoValuesQuoteToTheSame) {
  // Every string of up to three of the characters that matter, and one that does not.
  std::vector<std::string> values{""};
  for (size_t from = 0, round = 0; round < 3; ++round) {
    const size_t to = values.size();
    for (; from < to; ++from)
      for (const char c : {'%', ':', '{', '}', '2', '5', 'A'}) values.push_back(values[from] + c);
  }
  std::vector<std::string> quoted;
  for (const std::string& value : values) {
    char buffer[16];
    quoted.emplace_back(buffer, quote_value(value, buffer));
    EXPECT_EQ(quoted.back().find_first_of(":{}"), std::string::npos) << value;
  }
  std::sort(quoted.begin(), quoted.end());
  EXPECT_EQ(std::unique(quoted.begin(), quoted.end()), quoted.end());
}

TEST(KeyTemplate, AKeyThatIsTooLongIsNobodys) {
  RenderedKey key;
  EXPECT_FALSE(key.is_valid()) << "neither is an empty one";
  key.append(std::string(engine::kMaxKeyBytes - 3, 'x'));
  key.append_quoted(":");
  EXPECT_TRUE(key.is_valid());
  EXPECT_EQ(key.text().size(), engine::kMaxKeyBytes);
  key.append("");
  EXPECT_TRUE(key.is_valid());
  key.append("x");
  EXPECT_FALSE(key.is_valid());
  key.append_quoted(std::string(5000, ':'));
  EXPECT_FALSE(key.is_valid());
  key.clear();
  key.append("short");
  EXPECT_TRUE(key.is_valid());
  EXPECT_EQ(key.text(), "short");
  key.clear();
  key.append_quoted(std::string(engine::kMaxKeyBytes / 3, ':'));
  EXPECT_TRUE(key.is_valid());
  key.append_quoted(":");
  EXPECT_FALSE(key.is_valid()) << "not even a part of it is kept";
}

}  // namespace
}  // namespace pgcache

// Constraints: every operator, turned round, without an attribute, with one of the wrong kind; what cannot be prepared.
#include "flags/constraint.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "flags.hpp"
#include "flags/moment.hpp"

namespace pgcache::flags {
namespace {

using test::Arena;
using test::ConstraintText;
using test::Exactly;
using test::for_each_mutation;
using test::Workplace;

using Attribute = std::optional<std::string>;

constexpr Operator kLastOperator = Operator::in_cidr;

std::vector<Operator> all_operators() {
  std::vector<Operator> all;
  for (int op = 0; op <= static_cast<int>(kLastOperator); ++op) all.push_back(static_cast<Operator>(op));
  return all;
}

bool is_date(Operator op) { return op == Operator::date_after || op == Operator::date_before; }

bool passes_prepared(const Constraint& constraint, const Attribute& attribute, std::optional<int64_t> now = 0) {
  if (!attribute) return passes(constraint, std::nullopt, [&] { return now; });
  const Exactly text(*attribute);
  return passes(constraint, text.view(), [&] { return now; });
}

// Both as it is and inverted, which must differ.
bool passes_text(ConstraintText text, const Attribute& attribute, bool is_utf8 = true) {
  Workplace place(is_utf8);
  const bool is_met = passes_prepared(place.prepared(text), attribute);
  text.is_inverted = true;
  EXPECT_NE(passes_prepared(place.prepared(text), attribute), is_met) << name_of(text.op);
  return is_met;
}

bool with_values(Operator op, std::vector<std::string> values, const Attribute& attribute) {
  return passes_text({"it", op, "", std::move(values)}, attribute);
}

bool without_case(Operator op, std::vector<std::string> values, const Attribute& attribute) {
  return passes_text({"it", op, "", std::move(values), false, true}, attribute);
}

bool with_value(Operator op, std::string value, const Attribute& attribute) {
  return passes_text({"it", op, std::move(value), {}}, attribute);
}

bool date(Operator op, std::string value, std::optional<int64_t> now, bool is_inverted = false) {
  Workplace place;
  return passes_prepared(place.prepared({"", op, std::move(value), {}, is_inverted}), std::nullopt, now);
}

// A constraint of that operator that can be prepared.
ConstraintText sound(Operator op) {
  switch (op) {
    case Operator::in:
    case Operator::not_in:
    case Operator::str_starts_with:
    case Operator::str_ends_with:
    case Operator::str_contains:
      return {"it", op, "", {"aa", "b"}};
    case Operator::date_after:
    case Operator::date_before:
      return {"it", op, "2026-12-24", {}};
    case Operator::regex:
      return {"it", op, "^a+$", {}};
    case Operator::in_cidr:
      return {"it", op, "", {"10.0.0.0/8", "::1"}};
    default:
      return {"it", op, op < Operator::date_after ? "1" : "1.2.3", {}};
  }
}

std::string problem_of_text(const ConstraintText& text) {
  Workplace place;
  Constraint constraint = test::unprepared(text, place.arena());
  const auto problem = prepare(constraint, place.workshop());
  return problem ? std::string(problem->value) + '|' + std::string(problem->what) : "";
}

// ---------------------------------------------------------------------------------------------------------------------
// Names

TEST(FlagConstraint, OperatorsHaveUnleashsNames) {
  constexpr std::string_view kNames[] = {
      "IN",         "NOT_IN",    "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS", "NUM_EQ",    "NUM_GT",
      "NUM_GTE",    "NUM_LT",    "NUM_LTE",         "DATE_AFTER",    "DATE_BEFORE",  "SEMVER_EQ", "SEMVER_GT",
      "SEMVER_GTE", "SEMVER_LT", "SEMVER_LTE",      "REGEX",         "IN_CIDR"};
  ASSERT_EQ(std::size(kNames), all_operators().size());
  for (const Operator op : all_operators()) {
    EXPECT_EQ(name_of(op), kNames[static_cast<size_t>(op)]);
    EXPECT_EQ(operator_of(kNames[static_cast<size_t>(op)]), op);
  }
  for (const char* name : {"", "in", "IN ", "EQ", "NUM", "NUM_", "IN_CID", "IN_CIDRS", "SEMVER_NE", "NOT IN"})
    EXPECT_FALSE(operator_of(name)) << name;
  EXPECT_FALSE(operator_of({}));
}

TEST(FlagConstraint, TakesValuesWhereOneMayMatch) {
  const std::set<Operator> taking = {
      Operator::in,           Operator::not_in, Operator::str_starts_with, Operator::str_ends_with,
      Operator::str_contains, Operator::in_cidr};
  for (const Operator op : all_operators()) EXPECT_EQ(takes_values(op), taking.contains(op)) << name_of(op);
}

// ---------------------------------------------------------------------------------------------------------------------
// Without a fitting attribute

TEST(FlagConstraint, WithoutTheAttributeOnlyNotInPasses) {
  for (const Operator op : all_operators())
    EXPECT_TRUE(is_date(op) || passes_text(sound(op), std::nullopt) == (op == Operator::not_in)) << name_of(op);
}

TEST(FlagConstraint, AnAttributeOfTheWrongKindDoesNotPass) {
  for (const Operator op : all_operators()) {
    if (is_date(op)) continue;
    for (const std::string wrong :
         {"", "?", "1.2", "1.2.3.4.5", "NaN", "inf", "-", "1,5", "\xff", "1e", "10.0.0.0/99"}) {
      if (op < Operator::date_after && op >= Operator::num_eq && wrong == "1.2") continue;  // that is a number
      EXPECT_EQ(passes_text(sound(op), wrong), op == Operator::not_in) << name_of(op) << ' ' << wrong;
    }
  }
}

TEST(FlagConstraint, WithoutValuesOnlyNotInPasses) {
  for (const Operator op : all_operators()) {
    if (!takes_values(op)) continue;
    for (const Attribute& attribute : {Attribute(), Attribute(""), Attribute("a")}) {
      EXPECT_EQ(with_values(op, {}, attribute), op == Operator::not_in) << name_of(op);
      EXPECT_EQ(without_case(op, {}, attribute), op == Operator::not_in) << name_of(op);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Lists

TEST(FlagConstraint, InIsOneOfTheValues) {
  for (const char* in : {"a", "bb", "", "\xc3\xa4", "ccc"}) {
    EXPECT_TRUE(with_values(Operator::in, {"ccc", "bb", "", "a", "\xc3\xa4"}, in)) << in;
    EXPECT_FALSE(with_values(Operator::not_in, {"ccc", "bb", "", "a", "\xc3\xa4"}, in)) << in;
  }
  for (const char* out : {"b", "A", "aa", " a", "a ", "cccc", "\xc3\x84", "ab"}) {
    EXPECT_FALSE(with_values(Operator::in, {"ccc", "bb", "", "a", "\xc3\xa4"}, out)) << out;
    EXPECT_TRUE(with_values(Operator::not_in, {"ccc", "bb", "", "a", "\xc3\xa4"}, out)) << out;
  }
  EXPECT_TRUE(with_values(Operator::in, {"a", "a", "a"}, "a"));
  EXPECT_FALSE(without_case(Operator::in, {"a"}, "A")) << "case counts for IN";
  EXPECT_TRUE(without_case(Operator::not_in, {"a"}, "A"));
  EXPECT_TRUE(with_values(Operator::in, {std::string("a\0b", 3)}, std::string("a\0b", 3)));
  EXPECT_FALSE(with_values(Operator::in, {std::string("a\0b", 3)}, std::string("a\0c", 3)));
}

TEST(FlagConstraint, InLooksThroughManyValues) {
  std::vector<std::string> values;
  for (int i = 0; i < 10'000; ++i) values.push_back(std::to_string(i * 7));
  std::shuffle(values.begin(), values.end(), std::mt19937_64(97));
  Workplace place;
  const Constraint in = place.prepared({"userId", Operator::in, "", values});
  const Constraint not_in = place.prepared({"userId", Operator::not_in, "", values});
  for (int i = -10; i < 70'010; ++i) {
    const std::string id = std::to_string(i);
    const bool expected = i >= 0 && i < 70'000 && i % 7 == 0;
    ASSERT_EQ(passes_prepared(in, id), expected) << id;
    ASSERT_EQ(passes_prepared(not_in, id), !expected) << id;
  }
}

TEST(FlagConstraint, InIsThatOfASet) {
  std::mt19937_64 random(101);
  const auto random_text = [&] {
    std::string text(random() % 4, '\0');
    for (char& c : text) c = "ab\0\xff"[random() % 4];
    return text;
  };
  for (int i = 0; i < 300; ++i) {
    std::vector<std::string> values(random() % 40);
    for (std::string& value : values) value = random_text();
    Workplace place;
    const Constraint in = place.prepared({"it", Operator::in, "", values});
    const std::set<std::string> set(values.begin(), values.end());
    for (int j = 0; j < 50; ++j) {
      const std::string text = random_text();
      ASSERT_EQ(passes_prepared(in, text), set.contains(text));
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Texts

TEST(FlagConstraint, StrComparesABeginningAnEndOrAPart) {
  const std::vector<std::string> values = {"never there", "ab"};
  const struct {
    const char* text;
    bool starts;
    bool ends;
    bool contains;
  } cases[] = {{"ab", true, true, true},       {"abc", true, false, true},    {"cab", false, true, true},
               {"cabc", false, false, true},   {"abab", true, true, true},    {"a", false, false, false},
               {"b", false, false, false},     {"", false, false, false},     {"ba", false, false, false},
               {"AB", false, false, false},    {" ab", false, true, true},    {"ab ", true, false, true},
               {"\nab\n", false, false, true}, {"a\nb", false, false, false}, {"ab\n", true, false, true}};
  for (const auto& it : cases) {
    EXPECT_EQ(with_values(Operator::str_starts_with, values, it.text), it.starts) << it.text;
    EXPECT_EQ(with_values(Operator::str_ends_with, values, it.text), it.ends) << it.text;
    EXPECT_EQ(with_values(Operator::str_contains, values, it.text), it.contains) << it.text;
  }
}

TEST(FlagConstraint, StrMayIgnoreCase) {
  const std::vector<std::string> values = {"never there", "aB"};
  const struct {
    const char* text;
    bool starts;
    bool ends;
    bool contains;
  } cases[] = {{"AB", true, true, true},           {"abC", true, false, true},  {"cAb", false, true, true},
               {"cABc", false, false, true},       {"abAB", true, true, true},  {"A", false, false, false},
               {"", false, false, false},          {"BA", false, false, false}, {"\nAb\n", false, false, true},
               {"a\nb", false, false, false},      {"ab\n", true, false, true}, {"\nab", false, true, true},
               {"xNEVER There", false, true, true}};
  for (const auto& it : cases) {
    EXPECT_EQ(without_case(Operator::str_starts_with, values, it.text), it.starts) << it.text;
    EXPECT_EQ(without_case(Operator::str_ends_with, values, it.text), it.ends) << it.text;
    EXPECT_EQ(without_case(Operator::str_contains, values, it.text), it.contains) << it.text;
  }
}

TEST(FlagConstraint, StrIgnoresTheCaseOfUnicode) {
  for (const Operator op : {Operator::str_starts_with, Operator::str_ends_with, Operator::str_contains}) {
    EXPECT_TRUE(without_case(op, {"\u00c4\u00d6"}, "\u00e4\u00f6")) << name_of(op);  // ÄÖ, äö
    EXPECT_TRUE(without_case(op, {"\u00e4\u00d6"}, "\u00c4\u00f6")) << name_of(op);
    EXPECT_FALSE(with_values(op, {"\u00c4\u00d6"}, "\u00e4\u00f6")) << name_of(op);
    EXPECT_FALSE(without_case(op, {"\u00c4"}, "A")) << name_of(op);
    EXPECT_TRUE(without_case(op, {"\u0416"}, "\u0436")) << name_of(op);  // Cyrillic
    EXPECT_TRUE(without_case(op, {"\u03a3"}, "\u03c2")) << name_of(op);  // sigma, at the end of a word
    EXPECT_TRUE(without_case(op, {"\U00010400"}, "\U00010428")) << name_of(op);
  }
}

// Also where values begin alike.
TEST(FlagConstraint, StrIgnoresTheCaseOfBytesThatBeginAlike) {
  for (int byte = 1; byte < 256; ++byte) {
    const std::string letter(1, static_cast<char>(byte));
    const ConstraintText text{"it", Operator::str_starts_with, "", {letter, letter + "sr"}, false, true};
    EXPECT_EQ(passes_text(text, letter + "xyz", false), true) << byte;
  }
}

// In what is no UTF-8, a byte is a letter of Latin-1.
TEST(FlagConstraint, StrIgnoresTheCaseOfBytesElsewhere) {
  for (const Operator op : {Operator::str_starts_with, Operator::str_ends_with, Operator::str_contains}) {
    const auto passes_bytes = [&](const char* value, const char* attribute) {
      return passes_text({"it", op, "", {value}, false, true}, attribute, false);
    };
    EXPECT_TRUE(passes_bytes("a\xff", "A\xff")) << name_of(op);
    EXPECT_TRUE(passes_bytes("\xc4", "\xe4")) << name_of(op);
    EXPECT_FALSE(passes_bytes("a\xff", "a\xfe")) << name_of(op);
  }
}

TEST(FlagConstraint, StrTakesValuesAsTheyAre) {
  for (const char* special :
       {"a.b", "a|b", "(", "[a-z]", "\\", "^a", "a$", "a{2}", "*", "?", "\\Q", "\\E", "a\nb", "$"})
    for (const Operator op : {Operator::str_starts_with, Operator::str_ends_with, Operator::str_contains}) {
      EXPECT_TRUE(without_case(op, {special}, special)) << special;
      EXPECT_TRUE(with_values(op, {special}, special)) << special;
      for (const char* other : {"axb a aa", "a", ""}) EXPECT_FALSE(without_case(op, {special}, other)) << special;
    }
  const std::string with_zero("a\0b", 3);
  EXPECT_TRUE(without_case(Operator::str_contains, {with_zero}, "x" + std::string("A\0B", 3) + "y"));
  EXPECT_FALSE(without_case(Operator::str_contains, {with_zero}, "xay"));
}

TEST(FlagConstraint, StrIgnoringCaseLooksThroughManyValues) {
  std::vector<std::string> values;
  for (int i = 0; i < 2'000; ++i) values.push_back("Domain" + std::to_string(i) + ".test");
  Workplace place;
  const Constraint ends = place.prepared({"email", Operator::str_ends_with, "", values, false, true});
  EXPECT_TRUE(passes_prepared(ends, "ann@DOMAIN1999.TEST"));
  EXPECT_TRUE(passes_prepared(ends, "ann@domain0.test"));
  EXPECT_FALSE(passes_prepared(ends, "ann@domain2000.test"));
  EXPECT_FALSE(passes_prepared(ends, "ann@domain0.test.org"));
}

TEST(FlagConstraint, StrIsThatOfStrings) {
  std::mt19937_64 random(103);
  const auto random_text = [&](size_t longest) {
    std::string text(random() % (longest + 1), '\0');
    for (char& c : text) c = "abB."[random() % 4];
    return text;
  };
  const auto lower = [](std::string text) {
    for (char& c : text) c = c == 'B' ? 'b' : c;
    return text;
  };
  for (int i = 0; i < 3'000; ++i) {
    const Operator op = std::array{Operator::str_starts_with, Operator::str_ends_with, Operator::str_contains}[i % 3];
    const bool ignores_case = random() % 2 == 0;
    std::vector<std::string> values(1 + random() % 3);
    for (std::string& value : values) value = "a" + random_text(3);
    Workplace place;
    const Constraint constraint = place.prepared({"it", op, "", values, false, ignores_case});
    for (int j = 0; j < 10; ++j) {
      const std::string text = random_text(8);
      const std::string compared = ignores_case ? lower(text) : text;
      const bool expected = std::any_of(values.begin(), values.end(), [&](const std::string& it) {
        const std::string value = ignores_case ? lower(it) : it;
        if (op == Operator::str_starts_with) return compared.starts_with(value);
        if (op == Operator::str_ends_with) return compared.ends_with(value);
        return compared.find(value) != std::string::npos;
      });
      ASSERT_EQ(passes_prepared(constraint, text), expected) << name_of(op) << ' ' << values[0] << ' ' << text;
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Numbers

TEST(FlagConstraint, NumbersAreRead) {
  const struct {
    const char* text;
    double number;
  } cases[] = {{"0", 0},
               {"-0", 0},
               {"1", 1},
               {"+1", 1},
               {"-1", -1},
               {"007", 7},
               {"1.5", 1.5},
               {".5", 0.5},
               {"5.", 5},
               {"-.5", -0.5},
               {"1e3", 1000},
               {"1E3", 1000},
               {"1e+3", 1000},
               {"1e-3", 0.001},
               {" 1 ", 1},
               {"\t\n\v\f\r1\t", 1},
               {"1.7976931348623157e308", 1.7976931348623157e308},
               {"-1.7976931348623157e308", -1.7976931348623157e308},
               {"2.2250738585072014e-308", 2.2250738585072014e-308},
               {"5e-324", 5e-324},
               {"9007199254740993", 9007199254740992},
               {"0.1000000000000000055511151231257827021181583404541015625", 0.1}};
  for (const auto& it : cases) {
    const auto number = parse_number(Exactly(it.text).view());
    ASSERT_TRUE(number) << it.text;
    EXPECT_EQ(*number, it.number) << it.text;
  }
  EXPECT_EQ(parse_number(std::string(100'000, '0') + "1"), 1);
}

TEST(FlagConstraint, WhatIsNoNumberIsRefused) {
  for (const char* text : {"",
                           " ",
                           "+",
                           "-",
                           "++1",
                           "+-1",
                           "-+1",
                           "--1",
                           ".",
                           "e",
                           "e5",
                           "1e",
                           "1e+",
                           "1 2",
                           "1,5",
                           "0x10",
                           "1f",
                           "1.5.",
                           "- 1",
                           "+ 1",
                           "1_000",
                           "inf",
                           "nan",
                           "-inf",
                           "NaN",
                           "1e309",
                           "-1e309",
                           "1e99999999999",
                           "Infinity",
                           "infinity",
                           "\xc2\xa0"
                           "1",
                           "1-",
                           "1+1"})
    EXPECT_FALSE(parse_number(Exactly(text).view())) << text;
  EXPECT_FALSE(parse_number({}));
  EXPECT_FALSE(parse_number(std::string_view("1\0", 2)));
}

TEST(FlagConstraint, NumCompares) {
  const struct {
    const char* text;
    int order;
  } cases[] = {{"9.99", -1}, {"10", 0}, {"10.0", 0}, {"1e1", 0},   {" 10 ", 0},  {"+10", 0},  {"10.000000001", 1},
               {"100", 1},   {"9", -1}, {"-10", -1}, {"-100", -1}, {"1e300", 1}, {"0010", 0}, {"-1e300", -1}};
  for (const auto& it : cases) {
    EXPECT_EQ(with_value(Operator::num_eq, "10", it.text), it.order == 0) << it.text;
    EXPECT_EQ(with_value(Operator::num_gt, " 10.0", it.text), it.order > 0) << it.text;
    EXPECT_EQ(with_value(Operator::num_gte, "1e1 ", it.text), it.order >= 0) << it.text;
    EXPECT_EQ(with_value(Operator::num_lt, "+10", it.text), it.order < 0) << it.text;
    EXPECT_EQ(with_value(Operator::num_lte, "\t10\n", it.text), it.order <= 0) << it.text;
  }
  EXPECT_TRUE(with_value(Operator::num_eq, "0", "-0"));
  EXPECT_TRUE(with_value(Operator::num_lt, "-1", "-2"));
}

TEST(FlagConstraint, NumbersAreThoseOfTheCLibrary) {
  std::mt19937_64 random(107);
  int taken = 0;
  const auto check = [&](std::string_view text) {
    const auto number = parse_number(text);
    if (!number) return;
    ++taken;
    const std::string copy(without_blanks(text));
    char* end = nullptr;
    ASSERT_EQ(*number, std::strtod(copy.c_str(), &end)) << copy;
    ASSERT_EQ(*end, '\0') << copy;
  };
  for (const char* text : {"-12.5e-3", " +7 ", ".5", "1e300", "123456789012345678901234567890"})
    for_each_mutation(text, std::string_view("0159.eE+- x\0", 12), check);
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (size_t size = random() % 9; text.size() < size;) text += "0129.e+- "[random() % 9];
    check(Exactly(text).view());
  }
  EXPECT_GT(taken, 1'000);
}

// ---------------------------------------------------------------------------------------------------------------------
// Dates

TEST(FlagConstraint, DateComparesTheMoment) {
  const int64_t moment = *parse_moment("2026-12-24T18:00:00.5+01:00");
  for (const int64_t by : {-1'000'000'000'000L, -1L, 0L, 1L, 1'000'000'000'000L}) {
    EXPECT_EQ(date(Operator::date_after, " 2026-12-24T18:00:00.5+01:00\n", moment + by), by > 0) << by;
    EXPECT_EQ(date(Operator::date_before, "2026-12-24 17:00:00.500", moment + by), by < 0) << by;
    EXPECT_NE(date(Operator::date_after, "2026-12-24T17:00:00.5Z", moment + by, true), by > 0) << by;
    EXPECT_NE(date(Operator::date_before, "2026-12-24T17:00:00.5Z", moment + by, true), by < 0) << by;
  }
}

TEST(FlagConstraint, WithoutAMomentDateDoesNotPass) {
  for (const Operator op : {Operator::date_after, Operator::date_before}) {
    EXPECT_FALSE(date(op, "2026-12-24", std::nullopt));
    EXPECT_TRUE(date(op, "2026-12-24", std::nullopt, true));
  }
}

TEST(FlagConstraint, OnlyDatesAskForTheTime) {
  for (const Operator op : all_operators()) {
    Workplace place;
    const Constraint constraint = place.prepared(sound(op));
    int asked = 0;
    static_cast<void>(passes(constraint, "1", [&] {
      ++asked;
      return std::optional<int64_t>(0);
    }));
    EXPECT_EQ(asked, is_date(op) ? 1 : 0) << name_of(op);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Versions

TEST(FlagConstraint, SemverCompares) {
  const struct {
    const char* text;
    int order;
  } cases[] = {{"2.3.9", -1},     {"2.4.0", 0},  {"2.4.0+build", 0}, {"2.10.0", 1},  {"2.4.0-rc.1", -1},
               {"2.4.1-rc.1", 1}, {"10.0.0", 1}, {" 2.4.0\t", 0},    {"1.99.99", -1}};
  for (const auto& it : cases) {
    EXPECT_EQ(with_value(Operator::semver_eq, "2.4.0", it.text), it.order == 0) << it.text;
    EXPECT_EQ(with_value(Operator::semver_gt, "2.4.0+x", it.text), it.order > 0) << it.text;
    EXPECT_EQ(with_value(Operator::semver_gte, " 2.4.0 ", it.text), it.order >= 0) << it.text;
    EXPECT_EQ(with_value(Operator::semver_lt, "2.4.0\n", it.text), it.order < 0) << it.text;
    EXPECT_EQ(with_value(Operator::semver_lte, "2.4.0", it.text), it.order <= 0) << it.text;
  }
  EXPECT_TRUE(with_value(Operator::semver_lt, "1.0.0-beta.11", "1.0.0-beta.2"));
}

// ---------------------------------------------------------------------------------------------------------------------
// Regular expressions

TEST(FlagConstraint, RegexMatchesAnywhere) {
  EXPECT_TRUE(with_value(Operator::regex, "b+", "abc"));
  EXPECT_TRUE(with_value(Operator::regex, "^abc$", "abc"));
  EXPECT_FALSE(with_value(Operator::regex, "^b", "abc"));
  EXPECT_FALSE(with_value(Operator::regex, "B", "abc"));
  EXPECT_TRUE(with_value(Operator::regex, "", ""));
  EXPECT_TRUE(with_value(Operator::regex, "", "anything"));
  EXPECT_TRUE(with_value(Operator::regex, "(?i)B", "abc"));
  EXPECT_TRUE(with_value(Operator::regex, "^.$", "\u00e4")) << "a character of two bytes";
  EXPECT_TRUE(with_value(Operator::regex, "\\pL{2}", "\u00e4\u00d6"));
  EXPECT_FALSE(with_value(Operator::regex, "^a.c$", "a\nc"));
  EXPECT_FALSE(with_value(Operator::regex, " b", "abc")) << "blanks are part of it";
  EXPECT_TRUE(with_value(Operator::regex, "^\\S+@example\\.(com|org)$", "ann@example.org"));
  EXPECT_FALSE(with_value(Operator::regex, "^\\S+@example\\.(com|org)$", "ann@exampleXorg"));
}

TEST(FlagConstraint, RegexMayIgnoreCase) {
  const auto passes_regex = [](const char* pattern, const char* text) {
    return passes_text({"it", Operator::regex, pattern, {}, false, true}, text);
  };
  EXPECT_TRUE(passes_regex("^aBc$", "AbC"));
  EXPECT_TRUE(passes_regex("^\u00c4+$", "\u00e4\u00c4"));
  EXPECT_FALSE(passes_regex("^a$", "b"));
}

TEST(FlagConstraint, RegexTakesBytesElsewhere) {
  EXPECT_TRUE(passes_text({"it", Operator::regex, "^..$", {}}, "\xc3\xa4", false));
  EXPECT_TRUE(passes_text({"it", Operator::regex, "^.$", {}}, "\xff", false));
  EXPECT_FALSE(passes_text({"it", Operator::regex, "^..$", {}}, "\u00e4", true));
}

// Times are far above what a linear run takes, and far below any other.
TEST(FlagConstraint, RegexRunsInLinearTime) {
  const auto began = std::chrono::steady_clock::now();
  const std::string many_a(kLongestText, 'a');
  for (const char* pattern : {"(a*)*b", "(a|aa)+$x", "(a?){30}a{30}b", "^(([a-z])+.)+[A-Z]([a-z])+$"})
    EXPECT_FALSE(with_value(Operator::regex, pattern, many_a)) << pattern;
  EXPECT_TRUE(with_value(Operator::regex, "(a*)*$", many_a));
  EXPECT_TRUE(with_value(Operator::regex, "(x+x+)+y", std::string(50'000, 'x') + "y"));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

TEST(FlagConstraint, TextsThatAreTooLongMatchNoExpression) {
  const std::string longest(kLongestText, 'a');
  const std::string longer = longest + 'a';
  EXPECT_TRUE(with_value(Operator::regex, "^a", longest));
  EXPECT_FALSE(with_value(Operator::regex, "^a", longer));
  EXPECT_TRUE(without_case(Operator::str_starts_with, {"A"}, longest));
  EXPECT_FALSE(without_case(Operator::str_starts_with, {"A"}, longer));
  EXPECT_TRUE(with_values(Operator::str_starts_with, {"a"}, longer)) << "that needs no expression";
}

TEST(FlagConstraint, ABrokenRegexNeverMatchesAndHasAProblem) {
  for (const char* pattern : {"(", ")", "[", "[b-a]", "*", "a**", "\\", "\\1", "(?=a)", "(?<!a)b", "a{1001}",
                              "\\p{Nope}", "((a{100}){100}){100}", "\xff"}) {
    Workplace place;
    const Constraint constraint = place.prepared({"it", Operator::regex, pattern, {}});
    for (const char* text : {"", "a", "(", "aa"}) EXPECT_FALSE(passes_prepared(constraint, text)) << pattern;
    char buffer[200];
    EXPECT_NE(problem_of(*constraint.expression, buffer), "") << pattern;
    Constraint inverted = constraint;
    inverted.is_inverted = true;
    EXPECT_TRUE(passes_prepared(inverted, "a")) << pattern;
  }
}

TEST(FlagConstraint, ASoundRegexHasNoProblem) {
  for (const char* pattern : {"", "a", "(a*)*b", "a{1000}", "[[:alpha:]]", "\\pL", "(?i:a)b"}) {
    Workplace place;
    const Constraint constraint = place.prepared({"it", Operator::regex, pattern, {}});
    char buffer[200];
    EXPECT_EQ(problem_of(*constraint.expression, buffer), "") << pattern;
  }
}

TEST(FlagConstraint, AProblemOfARegexIsCutToItsRoom) {
  Workplace place;
  const Constraint constraint = place.prepared({"it", Operator::regex, "(?=long lookahead)", {}});
  char buffer[500];
  const std::string whole(problem_of(*constraint.expression, buffer));
  ASSERT_GT(whole.size(), 5U);
  EXPECT_NE(whole.find("(?="), std::string::npos) << whole;
  for (size_t size = 0; size <= whole.size(); ++size) {
    const std::unique_ptr<char[]> room(new char[size]);
    EXPECT_EQ(problem_of(*constraint.expression, {room.get(), size}), whole.substr(0, size));
  }
}

TEST(FlagConstraint, ExpressionsCompileAgainAfterRelease) {
  Workplace place;
  const Constraint regex = place.prepared({"it", Operator::regex, "^b", {}});
  const Constraint starts = place.prepared({"it", Operator::str_starts_with, "", {"B"}, false, true});
  for (int round = 0; round < 3; ++round) {
    for (const Constraint* it : {&regex, &starts}) {
      EXPECT_EQ(it->expression->compiled, nullptr);
      EXPECT_TRUE(passes_prepared(*it, "bc"));
      EXPECT_FALSE(passes_prepared(*it, "cb"));
      EXPECT_NE(it->expression->compiled, nullptr);
    }
    release_all(place.workshop().expressions);
  }
  release_all(nullptr);
}

TEST(FlagConstraint, OnlyWhatNeedsAnExpressionHasOne) {
  Workplace place;
  for (const Operator op : all_operators()) {
    EXPECT_EQ(place.prepared(sound(op)).expression != nullptr, op == Operator::regex) << name_of(op);
    ConstraintText text = sound(op);
    text.ignores_case = true;
    const bool folds =
        op == Operator::regex || (takes_values(op) && op >= Operator::str_starts_with && op <= Operator::str_contains);
    EXPECT_EQ(place.prepared(text).expression != nullptr, folds) << name_of(op);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Addresses

TEST(FlagConstraint, InCidrIsWithinOneOfTheNetworks) {
  const std::vector<std::string> networks = {"192.168.0.0/16", "10.1.2.3", "2001:db8::/32"};
  for (const char* in : {"192.168.0.0", "192.168.255.255", "10.1.2.3", "2001:db8::5", "2001:DB8:0:0:0:0:0:5"})
    EXPECT_TRUE(with_values(Operator::in_cidr, networks, in)) << in;
  for (const char* out : {"192.169.0.0", "10.1.2.4", "2001:db9::", "::ffff:10.1.2.3", "localhost", "", "10.1.2", "::"})
    EXPECT_FALSE(with_values(Operator::in_cidr, networks, out)) << out;
  std::vector<std::string> many;
  for (int i = 0; i < 1'000; ++i)
    many.push_back("10." + std::to_string(i / 250) + '.' + std::to_string(i % 250) + ".0/24");
  EXPECT_TRUE(with_values(Operator::in_cidr, many, "10.3.249.7"));
  EXPECT_FALSE(with_values(Operator::in_cidr, many, "10.3.250.7"));
}

// ---------------------------------------------------------------------------------------------------------------------
// What cannot be prepared

TEST(FlagConstraint, PrepareNamesWhatIsWrong) {
  EXPECT_EQ(problem_of_text({"it", Operator::num_gt, "ten", {}}), "ten|is not a number");
  EXPECT_EQ(problem_of_text({"it", Operator::num_eq, "", {}}), "|is not a number");
  EXPECT_EQ(problem_of_text({"it", Operator::num_lte, " 1 2 ", {}}), " 1 2 |is not a number");
  EXPECT_EQ(problem_of_text({"it", Operator::semver_lt, "1.2", {}}), "1.2|is not a semantic version like 1.2.3");
  EXPECT_EQ(problem_of_text({"it", Operator::date_after, "soon", {}}), "soon|is not a date like 2026-12-24T18:00:00Z");
  EXPECT_EQ(problem_of_text({"it", Operator::in_cidr, "", {"10.0.0.0/8", "10.0.0.0/33", "no"}}),
            "10.0.0.0/33|is neither an address nor a network like 10.0.0.0/8");
  EXPECT_EQ(problem_of_text({"it", Operator::in_cidr, "", {"::", ""}}),
            "|is neither an address nor a network like 10.0.0.0/8");
}

TEST(FlagConstraint, EveryOperatorThatComparesNeedsASoundValue) {
  for (const Operator op : all_operators()) {
    EXPECT_EQ(problem_of_text(sound(op)), "") << name_of(op);
    const bool takes_any = op < Operator::num_eq || op == Operator::regex;
    for (const char* bad : {"", "?", "1.", "2026-13-01", "01.2.3"}) {
      const bool is_number = std::string_view(bad) == "1." && op >= Operator::num_eq && op <= Operator::num_lte;
      const ConstraintText text{"it", op, bad, {bad}};
      EXPECT_EQ(problem_of_text(text) == "", takes_any || is_number) << name_of(op) << " with " << bad;
    }
  }
}

TEST(FlagConstraint, BlanksAreCutAtBothEndsOnly) {
  EXPECT_EQ(without_blanks(""), "");
  EXPECT_EQ(without_blanks({}), "");
  EXPECT_EQ(without_blanks(" \t\n\v\f\r "), "");
  EXPECT_EQ(without_blanks("a"), "a");
  EXPECT_EQ(without_blanks(" a b\n"), "a b");
  EXPECT_EQ(without_blanks("\xc2\xa0"
                           "a"),
            "\xc2\xa0"
            "a")
      << "only ASCII's blanks";
  EXPECT_EQ(without_blanks(std::string_view("\0 ", 2)), std::string_view("\0", 1));
}

}  // namespace
}  // namespace pgcache::flags

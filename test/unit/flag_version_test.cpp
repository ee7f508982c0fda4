// Semantic versions: what is one, and which comes first.
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "flags.hpp"
#include "flags/semantic_version.hpp"

namespace pgcache::flags {
namespace {

using test::Exactly;
using test::for_each_mutation;

std::weak_ordering compare_texts(std::string_view one, std::string_view other) {
  const Exactly first(one);
  const Exactly second(other);
  const auto parsed = parse_version(first.view());
  const auto other_parsed = parse_version(second.view());
  EXPECT_TRUE(parsed) << one;
  EXPECT_TRUE(other_parsed) << other;
  if (!parsed || !other_parsed) return std::weak_ordering::equivalent;
  return compare(*parsed, *other_parsed);
}

// The examples of the page that semver.org names for its regular expression.
const std::vector<std::string> kVersions = {
    "0.0.4",
    "1.2.3",
    "10.20.30",
    "1.1.2-prerelease+meta",
    "1.1.2+meta",
    "1.1.2+meta-valid",
    "1.0.0-alpha",
    "1.0.0-beta",
    "1.0.0-alpha.beta",
    "1.0.0-alpha.beta.1",
    "1.0.0-alpha.1",
    "1.0.0-alpha0.valid",
    "1.0.0-alpha.0valid",
    "1.0.0-alpha-a.b-c-somethinglong+build.1-aef.1-its-okay",
    "1.0.0-rc.1+build.1",
    "2.0.0-rc.1+build.123",
    "1.2.3-beta",
    "10.2.3-DEV-SNAPSHOT",
    "1.2.3-SNAPSHOT-123",
    "1.0.0",
    "2.0.0",
    "1.1.7",
    "2.0.0+build.1848",
    "2.0.1-alpha.1227",
    "1.0.0-alpha+beta",
    "1.2.3----RC-SNAPSHOT.12.9.1--.12+788",
    "1.2.3----R-S.12.9.1--.12+meta",
    "1.2.3----RC-SNAPSHOT.12.9.1--.12",
    "1.0.0+0.build.1-rc.10000aaa-kk-0.1",
    "99999999999999999999999.999999999999999999.99999999999999999",
    "1.0.0-0A.is.legal",
};

const std::vector<std::string> kOthers = {
    "",
    "1",
    "1.2",
    "1.2.3-0123",
    "1.2.3-0123.0123",
    "1.1.2+.123",
    "+invalid",
    "-invalid",
    "-invalid+invalid",
    "-invalid.01",
    "alpha",
    "alpha.beta",
    "alpha.beta.1",
    "alpha.1",
    "alpha+beta",
    "alpha_beta",
    "alpha.",
    "alpha..",
    "beta",
    "1.0.0-alpha_beta",
    "-alpha.",
    "1.0.0-alpha..",
    "1.0.0-alpha..1",
    "1.0.0-alpha...1",
    "1.0.0-alpha....1",
    "1.0.0-alpha.....1",
    "1.0.0-alpha......1",
    "1.0.0-alpha.......1",
    "01.1.1",
    "1.01.1",
    "1.1.01",
    "1.2.3.DEV",
    "1.2-SNAPSHOT",
    "1.2.31.2.3----RC-SNAPSHOT.12.09.1--..12+788",
    "1.2-RC-SNAPSHOT",
    "-1.0.3-gamma+b7718",
    "+justmeta",
    "9.8.7+meta+meta",
    "9.8.7-whatever+meta+meta",
    "99999999999999999999999.999999999999999999.99999999999999999----RC-SNAPSHOT.12.09.1------------------------------"
    "--..12",
    // And more.
    "v1.2.3",
    " 1.2.3",
    "1.2.3 ",
    "1.2.3-",
    "1.2.3+",
    "1.2.3-+b",
    "1.2.3-a+",
    "1.2.3-a.",
    "1.2.3-.a",
    "1.2.3+b.",
    "1..3",
    ".2.3",
    "1.2.",
    "00.0.0",
    "0.0.00",
    "1.2.3.4",
    "1.2.3-00",
    "1.2.3-a.01",
    "+1.2.3",
    "1.2.3-\xc3\xa4",
    "1,2,3",
};

TEST(FlagVersion, TakesThePublishedExamples) {
  for (const std::string& text : kVersions) EXPECT_TRUE(parse_version(Exactly(text).view())) << text;
}

TEST(FlagVersion, RefusesThePublishedCounterexamples) {
  for (const std::string& text : kOthers) EXPECT_FALSE(parse_version(Exactly(text).view())) << text;
  EXPECT_FALSE(parse_version({}));
  EXPECT_FALSE(parse_version(std::string_view("1.2.3\0", 6)));
  EXPECT_FALSE(parse_version(std::string_view("1.2.3-a\0b", 9)));
}

TEST(FlagVersion, HasParts) {
  const auto version = parse_version("1.20.3-rc.1-x+build-7.007");
  ASSERT_TRUE(version);
  EXPECT_EQ(version->major, "1");
  EXPECT_EQ(version->minor, "20");
  EXPECT_EQ(version->patch, "3");
  EXPECT_EQ(version->prerelease, "rc.1-x");
  EXPECT_EQ(parse_version("1.2.3+a-b")->prerelease, "");
}

TEST(FlagVersion, IsWhatTheSpecificationsExpressionMatches) {
  const re2::RE2 published(
      R"((0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*))"
      R"((?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?)"
      R"((?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?)");
  ASSERT_TRUE(published.ok());
  int taken = 0;
  int refused = 0;
  const auto check = [&](std::string_view text) {
    std::string parts[5];
    const bool expected = re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), published, &parts[0],
                                              &parts[1], &parts[2], &parts[3], &parts[4]);
    const auto version = parse_version(text);
    ASSERT_EQ(version.has_value(), expected) << text;
    ++(expected ? taken : refused);
    if (!version) return;
    EXPECT_EQ(version->major, parts[0]) << text;
    EXPECT_EQ(version->minor, parts[1]) << text;
    EXPECT_EQ(version->patch, parts[2]) << text;
    EXPECT_EQ(version->prerelease, parts[3]) << text;
  };
  for (const auto* texts : {&kVersions, &kOthers})
    for (const std::string& text : *texts) for_each_mutation(text, std::string_view(".-+01aZ _\0\xc3", 11), check);
  std::mt19937_64 random(73);
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (size_t size = random() % 14; text.size() < size;) text += "012.-+aA"[random() % 8];
    check(random() % 2 == 0 ? text : "1.0.2" + text);
  }
  EXPECT_GT(taken, 5'000);
  EXPECT_GT(refused, 5'000);
}

// ---------------------------------------------------------------------------------------------------------------------
// Order

TEST(FlagVersion, ComesInTheOrderOfTheSpecification) {
  const std::vector<std::string> ascending = {"0.0.0-0",
                                              "0.0.0",
                                              "0.0.1",
                                              "0.9.9",
                                              "0.10.0",
                                              "1.0.0--",
                                              "1.0.0-0a",  // a word
                                              "1.0.0-a",
                                              "1.0.0-alpha",
                                              "1.0.0-alpha.1",
                                              "1.0.0-alpha.beta",
                                              "1.0.0-beta",
                                              "1.0.0-beta.2",
                                              "1.0.0-beta.11",
                                              "1.0.0-beta.99999999999999999999999",
                                              "1.0.0-beta.100000000000000000000000",
                                              "1.0.0-rc.1",
                                              "1.0.0",
                                              "1.0.1",
                                              "2.0.0",
                                              "2.1.0",
                                              "2.1.1",
                                              "10.0.0",
                                              "18446744073709551615.0.0",
                                              "18446744073709551616.0.0",
                                              "99999999999999999999999999999999999999999999.0.0",
                                              "100000000000000000000000000000000000000000000.0.0"};
  for (size_t i = 0; i < ascending.size(); ++i)
    for (size_t j = 0; j < ascending.size(); ++j)
      EXPECT_TRUE(compare_texts(ascending[i], ascending[j]) == (i <=> j)) << ascending[i] << " and " << ascending[j];
  EXPECT_TRUE(compare_texts("1.0.0-A", "1.0.0-a") < 0) << "capitals come first";
  EXPECT_TRUE(compare_texts("1.0.0-999", "1.0.0--1") < 0) << "numbers come before words";
}

TEST(FlagVersion, BuildsDoNotCount) {
  EXPECT_TRUE(compare_texts("1.2.3+a", "1.2.3+b") == 0);
  EXPECT_TRUE(compare_texts("1.2.3+a", "1.2.3") == 0);
  EXPECT_TRUE(compare_texts("1.2.3-rc.1+a", "1.2.3-rc.1") == 0);
  EXPECT_TRUE(compare_texts("1.2.3-rc.1+z", "1.2.3") < 0);
}

TEST(FlagVersion, NumbersMayBeOfAnyLength) {
  const std::string huge(100'000, '9');
  EXPECT_TRUE(compare_texts(huge + ".0.0", "1" + std::string(100'000, '0') + ".0.0") < 0);
  EXPECT_TRUE(compare_texts("1.0.0-" + huge, "1.0.0-" + huge) == 0);
  EXPECT_TRUE(compare_texts("1.0.0-" + huge, "1.0.0-" + huge + ".0") < 0);
}

// Sorts as the order does: each identifier by kind and, if it is a number, filled up with zeros.
std::vector<std::string> naive_key(const std::string& text) {
  const auto filled = [](const std::string& number) { return std::string(40 - number.size(), '0') + number; };
  const std::string version = text.substr(0, text.find('+'));
  const size_t dash = version.find('-');
  std::vector<std::string> key;
  std::string part;
  for (const char c : version.substr(0, dash) + '.') {
    if (c != '.') {
      part += c;
    } else {
      key.push_back(filled(part));
      part.clear();
    }
  }
  if (dash == std::string::npos) {
    key.emplace_back("2");  // after all that have an identifier
    return key;
  }
  key.emplace_back("1");
  for (const char c : version.substr(dash + 1) + '.') {
    if (c != '.') {
      part += c;
      continue;
    }
    const bool is_number = part.find_first_not_of("0123456789") == std::string::npos;
    key.push_back(is_number ? "1" + filled(part) : "2" + part);
    part.clear();
  }
  return key;
}

TEST(FlagVersion, ComesInTheOrderOfANaiveKey) {
  std::mt19937_64 random(79);
  const auto one_of = [&](const std::vector<std::string>& texts) { return texts[random() % texts.size()]; };
  const auto number = [&] { return one_of({"0", "1", "2", "9", "10", "11", "99999999999999999999"}); };
  const auto random_version = [&] {
    std::string text = number() + '.' + number() + '.' + number();
    for (size_t i = 0, count = random() % 4; i < count; ++i)
      text += (i == 0 ? '-' : '.') + one_of({"0", "1", "2", "10", "a", "A", "aa", "a-", "-", "0a", "1-", "alpha"});
    return text + one_of({"", "", "+0", "+a.01"});
  };
  std::vector<std::string> versions;
  for (int i = 0; i < 400; ++i)
    versions.push_back(i % 2 == 0 ? random_version() : "1.0.0-" + [&] {
      std::string text = one_of({"0", "a", "1"});
      for (size_t more = random() % 3; more > 0; --more) text += '.' + one_of({"0", "a", "1", "10", "0a", "-"});
      return text;
    }());
  for (const std::string& one : versions)
    for (const std::string& other : versions) {
      const auto order = compare(*parse_version(one), *parse_version(other));
      ASSERT_TRUE(order == (naive_key(one) <=> naive_key(other))) << one << " and " << other;
      ASSERT_TRUE(compare(*parse_version(other), *parse_version(one)) == 0 <=> order) << one << " and " << other;
    }
}

}  // namespace
}  // namespace pgcache::flags

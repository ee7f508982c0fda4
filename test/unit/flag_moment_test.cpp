// Points in time as texts, against the C library's calendar.
#include "flags/moment.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>
#include <random>
#include <string>

#include "flags.hpp"

namespace pgcache::flags {
namespace {

using test::Exactly;
using test::for_each_mutation;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kEpoch = 946'684'800;  // 2000-01-01, for the C library

std::optional<int64_t> parsed(std::string_view text) { return parse_moment(Exactly(text).view()); }

int64_t moment_of(int year, int month, int day, int hour = 0, int minute = 0, int second = 0) {
  std::tm broken{};
  broken.tm_year = year - 1900;
  broken.tm_mon = month - 1;
  broken.tm_mday = day;
  broken.tm_hour = hour;
  broken.tm_min = minute;
  broken.tm_sec = second;
  return (timegm(&broken) - kEpoch) * kSecond;
}

template <typename... Number>
std::string formatted(const char* format, Number... numbers) {
  char text[64];
  std::snprintf(text, sizeof text, format, numbers...);
  return text;
}

TEST(FlagMoment, IsReadInEachForm) {
  const struct {
    const char* text;
    int64_t moment;
  } cases[] = {
      {"2000-01-01", 0},
      {"2000-01-01T00:00Z", 0},
      {"2026-12-24", moment_of(2026, 12, 24)},
      {"2026-12-24T18:00", moment_of(2026, 12, 24, 18)},
      {"2026-12-24 18:00", moment_of(2026, 12, 24, 18)},
      {"2026-12-24t18:00z", moment_of(2026, 12, 24, 18)},
      {"2026-12-24T18:01:02", moment_of(2026, 12, 24, 18, 1, 2)},
      {"2026-12-24T18:01:02Z", moment_of(2026, 12, 24, 18, 1, 2)},
      {"2026-12-24T18:00:00.5+01:00", moment_of(2026, 12, 24, 17) + kSecond / 2},
      {"2026-12-24T18:00+01:00", moment_of(2026, 12, 24, 17)},
      {"2026-12-24T18:00-01:30", moment_of(2026, 12, 24, 19, 30)},
      {"2026-12-24T18:00+01", moment_of(2026, 12, 24, 17)},
      {"2026-12-24 18:00:00.5-0130", moment_of(2026, 12, 24, 19, 30) + kSecond / 2},
      {"2026-12-24T18:00:00-00", moment_of(2026, 12, 24, 18)},
      {"2026-12-24T18:00-00:00", moment_of(2026, 12, 24, 18)},
      {"2026-12-31T23:59:59-23:59", moment_of(2027, 1, 1, 23, 58, 59)},
      {"2026-01-01T00:00:00+23:59", moment_of(2025, 12, 31, 0, 1, 0)},
      {"2026-12-24T23:59:59.999999", moment_of(2026, 12, 25) - 1},
      {"2026-12-24T00:00:00.1", moment_of(2026, 12, 24) + 100'000},
      {"2026-12-24T00:00:00.000001", moment_of(2026, 12, 24) + 1},
      {"2026-12-24T00:00:00.0000019999999999999999999999999Z", moment_of(2026, 12, 24) + 1},
      {"2026-12-24T00:00:00.123456789-00:01", moment_of(2026, 12, 24, 0, 1) + 123'456},
      {"0000-01-01", moment_of(0, 1, 1)},
      {"0001-01-01", moment_of(1, 1, 1)},
      {"1999-12-31T23:59:59.999999Z", -1},
      {"1582-10-15", moment_of(1582, 10, 15)},
      {"9999-12-31T23:59:59.999999-23:59", moment_of(10000, 1, 1, 23, 59) - 1},
  };
  for (const auto& it : cases) EXPECT_EQ(parsed(it.text), it.moment) << it.text;
  EXPECT_EQ(moment_of(2026, 12, 24), 851'385'600 * kSecond) << "the test itself";
}

TEST(FlagMoment, IsRefused) {
  for (const char* text : {"",
                           " ",
                           "now",
                           "2026",
                           "2026-12",
                           "2026-12-",
                           "2026-12-2",
                           "2026-1-24",
                           "26-12-24",
                           "02026-12-24",
                           "20261224",
                           "2026/12/24",
                           "2026-00-24",
                           "2026-13-24",
                           "2026-12-00",
                           "2026-12-32",
                           "2026-04-31",
                           "2026-02-29",
                           "-026-12-24",
                           "+2026-12-24",
                           " 2026-12-24",
                           "2026-12-24 ",
                           "2026-12-24T",
                           "2026-12-24Z",
                           "2026-12-24+01:00",
                           "2026-12-24T18",
                           "2026-12-24T18Z",
                           "2026-12-24T18:",
                           "2026-12-24T18:0",
                           "2026-12-24T24:00",
                           "2026-12-24T18:60",
                           "2026-12-24T18:00:",
                           "2026-12-24T18:00:0",
                           "2026-12-24T18:00:60",
                           "2026-12-24T18:00:61",
                           "2026-12-24T18:00:00.",
                           "2026-12-24T18:00:00.Z",
                           "2026-12-24T18:00:00,5",
                           "2026-12-24T18:00.5",
                           "2026-12-24T18:00:00.-5",
                           "2026-12-24T18:00 Z",
                           "2026-12-24T18:00ZZ",
                           "2026-12-24T18:00Z+01:00",
                           "2026-12-24T18:00+24:00",
                           "2026-12-24T18:00+01:60",
                           "2026-12-24T18:00+01:00:00",
                           "2026-12-24T18:00+",
                           "2026-12-24T18:00+1",
                           "2026-12-24T18:00+24",
                           "2026-12-24T18:00+01:",
                           "2026-12-24T18:00+01:0",
                           "2026-12-24T18:00+010",
                           "2026-12-24T18:00+0160",
                           "2026-12-24T18:00+01000",
                           "2026-12-24T18:00+01::00",
                           "2026-12-24T18:00+01Z",
                           "2026-12-24T18:00+-1:00",
                           "2026-12-24  18:00",
                           "2026-12-24X18:00",
                           "infinity"})
    EXPECT_FALSE(parsed(text)) << text;
  EXPECT_FALSE(parse_moment({}));
  EXPECT_FALSE(parsed(std::string_view("2026-12-24\0", 11)));
  EXPECT_FALSE(parsed(std::string_view("2026-12-24T18:00\0", 17)));
}

TEST(FlagMoment, KnowsEveryDayOfTheCalendar) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  for (const int year :
       {0, 1, 4, 100, 400, 1600, 1700, 1899, 1900, 1970, 1999, 2000, 2001, 2023, 2024, 2026, 2100, 9999}) {
    const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    for (int month = 0; month <= 13; ++month)
      for (int day = 0; day <= 32; ++day) {
        const std::string text = formatted("%04d-%02d-%02d", year, month, day);
        const bool is_there =
            month >= 1 && month <= 12 && day >= 1 && day <= kDays[month - 1] + (is_leap && month == 2 ? 1 : 0);
        const auto moment = parsed(text);
        ASSERT_EQ(moment.has_value(), is_there) << text;
        ASSERT_TRUE(!moment || *moment == moment_of(year, month, day)) << text;
      }
  }
}

TEST(FlagMoment, IsThatOfTheCLibrary) {
  std::mt19937_64 random(89);
  const auto up_to = [&](int most) { return static_cast<int>(random() % (static_cast<uint64_t>(most) + 1)); };
  for (int i = 0; i < 50'000; ++i) {
    const int year = up_to(9999);
    const int month = 1 + up_to(11);
    const int day = 1 + up_to(27);
    const int hour = up_to(23);
    const int minute = up_to(59);
    const int second = up_to(59);
    const int digits = up_to(9);
    std::string text = formatted("%04d-%02d-%02dT%02d:%02d:%02d", year, month, day, hour, minute, second);
    int64_t expected = moment_of(year, month, day, hour, minute, second);
    if (digits > 0) {
      const std::string fraction = formatted("%09d", up_to(999'999'999)).substr(0, static_cast<size_t>(digits));
      text += '.' + fraction;
      expected += std::stoll((fraction + "000000").substr(0, 6));
    }
    if (const int zone = up_to(3); zone == 1) {
      text += 'Z';
    } else if (zone > 1) {
      const int hours = up_to(23);
      const int minutes = up_to(59);
      text += formatted(up_to(1) == 0 ? "%c%02d:%02d" : "%c%02d%02d", zone == 2 ? '+' : '-', hours, minutes);
      expected -= (zone == 2 ? 1 : -1) * (hours * 3600 + minutes * 60) * kSecond;
    }
    ASSERT_EQ(parsed(text), expected) << text;
  }
}

TEST(FlagMoment, MutationsAreTakenOrRefused) {
  const int64_t first = moment_of(-1, 12, 31);
  const int64_t last = moment_of(10000, 1, 2);
  int taken = 0;
  int refused = 0;
  for (const char* text : {"2026-12-24", "2024-02-29T18:00", "2026-12-24 18:00:00.5+01:00", "0000-01-01T00:00:00-23:59",
                           "9999-12-31T23:59:59.999999999Z"})
    for_each_mutation(text, std::string_view("0129-+:.TZ \0\xff", 13), [&](std::string_view mutation) {
      const auto moment = parse_moment(mutation);
      ++(moment ? taken : refused);
      EXPECT_TRUE(!moment || (*moment > first && *moment < last)) << mutation;
    });
  EXPECT_GT(taken, 200);
  EXPECT_GT(refused, 1'000);
  EXPECT_TRUE(parsed("2026-12-24T18:00:00." + std::string(100'000, '9')));
}

}  // namespace
}  // namespace pgcache::flags

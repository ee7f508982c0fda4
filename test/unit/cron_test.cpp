// Schedules of cron: parsed, and their times, also where the clock is changed.
#include "matviews/cron.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace pgcache {
namespace {

constexpr int64_t kMinute = 60;
constexpr int64_t kHour = 3600;
constexpr int64_t kDay = 86400;

// ---------------------------------------------------------------------------------------------------------------------
// Times as text. The C library's calendar, since the code under test has the C++ one's.

int64_t at(const char* text) {
  std::tm broken{};
  if (std::sscanf(text, "%d-%d-%d %d:%d:%d", &broken.tm_year, &broken.tm_mon, &broken.tm_mday, &broken.tm_hour,
                  &broken.tm_min, &broken.tm_sec) < 5)
    ADD_FAILURE() << "not a time: " << text;
  broken.tm_year -= 1900;
  broken.tm_mon -= 1;
  return timegm(&broken);
}

std::tm broken_down(int64_t time) {
  std::tm broken{};
  const std::time_t seconds = time;
  gmtime_r(&seconds, &broken);
  return broken;
}

std::string text_of(std::optional<int64_t> time) {
  if (!time.has_value()) return "never";
  const std::tm broken = broken_down(*time);
  char text[64];
  const size_t size = std::strftime(text, sizeof text, broken.tm_sec == 0 ? "%Y-%m-%d %H:%M" : "%F %T", &broken);
  return {text, size};
}

// ---------------------------------------------------------------------------------------------------------------------
// Zones

struct Change {
  int64_t at;
  int32_t offset;
};

struct TestZone {
  const char* name;
  int32_t first_offset;
  std::vector<Change> changes;
  mutable int64_t asked = 0;

  [[nodiscard]] int32_t offset_at(int64_t time) const {
    ++asked;
    int32_t offset = first_offset;
    for (const Change& change : changes)
      if (change.at <= time) offset = change.offset;
    return offset;
  }
  [[nodiscard]] Zone zone() const {
    return {[](const void* self, int64_t time) noexcept { return static_cast<const TestZone*>(self)->offset_at(time); },
            this};
  }
};

constexpr int32_t hours(int whole, int minutes = 0) { return whole * 3600 + (whole < 0 ? -minutes : minutes) * 60; }

const TestZone& utc() {
  static const TestZone zone{"UTC", 0, {}};
  return zone;
}

const TestZone& berlin() {
  static const TestZone zone{"Europe/Berlin",
                             hours(2),
                             {{at("2025-10-26 01:00"), hours(1)},
                              {at("2026-03-29 01:00"), hours(2)},
                              {at("2026-10-25 01:00"), hours(1)},
                              {at("2027-03-28 01:00"), hours(2)},
                              {at("2027-10-31 01:00"), hours(1)}}};
  return zone;
}

const TestZone& new_york() {
  static const TestZone zone{
      "America/New_York", hours(-5), {{at("2026-03-08 07:00"), hours(-4)}, {at("2026-11-01 06:00"), hours(-5)}}};
  return zone;
}

const TestZone& lord_howe() {
  static const TestZone zone{
      "Australia/Lord_Howe", hours(11), {{at("2026-04-04 15:00"), hours(10, 30)}, {at("2026-10-03 15:30"), hours(11)}}};
  return zone;
}

// Its clock goes from 0:00 to 1:00, and from 24:00 to 23:00.
const TestZone& cairo() {
  static const TestZone zone{
      "Africa/Cairo", hours(2), {{at("2026-04-23 22:00"), hours(3)}, {at("2026-10-29 21:00"), hours(2)}}};
  return zone;
}

const TestZone& chatham() {
  static const TestZone zone{"Pacific/Chatham",
                             hours(13, 45),
                             {{at("2026-04-04 14:00"), hours(12, 45)}, {at("2026-09-26 14:00"), hours(13, 45)}}};
  return zone;
}

// Its clock went from 2011-12-29 24:00 to 2011-12-31 0:00.
const TestZone& apia() {
  static const TestZone zone{"Pacific/Apia", hours(-10), {{at("2011-12-30 10:00"), hours(14)}}};
  return zone;
}

// The day of the change came twice. Nothing of the like is known after 1892.
const TestZone& day_again() {
  static const TestZone zone{"a day again", hours(14), {{at("2026-06-10 10:00"), hours(-10)}}};
  return zone;
}

// Its clock went from 0:00:00 to 0:44:30.
const TestZone& monrovia() {
  static const TestZone zone{"Africa/Monrovia", -2670, {{at("1972-01-07 00:44:30"), 0}}};
  return zone;
}

// Two changes as close as they may be.
const TestZone& restless() {
  static const TestZone zone{
      "restless",
      hours(1),
      {{at("2026-06-10 10:00"), hours(2)}, {at("2026-06-12 10:00"), hours(0, 30)}, {at("2026-06-14 10:00"), hours(1)}}};
  return zone;
}

std::vector<const TestZone*> zones() {
  return {&berlin(), &new_york(), &lord_howe(), &cairo(), &chatham(), &apia(), &day_again(), &monrovia(), &restless()};
}

// ---------------------------------------------------------------------------------------------------------------------
// Parsing

std::vector<int> members(uint64_t set) {
  std::vector<int> result;
  for (int i = 0; i < 64; ++i)
    if ((set >> i & 1) != 0) result.push_back(i);
  return result;
}

std::vector<int> up_to(int first, int last, int step = 1) {
  std::vector<int> result;
  for (int i = first; i <= last; i += step) result.push_back(i);
  return result;
}

CronSchedule parsed(std::string_view text) {
  const ParsedCron result = parse_cron(text);
  EXPECT_EQ(result.problem, nullptr) << text << ": " << result.problem;
  EXPECT_EQ(result.field, 0) << text;
  return result.schedule;
}

TEST(Cron, ReadsEachField) {
  const CronSchedule schedule = parsed("1 2 3 4 5");
  EXPECT_EQ(members(schedule.minutes), std::vector{1});
  EXPECT_EQ(members(schedule.hours), std::vector{2});
  EXPECT_EQ(members(schedule.days), std::vector{3});
  EXPECT_EQ(members(schedule.months), std::vector{4});
  EXPECT_EQ(members(schedule.weekdays), std::vector{5});
  EXPECT_FALSE(schedule.any_day || schedule.any_weekday || schedule.by_the_clock);
}

TEST(Cron, AStarIsEveryValue) {
  const CronSchedule schedule = parsed("* * * * *");
  EXPECT_EQ(members(schedule.minutes), up_to(0, 59));
  EXPECT_EQ(members(schedule.hours), up_to(0, 23));
  EXPECT_EQ(members(schedule.days), up_to(1, 31));
  EXPECT_EQ(members(schedule.months), up_to(1, 12));
  EXPECT_EQ(members(schedule.weekdays), up_to(0, 6));
  EXPECT_TRUE(schedule.any_day && schedule.any_weekday && schedule.by_the_clock);
}

TEST(Cron, ReadsElements) {
  const struct {
    const char* minutes;
    std::vector<int> values;
  } cases[] = {{"0", {0}},
               {"59", {59}},
               {"007", {7}},
               {"00000000000000000000000000000000000005", {5}},
               {"1,2,3", {1, 2, 3}},
               {"3,1,3", {1, 3}},
               {"5-8", {5, 6, 7, 8}},
               {"5-5", {5}},
               {"0-59", up_to(0, 59)},
               {"5-8,20", {5, 6, 7, 8, 20}},
               {"*/20", {0, 20, 40}},
               {"*/1", up_to(0, 59)},
               {"*/59", {0, 59}},
               {"*/60", {0}},
               {"*/99999999999999999999999", {0}},
               {"10-30/7", {10, 17, 24}},
               {"10-31/7", {10, 17, 24, 31}},
               {"10-12/9", {10}},
               {"5-5/3", {5}},
               {"0-4/2,50-59/4,33", {0, 2, 4, 33, 50, 54, 58}},
               {"7,*", up_to(0, 59)},
               {"*,7", up_to(0, 59)},
               {"*/30,7", {0, 7, 30}}};
  for (const auto& it : cases)
    EXPECT_EQ(members(parsed(std::string(it.minutes) + " 0 * * *").minutes), it.values) << it.minutes;
}

TEST(Cron, ReadsNames) {
  const struct {
    const char* months;
    std::vector<int> values;
  } months[] = {{"jan", {1}},
                {"jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec", up_to(1, 12)},
                {"JAN-Mar", {1, 2, 3}},
                {"dEC", {12}},
                {"apr-12/4", {4, 8, 12}},
                {"2-apr,Sep", {2, 3, 4, 9}}};
  for (const auto& it : months)
    EXPECT_EQ(members(parsed("0 0 1 " + std::string(it.months) + " *").months), it.values) << it.months;
  const struct {
    const char* weekdays;
    std::vector<int> values;
  } weekdays[] = {{"sun", {0}},
                  {"0", {0}},
                  {"7", {0}},
                  {"0,7", {0}},
                  {"sun,mon,tue,wed,thu,fri,sat", up_to(0, 6)},
                  {"Mon-FRI", up_to(1, 5)},
                  {"5-7", {0, 5, 6}},
                  {"fri-7", {0, 5, 6}},
                  {"6-7", {0, 6}},
                  {"7-7", {0}},
                  {"0-7", up_to(0, 6)},
                  {"1-7", up_to(0, 6)},
                  {"1-7/3", {0, 1, 4}},
                  {"1-7/2", {0, 1, 3, 5}},
                  {"sun-sat/3", {0, 3, 6}},
                  {"*/2", {0, 2, 4, 6}},
                  {"*/7", {0}},
                  {"sat,sun", {0, 6}}};
  for (const auto& it : weekdays)
    EXPECT_EQ(members(parsed("0 0 * * " + std::string(it.weekdays)).weekdays), it.values) << it.weekdays;
}

TEST(Cron, SeesWhichFieldsBeginWithAStar) {
  const struct {
    const char* text;
    bool any_day, any_weekday, by_the_clock;
  } cases[] = {{"0 0 1 * 1", false, false, false},    {"0 0 * * 1", true, false, false},
               {"0 0 1 * *", false, true, false},     {"0 0 */2 * 1", true, false, false},
               {"0 0 1 * */2", false, true, false},   {"0 0 *,3 * 1", true, false, false},
               {"0 0 3,* * 1", false, false, false},  {"* 0 1 * 1", false, false, true},
               {"0 * 1 * 1", false, false, true},     {"*/5 0 1 * 1", false, false, true},
               {"0 */5 1 * 1", false, false, true},   {"0-59 0-23 1 * 1", false, false, false},
               {"5,* 5,* 1 * 1", false, false, false}};
  for (const auto& it : cases) {
    const CronSchedule schedule = parsed(it.text);
    EXPECT_EQ(schedule.any_day, it.any_day) << it.text;
    EXPECT_EQ(schedule.any_weekday, it.any_weekday) << it.text;
    EXPECT_EQ(schedule.by_the_clock, it.by_the_clock) << it.text;
  }
}

TEST(Cron, BlanksAreAsMuchAsYouLike) {
  const CronSchedule schedule = parsed("5 4 * * mon");
  for (const char* text : {" 5 4 * * mon", "5 4 * * mon ", "5\t4\t*\t*\tmon", "\t 5  4 \t * *\t\tmon\t \t"})
    EXPECT_EQ(parsed(text), schedule) << text;
}

TEST(Cron, MacrosStandForFields) {
  const struct {
    const char *macro, *fields;
  } cases[] = {{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"},  {"@monthly", "0 0 1 * *"},
               {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},     {"@midnight", "0 0 * * *"},
               {"@hourly", "0 * * * *"}, {" \t@daily ", "0 0 * * *"}, {"@Daily", "0 0 * * *"}};
  for (const auto& it : cases) EXPECT_EQ(parsed(it.macro), parsed(it.fields)) << it.macro;
}

TEST(Cron, SaysWhatIsWrongAndWhere) {
  constexpr const char* kFive = "needs five fields";
  constexpr const char* kNumber = "number expected";
  constexpr const char* kRange = "value out of range";
  constexpr const char* kBackwards = "range runs backwards";
  constexpr const char* kStep = "step must be positive";
  constexpr const char* kStepOfOne = "step needs a range";
  constexpr const char* kCharacter = "unexpected character";
  constexpr const char* kName = "unknown name";
  constexpr const char* kMacro = "unknown macro";
  const struct {
    std::string_view text;
    const char* problem;
    int field;
  } bad[] = {
      {"", kFive, 0},
      {" \t ", kFive, 0},
      {"*", kFive, 0},
      {"* * * *", kFive, 0},
      {"* * * * * *", kFive, 0},
      {"0 0 1 1 * command", kFive, 0},
      {"60 * * *", kFive, 0},
      {"60 * * * *", kRange, 1},
      {"* 24 * * *", kRange, 2},
      {"* * 0 * *", kRange, 3},
      {"* * 32 * *", kRange, 3},
      {"* * * 0 *", kRange, 4},
      {"* * * 13 *", kRange, 4},
      {"* * * * 8", kRange, 5},
      {"99999999999999999999999999 * * * *", kRange, 1},
      {"4294967296 * * * *", kRange, 1},
      {"18446744073709551616 * * * *", kRange, 1},
      {"0-60 * * * *", kRange, 1},
      {"60-61 * * * *", kRange, 1},
      {"1,2,60 * * * *", kRange, 1},
      {"5-4 * * * *", kBackwards, 1},
      {"* 22-2 * * *", kBackwards, 2},
      {"* * * nov-feb *", kBackwards, 4},
      {"* * * * fri-mon", kBackwards, 5},
      {"* * * * sat-sun", kBackwards, 5},
      {"* * * * 7-1", kBackwards, 5},
      {"*/0 * * * *", kStep, 1},
      {"*/000 * * * *", kStep, 1},
      {"1-5/0 * * * *", kStep, 1},
      {"5/15 * * * *", kStepOfOne, 1},
      {"1,5/15 * * * *", kStepOfOne, 1},
      {"* * * jan/2 *", kStepOfOne, 4},
      {"1,2, * * * *", kNumber, 1},
      {", * * * *", kNumber, 1},
      {",1 * * * *", kNumber, 1},
      {"1,,2 * * * *", kNumber, 1},
      {"*, * * * *", kNumber, 1},
      {"1- * * * *", kNumber, 1},
      {"-1 * * * *", kNumber, 1},
      {"+1 * * * *", kNumber, 1},
      {"1--2 * * * *", kNumber, 1},
      {"*/ * * * *", kNumber, 1},
      {"*/-5 * * * *", kNumber, 1},
      {"*/x * * * *", kNumber, 1},
      {"/5 * * * *", kNumber, 1},
      {"x * * * *", kNumber, 1},
      {"jan * * * *", kNumber, 1},
      {"* * * * */mon", kNumber, 5},
      {"* * ? * *", kNumber, 3},
      {"* * L * *", kNumber, 3},
      {"\n * * * *", kNumber, 1},
      {"1x * * * *", kCharacter, 1},
      {"** * * * *", kCharacter, 1},
      {"*5 * * * *", kCharacter, 1},
      {"*-5 * * * *", kCharacter, 1},
      {"1-2-3 * * * *", kCharacter, 1},
      {"1-5/2/2 * * * *", kCharacter, 1},
      {"1.5 * * * *", kCharacter, 1},
      {"0x5 * * * *", kCharacter, 1},
      {"* * * * 5#2", kCharacter, 5},
      {"* * * * *\n", kCharacter, 5},
      {{"* * * * *\0", 10}, kCharacter, 5},
      {"* * * 1jan *", kCharacter, 4},
      {"* * * jan1 *", kCharacter, 4},
      {"* * * january *", kName, 4},
      {"* * * ja *", kName, 4},
      {"* * * anf *", kName, 4},
      {"* * * mon *", kName, 4},
      {"* * * * jan", kName, 5},
      {"* * * * monday", kName, 5},
      {"* * * * sun-x", kName, 5},
      {"* * * * m\xC3\xB6n", kName, 5},
      {"\xC3\xA4 * * * *", kNumber, 1},
      {"@reboot", kMacro, 0},
      {"@", kMacro, 0},
      {"@every 5m", "nothing may follow a macro", 0},
      {"@dail", kMacro, 0},
      {"@dailyx", kMacro, 0},
      {"daily", kFive, 0},
      {"@daily *", "nothing may follow a macro", 0},
      {"@daily * * * *", "nothing may follow a macro", 0},
      {"* * * * @daily", kNumber, 5},
  };
  for (const auto& it : bad) {
    const ParsedCron result = parse_cron(it.text);
    ASSERT_NE(result.problem, nullptr) << it.text;
    EXPECT_STREQ(result.problem, it.problem) << it.text;
    EXPECT_EQ(result.field, it.field) << it.text;
    EXPECT_EQ(result.schedule, CronSchedule{}) << it.text;
  }
}

TEST(Cron, NeedNotEndWithAZero) {
  const std::string_view text = "1 2 3 4 56";
  EXPECT_EQ(members(parsed(text.substr(0, 9)).weekdays), std::vector{5});
  EXPECT_STREQ(parse_cron({}).problem, "needs five fields");
}

TEST(Cron, NamesFields) {
  EXPECT_STREQ(cron_field_name(1), "minute");
  EXPECT_STREQ(cron_field_name(2), "hour");
  EXPECT_STREQ(cron_field_name(3), "day of month");
  EXPECT_STREQ(cron_field_name(4), "month");
  EXPECT_STREQ(cron_field_name(5), "day of week");
  for (const int none : {-1, 0, 6}) EXPECT_EQ(cron_field_name(none), nullptr);
}

// ---------------------------------------------------------------------------------------------------------------------
// Times

// All in UTC.
struct Sequence {
  const char* schedule;
  const char* after;
  std::vector<std::string> times;
};

void expect(const TestZone& zone, const Sequence& sequence) {
  const CronSchedule schedule = parsed(sequence.schedule);
  std::optional<int64_t> time = at(sequence.after);
  for (const std::string& expected : sequence.times) {
    time = next_time(schedule, *time, zone.zone());
    ASSERT_EQ(text_of(time), expected) << sequence.schedule << " after " << sequence.after << " in " << zone.name;
    if (!time.has_value()) return;
  }
}

TEST(CronTimes, InUtc) {
  const Sequence sequences[] = {
      {"* * * * *", "2026-01-01 00:00:00", {"2026-01-01 00:01", "2026-01-01 00:02"}},
      {"* * * * *", "2026-01-01 00:00:01", {"2026-01-01 00:01"}},
      {"* * * * *", "2026-01-01 00:00:59", {"2026-01-01 00:01"}},
      {"* * * * *", "2025-12-31 23:59:59", {"2026-01-01 00:00"}},
      {"*/15 * * * *", "2026-01-01 23:40", {"2026-01-01 23:45", "2026-01-02 00:00", "2026-01-02 00:15"}},
      {"5,35 8-9 * * *", "2026-01-01 08:35", {"2026-01-01 09:05", "2026-01-01 09:35", "2026-01-02 08:05"}},
      {"30 6 * * *", "2026-01-01 06:29:59", {"2026-01-01 06:30", "2026-01-02 06:30"}},
      {"30 6 * * *", "2026-01-01 06:30", {"2026-01-02 06:30"}},
      {"59 23 * * *", "2026-01-01 23:58", {"2026-01-01 23:59", "2026-01-02 23:59"}},
      {"0 0 * * *", "2026-01-01 00:00", {"2026-01-02 00:00"}},
      {"@hourly", "2026-12-31 22:30", {"2026-12-31 23:00", "2027-01-01 00:00"}},
      {"@weekly", "2026-01-01 00:00", {"2026-01-04 00:00", "2026-01-11 00:00"}},
      {"@monthly", "2026-01-01 00:00", {"2026-02-01 00:00", "2026-03-01 00:00"}},
      {"@yearly", "2026-01-01 00:00", {"2027-01-01 00:00", "2028-01-01 00:00"}},
      {"0 12 * * mon-fri", "2026-10-22 13:00", {"2026-10-23 12:00", "2026-10-26 12:00", "2026-10-27 12:00"}},
      {"0 12 * * 7", "2026-10-22 13:00", {"2026-10-25 12:00", "2026-11-01 12:00"}},
      {"0 12 * 2,12 *", "2026-02-28 13:00", {"2026-12-01 12:00", "2026-12-02 12:00"}},
      {"1 1 31 * *",
       "2026-01-01 00:00",
       {"2026-01-31 01:01", "2026-03-31 01:01", "2026-05-31 01:01", "2026-07-31 01:01", "2026-08-31 01:01",
        "2026-10-31 01:01", "2026-12-31 01:01", "2027-01-31 01:01"}},
      {"0 0 30 * *", "2026-01-30 00:00", {"2026-03-30 00:00", "2026-04-30 00:00"}},
      {"0 0 28-31 2 *", "2028-02-01 00:00", {"2028-02-28 00:00", "2028-02-29 00:00", "2029-02-28 00:00"}},
      {"0 0 1 1 *", "1969-12-31 23:59:59", {"1970-01-01 00:00", "1971-01-01 00:00"}},
      {"0 0 1 1 *", "1900-06-01 00:00", {"1901-01-01 00:00"}},
      {"*/7 * * * *", "1969-12-31 23:50", {"1969-12-31 23:56", "1970-01-01 00:00"}},
  };
  for (const Sequence& sequence : sequences) expect(utc(), sequence);
}

TEST(CronTimes, EitherKindOfDayWillDoIfBothAreRestricted) {
  const Sequence sequences[] = {
      {"0 0 13 * fri", "2026-01-31 00:00", {"2026-02-06 00:00", "2026-02-13 00:00", "2026-02-20 00:00"}},
      {"0 0 13 * fri", "2026-04-10 00:00", {"2026-04-13 00:00", "2026-04-17 00:00"}},
      {"0 0 1-31 * fri", "2026-04-10 00:00", {"2026-04-11 00:00"}},
      {"0 0 30 2 mon", "2026-02-16 00:00", {"2026-02-23 00:00", "2027-02-01 00:00"}},
      // Not if one begins with a star: odd days that are Fridays.
      {"0 0 */2 * fri", "2026-01-31 00:00", {"2026-02-13 00:00", "2026-02-27 00:00", "2026-03-13 00:00"}},
      {"0 0 13 * */5", "2026-01-31 00:00", {"2026-02-13 00:00", "2026-03-13 00:00", "2026-09-13 00:00"}},
      {"0 0 13,* * fri", "2026-04-10 00:00", {"2026-04-11 00:00"}},
      {"0 0 *,13 * fri", "2026-04-10 00:00", {"2026-04-17 00:00"}},
  };
  for (const Sequence& sequence : sequences) expect(utc(), sequence);
}

TEST(CronTimes, OfLeapDays) {
  const Sequence sequences[] = {
      {"0 0 29 2 *", "2023-03-01 00:00", {"2024-02-29 00:00", "2028-02-29 00:00"}},
      {"0 0 29 2 *", "1999-03-01 00:00", {"2000-02-29 00:00", "2004-02-29 00:00"}},
      {"0 0 29 2 *", "2092-03-01 00:00", {"2096-02-29 00:00", "2104-02-29 00:00"}},
      {"* * 29 2 *", "2096-02-29 23:59", {"2104-02-29 00:00", "2104-02-29 00:01"}},
      {"30 12 28,29 2 *", "2100-02-01 00:00", {"2100-02-28 12:30", "2101-02-28 12:30"}},
      {"0 0 30 2 *", "2026-01-01 00:00", {"never"}},
      {"* * 31 4,6,9,11,2 *", "2026-01-01 00:00", {"never"}},
  };
  for (const Sequence& sequence : sequences) expect(utc(), sequence);
}

TEST(CronTimes, LookNineYearsAhead) {
  // From 1999 to 2010 no first of February is a Monday, nor is a leap day.
  const int64_t due = at("2010-02-01 00:00");
  for (const char* rare : {"0 0 */28 2 mon", "* 0 */28 2 mon"}) {
    const CronSchedule schedule = parsed(rare);
    EXPECT_EQ(text_of(next_time(schedule, at("1999-02-01 00:59"), utc().zone())), "never") << rare;
    EXPECT_EQ(text_of(next_time(schedule, due - kCronSecondsAhead - 1, utc().zone())), "never") << rare;
    EXPECT_EQ(next_time(schedule, due - kCronSecondsAhead, utc().zone()), due) << rare;
    EXPECT_EQ(text_of(next_time(schedule, at("2010-02-01 23:00"), utc().zone())), "2016-02-01 00:00") << rare;
    EXPECT_EQ(text_of(next_time(schedule, at("2016-02-01 23:00"), utc().zone())), "2016-02-29 00:00") << rare;
  }
}

TEST(CronTimes, OfFarAwayTimes) {
  const CronSchedule schedule = parsed("* * * * *");
  for (const int64_t far : {INT64_MIN, INT64_MIN / 2, int64_t{-900'000'000'001}, int64_t{900'000'000'001}, INT64_MAX})
    EXPECT_EQ(next_time(schedule, far, berlin().zone()), std::nullopt) << far;
  EXPECT_EQ(next_time(schedule, -900'000'000'000, utc().zone()), -899'999'999'940);
  EXPECT_EQ(next_time(schedule, 900'000'000'000, utc().zone()), 900'000'000'060);
  EXPECT_EQ(next_time(parsed("0 0 30 2 *"), 900'000'000'000, utc().zone()), std::nullopt);
  EXPECT_EQ(next_time(parsed("0 0 30 2 *"), -900'000'000'000, utc().zone()), std::nullopt);
}

TEST(CronTimes, OfNoScheduleAreNone) {
  EXPECT_EQ(next_time(CronSchedule{}, 0, utc().zone()), std::nullopt);
  CronSchedule no_hour = parsed("* * * * *");
  no_hour.hours = 0;
  EXPECT_EQ(next_time(no_hour, 0, utc().zone()), std::nullopt);
  CronSchedule no_minute = parsed("* * * * *");
  no_minute.minutes = 0;
  EXPECT_EQ(next_time(no_minute, 0, utc().zone()), std::nullopt);
}

TEST(CronTimes, FollowTheZone) {
  expect(berlin(), {"0 6 * * *", "2026-01-10 00:00", {"2026-01-10 05:00", "2026-01-11 05:00"}});
  expect(berlin(), {"0 6 * * *", "2026-07-10 00:00", {"2026-07-10 04:00", "2026-07-11 04:00"}});
  expect(berlin(), {"0 6 * * *", "2026-03-27 12:00", {"2026-03-28 05:00", "2026-03-29 04:00", "2026-03-30 04:00"}});
  expect(berlin(), {"0 0 1 * *", "2026-03-01 12:00", {"2026-03-31 22:00", "2026-04-30 22:00"}});
  expect(berlin(), {"0 0 1 * *", "2026-10-01 12:00", {"2026-10-31 23:00"}});
  expect(new_york(), {"0 0 * * sun", "2026-03-07 12:00", {"2026-03-08 05:00", "2026-03-15 04:00"}});
  expect(new_york(), {"30 23 31 12 *", "2026-06-01 00:00", {"2027-01-01 04:30"}});
  expect(chatham(), {"0 0 * * *", "2026-06-01 00:00", {"2026-06-01 11:15", "2026-06-02 11:15"}});
  expect(chatham(), {"@hourly", "2026-06-01 00:00", {"2026-06-01 00:15", "2026-06-01 01:15"}});
}

TEST(CronTimes, ByTheClockSkippedTimesDoNotCome) {
  const Sequence in_berlin[] = {
      {"30 * * * *", "2026-03-28 23:45", {"2026-03-29 00:30", "2026-03-29 01:30", "2026-03-29 02:30"}},
      {"* * * * *", "2026-03-29 00:58", {"2026-03-29 00:59", "2026-03-29 01:00", "2026-03-29 01:01"}},
      {"*/20 2 * * *", "2026-03-28 01:30", {"2026-03-28 01:40", "2026-03-30 00:00", "2026-03-30 00:20"}},
      {"* 2 29 3 *", "2026-01-01 00:00", {"2027-03-29 00:00"}},
      {"0 */2 * * *", "2026-03-28 22:30", {"2026-03-28 23:00", "2026-03-29 02:00", "2026-03-29 04:00"}},
  };
  for (const Sequence& sequence : in_berlin) expect(berlin(), sequence);
  expect(new_york(), {"*/30 1-3 * * *", "2026-03-08 06:00", {"2026-03-08 06:30", "2026-03-08 07:00"}});
  expect(lord_howe(), {"*/15 * * * *", "2026-10-03 15:00", {"2026-10-03 15:15", "2026-10-03 15:30"}});
  expect(lord_howe(), {"*/15 2 * * *", "2026-10-03 14:00", {"2026-10-03 15:30", "2026-10-03 15:45"}});
  expect(cairo(), {"*/30 0 * * *", "2026-04-22 22:00", {"2026-04-22 22:30", "2026-04-24 21:00"}});
  expect(chatham(), {"*/15 2-3 * * *", "2026-09-26 13:30", {"2026-09-26 13:45", "2026-09-26 14:00"}});
  expect(apia(), {"0 */12 * * *", "2011-12-29 12:00", {"2011-12-29 22:00", "2011-12-30 10:00", "2011-12-30 22:00"}});
  expect(apia(), {"* * 30 12 *", "2011-12-01 00:00", {"2012-12-29 10:00"}});
  expect(monrovia(), {"* * * * *", "1972-01-07 00:43:30", {"1972-01-07 00:45"}});
}

TEST(CronTimes, ByTheClockRepeatedTimesComeAgain) {
  const Sequence in_berlin[] = {
      {"30 * * * *", "2026-10-24 23:45", {"2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"}},
      {"* * * * *", "2026-10-25 00:58", {"2026-10-25 00:59", "2026-10-25 01:00", "2026-10-25 01:01"}},
      {"*/30 2 * * *",
       "2026-10-24 23:45",
       {"2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 01:00", "2026-10-25 01:30", "2026-10-26 01:00"}},
      {"* 2 25 10 *", "2026-10-25 00:58", {"2026-10-25 00:59", "2026-10-25 01:00"}},
      {"* 2 25 10 *", "2026-10-25 01:59", {"2027-10-25 00:00"}},
  };
  for (const Sequence& sequence : in_berlin) expect(berlin(), sequence);
  expect(new_york(), {"*/30 1 * * *",
                      "2026-11-01 04:59",
                      {"2026-11-01 05:00", "2026-11-01 05:30", "2026-11-01 06:00", "2026-11-01 06:30"}});
  expect(lord_howe(), {"*/15 1 * * *",
                       "2026-04-04 14:15",
                       {"2026-04-04 14:30", "2026-04-04 14:45", "2026-04-04 15:00", "2026-04-04 15:15"}});
  expect(lord_howe(), {"*/15 1 * * *", "2026-04-04 15:15", {"2026-04-05 14:30"}});
  expect(cairo(), {"0 */23 * * *", "2026-10-29 19:00", {"2026-10-29 20:00", "2026-10-29 21:00", "2026-10-29 22:00"}});
  expect(day_again(), {"0 */12 * * *",
                       "2026-06-09 10:00",
                       {"2026-06-09 22:00", "2026-06-10 10:00", "2026-06-10 22:00", "2026-06-11 10:00"}});
}

TEST(CronTimes, FixedOnesThatAreSkippedComeWithTheChange) {
  const Sequence in_berlin[] = {
      {"30 2 * * *", "2026-03-28 00:00", {"2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"}},
      {"0 2 * * *", "2026-03-28 12:00", {"2026-03-29 01:00", "2026-03-30 00:00"}},
      {"0 3 * * *", "2026-03-28 12:00", {"2026-03-29 01:00", "2026-03-30 01:00"}},
      {"59 1 * * *", "2026-03-28 12:00", {"2026-03-29 00:59", "2026-03-29 23:59"}},
      {"0,15,30,45 2 * * *", "2026-03-28 12:00", {"2026-03-29 01:00", "2026-03-30 00:00", "2026-03-30 00:15"}},
      {"15,45 1,2,3 * * *",
       "2026-03-29 00:20",
       {"2026-03-29 00:45", "2026-03-29 01:00", "2026-03-29 01:15", "2026-03-29 01:45", "2026-03-29 23:15"}},
      {"30 2,3 * * *", "2026-03-28 12:00", {"2026-03-29 01:00", "2026-03-29 01:30", "2026-03-30 00:30"}},
      {"30 2 29 3 *", "2026-01-01 00:00", {"2026-03-29 01:00", "2027-03-29 00:30"}},
      {"30 2 29 3 *", "2026-03-29 00:59:59", {"2026-03-29 01:00"}},
      {"30 2 29 3 *", "2026-03-29 01:00", {"2027-03-29 00:30"}},
      {"30 2 29 3 *", "2026-03-29 01:10", {"2027-03-29 00:30"}},
      {"0-59 0-23 * * *", "2026-03-29 00:58", {"2026-03-29 00:59", "2026-03-29 01:00", "2026-03-29 01:01"}},
  };
  for (const Sequence& sequence : in_berlin) expect(berlin(), sequence);
  expect(new_york(), {"30 2 * * *", "2026-03-07 12:00", {"2026-03-08 07:00", "2026-03-09 06:30"}});
  expect(lord_howe(), {"15 2 * * *", "2026-10-03 12:00", {"2026-10-03 15:30", "2026-10-04 15:15"}});
  expect(lord_howe(), {"45 2 * * *", "2026-10-03 12:00", {"2026-10-03 15:45", "2026-10-04 15:45"}});
  expect(cairo(), {"0 0 * * *", "2026-04-22 23:00", {"2026-04-23 22:00", "2026-04-24 21:00"}});
  expect(cairo(), {"30 0 * * *", "2026-04-22 23:00", {"2026-04-23 22:00", "2026-04-24 21:30"}});
  expect(cairo(), {"30 0 24 4 *", "2026-04-23 21:59:59", {"2026-04-23 22:00", "2027-04-23 22:30"}});
  expect(chatham(), {"0 3 * * *", "2026-09-26 00:00", {"2026-09-26 14:00", "2026-09-27 13:15"}});
  expect(apia(), {"30 6,18 30 12 *", "2011-12-01 00:00", {"2011-12-30 10:00", "2012-12-29 16:30"}});
  expect(monrovia(), {"30 0 * * *", "1972-01-06 12:00", {"1972-01-07 00:44:30", "1972-01-08 00:30"}});
}

TEST(CronTimes, FixedOnesThatAreRepeatedComeOnce) {
  const Sequence in_berlin[] = {
      {"30 2 * * *", "2026-10-24 12:00", {"2026-10-25 00:30", "2026-10-26 01:30"}},
      {"30 2 * * *", "2026-10-25 00:45", {"2026-10-26 01:30"}},
      {"30 2 * * *", "2026-10-25 01:15", {"2026-10-26 01:30"}},
      {"0 2 * * *", "2026-10-24 12:00", {"2026-10-25 00:00", "2026-10-26 01:00"}},
      {"59 2 * * *", "2026-10-25 00:59", {"2026-10-26 01:59"}},
      {"0 3 * * *", "2026-10-24 12:00", {"2026-10-25 02:00", "2026-10-26 02:00"}},
      {"0,30 1,2,3 * * *",
       "2026-10-24 23:15",
       {"2026-10-24 23:30", "2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 02:00", "2026-10-25 02:30"}},
      {"30 2 25 10 *", "2026-10-25 00:30", {"2027-10-25 00:30"}},
      {"0-59 0-23 * * *", "2026-10-25 00:58", {"2026-10-25 00:59", "2026-10-25 02:00", "2026-10-25 02:01"}},
      {"0-59 0-23 * * *", "2026-10-25 01:59:59", {"2026-10-25 02:00"}},
  };
  for (const Sequence& sequence : in_berlin) expect(berlin(), sequence);
  expect(new_york(), {"30 1 * * *", "2026-10-31 12:00", {"2026-11-01 05:30", "2026-11-02 06:30"}});
  expect(lord_howe(), {"45 1 * * *", "2026-04-04 12:00", {"2026-04-04 14:45", "2026-04-05 15:15"}});
  expect(lord_howe(), {"15 1 * * *", "2026-04-04 12:00", {"2026-04-04 14:15", "2026-04-05 14:45"}});
  // The repeated hour is the day before's, so that a new day had not yet begun.
  expect(cairo(), {"30 23 * * *", "2026-10-29 12:00", {"2026-10-29 20:30", "2026-10-30 21:30"}});
  expect(cairo(), {"0 0 * * *", "2026-10-29 12:00", {"2026-10-29 22:00", "2026-10-30 22:00"}});
  expect(chatham(), {"0 3 * * *", "2026-04-04 00:00", {"2026-04-04 13:15", "2026-04-05 14:15"}});
  expect(day_again(),
         {"0 6,18 * * *", "2026-06-09 12:00", {"2026-06-09 16:00", "2026-06-10 04:00", "2026-06-11 16:00"}});
}

TEST(CronTimes, EveryMinuteComesOnceThroughEveryChange) {
  const CronSchedule schedule = parsed("* * * * *");
  for (const TestZone* zone : zones()) {
    if (zone == &monrovia()) continue;  // not all its minutes begin with one of UTC
    for (const Change& change : zone->changes)
      for (int64_t time = change.at - kDay; time < change.at + kDay; time += kMinute)
        ASSERT_EQ(next_time(schedule, time, zone->zone()), time + kMinute) << zone->name << text_of(time);
  }
}

TEST(CronTimes, AskTheZoneABoundedNumberOfTimes) {
  const struct {
    const char* schedule;
    int64_t most;
  } cases[] = {{"0 0 30 2 *", 5000},     {"* * 30 2 *", 5000},    {"* * 29 2 *", 5000}, {"*/7 5 31 2,4 *", 5000},
               {"0-59 0-23 * * *", 100}, {"30 2 * * *", 100},     {"* * * * *", 100},   {"0 0 1 1 *", 500},
               {"* 0 1 1 *", 500},       {"0 0 */28 2 mon", 5000}};
  for (const TestZone* zone : zones()) {
    for (const auto& it : cases) {
      const CronSchedule schedule = parsed(it.schedule);
      for (int64_t after = zone->changes[0].at - 2 * kDay; after < zone->changes[0].at + 2 * kDay; after += 1800) {
        zone->asked = 0;
        (void)next_time(schedule, after, zone->zone());
        EXPECT_LE(zone->asked, it.most) << it.schedule << " after " << text_of(after) << " in " << zone->name;
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Random schedules against a clock that is looked at all the time

using Random = std::mt19937;

int64_t between(Random& random, int64_t lowest, int64_t highest) {
  return std::uniform_int_distribution<int64_t>(lowest, highest)(random);
}

// A field's text, and what it means.
struct Field {
  std::string text;
  std::array<bool, 60> has{};
};

void add_element(Random& random, Field& field, int lowest, int highest, int stars) {
  int64_t first = lowest;
  int64_t last = highest;
  int64_t step = 1;
  if (between(random, 0, 9) < stars) {
    field.text += '*';
  } else {
    first = between(random, lowest, highest);
    field.text += std::to_string(first);
    last = between(random, 0, 2) == 0 ? between(random, first, highest) : first;
    if (last != first) field.text += "-" + std::to_string(last);
  }
  if (field.text.back() == '*' ? between(random, 0, 2) == 0 : last != first && between(random, 0, 1) == 0) {
    step = between(random, 1, highest);
    field.text += "/" + std::to_string(step);
  }
  for (int64_t i = first; i <= last; i += step) field.has[static_cast<size_t>(i)] = true;
}

Field random_field(Random& random, int lowest, int highest, int stars) {
  Field field;
  const int64_t elements = between(random, 0, 3) == 0 ? between(random, 2, 3) : 1;
  for (int64_t i = 0; i < elements; ++i) {
    if (i > 0) field.text += ',';
    add_element(random, field, lowest, highest, stars);
  }
  return field;
}

struct RandomSchedule {
  Field minutes, hours, days, months, weekdays;

  // `stars` of ten elements are stars, twice as many those of the days.
  RandomSchedule(Random& random, int stars)
      : minutes(random_field(random, 0, 59, stars)),
        hours(random_field(random, 0, 23, stars)),
        days(random_field(random, 1, 31, 2 * stars)),
        months(random_field(random, 1, 12, 2 * stars)),
        weekdays(random_field(random, 0, 7, 2 * stars)) {
    weekdays.has[0] = weekdays.has[0] || weekdays.has[7];
  }

  [[nodiscard]] std::string text() const {
    return minutes.text + ' ' + hours.text + ' ' + days.text + ' ' + months.text + ' ' + weekdays.text;
  }
  [[nodiscard]] bool by_the_clock() const { return minutes.text[0] == '*' || hours.text[0] == '*'; }
  [[nodiscard]] bool matches_day(const std::tm& clock) const {
    const bool by_day = days.has[static_cast<size_t>(clock.tm_mday)];
    const bool by_weekday = weekdays.has[static_cast<size_t>(clock.tm_wday)];
    const bool both = days.text[0] == '*' || weekdays.text[0] == '*';
    return months.has[static_cast<size_t>(clock.tm_mon) + 1] && (both ? by_day && by_weekday : by_day || by_weekday);
  }
  [[nodiscard]] bool matches(const std::tm& clock) const {
    return clock.tm_sec == 0 && minutes.has[static_cast<size_t>(clock.tm_min)] &&
           hours.has[static_cast<size_t>(clock.tm_hour)] && matches_day(clock);
  }
};

// A clock around one change, looked at every half a minute, since Monrovia has one.
class Clock {
 public:
  static constexpr int64_t kTick = 30;

  Clock(const TestZone& zone, int64_t change) : zone_(zone), begin_(change - 3 * kDay), end_(change + 3 * kDay) {
    for (int64_t shown = begin_ - 4 * kDay; shown < end_ + 4 * kDay; shown += kTick)
      faces_.push_back(broken_down(shown));
    for (int64_t time = begin_ - 2 * kDay; time < end_; time += kTick) offsets_.push_back(zone.offset_at(time));
  }

  // All times in it, as cron would find them.
  [[nodiscard]] std::vector<int64_t> times(const RandomSchedule& schedule) const {
    const std::vector<bool> due = due_faces(schedule);
    std::vector<int64_t> result;
    int64_t done = face_at(0);
    for (size_t i = 1; i < offsets_.size(); ++i) {
      const int64_t face = face_at(i);
      bool is_due = false;
      if (schedule.by_the_clock()) {
        is_due = due[static_cast<size_t>(face)];
      } else {
        for (; done < face; ++done) is_due = is_due || due[static_cast<size_t>(done) + 1];
      }
      if (is_due && time_at(i) > begin_) result.push_back(time_at(i));
    }
    return result;
  }

  [[nodiscard]] const TestZone& zone() const { return zone_; }
  [[nodiscard]] int64_t begin() const { return begin_; }
  [[nodiscard]] int64_t end() const { return end_; }

 private:
  [[nodiscard]] int64_t time_at(size_t tick) const { return begin_ - 2 * kDay + static_cast<int64_t>(tick) * kTick; }
  [[nodiscard]] int64_t face_at(size_t tick) const {
    return (time_at(tick) + offsets_[tick] - (begin_ - 4 * kDay)) / kTick;
  }
  [[nodiscard]] std::vector<bool> due_faces(const RandomSchedule& schedule) const {
    std::vector<bool> due;
    due.reserve(faces_.size());
    for (const std::tm& face : faces_) due.push_back(schedule.matches(face));
    return due;
  }

  const TestZone& zone_;
  int64_t begin_;
  int64_t end_;
  std::vector<std::tm> faces_;
  std::vector<int32_t> offsets_;
};

// What must come next after a time in the clock; its end if nothing does before.
int64_t expected_next(const Clock& clock, const std::vector<int64_t>& times, int64_t after) {
  const auto it = std::upper_bound(times.begin(), times.end(), after);
  return it == times.end() ? clock.end() : *it;
}

void compare(Random& random, const Clock& clock, const RandomSchedule& random_schedule) {
  const std::vector<int64_t> times = clock.times(random_schedule);
  const CronSchedule schedule = parsed(random_schedule.text());
  ASSERT_EQ(schedule.by_the_clock, random_schedule.by_the_clock());
  const auto next = [&](int64_t after) {
    return std::min(next_time(schedule, after, clock.zone().zone()).value_or(INT64_MAX), clock.end());
  };
  for (int64_t after = clock.begin(); after < clock.end();) {
    const int64_t found = next(after);
    ASSERT_EQ(text_of(found), text_of(expected_next(clock, times, after)))
        << random_schedule.text() << " after " << text_of(after) << " in " << clock.zone().name;
    ASSERT_GT(found, after);
    after = found;
  }
  for (int i = 0; i < 20; ++i) {
    const int64_t after = between(random, clock.begin(), clock.end() - 1);
    ASSERT_EQ(text_of(next(after)), text_of(expected_next(clock, times, after)))
        << random_schedule.text() << " after " << text_of(after) << " in " << clock.zone().name;
  }
}

TEST(CronTimes, AreThoseOfAClockLookedAtAllTheTime) {
  Random random(20260329);
  int compared = 0;
  for (const TestZone* zone : zones()) {
    for (const Change& change : zone->changes) {
      const Clock clock(*zone, change.at);
      for (int i = 0; i < 200; ++i, ++compared) {
        compare(random, clock, RandomSchedule(random, static_cast<int>(between(random, 0, 5))));
        if (HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(compared, 3000);
}

TEST(CronTimes, OfDaysAreThoseOfACalendarReadThrough) {
  Random random(29);
  for (int i = 0; i < 1000; ++i) {
    RandomSchedule random_schedule(random, 1);
    random_schedule.minutes.text = "34";
    random_schedule.hours.text = "12";
    const CronSchedule schedule = parsed(random_schedule.text());
    const int64_t today = between(random, -100 * 365, 300 * 365) * kDay;
    const int64_t after = today + between(random, 0, 12 * kHour);
    int64_t day = today;
    while (day < today + kCronSecondsAhead && !random_schedule.matches_day(broken_down(day))) day += kDay;
    const int64_t due = day + 12 * kHour + 34 * kMinute;
    const std::string expected = due <= after + kCronSecondsAhead ? text_of(due) : "never";
    ASSERT_EQ(text_of(next_time(schedule, after, utc().zone())), expected)
        << random_schedule.text() << " after " << text_of(after);
  }
}

}  // namespace
}  // namespace pgcache

// Limits and times at the ends of what there is; quotas of nothing; the borders of the calendar.
#include <algorithm>
#include <random>

#include "limit_oracle.hpp"

namespace pgcache::limits::test {
namespace {

using Random = std::mt19937_64;

int64_t any(Random& random, int64_t from, int64_t to) {
  return std::uniform_int_distribution<int64_t>(from, to)(random);
}

// Small, or near the end.
int64_t extreme(Random& random, int64_t most) {
  switch (any(random, 0, 3)) {
    case 0:
      return std::min(most, any(random, 1, 3));
    case 1:
      return most - any(random, 0, std::min<int64_t>(most - 1, 3));
    case 2:
      return std::min(most, int64_t{1} << any(random, 0, 62));
    default:
      return any(random, 1, most);
  }
}

Limit extreme_limit(Random& random, Algorithm algorithm) {
  if (algorithm == Algorithm::calendar)
    return calendar(extreme(random, INT64_MAX), static_cast<CalendarUnit>(any(random, 0, 2)));
  for (;;) {
    Limit by = limit(algorithm, extreme(random, algorithm == Algorithm::exact ? kMaxExactQuota : INT64_MAX),
                     extreme(random, kLongestSpan));
    if (algorithm == Algorithm::gcra) by.burst = extreme(random, INT64_MAX);
    if (algorithm != Algorithm::gcra || refill_time(by).in_range) return by;
  }
}

int64_t longest_wait(const Limit& by) {
  if (by.algorithm == Algorithm::gcra) return refill_time(by).microseconds;
  return by.algorithm == Algorithm::calendar ? 31 * kDay : by.period;
}

class LimitExtremes : public testing::TestWithParam<Algorithm> {};

// Where the sanitizers look on, also for overflow.
TEST_P(LimitExtremes, HugeLimitsKeepTheirPromises) {
  for (uint64_t seed = 1; seed <= 400 && !HasFailure(); ++seed) {
    Random random(seed);
    const Limit by = extreme_limit(random, GetParam());
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << by);
    Table table;
    table.now = any(random, kFirstTime, kLastTime / 4);
    int64_t left = by.capacity();
    for (int call = 0; call < 40; ++call) {
      const int64_t cost =
          any(random, 0, 2) == 0 ? extreme(random, INT64_MAX) : any(random, 1, std::max<int64_t>(left, 1));
      const Verdict verdict = any(random, 0, 5) == 0 ? table.refund("key", by, cost) : table.charge("key", by, cost);
      SCOPED_TRACE(testing::Message() << "call " << call << ", cost " << cost << ": " << verdict);
      left = verdict.remaining;
      ASSERT_GE(left, 0);
      ASSERT_LE(left, by.capacity());
      ASSERT_GE(verdict.reset_after, 0);
      ASSERT_LE(verdict.reset_after, longest_wait(by));
      ASSERT_EQ(verdict.retry_after == 0, verdict.allowed);
      ASSERT_EQ(verdict.retry_after == kNever, !verdict.allowed && cost > by.capacity());
      ASSERT_LE(verdict.retry_after, longest_wait(by));
      if (verdict.retry_after > 0) {
        ASSERT_TRUE(table.peek_at(table.now + verdict.retry_after, "key", by, cost).allowed);
        ASSERT_FALSE(table.peek_at(table.now + verdict.retry_after - 1, "key", by, cost).allowed);
      }
      if (verdict.reset_after > 0) {
        ASSERT_TRUE(table.peek_at(table.now + verdict.reset_after, "key", by, by.capacity()).allowed);
        ASSERT_FALSE(table.peek_at(table.now + verdict.reset_after - 1, "key", by, by.capacity()).allowed);
      }
      const int64_t step = any(random, 0, 1) == 0 ? extreme(random, longest_wait(by)) : verdict.retry_after;
      table.now = std::min(table.now + std::max<int64_t>(step, 0), kLastTime - 2 * kLongestSpan / 3);
      table.now = std::max<int64_t>(table.now - (table.now > kLastTime / 3 ? kLastTime / 4 : 0), kFirstTime);
    }
  }
}

// What does not fit is cut off at a time that no clock will show.
TEST_P(LimitExtremes, TheLastMomentsOverflowNothing) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    Random random(seed);
    const Limit by = extreme_limit(random, GetParam());
    Table table;
    for (int call = 0; call < 20; ++call) {
      table.now = kLastTime - extreme(random, kLongestSpan);
      const Verdict verdict = table.charge("key", by, extreme(random, by.capacity()));
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << by << ": " << verdict);
      ASSERT_GE(verdict.remaining, 0);
      ASSERT_GE(verdict.reset_after, 0);
      ASSERT_EQ(verdict.retry_after == 0, verdict.allowed);
      ASSERT_GE(verdict.retry_after, verdict.reason == Reason::cost_exceeds_limit ? kNever : 0);
      ASSERT_GT(table.block("other", INT64_MAX), table.now);
    }
  }
}

TEST_P(LimitExtremes, TheClockMayJumpOverAllOfTime) {
  const Limit by = GetParam() == Algorithm::calendar ? calendar(5, CalendarUnit::month) : limit(GetParam(), 5, kDay);
  Table table;
  table.now = kFirstTime;
  EXPECT_TRUE(table.charge("key", by, 5).allowed);
  table.now = kLastTime;
  EXPECT_TRUE(table.charge("key", by, 5).allowed);
  EXPECT_GT(table.block("key", kDay), 0);
  table.now = kFirstTime;
  const Verdict denied = table.charge("key", by, 5);
  EXPECT_FALSE(denied.allowed);
  EXPECT_GT(denied.retry_after, 0);
  EXPECT_LE(denied.retry_after, 31 * kDay);
  table.now += denied.retry_after;
  EXPECT_TRUE(table.charge("key", by, 5).allowed);
}

TEST_P(LimitExtremes, AQuotaOfNothingDeniesAndTakesNothing) {
  const int64_t period = GetParam() == Algorithm::calendar ? 0 : kMinute;
  const Limit some = limit(GetParam(), 5, period);
  for (const int64_t burst : {1, 4, 9}) {
    Limit none = limit(GetParam(), 0, period);
    if (GetParam() == Algorithm::gcra) none.burst = burst;
    Table table;
    for (const int64_t cost : {0, 1, 20}) {
      const Verdict verdict = table.charge("key", none, cost);
      EXPECT_FALSE(verdict.allowed);
      EXPECT_EQ(verdict.reason, Reason::quota_is_zero);
      EXPECT_EQ(verdict.retry_after, kNever);
      EXPECT_EQ(verdict.remaining, 0);
      EXPECT_EQ(verdict.reset_after, 0);
    }
    EXPECT_EQ(table.totals().cells, 0U);
    // Of one key with a count, too: somebody's quota was taken away.
    ASSERT_TRUE(table.charge("key", some, 5).allowed);
    const Verdict verdict = table.charge("key", none, 1);
    EXPECT_EQ(verdict.reason, Reason::quota_is_zero);
    EXPECT_EQ(verdict.remaining, 0);
    EXPECT_EQ(table.peek("key", none).reason, Reason::quota_is_zero);
    EXPECT_EQ(table.refund("key", none).remaining, 0);
    EXPECT_EQ(table.peek("key", some).remaining, 0) << "what was taken stays taken";
  }
}

std::string algorithm_name(const testing::TestParamInfo<Algorithm>& about) {
  return testing::PrintToString(about.param);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, LimitExtremes, testing::ValuesIn(kAlgorithms), algorithm_name);

// ---- the calendar, by the C library's

int64_t at_utc(int year, int month, int day, int hour = 0) {
  std::tm parts{};
  parts.tm_year = year - 1900;
  parts.tm_mon = month - 1;
  parts.tm_mday = day;
  parts.tm_hour = hour;
  return (int64_t{timegm(&parts)} - 946'684'800) * kSecond;
}

TEST(LimitCalendar, UnitsEndWhereTheCalendarSays) {
  EXPECT_EQ(end_of_unit(CalendarUnit::month, at_utc(2024, 2, 1)), at_utc(2024, 3, 1));
  EXPECT_EQ(at_utc(2024, 3, 1) - at_utc(2024, 2, 28), 2 * kDay) << "a leap year";
  EXPECT_EQ(end_of_unit(CalendarUnit::day, at_utc(2024, 2, 28, 23)), at_utc(2024, 2, 29));
  EXPECT_EQ(end_of_unit(CalendarUnit::day, at_utc(2023, 2, 28, 23)), at_utc(2023, 3, 1));
  EXPECT_EQ(end_of_unit(CalendarUnit::month, at_utc(2100, 2, 28)) - at_utc(2100, 2, 28), kDay) << "none";
  EXPECT_EQ(end_of_unit(CalendarUnit::month, at_utc(2000, 2, 28)) - at_utc(2000, 2, 28), 2 * kDay) << "one";
  EXPECT_EQ(end_of_unit(CalendarUnit::month, at_utc(2026, 12, 31, 23)), at_utc(2027, 1, 1));
  EXPECT_EQ(end_of_unit(CalendarUnit::hour, at_utc(2026, 12, 31, 23)), at_utc(2027, 1, 1));
  EXPECT_EQ(end_of_unit(CalendarUnit::month, 0), 31 * kDay);
}

TEST(LimitCalendar, EveryMonthOfFourThousandYears) {
  for (int year = 2000; year < 6000; ++year)
    for (int month = 1; month <= 12; ++month) {
      const int64_t begin = at_utc(year, month, 1);
      const int64_t end = at_utc(year, month + 1, 1);
      for (const int64_t time : {begin, begin + 1, begin + 12 * kDay + kHour, end - 1})
        ASSERT_EQ(end_of_unit(CalendarUnit::month, time), end) << year << "-" << month;
      ASSERT_EQ(end_of_unit(CalendarUnit::day, end - 1), end);
      ASSERT_EQ(end_of_unit(CalendarUnit::day, begin), begin + kDay);
      ASSERT_EQ(end_of_unit(CalendarUnit::hour, end - 1), end);
      ASSERT_EQ(end_of_unit(CalendarUnit::hour, begin), begin + kHour);
    }
}

// Also where the library's calendar ends.
TEST(LimitCalendar, UnitsEndLaterAndNotMuchLater) {
  Random random(3);
  for (int i = 0; i < 100'000; ++i) {
    const int64_t time = any(random, kFirstTime, kLastTime);
    for (const CalendarUnit unit : {CalendarUnit::hour, CalendarUnit::day, CalendarUnit::month}) {
      const int64_t end = end_of_unit(unit, time);
      ASSERT_GT(end, time);
      ASSERT_LE(end - time, unit == CalendarUnit::hour ? kHour : unit == CalendarUnit::day ? kDay : 31 * kDay);
    }
  }
}

TEST(LimitCalendar, AQuotaIsWholeAgainAtTheBorder) {
  constexpr struct {
    CalendarUnit unit;
    int64_t before;
  } kCases[] = {{CalendarUnit::hour, 10 * kMinute}, {CalendarUnit::day, 5 * kHour}, {CalendarUnit::month, 20 * kDay}};
  for (const int64_t border : {at_utc(2024, 3, 1), at_utc(2027, 1, 1), at_utc(2000, 3, 1)})
    for (const auto& [unit, before] : kCases) {
      Table table;
      const Limit by = calendar(10, unit);
      table.now = border - before;
      EXPECT_EQ(table.charge("key", by, 10).reset_after, before);
      EXPECT_EQ(table.charge("key", by).retry_after, before);
      table.now = border - 1;
      EXPECT_EQ(table.charge("key", by).retry_after, 1);
      table.now = border;
      EXPECT_EQ(table.charge("key", by).remaining, 9);
    }
}

}  // namespace
}  // namespace pgcache::limits::test

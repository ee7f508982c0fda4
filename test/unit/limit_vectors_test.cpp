// Published vectors of GCRA: those of throttled (A), and two more (B, C), as tables of call and answer.
#include "limits.hpp"

namespace pgcache::limits::test {
namespace {

struct Row {
  int64_t time;
  int64_t cost;
  bool allowed;
  int64_t remaining;
  int64_t retry;
  int64_t reset;
};

// limit 5, 1 per 1,000
constexpr Row kSetA[] = {
    {0, 6, false, 5, kNever, 0},     {0, 1, true, 4, 0, 1000},    {0, 1, true, 3, 0, 2000},
    {0, 1, true, 2, 0, 3000},        {0, 1, true, 1, 0, 4000},    {0, 1, true, 0, 0, 5000},
    {0, 1, false, 0, 1000, 5000},    {3000, 1, true, 2, 0, 3000}, {3100, 1, true, 1, 0, 3900},
    {4000, 1, true, 1, 0, 4000},     {8000, 1, true, 4, 0, 1000}, {9500, 1, true, 4, 0, 1000},
    {9500, 0, true, 4, 0, 1000},     {9500, 2, true, 2, 0, 3000}, {9500, 5, false, 2, 3000, 3000},
    {15000, 6, false, 5, kNever, 0},
};

// limit 10, 10 per 60,000
constexpr Row kSetB[] = {
    {0, 10, true, 0, 0, 60000},    {0, 1, false, 0, 6000, 60000},       {5999, 1, false, 0, 1, 54001},
    {6000, 1, true, 0, 0, 60000},  {6000, 0, true, 0, 0, 60000},        {11999, 1, false, 0, 1, 54001},
    {60000, 5, true, 4, 0, 36000}, {66000, 10, false, 5, 30000, 30000},
};

// limit 3, 3 per 1,000: an interval that must not be rounded
constexpr Row kSetC[] = {
    {0, 3, true, 0, 0, 1000},   {333, 1, false, 0, 1, 667},  {334, 1, true, 0, 0, 1000},
    {999, 2, false, 1, 1, 335}, {1000, 2, true, 0, 0, 1000}, {1001, 1, false, 0, 333, 999},
};

template <size_t kRows>
void check(const Row (&rows)[kRows], const Limit& by, int64_t unit) {
  Table table;
  size_t number = 0;
  for (const Row& row : rows) {
    table.now = kStart + row.time * unit;
    const Verdict verdict = table.charge("key", by, row.cost);
    SCOPED_TRACE(testing::Message() << "row " << number++ << ", unit " << unit << ": " << verdict);
    EXPECT_EQ(verdict.allowed, row.allowed);
    EXPECT_EQ(verdict.remaining, row.remaining);
    EXPECT_EQ(verdict.retry_after, row.retry == kNever ? kNever : row.retry * unit);
    EXPECT_EQ(verdict.reset_after, row.reset * unit);
    EXPECT_EQ(verdict.reason, row.allowed           ? Reason::none
                              : row.retry == kNever ? Reason::cost_exceeds_limit
                                                    : Reason::limit_exceeded);
  }
}

TEST(LimitVectors, SetA) {
  for (const int64_t unit : {int64_t{1}, kMillisecond, kSecond, kHour})
    check(kSetA, limit(Algorithm::gcra, 1, 1000 * unit, 5), unit);
}

TEST(LimitVectors, SetB) {
  for (const int64_t unit : {int64_t{1}, kMillisecond, kSecond})
    check(kSetB, limit(Algorithm::gcra, 10, 60000 * unit), unit);
}

// Whole units of time only here: in finer ones the third of the period is not 334.
TEST(LimitVectors, SetC) { check(kSetC, limit(Algorithm::gcra, 3, 1000), 1); }

TEST(LimitVectors, SetCToTheMicrosecond) {
  Table table;
  const Limit by = limit(Algorithm::gcra, 3, kSecond);
  EXPECT_EQ(table.charge("key", by, 3).reset_after, kSecond);
  table.now = kStart + 333'333;
  EXPECT_EQ(table.charge("key", by).retry_after, 1);
  table.now = kStart + 333'334;
  EXPECT_TRUE(table.charge("key", by).allowed);
  EXPECT_EQ(table.peek("key", by).retry_after, 333'333);
  // No third of a microsecond is lost on the way: the third one comes at the second, not after it.
  table.now = kStart + 666'667;
  EXPECT_TRUE(table.charge("key", by).allowed);
  table.now = kStart + 1'000'000;
  EXPECT_TRUE(table.charge("key", by).allowed);
}

}  // namespace
}  // namespace pgcache::limits::test

// Random sequences of calls, against the definition of each algorithm and against what every limit promises.
#include <random>

#include "limit_oracle.hpp"

namespace pgcache::limits::test {
namespace {

using Random = std::mt19937_64;

int64_t any(Random& random, int64_t from, int64_t to) {
  return std::uniform_int_distribution<int64_t>(from, to)(random);
}

// No call of a limit that stays the same waits longer.
int64_t longest_wait(const Limit& by) {
  if (by.algorithm == Algorithm::gcra) return refill_time(by).microseconds;
  if (by.algorithm != Algorithm::calendar) return by.period;
  constexpr int64_t kUnits[] = {kHour, kDay, 31 * kDay};
  return kUnits[by.period];
}

Limit any_limit(Random& random, Algorithm algorithm) {
  const int64_t quota = any(random, 1, any(random, 0, 1) == 0 ? 5 : 60);
  if (algorithm == Algorithm::calendar) return calendar(quota, static_cast<CalendarUnit>(any(random, 0, 2)));
  constexpr int64_t kPeriods[] = {1, 7, 1000, 999'983, kSecond, kMinute, kDay};
  const int64_t period = kPeriods[any(random, 0, 6)];
  const int64_t burst = algorithm == Algorithm::gcra && any(random, 0, 1) == 0 ? any(random, 1, 3 * quota) : quota;
  return limit(algorithm, quota, period, burst);
}

// Steps of a clock that meet borders: of waits, periods, and of nothing at all.
int64_t any_step(Random& random, const Limit& by, const Verdict& last) {
  const int64_t longest = longest_wait(by);
  const int64_t wait = std::max<int64_t>(last.retry_after, 0);
  switch (any(random, 0, 11)) {
    case 0:
    case 1:
    case 2:
      return 0;
    case 3:
      return wait;
    case 4:
      return std::max<int64_t>(wait - 1, 0);
    case 5:
      return std::max<int64_t>(last.reset_after - any(random, 0, 1), 0);
    case 6:
      return longest - any(random, 0, 1);
    case 7:
      return longest + 1;
    case 8:
      return any(random, 0, 2 * longest);
    default:
      return any(random, 0, longest / by.quota + 1);
  }
}

int64_t any_cost(Random& random, const Limit& by, const Verdict& last) {
  switch (any(random, 0, 5)) {
    case 0:
      return last.remaining;
    case 1:
      return last.remaining + 1;
    case 2:
      return any(random, 0, by.capacity() + 1);
    default:
      return any(random, 1, 3);
  }
}

// What the definition says of a call, in all columns.
Verdict expected(const Oracle& by_definition, const Limit& by, int64_t cost, int64_t now) {
  const int64_t longest = longest_wait(by);
  const int64_t remaining = by_definition.remaining(now);
  Verdict verdict{};
  verdict.allowed = cost <= remaining;
  verdict.remaining = remaining;
  verdict.reset_after = by_definition.wait(by.capacity(), now, longest);
  if (verdict.allowed) return verdict;
  const bool ever = cost <= by.capacity();
  verdict.reason = ever ? Reason::limit_exceeded : Reason::cost_exceeds_limit;
  verdict.retry_after = ever ? by_definition.wait(cost, now, longest) : kNever;
  return verdict;
}

class LimitProperties : public testing::TestWithParam<Algorithm> {
 protected:
  // Calls body(random, limit) for many limits; a failure names the seed.
  template <typename Body>
  void for_limits(uint64_t seeds, Body body) {
    for (uint64_t seed = 1; seed <= seeds && !HasFailure(); ++seed) {
      Random random(seed);
      const Limit by = any_limit(random, GetParam());
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << by);
      body(random, by);
    }
  }
};

// Charges, looks and refunds, and a clock that also goes back.
TEST_P(LimitProperties, EveryAnswerIsTheDefinitions) {
  for_limits(60, [](Random& random, const Limit& by) {
    Table table;
    const std::unique_ptr<Oracle> definition = oracle(by);
    const bool clock_is_set = any(random, 0, 3) == 0;
    Verdict last{};
    for (int call = 0; call < 200 && !HasFailure(); ++call) {
      if (clock_is_set && any(random, 0, 9) == 0)
        table.now = std::max<int64_t>(table.now - any(random, 0, 3 * longest_wait(by)), kFirstTime);
      else
        table.now += any_step(random, by, last);
      definition->see(table.now);
      const int64_t cost = any_cost(random, by, last);
      const int64_t what = any(random, 0, 9);
      SCOPED_TRACE(testing::Message() << "call " << call << " of kind " << what << ", cost " << cost << ", at "
                                      << table.now - kStart);
      if (what == 0) {
        definition->refund(cost, table.now);
        Verdict given_back = expected(*definition, by, 0, table.now);
        last = table.refund("key", by, cost);
        EXPECT_EQ(last, given_back);
      } else if (what == 1) {
        last = table.peek("key", by, cost);
        EXPECT_EQ(last, expected(*definition, by, cost, table.now));
      } else {
        Verdict charged = expected(*definition, by, cost, table.now);
        if (charged.allowed && cost > 0) {
          definition->take(cost, table.now);
          charged = expected(*definition, by, 0, table.now);
        }
        last = table.charge("key", by, cost);
        EXPECT_EQ(last, charged);
      }
    }
  });
}

// By calls alone, whatever the definition: on a copy, as a user would who waits.
TEST_P(LimitProperties, WhatIsToldComesTrue) {
  Table copy;
  for_limits(kUnderThreadSanitizer ? 2 : 12, [&](Random& random, const Limit& by) {
    Table table;
    const auto on_copy = [&](int64_t after, int64_t cost) {
      copy.become(table);
      copy.now += after;
      return copy.charge("key", by, cost);
    };
    Verdict last{};
    for (int call = 0; call < 40 && !HasFailure(); ++call) {
      table.now += any_step(random, by, last);
      const int64_t cost = std::max<int64_t>(any_cost(random, by, last), 1);
      SCOPED_TRACE(testing::Message() << "call " << call << ", cost " << cost << ", at " << table.now - kStart);
      const Verdict before = table.peek("key", by, cost);
      last = table.charge("key", by, cost);
      ASSERT_EQ(last.allowed, before.allowed);
      ASSERT_EQ(last.allowed, last.retry_after == 0);
      ASSERT_EQ(last.retry_after == kNever, cost > by.capacity());
      if (!last.allowed) {
        EXPECT_EQ(last, before) << "a denial takes nothing";
      }
      if (last.retry_after > 0) {
        EXPECT_LE(last.retry_after, longest_wait(by));
        EXPECT_TRUE(on_copy(last.retry_after, cost).allowed);
        EXPECT_FALSE(on_copy(last.retry_after - 1, cost).allowed);
      }
      if (last.remaining > 0) {
        EXPECT_TRUE(on_copy(0, last.remaining).allowed);
      }
      const Verdict more = on_copy(0, last.remaining + 1);
      EXPECT_FALSE(more.allowed);
      EXPECT_EQ(more.reason, last.remaining < by.capacity() ? Reason::limit_exceeded : Reason::cost_exceeds_limit);
      EXPECT_LE(last.reset_after, longest_wait(by));
      EXPECT_TRUE(on_copy(last.reset_after, by.capacity()).allowed) << "as if never used";
      if (last.reset_after > 0) {
        EXPECT_FALSE(on_copy(last.reset_after - 1, by.capacity()).allowed);
      }
      const Verdict looked = table.charge("key", by, 0);
      EXPECT_TRUE(looked.allowed);
      EXPECT_EQ(looked.remaining, last.remaining);
      EXPECT_EQ(looked.reset_after, last.reset_after);
    }
  });
}

struct Hit {
  int64_t time;
  int64_t cost;
};

// Whoever wants most, at the worst times: all that is there, at borders.
std::vector<Hit> greedy_hits(Random& random, const Limit& by, int calls) {
  Table table;
  std::vector<Hit> hits;
  Verdict last{};
  for (int call = 0; call < calls; ++call) {
    table.now += any_step(random, by, last);
    const int64_t cost = any(random, 0, 2) == 0 ? 1 : std::max<int64_t>(table.peek("key", by).remaining, 1);
    last = table.charge("key", by, cost);
    if (last.allowed) hits.push_back({table.now, cost});
  }
  return hits;
}

// The most that is taken within any `span` microseconds.
int64_t most_within(const std::vector<Hit>& hits, int64_t span) {
  int64_t most = 0;
  int64_t sum = 0;
  for (size_t first = 0, end = 0; first < hits.size(); sum -= hits[first++].cost) {
    for (; end < hits.size() && hits[end].time - hits[first].time < span; ++end) sum += hits[end].cost;
    most = std::max(most, sum);
  }
  return most;
}

TEST_P(LimitProperties, NoWindowGetsMoreThanTheWorstCase) {
  int64_t fullest = 0;  // in thousandths of the bound
  for_limits(80, [&](Random& random, const Limit& by) {
    const std::vector<Hit> hits = greedy_hits(random, by, 400);
    if (by.algorithm == Algorithm::gcra) {
      for (size_t first = 0; first < hits.size(); ++first) {
        int64_t sum = 0;
        for (size_t end = first; end < hits.size(); ++end) {
          sum += hits[end].cost;
          const __int128 elapsed = hits[end].time - hits[first].time;
          const auto bound = static_cast<int64_t>(by.burst + elapsed * by.quota / by.period);
          ASSERT_LE(sum, bound) << "from " << hits[first].time - kStart << " for " << static_cast<int64_t>(elapsed);
          fullest = std::max(fullest, sum * 1000 / bound);
        }
      }
      return;
    }
    // Of months, as long as the shortest.
    const bool is_month = by.algorithm == Algorithm::calendar && by.period == 2;
    const int64_t bound = by.algorithm == Algorithm::exact ? by.quota : 2 * by.quota;
    const int64_t most = most_within(hits, is_month ? 28 * kDay : longest_wait(by));
    EXPECT_LE(most, bound);
    fullest = std::max(fullest, most * 1000 / bound);
  });
  // Else nothing came near the worst case, and the test would show little. Of fixed one unit begins the window; of
  // sliding it is less than twice the quota.
  EXPECT_GE(fullest, GetParam() == Algorithm::sliding ? 700 : GetParam() == Algorithm::fixed ? 950 : 1000);
}

TEST_P(LimitProperties, RefundGivesBackWhatWasTakenAndNoMore) {
  for_limits(40, [](Random& random, const Limit& by) {
    Table table;
    for (int round = 0; round < 20; ++round) {
      table.now += any(random, 0, longest_wait(by));
      const Verdict before = table.peek("key", by);
      if (before.remaining == 0) continue;
      const int64_t cost = any(random, 1, before.remaining);
      ASSERT_TRUE(table.charge("key", by, cost).allowed);
      const Verdict after = table.refund("key", by, cost);
      EXPECT_TRUE(after.allowed);
      EXPECT_EQ(after.retry_after, 0);
      EXPECT_EQ(after.remaining, before.remaining);
      static_cast<void>(table.charge("key", by, any(random, 0, before.remaining)));
    }
    EXPECT_EQ(table.refund("key", by, 1000 * by.capacity()).remaining, by.capacity());
    EXPECT_EQ(table.peek("key", by).reset_after, 0);
    EXPECT_EQ(table.totals().cells, 0U) << "a count with nothing taken is none";
    EXPECT_EQ(table.totals().log_entries, 0U);
    EXPECT_TRUE(table.charge("key", by, by.capacity()).allowed);
    EXPECT_FALSE(table.charge("key", by).allowed) << "no more than full";
  });
}

TEST(LimitExact, NoWindowGetsMoreThanTheQuotaWhateverIsGivenBack) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    const Limit by = limit(Algorithm::exact, any(random, 1, 30), any(random, 1, 1000));
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << by);
    Table table;
    // Whoever gives back does not say what: the worst choice is a unit that soon runs off.
    std::deque<int64_t> held;
    Verdict last{};
    for (int call = 0; call < 400; ++call) {
      table.now += any_step(random, by, last);
      const int64_t cost = any(random, 1, by.quota);
      if (any(random, 0, 3) == 0) {
        last = table.refund("key", by, cost);
        auto live = std::find_if(held.begin(), held.end(), [&](int64_t hit) { return table.now - hit < by.period; });
        held.erase(live, live + std::min<int64_t>(cost, held.end() - live));
      } else {
        last = table.charge("key", by, cost);
        if (last.allowed) held.insert(held.end(), cost, table.now);
      }
    }
    std::vector<Hit> hits;
    for (const int64_t time : held) hits.push_back({time, 1});
    ASSERT_LE(most_within(hits, by.period), by.quota);
  }
}

// Each call brings its own quota and burst.
TEST_P(LimitProperties, AChangedLimitKeepsNobodyLongerThanAPeriod) {
  for_limits(60, [](Random& random, const Limit& by) {
    Table table;
    Verdict last{};
    int64_t charged_at = kLongAgo;
    for (int call = 0; call < 200; ++call) {
      Limit now_by = by;
      now_by.quota = any(random, 1, by.quota * 3);
      now_by.burst = by.algorithm == Algorithm::gcra ? any(random, 1, by.burst * 3) : now_by.quota;
      table.now += any_step(random, by, last);
      const int64_t cost = any(random, 1, now_by.capacity());
      last = table.charge("key", now_by, cost);
      if (last.allowed) charged_at = table.now;
      SCOPED_TRACE(testing::Message() << "call " << call << ", " << now_by << ": " << last);
      const Verdict all = table.peek("key", now_by, now_by.capacity());
      // As long as the limit that asks needs, counted from what was last taken.
      if (!all.allowed) {
        ASSERT_LE(table.now + all.retry_after, charged_at + longest_wait(now_by));
      }
      ASSERT_EQ(all.retry_after, last.reset_after);
      if (all.retry_after > 0) {
        EXPECT_TRUE(table.peek_at(table.now + all.retry_after, "key", now_by, now_by.capacity()).allowed);
        EXPECT_FALSE(table.peek_at(table.now + all.retry_after - 1, "key", now_by, now_by.capacity()).allowed);
      }
    }
  });
}

// Of gcra it is a share of the time in which all of it runs off.
TEST(LimitsThatShareACount, OfGcraKeepTheTime) {
  Table table;
  ASSERT_TRUE(table.charge("key", limit(Algorithm::gcra, 100, kHour), 80).allowed);
  EXPECT_EQ(table.peek("key", limit(Algorithm::gcra, 200, kHour)).remaining, 40);
  EXPECT_EQ(table.peek("key", limit(Algorithm::gcra, 50, kHour)).remaining, 10);
  EXPECT_EQ(table.peek("key", limit(Algorithm::gcra, 100, kHour)).remaining, 20);
  // A third of a second, and the sixth that is missing: not a microsecond is lost to rounding on the way.
  ASSERT_TRUE(table.charge("thirds", limit(Algorithm::gcra, 3, kSecond)).allowed);
  EXPECT_EQ(table.peek("thirds", limit(Algorithm::gcra, 6, kSecond), 5).retry_after, 166'667);
}

// Calls by a lax limit never make room for a strict one.
TEST(LimitsThatShareACount, GiveTheStrictOneNoMoreThanItsOwn) {
  for (const Algorithm algorithm : {Algorithm::gcra, Algorithm::fixed, Algorithm::sliding, Algorithm::exact}) {
    SCOPED_TRACE(static_cast<int>(algorithm));
    const Limit strict = limit(algorithm, 5, kMinute);
    const Limit lax = limit(algorithm, 100, kMinute);
    Table table;
    int granted = 0;
    for (int second = 0; second < 60; ++second) {
      if (second % 3 == 0) static_cast<void>(table.charge("key", lax));
      granted += table.charge("key", strict).allowed ? 1 : 0;
      table.now += kSecond;
    }
    EXPECT_GT(granted, 0);
    EXPECT_LE(granted, 10);
  }
}

TEST(LimitsThatShareACount, KeepTheNumberButOfGcra) {
  for (const Algorithm algorithm : {Algorithm::fixed, Algorithm::sliding, Algorithm::exact, Algorithm::calendar}) {
    SCOPED_TRACE(static_cast<int>(algorithm));
    const int64_t period = algorithm == Algorithm::calendar ? 2 : kHour;
    Table table;
    table.now = kStart;  // the month's beginning; of sliding a window's
    ASSERT_TRUE(table.charge("key", limit(algorithm, 100, period), 80).allowed);
    EXPECT_EQ(table.peek("key", limit(algorithm, 200, period)).remaining, 120);
    EXPECT_EQ(table.peek("key", limit(algorithm, 81, period)).remaining, 1);
    const Verdict lowered = table.charge("key", limit(algorithm, 50, period));
    EXPECT_EQ(lowered.reason, Reason::limit_exceeded);
    EXPECT_EQ(lowered.remaining, 0);
    EXPECT_EQ(table.peek("key", limit(algorithm, 100, period)).remaining, 20) << "the lower limit took nothing away";
  }
}

TEST_P(LimitProperties, AClockSetBackKeepsNobodyLongerThanAPeriod) {
  for_limits(60, [](Random& random, const Limit& by) {
    Table table;
    ASSERT_TRUE(table.charge("key", by, by.capacity()).allowed);
    for (int round = 0; round < 20; ++round) {
      const bool goes_back = any(random, 0, 2) > 0;
      const int64_t far = any(random, 0, 1) == 0 ? 2 * longest_wait(by) : 20 * 365 * kDay;
      table.now = std::max<int64_t>(table.now + (goes_back ? -1 : 1) * any(random, 0, far), kFirstTime);
      SCOPED_TRACE(testing::Message() << "round " << round << ", at " << table.now - kStart);
      const Verdict verdict = table.charge("key", by, by.capacity());
      if (verdict.allowed) continue;
      ASSERT_LE(verdict.retry_after, longest_wait(by));
      ASSERT_TRUE(table.peek_at(table.now + verdict.retry_after, "key", by, by.capacity()).allowed);
      ASSERT_FALSE(table.peek_at(table.now + verdict.retry_after - 1, "key", by, by.capacity()).allowed);
    }
  });
}

// What a clock set back must not do either: give out what was taken.
TEST_P(LimitProperties, AClockSetBackGivesNothingAway) {
  for_limits(40, [](Random& random, const Limit& by) {
    Table table;
    ASSERT_TRUE(table.charge("key", by, by.capacity()).allowed);
    table.now -= any(random, 1, 20 * 365 * kDay);
    EXPECT_FALSE(table.charge("key", by).allowed);
  });
}

std::string algorithm_name(const testing::TestParamInfo<Algorithm>& about) {
  return testing::PrintToString(about.param);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, LimitProperties, testing::ValuesIn(kAlgorithms), algorithm_name);

}  // namespace
}  // namespace pgcache::limits::test

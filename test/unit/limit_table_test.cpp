// The table: how much it holds, what it keeps and what it forgets, and what acts on all counts of a key.
#include <cstdio>
#include <random>
#include <set>
#include <vector>

#include "limits.hpp"

namespace pgcache::limits::test {
namespace {

constexpr Limit kHourly{Algorithm::gcra, 1, kHour, 1};

// ---- how much

// New keys until one finds no place; how many did. There is an end, or live ones were forgotten.
uint64_t fill(Table& table, std::string_view name, const Limit& by, int64_t cost = 1) {
  const uint64_t cells_max = table.totals().cells_max;
  for (uint64_t number = 0; number <= cells_max; ++number) {
    const Verdict verdict = table.charge(numbered(name, number), by, cost);
    if (verdict.reason == Reason::memory_full) return number;
    EXPECT_TRUE(verdict.allowed);
  }
  ADD_FAILURE() << "more keys than places";
  return cells_max;
}

TEST(LimitTable, FillsBeforeTheFirstKeyFindsNoPlace) {
  for (const uint64_t bytes : {kMinTableBytes, 16 * kMegabyte, 64 * kMegabyte}) {
    Table table(bytes);
    const uint64_t keys = fill(table, "key", kHourly);
    const Totals totals = table.totals();
    const double load = static_cast<double>(keys) / static_cast<double>(totals.cells_max);
    std::printf("%lu MB: the first of %lu cells is missed at a load of %.3f\n",
                static_cast<unsigned long>(bytes / kMegabyte), static_cast<unsigned long>(totals.cells_max), load);
    EXPECT_EQ(totals.cells, keys);
    EXPECT_EQ(totals.no_room, 1);
    EXPECT_EQ(totals.forgotten, 0);
    EXPECT_GE(load, 0.85);
  }
}

TEST(LimitTable, TakesNoMoreBytesThanPromised) {
  Table table(16 * kMegabyte);
  const Totals totals = table.totals();
  EXPECT_EQ(totals.bytes, 16 * kMegabyte);
  EXPECT_LE(totals.bytes, 64 * totals.cells_max);
  EXPECT_EQ(sizeof(Bucket), 48 * kCellsPerBucket);
}

TEST(LimitTable, HoldsTwoHundredThousandLiveKeysInTheDefaultMemory) {
  constexpr uint64_t kKeys = 200'000;
  for (const Algorithm algorithm : {Algorithm::gcra, Algorithm::fixed, Algorithm::sliding, Algorithm::calendar}) {
    SCOPED_TRACE(algorithm);
    Table table(16 * kMegabyte);
    const Limit by = algorithm == Algorithm::calendar ? calendar(9, CalendarUnit::month) : limit(algorithm, 9, kDay);
    for (uint64_t number = 0; number < kKeys; ++number)
      ASSERT_TRUE(table.charge(numbered("key", number), by, static_cast<int64_t>(number % 8 + 1)).allowed);
    EXPECT_EQ(table.totals().cells, kKeys);
    EXPECT_EQ(table.totals().no_room, 0);
    for (uint64_t number = 0; number < kKeys; ++number)
      ASSERT_EQ(table.peek(numbered("key", number), by).remaining, static_cast<int64_t>(8 - number % 8));
  }
}

// ---- what is kept

TEST(LimitTable, NoFloodGetsACountOrADenialOrABlockForgotten) {
  Table table;
  constexpr uint64_t kVictims = 200;
  const auto limit_of = [](Algorithm algorithm) {
    return algorithm == Algorithm::calendar ? calendar(3, CalendarUnit::month) : limit(algorithm, 3, 2 * kDay);
  };
  for (uint64_t number = 0; number < kVictims; ++number)
    for (const Algorithm algorithm : kAlgorithms) {
      // Some have one left, for they were given it back, some are denied.
      const std::string key = numbered("victim", number);
      ASSERT_TRUE(table.charge(key, limit_of(algorithm), 3).allowed);
      if (number % 2 == 0) {
        ASSERT_EQ(table.refund(key, limit_of(algorithm)).remaining, 1);
      }
      ASSERT_GT(table.block(numbered("blocked", number), 2 * kDay), 0);
    }
  const uint64_t cells_max = table.totals().cells_max;
  for (uint64_t number = 0; number < 3 * cells_max; ++number) {
    const std::string key = numbered("flood", number);
    // Of all kinds, and of periods that end during the flood.
    const int64_t period = number % 3 == 0 ? kSecond : kDay;
    static_cast<void>(table.charge(key, limit(kAlgorithms[number % 4], 5, period), 1, number % 5 == 0 ? kDay : 0));
    if (number % 7 == 0) table.block(key, kMinute);
    table.now += 100;
  }
  EXPECT_GT(table.totals().no_room, 0) << "it was full";
  EXPECT_GT(table.totals().forgotten, 0) << "and what had run off gave way";
  for (uint64_t number = 0; number < kVictims; ++number) {
    for (const Algorithm algorithm : kAlgorithms) {
      SCOPED_TRACE(testing::Message() << algorithm << " of " << number);
      const Verdict verdict = table.peek(numbered("victim", number), limit_of(algorithm), 2);
      ASSERT_EQ(verdict.remaining, number % 2 == 0 ? 1 : 0);
      ASSERT_EQ(verdict.reason, Reason::limit_exceeded);
    }
    ASSERT_EQ(table.peek(numbered("blocked", number), kHourly).reason, Reason::blocked);
  }
}

void flood(Table& table) {
  const uint64_t keys = 3 * table.totals().cells_max;
  for (uint64_t number = 0; number < keys; ++number)
    static_cast<void>(table.charge(numbered("flood", number), limit(Algorithm::fixed, 1, kDay)));
  EXPECT_GT(table.totals().no_room, 0) << "it was full";
}

// The time that was left of its unit says nothing about that of the unit before.
TEST(LimitTable, ACalendarsCountThatOthersSetBackIsKeptToTheEndOfItsUnit) {
  const Limit hourly = limit(Algorithm::calendar, 5, static_cast<int64_t>(CalendarUnit::hour));
  Table table;
  table.now = kStart + 50 * kMinute;
  ASSERT_TRUE(table.charge("key", hourly, 5).allowed);
  flood(table);
  table.now = kStart - kDay + 5 * kMinute;
  flood(table);
  table.now += 20 * kMinute;
  flood(table);
  EXPECT_EQ(table.peek("key", hourly).retry_after, 35 * kMinute);
}

// By the limit that denies, not by the higher one that was charged before.
TEST(LimitTable, NoFloodGetsADenialForgottenWhereTheQuotaWasLowered) {
  for (const Algorithm algorithm : kAlgorithms) {
    SCOPED_TRACE(algorithm);
    Table table;
    const int64_t period = algorithm == Algorithm::calendar ? 0 : kHour;
    ASSERT_TRUE(table.charge("key", limit(algorithm, 200, period), 200).allowed);
    table.now += kMinute;
    const Limit lowered = limit(algorithm, 50, period);
    const int64_t cost = algorithm == Algorithm::gcra ? 50 : 1;
    ASSERT_GE(table.charge("key", lowered, cost).retry_after, 30 * kMinute);
    table.now += 25 * kMinute;
    const Verdict before = table.peek("key", lowered, cost);
    ASSERT_FALSE(before.allowed);
    flood(table);
    EXPECT_EQ(table.peek("key", lowered, cost), before);
  }
}

// Counts from the time that was taken back run off like those of now.
TEST(LimitTable, AClockSetBackKeepsNoNewKeyOutOfAFullTable) {
  for (const Algorithm algorithm : {Algorithm::fixed, Algorithm::exact, Algorithm::calendar}) {
    SCOPED_TRACE(algorithm);
    Table table;
    const Limit by = algorithm == Algorithm::calendar ? calendar(1, CalendarUnit::hour) : limit(algorithm, 1, kHour);
    table.now += 365 * kDay;
    const std::string key = numbered("key", fill(table, "key", by));
    table.now -= 365 * kDay;
    const Verdict full = table.charge(key, by);
    EXPECT_LE(full.retry_after, kHour);
    table.now += kHour;
    static_cast<void>(table.charge(key, by));
    table.now += kHour;
    EXPECT_TRUE(table.charge(key, by).allowed) << "two periods later";
  }
}

TEST(LimitTable, WhatHasRunOffGivesWay) {
  for (const Algorithm algorithm : kAlgorithms) {
    SCOPED_TRACE(algorithm);
    Table table;
    const Limit by = algorithm == Algorithm::calendar ? calendar(2, CalendarUnit::hour) : limit(algorithm, 2, kHour);
    const uint64_t before = fill(table, "old", by, 2);
    table.now += kHour - 1;
    EXPECT_EQ(table.charge(numbered("old", before), by, 2).reason, Reason::memory_full);
    EXPECT_EQ(table.totals().forgotten, 0);
    table.now += 1;
    const uint64_t after = fill(table, "new", by, 2);
    EXPECT_GE(after, before * 9 / 10);
    EXPECT_GE(table.totals().forgotten, static_cast<int64_t>(after * 9 / 10));
    EXPECT_LE(table.totals().cells, table.totals().cells_max);
  }
}

TEST(LimitTable, BlocksThatHaveEndedGiveWay) {
  Table table;
  uint64_t blocks = 0;
  while (blocks <= table.totals().cells_max && table.block(numbered("key", blocks), kMinute) > 0) ++blocks;
  EXPECT_EQ(table.totals().no_room, 1);
  EXPECT_EQ(table.totals().cells, blocks);
  EXPECT_EQ(table.block(numbered("key", blocks), kMinute), 0);
  table.now += kMinute;
  EXPECT_EQ(table.block(numbered("key", blocks), kMinute), table.now + kMinute);
  EXPECT_EQ(table.totals().forgotten, 1);
}

// ---- when it is full

// A key that finds no place.
std::string homeless(Table& table, const Limit& by) { return numbered("key", fill(table, "key", by)); }

TEST(LimitTable, TheCallerSaysWhoIsAllowedWhenItIsFull) {
  Table table;
  const Limit by = limit(Algorithm::fixed, 5, kHour);
  const std::string key = homeless(table, by);
  const Totals before = table.totals();
  const Verdict allowed = table.charge(key, by, 2, 0, true);
  EXPECT_TRUE(allowed.allowed);
  EXPECT_EQ(allowed.reason, Reason::memory_full);
  EXPECT_EQ(allowed.retry_after, 0);
  EXPECT_EQ(allowed.remaining, 3);
  const Verdict denied = table.charge(key, by, 2, kDay, false);
  EXPECT_FALSE(denied.allowed);
  EXPECT_EQ(denied.reason, Reason::memory_full);
  EXPECT_EQ(denied.remaining, 0);
  EXPECT_EQ(table.totals().no_room, before.no_room + 2);
  EXPECT_EQ(table.totals().allowed, before.allowed + 1);
  EXPECT_EQ(table.totals().denied, before.denied + 1);
  EXPECT_EQ(table.totals().cells, before.cells) << "nothing gave way, and nobody was blocked";
  // Neither allows what the limit does not.
  EXPECT_EQ(table.charge(key, by, 6, 0, true).reason, Reason::cost_exceeds_limit);
  EXPECT_EQ(table.charge("key0", by, 5, 0, true).reason, Reason::limit_exceeded) << "who has a place is counted";
}

TEST(LimitTable, ADenialForLackOfRoomSaysWhenThereMayBeSome) {
  for (const Algorithm algorithm : kAlgorithms) {
    SCOPED_TRACE(algorithm);
    Table table;
    const Limit by = algorithm == Algorithm::calendar ? calendar(5, CalendarUnit::day) : limit(algorithm, 5, kHour);
    uint64_t number = 0;
    for (; number <= table.totals().cells_max && table.charge(numbered("key", number), by).allowed; ++number)
      table.now += 1000;
    const Verdict denied = table.charge(numbered("key", number), by);
    ASSERT_EQ(denied.reason, Reason::memory_full);
    ASSERT_GT(denied.retry_after, 0);
    ASSERT_LE(denied.retry_after, algorithm == Algorithm::calendar ? kDay : kHour);
    table.now += denied.retry_after;
    EXPECT_TRUE(table.charge(numbered("key", number), by).allowed);
  }
}

// ---- logs of exact

std::vector<std::string> keys_of_one_partition(const Table& table, size_t count) {
  std::vector<std::string> keys;
  for (uint64_t number = 0; keys.size() < count; ++number)
    if (std::string key = numbered("key", number); table.key(key).first % kPartitions == 7) keys.push_back(key);
  return keys;
}

TEST(LimitTable, TheLeastMemoryHoldsAWholeQuotaOfExact) {
  Table table;
  const Limit by = limit(Algorithm::exact, kMaxExactQuota, kHour);
  for (uint64_t number = 0; number < 4; ++number) {
    const std::string key = keys_of_one_partition(table, 1)[0];
    for (int64_t hit = 0; hit < kMaxExactQuota; ++hit)
      ASSERT_EQ(table.charge(key, by).remaining, kMaxExactQuota - hit - 1);
    EXPECT_EQ(table.charge(key, by).reason, Reason::limit_exceeded);
    table.now += kHour;
  }
}

TEST(LimitTable, LogsThatHaveRunOffAreFound) {
  Table table;
  const auto keys = keys_of_one_partition(table, 4000);
  const Limit by = limit(Algorithm::exact, 100, kMinute);
  size_t number = 0;
  for (; number + 1 < keys.size() && table.charge(keys[number], by, 10).allowed; ++number) table.now += kMillisecond;
  const Verdict denied = table.charge(keys[number], by, 10);
  EXPECT_EQ(denied.reason, Reason::memory_full);
  EXPECT_EQ(table.totals().forgotten, 0);
  EXPECT_GT(number, 50U);
  EXPECT_EQ(table.charge("of another kind", limit(Algorithm::fixed, 5, kMinute)).remaining, 4) << "needs no log";
  EXPECT_EQ(table.charge(keys[number], by, 10, 0, true).reason, Reason::memory_full);
  // Those with a log go on, as long as their own blocks have room: of 14 places 10 are used.
  EXPECT_TRUE(table.charge(keys[0], by, 4).allowed);
  EXPECT_EQ(table.charge(keys[0], by, 1).reason, Reason::memory_full);
  EXPECT_EQ(table.peek(keys[0], by).remaining, 86) << "nothing was taken for lack of room";
  // The first log has been used since.
  table.now += kMinute - static_cast<int64_t>(number - 1) * kMillisecond;
  EXPECT_TRUE(table.charge(keys[number], by, 10).allowed);
  EXPECT_GE(table.totals().forgotten, 1);
  for (size_t other = 2; other < number; ++other) ASSERT_EQ(table.peek(keys[other], by).remaining, 90);
  // All of them, over and over: no block is lost.
  for (int round = 0; round < 50; ++round) {
    table.now += kMinute;
    size_t fitted = 0;
    while (fitted <= number &&
           table.charge(keys[(fitted + static_cast<size_t>(round) * 31) % keys.size()], by, 10).allowed)
      ++fitted;
    ASSERT_EQ(fitted, number) << round;
  }
}

TEST(LimitTable, AllBlocksOfLogsComeBack) {
  std::mt19937_64 random(11);
  Table table;
  const auto keys = keys_of_one_partition(table, 12);
  for (int call = 0; call < 20'000; ++call) {
    const std::string& key = keys[random() % keys.size()];
    const Limit by = limit(Algorithm::exact, 500, random() % 2 == 0 ? kSecond : kMinute);
    const auto cost = static_cast<int64_t>(random() % 40 + 1);
    switch (random() % 12) {
      case 0:
        table.reset(key);
        break;
      case 1:
      case 2:
      case 3:
        static_cast<void>(table.refund(key, by, cost));
        break;
      case 4:
        table.now -= static_cast<int64_t>(random() % kMinute);
        break;
      default:
        table.now += static_cast<int64_t>(random() % (2 * kSecond));
        static_cast<void>(table.charge(key, by, cost));
    }
    ASSERT_LE(table.totals().log_entries, table.totals().log_entries_max);
  }
  for (const std::string& key : keys) table.reset(key);
  EXPECT_EQ(table.totals().log_entries, 0U);
  EXPECT_EQ(table.totals().cells, 0U);
  // They are still all there: the whole pool can be used.
  uint64_t hits = 0;
  for (const std::string& key : keys)
    for (int64_t cost = 7; table.charge(key, limit(Algorithm::exact, 1000, kHour), cost).allowed;) hits += 7;
  EXPECT_EQ(hits, table.totals().log_entries_max / kPartitions);
}

// ---- what belongs to a key

TEST(LimitTable, AKeyHasSixteenCounts) {
  Table table;
  for (int64_t period = 1; period <= 16; ++period)
    ASSERT_TRUE(table.charge("key", limit(Algorithm::fixed, 5, period * kHour), period % 5 + 1).allowed);
  EXPECT_EQ(table.charge("key", limit(Algorithm::fixed, 5, 17 * kHour)).reason, Reason::memory_full);
  EXPECT_EQ(table.block("key", kDay), 0) << "a block takes a place";
  for (int64_t period = 1; period <= 16; ++period)
    EXPECT_EQ(table.peek("key", limit(Algorithm::fixed, 5, period * kHour)).remaining, 4 - period % 5);
  // The first has run off.
  table.now += kHour;
  EXPECT_GT(table.block("key", kDay), 0);
  EXPECT_EQ(table.reset("key"), 15U);
  EXPECT_EQ(table.totals().cells, 0U);
}

TEST(LimitTable, OtherKeysMakeRoomForTheCountsOfOne) {
  Table table;
  for (uint64_t number = 0; number < table.totals().cells_max / 2; ++number)
    ASSERT_TRUE(table.charge(numbered("other", number), kHourly).allowed);
  int64_t counts = 0;
  for (uint64_t number = 0; number < 50; ++number)
    for (int64_t period = 1; period <= 16; ++period)
      counts += table.charge(numbered("key", number), limit(Algorithm::fixed, 5, period * kHour)).allowed ? 1 : 0;
  // But for those that have the same two buckets.
  EXPECT_GE(counts, 50 * 16 * 99 / 100);
  for (uint64_t number = 0; number < table.totals().cells_max / 2; ++number)
    ASSERT_FALSE(table.peek(numbered("other", number), kHourly).allowed) << "moved, not lost";
}

TEST(LimitTable, ACountIsNamedByKeyDatabaseAlgorithmAndPeriod) {
  Table table;
  struct Named {
    const char* key;
    uint32_t database;
    Limit by;
  };
  std::vector<Named> all;
  for (const char* key : {"key", "other"})
    for (const uint32_t database : {1U, 2U})
      for (const Algorithm algorithm : kAlgorithms)
        for (const int64_t period : {1, 2}) all.push_back({key, database, limit(algorithm, 50, period)});
  shared_time = kStart;
  int64_t cost = 0;
  for (const Named& one : all) {
    const Verdict verdict =
        table.table.charge(table.key(one.key, one.database), {one.by, ++cost, 0, false}, shared_clock);
    ASSERT_EQ(verdict.remaining, 50 - cost) << one.key << ", " << one.database << ", " << one.by;
  }
  cost = 0;
  for (const Named& one : all) {
    const Verdict verdict = table.table.peek(table.key(one.key, one.database), {one.by, 1, 0, false}, shared_clock);
    EXPECT_EQ(verdict.remaining, 50 - ++cost) << one.key << ", " << one.database << ", " << one.by;
  }
  // Quota and burst are no part of the name.
  EXPECT_EQ(table.peek("key", limit(Algorithm::gcra, 50, 1, 60)).remaining, 59);
  EXPECT_EQ(table.reset("key"), 10U) << "those of the other database stay";
  EXPECT_EQ(table.reset("other"), 10U);
  EXPECT_EQ(table.totals().cells, 20U);
}

// The longest period differs from a short one in the bits that also tell algorithms apart.
TEST(LimitTable, LongPeriodsAreNotOthersOfAnotherAlgorithm) {
  for (int bit = 40; bit < 62; ++bit) {
    Table table;
    const int64_t far = (int64_t{1} << bit) + kSecond;
    for (const Algorithm algorithm : {Algorithm::gcra, Algorithm::fixed, Algorithm::sliding})
      for (const int64_t period : {far, kSecond})
        EXPECT_EQ(table.charge("key", limit(algorithm, 1, period)).remaining, 0) << algorithm << " with bit " << bit;
    EXPECT_EQ(table.totals().cells, 6U) << "bit " << bit;
  }
}

TEST(LimitTable, ABlockBelongsToTheKey) {
  Table table;
  const Limit by = limit(Algorithm::fixed, 5, kHour);
  EXPECT_EQ(table.block("key", kMinute), table.now + kMinute);
  for (const Algorithm algorithm : kAlgorithms) {
    const Verdict verdict = table.charge("key", limit(algorithm, 5, algorithm == Algorithm::calendar ? 0 : kHour));
    EXPECT_EQ(verdict.reason, Reason::blocked);
    EXPECT_EQ(verdict.remaining, 0);
    EXPECT_EQ(verdict.retry_after, kMinute);
    EXPECT_EQ(verdict.reset_after, kMinute);
    EXPECT_EQ(verdict.blocked_until, table.now + kMinute);
  }
  EXPECT_TRUE(table.charge("other", by).allowed);
  EXPECT_EQ(table.block("key", kSecond), table.now + kSecond) << "in place of the one before";
  table.now += kSecond - 1;
  EXPECT_EQ(table.charge("key", by).retry_after, 1);
  table.now += 1;
  const Verdict verdict = table.charge("key", by);
  EXPECT_TRUE(verdict.allowed);
  EXPECT_EQ(verdict.blocked_until, 0);
  EXPECT_EQ(verdict.remaining, 4) << "what was denied took nothing";
  EXPECT_FALSE(table.unblock("key")) << "it has ended by itself";
  EXPECT_GT(table.block("key", kMinute), 0);
  EXPECT_TRUE(table.unblock("key"));
  EXPECT_FALSE(table.unblock("key"));
  EXPECT_EQ(table.charge("key", by).remaining, 3);
}

TEST(LimitTable, ADenialBlocksOnceAndCountsGoOn) {
  for (const Algorithm algorithm : kAlgorithms) {
    SCOPED_TRACE(algorithm);
    Table table;
    const Limit by = algorithm == Algorithm::calendar ? calendar(2, CalendarUnit::hour) : limit(algorithm, 2, kHour);
    EXPECT_TRUE(table.charge("key", by, 2, kMinute).allowed);
    EXPECT_EQ(table.charge("key", by, 3, kMinute).blocked_until, 0) << "not because the quota is used up";
    EXPECT_EQ(table.peek("key", by).blocked_until, 0);
    const Verdict denied = table.charge("key", by, 1, kMinute);
    EXPECT_EQ(denied.reason, Reason::limit_exceeded);
    EXPECT_EQ(denied.blocked_until, table.now + kMinute);
    EXPECT_EQ(denied.retry_after, algorithm == Algorithm::gcra ? kHour / 2 : kHour) << "for the quota";
    table.now += kMinute / 2;
    const Verdict again = table.charge("key", by, 1, kMinute);
    EXPECT_EQ(again.reason, Reason::blocked);
    EXPECT_EQ(again.blocked_until, denied.blocked_until) << "no longer than it was";
    table.now += kMinute / 2;
    EXPECT_EQ(table.peek("key", by).reason, Reason::limit_exceeded);
    // A block that is longer than the quota needs.
    const Verdict longer = table.charge("key", by, 1, kDay);
    EXPECT_EQ(longer.retry_after, kDay);
    EXPECT_EQ(longer.reset_after, kDay);
    table.now += kDay - 1;
    EXPECT_EQ(table.charge("key", by).reason, Reason::blocked);
    table.now += 1;
    EXPECT_TRUE(table.charge("key", by, 2).allowed);
  }
}

TEST(LimitTable, AClockSetBackProlongsNoBlockBeyondItsLength) {
  Table table;
  table.block("key", kDay);
  table.now -= 365 * kDay;
  EXPECT_EQ(table.peek("key", kHourly).blocked_until, table.now + kDay);
  table.now += kDay;
  EXPECT_TRUE(table.charge("key", kHourly).allowed);
}

TEST(LimitTable, ResetForgetsAllOfAKeyAndNothingElse) {
  Table table;
  for (const char* key : {"key", "other"}) {
    for (const Algorithm algorithm : kAlgorithms)
      EXPECT_TRUE(table.charge(key, limit(algorithm, 5, algorithm == Algorithm::calendar ? 0 : kMinute), 5).allowed);
    EXPECT_TRUE(table.charge(key, limit(Algorithm::fixed, 5, kSecond)).allowed);
    table.block(key, kDay);
  }
  table.now += kSecond;
  EXPECT_EQ(table.reset("key"), 5U) << "of six counts one had run off; a block is none";
  EXPECT_EQ(table.reset("key"), 0U);
  EXPECT_EQ(table.totals().cells, 7U);
  for (const Algorithm algorithm : kAlgorithms) {
    const Limit by = limit(algorithm, 5, algorithm == Algorithm::calendar ? 0 : kMinute);
    EXPECT_TRUE(table.charge("key", by, 5).allowed);
    EXPECT_EQ(table.peek("other", by).reason, Reason::blocked);
  }
}

// Keys that cannot be told apart share their counts: nobody gets more for it.
TEST(LimitTable, CollidingKeysShareOneCount) {
  Table table(kMinTableBytes, constant_hash);
  for (const Algorithm algorithm : kAlgorithms) {
    const Limit by = limit(algorithm, 100, algorithm == Algorithm::calendar ? 0 : kHour);
    for (uint64_t number = 0; number < 100; ++number) EXPECT_TRUE(table.charge(numbered("key", number), by).allowed);
    EXPECT_FALSE(table.charge("another", by).allowed);
  }
  EXPECT_EQ(table.totals().cells, 5U);
}

// ---- totals

TEST(LimitTable, CountsWhatWasAskedAndAnswered) {
  Table table;
  const Limit by = limit(Algorithm::fixed, 2, kHour);
  EXPECT_EQ(table.totals().since, kStart);
  for (int call = 0; call < 5; ++call)
    static_cast<void>(table.charge(numbered("key", static_cast<uint64_t>(call % 2)), by));
  static_cast<void>(table.charge("key0", by));
  static_cast<void>(table.charge("key0", by, 0));
  static_cast<void>(table.peek("key0", by));
  static_cast<void>(table.refund("key1", by));
  Totals totals = table.totals();
  EXPECT_EQ(totals.allowed, 4);
  EXPECT_EQ(totals.denied, 2);
  EXPECT_EQ(totals.cells, 2U);
  table.table.reset_totals(kStart + kDay);
  totals = table.totals();
  EXPECT_EQ(totals.allowed, 0);
  EXPECT_EQ(totals.denied, 0);
  EXPECT_EQ(totals.since, kStart + kDay);
  EXPECT_EQ(totals.cells, 2U);
  EXPECT_FALSE(table.charge("key0", by).allowed) << "no limit changes";
}

// ---- memory that goes elsewhere

TEST(LimitTable, ACopyOfTheMemoryGoesOnElsewhere) {
  Table table;
  const Limit by = limit(Algorithm::exact, 20, kHour);
  for (uint64_t number = 0; number < 500; ++number) {
    table.now += kMillisecond;
    ASSERT_TRUE(table.charge(numbered("key", number), by, static_cast<int64_t>(number % 20 + 1)).allowed);
    if (number % 10 == 0) table.block(numbered("key", number), kDay);
  }
  Table copy(table);
  std::memset(table.memory().data(), 0xee, table.memory().size());
  for (uint64_t number = 0; number < 500; ++number) {
    const Verdict verdict = copy.peek(numbered("key", number), by);
    ASSERT_EQ(verdict.reason == Reason::blocked, number % 10 == 0);
    copy.unblock(numbered("key", number));
    ASSERT_EQ(copy.peek(numbered("key", number), by).remaining, 19 - static_cast<int64_t>(number % 20));
  }
  EXPECT_EQ(copy.totals().allowed, 500);
  for (uint64_t number = 0; number < 500; ++number) EXPECT_EQ(copy.reset(numbered("key", number)), 1U);
  EXPECT_EQ(copy.totals().log_entries, 0U);
}

TEST(LimitTable, KnowsItsOwnMemory) {
  Table table;
  const std::byte* const front = table.memory().data();
  EXPECT_TRUE(LimitTable::belongs(front, kMinTableBytes));
  EXPECT_FALSE(LimitTable::belongs(front, kMinTableBytes + 64));
  EXPECT_FALSE(LimitTable::belongs(front, 16 * kMegabyte));
  // The words before the secrets are each looked at.
  std::byte copy[LimitTable::kFrontBytes];
  for (size_t at = 0; at < 32; ++at) {
    std::memcpy(copy, front, sizeof copy);
    copy[at] ^= std::byte{1};
    EXPECT_FALSE(LimitTable::belongs(copy, kMinTableBytes)) << at;
  }
  std::memset(copy, 0, sizeof copy);
  EXPECT_FALSE(LimitTable::belongs(copy, kMinTableBytes));
  EXPECT_FALSE(LimitTable::belongs(copy, 0));
}

// ---- a clock that is read before the lock is taken

int64_t script[4];
size_t script_at;
int64_t scripted_clock() { return script[script_at++]; }

TEST(LimitTable, AChargeAfterTheClockWasReadIsNoClockSetBack) {
  for (const Algorithm algorithm : kAlgorithms) {
    SCOPED_TRACE(algorithm);
    Table table;
    const Limit by = algorithm == Algorithm::calendar ? calendar(9, CalendarUnit::day) : limit(algorithm, 9, kHour);
    ASSERT_TRUE(table.charge("key", by).allowed);
    const int64_t reset_after = table.peek("key", by, 9).reset_after;
    // Another process was faster; meanwhile it is later.
    script_at = 0;
    script[0] = kStart - 5;
    script[1] = kStart + 2;
    Verdict verdict = table.table.peek(table.key("key"), {by, 1, 0, false}, scripted_clock);
    EXPECT_EQ(script_at, 2U);
    EXPECT_EQ(verdict.reset_after, reset_after - 2);
    // The clock was set back: read again it is still before the charge.
    script_at = 0;
    script[0] = kStart - 5 * kDay;
    script[1] = kStart - 5 * kDay + 1;
    verdict = table.table.charge(table.key("key"), {by, 1, 0, false}, scripted_clock);
    EXPECT_EQ(script_at, 2U);
    EXPECT_TRUE(verdict.allowed);
    EXPECT_EQ(verdict.remaining, 7);
    EXPECT_LE(verdict.reset_after, algorithm == Algorithm::calendar ? kDay : kHour);
  }
}

}  // namespace
}  // namespace pgcache::limits::test

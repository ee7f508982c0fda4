// Entries end at their millisecond for every reader; their memory comes back in steps that cost what has ended.
#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

TEST(Expiry, IsExactToTheMillisecond) {
  Engine engine;
  for (const Milliseconds ttl : {Milliseconds{1}, Milliseconds{2}, Milliseconds{999}, Milliseconds{1000},
                                 Milliseconds{1001}, Milliseconds{60'000}, Milliseconds{86'400'000}, kMaxTtl}) {
    engine.now = kStart;
    const Milliseconds at = kStart + ttl;
    ASSERT_EQ(engine.set("key", "value", {.expiry = Expiry::when(at)}), Status::ok);
    // The clock went back for this round, and what had ended lives again.
    static_cast<void>(engine.remove("hits"));
    ASSERT_EQ(engine.increment("hits", 1, Expiry::when(at)).status, Status::ok);
    engine.now = at - 1;
    EXPECT_EQ(engine.get("key"), "value") << ttl;
    EXPECT_EQ(engine.peek("key").entry.expires_at, at);
    EXPECT_EQ(engine.scan().size(), 2U);
    engine.now = at;
    EXPECT_EQ(engine.get("key"), std::nullopt) << ttl;
    EXPECT_FALSE(engine.has("key"));
    EXPECT_EQ(engine.scan().size(), 0U);
    EXPECT_EQ(engine.remove("key"), Status::not_found);
    EXPECT_EQ(engine.touch("key", Expiry::never()), Status::not_found);
    std::string value;
    EXPECT_EQ(engine.take("key", value).status, Status::not_found);
    EXPECT_EQ(engine.increment("hits", 1, Expiry::never(), false).status, Status::not_found);
  }
}

TEST(Expiry, WhatHasEndedAtOnceIsNeverRead) {
  Engine engine;
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  for (const Milliseconds at : {kStart, kStart - 1, kStart - 1'000'000, Milliseconds{1}}) {
    ASSERT_EQ(engine.set("key", "other", {.expiry = Expiry::when(at)}), Status::ok);
    EXPECT_FALSE(engine.has("key")) << at;
  }
}

TEST(Expiry, LargeValuesEndToo) {
  Engine engine;
  ASSERT_EQ(engine.set("key", pattern(100'000), {.expiry = Expiry::when(kStart + 100)}), Status::ok);
  engine.now = kStart + 99;
  EXPECT_EQ(engine.get("key"), pattern(100'000));
  engine.now = kStart + 100;
  EXPECT_EQ(engine.get("key"), std::nullopt);
}

TEST(Expiry, NeverMeansNever) {
  Engine engine;
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  EXPECT_EQ(engine.peek("key").entry.expires_at, 0);
  engine.now = kStart + kMaxTtl;
  engine.expire_all();
  EXPECT_EQ(engine.get("key"), "value");
}

TEST(Expiry, ThatOfAnOverwrittenEntryIsKeptOnRequest) {
  Engine engine;
  const std::string_view values[] = {"value", "other", "a longer one", "x"};
  ASSERT_EQ(engine.set("key", "first", {.expiry = Expiry::when(kStart + 1000)}), Status::ok);
  for (const std::string_view value : values) {
    ASSERT_EQ(engine.set("key", value, {.expiry = Expiry::keep_or(kStart + 50)}), Status::ok);
    EXPECT_EQ(engine.peek("key").entry.expires_at, kStart + 1000);
  }
  ASSERT_EQ(engine.set("key", pattern(50'000), {.expiry = Expiry::keep_or(0)}), Status::ok);
  EXPECT_EQ(engine.peek("key").entry.expires_at, kStart + 1000);
  ASSERT_EQ(engine.set("key", "x", {.expiry = Expiry::never()}), Status::ok);
  ASSERT_EQ(engine.set("key", "y", {.expiry = Expiry::keep_or(kStart + 50)}), Status::ok);
  EXPECT_EQ(engine.peek("key").entry.expires_at, 0) << "never is kept as well";
}

TEST(Expiry, KeepGivesNewEntriesTheirOwn) {
  Engine engine;
  ASSERT_EQ(engine.set("a", "value", {.expiry = Expiry::keep_or(kStart + 50)}), Status::ok);
  EXPECT_EQ(engine.peek("a").entry.expires_at, kStart + 50);
  ASSERT_EQ(engine.set("b", "value", {.expiry = Expiry::keep_or(0)}), Status::ok);
  EXPECT_EQ(engine.peek("b").entry.expires_at, 0);
  engine.now = kStart + 50;
  ASSERT_EQ(engine.set("a", "value", {.expiry = Expiry::keep_or(kStart + 70)}), Status::ok);
  EXPECT_EQ(engine.peek("a").entry.expires_at, kStart + 70) << "what has ended is not kept";
}

TEST(Expiry, TouchingMovesIt) {
  Engine engine;
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  const auto ends = [&] { return engine.peek("key").entry.expires_at; };
  EXPECT_EQ(engine.touch("key", Expiry::when(kStart + 10)), Status::ok);
  EXPECT_EQ(ends(), kStart + 10);
  EXPECT_EQ(engine.touch("key", Expiry::when(kStart + 100'000)), Status::ok);
  EXPECT_EQ(ends(), kStart + 100'000);
  EXPECT_EQ(engine.touch("key", Expiry::keep_or(kStart + 5)), Status::ok);
  EXPECT_EQ(ends(), kStart + 100'000);
  EXPECT_EQ(engine.touch("key", Expiry::never()), Status::ok);
  EXPECT_EQ(ends(), 0);
  EXPECT_EQ(engine.touch("key", Expiry::when(kStart + 20)), Status::ok);
  engine.now = kStart + 19;
  EXPECT_EQ(engine.get("key"), "value");
  engine.now = kStart + 20;
  EXPECT_EQ(engine.get("key"), std::nullopt);
}

TEST(Expiry, AClockSetBackBringsNothingWrong) {
  Engine engine;
  ASSERT_EQ(engine.set("key", "value", {.expiry = Expiry::when(kStart + 1000)}), Status::ok);
  constexpr Milliseconds kDay = 86'400'000;
  engine.now = kStart - 30 * kDay;
  EXPECT_EQ(engine.get("key"), "value");
  ASSERT_EQ(engine.set("past", "value", {.expiry = Expiry::when(engine.now + 1000)}), Status::ok);
  EXPECT_EQ(engine.get("past"), "value");
  engine.now += 1000;
  EXPECT_EQ(engine.get("past"), std::nullopt);
  EXPECT_EQ(engine.get("key"), "value");
}

TEST(Expiry, IsExactInAnyYear) {
  // 1970, 2000, 2100, 4000.
  for (const Milliseconds year :
       {int64_t{1}, int64_t{946'684'800'000}, int64_t{4'102'444'800'000}, int64_t{64'060'588'800'000}}) {
    Engine engine;
    engine.now = year;
    ASSERT_EQ(engine.set("key", "value", {.expiry = Expiry::when(year + 1000)}), Status::ok);
    engine.now = year + 999;
    EXPECT_EQ(engine.get("key"), "value") << year;
    EXPECT_EQ(engine.peek("key").entry.expires_at, year + 1000);
    engine.now = year + 1000;
    EXPECT_EQ(engine.get("key"), std::nullopt) << year;
  }
}

TEST(Expiry, TimesBeyondAllMeasureDoNoHarm) {
  Engine engine;
  for (const Milliseconds at :
       {INT64_MAX, INT64_MAX / 2, INT64_MIN, INT64_MIN / 2, Milliseconds{0}, Milliseconds{-1}}) {
    ASSERT_EQ(engine.set("key", "value", {.expiry = Expiry::when(at)}), Status::ok);
    EXPECT_EQ(engine.has("key"), at > kStart) << at;
  }
}

TEST(Expiry, GivesTheMemoryBack) {
  Engine engine(8 * kMegabyte);
  const uint64_t free_at_first = engine.cache.memory_status().bytes_free;
  constexpr int kItems = 20'000;
  for (int i = 0; i < kItems; ++i)
    ASSERT_EQ(engine.set(numbered("key", i), pattern(200, i), {.expiry = Expiry::when(kStart + 60'000)}), Status::ok);
  ASSERT_EQ(engine.set("large", pattern(500'000), {.expiry = Expiry::when(kStart + 60'000)}), Status::ok);
  ASSERT_EQ(engine.counts().evictions, 0U);
  EXPECT_EQ(engine.expire_all().items, 0U) << "nothing has ended";
  EXPECT_EQ(engine.counts().items, kItems + 1);
  engine.now = kStart + 60'000;
  const auto expired = engine.expire_all();
  EXPECT_EQ(expired.items, kItems + 1U);
  EXPECT_EQ(engine.counts().items, 0);
  EXPECT_EQ(engine.counts().bytes, 0);
  EXPECT_EQ(engine.counts().expirations, kItems + 1U);
  EXPECT_EQ(engine.counts().evictions, 0U);
  EXPECT_EQ(engine.cache.memory_status().bytes_free, free_at_first);
}

TEST(Expiry, CostsAsManyStepsAsSegmentsEnded) {
  Engine engine(64 * kMegabyte);
  // Most of the memory lives on; little ends.
  for (int i = 0; i < 100'000; ++i) ASSERT_EQ(engine.set(numbered("stays", i), pattern(300)), Status::ok);
  constexpr uint64_t kItems = 1000;
  for (uint64_t i = 0; i < kItems; ++i)
    ASSERT_EQ(engine.set(numbered("ends", i), pattern(1000), {.expiry = Expiry::when(kStart + 60'000)}), Status::ok);
  ASSERT_EQ(engine.counts().evictions, 0U);
  const uint64_t segments_that_end = kItems * 1040 / kSegmentBytes + 1 + engine.cache.geometry().shards;
  const uint64_t steps_of_a_quiet_round = engine.expire_all().steps;
  EXPECT_LE(steps_of_a_quiet_round, engine.cache.geometry().segments / 1000U + 2);
  engine.now = kStart + 60'000;
  const auto expired = engine.expire_all();
  EXPECT_EQ(expired.items, kItems);
  EXPECT_LE(expired.busy_steps, segments_that_end);
  EXPECT_LE(expired.steps, steps_of_a_quiet_round + segments_that_end);
  EXPECT_EQ(engine.expire_all().steps, steps_of_a_quiet_round) << "what is done stays done";
}

TEST(Expiry, ASegmentOfManyTimesIsRewrittenSeldom) {
  Engine engine(8 * kMegabyte);
  // Lifetimes between 17 and 32 minutes, one every second, in random order: one class.
  constexpr uint64_t kItems = 8000;
  std::mt19937_64 random(3);
  for (uint64_t i = 0; i < kItems; ++i)
    ASSERT_EQ(engine.set(numbered("key", i), pattern(200),
                         {.expiry = Expiry::when(kStart + 1'020'000 + static_cast<Milliseconds>(random() % 900'000))}),
              Status::ok);
  const uint64_t segments = kItems * 230 / kSegmentBytes + engine.cache.geometry().shards;
  uint64_t busy = 0;
  uint64_t items = 0;
  for (int second = 0; second < 2400; ++second) {
    engine.now = kStart + 1000 * second;
    const auto expired = engine.expire_all();
    busy += expired.busy_steps;
    items += expired.items;
    // What has ended a while ago must not wait for the last of its neighbours.
    if (second % 100 == 0) {
      const auto live = static_cast<int64_t>(engine.scan().size());
      ASSERT_LE(engine.counts().items - live, static_cast<int64_t>(kItems) * 7 / 10);
    }
  }
  EXPECT_EQ(items, kItems);
  EXPECT_EQ(engine.counts().items, 0);
  EXPECT_LE(busy, segments * 16) << "each rewriting should find a good part ended";
}

TEST(Expiry, DropsWhatEndsAmongWhatStays) {
  Engine engine;
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(engine.set(numbered("key", i), pattern(100, i)), Status::ok);
  for (int i = 0; i < 3000; ++i)
    if (i % 3 != 0) {
      ASSERT_EQ(engine.touch(numbered("key", i), Expiry::when(kStart + 1000 + i)), Status::ok);
    }
  engine.now = kStart + 100'000'000;
  const uint64_t dropped = engine.expire_all().items;
  EXPECT_EQ(dropped, 2000U);
  EXPECT_EQ(engine.counts().items, 1000);
  for (int i = 0; i < 3000; ++i)
    ASSERT_EQ(engine.get(numbered("key", i)), i % 3 == 0 ? std::optional(pattern(100, i)) : std::nullopt);
}

TEST(Expiry, AStepEndsARoundAfterEverySegmentWasLookedAt) {
  Engine engine(256 * kMegabyte);
  ExpiryCursor cursor;
  uint32_t steps = 1;
  while (!engine.cache.expire(cursor, engine.now).wrapped) ++steps;
  EXPECT_GE(steps, 2U) << "a step may not look at all of a big cache";
  EXPECT_LE(steps, engine.cache.geometry().segments / 1000U + 1);
  EXPECT_EQ(cursor.segment, 0U);
}

TEST(Expiry, OneStepRewritesOneSegmentAtMost) {
  Engine engine;
  for (int i = 0; i < 5000; ++i)
    ASSERT_EQ(engine.set(numbered("key", i), pattern(200), {.expiry = Expiry::when(kStart + 1000)}), Status::ok);
  engine.now = kStart + 1000;
  ExpiryCursor cursor;
  for (;;) {
    const int64_t before = engine.counts().bytes;
    const ExpiryStep step = engine.cache.expire(cursor, engine.now);
    EXPECT_LE(step.segments, 1U);
    EXPECT_LE(before - engine.counts().bytes, int64_t{kSegmentBytes});
    ASSERT_EQ(engine.violation(), nullptr);
    if (step.wrapped) break;
  }
  EXPECT_EQ(engine.counts().items, 0);
}

TEST(Expiry, WritesFindTheMemoryOfTheEndedFirst) {
  Engine engine;
  int written = 0;
  for (; engine.counts().evictions == 0 && engine.counts().items == written; ++written)
    ASSERT_EQ(engine.set(numbered("ends", written), pattern(500), {.expiry = Expiry::when(kStart + 5000)}), Status::ok);
  const uint64_t evictions = engine.counts().evictions;
  engine.now = kStart + 5000;
  for (int i = 0; i < written / 2; ++i) ASSERT_EQ(engine.set(numbered("new", i), pattern(500)), Status::ok);
  EXPECT_EQ(engine.counts().evictions, evictions);
  EXPECT_GT(engine.counts().expirations, 0U);
  for (int i = 0; i < written / 2; ++i) ASSERT_TRUE(engine.has(numbered("new", i)));
}

}  // namespace
}  // namespace pgcache::engine::test

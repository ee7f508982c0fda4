// A full cache always takes what is written, and what is used stays longest.
#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

struct Mix {
  const char* name;
  std::vector<size_t> sizes;
};

class FullMemory : public ::testing::TestWithParam<Mix> {};

TEST_P(FullMemory, TakesEveryWrite) {
  Engine engine;
  const std::vector<size_t>& sizes = GetParam().sizes;
  const std::string pool = pattern(2 * kMegabyte, 1);
  std::mt19937_64 random(42);
  // Some rounds of all the memory, with lifetimes of every class.
  uint64_t left = 6 * kMinMemory;
  for (uint64_t i = 0; left > 0; ++i) {
    const size_t size = sizes[random() % sizes.size()];
    left -= std::min<uint64_t>(left, size + 40);
    const uint64_t number = random() % 2 == 0 ? i : random() % (i + 1);
    const std::string key = numbered("key", number);
    const std::string_view value = std::string_view(pool).substr(number % 1000, size);
    const Expiry expiry =
        random() % 3 == 0 ? Expiry::never() : Expiry::when(engine.now + (int64_t{1} << random() % 36));
    engine.now += static_cast<Milliseconds>(random() % 3);
    ASSERT_EQ(engine.set(key, value, {.expiry = expiry}), Status::ok) << i << " of " << size << " bytes";
    const std::optional<std::string> read = engine.get(key);
    if (expiry.rule == Expiry::Rule::never || expiry.at > engine.now) {
      ASSERT_TRUE(read == value) << i;
    }
    const std::string other = numbered("key", random() % (i + 1));
    if (const auto old = engine.get(other)) {
      ASSERT_TRUE(*old == std::string_view(pool).substr(std::stoull(other.substr(3)) % 1000, old->size()));
    }
    if (i % 997 == 0) {
      ASSERT_EQ(engine.violation(), nullptr) << engine.violation();
    }
    if (i > 400'000) break;
  }
  ASSERT_EQ(engine.violation(), nullptr) << engine.violation();
}

INSTANTIATE_TEST_SUITE_P(
    Eviction, FullMemory,
    ::testing::Values(Mix{"Empty", {0}}, Mix{"Tiny", {1, 2, 3, 8}}, Mix{"Small", {64}},
                      Mix{"SmallAndMiddling", {10, 100, 1000, 10'000}}, Mix{"HalfASegment", {8160, 8192}},
                      Mix{"AboutASegment", {15'000, 15'327, 15'328, 16'384, 16'385}}, Mix{"Large", {100'000, 300'000}},
                      Mix{"Largest", {kMinMemory / 4}},
                      Mix{"TinyAndLargest", {1, 5, 60, 90, 120, 300, 600, 900, 1000, kMinMemory / 4}},
                      Mix{"All", {0, 1, 10, 60, 100, 700, 1500, 5000, 12'000, 15'328, 17'000, 33'000, 250'000}}),
    [](const auto& mix) { return mix.param.name; });

TEST(Eviction, CountsWhatItDrops) {
  Engine engine;
  constexpr int kItems = 50'000;
  for (int i = 0; i < kItems; ++i) ASSERT_EQ(engine.set(numbered("key", i), pattern(200)), Status::ok);
  EXPECT_GT(engine.counts().evictions, 0U);
  EXPECT_EQ(engine.counts().items + static_cast<int64_t>(engine.counts().evictions), kItems);
  EXPECT_EQ(engine.scan().size(), static_cast<size_t>(engine.counts().items));
  EXPECT_EQ(engine.counts().expirations, 0U);
}

TEST(Eviction, NothingIsEvictedWhileThereIsRoom) {
  Engine engine;
  const int items = static_cast<int>(kMinMemory * 3 / 4 / 228);
  for (int i = 0; i < items; ++i) ASSERT_EQ(engine.set(numbered("key", i), pattern(200)), Status::ok);
  EXPECT_EQ(engine.counts().evictions, 0U);
  EXPECT_EQ(engine.counts().items, items);
}

TEST(Eviction, MostOfTheMemoryHoldsEntries) {
  Engine engine(16 * kMegabyte);
  for (int i = 0; i < 200'000; ++i) ASSERT_EQ(engine.set(numbered("key", i), pattern(200)), Status::ok);
  EXPECT_GT(engine.counts().bytes, static_cast<int64_t>(16 * kMegabyte * 8 / 10));
}

TEST(Eviction, OverwritingOverAndOverLosesNoMemory) {
  Engine engine;
  // A third of the memory holds them; what they leave behind must not push them out for good.
  constexpr int kItems = 5000;
  std::mt19937_64 random(5);
  for (int i = 0; i < 400'000; ++i) {
    const int number = i < kItems ? i : static_cast<int>(random() % kItems);
    ASSERT_EQ(engine.set(numbered("key", number), pattern(200 + random() % 64)), Status::ok);
  }
  EXPECT_GT(engine.counts().items, kItems * 9 / 10);
  ASSERT_EQ(engine.violation(), nullptr) << engine.violation();
}

TEST(Eviction, DeletingGivesTheMemoryBack) {
  Engine engine;
  const uint64_t free_at_first = engine.cache.memory_status().bytes_free;
  EXPECT_EQ(engine.cache.memory_status().bytes_total, kMinMemory);
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(engine.set(numbered("key", i), pattern(200)), Status::ok);
  ASSERT_EQ(engine.set("large", pattern(300'000)), Status::ok);
  EXPECT_LT(engine.cache.memory_status().bytes_free, free_at_first - 2'300'000);
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(engine.remove(numbered("key", i)), Status::ok);
  ASSERT_EQ(engine.remove("large"), Status::ok);
  // One open segment may stay with each class in use.
  EXPECT_GE(engine.cache.memory_status().bytes_free + kSegmentBytes, free_at_first);
  EXPECT_EQ(engine.counts().items, 0);
  EXPECT_EQ(engine.counts().bytes, 0);
}

TEST(Eviction, WhatIsReadStays) {
  Engine engine;
  std::vector<std::string> hot;
  for (int i = 0; i < 500; ++i) hot.push_back(numbered("hot", i));
  const auto use = [&] {
    int hits = 0;
    for (const std::string& key : hot) {
      if (engine.get(key))
        ++hits;
      else
        EXPECT_EQ(engine.set(key, pattern(200)), Status::ok);
    }
    return hits;
  };
  use();
  // A long scan of keys that come once, while the hot ones are read now and then.
  int hits = 0;
  int reads = 0;
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_EQ(engine.set(numbered("once", i), pattern(200)), Status::ok);
    if (i % 1000 == 999) {
      hits += use();
      reads += static_cast<int>(hot.size());
    }
  }
  EXPECT_GT(hits, reads * 95 / 100);
}

TEST(Eviction, PeekingIsNoUse) {
  Engine engine;
  std::vector<std::string> peeked;
  for (int i = 0; i < 500; ++i)
    ASSERT_EQ(engine.set(peeked.emplace_back(numbered("peeked", i)), pattern(200)), Status::ok);
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_EQ(engine.set(numbered("once", i), pattern(200)), Status::ok);
    if (i % 1000 == 999)
      for (const std::string& key : peeked) static_cast<void>(engine.has(key));
  }
  for (const std::string& key : peeked) EXPECT_FALSE(engine.has(key));
}

TEST(Eviction, EveryLifetimeAtOnceFits) {
  Engine engine;
  // Each class keeps a segment open; they must not starve one another.
  for (int round = 0; round < 2000; ++round)
    for (uint32_t power = 0; power <= 38; ++power)
      ASSERT_EQ(engine.set(numbered("key", round * 100 + power), pattern(300),
                           {.expiry = power == 38 ? Expiry::never() : Expiry::when(kStart + (int64_t{1} << power))}),
                Status::ok);
}

TEST(Eviction, EveryShardCanFillTheMemory) {
  // All keys in one shard of eight: it must get the memory of the others, and give it back.
  Engine engine(32 * kMegabyte);
  ASSERT_GT(engine.cache.geometry().shards, 1U);
  const auto shard = [&](const std::string& key) {
    return engine.cache.slot_number(engine.key(key).hash) / engine.cache.geometry().slots_per_shard;
  };
  for (const bool in_first : {true, false, true})
    for (int i = 0; i < 200'000; ++i) {
      const std::string key = numbered("key", i);
      if ((shard(key) == 0) == in_first) {
        ASSERT_EQ(engine.set(key, pattern(1500)), Status::ok);
      }
    }
  ASSERT_EQ(engine.set("large", pattern(8 * kMegabyte)), Status::ok);
  EXPECT_EQ(engine.get("large"), pattern(8 * kMegabyte));
}

}  // namespace
}  // namespace pgcache::engine::test

// Each database has its own keys, counts and end.
#include <set>

#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

class Databases : public ::testing::Test {
 protected:
  Status set(uint16_t number, std::string_view key, std::string_view value, Expiry expiry = Expiry::never()) {
    return engine.cache.write(engine.cache.key(number, key), request(as_bytes(value), {.expiry = expiry}), engine.now)
        .status;
  }
  std::optional<std::string> get(uint16_t number, std::string_view key) {
    engine.database = number;
    return engine.get(key);
  }

  Engine engine;
  uint16_t one = engine.database;
  uint16_t two = *engine.cache.register_database(2);
};

TEST_F(Databases, AreRegisteredOnce) {
  EXPECT_NE(one, two);
  EXPECT_EQ(engine.cache.register_database(16384), one);
  EXPECT_EQ(engine.cache.register_database(2), two);
  EXPECT_EQ(engine.cache.find_database(2), two);
  EXPECT_EQ(engine.cache.find_database(3), std::nullopt);
  EXPECT_EQ(engine.cache.database(two).oid, 2U);
}

TEST_F(Databases, AsManyAsThereAreNumbers) {
  std::set<uint16_t> numbers{one, two};
  for (uint32_t oid = 100'000; numbers.size() < kMaxDatabases; ++oid) {
    const auto number = engine.cache.register_database(oid);
    ASSERT_TRUE(number);
    ASSERT_LT(*number, kMaxDatabases);
    ASSERT_TRUE(numbers.insert(*number).second);
    ASSERT_EQ(engine.cache.find_database(oid), number);
  }
  EXPECT_EQ(engine.cache.register_database(5), std::nullopt);
  EXPECT_EQ(engine.cache.register_database(2), two) << "the registered ones stay";
  engine.cache.forget_database(two);
  EXPECT_EQ(engine.cache.find_database(2), std::nullopt);
  EXPECT_EQ(engine.cache.register_database(5), two);
  EXPECT_EQ(engine.cache.register_database(6), std::nullopt);
}

TEST_F(Databases, HaveTheirOwnKeys) {
  ASSERT_EQ(set(one, "key", "first"), Status::ok);
  EXPECT_EQ(get(two, "key"), std::nullopt);
  ASSERT_EQ(set(two, "key", "second"), Status::ok);
  EXPECT_EQ(get(one, "key"), "first");
  EXPECT_EQ(get(two, "key"), "second");
  EXPECT_EQ(engine.scan(one).size(), 1U);
  EXPECT_EQ(engine.cache.remove(engine.cache.key(one, "key"), engine.now, std::nullopt), Status::ok);
  EXPECT_EQ(get(two, "key"), "second");
  EXPECT_EQ(engine.scan(one).size(), 0U);
  EXPECT_EQ(engine.scan(two).size(), 1U);
}

TEST_F(Databases, AreCountedApart) {
  for (int i = 0; i < 100; ++i) ASSERT_EQ(set(one, numbered("key", i), pattern(100)), Status::ok);
  for (int i = 0; i < 10; ++i) ASSERT_EQ(set(two, numbered("key", i), pattern(50'000)), Status::ok);
  EXPECT_EQ(engine.cache.database(one).items, 100);
  EXPECT_EQ(engine.cache.database(two).items, 10);
  for (const uint16_t number : {one, two}) {
    int64_t bytes = 0;
    for (const auto& [key, info] : engine.scan(number)) bytes += static_cast<int64_t>(info.size_bytes);
    EXPECT_EQ(engine.cache.database(number).bytes, bytes);
  }
}

TEST_F(Databases, EvictionCountsForTheOwnerOfTheEntry) {
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(set(two, numbered("key", i), pattern(100)), Status::ok);
  for (int i = 0; engine.cache.database(two).items > 0; ++i) {
    ASSERT_LT(i, 100'000);
    ASSERT_EQ(set(one, numbered("key", i), pattern(1000)), Status::ok);
  }
  EXPECT_EQ(engine.cache.database(two).evictions, 1000U);
  EXPECT_EQ(engine.cache.database(two).bytes, 0);
}

TEST_F(Databases, InvalidatingEndsTheEntriesOfOne) {
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(set(one, numbered("key", i), "value"), Status::ok);
    ASSERT_EQ(set(two, numbered("key", i), i % 10 == 0 ? pattern(40'000) : "value"), Status::ok);
  }
  engine.cache.invalidate_database(two);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(get(two, numbered("key", i)), std::nullopt);
    ASSERT_EQ(get(one, numbered("key", i)), "value");
  }
  EXPECT_EQ(engine.scan(two).size(), 0U);
  EXPECT_EQ(engine.scan(one).size(), 200U);
  engine.database = two;
  std::string value;
  EXPECT_EQ(engine.take("key1", value).status, Status::not_found);
  EXPECT_EQ(engine.remove("key1"), Status::not_found);
  EXPECT_EQ(engine.touch("key1", Expiry::never()), Status::not_found);
  EXPECT_EQ(engine.set("key1", "x", {.mode = WriteMode::if_present}), Status::refused);
  EXPECT_EQ(engine.set("key2", "new", {.mode = WriteMode::if_absent}), Status::ok);
  EXPECT_EQ(engine.get("key2"), "new");
  EXPECT_EQ(engine.set("key3", "new", {.expiry = Expiry::keep_or(kStart + 7)}), Status::ok);
  EXPECT_EQ(engine.peek("key3").entry.expires_at, kStart + 7);
}

TEST_F(Databases, CountersStartAgainAfterInvalidation) {
  ASSERT_EQ(engine.increment("hits", 5).value, 5);
  engine.cache.invalidate_database(one);
  EXPECT_EQ(engine.increment("hits", 1, Expiry::never(), false).status, Status::not_found);
  EXPECT_EQ(engine.increment("hits", 1).value, 1);
}

TEST_F(Databases, SweepingDropsTheInvalidatedAndCountsTheLive) {
  const uint64_t free_at_first = engine.cache.memory_status().bytes_free;
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(set(one, numbered("key", i), "value"), Status::ok);
    ASSERT_EQ(set(two, numbered("key", i), pattern(300), i % 3 == 0 ? Expiry::when(kStart + 10) : Expiry::never()),
              Status::ok);
  }
  ASSERT_EQ(set(two, "large", pattern(200'000)), Status::ok);
  engine.now = kStart + 10;
  engine.cache.invalidate_database(two);
  ASSERT_EQ(set(two, "later", "stays"), Status::ok);
  EXPECT_EQ(engine.sweep(two), 2001U) << "those that had ended before are not counted";
  EXPECT_EQ(engine.cache.database(two).items, 1);
  EXPECT_EQ(engine.cache.database(two).expirations, 1000U);
  EXPECT_EQ(engine.cache.database(two).evictions, 0U);
  EXPECT_EQ(get(two, "later"), "stays");
  EXPECT_EQ(engine.cache.database(one).items, 3000);
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(get(one, numbered("key", i)), "value");
  EXPECT_EQ(engine.sweep(two), 0U);
  engine.cache.invalidate_database(one);
  engine.cache.invalidate_database(two);
  EXPECT_EQ(engine.sweep(one), 3000U);
  EXPECT_EQ(engine.sweep(two), 1U);
  EXPECT_GE(engine.cache.memory_status().bytes_free + 4 * kSegmentBytes, free_at_first);
}

TEST_F(Databases, SweepingALiveDatabaseDropsOnlyWhatHasEnded) {
  ASSERT_EQ(set(one, "stays", "value"), Status::ok);
  ASSERT_EQ(set(one, "ends", "value", Expiry::when(kStart + 1)), Status::ok);
  engine.now = kStart + 1;
  EXPECT_EQ(engine.sweep(one), 0U);
  EXPECT_EQ(engine.cache.database(one).items, 1);
  EXPECT_EQ(get(one, "stays"), "value");
}

TEST_F(Databases, InvalidatedMemoryIsTakenBeforeLiveEntries) {
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(set(two, numbered("key", i), pattern(300)), Status::ok);
  engine.cache.invalidate_database(two);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(set(one, numbered("key", i), pattern(300)), Status::ok);
  EXPECT_EQ(engine.cache.database(one).evictions, 0U);
  EXPECT_EQ(engine.cache.database(two).evictions, 0U) << "what is no more is not evicted";
}

TEST_F(Databases, AForgottenNumberStartsAgain) {
  ASSERT_EQ(set(two, "key", "old"), Status::ok);
  engine.database = two;
  const Version miss = engine.version("other");
  engine.cache.invalidate_database(two);
  EXPECT_EQ(engine.sweep(two), 1U);
  engine.cache.forget_database(two);
  EXPECT_EQ(engine.cache.register_database(77), two);
  EXPECT_EQ(get(two, "key"), std::nullopt);
  const Database& fresh = engine.cache.database(two);
  EXPECT_EQ(fresh.items, 0);
  EXPECT_EQ(fresh.evictions, 0U);
  EXPECT_EQ(fresh.expirations, 0U);
  EXPECT_EQ(engine.set("other", "fill", {.if_version = miss}), Status::outdated) << "that miss was another database's";
  EXPECT_EQ(engine.set("key", "new"), Status::ok);
  EXPECT_EQ(engine.get("key"), "new");
}

}  // namespace
}  // namespace pgcache::engine::test

// What one lock hold may touch has a bound that no workload passes.
#include <array>

#include "engine/work_meter.hpp"
#include "harness.hpp"

#ifndef PGCACHE_WORK_METER
#error "unit tests need the engine built with PGCACHE_WORK_METER"
#endif

namespace pgcache::engine::test {
namespace {

class Bounds : public ::testing::Test {
 protected:
  void SetUp() override { work_meter = {}; }
  void TearDown() override {
    EXPECT_GT(work_meter.holds, 0U);
    EXPECT_LE(work_meter.most_bytes, kMaxBytesPerHold);
    EXPECT_LE(work_meter.most_items, kMaxItemsPerHold);
  }
};

TEST_F(Bounds, TheMeterRuns) {
  Engine engine;
  work_meter = {};
  ASSERT_EQ(engine.set("key", pattern(1000)), Status::ok);
  EXPECT_EQ(work_meter.holds, 1U);
  EXPECT_GE(work_meter.most_bytes, 1000U);
  EXPECT_GE(work_meter.most_items, 1U);
  char buffer[1000];
  EXPECT_EQ(
      engine.cache.read(engine.key("key"), engine.now, kAnyKind, std::as_writable_bytes(std::span(buffer))).status,
      Status::ok);
  EXPECT_EQ(work_meter.holds, 2U);
}

// As many entries in a segment as can be, all of them used, so that every one is read and written again.
TEST_F(Bounds, TheSmallestEntriesAllSurviving) {
  Engine engine;
  std::string key(2, '\0');
  std::string value;
  for (uint16_t number = 1; number < 20'000; ++number) {
    std::memcpy(key.data(), &number, sizeof number);
    ASSERT_EQ(engine.set(key, ""), Status::ok);
    ASSERT_EQ(engine.read(key, value).status, Status::ok);
  }
  const uint64_t in_a_segment = kSegmentBytes / engine.peek(key).entry.size_bytes;
  for (int i = 0; i < 20'000; ++i) ASSERT_EQ(engine.set(numbered("other", i), pattern(500)), Status::ok);
  EXPECT_GE(work_meter.most_items, 2 * in_a_segment) << "the case that this test is for";
}

TEST_F(Bounds, TheSmallestEntriesAmongDeadOnes) {
  Engine engine;
  std::mt19937_64 random(31);
  for (int i = 0; i < 400'000; ++i) {
    const auto number = static_cast<uint16_t>(random());
    std::string key(2, '\0');
    std::memcpy(key.data(), &number, sizeof number);
    if (random() % 4 == 0)
      static_cast<void>(engine.remove(key));
    else
      ASSERT_EQ(engine.set(key, std::string_view("abc").substr(0, random() % 4)), Status::ok);
    std::string value;
    static_cast<void>(engine.read(key, value));
  }
}

TEST_F(Bounds, TheSmallestEntriesThatEnd) {
  Engine engine;
  for (uint16_t number = 1; number < 60'000; ++number) {
    std::string key(2, '\0');
    std::memcpy(key.data(), &number, sizeof number);
    ASSERT_EQ(engine.set(key, "", {.expiry = Expiry::when(kStart + 20'000 + number % 10'000)}), Status::ok);
  }
  for (; engine.counts().items > 0; engine.now += 1000) engine.expire_all();
}

TEST_F(Bounds, TheSmallestEntriesSwept) {
  Engine engine;
  for (uint16_t number = 1; number < 60'000; ++number) {
    std::string key(2, '\0');
    std::memcpy(key.data(), &number, sizeof number);
    ASSERT_EQ(engine.set(key, ""), Status::ok);
  }
  EXPECT_EQ(engine.scan().size(), static_cast<size_t>(engine.counts().items));
  engine.cache.invalidate_database(engine.database);
  engine.sweep(engine.database);
}

TEST_F(Bounds, LargeValues) {
  Engine engine(16 * kMegabyte);
  std::mt19937_64 random(37);
  for (int i = 0; i < 500; ++i) {
    const std::string key = numbered("key", random() % 30);
    std::string value;
    switch (random() % 5) {
      case 0:
        static_cast<void>(engine.take(key, value));
        break;
      case 1:
        static_cast<void>(engine.remove(key));
        break;
      case 2:
        static_cast<void>(engine.read(key, value));
        break;
      default:
        ASSERT_EQ(engine.set(key, pattern(random() % (4 * kMegabyte)), {.expiry = Expiry::when(engine.now + 100)}),
                  Status::ok);
    }
    engine.now += 1;
    engine.expire_all();
  }
}

// Every record with as many tags as there may be, in buckets as full as they get.
TEST_F(Bounds, InvalidatedKeysAndTags) {
  constexpr size_t kLongKey = 200;
  constexpr uint64_t kKeys = 8000;
  for (const Hash hash : {spreading_hash, four_valued_hash, one_bucket_hash}) {
    Engine engine(8 * kMegabyte, hash);
    const uint32_t slots = engine.cache.slot_count();
    std::mt19937_64 random(47);
    std::vector<uint32_t> tags(kMaxTags);
    std::map<SlotNumber, std::vector<uint64_t>> neighbours;
    for (uint64_t number = 0; number < kKeys; ++number) {
      const std::string key = pattern(kLongKey, number);
      neighbours[engine.key_slot(key)].push_back(engine.key(key).hash);
    }
    for (int i = 0; i < 30'000; ++i) {
      const auto first = static_cast<uint32_t>(random());
      for (uint32_t tag = 0; tag < kMaxTags; ++tag) tags[tag] = (first + tag) % slots;
      const std::string key = pattern(kLongKey, random() % kKeys);
      const size_t size = random() % 500 == 0 ? random() % 100'000 : random() % 20;
      ASSERT_EQ(engine.set(key, pattern(size), {.tags = std::span(tags).first(random() % (kMaxTags + 1))}), Status::ok);
      std::string value;
      static_cast<void>(engine.read(pattern(kLongKey, random() % kKeys), value));
      if (i % 16 != 0) continue;
      const SlotNumber slot = engine.key_slot(pattern(kLongKey, random() % kKeys));
      std::vector<uint64_t> keys;
      while (keys.size() < kMaxKeysPerInvalidation)
        keys.push_back(neighbours[slot][random() % neighbours[slot].size()]);
      engine.cache.announce(slot, 1);
      engine.cache.invalidate({.slot = slot, .done = 2, .ends_entries = i % 4096 == 0, .keys = keys, .leaves = 1});
      if (i % 512 == 0) engine.end_all(static_cast<SlotNumber>(random() % slots), 2);
      if (i % 4096 != 0) continue;
      const Version from = engine.cache.sequence() - 1000;
      const Counted gap = engine.cache.invalidate({.slot = engine.database_slot(), .done = 2, .gap_from = from});
      engine.sweep(engine.database);
      engine.cache.close_gap(engine.database, gap.number);
    }
    EXPECT_GT(engine.counts().items, hash == spreading_hash ? 2000 : 50);
    static_cast<void>(engine.scan());
  }
}

// An invalidation looks at the records of its keys, and at few others that are in their way.
TEST_F(Bounds, OfAnInvalidationAreItsKeys) {
  Engine engine(16 * kMegabyte);
  for (int i = 0; i < 50'000; ++i)
    ASSERT_EQ(engine.set(numbered("name", i), "value", {.tags = std::array<uint32_t, 1>{7}}), Status::ok);
  for (int round = 0; round < 200; ++round) {
    const std::string some = numbered("name", round * 100);
    const SlotNumber slot = engine.key_slot(some);
    std::vector<uint64_t> keys;
    for (const std::string& key : engine.keys_in(slot, kMaxKeysPerInvalidation)) keys.push_back(engine.key(key).hash);
    work_meter = {};
    const int64_t items = engine.counts().items;
    engine.cache.invalidate({.slot = slot, .done = 2, .keys = keys});
    ASSERT_EQ(work_meter.holds, 1U);
    ASSERT_GE(work_meter.most_items, static_cast<uint64_t>(items - engine.counts().items));
    ASSERT_LE(work_meter.most_items, 2 * kMaxKeysPerInvalidation);
    for (const uint64_t key : keys) ASSERT_EQ(engine.cache.slot_number(key), slot);
  }
  work_meter = {};
  engine.end_all(7);
  EXPECT_EQ(work_meter.most_items, 0U) << "however many have the tag";
}

TEST_F(Bounds, EverythingAtOnceInAFullCache) {
  for (const Hash hash : {spreading_hash, four_valued_hash}) {
    Engine engine(8 * kMegabyte, hash);
    std::mt19937_64 random(41);
    ExpiryCursor expiry;
    for (int i = 0; i < 150'000; ++i) {
      const std::string key = pattern(1 + random() % 20, random() % 40'000);
      const size_t size = random() % 1000 == 0 ? random() % kMegabyte
                          : random() % 50 == 0 ? random() % 20'000
                                               : random() % 300;
      std::string value;
      switch (random() % 10) {
        case 0:
          static_cast<void>(engine.remove(key));
          break;
        case 1:
          static_cast<void>(engine.touch(key, Expiry::when(engine.now + 500)));
          break;
        case 2:
          static_cast<void>(engine.increment(key));
          break;
        case 3:
        case 4:
        case 5:
          static_cast<void>(engine.read(key, value));
          break;
        default:
          ASSERT_EQ(engine.set(key, pattern(size),
                               {.expiry = random() % 2 == 0 ? Expiry::never()
                                                            : Expiry::when(engine.now + (1 << random() % 20))}),
                    Status::ok);
      }
      engine.now += 1;
      if (i % 100 == 0) static_cast<void>(engine.cache.expire(expiry, engine.now));
      if (i == 100'000) {
        engine.cache.invalidate_database(engine.database);
        engine.sweep(engine.database);
      }
    }
    static_cast<void>(engine.scan());
  }
}

// Where keys don't collide, a hold touches a segment and what is moved from it.
TEST_F(Bounds, OfUsualHashesAreTwoSegments) {
  Engine engine(8 * kMegabyte);
  std::mt19937_64 random(43);
  for (int i = 0; i < 60'000; ++i) {
    const std::string key = pattern(1 + random() % kMaxKeyBytes, random() % 20'000);
    ASSERT_EQ(engine.set(key, pattern(random() % 2000), {.expiry = Expiry::when(engine.now + 500)}), Status::ok);
    std::string value;
    static_cast<void>(engine.read(key, value));
    engine.now += 1;
    if (i % 1000 == 0) engine.expire_all();
  }
  EXPECT_LE(work_meter.most_bytes, 2 * uint64_t{kSegmentBytes} + 4 * kMaxKeyBytes);
}

// The longest keys of one hash, in buckets as full as they get.
TEST_F(Bounds, TheLongestKeysColliding) {
  for (const Hash hash : {constant_hash, one_bucket_hash}) {
    Engine engine(kMinMemory, hash);
    for (uint64_t i = 0; i < 1000; ++i) {
      ASSERT_EQ(engine.set(pattern(kMaxKeyBytes, i), pattern(i % 100)), Status::ok);
      static_cast<void>(engine.get(pattern(kMaxKeyBytes, i / 2)));
      ASSERT_EQ(engine.increment(pattern(kMaxKeyBytes, i + 5000)).status, Status::ok);
    }
    static_cast<void>(engine.scan());
    engine.cache.invalidate_database(engine.database);
    engine.sweep(engine.database);
  }
}

}  // namespace
}  // namespace pgcache::engine::test

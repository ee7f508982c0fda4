// What one lock hold may touch has a bound that no workload passes.
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

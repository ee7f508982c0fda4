// A walk meets each entry once.
#include <set>

#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

TEST(Scan, OfNothing) {
  Engine engine;
  EXPECT_TRUE(engine.scan().empty());
}

TEST(Scan, MeetsEachEntryOnceWithWhatItSays) {
  Engine engine(32 * kMegabyte);
  std::map<std::string, WriteOptions> written;
  std::mt19937_64 random(19);
  for (int i = 0; i < 20'000; ++i) {
    const std::string key = pattern(1 + random() % 60, i) + numbered("/", i);
    const WriteOptions options{.kind = static_cast<Kind>(random() % 3),
                               .expiry = random() % 2 == 0
                                             ? Expiry::never()
                                             : Expiry::when(kStart + 1 + static_cast<int64_t>(random() % 10'000'000))};
    ASSERT_EQ(engine.set(key, pattern(random() % 500), options), Status::ok);
    written.emplace(key, options);
  }
  const auto met = engine.scan();
  ASSERT_EQ(met.size(), written.size());
  int64_t bytes = 0;
  for (const auto& [key, info] : met) {
    ASSERT_EQ(met.count(key), 1U);
    ASSERT_TRUE(written.contains(key));
    EXPECT_EQ(info.kind, written[key].kind);
    EXPECT_EQ(info.expires_at, written[key].expiry.at);
    const EntryInfo peeked = engine.peek(key).entry;
    EXPECT_EQ(info.version, peeked.version);
    EXPECT_EQ(info.value_bytes, peeked.value_bytes);
    EXPECT_EQ(info.size_bytes, peeked.size_bytes);
    bytes += static_cast<int64_t>(info.size_bytes);
  }
  EXPECT_EQ(engine.counts().items, static_cast<int64_t>(met.size()));
  EXPECT_EQ(engine.counts().bytes, bytes);
}

TEST(Scan, LongestKeysInCrowdedBuckets) {
  for (const Hash hash : {constant_hash, one_bucket_hash}) {
    Engine engine(kMinMemory, hash);
    constexpr uint64_t kItems = kMaxProbes * kBucketEntries;
    for (uint64_t i = 0; i < kItems; ++i) ASSERT_EQ(engine.set(pattern(kMaxKeyBytes, i), "value"), Status::ok);
    const auto met = engine.scan();
    EXPECT_EQ(met.size(), kItems);
    for (uint64_t i = 0; i < kItems; ++i) EXPECT_EQ(met.count(pattern(kMaxKeyBytes, i)), 1U);
  }
}

TEST(Scan, MeetsOnceWhatStaysWhileOthersComeAndGo) {
  Engine engine(16 * kMegabyte);
  std::set<std::string> staying;
  for (int i = 0; i < 10'000; ++i) {
    staying.insert(numbered("stays", i));
    ASSERT_EQ(engine.set(numbered("stays", i), pattern(100)), Status::ok);
    ASSERT_EQ(engine.set(numbered("goes", i), pattern(100)), Status::ok);
  }
  const auto batch = std::make_unique<ScanBatch>();
  ScanCursor cursor;
  std::map<std::string, int> met;
  std::mt19937_64 random(23);
  int goes = 0;
  int steps = 0;
  while (engine.cache.scan(cursor, engine.database, engine.now, *batch)) {
    for (uint32_t i = 0; i < batch->count; ++i) ++met[std::string(batch->key(batch->entries[i]))];
    ASSERT_LE(batch->count, ScanBatch::kEntries);
    for (int i = 0; i < 10; ++i) {
      if (goes < 10'000) {
        ASSERT_EQ(engine.remove(numbered("goes", goes++)), Status::ok);
      }
      ASSERT_EQ(engine.set(numbered("comes", steps * 10 + i), pattern(100)), Status::ok);
      // Overwritten entries move in memory, not in the walk.
      ASSERT_EQ(engine.set(numbered("stays", random() % 10'000), pattern(random() % 150)), Status::ok);
    }
    ++steps;
  }
  ASSERT_EQ(engine.counts().evictions, 0U);
  for (const std::string& key : staying) ASSERT_EQ(met[key], 1) << key;
  for (const auto& [key, times] : met)
    if (key.starts_with("goes")) {
      ASSERT_LE(times, 1) << key;
    }
}

TEST(Scan, OfEveryDatabase) {
  Engine engine;
  const uint16_t other = *engine.cache.register_database(2);
  for (int i = 0; i < 1000; ++i) {
    const std::string name = numbered("key", i / 2);
    const Key key = engine.cache.key(i % 2 == 0 ? engine.database : other, name);
    ASSERT_EQ(engine.cache.write(key, request(as_bytes("value")), engine.now).status, Status::ok);
  }
  const auto batch = std::make_unique<ScanBatch>();
  ScanCursor cursor;
  std::set<std::pair<uint16_t, std::string>> met;
  while (engine.cache.scan(cursor, kEveryDatabase, engine.now, *batch)) {
    for (uint32_t i = 0; i < batch->count; ++i) {
      const ScanBatch::Entry& entry = batch->entries[i];
      ASSERT_TRUE(met.emplace(entry.database, batch->key(entry)).second);
      ASSERT_TRUE(entry.database == engine.database || entry.database == other);
    }
  }
  EXPECT_EQ(met.size(), 1000U);
}

TEST(Scan, EndsAndCanStartAgain) {
  Engine engine(16 * kMegabyte);
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  const auto batch = std::make_unique<ScanBatch>();
  ScanCursor cursor;
  while (engine.cache.scan(cursor, engine.database, engine.now, *batch)) {
  }
  EXPECT_FALSE(engine.cache.scan(cursor, engine.database, engine.now, *batch));
  EXPECT_EQ(batch->count, 0U);
  EXPECT_EQ(engine.scan().size(), 1U);
}

}  // namespace
}  // namespace pgcache::engine::test

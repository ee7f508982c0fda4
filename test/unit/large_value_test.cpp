// Values over one segment's size, and all sizes where something changes.
#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

std::vector<size_t> sizes_at_boundaries(size_t most) {
  std::vector<size_t> sizes;
  const auto around = [&](size_t size) {
    for (const size_t near : {size - 2, size - 1, size, size + 1, size + 2})
      if (near <= most) sizes.push_back(near);
  };
  for (const size_t segments : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{10}}) {
    const size_t start = segments * kSegmentBytes;
    if (segments > 0) around(start);
    around(start + kMaxInlineValue);
    around(start + 15'000);
    around(start + kSegmentBytes - kMaxKeyBytes);
    around(start + kSegmentBytes - kRecordHeaderBytes);
    around(start + sizeof(LargeValue) + 2);
  }
  return sizes;
}

TEST(LargeValue, EverySizeAtABoundary) {
  Engine engine(8 * kMegabyte);
  for (const size_t key_size : {size_t{1}, size_t{16}, kMaxKeyBytes}) {
    const std::string key = pattern(key_size);
    for (const size_t size : sizes_at_boundaries(kMegabyte)) {
      ASSERT_EQ(engine.set(key, pattern(size, size)), Status::ok) << size;
      ASSERT_TRUE(engine.get(key) == pattern(size, size)) << size;
      ASSERT_EQ(engine.peek(key).entry.value_bytes, size);
      ASSERT_EQ(engine.violation(), nullptr) << engine.violation() << " at " << size;
    }
    ASSERT_EQ(engine.remove(key), Status::ok);
    ASSERT_EQ(engine.counts().bytes, 0);
  }
}

TEST(LargeValue, OneSizeAfterAnother) {
  Engine engine(8 * kMegabyte);
  const std::vector<size_t> sizes = sizes_at_boundaries(200'000);
  std::mt19937_64 random(11);
  for (int i = 0; i < 2000; ++i) {
    const size_t size = i % 3 == 0 ? random() % 100 : sizes[random() % sizes.size()];
    const std::string key = numbered("key", random() % 3);
    ASSERT_EQ(engine.set(key, pattern(size, i)), Status::ok);
    ASSERT_TRUE(engine.get(key) == pattern(size, i)) << size;
  }
  EXPECT_EQ(engine.counts().items, 3);
  EXPECT_EQ(engine.counts().evictions, 0U);
}

TEST(LargeValue, TheLargestOfTheDefaultLimit) {
  Engine engine(64 * kMegabyte);
  const size_t most = 16 * kMegabyte;
  ASSERT_EQ(engine.cache.geometry().max_value_bytes(), most);
  for (const size_t size : {most, most - 1, most / 2 + 7}) {
    ASSERT_EQ(engine.set("key", pattern(size, size)), Status::ok);
    ASSERT_TRUE(engine.get("key") == pattern(size, size));
  }
  EXPECT_EQ(engine.set("key", pattern(most + 1)), Status::too_large);
  EXPECT_TRUE(engine.get("key") == pattern(most / 2 + 7, most / 2 + 7));
}

TEST(LargeValue, TooLargeForTheMemory) {
  Engine engine;
  const uint64_t most = engine.cache.geometry().max_value_bytes();
  const uint64_t free_before = engine.cache.memory_status().bytes_free;
  EXPECT_EQ(engine.set("key", pattern(most + 1)), Status::too_large);
  EXPECT_EQ(engine.cache.memory_status().bytes_free, free_before);
  EXPECT_FALSE(engine.has("key"));
  EXPECT_EQ(engine.set("key", pattern(most)), Status::ok);
  EXPECT_TRUE(engine.get("key") == pattern(most));
}

TEST(LargeValue, OverwritingAndRemovingGivesTheSegmentsBack) {
  Engine engine;
  const uint64_t free_at_first = engine.cache.memory_status().bytes_free;
  ASSERT_EQ(engine.set("key", pattern(500'000)), Status::ok);
  const uint64_t taken = free_at_first - engine.cache.memory_status().bytes_free;
  EXPECT_GE(taken, 500'000U);
  EXPECT_LE(taken, 500'000U + 3 * kSegmentBytes);
  EXPECT_GE(engine.peek("key").entry.size_bytes, 500'000U);
  EXPECT_LE(engine.peek("key").entry.size_bytes, 500'000U + 2 * kSegmentBytes);
  ASSERT_EQ(engine.set("key", "small"), Status::ok);
  EXPECT_GE(engine.cache.memory_status().bytes_free + kSegmentBytes, free_at_first);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(engine.set("key", pattern(400'000 + i)), Status::ok);
  EXPECT_GE(engine.cache.memory_status().bytes_free + 500'000, free_at_first);
  std::string value;
  ASSERT_EQ(engine.take("key", value).status, Status::ok);
  EXPECT_GE(engine.cache.memory_status().bytes_free + kSegmentBytes, free_at_first);
  EXPECT_EQ(engine.counts().evictions, 0U);
}

TEST(LargeValue, ManySurviveTheRewritingOfTheirRecords) {
  Engine engine(16 * kMegabyte);
  std::map<std::string, std::string> all;
  std::mt19937_64 random(13);
  for (int i = 0; i < 60; ++i) {
    const std::string key = numbered("large", i);
    all[key] = pattern(30'000 + random() % 50'000, i);
    ASSERT_EQ(engine.set(key, all[key]), Status::ok);
  }
  for (int i = 0; i < 200'000; ++i) {
    ASSERT_EQ(engine.set(numbered("small", i), pattern(random() % 200)), Status::ok);
    if (i % 5000 == 0)
      for (const auto& [key, value] : all) {
        std::string read;
        const ReadResult result = engine.read(key, read);
        if (result.status == Status::ok) {
          ASSERT_TRUE(read == value) << key;
        }
      }
  }
  int stayed = 0;
  for (const auto& [key, value] : all) stayed += engine.has(key) ? 1 : 0;
  EXPECT_GT(stayed, 50) << "what is read often should stay";
}

TEST(LargeValue, NothingIsLostWhenWritesAreRefused) {
  Engine engine;
  const std::string large = pattern(kMinMemory / 4);
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  const uint64_t free_before = engine.cache.memory_status().bytes_free;
  for (int i = 0; i < 50; ++i) ASSERT_EQ(engine.set("key", large, {.mode = WriteMode::if_absent}), Status::refused);
  EXPECT_EQ(engine.cache.memory_status().bytes_free, free_before);
  EXPECT_EQ(engine.set("other", large), Status::ok);
}

}  // namespace
}  // namespace pgcache::engine::test

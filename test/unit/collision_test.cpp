// Hashes that collide cost hits at worst, never a wrong value.
#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

// As many keys of one hash as a search may meet.
constexpr int kNeighbourhood = static_cast<int>(kMaxProbes * kBucketEntries);

class Collision : public ::testing::TestWithParam<Hash> {};

TEST_P(Collision, AsManyKeysAsASearchMeetsAreKept) {
  Engine engine(kMinMemory, GetParam());
  for (int i = 0; i < kNeighbourhood; ++i) ASSERT_EQ(engine.set(numbered("key", i), numbered("v", i)), Status::ok);
  EXPECT_EQ(engine.counts().items, kNeighbourhood);
  EXPECT_EQ(engine.counts().evictions, 0U);
  for (int i = 0; i < kNeighbourhood; ++i) ASSERT_EQ(engine.get(numbered("key", i)), numbered("v", i));
  EXPECT_EQ(engine.scan().size(), static_cast<size_t>(kNeighbourhood));
}

TEST_P(Collision, MoreReplaceOthers) {
  Engine engine(kMinMemory, GetParam());
  constexpr int kItems = 5000;
  for (int i = 0; i < kItems; ++i) {
    ASSERT_EQ(engine.set(numbered("key", i), numbered("v", i)), Status::ok);
    ASSERT_EQ(engine.get(numbered("key", i)), numbered("v", i)) << "the new one is always stored";
    if (i % 100 == 0) {
      ASSERT_EQ(engine.violation(), nullptr) << engine.violation();
    }
  }
  int kept = 0;
  for (int i = 0; i < kItems; ++i)
    if (const auto value = engine.get(numbered("key", i))) {
      ASSERT_EQ(value, numbered("v", i));
      ++kept;
    }
  EXPECT_EQ(kept, engine.counts().items);
  EXPECT_EQ(engine.counts().evictions + static_cast<uint64_t>(kept), static_cast<uint64_t>(kItems));
  EXPECT_GE(kept, kNeighbourhood);
}

TEST_P(Collision, AgainstAMap) {
  Engine engine(kMinMemory, GetParam());
  std::map<std::string, std::string> model;
  std::mt19937_64 random(17);
  for (int i = 0; i < 30'000; ++i) {
    const std::string key = numbered("key", random() % (kNeighbourhood * 3 / 2));
    switch (random() % 4) {
      case 0:
        EXPECT_EQ(engine.remove(key) == Status::ok, model.erase(key) > 0);
        break;
      case 1: {
        std::string value;
        const bool taken = engine.take(key, value).status == Status::ok;
        ASSERT_EQ(taken, model.contains(key));
        if (taken) {
          ASSERT_EQ(value, model[key]);
        }
        model.erase(key);
        break;
      }
      default: {
        // The model holds as many as fit for sure.
        if (model.size() + 1 >= static_cast<size_t>(kNeighbourhood) && !model.contains(key)) break;
        const std::string value = pattern(random() % 60, i);
        ASSERT_EQ(engine.set(key, value), Status::ok);
        model[key] = value;
      }
    }
    const std::string other = numbered("key", random() % (kNeighbourhood * 3 / 2));
    const auto value = engine.get(other);
    ASSERT_EQ(value.has_value(), model.contains(other));
    if (value) {
      ASSERT_EQ(*value, model[other]);
    }
  }
  EXPECT_EQ(engine.counts().items, static_cast<int64_t>(model.size()));
  EXPECT_EQ(engine.counts().evictions, 0U);
}

TEST_P(Collision, DatabasesStayApart) {
  Engine engine(kMinMemory, GetParam());
  const uint16_t other = *engine.cache.register_database(2);
  ASSERT_EQ(engine.set("key", "ours"), Status::ok);
  EXPECT_EQ(engine.cache.peek(engine.cache.key(other, "key"), engine.now).status, Status::not_found);
  EXPECT_EQ(engine.cache.remove(engine.cache.key(other, "key"), engine.now, std::nullopt), Status::not_found);
  EXPECT_EQ(engine.get("key"), "ours");
}

TEST_P(Collision, LargeValuesInAFullCache) {
  Engine engine(kMinMemory, GetParam());
  for (int i = 0; i < 2000; ++i) {
    const size_t size = i % 7 == 0 ? 200'000 : i % 5 == 0 ? 15'000 : 100;
    ASSERT_EQ(engine.set(numbered("key", i), pattern(size, i)), Status::ok) << i;
    ASSERT_TRUE(engine.get(numbered("key", i)) == pattern(size, i));
  }
  ASSERT_EQ(engine.violation(), nullptr) << engine.violation();
}

TEST_P(Collision, EndedEntriesGiveWay) {
  Engine engine(kMinMemory, GetParam());
  for (int i = 0; i < kNeighbourhood; ++i)
    ASSERT_EQ(engine.set(numbered("key", i), "value", {.expiry = Expiry::when(kStart + 10)}), Status::ok);
  engine.now = kStart + 100'000;
  EXPECT_EQ(engine.expire_all().items, static_cast<uint64_t>(kNeighbourhood));
  for (int i = 0; i < kNeighbourhood; ++i) ASSERT_EQ(engine.set(numbered("new", i), "value"), Status::ok);
  EXPECT_EQ(engine.counts().items, kNeighbourhood);
  EXPECT_EQ(engine.counts().evictions, 0U);
}

INSTANTIATE_TEST_SUITE_P(Hashes, Collision, ::testing::Values(constant_hash, four_valued_hash, one_bucket_hash),
                         [](const auto& hash) {
                           return std::string(hash.param == constant_hash      ? "Constant"
                                              : hash.param == four_valued_hash ? "FourValues"
                                                                               : "OneBucket");
                         });

}  // namespace
}  // namespace pgcache::engine::test

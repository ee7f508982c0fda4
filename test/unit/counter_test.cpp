// Counters: exact sums, refused overflow, kinds.
#include <limits>

#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

TEST(Counter, CountsFromZero) {
  Engine engine;
  for (int64_t expected = 1; expected <= 100; ++expected) {
    const CounterResult result = engine.increment("hits");
    ASSERT_EQ(result.status, Status::ok);
    ASSERT_EQ(result.value, expected);
  }
  EXPECT_EQ(engine.increment("hits", -150).value, -50);
  EXPECT_EQ(engine.increment("hits", 0).value, -50);
  EXPECT_EQ(engine.counts().items, 1);
}

TEST(Counter, StartsWithWhatIsAdded) {
  Engine engine;
  EXPECT_EQ(engine.increment("a", 41).value, 41);
  EXPECT_EQ(engine.increment("b", -7).value, -7);
  EXPECT_EQ(engine.increment("c", 0).value, 0);
  EXPECT_EQ(engine.increment("d", kMost).value, kMost);
  EXPECT_EQ(engine.increment("e", kLeast).value, kLeast);
}

TEST(Counter, IsReadAsEightBytes) {
  Engine engine;
  ASSERT_EQ(engine.increment("hits", -5).status, Status::ok);
  std::string value;
  const ReadResult read = engine.read("hits", value, only(Kind::counter));
  ASSERT_EQ(read.status, Status::ok);
  EXPECT_EQ(read.entry.kind, Kind::counter);
  ASSERT_EQ(value.size(), sizeof(int64_t));
  int64_t number;
  std::memcpy(&number, value.data(), sizeof number);
  EXPECT_EQ(number, -5);
  EXPECT_EQ(engine.read("hits", value, only(Kind::json)).status, Status::wrong_kind);
}

TEST(Counter, IsNotCreatedUnasked) {
  Engine engine;
  EXPECT_EQ(engine.increment("hits", 1, Expiry::never(), false).status, Status::not_found);
  EXPECT_FALSE(engine.has("hits"));
  EXPECT_EQ(engine.increment("hits", 5).status, Status::ok);
  const CounterResult result = engine.increment("hits", 1, Expiry::never(), false);
  EXPECT_EQ(result.status, Status::ok);
  EXPECT_EQ(result.value, 6);
}

TEST(Counter, OverflowAtEitherEndLeavesItAsItIs) {
  Engine engine;
  const auto expect_value = [&](int64_t expected) { EXPECT_EQ(engine.increment("hits", 0).value, expected); };
  ASSERT_EQ(engine.increment("hits", kMost - 1).status, Status::ok);
  EXPECT_EQ(engine.increment("hits", 1).value, kMost);
  const Version version = engine.version("hits");
  for (const int64_t by : {int64_t{1}, int64_t{2}, kMost}) {
    EXPECT_EQ(engine.increment("hits", by).status, Status::out_of_range);
    EXPECT_EQ(engine.version("hits"), version);
  }
  expect_value(kMost);
  EXPECT_EQ(engine.increment("hits", kLeast).value, -1);
  EXPECT_EQ(engine.increment("hits", -kMost).value, kLeast);
  for (const int64_t by : {int64_t{-1}, int64_t{-2}, kLeast})
    EXPECT_EQ(engine.increment("hits", by).status, Status::out_of_range);
  expect_value(kLeast);
  EXPECT_EQ(engine.increment("hits", kMost).value, -1);
}

TEST(Counter, OtherKindsAreNamedAndLeftAlone) {
  Engine engine;
  for (const Kind kind : {Kind::json, Kind::text, Kind::bytes}) {
    // Of a counter's size as well.
    for (const std::string_view value : {"12", "12345678"}) {
      ASSERT_EQ(engine.set("key", value, {.kind = kind}), Status::ok);
      const Version version = engine.version("key");
      const CounterResult result = engine.increment("key");
      EXPECT_EQ(result.status, Status::wrong_kind);
      EXPECT_EQ(result.kind, kind);
      EXPECT_EQ(engine.get("key"), value);
      EXPECT_EQ(engine.version("key"), version);
    }
  }
}

TEST(Counter, TheExpiryIsTheOneItWasCreatedWith) {
  Engine engine;
  ASSERT_EQ(engine.increment("hits", 1, Expiry::when(kStart + 1000)).value, 1);
  ASSERT_EQ(engine.increment("hits", 1, Expiry::when(kStart + 9000)).value, 2);
  ASSERT_EQ(engine.increment("hits", 1, Expiry::never()).value, 3);
  EXPECT_EQ(engine.peek("hits").entry.expires_at, kStart + 1000);
  engine.now = kStart + 999;
  EXPECT_EQ(engine.increment("hits").value, 4);
  engine.now = kStart + 1000;
  EXPECT_EQ(engine.increment("hits", 1, Expiry::never(), false).status, Status::not_found);
  EXPECT_EQ(engine.increment("hits", 1, Expiry::when(kStart + 3000)).value, 1);
  EXPECT_EQ(engine.peek("hits").entry.expires_at, kStart + 3000);
}

TEST(Counter, AnOverflowOrOtherKindThatHasEndedDoesNotCount) {
  Engine engine;
  ASSERT_EQ(engine.increment("hits", kMost, Expiry::when(kStart + 10)).status, Status::ok);
  ASSERT_EQ(engine.set("text", "value", {.expiry = Expiry::when(kStart + 10)}), Status::ok);
  engine.now = kStart + 10;
  EXPECT_EQ(engine.increment("hits", 1).value, 1);
  EXPECT_EQ(engine.increment("text", 1).value, 1);
  EXPECT_EQ(engine.peek("text").entry.kind, Kind::counter);
}

TEST(Counter, WrittenCountersCount) {
  Engine engine;
  const int64_t start = 40;
  ASSERT_EQ(engine.set("hits", std::string_view(reinterpret_cast<const char*>(&start), sizeof start),
                       {.kind = Kind::counter}),
            Status::ok);
  EXPECT_EQ(engine.increment("hits", 2).value, 42);
}

TEST(Counter, ManyInAFullCache) {
  Engine engine;
  std::map<std::string, int64_t> sums;
  std::mt19937_64 random(7);
  for (int i = 0; i < 300'000; ++i) {
    const std::string key = numbered("counter:", random() % 100'000);
    const CounterResult result = engine.increment(key, 3);
    ASSERT_EQ(result.status, Status::ok);
    int64_t& sum = sums[key];
    // Evicted ones start again; nothing else may change a sum.
    ASSERT_TRUE(result.value == sum + 3 || result.value == 3);
    sum = result.value;
  }
  EXPECT_GT(engine.counts().evictions, 0U);
}

}  // namespace
}  // namespace pgcache::engine::test

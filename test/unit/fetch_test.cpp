// What cache_fetch decides and stores, as far as no server is needed.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "cache/fetched_value.hpp"
#include "fetch/early_refresh.hpp"

namespace pgcache {
namespace {

engine::Bytes bytes_of(const auto& value) { return std::as_bytes(std::span(&value, 1)); }

TEST(FetchedValue, TellsItselfFromJsonb) {
  const FetchedHeader header = FetchedHeader::of(16384, true, 250, 3'600'000);
  const struct {
    FetchedHeader header;
    uint32_t json;
  } value{header, 0x20000000};
  const FetchedHeader read = FetchedHeader::read(bytes_of(value));
  ASSERT_TRUE(read);
  EXPECT_EQ(read.owner, 16384U);
  EXPECT_TRUE(read.shared());
  EXPECT_EQ(read.cost, 250U);
  EXPECT_EQ(read.stale_for(), 3'600'000);
  // The first word of an object, an array, a scalar, with the most members.
  for (const uint32_t first : {0x20000000U, 0x4fffffffU, 0x50000001U, 0x7fffffffU}) {
    const std::array<uint32_t, 8> json{first};
    EXPECT_FALSE(FetchedHeader::read(bytes_of(json)));
  }
  EXPECT_FALSE(FetchedHeader::read({})) << "a value that is too short has none";
  EXPECT_FALSE(FetchedHeader::read(bytes_of(header))) << "nor has one without anything behind it";
}

TEST(FetchedValue, KeepsTheLongestTimes) {
  const FetchedHeader header = FetchedHeader::of(1, false, int64_t{1} << 40, engine::kMaxTtl);
  EXPECT_EQ(header.stale_for(), engine::kMaxTtl);
  EXPECT_EQ(header.cost, UINT32_MAX);
  EXPECT_FALSE(header.shared());
  EXPECT_EQ(FetchedHeader::of(1, false, -5, 0).cost, 0U);
}

double share_that_refreshes(engine::Milliseconds left, engine::Milliseconds cost) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform;
  int refreshed = 0;
  constexpr int kCalls = 200'000;
  for (int i = 0; i < kCalls; ++i) refreshed += refreshes_early(left, cost, uniform(random)) ? 1 : 0;
  return static_cast<double>(refreshed) / kCalls;
}

TEST(EarlyRefresh, FollowsAnExponentialDistribution) {
  // P(-cost ln(u) >= left) = exp(-left / cost)
  EXPECT_NEAR(share_that_refreshes(100, 100), std::exp(-1), 0.005);
  EXPECT_NEAR(share_that_refreshes(300, 100), std::exp(-3), 0.005);
  EXPECT_NEAR(share_that_refreshes(1, 100), std::exp(-0.01), 0.005);
  EXPECT_EQ(share_that_refreshes(60'000, 100), 0);
}

TEST(EarlyRefresh, NeverForWhatCostsNothing) {
  EXPECT_FALSE(refreshes_early(1, 0, 0.999999));
  EXPECT_FALSE(refreshes_early(1, 100, 0)) << "the least of random numbers";
}

}  // namespace
}  // namespace pgcache

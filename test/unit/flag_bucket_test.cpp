// Buckets: MurmurHash3 against its published values, Unleash's buckets, and how evenly they fill.
#include "flags/bucket.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "flag_hash.hpp"

namespace pgcache::flags {
namespace {

using test::published_murmur3;

uint32_t hash_of(std::string_view bytes, uint32_t seed) {
  Murmur3 hash(seed);
  hash.add(bytes);
  return hash.finish();
}

uint32_t rollout_hash(std::string_view group, std::string_view id) {
  return hash_in_group(hash_of_group(group, kRolloutSeed), id);
}

uint32_t variant_hash(std::string_view group, std::string_view id) {
  return hash_in_group(hash_of_group(group, kVariantSeed), id);
}

TEST(FlagHash, IsThePublishedOne) {
  using namespace std::string_view_literals;
  const struct {
    std::string_view bytes;
    uint32_t seed;
    uint32_t hash;
  } cases[] = {{"", 0, 0},
               {"", 1, 0x514e28b7},
               {"", 0xffffffff, 0x81f16f39},
               {"\xff\xff\xff\xff", 0, 0x76293b50},
               {"\x21\x43\x65\x87", 0, 0xf55b516b},
               {"\x21\x43\x65\x87", 0x5082edee, 0x2362f9de},
               {"\x21\x43\x65", 0, 0x7e4a8634},
               {"\x21\x43", 0, 0xa0f7b07a},
               {"\x21", 0, 0x72661cf4},
               {"\0\0\0\0"sv, 0, 0x2362f9de},
               {"\0\0\0"sv, 0, 0x85f0b427},
               {"\0\0"sv, 0, 0x30f4c306},
               {"\0"sv, 0, 0x514e28b7},
               {"aaaa", 0x9747b28c, 0x5a97808a},
               {"aaa", 0x9747b28c, 0x283e0130},
               {"aa", 0x9747b28c, 0x5d211726},
               {"a", 0x9747b28c, 0x7fa09ea6},
               {"abcd", 0x9747b28c, 0xf0478627},
               {"abc", 0x9747b28c, 0xc84a62dd},
               {"ab", 0x9747b28c, 0x74875592},
               {"Hello, world!", 0x9747b28c, 0x24884cba},
               {"\u03c0\u03c0\u03c0\u03c0\u03c0\u03c0\u03c0\u03c0", 0x9747b28c, 0xd58063c1},
               {"abc", 0, 0xb3dd93fa},
               {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 0, 0xee925b90},
               {"The quick brown fox jumps over the lazy dog", 0, 0x2e4ff723},
               {"The quick brown fox jumps over the lazy dog", 0x9747b28c, 0x2fa826cd}};
  for (const auto& it : cases) {
    EXPECT_EQ(hash_of(it.bytes, it.seed), it.hash) << it.bytes << " with seed " << it.seed;
    EXPECT_EQ(published_murmur3(it.bytes, it.seed), it.hash) << it.bytes << " with seed " << it.seed;
  }
}

// As SMHasher checks an implementation: keys of 0 to 255 bytes, each with a seed of its own, and the hash of the
// hashes.
TEST(FlagHash, HasThePublishedVerificationValue) {
  std::string key;
  std::string hashes;
  for (uint32_t i = 0; i < 256; ++i) {
    const uint32_t hash = hash_of(key, 256 - i);
    for (int shift = 0; shift < 32; shift += 8) hashes += static_cast<char>(hash >> shift);
    key += static_cast<char>(i);
  }
  EXPECT_EQ(hash_of(hashes, 0), 0xb0f57ee3);
}

TEST(FlagHash, DoesNotDependOnHowItIsFed) {
  const std::string text = "flag:\xc3\xa4\xff 0123456789";
  for (size_t size = 0; size <= text.size(); ++size) {
    const std::string_view whole = std::string_view(text).substr(0, size);
    const uint32_t expected = published_murmur3(whole, kVariantSeed);
    for (size_t first = 0; first <= size; ++first)
      for (size_t second = first; second <= size; ++second) {
        Murmur3 hash(kVariantSeed);
        hash.add(whole.substr(0, first));
        hash.add(whole.substr(first, second - first));
        hash.add(whole.substr(second));
        ASSERT_EQ(hash.finish(), expected) << size << " bytes, cut at " << first << " and " << second;
      }
    Murmur3 byte_by_byte(kVariantSeed);
    for (size_t at = 0; at < size; ++at) byte_by_byte.add(whole.substr(at, 1));
    ASSERT_EQ(byte_by_byte.finish(), expected) << size << " bytes, one by one";
  }
}

TEST(FlagHash, MayBeFinishedAndFedOn) {
  Murmur3 hash(7);
  hash.add("group");
  static_cast<void>(hash.finish());
  const Murmur3 copy = hash;
  hash.add(":id");
  EXPECT_EQ(hash.finish(), published_murmur3("group:id", 7));
  EXPECT_EQ(copy.finish(), published_murmur3("group", 7));
}

TEST(FlagHash, IsThePublishedOneOfRandomKeysAndSeeds) {
  std::mt19937_64 random(71);
  for (int i = 0; i < 20'000; ++i) {
    std::string key(random() % 40, '\0');
    for (char& c : key) c = static_cast<char>(random());
    const auto seed = static_cast<uint32_t>(random());
    const size_t cut = random() % (key.size() + 1);
    Murmur3 hash(seed);
    hash.add(std::string_view(key).substr(0, cut));
    hash.add(std::string_view(key).substr(cut));
    ASSERT_EQ(hash.finish(), published_murmur3(key, seed));
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Buckets

TEST(FlagBucket, IsUnleashs) {
  EXPECT_EQ(rollout_hash("gr1", "123") % 100 + 1, 73);
  EXPECT_EQ(rollout_hash("groupX", "999") % 100 + 1, 25);
  EXPECT_EQ(variant_hash("gr1", "123") % 100 + 1, 96);
  EXPECT_EQ(variant_hash("groupX", "999") % 100 + 1, 60);
  EXPECT_EQ(variant_hash("gr1", "123") % 1000 + 1, 796);
  EXPECT_EQ(variant_hash("groupX", "999") % 1000 + 1, 260);
}

TEST(FlagBucket, OfAnIdIsThatOfGroupColonId) {
  EXPECT_EQ(rollout_hash("some group", "some id"), published_murmur3("some group:some id", 0));
  EXPECT_EQ(variant_hash("", "x"), published_murmur3(":x", 86028157));
  EXPECT_EQ(rollout_hash("g", ""), published_murmur3("g:", 0));
}

TEST(FlagBucket, WholePercentagesReachWhomUnleashReaches) {
  std::vector<uint32_t> hashes = {0, 1, 99, 100, 0xffffffff, 99'999, 100'000};
  for (int i = 0; i < 20'000; ++i) hashes.push_back(rollout_hash("checkout", std::to_string(i)));
  for (const uint32_t hash : hashes)
    for (uint32_t percent = 0; percent <= 100; ++percent)
      ASSERT_EQ(point_of(hash) < percent * kPointsAPercent, hash % 100 + 1 <= percent) << hash << " at " << percent;
}

TEST(FlagBucket, PointsAreFromNoneToAllOfThemEachOnce) {
  static_assert(kAllPoints == 100'000 && kPointsAPercent == 1'000);
  std::vector<bool> is_there(kAllPoints);
  for (uint32_t hash = 1'000'000'000; hash < 1'000'000'000 + kAllPoints; ++hash) {
    const Points point = point_of(hash);
    ASSERT_LT(point, kAllPoints);
    ASSERT_FALSE(is_there[point]) << hash;
    is_there[point] = true;
  }
  EXPECT_EQ(point_of(0), 0);
  EXPECT_EQ(point_of(kAllPoints - 1), kAllPoints - 1);
}

// Sum of the squared differences from an even share, by that share.
double chi_square(const std::vector<int>& counts, double expected) {
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// Exceeded by one in a thousand even spreads.
constexpr double kCriticalOf99 = 148.3;
constexpr double kCriticalOf999 = 1143;

TEST(FlagBucket, IdsInSequenceFillBucketsEvenly) {
  constexpr int kIds = 1'000'000;
  std::vector<int> percents(100);
  std::vector<int> tenths(1000);
  std::vector<int> steps(1000);  // within their percent
  for (int id = 1; id <= kIds; ++id) {
    const Points point = point_of(rollout_hash("new_checkout", std::to_string(id)));
    ++percents[point / kPointsAPercent];
    ++tenths[point / (kAllPoints / 1000)];
    ++steps[point % kPointsAPercent];
  }
  EXPECT_LT(chi_square(percents, kIds / 100.0), kCriticalOf99);
  EXPECT_LT(chi_square(tenths, kIds / 1000.0), kCriticalOf999);
  EXPECT_LT(chi_square(steps, kIds / 1000.0), kCriticalOf999);
}

TEST(FlagBucket, VariantsAreChosenEvenlyAmongWhoIsInASmallRollout) {
  std::vector<int> shares(100);
  int reached = 0;
  for (int id = 1; id <= 1'000'000; ++id) {
    const std::string text = std::to_string(id);
    if (point_of(rollout_hash("button", text)) >= 10 * kPointsAPercent) continue;
    ++reached;
    ++shares[variant_hash("button", text) % 100];
  }
  EXPECT_NEAR(reached, 100'000, 1'500);  // five deviations
  EXPECT_LT(chi_square(shares, reached / 100.0), kCriticalOf99);
}

TEST(FlagBucket, OfOneGroupSaysNothingAboutAnother) {
  std::vector<int> pairs(100);
  constexpr int kIds = 200'000;
  for (int id = 1; id <= kIds; ++id) {
    const std::string text = std::to_string(id);
    ++pairs[rollout_hash("one", text) % 10 * 10 + rollout_hash("two", text) % 10];
  }
  EXPECT_LT(chi_square(pairs, kIds / 100.0), kCriticalOf99);
}

}  // namespace
}  // namespace pgcache::flags

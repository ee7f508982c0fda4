// A search for logs that have run off lets go of the lock on its way: what others do meanwhile, step by step. Keys name
// their own places.
#include <charconv>
#include <functional>
#include <utility>

#include "limits.hpp"

namespace pgcache::limits::test {
namespace {

constexpr Secrets kSecrets{1, 2};

// The first hash is what the key says.
uint64_t hash_in_key(const void* bytes, size_t size, uint64_t seed) noexcept {
  const auto* text = static_cast<const char*>(bytes);
  uint64_t hash = 0;
  if (seed == kSecrets.first) std::from_chars(text, text + size, hash);
  return seed == kSecrets.first ? hash : spreading_hash(bytes, size, seed);
}

// Between two holds of a lock another call comes, once; or others come again and again, before each.
struct Interrupted {
  std::function<void()> call;
  std::function<void()> faster;

  static void lock(void* context, uint32_t, bool) noexcept {
    auto& self = *static_cast<Interrupted*>(context);
    const auto others = std::exchange(self.faster, nullptr);
    if (!others) return;
    others();
    self.faster = others;
  }
  static void unlock(void* context, uint32_t, bool) noexcept {
    if (const auto other = std::exchange(static_cast<Interrupted*>(context)->call, nullptr)) other();
  }
};

class LimitSearch : public testing::Test {
 protected:
  LimitSearch() {
    shared_time = kStart;
    // All logs of the partition but one block are full, and stay so for a day.
    const uint64_t entries = table_.totals().log_entries_max / kPartitions;
    for (uint64_t taken = kTimesPerBlock; taken < entries; taken += kTimesPerBlock)
      EXPECT_TRUE(charge(key_at(200, 201, taken / 900), limit(Algorithm::exact, 1000, kDay), kTimesPerBlock).allowed);
  }

  // Of the partition 0, in those buckets.
  [[nodiscard]] std::string key_at(uint64_t first_bucket, uint64_t second_bucket, uint64_t number = 0) const {
    const uint64_t first = (first_bucket << 32) / buckets_ + 1000 + number;
    const uint64_t second = ((second_bucket << 32) / buckets_ + 1000) & ~uint64_t{31};
    return std::to_string(second << 32 | first << 5);
  }

  Verdict charge(std::string_view key, const Limit& by, int64_t cost = 1) {
    return table_.charge(table_.key(0, key), {by, cost, 0, false}, shared_clock);
  }

  Interrupted others_;
  engine::test::Memory memory_{kMinTableBytes};
  engine::Environment environment_{Interrupted::lock, Interrupted::unlock, hash_in_key, &others_};
  LimitTable table_ = LimitTable::format(memory_.span(), environment_, kSecrets, kStart);
  uint64_t buckets_ = table_.totals().cells_max / kPartitions / kCellsPerBucket;
};

TEST_F(LimitSearch, ALogThatIsMovedMeanwhileIsNotMissed) {
  const Limit soon = limit(Algorithm::exact, 7, kMinute);
  const Limit plain = limit(Algorithm::fixed, 1, kDay);
  ASSERT_TRUE(charge(key_at(150, 10), soon, 7).allowed);
  for (uint64_t number = 1; number < 16; ++number) ASSERT_TRUE(charge(key_at(150, 160, number), plain).allowed);
  // When the search has passed bucket 10, the log comes there from 150.
  others_.call = [&] { EXPECT_TRUE(charge(key_at(150, 160, 16), plain).allowed); };
  const Limit late = limit(Algorithm::exact, 7, kDay);
  EXPECT_EQ(charge(key_at(220, 221), late).reason, Reason::memory_full);
  EXPECT_EQ(others_.call, nullptr) << "nobody came between";
  shared_time += kMinute;
  EXPECT_TRUE(charge(key_at(220, 221), late).allowed);
  EXPECT_EQ(table_.totals().forgotten, 1);
}

TEST_F(LimitSearch, ALogThatBeginsMeanwhileIsNotMissed) {
  const Limit soon = limit(Algorithm::exact, 7, kMinute);
  const Limit late = limit(Algorithm::exact, 7, kDay);
  // The last block is taken when the search has passed its place.
  ASSERT_TRUE(charge(key_at(150, 151), late, 7).allowed);
  others_.call = [&] {
    table_.reset(table_.key(0, key_at(150, 151)), shared_clock);
    EXPECT_TRUE(charge(key_at(10, 11), soon, 7).allowed);
  };
  EXPECT_EQ(charge(key_at(220, 221), late).reason, Reason::memory_full);
  EXPECT_EQ(others_.call, nullptr) << "nobody came between";
  shared_time += kMinute;
  EXPECT_TRUE(charge(key_at(220, 221), late).allowed);
}

// The block in use is full to its end, though all hits but one have run off.
TEST_F(LimitSearch, ALogNeedsABlockWhereItsLastOneEnds) {
  const Limit soon = limit(Algorithm::exact, 7, kMinute);
  const std::string key = key_at(150, 151);
  ASSERT_TRUE(charge(key, soon, 6).allowed);
  shared_time += kMinute / 2;
  ASSERT_TRUE(charge(key, soon).allowed);
  shared_time += kMinute / 2;
  EXPECT_EQ(charge(key, soon).reason, Reason::memory_full);
  shared_time += kMinute / 2;
  EXPECT_TRUE(charge(key, soon).allowed);
}

// Others charge between each reading of the clock and the lock.
TEST_F(LimitSearch, ACallThatIsOvertakenTwiceGoesByTheTimeOfTheOthers) {
  const Limit by = limit(Algorithm::fixed, 100, kMinute);
  const std::string key = key_at(150, 151);
  ASSERT_TRUE(charge(key, by).allowed);
  others_.faster = [&] {
    shared_time += 1;
    static_cast<void>(charge(key, by));
  };
  EXPECT_EQ(charge(key, by).reset_after, kMinute - 2);
}

// Until a log runs off, nobody searches again.
TEST_F(LimitSearch, ASearchThatWasInVainIsNotMadeAgain) {
  const Limit late = limit(Algorithm::exact, 14, kDay);
  int64_t holds = 0;
  others_.faster = [&] { ++holds; };
  EXPECT_EQ(charge(key_at(220, 221), late, 14).reason, Reason::memory_full);
  EXPECT_GT(holds, 1);
  holds = 0;
  EXPECT_EQ(charge(key_at(222, 223), late, 14).reason, Reason::memory_full);
  EXPECT_EQ(holds, 1);
}

TEST_F(LimitSearch, AKeyThatIsResetMeanwhileGivesWhatIsSought) {
  const Limit late = limit(Algorithm::exact, 7, kDay);
  ASSERT_TRUE(charge(key_at(150, 151), late, 7).allowed);
  others_.call = [&] { EXPECT_EQ(table_.reset(table_.key(0, key_at(150, 151)), shared_clock), 1U); };
  EXPECT_TRUE(charge(key_at(220, 221), late).allowed);
  EXPECT_EQ(charge(key_at(220, 221), late).remaining, 5);
}

TEST_F(LimitSearch, ALogThatIsSetBackWithTheClockIsNotMissed) {
  const Limit soon = limit(Algorithm::exact, 7, kMinute);
  const Limit late = limit(Algorithm::exact, 7, kDay);
  shared_time = kStart + 12 * kHour;
  ASSERT_TRUE(charge(key_at(150, 151), soon, 7).allowed);
  EXPECT_EQ(charge(key_at(220, 221), late).retry_after, kMinute);
  shared_time = kStart + kHour;
  EXPECT_EQ(charge(key_at(150, 151), soon, 0).reset_after, kMinute);
  shared_time += kMinute;
  EXPECT_TRUE(charge(key_at(220, 221), late).allowed);
}

TEST_F(LimitSearch, WhereALogIsFoundButNoPlaceThePlaceIsWaitedFor) {
  const Limit soon = limit(Algorithm::exact, 7, kMinute);
  const Limit plain = limit(Algorithm::fixed, 1, 30 * kDay);
  ASSERT_TRUE(charge(key_at(230, 231), soon, 7).allowed);
  for (uint64_t number = 0; number < 16; ++number) {
    // All can only stay where they are.
    ASSERT_TRUE(charge(key_at(150, 160, number), plain).allowed);
  }
  shared_time += kMinute;
  const Verdict denied = charge(key_at(150, 160, 16), limit(Algorithm::exact, 7, kDay));
  EXPECT_EQ(denied.reason, Reason::memory_full);
  EXPECT_EQ(denied.retry_after, 30 * kDay - kMinute) << "not only until other logs run off";
}

// Each charge of theirs comes after the clock was read, and might mean that it was set back.
TEST_F(LimitSearch, OthersWhoAreFasterDoNotKeepASearchGoing) {
  const Limit hot = limit(Algorithm::exact, 7, 3);
  const Limit late = limit(Algorithm::exact, 1000, kDay);
  // Room for them, and not enough for what is sought.
  ASSERT_GT(table_.reset(table_.key(0, key_at(200, 201, 1)), shared_clock), 0U);
  const std::string key = key_at(220, 221);
  const std::string hot_key = key_at(30, 31);
  int64_t holds = 0;
  others_.faster = [&] {
    if (++holds > 1000) return;
    shared_time += 1;
    static_cast<void>(charge(hot_key, hot));
  };
  EXPECT_EQ(charge(key, late, 1000).reason, Reason::memory_full);
  EXPECT_LE(holds, static_cast<int64_t>(3 * (buckets_ / kBucketsPerHold + 1)));
}

// The key's own count changes while it searches: what is charged is what is there then.
TEST_F(LimitSearch, ACountThatIsChargedMeanwhileIsNotChargedOverItsQuota) {
  const Limit by = limit(Algorithm::exact, 14, kDay);
  const std::string key = key_at(220, 221);
  ASSERT_TRUE(charge(key, by, 7).allowed);
  others_.call = [&] {
    table_.reset(table_.key(0, key_at(200, 201)), shared_clock);
    EXPECT_TRUE(charge(key, by, 7).allowed);
  };
  EXPECT_EQ(charge(key, by, 7).reason, Reason::limit_exceeded);
  EXPECT_EQ(others_.call, nullptr) << "nobody came between";
}

}  // namespace
}  // namespace pgcache::limits::test

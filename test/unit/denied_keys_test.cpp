// The bounded list of keys that are denied most: what Space-Saving guarantees, against a count of all.
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "limits.hpp"

namespace pgcache::limits::test {
namespace {

struct Truth {
  int64_t denied = 0;
  int64_t last = 0;
};

uint64_t hash_of(std::string_view key) { return std::max<uint64_t>(spreading_hash(key.data(), key.size(), 7), 1); }

std::map<std::string, DeniedKey> listed(const DeniedKeys& keys) {
  std::map<std::string, DeniedKey> all;
  keys.visit([&](const DeniedKey& entry) {
    EXPECT_TRUE(all.emplace(std::string(entry.key, entry.bytes), entry).second) << "twice in the list";
  });
  return all;
}

void check(const DeniedKeys& keys, const std::map<std::string, Truth>& truth) {
  int64_t all = 0;
  for (const auto& [key, about] : truth) all += about.denied;
  const auto list = listed(keys);
  int64_t sum = 0;
  for (const auto& [key, entry] : list) {
    SCOPED_TRACE(key);
    const auto found = truth.find(key);
    ASSERT_NE(found, truth.end());
    EXPECT_GE(entry.denied, found->second.denied) << "too low";
    EXPECT_LE(entry.denied - entry.error, found->second.denied) << "certain, and not so";
    EXPECT_LE(entry.error, all / DeniedKeys::kEntries);
    EXPECT_EQ(entry.last_denied, found->second.last);
    EXPECT_EQ(entry.database, 5U);
    sum += entry.denied;
  }
  EXPECT_EQ(sum, all) << "each denial is counted once";
  for (const auto& [key, about] : truth) {
    if (about.denied > all / DeniedKeys::kEntries) {
      EXPECT_TRUE(list.contains(key)) << key << " was denied " << about.denied << " of " << all;
    }
  }
}

TEST(DeniedKeys, WhoeverIsDeniedOftenIsInTheList) {
  constexpr int kKeys = 2000;
  for (const double exponent : {0.0, 0.6, 0.9, 1.1, 1.5}) {
    std::vector<double> weights;
    for (int rank = 1; rank <= kKeys; ++rank) weights.push_back(std::pow(rank, -exponent));
    std::discrete_distribution<int> zipf(weights.begin(), weights.end());
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(testing::Message() << "exponent " << exponent << ", seed " << seed);
      std::mt19937_64 random(seed);
      const auto keys = std::make_unique<DeniedKeys>();
      std::map<std::string, Truth> truth;
      for (int64_t time = 1; time <= 50'000; ++time) {
        const std::string key = numbered("key", static_cast<uint64_t>(zipf(random)));
        keys->count(hash_of(key), 5, key, time);
        ++truth[key].denied;
        truth[key].last = time;
        if (time % 10'000 == 0) check(*keys, truth);
      }
    }
  }
}

TEST(DeniedKeys, AListThatIsNotFullIsExact) {
  const auto keys = std::make_unique<DeniedKeys>();
  std::map<std::string, Truth> truth;
  for (uint64_t number = 0; number < DeniedKeys::kEntries; ++number)
    for (uint64_t time = 0; time <= number; ++time) {
      keys->count(hash_of(numbered("key", number)), 5, numbered("key", number), static_cast<int64_t>(time));
      truth[numbered("key", number)] = {static_cast<int64_t>(number) + 1, static_cast<int64_t>(number)};
    }
  check(*keys, truth);
  const auto list = listed(*keys);
  EXPECT_EQ(list.size(), DeniedKeys::kEntries);
  for (const auto& [key, entry] : list) {
    EXPECT_EQ(entry.denied, truth[key].denied);
    EXPECT_EQ(entry.error, 0);
  }
}

TEST(DeniedKeys, TheLongestKeyFitsAndALateClockDoesNotTurnBack) {
  const auto keys = std::make_unique<DeniedKeys>();
  const std::string longest(engine::kMaxKeyBytes, 'k');
  keys->count(1, 5, longest, -10);
  keys->count(1, 5, longest, -20);
  const auto list = listed(*keys);
  ASSERT_TRUE(list.contains(longest));
  EXPECT_EQ(list.at(longest).denied, 2);
  EXPECT_EQ(list.at(longest).last_denied, -10);
}

// ---- in the table

std::map<std::string, int64_t> denied(const Table& table) {
  std::map<std::string, int64_t> all;
  const auto copy = std::make_unique<DeniedKeys>();
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    table.table.copy_denied(partition, *copy);
    copy->visit([&](const DeniedKey& entry) { all[std::string(entry.key, entry.bytes)] += entry.denied; });
  }
  return all;
}

TEST(DeniedKeys, TheTableListsWhomItDenied) {
  Table table;
  const Limit by = limit(Algorithm::gcra, 1, kMinute);
  for (int call = 0; call < 4; ++call) static_cast<void>(table.charge("over", by));
  static_cast<void>(table.charge("dear", by, 2));
  static_cast<void>(table.charge("none", limit(Algorithm::gcra, 0, kMinute, 1)));
  table.block("blocked", kDay);
  static_cast<void>(table.charge("blocked", by));
  // Not asked, or not denied.
  static_cast<void>(table.charge("allowed", by));
  static_cast<void>(table.peek("over", by));
  static_cast<void>(table.charge("over", by, 0));
  EXPECT_EQ(denied(table), (std::map<std::string, int64_t>{{"over", 3}, {"dear", 1}, {"none", 1}, {"blocked", 1}}));
  table.table.reset_totals(table.now);
  EXPECT_TRUE(denied(table).empty());
  static_cast<void>(table.charge("over", by));
  EXPECT_EQ(denied(table), (std::map<std::string, int64_t>{{"over", 1}}));
}

TEST(DeniedKeys, WhoFoundNoPlaceIsNotListed) {
  Table table;
  const Limit by = limit(Algorithm::gcra, 1, kDay);
  for (uint64_t number = 0; table.totals().no_room == 0 && number <= table.totals().cells_max; ++number)
    static_cast<void>(table.charge(numbered("key", number), by));
  EXPECT_EQ(table.totals().denied, 1);
  EXPECT_TRUE(denied(table).empty());
}

}  // namespace
}  // namespace pgcache::limits::test

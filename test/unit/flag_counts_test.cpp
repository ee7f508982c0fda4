// Counts of evaluations: each in its place, added by many, and which give way.
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <tuple>

#include "flags/count_table.hpp"
#include "heap_environment.hpp"
#include "threads.hpp"

namespace pgcache::flags {
namespace {

using engine::test::in_threads;
using engine::test::kThreads;

constexpr uint32_t kTable = 16'384;

struct Sum {
  uint64_t enabled;
  uint64_t disabled;
  uint64_t fallback;
  int64_t last;

  bool operator==(const Sum&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Sum& sum) {
  return out << sum.enabled << '/' << sum.disabled << '/' << sum.fallback << " at " << sum.last;
}

class Table {
 public:
  explicit Table(int64_t now = 0) : table_(CountTable::format(memory_.span().data(), environment_, now)) {}

  CountTable& operator*() { return table_; }
  CountTable* operator->() { return &table_; }
  [[nodiscard]] CountTable attached() const { return CountTable::attach(memory_.span().data(), environment_); }

  using Sums = std::map<std::pair<uint64_t, std::string>, Sum>;
  static Sums sums(const CountTable& table, uint32_t database, uint32_t of = kTable) {
    Sums sums;
    table.visit(database, of, [&](const Counted& it) {
      EXPECT_EQ(it.key.database, database);
      EXPECT_EQ(it.key.table, of);
      const Sum sum{it.counts.enabled, it.counts.disabled, it.counts.fallback, it.last};
      EXPECT_TRUE(sums.emplace(std::pair(it.key.flag, std::string(it.key.variant)), sum).second) << "twice";
    });
    return sums;
  }
  [[nodiscard]] Sums sums(uint32_t database, uint32_t of = kTable) const { return sums(table_, database, of); }

 private:
  engine::test::Memory memory_{CountTable::bytes()};
  engine::test::Locks locks_{CountTable::kPartitions};
  engine::Environment environment_{engine::test::Locks::lock, engine::test::Locks::unlock, engine::test::spreading_hash,
                                   &locks_};
  CountTable table_;
};

constexpr Counts kOn{1, 0, 0};

TEST(FlagCounts, BeginEmpty) {
  const Table table(77);
  EXPECT_TRUE(table.sums(1).empty());
  EXPECT_EQ(table.attached().since(1, kTable), 77);
}

TEST(FlagCounts, AreAddedByFlagVariantAndDatabase) {
  Table table;
  table->add({5, 1, kTable, ""}, {1, 2, 3}, 10);
  table->add({5, 1, kTable, ""}, {10, 20, 30}, 20);
  table->add({5, 1, kTable, "red"}, {7, 0, 0}, 30);
  table->add({5, 1, kTable, "blue"}, {8, 0, 0}, 40);
  table->add({6, 1, kTable, ""}, {9, 0, 0}, 50);
  table->add({5, 2, kTable, ""}, {6, 0, 0}, 60);
  table->add({0, 1, kTable, ""}, {0, 0, 4}, 70);
  EXPECT_EQ(table.sums(1), (Table::Sums{{{0, ""}, {0, 0, 4, 70}},
                                        {{5, ""}, {11, 22, 33, 20}},
                                        {{5, "blue"}, {8, 0, 0, 40}},
                                        {{5, "red"}, {7, 0, 0, 30}},
                                        {{6, ""}, {9, 0, 0, 50}}}));
  EXPECT_EQ(table.sums(2), (Table::Sums{{{5, ""}, {6, 0, 0, 60}}}));
  EXPECT_TRUE(table.sums(3).empty());
  EXPECT_EQ(Table::sums(table.attached(), 1), table.sums(1));
}

TEST(FlagCounts, NamesMayBeOfTheLongest) {
  Table table;
  const std::string longest(CountTable::kLongestCounted, 'x');
  const std::string other = longest.substr(1) + 'y';
  const std::string shorter = longest.substr(1);
  for (int i = 1; i <= 3; ++i)
    for (const std::string& name : {longest, other, shorter}) table->add({1, 1, kTable, name}, kOn, i);
  EXPECT_EQ(table.sums(1),
            (Table::Sums{{{1, longest}, {3, 0, 0, 3}}, {{1, other}, {3, 0, 0, 3}}, {{1, shorter}, {3, 0, 0, 3}}}));
}

TEST(FlagCounts, AResetForgetsTheTablesOnly) {
  Table table(1);
  for (uint64_t flag = 0; flag < 1'000; ++flag)
    table->add({flag, 1 + static_cast<uint32_t>(flag % 2), kTable + static_cast<uint32_t>(flag / 2 % 2), "v"}, kOn, 5);
  table->reset(1, kTable, 9);
  EXPECT_EQ(table->since(1, kTable), 9);
  EXPECT_TRUE(table.sums(1).empty());
  for (const auto& [database, of] : {std::pair(1, kTable + 1), std::pair(2, kTable), std::pair(2, kTable + 1)}) {
    EXPECT_EQ(table->since(static_cast<uint32_t>(database), of), 1);
    EXPECT_EQ(table.sums(static_cast<uint32_t>(database), of).size(), 250);
  }
  table->add({7, 1, kTable, "v"}, kOn, 10);
  EXPECT_EQ(table.sums(1), (Table::Sums{{{7, "v"}, {1, 0, 0, 10}}}));
  table->reset(1, kTable, 11);
  EXPECT_EQ(table->since(1, kTable), 11);
  EXPECT_TRUE(table.sums(1).empty());
}

TEST(FlagCounts, HaveRoomForThousands) {
  Table table;
  constexpr uint64_t kMany = 2'000;
  for (const int64_t now : {-3, -2, -1}) {  // clocks of tests may show any time
    for (uint64_t flag = 1; flag <= kMany; ++flag) table->add({flag, 1, kTable, ""}, {1, 1, 0}, now);
    for (uint64_t i = 0; i < kMany; ++i) table->add({1, 2, kTable, std::to_string(i)}, {0, 1, 1}, now);
  }
  const auto flags = table.sums(1);
  const auto variants = table.sums(2);
  EXPECT_EQ(flags.size(), kMany);
  EXPECT_EQ(variants.size(), kMany);
  for (const auto& [key, sum] : flags) ASSERT_EQ(sum, (Sum{3, 3, 0, -1})) << key.first;
  for (const auto& [key, sum] : variants) ASSERT_EQ(sum, (Sum{0, 3, 3, -1})) << key.second;
}

TEST(FlagCounts, OnlyANewPlaceIsLockedFromOthers) {
  struct Holds {
    int shared = 0;
    int exclusive = 0;
  } holds;
  const engine::Environment environment{[](void* self, uint32_t, bool exclusive) noexcept {
                                          auto& its = *static_cast<Holds*>(self);
                                          ++(exclusive ? its.exclusive : its.shared);
                                        },
                                        [](void*, uint32_t, bool) noexcept {}, engine::test::spreading_hash, &holds};
  const engine::test::Memory memory(CountTable::bytes());
  CountTable table = CountTable::format(memory.span().data(), environment, 0);
  table.add({1, 1, kTable, "v"}, kOn, 1);
  EXPECT_EQ(holds.exclusive, 1);
  holds = {};
  for (int i = 0; i < 10; ++i) table.add({1, 1, kTable, "v"}, kOn, 1);
  EXPECT_EQ(holds.exclusive, 0);
  EXPECT_EQ(holds.shared, 10);
}

// The flags in use come again and again, among ever new ones.
TEST(FlagCounts, WhatIsSeenStays) {
  Table table;
  constexpr uint64_t kInUse = 1'000;
  constexpr int kRounds = 50;
  int64_t now = 0;
  uint64_t next_new = 1'000'000;
  for (int round = 0; round < kRounds; ++round) {
    for (uint64_t flag = 1; flag <= kInUse; ++flag) table->add({flag, 1, kTable, "v"}, kOn, ++now);
    for (int i = 0; i < 1'000; ++i) table->add({next_new++, 1, kTable, ""}, kOn, ++now);
  }
  auto sums = table.sums(1);
  EXPECT_LE(sums.size(), CountTable::kPlaces);
  EXPECT_GE(sums.size(), CountTable::kPlaces * 9 / 10);
  for (uint64_t flag = 1; flag <= kInUse; ++flag) ASSERT_EQ((sums[{flag, "v"}].enabled), kRounds) << flag;
  ASSERT_EQ((sums[{next_new - 1, ""}].last), now) << "the last one is there";
}

TEST(FlagCounts, WhoComesIsThereWhateverItsTime) {
  Table table;
  for (uint64_t flag = 1; flag <= uint64_t{3} * CountTable::kPlaces; ++flag) {
    const int64_t now = flag % 2 == 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
    table->add({flag, 1, kTable, ""}, kOn, now);
  }
  table->add({5, 9, kTable, "x"}, kOn, std::numeric_limits<int64_t>::min());
  EXPECT_EQ(table.sums(9).size(), 1);
}

TEST(FlagCounts, NoneIsLostAmongThreads) {
  Table table;
  constexpr int kRounds = 3'000;
  in_threads([&](int thread) {
    CountTable own = table.attached();
    for (int i = 0; i < kRounds; ++i) {
      const auto flag = static_cast<uint64_t>((i * 7 + thread) % 50 + 1);
      own.add({flag, 1, kTable, i % 2 == 0 ? "" : "variant"}, {1, 2, 3}, i);
      if (i % 1'000 == 0) static_cast<void>(Table::sums(own, 1));
    }
  });
  Sum total{};
  for (const auto& [key, sum] : table.sums(1)) {
    total.enabled += sum.enabled;
    total.disabled += sum.disabled;
    total.fallback += sum.fallback;
  }
  constexpr uint64_t kAdded = uint64_t{kThreads} * kRounds;
  EXPECT_EQ(total, (Sum{kAdded, 2 * kAdded, 3 * kAdded, 0}));
}

}  // namespace
}  // namespace pgcache::flags

// How a budget is cut: every part fits, none overlaps, and every byte of a record has an address.
#include "engine/geometry.hpp"

#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

std::vector<uint64_t> budgets() {
  std::vector<uint64_t> all;
  for (uint64_t memory = kMinMemory; memory <= kMaxMemory; memory *= 2)
    for (const int64_t off : {-64, -1, 0, 1, 63, 64, 65, 4095, 1'000'003})
      all.push_back(memory + static_cast<uint64_t>(off));
  std::mt19937_64 random(29);
  for (int i = 0; i < 2000; ++i) all.push_back(random() >> (random() % 64));
  return all;
}

TEST(Geometry, PartsFollowOneAnotherAndFit) {
  for (const uint64_t memory : budgets()) {
    const Geometry g = Geometry::of(memory);
    SCOPED_TRACE(memory);
    ASSERT_LE(g.memory, std::max(memory, kMinMemory));
    const uint64_t per_shard = g.shards;
    ASSERT_GE(g.databases_at, sizeof(FreeStack));
    ASSERT_GE(g.shards_at, g.databases_at + kMaxDatabases * sizeof(Database));
    ASSERT_GE(g.slots_at, g.shards_at + per_shard * sizeof(Shard));
    ASSERT_GE(g.buckets_at, g.slots_at + per_shard * g.slots_per_shard * sizeof(VersionSlot));
    ASSERT_GE(g.ghosts_at, g.buckets_at + per_shard * g.buckets_per_shard * sizeof(Bucket));
    ASSERT_GE(g.metas_at, g.ghosts_at + per_shard * g.buckets_per_shard * sizeof(GhostSet));
    ASSERT_GE(g.segments_at, g.metas_at + uint64_t{g.segments} * sizeof(SegmentMeta));
    ASSERT_LE(g.segments_at + g.record_bytes(), g.memory);
    for (const uint64_t at :
         {g.databases_at, g.shards_at, g.slots_at, g.buckets_at, g.ghosts_at, g.metas_at, g.segments_at})
      ASSERT_EQ(at % 64, 0U);
  }
}

TEST(Geometry, SizesAreUsable) {
  for (const uint64_t memory : budgets()) {
    const Geometry g = Geometry::of(memory);
    SCOPED_TRACE(memory);
    ASSERT_TRUE(std::has_single_bit(g.shards));
    ASSERT_LE(g.shards, 256U);
    ASSERT_TRUE(std::has_single_bit(g.slots_per_shard));
    ASSERT_GE(g.buckets_per_shard, 1024U);
    // Two of the largest values and open segments of every kind.
    ASSERT_GE(g.record_bytes(), 2 * g.max_value_bytes() + 64 * kSegmentBytes);
    ASSERT_GE(g.record_bytes(), g.memory * 8 / 10) << "most of the budget holds records";
    ASSERT_LE((g.record_bytes() - 1) >> g.address_shift, UINT32_MAX) << "every record has an address";
    if (g.memory <= uint64_t{1} << 32) {
      ASSERT_EQ(g.address_shift, 0U);
    }
    ASSERT_LT(1U << g.address_shift, kSegmentBytes);
    ASSERT_EQ(Cache::lock_count(memory), g.shards + 1);
  }
}

TEST(Geometry, BudgetsAreClamped) {
  EXPECT_EQ(Geometry::of(0).memory, kMinMemory);
  EXPECT_EQ(Geometry::of(kMinMemory - 1).memory, kMinMemory);
  EXPECT_EQ(Geometry::of(kMaxMemory).memory, kMaxMemory);
  EXPECT_EQ(Geometry::of(UINT64_MAX).memory, kMaxMemory);
  EXPECT_EQ(Geometry::of(kMinMemory).max_value_bytes(), kMinMemory / 4);
}

TEST(Geometry, RecordsOfCoarseAddressesFitTheirSegment) {
  for (uint32_t shift = 0; shift <= 8; ++shift) {
    EXPECT_LE(Record::size(kMaxKeyBytes, 0, kMaxInlineValue + sizeof(LargeValue), shift), kSegmentBytes);
    for (uint32_t value = 0; value < 600; ++value) {
      const uint32_t size = Record::size(16, 0, value, shift);
      EXPECT_GE(size, kRecordHeaderBytes + 16 + value);
      EXPECT_LT(size, kRecordHeaderBytes + 16 + value + (1U << shift));
      EXPECT_EQ(size % (1U << shift), 0U);
    }
  }
}

TEST(Geometry, OddBudgetsWork) {
  for (const uint64_t memory :
       {kMinMemory, kMinMemory + 64, kMinMemory + 12'345 * 64, 5 * kMegabyte, 13 * kMegabyte - 64}) {
    Engine engine(memory);
    for (int i = 0; i < 20'000; ++i) ASSERT_EQ(engine.set(numbered("key", i), pattern(300, i)), Status::ok);
    for (int i = 0; i < 20'000; ++i)
      if (const auto value = engine.get(numbered("key", i))) {
        ASSERT_EQ(*value, pattern(300, i));
      }
  }
}

}  // namespace
}  // namespace pgcache::engine::test

// The slots of the protocol: who is pending, what is counted, what ends, and what may be stored after it.
#include <algorithm>
#include <array>

#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

using Slots = std::vector<uint32_t>;
using Pending = std::array<Transaction, kListedTransactions>;
constexpr Pending kNobody{};

Pending pending_of(const SlotState& slot) { return {slot.pending[0], slot.pending[1]}; }

// The slot looks as while another process counts in it.
class Counting {
 public:
  explicit Counting(VersionSlot& slot) : slot_(slot) { slot_.counting = 1; }
  ~Counting() { slot_.counting = 0; }
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;

 private:
  VersionSlot& slot_;
};

// A value that knows of all that was counted until now.
KnownStamps knows_all(const Engine& engine) {
  KnownStamps known;
  known.key = known.database = engine.cache.sequence();
  std::fill(std::begin(known.tags), std::end(known.tags), known.key);
  return known;
}

// Of a key, of a tag and of a database: all follow the same rules.
class EverySlot : public ::testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] SlotState state() const { return engine.slot(slot); }

  Engine engine;
  SlotNumber slot = std::string_view(GetParam()) == "First"  ? 0
                    : std::string_view(GetParam()) == "Last" ? engine.cache.slot_count() - 1
                                                             : engine.database_slot();
};

INSTANTIATE_TEST_SUITE_P(Invalidation, EverySlot, ::testing::Values("First", "Last", "Database"),
                         [](const auto& name) { return std::string(name.param); });

TEST_P(EverySlot, ListsTwoAndCountsTheOthers) {
  const SlotState before = state();
  const Version sequence = engine.cache.sequence();
  EXPECT_FALSE(state().is_pending());
  EXPECT_TRUE(engine.cache.announce(slot, 11));
  EXPECT_EQ(pending_of(state()), (Pending{11, 0}));
  EXPECT_TRUE(state().is_pending());
  EXPECT_TRUE(engine.cache.announce(slot, 12));
  EXPECT_EQ(pending_of(state()), (Pending{11, 12}));
  EXPECT_FALSE(state().unlisted);
  EXPECT_FALSE(engine.cache.announce(slot, 13));
  EXPECT_FALSE(engine.cache.announce(slot, 14));
  EXPECT_EQ(pending_of(state()), (Pending{11, 12}));
  EXPECT_TRUE(state().unlisted);

  engine.cache.withdraw(slot, 11, true);
  EXPECT_EQ(pending_of(state()), (Pending{0, 12}));
  engine.cache.withdraw(slot, 13, false);
  EXPECT_TRUE(state().unlisted) << "the other is still there";
  engine.cache.withdraw(slot, 14, false);
  EXPECT_FALSE(state().unlisted);
  EXPECT_TRUE(engine.cache.announce(slot, 15)) << "a place is free again";
  EXPECT_EQ(pending_of(state()), (Pending{15, 12}));
  engine.cache.withdraw(slot, 12, true);
  engine.cache.withdraw(slot, 15, true);
  EXPECT_FALSE(state().is_pending());

  // Nothing has happened.
  EXPECT_EQ(engine.cache.sequence(), sequence);
  EXPECT_EQ(state().stamp, before.stamp);
  EXPECT_EQ(state().floor, before.floor);
  EXPECT_EQ(state().done, before.done);
  EXPECT_EQ(state().blocked, 0U);
}

TEST_P(EverySlot, IsPendingWithUnlistedOnesAlone) {
  for (const Transaction transaction : {1, 2, 3}) engine.cache.announce(slot, transaction);
  engine.cache.withdraw(slot, 1, true);
  engine.cache.withdraw(slot, 2, true);
  EXPECT_EQ(pending_of(state()), kNobody);
  EXPECT_TRUE(state().is_pending());
  engine.cache.withdraw(slot, 3, false);
  EXPECT_FALSE(state().is_pending());
}

TEST_P(EverySlot, WhoIsCountedLeaves) {
  for (const Transaction transaction : {21, 22, 23, 24}) engine.cache.announce(slot, transaction);
  engine.cache.invalidate({.slot = slot, .done = 30, .leaves = 22});
  EXPECT_EQ(pending_of(state()), (Pending{21, 0}));
  EXPECT_TRUE(state().unlisted);
  engine.cache.invalidate({.slot = slot, .done = 30, .leaves = 23, .was_listed = false});
  EXPECT_EQ(pending_of(state()), (Pending{21, 0}));
  EXPECT_TRUE(state().unlisted);
  engine.cache.invalidate({.slot = slot, .done = 30, .leaves = 24, .was_listed = false});
  EXPECT_FALSE(state().unlisted);
  engine.cache.invalidate({.slot = slot, .done = 30});
  EXPECT_EQ(pending_of(state()), (Pending{21, 0})) << "nobody leaves who does not say so";
  engine.cache.invalidate({.slot = slot, .done = 30, .leaves = 21});
  EXPECT_FALSE(state().is_pending());
}

// Two may meet the end of a prepared transaction at once, and count it both.
TEST_P(EverySlot, OneThatHasLeftLeavesAgain) {
  engine.cache.announce(slot, 31 | kPrepared);
  engine.cache.announce(slot, 32);
  engine.cache.invalidate({.slot = slot, .done = 40, .ends_entries = true, .leaves = 31 | kPrepared});
  EXPECT_EQ(pending_of(state()), (Pending{0, 32}));
  engine.cache.announce(slot, 33);
  engine.cache.invalidate({.slot = slot, .done = 40, .ends_entries = true, .leaves = 31 | kPrepared});
  engine.cache.withdraw(slot, 31 | kPrepared, true);
  EXPECT_EQ(pending_of(state()), (Pending{33, 32}));
}

TEST_P(EverySlot, PreparedOnesAreMarked) {
  EXPECT_TRUE(engine.cache.announce(slot, 41 | kPrepared));
  EXPECT_TRUE(engine.cache.announce(slot, 42));
  EXPECT_EQ(pending_of(state()), (Pending{41 | kPrepared, 42}));
  EXPECT_EQ(state().blocked, 0U);
  engine.cache.withdraw(slot, 41, true);
  EXPECT_EQ(pending_of(state()), (Pending{41 | kPrepared, 42})) << "without the mark it is another";
  engine.cache.withdraw(slot, 41 | kPrepared, true);
  EXPECT_EQ(pending_of(state()), (Pending{0, 42}));
}

TEST_P(EverySlot, APreparedOneWithoutPlaceBlocks) {
  for (const Transaction transaction : {51, 52, 53}) engine.cache.announce(slot, transaction);
  const SlotState before = state();
  const Version sequence = engine.cache.sequence();
  const Transaction latest = engine.cache.latest_done();
  EXPECT_FALSE(engine.cache.announce(slot, 60 | kPrepared));
  EXPECT_EQ(state().blocked, 60U);
  EXPECT_EQ(engine.cache.sequence(), sequence + 1);
  EXPECT_EQ(state().stamp, sequence + 1);
  EXPECT_EQ(state().floor, sequence + 1) << "what is there may be from before it";
  EXPECT_EQ(state().done, before.done) << "it has not ended";
  EXPECT_EQ(engine.cache.latest_done(), latest);
  EXPECT_EQ(pending_of(state()), (Pending{51, 52}));

  EXPECT_FALSE(engine.cache.announce(slot, 59 | kPrepared));
  EXPECT_EQ(state().blocked, 60U) << "the last one says when all have ended";
  EXPECT_EQ(state().floor, sequence + 2);
  EXPECT_FALSE(engine.cache.announce(slot, 61 | kPrepared));
  EXPECT_EQ(state().blocked, 61U);

  // They are not among those that leave.
  EXPECT_TRUE(state().unlisted);
  engine.cache.withdraw(slot, 60 | kPrepared, false);
  engine.cache.invalidate({.slot = slot, .leaves = 61 | kPrepared, .was_listed = false});
  EXPECT_TRUE(state().unlisted);
  engine.cache.withdraw(slot, 53, false);
  EXPECT_FALSE(state().unlisted);
  EXPECT_EQ(state().blocked, 61U);
}

TEST_P(EverySlot, CountsUpwards) {
  std::mt19937_64 random(1);
  SlotState expected = state();
  Transaction latest = engine.cache.latest_done();
  for (int i = 0; i < 500; ++i) {
    const Transaction done = random() % 2 == 0 ? random() % 100 : (Transaction{1} << 40) + random() % 1000;
    const bool ends_entries = random() % 2 == 0;
    const Version sequence = engine.cache.sequence();
    const Counted counted = engine.cache.invalidate({.slot = slot, .done = done, .ends_entries = ends_entries});
    ASSERT_EQ(counted.found, expected.stamp);
    ASSERT_EQ(counted.number, sequence + 1);
    ASSERT_EQ(engine.cache.sequence(), sequence + 1);
    expected.stamp = counted.number;
    if (ends_entries) expected.floor = counted.number;
    expected.done = std::max(expected.done, done);
    latest = std::max(latest, done);
    const SlotState now = state();
    ASSERT_EQ(now.stamp, expected.stamp);
    ASSERT_EQ(now.floor, expected.floor);
    ASSERT_EQ(now.done, expected.done);
    ASSERT_EQ(now.written, expected.written);
    ASSERT_FALSE(now.counting);
    ASSERT_EQ(engine.cache.latest_done(), latest);
  }
}

TEST_P(EverySlot, ChangedSaysNeverWhilePending) {
  const Version quiet = engine.cache.slot_changed(slot);
  EXPECT_EQ(quiet, std::max(state().stamp, state().written));
  for (const Transaction transaction : {Transaction{1}, 2 | kPrepared, Transaction{3}}) {
    engine.cache.announce(slot, transaction);
    EXPECT_EQ(engine.cache.slot_changed(slot), kMaxVersion);
  }
  engine.cache.withdraw(slot, 1, true);
  EXPECT_EQ(engine.cache.slot_changed(slot), kMaxVersion);
  engine.cache.withdraw(slot, 2 | kPrepared, true);
  EXPECT_EQ(engine.cache.slot_changed(slot), kMaxVersion) << "one without place";
  engine.cache.withdraw(slot, 3, false);
  EXPECT_EQ(engine.cache.slot_changed(slot), quiet);
  const Counted counted = engine.cache.invalidate({.slot = slot});
  EXPECT_EQ(engine.cache.slot_changed(slot), counted.number);
}

TEST(Invalidation, OneSlotIsNotAnother) {
  Engine engine(16 * kMegabyte);
  const uint16_t other = *engine.cache.register_database(2);
  const SlotNumber slots[] = {0,
                              1,
                              engine.cache.geometry().slots_per_shard - 1,
                              engine.cache.geometry().slots_per_shard,
                              engine.cache.slot_count() - 1,
                              engine.database_slot(),
                              engine.cache.database_slot(other)};
  Transaction transaction = 100;
  for (const SlotNumber slot : slots) {
    std::vector<SlotState> before;
    for (const SlotNumber one : slots) before.push_back(engine.slot(one));
    ++transaction;
    engine.cache.announce(slot, transaction);
    engine.end_all(slot, transaction);
    for (size_t i = 0; i < std::size(slots); ++i) {
      const SlotState now = engine.slot(slots[i]);
      const bool its = slots[i] == slot;
      EXPECT_EQ(now.stamp != before[i].stamp, its);
      EXPECT_EQ(now.floor != before[i].floor, its);
      EXPECT_EQ(now.done == transaction, its);
      EXPECT_EQ(now.pending[0] == transaction, its);
    }
  }
}

TEST(Invalidation, LatestDoneIsThatOfAllSlots) {
  Engine engine;
  engine.cache.invalidate({.slot = 3, .done = 50});
  EXPECT_EQ(engine.cache.latest_done(), 50U);
  engine.cache.invalidate({.slot = 4, .done = 40});
  EXPECT_EQ(engine.cache.latest_done(), 50U);
  engine.cache.invalidate_database(engine.database, 60);
  EXPECT_EQ(engine.cache.latest_done(), 60U);
  engine.cache.fence_database(engine.database, 70);
  EXPECT_EQ(engine.cache.latest_done(), 70U);
  EXPECT_EQ(engine.cache.remove(engine.key("nothing"), engine.now, std::nullopt, 80), Status::not_found);
  EXPECT_EQ(engine.cache.latest_done(), 80U);
  EXPECT_EQ(engine.cache.register_database(2, 90), 1);
  EXPECT_EQ(engine.cache.latest_done(), 90U);
}

TEST(Invalidation, WhatIsPendingEndsNothing) {
  Engine engine;
  const Slots tags{engine.tag_slot("tag")};
  ASSERT_EQ(engine.set("key", "value", {.tags = tags}), Status::ok);
  const Version miss = engine.version("other");
  for (const SlotNumber slot : {engine.key_slot("key"), tags.front(), engine.database_slot(), engine.key_slot("other")})
    for (const Transaction transaction : {1, 2, 3}) engine.cache.announce(slot, transaction);
  EXPECT_EQ(engine.get("key"), "value");
  EXPECT_TRUE(engine.evidence("key").key.is_pending());
  // It is stored under a number that the count will be above.
  EXPECT_EQ(engine.set("other", "fill", {.if_version = miss, .tags = tags}), Status::ok);
  const KnownStamps known = knows_all(engine);
  EXPECT_EQ(engine.set("key", "fill", {.tags = tags, .known = &known}), Status::ok);
}

TEST(Invalidation, ABlockedSlotTakesEntriesAgain) {
  Engine engine;
  const SlotNumber tag = engine.tag_slot("tag");
  const std::string key = engine.keys_in(tag, 1, false).front();
  const SlotNumber slot = engine.key_slot(key);
  ASSERT_EQ(engine.set(key, "value", {.tags = Slots{tag}}), Status::ok);
  for (const SlotNumber one : {slot, tag})
    for (const Transaction transaction : {1, 2}) engine.cache.announce(one, transaction);

  EXPECT_FALSE(engine.cache.announce(tag, 3 | kPrepared));
  EXPECT_FALSE(engine.has(key));
  ASSERT_EQ(engine.set(key, "value", {.tags = Slots{tag}}), Status::ok);
  EXPECT_EQ(engine.get(key), "value");
  EXPECT_FALSE(engine.cache.announce(slot, 4 | kPrepared));
  EXPECT_FALSE(engine.has(key));
  ASSERT_EQ(engine.set(key, "value", {.tags = Slots{tag}}), Status::ok);
  EXPECT_EQ(engine.get(key), "value");
  EXPECT_EQ(engine.evidence(key).key.blocked, 4U) << "who reads must know";
  EXPECT_EQ(engine.slot(tag).blocked, 3U);
}

// ---- keys

class KeysOfOneSlot : public ::testing::TestWithParam<Hash> {
 protected:
  void SetUp() override {
    keys = engine.keys_in(engine.key_slot("some key"), 20);
    for (size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(engine.set(keys[i], value(i), {.tags = tags(i)}), Status::ok);
  }
  static std::string value(size_t number) { return pattern(number % 5 == 0 ? 50'000 : number, number); }
  // None of them the slot of the keys.
  [[nodiscard]] Slots tags(size_t number) const {
    Slots some;
    for (uint32_t i = 0; i < number % 3; ++i)
      some.push_back((slot + 1 + static_cast<uint32_t>(number) * 3 + i) % engine.cache.slot_count());
    return some;
  }
  [[nodiscard]] std::vector<uint64_t> hashes(size_t first, size_t count) const {
    std::vector<uint64_t> some;
    for (size_t i = first; i < first + count; ++i) some.push_back(engine.key(keys[i]).hash);
    return some;
  }
  Counted remove(const std::vector<uint64_t>& some, bool ends_entries = false) {
    return engine.cache.invalidate({.slot = slot, .done = 9, .ends_entries = ends_entries, .keys = some});
  }

  Engine engine{8 * kMegabyte, GetParam()};
  SlotNumber slot = engine.key_slot("some key");
  std::vector<std::string> keys;
};

INSTANTIATE_TEST_SUITE_P(Invalidation, KeysOfOneSlot, ::testing::Values(spreading_hash, one_bucket_hash),
                         [](const auto& hash) { return hash.param == spreading_hash ? "Spread" : "OneBucket"; });

TEST_P(KeysOfOneSlot, AreDeletedOneByOne) {
  const int64_t bytes_before = engine.counts().bytes;
  int64_t deleted = 0;
  for (size_t i = 3; i < 11; ++i) deleted += static_cast<int64_t>(engine.peek(keys[i]).entry.size_bytes);
  const Version before = engine.cache.sequence();
  const Counted counted = remove(hashes(3, kMaxKeysPerInvalidation));
  EXPECT_EQ(counted.number, before + 1) << "one number for all";
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool gone = i >= 3 && i < 11;
    ASSERT_EQ(engine.has(keys[i]), !gone) << i;
    if (!gone) {
      ASSERT_TRUE(engine.get(keys[i]) == value(i)) << i;
      ASSERT_EQ(engine.tags_of(keys[i]), tags(i)) << i;
    }
  }
  EXPECT_EQ(engine.slot(slot).stamp, counted.number);
  EXPECT_LT(engine.slot(slot).floor, counted.number);
  EXPECT_EQ(engine.slot(slot).done, 9U);
  EXPECT_EQ(engine.counts().items, 12);
  EXPECT_EQ(engine.counts().bytes, bytes_before - deleted);
  EXPECT_EQ(engine.counts().evictions, 0U);
  EXPECT_EQ(engine.counts().expirations, 0U);
  EXPECT_EQ(engine.scan().size(), 12U);
}

TEST_P(KeysOfOneSlot, ThatAreNotThereAreCountedToo) {
  const Version miss = engine.version("another");
  ASSERT_EQ(engine.remove(keys[0]), Status::ok);
  const Version miss_of_deleted = engine.version(keys[0]);
  const Counted counted = remove(hashes(0, 1));
  EXPECT_GT(counted.number, counted.found);
  EXPECT_EQ(engine.counts().items, 19);
  EXPECT_EQ(engine.set(keys[0], "fill", {.if_version = miss_of_deleted}), Status::outdated);
  EXPECT_EQ(engine.set(keys[0], "fill", {.if_version = engine.version(keys[0])}), Status::ok);
  if (engine.key_slot("another") != slot) {
    EXPECT_EQ(engine.set("another", "fill", {.if_version = miss}), Status::ok);
  }
}

TEST_P(KeysOfOneSlot, AreFoundWhereverTheyWereMoved) {
  // Used, so that they move when the memory is full.
  std::string kept;
  for (int i = 0; i < 40'000; ++i) {
    ASSERT_EQ(engine.set(numbered("other", i), pattern(300)), Status::ok);
    if (i % 100 == 0)
      for (const std::string& key : keys) static_cast<void>(engine.get(key));
  }
  EXPECT_GT(engine.counts().evictions, 0U);
  std::vector<bool> there;
  for (const std::string& key : keys) there.push_back(engine.has(key));
  EXPECT_GT(std::count(there.begin(), there.end(), true), GetParam() == spreading_hash ? 15 : 0);
  remove(hashes(3, 8));
  for (size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(engine.has(keys[i]), there[i] && (i < 3 || i >= 11)) << i;
}

TEST_P(KeysOfOneSlot, GoEvenIfTheyHaveEnded) {
  ASSERT_EQ(engine.set(keys[1], "value", {.expiry = Expiry::when(kStart + 10)}), Status::ok);
  ASSERT_EQ(engine.set(keys[2], "value", {.tags = Slots{(slot + 7) % engine.cache.slot_count()}}), Status::ok);
  engine.now = kStart + 10;
  engine.end_all((slot + 7) % engine.cache.slot_count());
  const int64_t items = engine.counts().items;
  remove(hashes(1, 2));
  EXPECT_EQ(engine.counts().items, items - 2);
}

TEST_P(KeysOfOneSlot, OfAnotherDatabaseStay) {
  const uint16_t other = *engine.cache.register_database(2);
  for (const std::string& key : keys)
    ASSERT_EQ(engine.cache.write(engine.cache.key(other, key), request(as_bytes("theirs")), engine.now).status,
              Status::ok);
  remove(hashes(0, 8));
  EXPECT_EQ(engine.cache.database(other).items, 20);
  EXPECT_EQ(engine.counts().items, 12);
}

TEST_P(KeysOfOneSlot, EndTogetherOnRequest) {
  const std::vector<std::string> others = engine.keys_in(slot, 20, false);
  for (const std::string& key : others) ASSERT_EQ(engine.set(key, "stays"), Status::ok);
  // More than one invalidation takes: the neighbours go with them.
  const Counted counted = remove(hashes(0, 2), true);
  EXPECT_EQ(engine.slot(slot).floor, counted.number);
  for (const std::string& key : keys) {
    ASSERT_EQ(engine.get(key), std::nullopt);
    std::string value;
    ASSERT_EQ(engine.take(key, value).status, Status::not_found);
    ASSERT_EQ(engine.touch(key, Expiry::never()), Status::not_found);
    ASSERT_EQ(engine.set(key, "x", {.mode = WriteMode::if_present}), Status::refused);
  }
  for (const std::string& key : others) ASSERT_EQ(engine.get(key), "stays");
  EXPECT_EQ(engine.set(keys[5], "new", {.mode = WriteMode::if_absent}), Status::ok);
  EXPECT_EQ(engine.get(keys[5]), "new");
  EXPECT_EQ(engine.increment(keys[6], 3).value, 3);
  EXPECT_EQ(engine.set(keys[7], "new", {.tags = Slots{1}, .keep_tags = true}), Status::ok);
  EXPECT_EQ(engine.tags_of(keys[7]), Slots{1});
  EXPECT_EQ(engine.counts().evictions, 0U);
  EXPECT_EQ(engine.violation(), nullptr) << engine.violation();
}

TEST_P(KeysOfOneSlot, TakeEntriesWithItsTagWithThem) {
  const std::string tagged = engine.keys_in(slot, 1, false).front();
  ASSERT_EQ(engine.set(tagged, "value", {.tags = Slots{slot}}), Status::ok);
  remove(hashes(0, 8));
  EXPECT_TRUE(engine.has(tagged)) << "deleted keys are no tags";
  remove(hashes(0, 0), true);
  EXPECT_FALSE(engine.has(tagged));
}

// ---- remove and take

TEST(Invalidation, ARemovalTellsWhatItCounted) {
  Engine engine;
  const Key key = engine.key("key");
  const SlotNumber slot = engine.key_slot("key");
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  const Version before = engine.slot(slot).stamp;
  Counted counted{};
  EXPECT_EQ(engine.cache.remove(key, engine.now, std::nullopt, 33, &counted), Status::ok);
  EXPECT_EQ(counted.found, before);
  EXPECT_EQ(counted.number, engine.cache.sequence());
  EXPECT_EQ(engine.slot(slot).stamp, counted.number);
  EXPECT_EQ(engine.slot(slot).done, 33U);
  EXPECT_EQ(engine.slot(slot).floor, before);

  const Version first = counted.number;
  EXPECT_EQ(engine.cache.remove(key, engine.now, std::nullopt, 30, &counted), Status::not_found);
  EXPECT_EQ(counted.found, first);
  EXPECT_EQ(counted.number, engine.cache.sequence());
  EXPECT_EQ(engine.slot(slot).done, 33U);

  const Version version = engine.write("key", "value").version;
  const SlotState quiet = engine.slot(slot);
  counted = {};
  EXPECT_EQ(engine.cache.remove(key, engine.now, version + 1, 99, &counted), Status::refused);
  EXPECT_EQ(engine.cache.remove(engine.key("none"), engine.now, version, 99, &counted), Status::not_found);
  EXPECT_EQ(counted.number, 0U) << "nothing was counted";
  EXPECT_EQ(engine.slot(slot).stamp, quiet.stamp);
  EXPECT_EQ(engine.slot(slot).done, 33U);
  EXPECT_EQ(engine.cache.remove(key, engine.now, version, 99), Status::ok);
  EXPECT_EQ(engine.slot(slot).done, 99U);
}

TEST(Invalidation, ATakeIsAWriteOfTheKey) {
  Engine engine;
  const SlotNumber slot = engine.key_slot("key");
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  const SlotState before = engine.slot(slot);
  std::string value;
  ASSERT_EQ(engine.take("key", value).status, Status::ok);
  EXPECT_EQ(engine.slot(slot).written, engine.cache.sequence());
  EXPECT_EQ(engine.slot(slot).stamp, before.stamp);
  EXPECT_EQ(engine.slot(slot).done, before.done);
  EXPECT_EQ(engine.slot(slot).floor, before.floor);
  ASSERT_EQ(engine.take("key", value).status, Status::not_found);
  EXPECT_EQ(engine.slot(slot).written, engine.cache.sequence());
}

// ---- what may be stored

class Stored : public ::testing::Test {
 protected:
  Stored() {
    // The slots of key and tags are distinct, so that each can be moved alone.
    while (tags.size() < 5 || key.empty()) {
      const SlotNumber next = engine.tag_slot(numbered("tag", number++));
      if (std::find(tags.begin(), tags.end(), next) == tags.end()) tags.push_back(next);
      if (tags.size() == 5) key = find_key();
    }
  }
  [[nodiscard]] std::string find_key() const {
    for (uint64_t i = 0;; ++i) {
      std::string name = numbered("key", i);
      if (std::find(tags.begin(), tags.end(), engine.key_slot(name)) == tags.end()) return name;
    }
  }
  [[nodiscard]] Slots all_slots() const {
    Slots all = tags;
    all.push_back(engine.key_slot(key));
    all.push_back(engine.database_slot());
    return all;
  }
  Status fill(const WriteOptions& options, size_t size = 10) { return engine.set(key, pattern(size), options); }

  Engine engine;
  uint64_t number = 0;
  Slots tags;
  std::string key;
};

TEST_F(Stored, NothingOlderThanAnInvalidationThatItDoesNotKnow) {
  for (const size_t size : {size_t{10}, size_t{100'000}})
    for (const bool there : {false, true})
      for (const SlotNumber slot : all_slots()) {
        static_cast<void>(engine.remove(key));
        if (there) {
          ASSERT_EQ(fill({.tags = tags}), Status::ok);
        }
        const KnownStamps known = knows_all(engine);
        const uint64_t free_before = engine.cache.memory_status().bytes_free;
        engine.cache.invalidate({.slot = slot});
        const Version written = engine.slot(engine.key_slot(key)).written;
        EXPECT_EQ(fill({.tags = tags, .known = &known}, size), Status::outdated);
        EXPECT_EQ(engine.has(key), there);
        EXPECT_EQ(engine.slot(engine.key_slot(key)).written, written);
        EXPECT_EQ(engine.cache.memory_status().bytes_free, free_before);
        EXPECT_EQ(fill({.tags = tags}, size), Status::ok) << "who asks for no test gets none";
        const KnownStamps newer = knows_all(engine);
        EXPECT_EQ(fill({.tags = tags, .known = &newer}, size), Status::ok);
      }
}

TEST_F(Stored, WhatKnowsTheLastInvalidationIs) {
  for (const SlotNumber slot : all_slots()) engine.cache.invalidate({.slot = slot});
  KnownStamps exact;
  exact.key = engine.slot(engine.key_slot(key)).stamp;
  exact.database = engine.slot(engine.database_slot()).stamp;
  for (size_t i = 0; i < tags.size(); ++i) exact.tags[i] = engine.slot(tags[i]).stamp;
  EXPECT_EQ(fill({.tags = tags, .known = &exact}), Status::ok);
  // One less anywhere is one too few.
  const auto expect_outdated = [&](Version KnownStamps::*field) {
    KnownStamps less = exact;
    --(less.*field);
    EXPECT_EQ(fill({.tags = tags, .known = &less}), Status::outdated);
  };
  expect_outdated(&KnownStamps::key);
  expect_outdated(&KnownStamps::database);
  for (size_t i = 0; i < tags.size(); ++i) {
    KnownStamps less = exact;
    --less.tags[i];
    EXPECT_EQ(fill({.tags = tags, .known = &less}), Status::outdated) << i;
  }
  EXPECT_EQ(fill({.known = &exact}), Status::ok) << "without tags it depends on none";
}

TEST_F(Stored, NothingWhileItsSlotIsCounted) {
  const KnownStamps known = knows_all(engine);
  const Version miss = engine.version(key);
  for (const SlotNumber slot : all_slots()) {
    const Counting counting(engine.shared_slot(slot));
    EXPECT_TRUE(engine.slot(slot).counting);
    EXPECT_EQ(fill({.tags = tags, .known = &known}), Status::outdated);
    // A key's slot is counted under the lock that the write holds.
    if (slot != engine.key_slot(key)) {
      EXPECT_EQ(fill({.if_version = miss, .tags = tags}), Status::outdated);
    }
    EXPECT_FALSE(engine.has(key));
  }
  EXPECT_FALSE(engine.slot(tags[0]).counting);
  EXPECT_EQ(fill({.if_version = miss, .tags = tags, .known = &known}), Status::ok);
}

TEST_F(Stored, TheVersionOfAMissIsOneOfItsTagsToo) {
  for (const SlotNumber slot : all_slots()) {
    ASSERT_EQ(engine.remove(key), Status::not_found);
    const Version miss = engine.version(key);
    engine.cache.invalidate({.slot = slot});
    EXPECT_EQ(fill({.if_version = miss, .tags = tags}), Status::outdated);
    EXPECT_FALSE(engine.has(key));
  }
  const Version miss = engine.version(key);
  EXPECT_EQ(engine.set("other", "value", {.tags = tags}), Status::ok);
  EXPECT_EQ(fill({.if_version = miss, .tags = tags}), Status::ok) << "entries of the tags may come and go";
}

TEST_F(Stored, OnlyItsOwnTagsMatter) {
  const Version miss = engine.version(key);
  const KnownStamps known = knows_all(engine);
  engine.end_all(tags.back());
  const Slots others(tags.begin(), tags.end() - 1);
  EXPECT_EQ(fill({.if_version = miss, .tags = others, .known = &known}), Status::ok);
}

TEST_F(Stored, NothingThatWasWrittenInBetween) {
  const auto since = [&](Version version, WriteMode mode = WriteMode::always) {
    return WriteOptions{.mode = mode, .unwritten_since = version};
  };
  const Version before = engine.cache.sequence();
  EXPECT_EQ(fill(since(before)), Status::ok);
  const Version written = engine.version(key);
  EXPECT_EQ(fill(since(before)), Status::refused);
  EXPECT_EQ(fill(since(written - 1)), Status::refused);
  EXPECT_EQ(engine.remove(key), Status::ok);
  EXPECT_EQ(fill(since(before)), Status::refused) << "it is gone, but it was written";
  // A deletion is no write: it is for `known` to notice.
  EXPECT_EQ(fill(since(written)), Status::ok);
  EXPECT_EQ(fill(since(written), 50'000), Status::refused);
  engine.end_all(engine.key_slot(key));
  engine.end_all(engine.database_slot());
  EXPECT_EQ(fill(since(engine.slot(engine.key_slot(key)).written)), Status::ok);
  const Version last = engine.version(key);
  EXPECT_EQ(engine.touch(key, Expiry::never()), Status::ok);
  EXPECT_EQ(fill(since(last)), Status::refused);
  EXPECT_EQ(engine.remove(key), Status::ok);
  const Version removed = engine.cache.sequence();
  EXPECT_EQ(engine.increment(key).status, Status::ok);
  EXPECT_EQ(engine.remove(key), Status::ok);
  EXPECT_EQ(fill(since(removed)), Status::refused);
  EXPECT_EQ(fill(since(engine.cache.sequence(), WriteMode::if_absent)), Status::ok);
}

TEST_F(Stored, TheModeSpeaksBeforeTheStamps) {
  const KnownStamps known = knows_all(engine);
  engine.end_all(engine.database_slot());
  EXPECT_EQ(fill({.mode = WriteMode::if_present, .known = &known}), Status::refused);
  const Version version = engine.write(key, "value").version;
  EXPECT_EQ(fill({.mode = WriteMode::if_absent, .known = &known}), Status::refused);
  EXPECT_EQ(fill({.if_version = version + 1, .known = &known}), Status::refused);
  EXPECT_EQ(fill({.known = &known, .unwritten_since = version - 1}), Status::refused);
  EXPECT_EQ(fill({.if_version = version, .known = &known}), Status::outdated);
  EXPECT_EQ(engine.get(key), "value");
}

TEST_F(Stored, WhatComesBackFromDiskIsNoWrite) {
  const SlotNumber slot = engine.key_slot(key);
  const Version before = engine.cache.slot_changed(slot);
  WriteRequest restored = request(as_bytes("value"), {.tags = tags});
  restored.restored = true;
  const WriteResult written = engine.cache.write(engine.key(key), restored, engine.now);
  EXPECT_EQ(written.status, Status::ok);
  EXPECT_EQ(engine.version(key), written.version);
  EXPECT_EQ(engine.tags_of(key), tags);
  EXPECT_EQ(engine.cache.slot_changed(slot), before);
  EXPECT_EQ(fill({.unwritten_since = before}), Status::ok);
}

// An entry that gets a new number with old contents must not outlive a count that is on its way.
TEST_F(Stored, NoCounterIsCarriedOverACount) {
  const int64_t start = 40;
  const std::string_view bytes(reinterpret_cast<const char*>(&start), sizeof start);
  ASSERT_EQ(engine.set(key, bytes, {.kind = Kind::counter, .tags = tags}), Status::ok);
  const Version version = engine.version(key);
  Slots slots = tags;
  slots.push_back(engine.database_slot());
  for (const SlotNumber slot : slots) {
    const Counting counting(engine.shared_slot(slot));
    EXPECT_EQ(engine.increment(key, 1).status, Status::busy);
    EXPECT_EQ(engine.version(key), version);
    EXPECT_EQ(engine.increment(numbered("fresh", slot), 1).value, 1) << "a new one has nothing to carry";
  }
  EXPECT_EQ(engine.increment(key, 1).value, 41);
  EXPECT_GT(engine.version(key), version);
}

TEST_F(Stored, NoTagsAreKeptOverACount) {
  const Slots own(tags.begin(), tags.begin() + 3);
  ASSERT_EQ(engine.set(key, "value", {.tags = own}), Status::ok);
  for (const size_t size : {size_t{5}, size_t{60}, size_t{60'000}}) {
    for (const SlotNumber slot : own) {
      const Counting counting(engine.shared_slot(slot));
      EXPECT_EQ(fill({.keep_tags = true}, size), Status::outdated);
    }
    const Counting counting(engine.shared_slot(engine.database_slot()));
    EXPECT_EQ(fill({.keep_tags = true}, size), Status::outdated);
    EXPECT_EQ(engine.get(key), "value");
  }
  // Tags that it would not get anyway are nothing to it.
  const Counting counting(engine.shared_slot(tags.back()));
  EXPECT_EQ(fill({.tags = Slots{tags.back()}, .keep_tags = true}), Status::ok);
  EXPECT_EQ(engine.tags_of(key), own);
}

// ---- databases

TEST(Invalidation, OfADatabaseNotesWhoIsDone) {
  Engine engine;
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  engine.cache.fence_database(engine.database, 12);
  EXPECT_EQ(engine.get("key"), "value");
  EXPECT_EQ(engine.slot(engine.database_slot()).done, 12U);
  const Version fenced = engine.slot(engine.database_slot()).stamp;
  EXPECT_EQ(fenced, engine.cache.sequence());
  EXPECT_LT(engine.slot(engine.database_slot()).floor, fenced);
  engine.cache.invalidate_database(engine.database, 15);
  EXPECT_FALSE(engine.has("key"));
  EXPECT_EQ(engine.slot(engine.database_slot()).done, 15U);
  EXPECT_EQ(engine.slot(engine.database_slot()).floor, engine.cache.sequence());
  engine.cache.invalidate_database(engine.database);
  EXPECT_EQ(engine.slot(engine.database_slot()).done, 15U) << "it never sinks";
}

TEST(Invalidation, ADatabaseBeginsWithThePreparedOnes) {
  const Transaction prepared[] = {70, 80, 75, 60};
  for (size_t count = 0; count <= std::size(prepared); ++count) {
    Engine engine;
    const Version miss = engine.cache.sequence();
    const uint16_t number = *engine.cache.register_database(2, 100, std::span(prepared, count));
    const SlotState slot = engine.slot(engine.cache.database_slot(number));
    EXPECT_EQ(slot.pending[0], count > 0 ? 70 | kPrepared : 0);
    EXPECT_EQ(slot.pending[1], count > 1 ? 80 | kPrepared : 0);
    EXPECT_EQ(slot.blocked, count > 2 ? 75U : 0U);
    EXPECT_FALSE(slot.unlisted);
    EXPECT_EQ(slot.done, 100U);
    EXPECT_GT(slot.stamp, miss);
    EXPECT_EQ(slot.floor, slot.stamp);
    EXPECT_EQ(engine.cache.database(number).registered, slot.stamp);
    EXPECT_EQ(slot.stamp, engine.cache.sequence());
    EXPECT_EQ(engine.cache.latest_done(), 100U);
    EXPECT_EQ(engine.slot(engine.database_slot()).done, 0U) << "the other one is not touched";

    // Whoever comes later finds it as it is.
    const Version sequence = engine.cache.sequence();
    EXPECT_EQ(engine.cache.register_database(2, 200, prepared), number);
    EXPECT_EQ(engine.cache.sequence(), sequence);
    EXPECT_EQ(engine.slot(engine.cache.database_slot(number)).done, 100U);
    EXPECT_EQ(engine.slot(engine.cache.database_slot(number)).blocked, count > 2 ? 75U : 0U);
    EXPECT_EQ(engine.cache.latest_done(), 100U);

    const WriteResult fill = engine.cache.write(engine.cache.key(number, "key"),
                                                request(as_bytes("value"), {.if_version = miss}), engine.now);
    EXPECT_EQ(fill.status, Status::outdated);
    const Key key = engine.cache.key(number, "key");
    EXPECT_EQ(engine.cache.write(key, request(as_bytes("value")), engine.now).status, Status::ok);
    EXPECT_EQ(engine.cache.peek(key, engine.now).status, Status::ok);
  }
}

TEST(Invalidation, AForgottenDatabaseLeavesNothingToTheNext) {
  Engine engine;
  const Transaction prepared[] = {70, 80, 75};
  const uint16_t number = *engine.cache.register_database(2, 100, prepared);
  const SlotNumber slot = engine.cache.database_slot(number);
  const Version from = engine.cache.sequence();
  engine.cache.invalidate({.slot = slot, .gap_from = from});
  engine.cache.forget_database(number);
  ASSERT_EQ(engine.cache.register_database(3), number);
  EXPECT_EQ(pending_of(engine.slot(slot)), kNobody);
  EXPECT_EQ(engine.slot(slot).blocked, 0U);
  EXPECT_EQ(engine.slot(slot).done, 0U);
  EXPECT_EQ(engine.cache.database(number).gap_to, 0U);
  EXPECT_EQ(engine.slot(slot).stamp, engine.cache.sequence());
  EXPECT_EQ(engine.cache.latest_done(), 100U) << "that of the whole cache stays";
}

class TwoDatabases : public ::testing::Test {
 protected:
  Status set(uint16_t number, std::string_view key, const Slots& tags = {}) {
    return engine.cache.write(engine.cache.key(number, key), request(as_bytes("value"), {.tags = tags}), engine.now)
        .status;
  }
  bool has(uint16_t number, std::string_view key) {
    return engine.cache.peek(engine.cache.key(number, key), engine.now).status == Status::ok;
  }
  SlotNumber tag_slot(uint16_t number, std::string_view tag) {
    return engine.cache.slot_number(engine.cache.tag(number, tag));
  }

  Engine engine;
  uint16_t one = engine.database;
  uint16_t two = *engine.cache.register_database(2);
};

TEST_F(TwoDatabases, HaveTheirOwnTags) {
  const SlotNumber ours = tag_slot(one, "tag");
  const SlotNumber theirs = tag_slot(two, "tag");
  ASSERT_NE(ours, theirs);
  const std::string key = engine.keys_in(ours, 1, false).front();
  ASSERT_EQ(set(one, key, {ours}), Status::ok);
  ASSERT_EQ(set(two, key, {theirs}), Status::ok);
  engine.end_all(ours);
  EXPECT_FALSE(has(one, key));
  EXPECT_EQ(has(two, key), engine.cache.slot_number(engine.cache.key(two, key).hash) != ours);
  EXPECT_EQ(engine.sweep(two), 0U);
  EXPECT_EQ(engine.sweep(one), 0U) << "what a tag has ended is no news";
  EXPECT_EQ(engine.cache.database(one).items, 0);
}

TEST_F(TwoDatabases, ShareTheSlots) {
  const std::string key = engine.keys_in(5, 1, false).front();
  ASSERT_EQ(set(one, key, {5}), Status::ok);
  ASSERT_EQ(set(two, key, {5}), Status::ok);
  engine.end_all(5);
  EXPECT_FALSE(has(one, key));
  EXPECT_FALSE(has(two, key)) << "too much, never too little";
  EXPECT_EQ(engine.sweep(one), 0U);
  EXPECT_EQ(engine.cache.database(one).items, 0);
  EXPECT_EQ(engine.cache.database(two).items, 1) << "each sweeps its own";
}

TEST_F(TwoDatabases, EndApart) {
  for (const uint16_t number : {one, two}) ASSERT_EQ(set(number, "key"), Status::ok);
  const KnownStamps known = knows_all(engine);
  const Version miss = engine.cache.sequence();
  const Version from = engine.cache.sequence();
  for (const uint16_t number : {one, two}) ASSERT_EQ(set(number, "in the gap"), Status::ok);
  engine.cache.invalidate({.slot = engine.cache.database_slot(two), .done = 9, .ends_entries = true, .gap_from = from});
  EXPECT_TRUE(has(one, "key"));
  EXPECT_TRUE(has(one, "in the gap"));
  EXPECT_FALSE(has(two, "key"));
  EXPECT_FALSE(has(two, "in the gap"));
  EXPECT_EQ(engine.slot(engine.cache.database_slot(one)).done, 0U);
  const auto fill = [&](uint16_t number, std::string_view key, const WriteOptions& options) {
    return engine.cache.write(engine.cache.key(number, key), request(as_bytes("fill"), options), engine.now).status;
  };
  EXPECT_EQ(fill(two, "a", {.known = &known}), Status::outdated);
  EXPECT_EQ(fill(two, "b", {.if_version = miss}), Status::outdated);
  EXPECT_EQ(fill(one, "a", {.known = &known}), Status::ok);
  EXPECT_EQ(fill(one, "b", {.if_version = miss}), Status::ok);
  engine.cache.close_gap(one, engine.cache.database(two).gap_to);
  EXPECT_NE(engine.cache.database(two).gap_to, 0U);
}

// ---- gaps: what came while somebody looked for the keys to delete

class Gap : public ::testing::Test {
 protected:
  Version now() { return engine.cache.sequence(); }
  Version open(Version from, bool ends_entries = false) {
    return engine.cache
        .invalidate({.slot = engine.database_slot(), .done = 5, .ends_entries = ends_entries, .gap_from = from})
        .number;
  }
  void set(std::string_view key, const WriteOptions& options = {}) {
    ASSERT_EQ(engine.set(key, "value", options), Status::ok);
  }

  Engine engine;
};

TEST_F(Gap, EndsWhatCameInIt) {
  set("before");
  ASSERT_EQ(engine.set("large before", pattern(50'000)), Status::ok);
  const Version from = now();
  EXPECT_EQ(engine.version("large before"), from) << "the last one before the gap is not in it";
  set("in");
  ASSERT_EQ(engine.set("large in", pattern(50'000)), Status::ok);
  set("tagged in", {.tags = Slots{3}});
  set("expired in", {.expiry = Expiry::when(kStart + 10)});
  const Version to = open(from);
  EXPECT_EQ(engine.counts().gap_from, from);
  EXPECT_EQ(engine.counts().gap_to, to);
  EXPECT_EQ(engine.slot(engine.database_slot()).done, 5U);
  set("after");
  EXPECT_GT(engine.version("after"), to);

  for (const char* key : {"before", "large before", "after"}) EXPECT_TRUE(engine.has(key)) << key;
  for (const char* key : {"in", "large in", "tagged in"}) EXPECT_FALSE(engine.has(key)) << key;
  EXPECT_EQ(engine.scan().size(), 3U);
  engine.now = kStart + 10;
  EXPECT_EQ(engine.sweep(engine.database), 3U) << "what had ended before is not counted";
  EXPECT_EQ(engine.counts().items, 3);
  EXPECT_EQ(engine.counts().expirations, 1U);

  engine.cache.close_gap(engine.database, to);
  EXPECT_EQ(engine.counts().gap_to, 0U);
  for (const char* key : {"before", "large before", "after"}) EXPECT_TRUE(engine.has(key)) << key;
  EXPECT_EQ(engine.scan().size(), 3U);
}

TEST_F(Gap, TakesItsEntriesOutOfEveryCall) {
  const Version from = now();
  for (const char* key : {"a", "b", "c", "d"}) set(key, {.tags = Slots{3}});
  ASSERT_EQ(engine.increment("hits", 5).value, 5);
  open(from);
  std::string value;
  EXPECT_EQ(engine.take("a", value).status, Status::not_found);
  EXPECT_EQ(engine.touch("a", Expiry::never()), Status::not_found);
  EXPECT_EQ(engine.remove("a"), Status::not_found);
  EXPECT_EQ(engine.set("b", "x", {.mode = WriteMode::if_present}), Status::refused);
  EXPECT_EQ(engine.set("c", "x", {.mode = WriteMode::if_absent}), Status::ok);
  EXPECT_EQ(engine.set("d", "x", {.tags = Slots{4}, .keep_tags = true}), Status::ok);
  EXPECT_EQ(engine.tags_of("d"), Slots{4});
  EXPECT_EQ(engine.increment("hits", 1, Expiry::never(), false).status, Status::not_found);
  EXPECT_EQ(engine.increment("hits", 1).value, 1);
}

TEST_F(Gap, EvictionCountsItsEntriesAsGone) {
  const Version from = now();
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(engine.set(numbered("in", i), pattern(300)), Status::ok);
  open(from);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(engine.set(numbered("after", i), pattern(300)), Status::ok);
  EXPECT_EQ(engine.counts().evictions, 0U);
}

TEST_F(Gap, RefusesFillsFromBefore) {
  const Version miss = engine.version("key");
  const KnownStamps known = knows_all(engine);
  open(now());
  EXPECT_EQ(engine.set("key", "fill", {.if_version = miss}), Status::outdated);
  EXPECT_EQ(engine.set("key", "fill", {.known = &known}), Status::outdated);
}

TEST_F(Gap, TwoBecomeTheOneThatSpansBoth) {
  set("before");
  const Version first = now();
  set("in the first");
  open(first);
  set("between");
  const Version second = now();
  set("in the second");
  const Version to = open(second);
  set("after");
  EXPECT_EQ(engine.counts().gap_from, first);
  EXPECT_EQ(engine.counts().gap_to, to);
  EXPECT_TRUE(engine.has("before"));
  EXPECT_FALSE(engine.has("in the first"));
  EXPECT_FALSE(engine.has("between")) << "too much, never too little";
  EXPECT_FALSE(engine.has("in the second"));
  EXPECT_TRUE(engine.has("after"));
}

TEST_F(Gap, TheLongerOneMayCountLast) {
  set("before");
  const Version first = now();
  set("in the longer");
  const Version second = now();
  set("in both");
  open(second);
  EXPECT_TRUE(engine.has("in the longer"));
  const Version to = open(first);
  EXPECT_EQ(engine.counts().gap_from, first);
  EXPECT_EQ(engine.counts().gap_to, to);
  EXPECT_TRUE(engine.has("before"));
  EXPECT_FALSE(engine.has("in the longer"));
  EXPECT_FALSE(engine.has("in both"));
}

TEST_F(Gap, IsClosedOnlyByWhoSweptAllOfIt) {
  Version from = now();
  set("first");
  const Version to = open(from);
  EXPECT_EQ(engine.sweep(engine.database), 1U);
  from = now();
  set("second");
  const Version grown = open(from);
  engine.cache.close_gap(engine.database, to);
  EXPECT_EQ(engine.counts().gap_to, grown) << "it has grown meanwhile";
  EXPECT_FALSE(engine.has("second"));
  EXPECT_EQ(engine.sweep(engine.database), 1U);
  engine.cache.close_gap(engine.database, grown);
  EXPECT_EQ(engine.counts().gap_to, 0U);
  EXPECT_EQ(engine.scan().size(), 0U);
}

TEST_F(Gap, StartsAnewAfterItWasClosed) {
  engine.cache.close_gap(engine.database, open(now()));
  set("before");
  const Version from = now();
  set("in");
  const Version to = open(from);
  EXPECT_EQ(engine.counts().gap_from, from);
  EXPECT_EQ(engine.counts().gap_to, to);
  EXPECT_TRUE(engine.has("before"));
  EXPECT_FALSE(engine.has("in"));
}

TEST_F(Gap, EndsYoungerOnesBesideTheOlder) {
  set("older");
  const Version from = now();
  set("in");
  open(from, true);
  set("after");
  EXPECT_FALSE(engine.has("older"));
  EXPECT_FALSE(engine.has("in"));
  EXPECT_TRUE(engine.has("after"));
}

TEST_F(Gap, IsNoneWhereNobodySaysSo) {
  set("key");
  engine.cache.invalidate({.slot = engine.database_slot(), .done = 5});
  engine.cache.fence_database(engine.database);
  EXPECT_EQ(engine.counts().gap_to, 0U);
  EXPECT_TRUE(engine.has("key"));
}

// ---- what a snapshot sees

struct View {
  const char* what;
  Transaction done;
  Transaction blocked;
  SnapshotBounds snapshot;
  enum : uint8_t { no, yes, ask } answer;
};

TEST(Sees, WhatTheBoundsSay) {
  constexpr SnapshotBounds kSome{10, 20};  // some of 10 to 19 were running
  constexpr SnapshotBounds kNone{20, 20};  // nobody was
  const View views[] = {
      {"nothing was ever counted", 0, 0, kSome, View::yes},
      {"all were complete long before", 5, 0, kSome, View::yes},
      {"all below the first that was running", 10, 0, kSome, View::yes},
      {"some began after the first that was running", 11, 0, kSome, View::yes},
      {"all but the last that it may know", 19, 0, kSome, View::yes},
      {"the last that it may know might have been running", 20, 0, kSome, View::ask},
      {"one that it cannot know", 21, 0, kSome, View::no},
      {"much later", 1000, 0, kSome, View::no},
      {"ids beyond 32 bits",
       (Transaction{1} << 40) + 21,
       0,
       {(Transaction{1} << 40) + 10, (Transaction{1} << 40) + 20},
       View::no},
      {"ids beyond 32 bits, seen",
       (Transaction{1} << 40) + 19,
       0,
       {(Transaction{1} << 40) + 10, (Transaction{1} << 40) + 20},
       View::yes},
      {"an epoch later than the snapshot", (Transaction{1} << 32) + 5, 0, kSome, View::no},
      {"nobody was running, one less", 19, 0, kNone, View::yes},
      {"nobody was running, the end", 20, 0, kNone, View::ask},
      {"nobody was running, one more", 21, 0, kNone, View::no},
      {"blocked by one that ended before all that were running", 5, 9, kSome, View::yes},
      {"blocked by the first that was running", 5, 10, kSome, View::no},
      {"blocked by one that may have been running", 5, 15, kSome, View::no},
      {"blocked by the last that may have been", 5, 19, kSome, View::no},
      {"blocked by the first that it does not know", 5, 20, kSome, View::no},
      {"blocked by a later one", 5, 500, kSome, View::no},
      {"blocked, nothing counted", 0, 15, kSome, View::no},
      {"no longer blocked, but at the end", 20, 9, kSome, View::ask},
      {"no longer blocked, but counted too late", 21, 9, kSome, View::no},
      {"blocked and at the end", 20, 10, kSome, View::no},
      {"blocked and counted too late", 30, 30, kSome, View::no},
      {"no longer blocked, nobody running", 19, 19, kNone, View::yes},
      {"blocked by the next, nobody running", 19, 20, kNone, View::no},
  };
  for (const View& view : views) {
    SCOPED_TRACE(view.what);
    for (const bool none_has_committed : {false, true}) {
      int asked = 0;
      const bool seen = sees(view.done, view.blocked, view.snapshot, [&] {
        ++asked;
        return none_has_committed;
      });
      EXPECT_EQ(seen, view.answer == View::yes || (view.answer == View::ask && none_has_committed));
      EXPECT_EQ(asked, view.answer == View::ask ? 1 : 0) << "asking takes time";
    }
  }
}

// A snapshot that sees goes on to see when it is younger, and to be blind when more was counted.
TEST(Sees, InOneDirection) {
  const auto rank = [](Transaction done, Transaction blocked, const SnapshotBounds& snapshot) {
    return (sees(done, blocked, snapshot, [] { return false; }) ? 1 : 0) +
           (sees(done, blocked, snapshot, [] { return true; }) ? 1 : 0);
  };
  for (Transaction first = 1; first < 7; ++first)
    for (Transaction end = first; end < 7; ++end)
      for (Transaction done = 0; done < 8; ++done)
        for (Transaction blocked = 0; blocked < 8; ++blocked) {
          const int here = rank(done, blocked, {first, end});
          ASSERT_LE(here, rank(done, blocked, {first, end + 1}));
          ASSERT_LE(here, rank(done, blocked, {first + 1, std::max(first + 1, end)}));
          ASSERT_GE(here, rank(done + 1, blocked, {first, end}));
          ASSERT_GE(here, rank(done, blocked + 1, {first, end}));
        }
}

}  // namespace
}  // namespace pgcache::engine::test

// An entry keeps its tags through all that happens to it, and ends with any of them.
#include <set>

#include "engine/work_meter.hpp"
#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

using Slots = std::vector<uint32_t>;

// Distinct ones; another seed gives others, in another order.
Slots some_slots(const Engine& engine, size_t count, uint64_t seed) {
  const uint32_t slots = engine.cache.slot_count();
  const auto first = static_cast<uint32_t>(mixed(seed));
  const auto step = static_cast<uint32_t>(mixed(seed + 1)) | 1;  // odd, so it meets all before it meets one again
  Slots some;
  for (uint32_t i = 0; i < count; ++i) some.push_back((first + i * step) % slots);
  return some;
}

// What stands there, taken apart, so that a failure says what differs.
void expect_entry(const Engine& engine, std::string_view key, std::string_view value, const Slots& tags) {
  std::string buffer(value.size() + 1, '\x5a');
  Evidence evidence{};
  const ReadResult read = engine.cache.read(engine.key(key), engine.now, kAnyKind,
                                            std::as_writable_bytes(std::span(buffer.data(), value.size())), &evidence);
  ASSERT_EQ(read.status, Status::ok) << key;
  ASSERT_EQ(read.entry.value_bytes, value.size());
  ASSERT_TRUE(std::string_view(buffer).substr(0, value.size()) == value);
  ASSERT_EQ(Slots(evidence.tags.span().begin(), evidence.tags.span().end()), tags);
  ASSERT_EQ(engine.tags_of(key), tags) << "peek sees the same";
}

TEST(Tags, AreGivenBackInTheirOrder) {
  Engine engine(16 * kMegabyte);
  for (const std::string& value : {std::string(), pattern(3), pattern(1000)})
    for (size_t count = 0; count <= kMaxTags; ++count) {
      const std::string key = numbered("key", value.size() * 100 + count);
      const Slots tags = some_slots(engine, count, count);
      ASSERT_EQ(engine.set(key, value, {.tags = tags}), Status::ok);
      expect_entry(engine, key, value, tags);
    }
  EXPECT_EQ(engine.violation(), nullptr) << engine.violation();
}

TEST(Tags, TheFirstAndTheLastSlotServe) {
  Engine engine(16 * kMegabyte);
  const uint32_t last = engine.cache.slot_count() - 1;
  for (const Slots& tags : {Slots{0}, Slots{last}, Slots{0, last}, Slots{last, 0}}) {
    ASSERT_EQ(engine.set("key", "value", {.tags = tags}), Status::ok);
    expect_entry(engine, "key", "value", tags);
  }
}

TEST(Tags, AreToldWhateverTheReadEndsIn) {
  Engine engine;
  const Slots tags = some_slots(engine, 5, 1);
  ASSERT_EQ(engine.set("key", "value", {.tags = tags}), Status::ok);
  const auto expect_told = [&](Status expected, Kinds kinds, size_t room) {
    char buffer[5];
    Evidence evidence{};
    const ReadResult read = engine.cache.read(engine.key("key"), engine.now, kinds,
                                              std::as_writable_bytes(std::span(buffer, room)), &evidence);
    EXPECT_EQ(read.status, expected);
    EXPECT_EQ(Slots(evidence.tags.span().begin(), evidence.tags.span().end()), tags);
    EXPECT_EQ(evidence.key.written, engine.version("key"));
  };
  expect_told(Status::ok, kAnyKind, 5);
  expect_told(Status::buffer_too_small, kAnyKind, 4);
  expect_told(Status::wrong_kind, only(Kind::json), 5);
}

TEST(Tags, TheEvidenceOfAKeyIsItsSlot) {
  Engine engine;
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  const SlotNumber slot = engine.key_slot("key");
  ASSERT_TRUE(engine.cache.announce(slot, 7));
  engine.cache.invalidate({.slot = slot, .done = 5});
  const SlotState told = engine.evidence("key").key;
  EXPECT_EQ(told.pending[0], 7U);
  EXPECT_EQ(told.done, 5U);
  EXPECT_EQ(told.stamp, engine.slot(slot).stamp);
  EXPECT_EQ(told.written, engine.version("key"));
  EXPECT_GT(told.stamp, told.written) << "a value from before: who reads must decide";
}

TEST(Tags, AreReplacedByEachWrite) {
  Engine engine(8 * kMegabyte);
  std::mt19937_64 random(3);
  // Neighbours on either side, which may not be touched.
  ASSERT_EQ(engine.set("before", pattern(50, 1), {.tags = some_slots(engine, 9, 1)}), Status::ok);
  ASSERT_EQ(engine.set("key", pattern(50, 2)), Status::ok);
  ASSERT_EQ(engine.set("behind", pattern(50, 3), {.tags = some_slots(engine, 9, 3)}), Status::ok);
  size_t count = 0;
  size_t size = 50;
  for (uint64_t i = 0; i < 3000; ++i) {
    switch (random() % 5) {
      case 0:  // in place
        break;
      case 1:
        count = random() % (kMaxTags + 1);
        break;
      case 2:
        size = random() % 600;
        break;
      case 3:  // a record of the same size, cut otherwise
        if (count < kMaxTags && size >= kTagBytes) {
          ++count;
          size -= kTagBytes;
        }
        break;
      default:
        if (count > 0) {
          --count;
          size += kTagBytes;
        }
    }
    const Slots tags = some_slots(engine, count, i);
    ASSERT_EQ(engine.set("key", pattern(size, i), {.tags = tags}), Status::ok);
    expect_entry(engine, "key", pattern(size, i), tags);
    ASSERT_EQ(engine.counts().bytes,
              static_cast<int64_t>(engine.peek("before").entry.size_bytes + engine.peek("behind").entry.size_bytes +
                                   engine.peek("key").entry.size_bytes));
  }
  expect_entry(engine, "before", pattern(50, 1), some_slots(engine, 9, 1));
  expect_entry(engine, "behind", pattern(50, 3), some_slots(engine, 9, 3));
  EXPECT_EQ(engine.counts().items, 3);
}

TEST(Tags, OfTheSameNumberAreReplacedInPlace) {
  Engine engine;
  for (uint64_t i = 0; i < 1000; ++i)
    ASSERT_EQ(engine.set(numbered("other", i), pattern(500, i), {.tags = some_slots(engine, 3, i)}), Status::ok);
  ASSERT_EQ(engine.set("key", pattern(500), {.tags = some_slots(engine, 3, 1)}), Status::ok);
  const uint64_t free_before = engine.cache.memory_status().bytes_free;
  // Many times what the memory holds.
  for (uint64_t i = 0; i < 30'000; ++i) {
    const Slots tags = some_slots(engine, 3, i);
    ASSERT_EQ(engine.set("key", pattern(500, i), {.tags = tags}), Status::ok);
    ASSERT_EQ(engine.tags_of("key"), tags);
  }
  EXPECT_EQ(engine.cache.memory_status().bytes_free, free_before);
  for (uint64_t i = 0; i < 1000; ++i)
    expect_entry(engine, numbered("other", i), pattern(500, i), some_slots(engine, 3, i));
}

TEST(Tags, OfLargeValues) {
  Engine engine(8 * kMegabyte);
  uint64_t seed = 0;
  for (const size_t key_size : {size_t{1}, kMaxKeyBytes}) {
    const std::string key = pattern(key_size);
    for (const size_t base : {size_t{0}, size_t{kSegmentBytes}, size_t{3} * kSegmentBytes})
      for (const size_t more : {size_t{kMaxInlineValue} - 1, size_t{kMaxInlineValue}, size_t{kMaxInlineValue} + 1,
                                size_t{kSegmentBytes} - 1, size_t{kSegmentBytes}, size_t{1}})
        for (const size_t count : {size_t{0}, size_t{1}, size_t{kMaxTags} - 1, size_t{kMaxTags}}) {
          const size_t size = base + more;
          const Slots tags = some_slots(engine, count, ++seed);
          ASSERT_EQ(engine.set(key, pattern(size, seed), {.tags = tags}), Status::ok) << size << ", " << count;
          expect_entry(engine, key, pattern(size, seed), tags);
          ASSERT_EQ(engine.counts().items, 1);
          ASSERT_EQ(engine.counts().bytes, static_cast<int64_t>(engine.peek(key).entry.size_bytes));
          ASSERT_EQ(engine.violation(), nullptr) << engine.violation() << " at " << size << ", " << count;
        }
    std::string value;
    ASSERT_EQ(engine.take(key, value).status, Status::ok);
    EXPECT_TRUE(value == pattern(value.size(), seed));
    EXPECT_EQ(engine.counts().bytes, 0);
  }
}

TEST(Tags, AsManyAsThereMayBeFitASegment) {
  for (uint32_t shift = 0; shift <= 8; ++shift)
    EXPECT_LE(Record::size(kMaxKeyBytes, kMaxTags, kMaxInlineValue + sizeof(LargeValue), shift), kSegmentBytes);
  Engine engine;
  const std::string key = pattern(kMaxKeyBytes);
  const Slots tags = some_slots(engine, kMaxTags, 1);
  // Inline, and behind a full segment of a large value.
  for (const size_t size : {size_t{kMaxInlineValue}, size_t{kSegmentBytes} + kMaxInlineValue}) {
    ASSERT_EQ(engine.set(key, pattern(size), {.tags = tags}), Status::ok);
    expect_entry(engine, key, pattern(size), tags);
    ASSERT_EQ(engine.violation(), nullptr) << engine.violation();
  }
}

TEST(Tags, TakeFourBytesEach) {
  Engine engine(8 * kMegabyte);
  for (const size_t size : {size_t{0}, size_t{100}, size_t{15'000}, size_t{40'000}}) {
    ASSERT_EQ(engine.set("key", pattern(size)), Status::ok);
    const uint64_t bare = engine.peek("key").entry.size_bytes;
    for (size_t count = 1; count <= kMaxTags; ++count) {
      ASSERT_EQ(engine.set("key", pattern(size), {.tags = some_slots(engine, count, count)}), Status::ok);
      const uint64_t tagged = engine.peek("key").entry.size_bytes;
      ASSERT_LE(tagged, bare + 4 * count);
      ASSERT_GE(tagged, bare + 4 * count) << "they lie in the entry";
      ASSERT_EQ(engine.counts().bytes, static_cast<int64_t>(tagged));
    }
  }
  // Where addresses are coarse, all together may be rounded up once.
  for (uint32_t shift = 0; shift <= 8; ++shift)
    for (uint32_t count = 0; count <= kMaxTags; ++count)
      ASSERT_LT(Record::size(20, count, 99, shift), Record::size(20, 0, 99, shift) + 4 * count + (1U << shift));
}

TEST(Tags, TakeNoMoreMemoryThanTheySay) {
  constexpr uint64_t kItems = 10'000;
  constexpr uint64_t kTags = 8;
  uint64_t taken[2];
  for (const bool tagged : {false, true}) {
    Engine engine(16 * kMegabyte);
    const uint64_t free_before = engine.cache.memory_status().bytes_free;
    const Slots tags = some_slots(engine, tagged ? kTags : 0, 1);
    for (uint64_t i = 0; i < kItems; ++i)
      ASSERT_EQ(engine.set(numbered("key", i), pattern(100), {.tags = tags}), Status::ok);
    taken[tagged ? 1 : 0] = free_before - engine.cache.memory_status().bytes_free;
  }
  // Each shard has a segment that is not full, and a full one has no room for one more entry.
  const uint64_t rounding = 4 * kSegmentBytes + (taken[1] / kSegmentBytes) * 200;
  EXPECT_LE(taken[1], taken[0] + kItems * kTags * 4 + rounding);
}

// Tagged entries in a memory that is rewritten all the time, and what must be so of them.
class Population {
 public:
  explicit Population(Engine& engine) : engine_(engine) {}

  void write(uint64_t number, size_t size, uint64_t seed, Expiry expiry = Expiry::never()) {
    const std::string name = numbered("key", number);
    Item item{pattern(size, seed), some_slots(engine_, seed % 4 == 0 ? seed % (kMaxTags + 1) : seed % 5, seed), expiry};
    ASSERT_EQ(engine_.set(name, item.value, {.expiry = expiry, .tags = item.tags}), Status::ok);
    items_[name] = std::move(item);
  }
  void remove(uint64_t number) {
    const std::string name = numbered("key", number);
    static_cast<void>(engine_.remove(name));
    items_.erase(name);
  }

  // What is there is what was written; the rest is forgotten. How many are there.
  size_t check() {
    for (auto at = items_.begin(); at != items_.end();) {
      if (!engine_.has(at->first)) {
        at = items_.erase(at);
        continue;
      }
      expect_entry(engine_, at->first, at->second.value, at->second.tags);
      ++at;
    }
    // The walk does not look at the slots of the keys, so it may meet what ended with one.
    size_t met = 0;
    for (const auto& [name, info] : engine_.scan()) met += engine_.has(name) ? 1 : 0;
    EXPECT_EQ(met, items_.size());
    EXPECT_EQ(engine_.violation(), nullptr) << engine_.violation();
    return items_.size();
  }

  // Ends with the slot what has the tag, and nothing else; each must then be gone for every way of looking.
  void end(SlotNumber slot) {
    std::erase_if(items_, [&](const auto& item) { return !engine_.has(item.first); });
    const auto before = items_;
    engine_.end_all(slot);
    for (const auto& [name, item] : before) {
      const bool has_tag = std::find(item.tags.begin(), item.tags.end(), slot) != item.tags.end();
      ASSERT_EQ(engine_.has(name), !has_tag && engine_.key_slot(name) != slot) << name;
      if (!engine_.has(name)) items_.erase(name);
    }
    static_cast<void>(engine_.sweep(engine_.database));
  }

  [[nodiscard]] const Slots& tags_of(const std::string& name) const { return items_.at(name).tags; }
  [[nodiscard]] std::string any_tagged() const {
    for (const auto& [name, item] : items_)
      if (!item.tags.empty()) return name;
    return {};
  }

 private:
  struct Item {
    std::string value;
    Slots tags;
    Expiry expiry;
  };
  Engine& engine_;
  std::map<std::string, Item> items_;
};

TEST(Tags, SurviveEviction) {
  Engine engine;
  Population population(engine);
  std::mt19937_64 random(5);
  for (uint64_t i = 0; i < 80'000; ++i) {
    population.write(random() % 30'000, random() % 400, i);
    // Some are used, and so move to the main queue and round in it.
    for (int used = 0; used < 2; ++used) static_cast<void>(engine.get(numbered("key", random() % 2000)));
    if (i % 20'000 == 19'999) {
      ASSERT_GT(population.check(), 3000U);
    }
  }
  EXPECT_GT(engine.counts().evictions, 1000U);
  for (int i = 0; i < 20; ++i) population.end(population.tags_of(population.any_tagged()).front());
  population.check();
}

TEST(Tags, SurviveCompaction) {
  Engine engine;
  Population population(engine);
  std::mt19937_64 random(7);
  // A third of the memory, overwritten with other sizes again and again: what is dead is taken back, nothing evicted.
  for (uint64_t i = 0; i < 60'000; ++i) {
    const uint64_t number = i < 3000 ? i : random() % 3000;
    if (random() % 10 == 0)
      population.remove(number);
    else
      population.write(number, random() % 300, i);
    if (i % 20'000 == 19'999) {
      ASSERT_GT(population.check(), 2000U);
    }
  }
  EXPECT_EQ(engine.counts().evictions, 0U);
}

TEST(Tags, SurviveTheExpiryOfTheirNeighbours) {
  Engine engine;
  Population population(engine);
  // All of one class, so that they lie in the same segments.
  for (uint64_t i = 0; i < 6000; ++i)
    population.write(i, i % 200, i, Expiry::when(kStart + (i % 2 == 0 ? 9000 : 16'000)));
  engine.now = kStart + 12'000;
  const Engine::Expired expired = engine.expire_all();
  EXPECT_EQ(expired.items, 3000U);
  EXPECT_EQ(engine.counts().items, 3000);
  EXPECT_EQ(population.check(), 3000U);
}

TEST(Tags, OfLargeValuesSurviveTheirMoves) {
  Engine engine(8 * kMegabyte);
  Population population(engine);
  std::mt19937_64 random(9);
  for (uint64_t i = 0; i < 6000; ++i) {
    population.write(random() % 300, random() % 20 == 0 ? 15'000 + random() % 50'000 : random() % 2000, i);
    static_cast<void>(engine.get(numbered("key", random() % 300)));
    if (i % 1000 == 999) {
      ASSERT_GT(population.check(), 100U);
    }
  }
}

class EndedTag : public ::testing::Test {
 protected:
  void SetUp() override {
    // Of the keys, none may lie in the tag's slot.
    keys = engine.keys_in(tag, 300, false);
    for (size_t i = 0; i < keys.size(); ++i) {
      Slots tags = some_slots(engine, i % 7, i);
      std::erase(tags, tag);
      if (i % 3 == 0) tags.insert(tags.begin() + static_cast<ptrdiff_t>(i % (tags.size() + 1)), tag);
      ASSERT_EQ(engine.set(keys[i], value(i), {.tags = tags}), Status::ok);
    }
  }
  static std::string value(size_t number) { return pattern(number % 30 == 0 ? 40'000 : number); }
  static bool has_tag(size_t number) { return number % 3 == 0; }

  Engine engine{8 * kMegabyte};
  SlotNumber tag = engine.tag_slot("tag");
  std::vector<std::string> keys;
};

TEST_F(EndedTag, EndsItsEntriesForEveryCall) {
  engine.end_all(tag);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!has_tag(i)) {
      ASSERT_TRUE(engine.get(keys[i]) == value(i)) << i;
      continue;
    }
    ASSERT_EQ(engine.get(keys[i]), std::nullopt) << i;
    std::string taken;
    ASSERT_EQ(engine.take(keys[i], taken).status, Status::not_found);
    ASSERT_EQ(engine.touch(keys[i], Expiry::never()), Status::not_found);
    ASSERT_EQ(engine.set(keys[i], "x", {.mode = WriteMode::if_present}), Status::refused);
  }
  const auto met = engine.scan();
  EXPECT_EQ(met.size(), 200U);
  for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(met.count(keys[i]), has_tag(i) ? 0U : 1U);
  EXPECT_EQ(engine.remove(keys[0]), Status::not_found);
  EXPECT_EQ(engine.set(keys[3], "new", {.mode = WriteMode::if_absent}), Status::ok);
  EXPECT_EQ(engine.get(keys[3]), "new");
  EXPECT_EQ(engine.increment(keys[6], 5).value, 5);
}

TEST_F(EndedTag, AnyOfManyEnds) {
  const SlotNumber others = (tag + 1) % engine.cache.slot_count();
  for (size_t at = 0; at < kMaxTags; ++at) {
    Slots tags = some_slots(engine, kMaxTags + 2, at);
    std::erase(tags, tag);
    std::erase(tags, others);
    tags.resize(kMaxTags);
    tags[at] = tag;
    const std::string key = engine.keys_in(tag, 1, false).front();
    ASSERT_EQ(engine.set(key, "value", {.tags = tags}), Status::ok);
    engine.end_all(others);
    ASSERT_EQ(engine.has(key), engine.key_slot(key) != others);
    ASSERT_EQ(engine.set(key, "value", {.tags = tags}), Status::ok);
    engine.end_all(tag);
    ASSERT_FALSE(engine.has(key)) << at;
  }
}

TEST_F(EndedTag, TakesNothingThatCameLater) {
  engine.end_all(tag);
  ASSERT_EQ(engine.set("later", "value", {.tags = Slots{tag}}), Status::ok);
  EXPECT_EQ(engine.get("later"), "value");
  engine.sweep(engine.database);
  EXPECT_EQ(engine.get("later"), "value");
}

TEST_F(EndedTag, IsNoMoreAnEntrysOnceThatWasWrittenWithoutIt) {
  ASSERT_EQ(engine.set(keys[3], value(3)), Status::ok);  // moved: no tags
  ASSERT_EQ(engine.set(keys[7], value(7)), Status::ok);  // had none
  ASSERT_EQ(engine.set("other", "12345", {.tags = Slots{tag}}), Status::ok);
  const Slots another{(tag + 1) % engine.cache.slot_count()};
  ASSERT_EQ(engine.set("other", "54321", {.tags = another}), Status::ok);  // in place
  engine.end_all(tag);
  EXPECT_TRUE(engine.get(keys[3]) == value(3));
  EXPECT_TRUE(engine.get(keys[7]) == value(7));
  EXPECT_EQ(engine.get("other"), "54321");
}

TEST_F(EndedTag, IsSweptAndCounted) {
  const int64_t bytes_before = engine.counts().bytes;
  int64_t bytes_of_ended = 0;
  for (size_t i = 0; i < keys.size(); i += 3)
    bytes_of_ended += static_cast<int64_t>(engine.peek(keys[i]).entry.size_bytes);
  engine.end_all(tag);
  EXPECT_EQ(engine.counts().items, 300) << "they take their memory until somebody passes by";
  EXPECT_EQ(engine.sweep(engine.database), 0U) << "counted are those that the sweep's own floor has ended";
  EXPECT_EQ(engine.counts().items, 200);
  EXPECT_EQ(engine.counts().bytes, bytes_before - bytes_of_ended);
  EXPECT_EQ(engine.counts().evictions, 0U);
  EXPECT_EQ(engine.counts().expirations, 0U);
  EXPECT_EQ(engine.sweep(engine.database), 0U);
}

TEST_F(EndedTag, GivesItsMemoryBeforeAnythingLiveIsEvicted) {
  Engine full;
  const SlotNumber its_tag = full.tag_slot("tag");
  const std::vector<std::string> names = full.keys_in(its_tag, 12'000, false);
  for (size_t i = 0; i < 6000; ++i) ASSERT_EQ(full.set(names[i], pattern(300), {.tags = Slots{its_tag}}), Status::ok);
  // Used, so that they would stay.
  for (size_t i = 0; i < 6000; ++i) ASSERT_TRUE(full.get(names[i]));
  full.end_all(its_tag);
  for (size_t i = 6000; i < 12'000; ++i) ASSERT_EQ(full.set(names[i], pattern(300)), Status::ok);
  EXPECT_EQ(full.counts().evictions, 0U) << "what is no more is not evicted";
  for (size_t i = 6000; i < 12'000; ++i) ASSERT_TRUE(full.has(names[i]));
  EXPECT_LT(full.counts().items, 12'000);
}

TEST_F(EndedTag, GoesWithASegmentThatExpiryRewrites) {
  Engine one;
  const SlotNumber its_tag = one.tag_slot("tag");
  const std::vector<std::string> names = one.keys_in(its_tag, 300, false);
  for (size_t i = 0; i < names.size(); ++i) {
    const Slots tags = i % 3 == 0 ? Slots{its_tag} : Slots{};
    ASSERT_EQ(one.set(names[i], "value", {.expiry = Expiry::when(kStart + (i % 3 == 1 ? 9000 : 16'000)), .tags = tags}),
              Status::ok);
  }
  one.end_all(its_tag);
  one.now = kStart + 12'000;
  EXPECT_EQ(one.expire_all().items, 200U);
  EXPECT_EQ(one.counts().expirations, 100U) << "the others had ended before";
  EXPECT_EQ(one.counts().evictions, 0U);
  EXPECT_EQ(one.counts().items, 100);
  for (size_t i = 0; i < names.size(); ++i) EXPECT_EQ(one.has(names[i]), i % 3 == 2);
}

// What is counted for a tag is one number, however many have it.
TEST(Tags, EndAtOneCostHoweverManyHaveThem) {
  for (const uint64_t entries : {uint64_t{0}, uint64_t{10}, uint64_t{50'000}}) {
    Engine engine(32 * kMegabyte);
    const Slots tags{engine.tag_slot("tag")};
    for (uint64_t i = 0; i < entries; ++i)
      ASSERT_EQ(engine.set(numbered("key", i), "value", {.tags = tags}), Status::ok);
    work_meter = {};
    const Version before = engine.cache.sequence();
    engine.end_all(tags.front());
    EXPECT_EQ(work_meter.holds, 1U);
    EXPECT_EQ(work_meter.most_items, 0U);
    EXPECT_EQ(work_meter.most_bytes, 0U);
    EXPECT_EQ(engine.cache.sequence(), before + 1);
    for (uint64_t i = 0; i < entries; i += 97) ASSERT_FALSE(engine.has(numbered("key", i)));
  }
}

TEST(KeepTags, AnEntryKeepsItsOwn) {
  Engine engine(8 * kMegabyte);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{7}, size_t{kMaxTags}}) {
    const Slots own = some_slots(engine, count, 1);
    const Slots others = some_slots(engine, 5, 2);
    ASSERT_EQ(engine.set("key", pattern(100), {.tags = own}), Status::ok);
    // In place, moved, large, and small again.
    for (const size_t size : {size_t{100}, size_t{101}, size_t{60'000}, size_t{60'000}, size_t{3}, size_t{0}}) {
      ASSERT_EQ(engine.set("key", pattern(size, size), {.tags = others, .keep_tags = true}), Status::ok);
      expect_entry(engine, "key", pattern(size, size), own);
    }
    ASSERT_EQ(engine.set("key", "value", {.tags = others}), Status::ok);
    expect_entry(engine, "key", "value", others);
  }
}

TEST(KeepTags, ANewEntryGetsTheGivenOnes) {
  Engine engine;
  const Slots own = some_slots(engine, 3, 1);
  Slots given = some_slots(engine, 4, 2);
  std::erase(given, own.front());
  ASSERT_EQ(engine.set("key", "value", {.tags = given, .keep_tags = true}), Status::ok);
  expect_entry(engine, "key", "value", given);

  ASSERT_EQ(engine.set("key", "value", {.expiry = Expiry::when(kStart + 10), .tags = own}), Status::ok);
  engine.now = kStart + 10;
  ASSERT_EQ(engine.set("key", "value", {.tags = given, .keep_tags = true}), Status::ok);
  expect_entry(engine, "key", "value", given);

  ASSERT_EQ(engine.set("key", "value", {.tags = own}), Status::ok);
  engine.end_all(own.front());
  ASSERT_EQ(engine.set("key", "value", {.tags = given, .keep_tags = true}), Status::ok) << "the old one is no more";
  expect_entry(engine, "key", "value", given);
}

TEST(KeepTags, KeptOnesEndIt) {
  Engine engine;
  const Slots own{engine.tag_slot("tag")};
  for (const size_t size : {size_t{5}, size_t{6}, size_t{50'000}}) {
    const std::string key = engine.keys_in(own.front(), 1, false).front();
    ASSERT_EQ(engine.set(key, "value", {.tags = own}), Status::ok);
    ASSERT_EQ(engine.set(key, pattern(size), {.keep_tags = true}), Status::ok);
    engine.end_all(own.front());
    EXPECT_FALSE(engine.has(key));
  }
}

TEST(KeepTags, WhenRoomMustBeMadeFirst) {
  Engine engine;
  const Slots own = some_slots(engine, 20, 1);
  std::mt19937_64 random(11);
  for (uint64_t i = 0; i < 30'000; ++i) {
    ASSERT_EQ(engine.set(numbered("other", i), pattern(random() % 700)), Status::ok);
    const std::string value = pattern(random() % 300, i);
    const bool there = engine.has("key");
    const uint64_t evictions = engine.counts().evictions;
    ASSERT_EQ(engine.set("key", value, {.tags = own, .keep_tags = there}), Status::ok);
    if (engine.counts().evictions == evictions || !there) {
      expect_entry(engine, "key", value, own);
    }
  }
}

TEST(Tags, OfCountersStayWithThem) {
  Engine engine;
  const Slots tags{engine.tag_slot("tag")};
  const std::string key = engine.keys_in(tags.front(), 1, false).front();
  const int64_t start = 40;
  const std::string_view bytes(reinterpret_cast<const char*>(&start), sizeof start);
  ASSERT_EQ(engine.set(key, bytes, {.kind = Kind::counter, .tags = tags}), Status::ok);
  ASSERT_EQ(engine.increment(key, 2).value, 42);
  EXPECT_EQ(engine.tags_of(key), tags);
  engine.end_all(tags.front());
  EXPECT_EQ(engine.increment(key, 1, Expiry::never(), false).status, Status::not_found);
  EXPECT_EQ(engine.increment(key, 1).value, 1) << "it starts again";
  EXPECT_EQ(engine.tags_of(key), Slots{}) << "as a counter that has none";
}

// A tag stands for its slot, which others share; never does one miss its own.
TEST(Tags, FindTheirSlotsByName) {
  Engine engine(64 * kMegabyte);
  std::set<SlotNumber> slots;
  for (int i = 0; i < 1000; ++i) {
    const SlotNumber slot = engine.tag_slot(numbered("tag", i));
    ASSERT_LT(slot, engine.cache.slot_count());
    ASSERT_EQ(slot, engine.tag_slot(numbered("tag", i)));
    slots.insert(slot);
  }
  EXPECT_GT(slots.size(), 900U) << "they spread";
}

TEST(Tags, AreNoKeys) {
  Engine engine(64 * kMegabyte);
  int same = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = numbered("name", i);
    EXPECT_NE(engine.cache.tag(engine.database, name), engine.key(name).hash);
    same += engine.tag_slot(name) == engine.key_slot(name) ? 1 : 0;
  }
  EXPECT_LT(same, 10);
}

TEST(Tags, DependOnOidAndSecretNotOnTheDatabasesNumber) {
  Engine engine;
  const uint16_t two = *engine.cache.register_database(2);
  const uint16_t three = *engine.cache.register_database(3);
  const uint64_t of_two = engine.cache.tag(two, "tag");
  EXPECT_NE(of_two, engine.cache.tag(three, "tag"));
  EXPECT_NE(of_two, engine.cache.tag(engine.database, "tag"));
  engine.cache.forget_database(two);
  engine.cache.forget_database(three);
  // The first free number goes to the first who comes.
  const uint16_t three_again = *engine.cache.register_database(3);
  const uint16_t two_again = *engine.cache.register_database(2);
  ASSERT_NE(two_again, two);
  EXPECT_EQ(engine.cache.tag(two_again, "tag"), of_two);
  EXPECT_NE(engine.cache.tag(three_again, "tag"), of_two);

  const Memory memory(kMinMemory);
  for (const uint64_t secret : {engine.cache.secret(), engine.cache.secret() + 1}) {
    Cache other = Cache::format(memory.span(), engine.environment(), secret, 0);
    const uint16_t its_two = *other.register_database(2);
    EXPECT_EQ(other.tag(its_two, "tag") == of_two, secret == engine.cache.secret());
  }
}

// The hash does not know tags and keys apart by itself: seeds of numbers and oids must not meet.
TEST(Tags, OidsThatLookLikeNumbersAreStillTags) {
  Engine engine;
  for (uint32_t oid = 1; oid < 50; ++oid) {
    const uint16_t number = *engine.cache.register_database(oid);
    for (uint16_t database = 0; database <= number; ++database)
      ASSERT_NE(engine.cache.tag(number, "name"), engine.cache.key(database, "name").hash);
  }
}

}  // namespace
}  // namespace pgcache::engine::test

// Invalidation beside reads and writes: what was computed before is never read after, and nothing that was announced
// goes unseen.
#include <algorithm>
#include <array>
#include <atomic>

#include "harness.hpp"
#include "threads.hpp"

namespace pgcache::engine::test {
namespace {

using Slots = std::vector<uint32_t>;

constexpr uint64_t kRows = 16;

// A process that keeps the values of some rows in the cache.
struct Reader {
  Cache cache;
  Milliseconds now;
  const std::atomic<uint64_t>& truth;
  Slots tags;
  // Of this turn.
  Key key;
  ReadResult read;
  uint64_t value;

  Status write(uint64_t new_value, const WriteOptions& options) {
    return cache.write(key, request(std::as_bytes(std::span(&new_value, 1)), options), now).status;
  }
  // The value computed now, stored if nothing was invalidated since the miss.
  void fill_after_miss(Kind kind = Kind::text) {
    static_cast<void>(write(truth.load(), {.kind = kind, .if_version = read.entry.version, .tags = tags}));
  }
  // The same, where the caller has noted itself what it knew before it computed.
  void fill_with_known_stamps() {
    KnownStamps known;
    known.key = known.database = cache.sequence();
    std::fill_n(known.tags, tags.size(), known.key);
    static_cast<void>(write(truth.load(), {.tags = tags, .known = &known}));
  }
};

// The truth changes, and then what was computed from it is invalidated; `use` stores and changes entries. Nobody may
// read afterwards what is older than the last invalidation.
template <typename Invalidate, typename Use>
void expect_nothing_stale(Engine& engine, const Slots& tags, uint64_t rounds, Invalidate invalidate, Use use) {
  std::vector<std::string> names;
  // The slots of the keys must not be those of the tags, or else the keys' own invalidations would do.
  for (uint64_t i = 0; names.size() < kRows; ++i)
    if (std::string name = numbered("row", i); std::find(tags.begin(), tags.end(), engine.key_slot(name)) == tags.end())
      names.push_back(std::move(name));
  std::atomic<uint64_t> truth = 1;
  std::atomic<uint64_t> invalidated = 0;
  std::atomic<uint64_t> looks = 0;
  std::atomic<uint64_t> hits = 0;
  std::atomic<uint64_t> stale = 0;
  std::atomic<bool> over = false;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    if (thread == 0) {
      for (uint64_t round = 2; round <= rounds; ++round) {
        truth.store(round);
        invalidate(cache, names, round);
        invalidated.store(round);
        if (round % 64 != 0) continue;
        // Time for looks at what the others left.
        const uint64_t enough = looks.load() + 3 * kRows;
        while (looks.load() < enough) std::this_thread::yield();
      }
      over = true;
      return;
    }
    Reader reader{cache, engine.now, truth, tags, {}, {}, 0};
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    for (; !over; ++looks) {
      reader.key = cache.key(engine.database, names[random() % kRows]);
      const uint64_t least = invalidated.load();
      reader.read = cache.read(reader.key, engine.now, kAnyKind, std::as_writable_bytes(std::span(&reader.value, 1)));
      if (reader.read.status == Status::ok) {
        ++hits;
        stale += reader.value < least ? 1 : 0;
      }
      use(reader, random);
    }
  });
  EXPECT_EQ(stale.load(), 0U);
  EXPECT_GT(hits.load(), 0U) << "who never hits proves nothing";
  EXPECT_EQ(engine.violation(), nullptr) << engine.violation();
}

class StaleFill : public ::testing::Test {
 protected:
  // One in the shard of the keys and one elsewhere.
  Engine engine{8 * kMegabyte};
  const Slots tags{3, engine.cache.slot_count() - 3, 7};
  static constexpr uint64_t kRounds = 30'000;

  auto ending_a_tag() {
    return [this](Cache& cache, const auto&, uint64_t round) {
      cache.invalidate({.slot = tags[round % tags.size()], .done = round, .ends_entries = true});
    };
  }
  auto ending_the_database() {
    return [this](Cache& cache, const auto&, uint64_t round) { cache.invalidate_database(engine.database, round); };
  }
  auto deleting_the_keys(bool ends_neighbours) {
    return [this, ends_neighbours](Cache& cache, const std::vector<std::string>& names, uint64_t round) {
      for (const std::string& name : names) {
        const uint64_t key = cache.key(engine.database, name).hash;
        cache.invalidate({.slot = cache.slot_number(key),
                          .done = round,
                          .ends_entries = ends_neighbours,
                          .keys = std::span(&key, ends_neighbours ? 0 : 1)});
      }
    };
  }
  static void fill_after_miss(Reader& reader, std::mt19937_64&) {
    if (reader.read.status != Status::ok) reader.fill_after_miss();
  }
  static void fill_with_known_stamps(Reader& reader, std::mt19937_64& random) {
    if (reader.read.status != Status::ok || random() % 4 == 0) reader.fill_with_known_stamps();
  }
  // Counters are filled like other values and counted up by nothing: with their number they must not outlive a count.
  static void count_nothing(Reader& reader, std::mt19937_64&) {
    if (reader.read.status != Status::ok) return reader.fill_after_miss(Kind::counter);
    static_cast<void>(reader.cache.increment(reader.key, 0, Expiry::never(), false, reader.now));
  }
  // The same value under a new number, as one who changes a part of it would.
  static void rewrite_and_keep_tags(Reader& reader, std::mt19937_64&) {
    if (reader.read.status != Status::ok) return reader.fill_after_miss();
    static_cast<void>(reader.write(
        reader.value, {.mode = WriteMode::if_present, .if_version = reader.read.entry.version, .keep_tags = true}));
  }
};

TEST_F(StaleFill, NoneOfATagAfterAMiss) {
  expect_nothing_stale(engine, tags, kRounds, ending_a_tag(), fill_after_miss);
}

TEST_F(StaleFill, NoneOfATagWithKnownStamps) {
  expect_nothing_stale(engine, tags, kRounds, ending_a_tag(), fill_with_known_stamps);
}

TEST_F(StaleFill, NoneOfADatabaseWithKnownStamps) {
  expect_nothing_stale(engine, tags, kRounds, ending_the_database(), fill_with_known_stamps);
}

TEST_F(StaleFill, NoneOfADeletedKeyAfterAMiss) {
  expect_nothing_stale(engine, tags, kRounds / 10, deleting_the_keys(false), fill_after_miss);
}

TEST_F(StaleFill, NoneOfADeletedKeyWithKnownStamps) {
  expect_nothing_stale(engine, tags, kRounds / 10, deleting_the_keys(false), fill_with_known_stamps);
}

TEST_F(StaleFill, NoneOfAnEndedSlotOfKeys) {
  expect_nothing_stale(engine, tags, kRounds / 10, deleting_the_keys(true), fill_with_known_stamps);
}

TEST_F(StaleFill, NoCounterOutlivesItsTag) {
  expect_nothing_stale(engine, tags, kRounds, ending_a_tag(), count_nothing);
}

TEST_F(StaleFill, NoCounterOutlivesItsDatabase) {
  expect_nothing_stale(engine, {}, kRounds, ending_the_database(), count_nothing);
}

TEST_F(StaleFill, NoEntryOutlivesTheTagsThatItKeeps) {
  expect_nothing_stale(engine, tags, kRounds, ending_a_tag(), rewrite_and_keep_tags);
}

TEST_F(StaleFill, NoEntryOutlivesItsDatabaseWithTheTagsThatItKeeps) {
  expect_nothing_stale(engine, tags, kRounds, ending_the_database(), rewrite_and_keep_tags);
}

// The same without waiting for somebody to read it: whatever is stored at all says by its numbers whether it may be.
// Something that was known at one number and is stored under another must not have a count between the two.
struct Kept {
  Version known_at;
  Version stored_at;
};

// `store` is given a key of its own for each thread.
template <typename Store>
void expect_no_count_between(Engine& engine, SlotNumber slot, const Slots& tags, Store store) {
  constexpr int kCounts = 60'000;
  std::vector<std::string> names;
  for (uint64_t i = 0; names.size() < kThreads; ++i)
    if (std::string name = numbered("key", i); std::find(tags.begin(), tags.end(), engine.key_slot(name)) == tags.end())
      names.push_back(std::move(name));
  std::vector<Version> counted;
  std::array<std::vector<Kept>, kThreads> kept;
  std::atomic<bool> over = false;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    if (thread == 0) {
      for (int i = 0; i < kCounts; ++i) {
        counted.push_back(cache.invalidate({.slot = slot, .done = 1, .ends_entries = true}).number);
        // As long as the others need for a write, more or less.
        for (uint64_t wait = random() % 64; wait > 0; --wait) static_cast<void>(cache.slot_state(slot));
      }
      over = true;
      return;
    }
    const Key key = cache.key(engine.database, names[static_cast<size_t>(thread)]);
    while (!over)
      if (const std::optional<Kept> its = store(cache, key)) kept[static_cast<size_t>(thread)].push_back(*its);
  });
  size_t stored = 0;
  for (const auto& some : kept) {
    stored += some.size();
    for (const Kept& one : some) {
      const auto next = std::upper_bound(counted.begin(), counted.end(), one.known_at);
      ASSERT_TRUE(next == counted.end() || *next > one.stored_at)
          << "known at " << one.known_at << ", ended at " << *next << ", stored at " << one.stored_at;
    }
  }
  EXPECT_GT(stored, 100U) << "who never stores proves nothing";
}

class Numbers : public ::testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] SlotNumber slot() const {
    return std::string_view(GetParam()) == "Tag" ? tags.back() : engine.database_slot();
  }
  std::optional<Kept> if_stored(Version known_at, const WriteResult& written) const {
    if (written.status != Status::ok) return std::nullopt;
    return Kept{known_at, written.version};
  }

  Engine engine{8 * kMegabyte};
  const Slots tags{engine.cache.slot_count() - 3, 3, 7};
};

INSTANTIATE_TEST_SUITE_P(Threads, Numbers, ::testing::Values("Tag", "Database"),
                         [](const auto& name) { return std::string(name.param); });

TEST_P(Numbers, OfFillsWithKnownStamps) {
  expect_no_count_between(engine, slot(), tags, [&](Cache& cache, const Key& key) {
    KnownStamps known;
    known.key = known.database = cache.sequence();
    std::fill_n(known.tags, tags.size(), known.key);
    return if_stored(known.key,
                     cache.write(key, request(as_bytes("value"), {.tags = tags, .known = &known}), engine.now));
  });
}

TEST_P(Numbers, OfFillsAfterAMiss) {
  expect_no_count_between(engine, slot(), tags, [&](Cache& cache, const Key& key) {
    static_cast<void>(cache.remove(key, engine.now, std::nullopt));
    const Version miss = cache.peek(key, engine.now).entry.version;
    return if_stored(miss,
                     cache.write(key, request(as_bytes("value"), {.if_version = miss, .tags = tags}), engine.now));
  });
}

TEST_P(Numbers, OfEntriesThatKeepTheirTags) {
  expect_no_count_between(engine, slot(), tags, [&](Cache& cache, const Key& key) -> std::optional<Kept> {
    const ReadResult there = cache.peek(key, engine.now);
    if (there.status != Status::ok) {
      static_cast<void>(cache.write(key, request(as_bytes("value"), {.tags = tags}), engine.now));
      return std::nullopt;
    }
    return if_stored(
        there.entry.version,
        cache.write(key, request(as_bytes("value"), {.mode = WriteMode::if_present, .keep_tags = true}), engine.now));
  });
}

TEST_P(Numbers, OfCounters) {
  expect_no_count_between(engine, slot(), tags, [&](Cache& cache, const Key& key) -> std::optional<Kept> {
    const ReadResult there = cache.peek(key, engine.now);
    if (there.status != Status::ok) {
      static_cast<void>(
          cache.write(key, request(as_bytes("12345678"), {.kind = Kind::counter, .tags = tags}), engine.now));
      return std::nullopt;
    }
    if (cache.increment(key, 1, Expiry::never(), false, engine.now).status != Status::ok) return std::nullopt;
    const ReadResult after = cache.peek(key, engine.now);
    if (after.status != Status::ok) return std::nullopt;
    return Kept{there.entry.version, after.entry.version};
  });
}

// One commits again and again; the others must find each commit among the pending or among the counted, at any time.
class Commits : public ::testing::TestWithParam<int> {};

TEST_P(Commits, AreNeverOutOfSight) {
  Engine engine;
  const SlotNumber slot = 5;
  // With the places taken it is one of those that are only counted.
  const auto others = static_cast<Transaction>(GetParam());
  for (Transaction other = 1; other <= others; ++other) ASSERT_TRUE(engine.cache.announce(slot, other));
  const bool listed = others < kListedTransactions;
  constexpr Transaction kCommits = 150'000;
  const Version first = engine.cache.sequence();
  std::atomic<Transaction> committed = 0;
  std::atomic<uint64_t> unseen = 0;
  std::atomic<uint64_t> sank = 0;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    if (thread == 0) {
      for (Transaction i = 1; i <= kCommits; ++i) {
        const Transaction transaction = 1000 + i;
        if (cache.announce(slot, transaction) != listed) ++unseen;
        committed.store(i);
        cache.invalidate(
            {.slot = slot, .done = transaction + 1, .ends_entries = true, .leaves = transaction, .was_listed = listed});
      }
      return;
    }
    SlotState last{};
    for (Transaction i = 0; i < kCommits;) {
      i = committed.load();
      if (i == 0) continue;
      const Transaction transaction = 1000 + i;
      const SlotState state = cache.slot_state(slot);
      const bool pending = listed ? state.pending[0] == transaction || state.pending[1] == transaction : state.unlisted;
      const bool counted = state.done > transaction && state.stamp >= first + i && state.floor >= first + i;
      if (!pending && !counted) ++unseen;
      if (state.done < last.done || state.stamp < last.stamp || state.floor < last.floor) ++sank;
      last = state;
    }
  });
  EXPECT_EQ(unseen.load(), 0U);
  EXPECT_EQ(sank.load(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Threads, Commits, ::testing::Values(0, 1, 2),
                         [](const auto& others) { return "Beside" + std::to_string(others.param); });

TEST(Threads, PlacesAreTakenAndLeft) {
  Engine engine;
  const SlotNumber slots[] = {0, 1, engine.database_slot()};
  std::atomic<Transaction> next = 1;
  std::atomic<uint64_t> bad = 0;
  std::array<std::atomic<Transaction>, std::size(slots)> most_done{};
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    struct Announced {
      size_t slot;
      Transaction transaction;
      bool listed;
    };
    std::vector<Announced> mine;
    std::array<SlotState, std::size(slots)> last{};
    for (int i = 0; i < 40'000; ++i) {
      if (mine.size() < 3 && random() % 2 == 0) {
        const size_t which = random() % std::size(slots);
        Transaction transaction = next.fetch_add(1);
        // One that is prepared stays where it finds no place, so only some are.
        if (random() % 16 == 0) transaction |= kPrepared;
        const bool listed = cache.announce(slots[which], transaction);
        mine.push_back({which, transaction, listed});
        const SlotState state = cache.slot_state(slots[which]);
        const bool is_listed = state.pending[0] == transaction || state.pending[1] == transaction;
        const bool is_prepared = (transaction & kPrepared) != 0;
        if (is_listed != listed) ++bad;
        if (!listed && !is_prepared && !state.unlisted) ++bad;
        if (!listed && is_prepared && state.blocked < (transaction & ~kPrepared)) ++bad;
      } else if (!mine.empty()) {
        const size_t at = random() % mine.size();
        const Announced its = mine[at];
        mine.erase(mine.begin() + static_cast<ptrdiff_t>(at));
        if (random() % 2 == 0) {
          const Transaction done = next.load();
          const Counted counted = cache.invalidate({.slot = slots[its.slot],
                                                    .done = done,
                                                    .ends_entries = random() % 2 == 0,
                                                    .leaves = its.transaction,
                                                    .was_listed = its.listed});
          if (counted.found >= counted.number) ++bad;
          Transaction most = most_done[its.slot].load();
          while (most < done && !most_done[its.slot].compare_exchange_weak(most, done)) {
          }
        } else {
          cache.withdraw(slots[its.slot], its.transaction, its.listed);
        }
        const SlotState state = cache.slot_state(slots[its.slot]);
        if (state.pending[0] == its.transaction || state.pending[1] == its.transaction) ++bad;
        SlotState& before = last[its.slot];
        if (state.stamp < before.stamp || state.floor < before.floor || state.done < before.done ||
            state.blocked < before.blocked)
          ++bad;
        before = state;
      }
    }
    for (const Announced& its : mine) cache.withdraw(slots[its.slot], its.transaction, its.listed);
  });
  EXPECT_EQ(bad.load(), 0U);
  for (size_t which = 0; which < std::size(slots); ++which) {
    EXPECT_FALSE(engine.slot(slots[which]).is_pending());
    EXPECT_FALSE(engine.slot(slots[which]).counting);
    EXPECT_EQ(engine.slot(slots[which]).done, most_done[which].load());
  }
}

// Two counts at once: neither number may be lost, nor given twice.
TEST(Threads, CountsMeetingEachOther) {
  Engine engine;
  constexpr uint64_t kCounts = 30'000;
  std::array<std::vector<Counted>, kThreads> counted;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    auto& mine = counted[static_cast<size_t>(thread)];
    for (uint64_t i = 0; i < kCounts; ++i) mine.push_back(cache.invalidate({.slot = 9, .done = i}));
  });
  std::vector<Counted> all;
  for (const auto& some : counted) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end(), [](const Counted& a, const Counted& b) { return a.number < b.number; });
  for (size_t i = 1; i < all.size(); ++i) ASSERT_EQ(all[i].found, all[i - 1].number) << "each found the one before";
  EXPECT_EQ(engine.slot(9).stamp, all.back().number);
}

// Who reads the sequence and then latest_done has it above that of all that was counted until then.
TEST(Threads, LatestDoneComesBeforeTheNumber) {
  Engine engine;
  constexpr int kCounts = 30'000;
  struct Sample {
    Version number;
    Transaction done;
  };
  std::array<std::vector<Sample>, kThreads> samples;
  std::atomic<Transaction> next = 1;
  std::atomic<int> counting = 2;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    auto& mine = samples[static_cast<size_t>(thread)];
    if (thread < 2) {
      for (int i = 0; i < kCounts; ++i) {
        const Transaction done = next.fetch_add(1);
        mine.push_back({cache.invalidate({.slot = static_cast<SlotNumber>(thread), .done = done}).number, done});
      }
      --counting;
    } else {
      while (counting > 0) {
        const Version sequence = cache.sequence();
        const Sample sample{sequence, cache.latest_done()};
        if (mine.empty() || mine.back().number != sequence) mine.push_back(sample);
      }
    }
  });
  std::vector<Sample> counted = samples[0];
  counted.insert(counted.end(), samples[1].begin(), samples[1].end());
  std::sort(counted.begin(), counted.end(), [](const Sample& a, const Sample& b) { return a.number < b.number; });
  for (size_t i = 1; i < counted.size(); ++i) counted[i].done = std::max(counted[i].done, counted[i - 1].done);
  for (const auto& seen : {samples[2], samples[3]})
    for (const Sample& sample : seen) {
      const auto above = std::upper_bound(counted.begin(), counted.end(), sample.number,
                                          [](Version number, const Sample& one) { return number < one.number; });
      if (above == counted.begin()) continue;
      ASSERT_GE(sample.done, std::prev(above)->done);
    }
}

// Everything at once on tagged entries: each value is whole and with its own tags, and the accounts are right at the
// end.
void hammer_tags(Engine& engine, int rounds, uint64_t keys, size_t most_words) {
  std::atomic<uint64_t> bad = 0;
  std::atomic<uint64_t> busy = 0;
  const auto tags_of = [&](uint64_t number, uint64_t seed) {
    Slots tags;
    for (uint64_t i = 0; i < mixed(seed) % 6; ++i)
      tags.push_back(static_cast<uint32_t>((number * 7 + i * 5 + seed % 3) % 64));
    return tags;
  };
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    std::mt19937_64 random(static_cast<uint64_t>(thread) + 7);
    std::vector<uint64_t> buffer(most_words);
    ExpiryCursor expiry;
    for (int i = 0; i < rounds; ++i) {
      const uint64_t number = random() % keys;
      const std::string name = numbered("key", number);
      const Key key = cache.key(engine.database, name);
      const uint64_t dice = random() % 100;
      if (dice < 40) {
        Evidence evidence;
        const ReadResult read =
            cache.read(key, engine.now, kAnyKind, std::as_writable_bytes(std::span(buffer)), &evidence);
        if (read.status != Status::ok) continue;
        const size_t words = read.entry.value_bytes / 8;
        if (words < 2 || buffer[0] != number) {
          ++bad;
          continue;
        }
        for (size_t word = 2; word < words; ++word) bad += buffer[word] == buffer[1] + word ? 0 : 1;
        const auto its = evidence.tags.span();
        if (Slots(its.begin(), its.end()) != tags_of(number, buffer[1])) ++bad;
      } else if (dice < 80) {
        const uint64_t seed = random();
        std::vector<uint64_t> value(2 + random() % (most_words - 1));
        value[0] = number;
        for (size_t word = 2; word < value.size(); ++word) value[word] = seed + word;
        value[1] = seed;
        const Slots tags = tags_of(number, seed);
        const Status status =
            cache.write(key, request(std::as_bytes(std::span(value)), {.tags = tags}), engine.now).status;
        busy += status == Status::busy ? 1 : 0;
        bad += status == Status::ok || status == Status::busy ? 0 : 1;
      } else if (dice < 85) {
        const SlotNumber slot = cache.slot_number(key.hash);
        cache.invalidate({.slot = slot, .done = 1, .keys = std::span(&key.hash, 1)});
      } else if (dice < 88) {
        cache.invalidate({.slot = static_cast<SlotNumber>(random() % 64), .done = 1, .ends_entries = true});
      } else if (dice < 93) {
        // The same value under another number.
        const ReadResult read = cache.read(key, engine.now, kAnyKind, std::as_writable_bytes(std::span(buffer)));
        if (read.status != Status::ok) continue;
        const Bytes same = std::as_bytes(std::span(buffer)).first(read.entry.value_bytes);
        static_cast<void>(
            cache.write(key, request(same, {.if_version = read.entry.version, .keep_tags = true}), engine.now));
      } else if (dice < 96) {
        static_cast<void>(cache.take(key, engine.now, kAnyKind, std::as_writable_bytes(std::span(buffer))));
      } else if (dice < 98) {
        ScanCursor cursor{static_cast<uint32_t>(random() % cache.geometry().shards), 0};
        uint64_t dropped = 0;
        static_cast<void>(cache.sweep_database(cursor, engine.database, engine.now, dropped));
      } else {
        cache.expire(expiry, engine.now);
      }
    }
  });
  EXPECT_EQ(bad.load(), 0U);
  EXPECT_LT(busy.load(), static_cast<uint64_t>(rounds) / 10);
  EXPECT_EQ(engine.violation(), nullptr) << engine.violation();
}

TEST(Threads, TaggedEntriesOnFewKeys) {
  Engine engine;
  hammer_tags(engine, 30'000, 8, 5);
}

TEST(Threads, TaggedEntriesInAFullCache) {
  Engine engine(8 * kMegabyte);
  hammer_tags(engine, 30'000, 30'000, 300);
  EXPECT_GT(engine.counts().evictions, 0U);
}

TEST(Threads, LargeTaggedEntries) {
  Engine engine(16 * kMegabyte);
  hammer_tags(engine, 1500, 6, 8000);
}

TEST(Threads, TaggedEntriesOfCollidingKeys) {
  Engine engine(kMinMemory, one_bucket_hash);
  hammer_tags(engine, 10'000, 400, 50);
}

}  // namespace
}  // namespace pgcache::engine::test

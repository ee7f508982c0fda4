// Many threads on few keys: no lost update, no torn or foreign value, one winner where there may be one.
#include <atomic>
#include <set>

#include "harness.hpp"
#include "threads.hpp"

namespace pgcache::engine::test {
namespace {

// A value that can prove whose it is and that it is whole: length of all, the key's number, a counter, a pattern that
// follows from them. As an opaque array of words, so that checking is quick.
struct Head {
  uint64_t words;
  uint64_t key;
  uint64_t counter;
};

std::vector<uint64_t> self_checking(uint64_t key, uint64_t counter, size_t words) {
  std::vector<uint64_t> value(words);
  value[0] = words;
  value[1] = key;
  value[2] = counter;
  const uint64_t seed = mixed(key * 1'000'003 + counter + words);
  for (size_t i = 3; i < words; ++i) value[i] = seed + i;
  return value;
}

bool whole(uint64_t key, const std::vector<uint64_t>& value, size_t bytes) {
  if (bytes < sizeof(Head) || bytes % 8 != 0 || value[0] != bytes / 8 || value[1] != key) return false;
  const uint64_t seed = mixed(key * 1'000'003 + value[2] + value[0]);
  for (size_t i = 3; i < bytes / 8; ++i)
    if (value[i] != seed + i) return false;
  return true;
}

Bytes bytes_of(const std::vector<uint64_t>& value) { return std::as_bytes(std::span(value)); }

// Everything at once on a few keys; `words` draws a value's size.
template <typename Words>
void hammer(Engine& engine, int rounds, uint64_t keys, Words words) {
  std::atomic<uint64_t> bad = 0;
  std::atomic<uint64_t> busy = 0;
  std::atomic<uint64_t> versions_back = 0;
  std::atomic<Milliseconds> clock = kStart;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    std::mt19937_64 random(static_cast<uint64_t>(thread) + 100);
    std::vector<uint64_t> buffer(kMegabyte / 8);
    std::vector<Version> seen(keys);
    ExpiryCursor expiry;
    for (int i = 0; i < rounds; ++i) {
      const uint64_t number = random() % keys;
      const std::string name = numbered("key", number);
      const Key key = cache.key(engine.database, name);
      const Milliseconds now = clock.fetch_add(1, std::memory_order_relaxed);
      const uint64_t dice = random() % 100;
      if (dice < 40) {
        const ReadResult read = cache.read(key, now, kAnyKind, std::as_writable_bytes(std::span(buffer)));
        if (read.status != Status::ok) continue;
        if (!whole(number, buffer, read.entry.value_bytes)) ++bad;
        if (read.entry.expires_at != 0 && read.entry.expires_at <= now) ++bad;
        if (read.entry.version < seen[number]) ++versions_back;
        seen[number] = read.entry.version;
      } else if (dice < 85) {
        const auto value = self_checking(number, static_cast<uint64_t>(i), words(random));
        const Expiry ends =
            dice % 2 == 0 ? Expiry::never() : Expiry::when(now + static_cast<Milliseconds>(random() % 5000));
        const Status status = cache.write(key, request(bytes_of(value), {.expiry = ends}), now).status;
        if (status == Status::busy)
          ++busy;
        else if (status != Status::ok)
          ++bad;
      } else if (dice < 90) {
        const ReadResult taken = cache.take(key, now, kAnyKind, std::as_writable_bytes(std::span(buffer)));
        if (taken.status == Status::ok && !whole(number, buffer, taken.entry.value_bytes)) ++bad;
      } else if (dice < 94) {
        static_cast<void>(cache.remove(key, now, std::nullopt));
      } else if (dice < 97) {
        static_cast<void>(cache.touch(key, now, Expiry::when(now + 1000)));
      } else {
        cache.expire(expiry, now);
      }
    }
  });
  EXPECT_EQ(bad.load(), 0U);
  EXPECT_EQ(versions_back.load(), 0U);
  EXPECT_LT(busy.load(), static_cast<uint64_t>(rounds) / 10);
  EXPECT_EQ(engine.violation(), nullptr) << engine.violation();
}

TEST(Threads, SmallValuesOnFewKeys) {
  Engine engine;
  hammer(engine, 60'000, 8, [](auto& random) { return 3 + random() % 3; });
}

TEST(Threads, ManyKeysInAFullCache) {
  Engine engine(8 * kMegabyte);
  hammer(engine, 40'000, 30'000, [](auto& random) { return 3 + random() % 100; });
  hammer(engine, 5'000, 3'000,
         [](auto& random) { return random() % 20 == 0 ? 3000 + random() % 3000 : 3 + random() % 1000; });
  EXPECT_GT(engine.counts().evictions, 0U);
}

TEST(Threads, LargeValuesReplacedUnderTheirReaders) {
  Engine engine(16 * kMegabyte);
  hammer(engine, 2'000, 4,
         [](auto& random) { return random() % 4 == 0 ? 3 + random() % 10 : 2000 + random() % 30'000; });
}

TEST(Threads, LargeValuesInAFullCache) {
  Engine engine(8 * kMegabyte);
  hammer(engine, 1'500, 100, [](auto& random) { return 2000 + random() % 50'000; });
  EXPECT_GT(engine.counts().evictions, 0U);
}

TEST(Threads, CollidingKeys) {
  Engine engine(kMinMemory, four_valued_hash);
  hammer(engine, 10'000, 400, [](auto& random) { return 3 + random() % 50; });
}

TEST(Threads, IncrementsAddUp) {
  Engine engine;
  constexpr int kRounds = 300'000;
  constexpr int kCounters = 2;
  std::atomic<uint64_t> bad = 0;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    std::vector<int64_t> last(kCounters, 0);
    for (int i = 0; i < kRounds; ++i) {
      const int number = (i + thread) % kCounters;
      const std::string name = numbered("counter", static_cast<uint64_t>(number));
      const CounterResult result =
          cache.increment(cache.key(engine.database, name), 1 + number, Expiry::never(), true, engine.now);
      if (result.status != Status::ok || result.value <= last[number]) ++bad;
      last[number] = result.value;
    }
  });
  EXPECT_EQ(bad.load(), 0U);
  int64_t sum = 0;
  for (int number = 0; number < kCounters; ++number)
    sum += engine.increment(numbered("counter", static_cast<uint64_t>(number)), 0).value / (1 + number);
  EXPECT_EQ(sum, int64_t{kThreads} * kRounds);
}

TEST(Threads, EachValueIsTakenOnce) {
  Engine engine(16 * kMegabyte);
  constexpr uint64_t kItems = 1000;
  for (const size_t words : {size_t{3}, size_t{4000}}) {
    std::vector<std::atomic<int>> winners(kItems);
    std::atomic<uint64_t> written = 0;
    std::atomic<uint64_t> bad = 0;
    in_threads([&](int thread) {
      Cache cache = engine.cache;
      std::vector<uint64_t> buffer(words);
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      uint64_t turn = 0;
      while (turn < kItems) {
        // The first thread writes one after another into the same few keys; the others take.
        if (thread == 0) {
          const std::string name = numbered("job", turn % 4);
          const auto value = self_checking(turn % 4, turn, words);
          const WriteResult result = cache.write(cache.key(engine.database, name),
                                                 request(bytes_of(value), {.mode = WriteMode::if_absent}), engine.now);
          if (result.status == Status::refused) continue;
          if (result.status != Status::ok) ++bad;
          ++turn;
          written.store(turn, std::memory_order_release);
        } else {
          const bool last_round = written.load(std::memory_order_acquire) == kItems;
          bool any = false;
          for (uint64_t number = 0; number < 4; ++number) {
            const std::string name = numbered("job", number);
            const ReadResult taken = cache.take(cache.key(engine.database, name), engine.now, kAnyKind,
                                                std::as_writable_bytes(std::span(buffer)));
            if (taken.status != Status::ok) continue;
            any = true;
            if (whole(number, buffer, taken.entry.value_bytes) && buffer[2] < kItems)
              ++winners[buffer[2]];
            else
              ++bad;
          }
          if (last_round && !any) return;
        }
      }
    });
    EXPECT_EQ(bad.load(), 0U);
    for (uint64_t i = 0; i < kItems; ++i) ASSERT_EQ(winners[i].load(), 1) << i;
  }
}

TEST(Threads, OneOfManyCreates) {
  Engine engine;
  constexpr uint64_t kRounds = 3000;
  std::vector<std::atomic<int>> winners(kRounds);
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    const std::string value = numbered("", static_cast<uint64_t>(thread));
    for (uint64_t round = 0; round < kRounds; ++round) {
      const std::string name = numbered("key", round);
      const WriteResult result = cache.write(cache.key(engine.database, name),
                                             request(as_bytes(value), {.mode = WriteMode::if_absent}), engine.now);
      if (result.status == Status::ok) ++winners[round];
    }
  });
  for (uint64_t round = 0; round < kRounds; ++round) ASSERT_EQ(winners[round].load(), 1);
}

// Read, add, write if nobody else did: nothing is lost, whether a key is there, is deleted or is filled.
TEST(Threads, CompareAndSetLosesNothing) {
  Engine engine;
  constexpr int kRounds = 5000;
  in_threads([&](int) {
    Cache cache = engine.cache;
    const Key key = cache.key(engine.database, "sum");
    for (int i = 0; i < kRounds; ++i) {
      for (;;) {
        uint64_t sum = 0;
        const ReadResult read = cache.read(key, engine.now, kAnyKind, std::as_writable_bytes(std::span(&sum, 1)));
        ++sum;
        const WriteResult written = cache.write(
            key, request(std::as_bytes(std::span(&sum, 1)), {.if_version = read.entry.version}), engine.now);
        if (written.status == Status::ok) break;
      }
    }
  });
  uint64_t sum = 0;
  ASSERT_EQ(
      engine.cache.read(engine.key("sum"), engine.now, kAnyKind, std::as_writable_bytes(std::span(&sum, 1))).status,
      Status::ok);
  EXPECT_EQ(sum, uint64_t{kThreads} * kRounds);
}

// A source of truth changes, then what was computed from it is invalidated; fills read the truth after a miss. None may
// leave a value that is older than the last invalidation.
template <typename Invalidate>
void expect_no_stale_fill(Engine& engine, uint64_t rounds, Invalidate invalidate) {
  constexpr uint64_t kKeys = 20;
  std::atomic<uint64_t> truth = 0;
  std::atomic<uint64_t> invalidated = 0;
  std::atomic<uint64_t> looks = 0;
  std::atomic<uint64_t> stale = 0;
  std::atomic<bool> over = false;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    if (thread == 0) {
      for (uint64_t round = 1; round <= rounds; ++round) {
        truth.store(round);
        invalidate(cache, round);
        invalidated.store(round);
        if (round % 50 != 0) continue;
        // Time for looks at what the fills left.
        const uint64_t enough = looks.load() + 3 * kKeys;
        while (looks.load() < enough) std::this_thread::yield();
      }
      over = true;
      return;
    }
    for (uint64_t i = 0; !over; ++i, ++looks) {
      const std::string name = numbered("row", i % kKeys);
      const Key key = cache.key(engine.database, name);
      const uint64_t least = invalidated.load();
      uint64_t value = 0;
      const ReadResult read = cache.read(key, engine.now, kAnyKind, std::as_writable_bytes(std::span(&value, 1)));
      if (read.status == Status::ok) {
        stale += value < least ? 1 : 0;
        continue;
      }
      value = truth.load();
      static_cast<void>(cache.write(
          key, request(std::as_bytes(std::span(&value, 1)), {.if_version = read.entry.version}), engine.now));
    }
  });
  EXPECT_EQ(stale.load(), 0U);
}

TEST(Threads, NoStaleFillAfterADelete) {
  Engine engine;
  expect_no_stale_fill(engine, 500, [&](Cache& cache, uint64_t) {
    for (uint64_t number = 0; number < 20; ++number) {
      const std::string name = numbered("row", number);
      static_cast<void>(cache.remove(cache.key(engine.database, name), engine.now, std::nullopt));
    }
  });
}

TEST(Threads, NoStaleFillAfterAnInvalidation) {
  Engine engine;
  expect_no_stale_fill(engine, 50'000, [&](Cache& cache, uint64_t) { cache.invalidate_database(engine.database); });
}

// The floor of a database may never sink.
TEST(Threads, InvalidationsMeetingEachOther) {
  Engine engine;
  std::atomic<uint64_t> stale = 0;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    const std::string name = numbered("key", static_cast<uint64_t>(thread));
    const Key key = cache.key(engine.database, name);
    for (int i = 0; i < 100'000; ++i) {
      static_cast<void>(cache.write(key, request(as_bytes("value")), engine.now));
      cache.invalidate_database(engine.database);
      if (cache.peek(key, engine.now).status == Status::ok) ++stale;
    }
  });
  EXPECT_EQ(stale.load(), 0U);
}

TEST(Threads, DatabasesRegisteredAtOnce) {
  Engine engine;
  std::vector<std::vector<uint16_t>> numbers(kThreads);
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    for (uint32_t oid = 1; oid <= 500; ++oid) {
      const auto number = cache.register_database(oid);
      numbers[static_cast<size_t>(thread)].push_back(number ? *number : kMaxDatabases);
    }
  });
  for (int thread = 1; thread < kThreads; ++thread) EXPECT_EQ(numbers[static_cast<size_t>(thread)], numbers[0]);
}

TEST(Threads, WalksAndSweepsBesideWriters) {
  Engine engine(8 * kMegabyte);
  const uint16_t other = *engine.cache.register_database(2);
  std::set<std::string> staying;
  for (uint64_t i = 0; i < 2000; ++i) {
    staying.insert(numbered("stays", i));
    ASSERT_EQ(engine.set(numbered("stays", i), pattern(50)), Status::ok);
  }
  std::atomic<uint64_t> missed = 0;
  std::atomic<uint64_t> bad = 0;
  in_threads([&](int thread) {
    Cache cache = engine.cache;
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    if (thread == 0) {
      const auto batch = std::make_unique<ScanBatch>();
      for (int round = 0; round < 10; ++round) {
        std::map<std::string, int> met;
        ScanCursor cursor;
        while (cache.scan(cursor, engine.database, engine.now, *batch))
          for (uint32_t i = 0; i < batch->count; ++i) ++met[std::string(batch->key(batch->entries[i]))];
        for (const std::string& key : staying) missed += met[key] == 1 ? 0 : 1;
      }
    } else if (thread == 1) {
      for (int round = 0; round < 20; ++round) {
        cache.invalidate_database(other);
        ScanCursor cursor;
        uint64_t dropped = 0;
        while (cache.sweep_database(cursor, other, engine.now, dropped)) {
        }
      }
    } else {
      for (int i = 0; i < 20'000; ++i) {
        const std::string mine = numbered("stays", random() % 2000);
        const std::string theirs = numbered("other", random() % 5000);
        if (cache.write(cache.key(engine.database, mine), request(as_bytes(pattern(50 + random() % 2))), engine.now)
                .status != Status::ok)
          ++bad;
        if (cache.write(cache.key(other, theirs), request(as_bytes(pattern(random() % 100))), engine.now).status !=
            Status::ok)
          ++bad;
      }
    }
  });
  EXPECT_EQ(missed.load(), 0U);
  EXPECT_EQ(bad.load(), 0U);
  EXPECT_EQ(engine.cache.database(engine.database).evictions, 0U);
}

}  // namespace
}  // namespace pgcache::engine::test

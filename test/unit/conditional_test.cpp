// Writes and deletes that depend on what stands there, or on nobody having been there since.
#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

constexpr WriteOptions if_version(Version version) { return {.if_version = version}; }

TEST(Conditional, IfAbsent) {
  Engine engine;
  EXPECT_EQ(engine.set("key", "first", {.mode = WriteMode::if_absent}), Status::ok);
  EXPECT_EQ(engine.set("key", "second", {.mode = WriteMode::if_absent}), Status::refused);
  EXPECT_EQ(engine.get("key"), "first");
  EXPECT_EQ(engine.remove("key"), Status::ok);
  EXPECT_EQ(engine.set("key", "third", {.mode = WriteMode::if_absent}), Status::ok);
  EXPECT_EQ(engine.get("key"), "third");
}

TEST(Conditional, IfAbsentAfterTheEnd) {
  Engine engine;
  EXPECT_EQ(engine.set("key", "first", {.expiry = Expiry::when(kStart + 10), .mode = WriteMode::if_absent}),
            Status::ok);
  engine.now = kStart + 9;
  EXPECT_EQ(engine.set("key", "second", {.mode = WriteMode::if_absent}), Status::refused);
  engine.now = kStart + 10;
  EXPECT_EQ(engine.set("key", "third", {.mode = WriteMode::if_absent}), Status::ok);
  EXPECT_EQ(engine.get("key"), "third");
}

TEST(Conditional, IfPresent) {
  Engine engine;
  EXPECT_EQ(engine.set("key", "first", {.mode = WriteMode::if_present}), Status::refused);
  EXPECT_FALSE(engine.has("key"));
  EXPECT_EQ(engine.set("key", "second", {.expiry = Expiry::when(kStart + 10)}), Status::ok);
  EXPECT_EQ(engine.set("key", "third", {.expiry = Expiry::keep_or(0), .mode = WriteMode::if_present}), Status::ok);
  EXPECT_EQ(engine.get("key"), "third");
  engine.now = kStart + 10;
  EXPECT_EQ(engine.set("key", "fourth", {.mode = WriteMode::if_present}), Status::refused);
  EXPECT_FALSE(engine.has("key"));
}

TEST(Conditional, ARefusedWriteChangesNothing) {
  Engine engine;
  for (const size_t size : {size_t{10}, size_t{100'000}}) {
    ASSERT_EQ(engine.set("key", pattern(10, 1), {.expiry = Expiry::when(kStart + 1000)}), Status::ok);
    const ReadResult before = engine.peek("key");
    const uint64_t free_before = engine.cache.memory_status().bytes_free;
    EXPECT_EQ(engine.set("key", pattern(size, 2), {.kind = Kind::json, .mode = WriteMode::if_absent}), Status::refused);
    EXPECT_EQ(engine.set("none", pattern(size, 2), {.mode = WriteMode::if_present}), Status::refused);
    EXPECT_EQ(engine.set("key", pattern(size, 2), if_version(before.entry.version + 1)), Status::refused);
    const ReadResult after = engine.peek("key");
    EXPECT_EQ(after.entry.version, before.entry.version);
    EXPECT_EQ(after.entry.kind, before.entry.kind);
    EXPECT_EQ(after.entry.expires_at, before.entry.expires_at);
    EXPECT_EQ(engine.get("key"), pattern(10, 1));
    EXPECT_EQ(engine.counts().items, 1);
    EXPECT_EQ(engine.cache.memory_status().bytes_free, free_before);
  }
}

TEST(Conditional, TheVersionOfAnEntry) {
  Engine engine;
  const Version first = engine.write("key", "first").version;
  const WriteResult second = engine.write("key", "second", if_version(first));
  EXPECT_EQ(second.status, Status::ok);
  EXPECT_GT(second.version, first);
  EXPECT_EQ(engine.set("key", "third", if_version(first)), Status::refused);
  EXPECT_EQ(engine.set("key", "third", if_version(second.version + 1)), Status::refused);
  EXPECT_EQ(engine.set("key", "third", if_version(0)), Status::refused);
  EXPECT_EQ(engine.get("key"), "second");
  EXPECT_EQ(engine.set("key", "third", if_version(second.version)), Status::ok);
  EXPECT_EQ(engine.get("key"), "third");
}

TEST(Conditional, TheVersionOfAnEntryAfterItWasDeletedAndWrittenAgain) {
  Engine engine;
  const Version version = engine.write("key", "value").version;
  EXPECT_EQ(engine.remove("key"), Status::ok);
  EXPECT_EQ(engine.set("key", "late", if_version(version)), Status::outdated);
  EXPECT_EQ(engine.set("key", "value"), Status::ok);
  EXPECT_EQ(engine.set("key", "late", if_version(version)), Status::refused);
  EXPECT_EQ(engine.get("key"), "value");
}

TEST(Conditional, TouchingKeepsTheVersionOfTheEntry) {
  Engine engine;
  const Version version = engine.write("key", "value").version;
  EXPECT_EQ(engine.touch("key", Expiry::when(kStart + 10)), Status::ok);
  EXPECT_EQ(engine.version("key"), version);
  EXPECT_EQ(engine.set("key", "other", if_version(version)), Status::ok);
}

TEST(Conditional, IncrementingChangesTheVersion) {
  Engine engine;
  ASSERT_EQ(engine.increment("key").status, Status::ok);
  const Version version = engine.version("key");
  ASSERT_EQ(engine.increment("key").status, Status::ok);
  EXPECT_GT(engine.version("key"), version);
  EXPECT_EQ(engine.set("key", "12345678", if_version(version)), Status::refused);
}

TEST(Conditional, TheVersionOfAMiss) {
  Engine engine;
  const Version miss = engine.version("key");
  EXPECT_EQ(engine.version("key"), miss) << "reading changes no version";
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::ok);
  EXPECT_EQ(engine.get("key"), "fill");
  EXPECT_EQ(engine.set("key", "again", if_version(miss)), Status::refused) << "somebody wrote: the first fill";
}

TEST(Conditional, ReadAndTakeHandOutTheVersionOfAMissToo) {
  Engine engine;
  std::string value;
  const Version miss = engine.read("key", value).entry.version;
  EXPECT_EQ(engine.take("key", value).entry.version, miss);
  EXPECT_EQ(engine.peek("key").entry.version, miss);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::ok);
}

TEST(Conditional, AFillIsRefusedAfterAWrite) {
  Engine engine;
  const Version miss = engine.version("key");
  EXPECT_EQ(engine.set("key", "newer"), Status::ok);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::refused);
  EXPECT_EQ(engine.get("key"), "newer");
}

TEST(Conditional, AFillIsRefusedAfterAWriteAndADelete) {
  Engine engine;
  std::string value;
  Version miss = engine.version("key");
  EXPECT_EQ(engine.set("key", "newer"), Status::ok);
  EXPECT_EQ(engine.remove("key"), Status::ok);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);

  miss = engine.version("key");
  EXPECT_EQ(engine.set("key", "newer"), Status::ok);
  EXPECT_EQ(engine.take("key", value).status, Status::ok);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);

  miss = engine.version("key");
  EXPECT_EQ(engine.increment("key").status, Status::ok);
  EXPECT_EQ(engine.remove("key"), Status::ok);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);
  EXPECT_FALSE(engine.has("key"));
}

TEST(Conditional, AFillIsRefusedAfterADeleteOfNothing) {
  Engine engine;
  const Version miss = engine.version("key");
  EXPECT_EQ(engine.remove("key"), Status::not_found);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);
  EXPECT_EQ(engine.set("key", "fill", if_version(engine.version("key"))), Status::ok);
}

TEST(Conditional, AFillIsRefusedAfterAnEntryThatCameAndEnded) {
  Engine engine;
  const Version miss = engine.version("key");
  EXPECT_EQ(engine.set("key", "short", {.expiry = Expiry::when(kStart + 1)}), Status::ok);
  engine.now = kStart + 1;
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);
  engine.now = kStart + 1'000'000;
  engine.expire_all();
  EXPECT_EQ(engine.counts().items, 0);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);
}

TEST(Conditional, AFillIsRefusedAfterAnEntryThatCameAndWasEvicted) {
  Engine engine;
  const Version miss = engine.version("key");
  EXPECT_EQ(engine.set("key", "newer"), Status::ok);
  for (int i = 0; engine.has("key"); ++i) {
    ASSERT_LT(i, 100'000);
    ASSERT_EQ(engine.set(numbered("other", i), pattern(1000)), Status::ok);
  }
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);
}

TEST(Conditional, AFillIsStoredWhereOnlyOtherKeysChanged) {
  Engine engine;
  const Version miss = engine.version("key");
  const uint32_t slot = engine.cache.slot_number(engine.key("key").hash);
  for (int i = 0; i < 100; ++i) {
    const std::string other = numbered("other", i);
    if (engine.cache.slot_number(engine.key(other).hash) != slot) {
      ASSERT_EQ(engine.set(other, "value"), Status::ok);
    }
  }
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::ok);
}

TEST(Conditional, KeysOfOneSlotRefuseAtMostTooMuch) {
  Engine engine(kMinMemory, constant_hash);
  const Version miss = engine.version("key");
  EXPECT_EQ(engine.set("other", "value"), Status::ok);
  EXPECT_EQ(engine.remove("other"), Status::ok);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);
  EXPECT_EQ(engine.set("key", "fill", if_version(engine.version("key"))), Status::ok);
}

TEST(Conditional, AFillIsRefusedAfterTheDatabaseWasInvalidated) {
  Engine engine;
  const Version miss = engine.version("key");
  engine.cache.invalidate_database(engine.database);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);
  EXPECT_EQ(engine.set("key", "fill", if_version(engine.version("key"))), Status::ok);
  EXPECT_EQ(engine.get("key"), "fill");
}

TEST(Conditional, AFillIsRefusedAfterTheDatabaseWasFenced) {
  Engine engine;
  EXPECT_EQ(engine.set("stays", "value"), Status::ok);
  const Version entry = engine.version("stays");
  const Version miss = engine.version("key");
  engine.cache.fence_database(engine.database);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::outdated);
  EXPECT_EQ(engine.get("stays"), "value");
  EXPECT_EQ(engine.version("stays"), entry);
  EXPECT_EQ(engine.set("stays", "other", if_version(entry)), Status::ok);
  EXPECT_EQ(engine.set("key", "fill", if_version(engine.version("key"))), Status::ok);
}

TEST(Conditional, AnotherDatabaseDoesNotFenceThisOne) {
  Engine engine;
  const uint16_t other = *engine.cache.register_database(2);
  const Version miss = engine.version("key");
  engine.cache.invalidate_database(other);
  engine.cache.fence_database(other);
  EXPECT_EQ(engine.set("key", "fill", if_version(miss)), Status::ok);
}

TEST(Conditional, AVersionFromTheFutureIsRefused) {
  Engine engine;
  const Version miss = engine.version("key");
  for (const Version version : {miss + 1, miss + 1000, Version{1} << 47, Version{1} << 48, UINT64_MAX}) {
    EXPECT_EQ(engine.set("key", "fill", if_version(version)), Status::outdated) << version;
    EXPECT_FALSE(engine.has("key"));
  }
  EXPECT_EQ(engine.set("key", "value"), Status::ok);
  EXPECT_EQ(engine.set("key", "fill", if_version(UINT64_MAX)), Status::refused);
}

TEST(Conditional, AVersionFromAnEarlierLifeIsRefused) {
  constexpr Version kFloor = 1000;
  Engine engine(kMinMemory, spreading_hash, kFloor);
  EXPECT_GT(engine.version("key"), kFloor);
  for (const Version version : {Version{0}, Version{1}, kFloor - 1, kFloor}) {
    EXPECT_EQ(engine.set("key", "fill", if_version(version)), Status::outdated) << version;
    EXPECT_FALSE(engine.has("key"));
  }
  EXPECT_GT(engine.write("key", "value").version, kFloor);
}

TEST(Conditional, TheVersionOfAnotherDatabasesEntryIsRefused) {
  Engine engine;
  const uint16_t other = *engine.cache.register_database(2);
  const Key others = engine.cache.key(other, "key");
  const WriteResult written = engine.cache.write(others, request(as_bytes("theirs")), engine.now);
  EXPECT_EQ(engine.set("key", "ours"), Status::ok);
  EXPECT_EQ(engine.set("key", "late", if_version(written.version)), Status::refused);
  EXPECT_EQ(engine.remove("key", written.version), Status::refused);
  EXPECT_EQ(engine.get("key"), "ours");
}

TEST(Conditional, ModesAndVersionsTogether) {
  Engine engine;
  Version miss = engine.version("key");
  EXPECT_EQ(engine.set("key", "x", {.mode = WriteMode::if_present, .if_version = miss}), Status::refused);
  EXPECT_EQ(engine.set("key", "fill", {.mode = WriteMode::if_absent, .if_version = miss}), Status::ok);
  const Version version = engine.version("key");
  EXPECT_EQ(engine.set("key", "x", {.mode = WriteMode::if_absent, .if_version = version}), Status::refused);
  EXPECT_EQ(engine.set("key", "next", {.mode = WriteMode::if_present, .if_version = version}), Status::ok);
  EXPECT_EQ(engine.get("key"), "next");
}

TEST(Conditional, RemovingAVersion) {
  Engine engine;
  const Version version = engine.write("key", "value").version;
  EXPECT_EQ(engine.remove("key", version + 1), Status::refused);
  EXPECT_EQ(engine.remove("key", version - 1), Status::refused);
  EXPECT_EQ(engine.get("key"), "value");
  EXPECT_EQ(engine.remove("key", version), Status::ok);
  EXPECT_FALSE(engine.has("key"));
  EXPECT_EQ(engine.remove("key", version), Status::not_found);
}

TEST(Conditional, ARefusedRemovalIsNoChange) {
  Engine engine;
  const Version version = engine.write("key", "value").version;
  const Version sequence = engine.cache.sequence();
  EXPECT_EQ(engine.remove("key", version + 1), Status::refused);
  EXPECT_EQ(engine.cache.sequence(), sequence);
}

TEST(Conditional, LargeFillsAreRefusedTheSame) {
  Engine engine;
  const std::string large = pattern(100'000);
  const Version miss = engine.version("key");
  EXPECT_EQ(engine.set("key", "newer"), Status::ok);
  EXPECT_EQ(engine.remove("key"), Status::ok);
  const uint64_t free_before = engine.cache.memory_status().bytes_free;
  EXPECT_EQ(engine.set("key", large, if_version(miss)), Status::outdated);
  EXPECT_EQ(engine.cache.memory_status().bytes_free, free_before);
  EXPECT_EQ(engine.set("key", large, if_version(engine.version("key"))), Status::ok);
  EXPECT_EQ(engine.get("key"), large);
}

}  // namespace
}  // namespace pgcache::engine::test

// What is written is read, whole, with its kind, version and size.
#include "harness.hpp"

namespace pgcache::engine::test {
namespace {

TEST(ReadWrite, AMissSaysSo) {
  Engine engine;
  std::string value;
  EXPECT_EQ(engine.read("nothing", value).status, Status::not_found);
  EXPECT_EQ(engine.peek("nothing").status, Status::not_found);
  EXPECT_EQ(engine.remove("nothing"), Status::not_found);
  EXPECT_EQ(engine.take("nothing", value).status, Status::not_found);
  EXPECT_EQ(engine.touch("nothing", Expiry::never()), Status::not_found);
}

TEST(ReadWrite, AHitTellsAllOfTheEntry) {
  Engine engine;
  const WriteResult written = engine.write("key", "value", {.kind = Kind::json, .expiry = Expiry::when(kStart + 5000)});
  ASSERT_EQ(written.status, Status::ok);
  std::string value;
  const ReadResult read = engine.read("key", value);
  ASSERT_EQ(read.status, Status::ok);
  EXPECT_EQ(value, "value");
  EXPECT_EQ(read.entry.kind, Kind::json);
  EXPECT_EQ(read.entry.value_bytes, 5U);
  EXPECT_EQ(read.entry.version, written.version);
  EXPECT_EQ(read.entry.expires_at, kStart + 5000);
  EXPECT_GE(read.entry.size_bytes, 8U);
  EXPECT_LE(read.entry.size_bytes, 8U + 28U);
  const ReadResult peeked = engine.peek("key");
  EXPECT_EQ(peeked.status, Status::ok);
  EXPECT_EQ(peeked.entry.version, read.entry.version);
  EXPECT_EQ(peeked.entry.value_bytes, read.entry.value_bytes);
  EXPECT_EQ(peeked.entry.size_bytes, read.entry.size_bytes);
}

TEST(ReadWrite, EveryKeyLengthAndAnyByteServes) {
  Engine engine(16 * kMegabyte);
  for (size_t size = 1; size <= kMaxKeyBytes; ++size)
    ASSERT_EQ(engine.set(pattern(size), numbered("v", size)), Status::ok);
  for (size_t size = 1; size <= kMaxKeyBytes; ++size) ASSERT_EQ(engine.get(pattern(size)), numbered("v", size)) << size;
  const std::string with_zero("a\0b", 3);
  EXPECT_EQ(engine.set(with_zero, "zero"), Status::ok);
  EXPECT_EQ(engine.get(with_zero), "zero");
  EXPECT_EQ(engine.get("a"), std::nullopt);
  EXPECT_EQ(engine.get(std::string("a\0c", 3)), std::nullopt);
}

TEST(ReadWrite, KeysThatShareTheirStartAreDifferent) {
  Engine engine(kMinMemory, one_bucket_hash);
  for (size_t size = 1; size <= 40; ++size)
    ASSERT_EQ(engine.set(std::string(size, 'a'), numbered("v", size)), Status::ok);
  for (size_t size = 1; size <= 40; ++size) EXPECT_EQ(engine.get(std::string(size, 'a')), numbered("v", size));
}

TEST(ReadWrite, AnEmptyValueIsAValue) {
  Engine engine;
  ASSERT_EQ(engine.set("key", ""), Status::ok);
  const ReadResult read = engine.cache.read(engine.key("key"), engine.now, kAnyKind, {});
  EXPECT_EQ(read.status, Status::ok);
  EXPECT_EQ(read.entry.value_bytes, 0U);
  EXPECT_EQ(engine.cache.write(engine.key("key"), {}, engine.now).status, Status::ok);
  EXPECT_EQ(engine.get("key"), "");
  const ReadResult taken = engine.cache.take(engine.key("key"), engine.now, kAnyKind, {});
  EXPECT_EQ(taken.status, Status::ok);
  EXPECT_FALSE(engine.has("key"));
}

TEST(ReadWrite, OverwritingReplacesValueKindAndExpiry) {
  Engine engine;
  // The same size, one less, one more, much more, much less.
  const size_t sizes[] = {10, 10, 9, 10, 5000, 1, 0, 10};
  Version last = 0;
  for (size_t i = 0; i < std::size(sizes); ++i) {
    const Kind kind = i % 2 == 0 ? Kind::text : Kind::bytes;
    const Milliseconds at = i % 3 == 0 ? 0 : kStart + 1000 * static_cast<Milliseconds>(i);
    const WriteResult written = engine.write("key", pattern(sizes[i], i),
                                             {.kind = kind, .expiry = at == 0 ? Expiry::never() : Expiry::when(at)});
    ASSERT_EQ(written.status, Status::ok);
    EXPECT_GT(written.version, last);
    last = written.version;
    std::string value;
    const ReadResult read = engine.read("key", value);
    ASSERT_EQ(read.status, Status::ok);
    EXPECT_EQ(value, pattern(sizes[i], i));
    EXPECT_EQ(read.entry.kind, kind);
    EXPECT_EQ(read.entry.expires_at, at);
    EXPECT_EQ(read.entry.version, last);
    EXPECT_EQ(engine.counts().items, 1);
    EXPECT_EQ(engine.counts().bytes, static_cast<int64_t>(read.entry.size_bytes));
  }
}

TEST(ReadWrite, OverwritingDoesNotTouchNeighbours) {
  Engine engine;
  for (int i = 0; i < 100; ++i) ASSERT_EQ(engine.set(numbered("key", i), pattern(100, i)), Status::ok);
  for (int i = 0; i < 100; i += 2) ASSERT_EQ(engine.set(numbered("key", i), pattern(100 - i, i)), Status::ok);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(engine.get(numbered("key", i)), pattern(i % 2 == 0 ? 100 - i : 100, i)) << i;
}

TEST(ReadWrite, ABufferThatIsTooSmallReadsNothing) {
  Engine engine;
  for (const size_t size : {size_t{100}, size_t{20'000}, size_t{40'000}}) {
    ASSERT_EQ(engine.set("key", pattern(size)), Status::ok);
    for (const size_t room : {size_t{0}, size / 2, size - 1}) {
      std::string buffer(size, '\x5a');
      const ReadResult read = engine.cache.read(engine.key("key"), engine.now, kAnyKind,
                                                std::as_writable_bytes(std::span(buffer.data(), room)));
      EXPECT_EQ(read.status, Status::buffer_too_small);
      EXPECT_EQ(read.entry.value_bytes, size);
      EXPECT_EQ(buffer, std::string(size, '\x5a'));
    }
    std::string value;
    EXPECT_EQ(engine.read("key", value, kAnyKind, size).status, Status::ok);
    EXPECT_EQ(value, pattern(size));
    EXPECT_EQ(engine.read("key", value, kAnyKind, size + 5000).status, Status::ok);
    EXPECT_EQ(value, pattern(size));
  }
}

TEST(ReadWrite, AKindThatTheReaderDoesNotTakeIsNamed) {
  Engine engine;
  for (const Kind kind : {Kind::json, Kind::text, Kind::bytes}) {
    ASSERT_EQ(engine.set("key", "value", {.kind = kind}), Status::ok);
    for (const Kind wanted : {Kind::json, Kind::text, Kind::bytes, Kind::counter}) {
      std::string value;
      const ReadResult read = engine.read("key", value, only(wanted));
      EXPECT_EQ(read.status, wanted == kind ? Status::ok : Status::wrong_kind);
      EXPECT_EQ(read.entry.kind, kind);
    }
    std::string value;
    const auto all_but = static_cast<Kinds>(kAnyKind & ~only(kind));
    EXPECT_EQ(engine.read("key", value, all_but).status, Status::wrong_kind);
    EXPECT_EQ(engine.take("key", value, all_but).status, Status::wrong_kind);
    EXPECT_EQ(engine.get("key"), "value");
  }
}

TEST(ReadWrite, RemovingRemoves) {
  Engine engine;
  for (const size_t size : {size_t{5}, size_t{100'000}}) {
    ASSERT_EQ(engine.set("key", pattern(size)), Status::ok);
    ASSERT_EQ(engine.set("other", "stays"), Status::ok);
    EXPECT_EQ(engine.remove("key"), Status::ok);
    EXPECT_EQ(engine.get("key"), std::nullopt);
    EXPECT_EQ(engine.remove("key"), Status::not_found);
    EXPECT_EQ(engine.get("other"), "stays");
    EXPECT_EQ(engine.counts().items, 1);
  }
}

TEST(ReadWrite, TakingReadsAndRemoves) {
  Engine engine;
  for (const size_t size : {size_t{5}, size_t{15'327}, size_t{15'328}, size_t{16'390}, size_t{100'000}}) {
    const WriteResult written = engine.write("key", pattern(size));
    ASSERT_EQ(written.status, Status::ok);
    std::string value;
    const ReadResult taken = engine.take("key", value);
    EXPECT_EQ(taken.status, Status::ok);
    EXPECT_EQ(taken.entry.version, written.version);
    EXPECT_EQ(value, pattern(size));
    EXPECT_EQ(engine.take("key", value).status, Status::not_found);
    EXPECT_EQ(engine.get("key"), std::nullopt);
    EXPECT_EQ(engine.counts().items, 0);
    EXPECT_EQ(engine.counts().bytes, 0);
  }
}

TEST(ReadWrite, TakingIntoABufferThatIsTooSmallRemovesNothing) {
  Engine engine;
  for (const size_t size : {size_t{5}, size_t{100'000}}) {
    ASSERT_EQ(engine.set("key", pattern(size)), Status::ok);
    std::string value;
    const ReadResult taken = engine.take("key", value, kAnyKind, size - 1);
    EXPECT_EQ(taken.status, Status::buffer_too_small);
    EXPECT_EQ(taken.entry.value_bytes, size);
    EXPECT_EQ(engine.get("key"), pattern(size));
  }
}

TEST(ReadWrite, VersionsGrowWithEveryWrite) {
  Engine engine;
  Version last = 0;
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string key = numbered("key", random() % 50);
    const WriteResult written = engine.write(key, pattern(random() % 200, i));
    ASSERT_EQ(written.status, Status::ok);
    ASSERT_GT(written.version, last);
    ASSERT_GE(engine.cache.sequence(), written.version);
    ASSERT_EQ(engine.version(key), written.version);
    last = written.version;
  }
}

TEST(ReadWrite, AnAttachedHandleSeesTheSameCache) {
  Engine engine(8 * kMegabyte);
  ASSERT_EQ(engine.set("key", "value"), Status::ok);
  Cache other = Cache::attach(engine.memory(), engine.environment());
  EXPECT_EQ(other.secret(), engine.cache.secret());
  EXPECT_EQ(other.find_database(16384), engine.database);
  EXPECT_EQ(other.geometry().segments, engine.cache.geometry().segments);
  char buffer[5];
  EXPECT_EQ(
      other.read(other.key(engine.database, "key"), engine.now, kAnyKind, std::as_writable_bytes(std::span(buffer)))
          .status,
      Status::ok);
  EXPECT_EQ(std::string_view(buffer, 5), "value");
  EXPECT_EQ(other.remove(other.key(engine.database, "key"), engine.now, std::nullopt), Status::ok);
  EXPECT_FALSE(engine.has("key"));
}

TEST(ReadWrite, ASlotTellsThatItsKeysChanged) {
  Engine engine;
  const uint32_t slot = engine.cache.slot_number(engine.key("key").hash);
  ASSERT_LT(slot, engine.cache.slot_count());
  Version last = engine.cache.slot_changed(slot);
  const auto changed = [&] {
    const Version now = engine.cache.slot_changed(slot);
    const bool grew = now > last;
    last = now;
    return grew;
  };
  std::string value;
  EXPECT_EQ(engine.set("key", "value"), Status::ok);
  EXPECT_TRUE(changed());
  EXPECT_EQ(engine.set("key", "other"), Status::ok);
  EXPECT_TRUE(changed());
  EXPECT_EQ(engine.set("key", "longer than before"), Status::ok);
  EXPECT_TRUE(changed());
  EXPECT_EQ(engine.get("key"), "longer than before");
  EXPECT_EQ(engine.set("key", "", {.mode = WriteMode::if_absent}), Status::refused);
  EXPECT_FALSE(changed());
  EXPECT_EQ(engine.touch("key", Expiry::never()), Status::ok);
  EXPECT_TRUE(changed());
  EXPECT_EQ(engine.take("key", value).status, Status::ok);
  EXPECT_TRUE(changed());
  EXPECT_EQ(engine.remove("key"), Status::not_found);
  EXPECT_TRUE(changed());
  EXPECT_EQ(engine.increment("key").status, Status::ok);
  EXPECT_TRUE(changed());
  EXPECT_EQ(engine.increment("key").status, Status::ok);
  EXPECT_TRUE(changed());
}

}  // namespace
}  // namespace pgcache::engine::test

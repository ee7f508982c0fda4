// An engine in heap memory for tests, with a clock that only tests move.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "consistency.hpp"
#include "engine/cache.hpp"
#include "heap_environment.hpp"

namespace pgcache::engine {

inline std::ostream& operator<<(std::ostream& out, Status status) {
  static constexpr const char* kNames[] = {
      "ok", "not_found", "refused", "outdated", "wrong_kind", "buffer_too_small", "out_of_range", "too_large", "busy"};
  return out << kNames[static_cast<size_t>(status)];
}

inline std::ostream& operator<<(std::ostream& out, Kind kind) {
  static constexpr const char* kNames[] = {"json", "text", "bytes", "counter"};
  return out << kNames[static_cast<size_t>(kind)];
}

}  // namespace pgcache::engine

namespace pgcache::engine::test {

constexpr uint64_t kMegabyte = uint64_t{1} << 20;
constexpr Milliseconds kStart = 1'700'000'000'000;

struct WriteOptions {
  Kind kind = Kind::text;
  Expiry expiry = Expiry::never();
  WriteMode mode = WriteMode::always;
  std::optional<Version> if_version = std::nullopt;
  std::span<const uint32_t> tags = {};
  bool keep_tags = false;
  const KnownStamps* known = nullptr;
  std::optional<Version> unwritten_since = std::nullopt;
};

inline Bytes as_bytes(std::string_view text) noexcept { return std::as_bytes(std::span(text.data(), text.size())); }

inline WriteRequest request(Bytes value, const WriteOptions& options = {}) noexcept {
  return {options.kind,      value,         options.expiry,         options.mode, options.if_version, options.tags,
          options.keep_tags, options.known, options.unwritten_since};
}

// A text of that size which differs from that of another seed nearly everywhere.
inline std::string pattern(size_t size, uint64_t seed = 0) {
  std::string text(size, '\0');
  for (size_t at = 0; at < size; at += 8) {
    const uint64_t word = mixed(seed * 0x9e3779b97f4a7c15 + at);
    std::memcpy(text.data() + at, &word, std::min<size_t>(8, size - at));
  }
  return text;
}

inline std::string numbered(std::string_view name, uint64_t number) {
  return std::string(name) + std::to_string(number);
}

class Engine {
 public:
  explicit Engine(uint64_t memory = kMinMemory, Hash hash = spreading_hash, Version sequence_floor = 0)
      : memory_(memory),
        locks_(Cache::lock_count(memory)),
        environment_{Locks::lock, Locks::unlock, hash, &locks_},
        cache(Cache::format(memory_.span(), environment_, 0x5ec7e7, sequence_floor)) {
    database = *cache.register_database(16384);
  }

  // Without inspection a broken structure would only show by chance.
  ~Engine() {
    const char* const violated = first_violation(cache, memory_.span().data());
    EXPECT_EQ(violated, nullptr) << violated;
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] Key key(std::string_view bytes) const { return cache.key(database, bytes); }

  WriteResult write(std::string_view key_bytes, std::string_view value, const WriteOptions& options = {}) {
    return cache.write(key(key_bytes), request(as_bytes(value), options), now);
  }
  Status set(std::string_view key_bytes, std::string_view value, const WriteOptions& options = {}) {
    return write(key_bytes, value, options).status;
  }
  // `room`: the buffer's size; by default whatever the entry takes.
  ReadResult read(std::string_view key_bytes, std::string& value, Kinds kinds = kAnyKind,
                  std::optional<size_t> room = std::nullopt) const {
    return filled(value, room ? *room : size_of(key_bytes),
                  [&](Buffer buffer) { return cache.read(key(key_bytes), now, kinds, buffer); });
  }
  ReadResult take(std::string_view key_bytes, std::string& value, Kinds kinds = kAnyKind,
                  std::optional<size_t> room = std::nullopt) {
    return filled(value, room ? *room : size_of(key_bytes),
                  [&](Buffer buffer) { return cache.take(key(key_bytes), now, kinds, buffer); });
  }
  [[nodiscard]] std::optional<std::string> get(std::string_view key_bytes) const {
    std::string value;
    const ReadResult result = read(key_bytes, value);
    if (result.status == Status::ok) return value;
    EXPECT_EQ(result.status, Status::not_found);
    return std::nullopt;
  }
  [[nodiscard]] ReadResult peek(std::string_view key_bytes) const { return cache.peek(key(key_bytes), now); }
  [[nodiscard]] bool has(std::string_view key_bytes) const { return peek(key_bytes).status == Status::ok; }
  // Of the entry, or of the miss.
  [[nodiscard]] Version version(std::string_view key_bytes) const { return peek(key_bytes).entry.version; }
  Status remove(std::string_view key_bytes, std::optional<Version> if_version = std::nullopt) {
    return cache.remove(key(key_bytes), now, if_version);
  }
  Status touch(std::string_view key_bytes, Expiry expiry) { return cache.touch(key(key_bytes), now, expiry); }
  CounterResult increment(std::string_view key_bytes, int64_t by = 1, Expiry when_created = Expiry::never(),
                          bool create_missing = true) {
    return cache.increment(key(key_bytes), by, when_created, create_missing, now);
  }

  // What an entry depends on; a miss has nothing.
  [[nodiscard]] Evidence evidence(std::string_view key_bytes) const {
    Evidence evidence{};
    static_cast<void>(cache.peek(key(key_bytes), now, &evidence));
    return evidence;
  }
  [[nodiscard]] std::vector<uint32_t> tags_of(std::string_view key_bytes) const {
    const TagSlots tags = evidence(key_bytes).tags;
    return {tags.span().begin(), tags.span().end()};
  }

  [[nodiscard]] SlotNumber key_slot(std::string_view key_bytes) const { return cache.slot_number(key(key_bytes).hash); }
  [[nodiscard]] SlotNumber tag_slot(std::string_view tag) const { return cache.slot_number(cache.tag(database, tag)); }
  [[nodiscard]] SlotNumber database_slot() const { return cache.database_slot(database); }
  [[nodiscard]] SlotState slot(SlotNumber number) const { return cache.slot_state(number); }
  // Names whose slot it is, or is not.
  [[nodiscard]] std::vector<std::string> keys_in(SlotNumber number, size_t count, bool in = true) const {
    std::vector<std::string> keys;
    for (uint64_t i = 0; keys.size() < count; ++i)
      if (std::string name = numbered("name", i); (key_slot(name) == number) == in) keys.push_back(std::move(name));
    return keys;
  }
  // Ends all that depends on the slot.
  Counted end_all(SlotNumber number, Transaction done = 0) {
    return cache.invalidate({.slot = number, .done = done, .ends_entries = true});
  }
  // The slot itself, to make it look as it does while another process changes it.
  [[nodiscard]] VersionSlot& shared_slot(SlotNumber number) const {
    std::byte* const base = memory_.span().data();
    const Geometry& geometry = cache.geometry();
    if (number >= cache.slot_count())
      return reinterpret_cast<Database*>(base + geometry.databases_at)[number - cache.slot_count()].slot;
    return reinterpret_cast<VersionSlot*>(base + geometry.slots_at)[number];
  }

  // What a whole walk meets, in the order of keys; a key met twice stands there twice.
  [[nodiscard]] std::multimap<std::string, EntryInfo> scan(uint16_t of_database) const {
    std::multimap<std::string, EntryInfo> met;
    const auto batch = std::make_unique<ScanBatch>();
    ScanCursor cursor;
    while (cache.scan(cursor, of_database, now, *batch))
      for (uint32_t i = 0; i < batch->count; ++i) met.emplace(batch->key(batch->entries[i]), batch->entries[i].info);
    return met;
  }
  [[nodiscard]] std::multimap<std::string, EntryInfo> scan() const { return scan(database); }

  uint64_t sweep(uint16_t of_database) {
    ScanCursor cursor;
    uint64_t dropped = 0;
    while (cache.sweep_database(cursor, of_database, now, dropped)) {
    }
    return dropped;
  }

  // A round of expiry over all memory.
  struct Expired {
    uint64_t items = 0;
    uint64_t segments = 0;
    uint64_t steps = 0;
    uint64_t busy_steps = 0;  // that dropped something
  };
  Expired expire_all() {
    Expired total;
    ExpiryCursor cursor;
    for (;;) {
      const ExpiryStep step = cache.expire(cursor, now);
      total.items += step.items;
      total.segments += step.segments;
      total.busy_steps += step.items > 0 ? 1 : 0;
      ++total.steps;
      if (step.wrapped) return total;
    }
  }

  [[nodiscard]] const Database& counts() const { return cache.database(database); }
  [[nodiscard]] const char* violation() const { return first_violation(cache, memory_.span().data()); }
  [[nodiscard]] Buffer memory() const { return memory_.span(); }
  [[nodiscard]] const Environment& environment() const { return environment_; }

 private:
  [[nodiscard]] size_t size_of(std::string_view key_bytes) const { return peek(key_bytes).entry.value_bytes; }

  template <typename Read>
  static ReadResult filled(std::string& value, size_t room, Read read) {
    // One byte more, which nobody may touch.
    value.assign(room + 1, '\x5a');
    const ReadResult result = read(std::as_writable_bytes(std::span(value.data(), room)));
    EXPECT_EQ(value.back(), '\x5a') << "written behind the buffer's end";
    value.resize(result.status == Status::ok ? result.entry.value_bytes : 0);
    return result;
  }

  Memory memory_;
  Locks locks_;
  Environment environment_;

 public:
  Cache cache;
  Milliseconds now = kStart;
  uint16_t database;
};

}  // namespace pgcache::engine::test

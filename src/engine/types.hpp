// The engine's vocabulary: what callers hand in and get back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace pgcache::engine {

using Bytes = std::span<const std::byte>;
using Buffer = std::span<std::byte>;

// Milliseconds since an epoch that the caller chooses and never changes. What is before it counts as just after it.
using Milliseconds = int64_t;

// Numbers every change of the cache, over all keys; an entry's version is the number of the write that made it.
using Version = uint64_t;

// A transaction's id, wide enough never to wrap around.
using Transaction = uint64_t;

constexpr size_t kMaxKeyBytes = 1024;
constexpr uint32_t kMaxTags = 64;
constexpr uint32_t kMaxDatabases = 1024;
constexpr Milliseconds kMaxTtl = Milliseconds{10'000} * 24 * 3600 * 1000;

enum class Kind : uint8_t { json = 0, text = 1, bytes = 2, counter = 3 };

// A set of kinds that a reader takes.
using Kinds = uint8_t;
constexpr Kinds only(Kind kind) noexcept { return static_cast<Kinds>(1U << static_cast<unsigned>(kind)); }
constexpr Kinds kAnyKind = 0x0f;

enum class Status : uint8_t {
  ok,
  not_found,
  refused,           // mode or if_version said no
  outdated,          // what the value depends on was invalidated in between
  wrong_kind,        // the entry is of a kind that the caller does not take
  buffer_too_small,  // nothing was read; the entry's size says what it takes
  out_of_range,      // the counter would overflow; it keeps its value
  too_large,         // the value can never fit
  busy,              // other writers hold all memory for the moment: wait a little and call again
};

enum class WriteMode : uint8_t { always, if_absent, if_present };

// Made by Cache::key, which computes the hash.
struct Key {
  std::string_view bytes;
  uint64_t hash;
  uint16_t database;
};

// When an entry ends.
struct Expiry {
  enum class Rule : uint8_t { never, at, keep };
  Rule rule = Rule::never;
  Milliseconds at = 0;  // for Rule::at; with Rule::keep, what a new entry gets (0: never)

  static constexpr Expiry never() noexcept { return {}; }
  static constexpr Expiry when(Milliseconds at) noexcept { return {Rule::at, at}; }
  static constexpr Expiry keep_or(Milliseconds at) noexcept { return {Rule::keep, at}; }
};

// The slots of an entry's tags.
struct TagSlots {
  uint32_t count = 0;
  uint32_t slots[kMaxTags];

  [[nodiscard]] std::span<const uint32_t> span() const noexcept { return {slots, count}; }
};

// Of the slots that a value depends on, the last invalidations that it knows of.
struct KnownStamps {
  Version key = 0;
  Version database = 0;
  Version tags[kMaxTags];
};

struct WriteRequest {
  Kind kind = Kind::bytes;
  Bytes value;
  Expiry expiry;
  WriteMode mode = WriteMode::always;
  // The version of the entry that may be replaced, or of the miss after which nobody may have written the key.
  std::optional<Version> if_version;
  std::span<const uint32_t> tags = {};  // slots, none twice
  bool keep_tags = false;               // an entry that is there keeps its own
  // Outdated if one of the slots was invalidated later; nullptr: whatever was invalidated.
  const KnownStamps* known = nullptr;
  // Refused if the key was written later.
  std::optional<Version> unwritten_since = std::nullopt;
  // It was in the cache before and comes back: no change that somebody's if_version must notice.
  bool restored = false;
};

struct WriteResult {
  Status status;
  Version version;  // of the entry now, if ok
};

struct EntryInfo {
  Kind kind = Kind::bytes;
  uint32_t value_bytes = 0;
  uint64_t size_bytes = 0;      // memory the entry takes, its share of the index not counted
  Version version = 0;          // on a miss: what if_version takes to mean "still nobody"
  Milliseconds expires_at = 0;  // 0: never
};

struct ReadResult {
  Status status;
  EntryInfo entry;
};

struct CounterResult {
  Status status;
  Kind kind = Kind::counter;  // what stands there, if wrong_kind
  int64_t value = 0;
};

}  // namespace pgcache::engine

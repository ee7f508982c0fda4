// A stored entry: a 17-byte header, the key, the slots of its tags, the value. Records lie one behind another in a
// segment's bytes.
//
//   byte 0      state: kind (2 bits), frequency (2), large (1), dead (1), tagged (1)
//   bytes 1-3   key length minus one (10 bits), inline length (14)
//   bytes 4-5   database number (10 bits), the high bits of the expiry (6)
//   bytes 6-11  version
//   bytes 12-16 the low bits of the expiry: when it ends, in milliseconds since the caller's epoch; 0: never
//
// A tag takes four bytes: the number of its slot, and a bit that marks the last.
//
// Everything but the frequency changes under the shard's exclusive lock alone. Readers raise the frequency under the
// shared lock; two that meet may count as one.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "geometry.hpp"
#include "shared.hpp"
#include "types.hpp"

namespace pgcache::engine {

constexpr uint32_t kRecordHeaderBytes = 17;
constexpr Version kMaxVersion = (Version{1} << 48) - 1;
constexpr Milliseconds kMaxExpiry = (Milliseconds{1} << 46) - 1;
constexpr uint16_t kDatabaseBits = 10;
static_assert(kMaxDatabases <= 1U << kDatabaseBits);

// Where the bytes of a large value are; the inline bytes of a large record start with it. What is too short to fill a
// segment of its own follows inline.
struct LargeValue {
  uint32_t value_bytes;
  uint32_t first;  // segments, chained by SegmentMeta::next
  uint32_t last;
  uint32_t segments;
};
static_assert(Shareable<LargeValue> && sizeof(LargeValue) == 16);

// A record with a key and a value of these sizes fits one segment.
constexpr uint32_t kTagBytes = sizeof(uint32_t);
constexpr uint32_t kMaxInlineValue =
    kSegmentBytes - kRecordHeaderBytes - kMaxKeyBytes - kMaxTags * kTagBytes - sizeof(LargeValue);
static_assert(kMaxInlineValue + sizeof(LargeValue) < (1U << 14) && kMaxKeyBytes <= (1U << 10));

class Record {
 public:
  static constexpr uint8_t kMaxFrequency = 3;

  explicit Record(std::byte* at) noexcept : at_(at) {}

  static uint32_t size(uint32_t key_bytes, uint32_t tag_count, uint32_t inline_bytes, uint32_t address_shift) noexcept {
    const uint32_t unit = 1U << address_shift;
    return (kRecordHeaderBytes + key_bytes + tag_count * kTagBytes + inline_bytes + unit - 1) & ~(unit - 1);
  }

  void create(const Key& key, Kind kind, bool large, std::span<const uint32_t> tags, uint32_t inline_bytes) noexcept {
    set_state(static_cast<uint8_t>(static_cast<uint8_t>(kind) | (large ? kLarge : 0) | (tags.empty() ? 0 : kTagged)));
    const uint32_t lengths = static_cast<uint32_t>(key.bytes.size() - 1) | inline_bytes << 10;
    std::memcpy(at_ + 1, &lengths, 3);
    std::memcpy(at_ + 4, &key.database, 2);
    std::memcpy(at_ + kRecordHeaderBytes, key.bytes.data(), key.bytes.size());
    set_tags(tags);
  }

  // As many as before.
  void set_tags(std::span<const uint32_t> tags) noexcept {
    std::byte* to = tags_at();
    for (size_t i = 0; i < tags.size(); ++i, to += kTagBytes) {
      const uint32_t tag = tags[i] | (i + 1 == tags.size() ? kLastTag : 0);
      std::memcpy(to, &tag, kTagBytes);
    }
  }

  [[nodiscard]] bool tagged() const noexcept { return (state() & kTagged) != 0; }
  [[nodiscard]] uint32_t tag_count() const noexcept {
    if (!tagged()) return 0;
    uint32_t count = 1;
    while ((tag(count - 1) & kLastTag) == 0) ++count;
    return count;
  }
  // Of a tagged record: calls visit(slot) for each tag, until it returns false.
  template <typename Visit>
  void visit_tags(Visit visit) const noexcept {
    for (uint32_t i = 0;; ++i) {
      const uint32_t it = tag(i);
      if (!visit(it & ~kLastTag) || (it & kLastTag) != 0) return;
    }
  }

  [[nodiscard]] bool matches(const Key& key) const noexcept {
    return key_bytes() == key.bytes.size() && database() == key.database &&
           std::memcmp(at_ + kRecordHeaderBytes, key.bytes.data(), key.bytes.size()) == 0;
  }

  [[nodiscard]] Kind kind() const noexcept { return static_cast<Kind>(state() & kKind); }
  void set_kind(Kind kind) noexcept {
    set_state(static_cast<uint8_t>((state() & ~kKind) | static_cast<uint8_t>(kind)));
  }
  [[nodiscard]] bool large() const noexcept { return (state() & kLarge) != 0; }
  [[nodiscard]] bool dead() const noexcept { return (state() & kDead) != 0; }
  void set_dead() noexcept { set_state(state() | kDead); }

  [[nodiscard]] uint8_t frequency() const noexcept { return static_cast<uint8_t>((state() & kFrequency) >> 2); }
  void set_frequency(uint8_t frequency) noexcept {
    set_state(static_cast<uint8_t>((state() & ~kFrequency) | std::min(frequency, kMaxFrequency) << 2));
  }
  void used() noexcept {
    if (frequency() < kMaxFrequency) set_frequency(static_cast<uint8_t>(frequency() + 1));
  }

  [[nodiscard]] uint32_t key_bytes() const noexcept { return (lengths() & 0x3ff) + 1; }
  [[nodiscard]] uint32_t inline_bytes() const noexcept { return lengths() >> 10; }
  [[nodiscard]] uint32_t size(uint32_t address_shift) const noexcept {
    return size(key_bytes(), tag_count(), inline_bytes(), address_shift);
  }
  [[nodiscard]] std::string_view key() const noexcept {
    return {reinterpret_cast<const char*>(at_ + kRecordHeaderBytes), key_bytes()};
  }
  [[nodiscard]] std::byte* inline_value() const noexcept { return tags_at() + tag_count() * size_t{kTagBytes}; }

  [[nodiscard]] uint16_t database() const noexcept { return load<uint16_t>(4) & ((1U << kDatabaseBits) - 1); }
  [[nodiscard]] Version version() const noexcept { return load<uint64_t>(6) & kMaxVersion; }
  void set_version(Version version) noexcept { std::memcpy(at_ + 6, &version, 6); }
  [[nodiscard]] Milliseconds expiry() const noexcept {
    const uint64_t low = load<uint64_t>(9) >> 24;
    return static_cast<Milliseconds>(low | static_cast<uint64_t>(load<uint16_t>(4) >> kDatabaseBits) << 40);
  }
  void set_expiry(Milliseconds expiry) noexcept {
    const auto high = static_cast<uint16_t>(database() | static_cast<uint64_t>(expiry) >> 40 << kDatabaseBits);
    std::memcpy(at_ + 4, &high, 2);
    std::memcpy(at_ + 12, &expiry, 5);
  }

  [[nodiscard]] LargeValue large_value() const noexcept {
    LargeValue value;
    std::memcpy(&value, inline_value(), sizeof value);
    return value;
  }
  [[nodiscard]] uint32_t value_bytes() const noexcept { return large() ? large_value().value_bytes : inline_bytes(); }

  [[nodiscard]] std::byte* bytes() const noexcept { return at_; }

 private:
  static constexpr uint8_t kKind = 0x03;
  static constexpr uint8_t kFrequency = 0x0c;
  static constexpr uint8_t kLarge = 0x10;
  static constexpr uint8_t kDead = 0x20;
  static constexpr uint8_t kTagged = 0x40;
  static constexpr uint32_t kLastTag = 1U << 31;

  [[nodiscard]] std::byte* tags_at() const noexcept { return at_ + kRecordHeaderBytes + key_bytes(); }
  [[nodiscard]] uint32_t tag(uint32_t number) const noexcept {
    uint32_t tag;
    std::memcpy(&tag, tags_at() + number * size_t{kTagBytes}, kTagBytes);
    return tag;
  }

  [[nodiscard]] uint8_t state() const noexcept { return load_relaxed(*reinterpret_cast<uint8_t*>(at_)); }
  void set_state(uint8_t state) noexcept { store_relaxed(*reinterpret_cast<uint8_t*>(at_), state); }
  [[nodiscard]] uint32_t lengths() const noexcept { return load<uint32_t>(1) & 0xffffff; }

  // Whole words, of which a field of odd width is a part: the neighbours are always there, and byte 0, which readers
  // write, is never among them.
  template <typename Word>
  [[nodiscard]] Word load(size_t offset) const noexcept {
    Word word;
    std::memcpy(&word, at_ + offset, sizeof word);
    return word;
  }

  std::byte* at_;
};
static_assert(std::endian::native == std::endian::little, "record fields of odd width are stored little-endian");

}  // namespace pgcache::engine

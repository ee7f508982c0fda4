// The memory behind the records: segments of equal size, each free, in a shard's queue, or part of a large value.
//
// Free segments form a stack that needs no lock (Treiber's, with a counter against ABA). A segment in a queue belongs
// to its shard's lock. The segments of a large value belong to its writer until the record is in the index, then to
// that record; readers pin the first of them under the shard's lock and copy after it, and whoever is the last of the
// record and its readers gives the chain back.
#pragma once

#include "geometry.hpp"
#include "record.hpp"
#include "shard.hpp"
#include "shared.hpp"

namespace pgcache::engine {

constexpr Milliseconds kNever = INT64_MAX;

enum class SegmentState : uint8_t { free = 0, records = 1, large = 2 };

struct alignas(64) SegmentMeta {
  uint32_t next;      // in the free stack, the queue or the chain
  uint32_t previous;  // in the queue
  uint32_t used;      // bytes of records, dead ones included
  uint32_t live;      // bytes of records that the index knows
  uint32_t pins;      // of a chain's first segment: its readers, and kDoomed
  uint16_t shard;     // set before `state` becomes records, and read after it
  SegmentState state;
  QueueName queue;
  uint8_t ttl_class;
  // Expiries of the records: none ends before `earliest`, none after `latest`; 0 and kNever stand for none that ends
  // and some that never does.
  Milliseconds earliest;
  Milliseconds latest;
  Milliseconds due;  // when the search for expired memory should look at it; 0: never. Read without the lock
};
static_assert(Shareable<SegmentMeta> && sizeof(SegmentMeta) == 64);

// Set in `pins` once the record is gone: the last reader gives the chain back.
constexpr uint32_t kDoomed = 1U << 31;

struct FreeStack {
  alignas(64) uint64_t head;  // low half: segment or kNone; high half: a count of changes
  alignas(64) uint32_t free;
};
static_assert(Shareable<FreeStack>);

class Segments {
 public:
  Segments() noexcept = default;
  Segments(FreeStack* stack, SegmentMeta* metas, std::byte* bytes, uint32_t count, uint32_t address_shift) noexcept
      : stack_(stack), metas_(metas), bytes_(bytes), count_(count), shift_(address_shift) {}

  void format() const noexcept;

  [[nodiscard]] uint32_t count() const noexcept { return count_; }
  [[nodiscard]] uint32_t free_count() const noexcept { return load_relaxed(stack_->free); }
  [[nodiscard]] SegmentMeta& meta(uint32_t segment) const noexcept { return metas_[segment]; }
  [[nodiscard]] std::byte* bytes(uint32_t segment) const noexcept { return bytes_ + uint64_t{segment} * kSegmentBytes; }

  [[nodiscard]] Record record(uint32_t address) const noexcept {
    return Record(bytes_ + (uint64_t{address} << shift_));
  }
  [[nodiscard]] uint32_t address(uint32_t segment, uint32_t offset) const noexcept {
    return static_cast<uint32_t>((uint64_t{segment} * kSegmentBytes + offset) >> shift_);
  }
  [[nodiscard]] uint32_t segment_of(uint32_t address) const noexcept {
    return static_cast<uint32_t>((uint64_t{address} << shift_) / kSegmentBytes);
  }
  [[nodiscard]] uint32_t address_shift() const noexcept { return shift_; }

  // kNone if none is free.
  [[nodiscard]] uint32_t pop_free() const noexcept;
  void push_free(uint32_t segment) const noexcept { push_free_chain(segment, segment, 1); }
  // Gives back the segments from first to last, linked by `next`.
  void push_free_chain(uint32_t first, uint32_t last, uint32_t count) const noexcept;

  // Queues; under the shard's lock.
  void append(Shard& shard, QueueName queue, uint32_t ttl_class, uint32_t segment) const noexcept;
  void detach(Shard& shard, uint32_t segment) const noexcept;

  // Large values.
  void pin(const LargeValue& value) const noexcept;
  void unpin(const LargeValue& value) const noexcept;
  void release(const LargeValue& value) const noexcept;  // by the record's end, under the shard's lock
  void copy_out(const LargeValue& value, std::byte* to) const noexcept;

 private:
  FreeStack* stack_ = nullptr;
  SegmentMeta* metas_ = nullptr;
  std::byte* bytes_ = nullptr;
  uint32_t count_ = 0;
  uint32_t shift_ = 0;
};

}  // namespace pgcache::engine

// Walks everything that an engine keeps in its memory and says what does not fit together. Nobody may use the engine
// meanwhile.
#pragma once

#include <array>
#include <cstring>
#include <vector>

#include "engine/internal.hpp"

namespace pgcache::engine::test {

// The free stack is private to Cache; an explicit instantiation may name private members.
namespace {
FreeStack& free_stack_of(const Cache& cache);
template <auto header>
struct Opened {
  friend FreeStack& free_stack_of(const Cache& cache) { return (cache.*header)->free_stack; }
};
template struct Opened<&Cache::header_>;
}  // namespace

class Inspection {
 public:
  Inspection(const Cache& cache, std::byte* memory) : g_(cache.geometry()), cache_(cache) {
    shards_ = reinterpret_cast<Shard*>(memory + g_.shards_at);
    buckets_ = reinterpret_cast<Bucket*>(memory + g_.buckets_at);
    metas_ = reinterpret_cast<SegmentMeta*>(memory + g_.metas_at);
    databases_ = reinterpret_cast<Database*>(memory + g_.databases_at);
    bytes_ = memory + g_.segments_at;
  }

  // Null if all is well.
  const char* run() {
    owners_.assign(g_.segments, Owner::nobody);
    if (const char* found = walk_free_stack()) return found;
    for (uint32_t shard = 0; shard < g_.shards; ++shard) {
      if (const char* found = walk_queues(shard)) return found;
      if (const char* found = walk_index(shard)) return found;
    }
    for (uint32_t segment = 0; segment < g_.segments; ++segment)
      if (owners_[segment] == Owner::nobody) return "a segment is neither free nor in use";
    if (queued_records_ != indexed_) return "a live record is not in the index";
    return compare_counts();
  }

 private:
  enum class Owner : uint8_t { nobody, free_stack, queue, large_value };
  struct Counts {
    int64_t items = 0;
    int64_t bytes = 0;
  };

  [[nodiscard]] Record record_at(uint64_t address) const { return Record(bytes_ + (address << g_.address_shift)); }

  bool claim(uint32_t segment, Owner owner) {
    if (segment >= g_.segments || owners_[segment] != Owner::nobody) return false;
    owners_[segment] = owner;
    return true;
  }

  const char* walk_free_stack() {
    const FreeStack& stack = free_stack_of(cache_);
    uint32_t count = 0;
    for (auto segment = static_cast<uint32_t>(stack.head); segment != kNone; segment = metas_[segment].next, ++count) {
      if (!claim(segment, Owner::free_stack)) return "the free stack meets a segment twice";
      if (metas_[segment].state == SegmentState::records) return "a free segment says that it holds records";
      if (metas_[segment].due != 0) return "a free segment waits for expiry";
    }
    return count == stack.free ? nullptr : "the free stack's count is wrong";
  }

  const char* walk_queues(uint32_t shard) {
    large_segments_ = {};
    for (const QueueName name : {QueueName::small, QueueName::main}) {
      const Queue& queue = shards_[shard].queue(name);
      uint32_t count = 0;
      uint32_t previous = kNone;
      for (uint32_t segment = queue.head; segment != kNone; segment = metas_[segment].next, ++count) {
        if (!claim(segment, Owner::queue)) return "a queue holds a segment that has another owner";
        const SegmentMeta& meta = metas_[segment];
        if (meta.state != SegmentState::records) return "a queued segment does not say that it holds records";
        if (meta.previous != previous) return "a queue is linked wrongly";
        if (meta.shard != shard || meta.queue != name) return "a queued segment names another queue";
        if (meta.ttl_class >= kTtlClasses) return "a segment of no class";
        if (const char* found = walk_records(segment)) return found;
        if (meta.live == 0 && shards_[shard].open_segment(name, meta.ttl_class) != segment)
          return "a segment that holds nothing was not given back";
        previous = segment;
      }
      if (queue.tail != previous) return "a queue's tail is wrong";
      if (queue.segments != count + large_segments_[static_cast<size_t>(name)]) return "a queue's count is wrong";
      for (uint32_t ttl_class = 0; ttl_class < kTtlClasses; ++ttl_class) {
        const uint32_t open = shards_[shard].open_segment(name, ttl_class);
        if (open == kNone) continue;
        if (open >= g_.segments || owners_[open] != Owner::queue) return "an open segment is in no queue";
        const SegmentMeta& meta = metas_[open];
        if (meta.shard != shard || meta.queue != name || meta.ttl_class != ttl_class)
          return "an open segment is in another queue or class";
      }
    }
    return nullptr;
  }

  const char* walk_records(uint32_t segment) {
    const SegmentMeta& meta = metas_[segment];
    if (meta.used > kSegmentBytes) return "a segment is over-full";
    uint64_t live = 0;
    uint64_t offset = 0;
    while (offset < meta.used) {
      const Record record = record_at((uint64_t{segment} * kSegmentBytes + offset) >> g_.address_shift);
      const uint32_t size = record.size(g_.address_shift);
      offset += size;
      if (offset > meta.used) return "a record goes over its segment's end";
      if (record.dead()) continue;
      live += size;
      ++queued_records_;
      if (record.expiry() == 0) {
        if (meta.latest != kNever) return "a segment does not know that a record never ends";
      } else {
        if (meta.earliest == 0 || meta.earliest > record.expiry()) return "a record ends before its segment's earliest";
        if (meta.latest < record.expiry()) return "a record ends after its segment's latest";
        if (meta.due == 0) return "a segment with a record that ends is never looked at";
        if (meta.due < meta.earliest) return "a segment is looked at before anything can have ended";
      }
      if (record.version() > cache_.sequence()) return "a version from the future";
      if (!record.large()) continue;
      const LargeValue large = record.large_value();
      large_segments_[static_cast<size_t>(meta.queue)] += large.segments;
      if (const char* found = walk_chain(large)) return found;
    }
    return live == meta.live ? nullptr : "a segment's live bytes are wrong";
  }

  const char* walk_chain(const LargeValue& large) {
    uint32_t segment = large.first;
    for (uint32_t i = 0; i < large.segments; ++i) {
      if (!claim(segment, Owner::large_value)) return "a large value holds a segment that has another owner";
      if (metas_[segment].state != SegmentState::large) return "a large value's segment does not say so";
      if (metas_[segment].due != 0) return "a large value's segment waits for expiry";
      if (i + 1 == large.segments && segment != large.last) return "a large value's last segment is another";
      segment = metas_[segment].next;
    }
    return metas_[large.first].pins == 0 ? nullptr : "a large value is pinned by nobody";
  }

  const char* walk_index(uint32_t shard) {
    const uint64_t first = uint64_t{shard} * g_.buckets_per_shard;
    passed_.assign(g_.buckets_per_shard, 0);
    const uint64_t indexed_before = indexed_;
    for (uint32_t number = 0; number < g_.buckets_per_shard; ++number) {
      const Bucket& bucket = buckets_[first + number];
      uint64_t tags;
      std::memcpy(&tags, bucket.tags, sizeof tags);
      uint32_t more;
      std::memcpy(&more, bucket.tags + sizeof tags, sizeof more);
      if (tags == 0 && more == 0) continue;
      for (uint32_t entry = 0; entry < kBucketEntries; ++entry) {
        if (bucket.tags[entry] == 0) continue;
        if (const char* found = check_entry(shard, number, bucket, entry)) return found;
      }
    }
    if (shards_[shard].entries != indexed_ - indexed_before) return "a shard miscounts the entries of its index";
    for (uint32_t number = 0; number < g_.buckets_per_shard; ++number) {
      const uint8_t passed = buckets_[first + number].passed;
      if (passed != UINT8_MAX && passed != passed_[number]) return "a bucket miscounts the keys that passed it by";
    }
    return nullptr;
  }

  const char* check_entry(uint32_t shard, uint32_t number, const Bucket& bucket, uint32_t entry) {
    const uint32_t address = bucket.addresses[entry];
    const uint64_t offset = uint64_t{address} << g_.address_shift;
    const uint64_t segment = offset / kSegmentBytes;
    if (segment >= g_.segments || owners_[segment] != Owner::queue) return "an entry of the index is in no queue";
    if (metas_[segment].shard != shard) return "an entry of the index is in another shard's segment";
    if (offset % kSegmentBytes >= metas_[segment].used) return "an entry of the index is behind its segment's end";
    const Record record = record_at(address);
    if (record.dead()) return "an entry of the index is dead";
    const Key key = cache_.key(record.database(), record.key());
    const HashParts hash{key.hash};
    if (hash.tag() != bucket.tags[entry]) return "an entry of the index has another key's tag";
    if (hash.shard(g_.shards) != shard) return "an entry is in another shard";
    uint32_t home = hash.bucket(g_.buckets_per_shard);
    for (uint32_t probes = 0; home != number; ++probes) {
      if (probes + 1 >= kMaxProbes) return "an entry is where no search looks";
      ++passed_[home];
      home = hash.next(home, g_.buckets_per_shard);
    }
    ++indexed_;
    Counts& counts = counts_[record.database()];
    ++counts.items;
    counts.bytes += static_cast<int64_t>(footprint(record, g_.address_shift));
    return nullptr;
  }

  const char* compare_counts() {
    for (uint32_t number = 0; number < kMaxDatabases; ++number) {
      if (databases_[number].items != counts_[number].items) return "a database's number of items is wrong";
      if (databases_[number].bytes != counts_[number].bytes) return "a database's bytes are wrong";
    }
    return nullptr;
  }

  const Geometry g_;
  const Cache& cache_;
  Shard* shards_;
  Bucket* buckets_;
  SegmentMeta* metas_;
  Database* databases_;
  std::byte* bytes_;
  std::vector<Owner> owners_;
  std::vector<uint32_t> passed_;
  std::array<uint32_t, 2> large_segments_{};
  std::array<Counts, kMaxDatabases> counts_{};
  uint64_t queued_records_ = 0;
  uint64_t indexed_ = 0;
};

inline const char* first_violation(const Cache& cache, std::byte* memory) { return Inspection(cache, memory).run(); }

}  // namespace pgcache::engine::test

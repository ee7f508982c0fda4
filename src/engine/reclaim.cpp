// Giving memory back: eviction by S3-FIFO over segments, compaction of what overwriting left dead, expiry.
//
// Every pass rewrites one segment under its shard's lock: what must go is erased and the survivors move into the open
// segment of their class. If all fit there, the segment is free; those that do not slide to its front, and it becomes
// the youngest of its queue.
#include "internal.hpp"

namespace pgcache::engine {

namespace {

// Evict from the small queue while it is over this share of the shard's segments.
constexpr uint32_t kSmallQueueShare = 5;  // percent
// After so many segments that all survived, the next is dropped whole: a write must end.
constexpr uint32_t kPatience = 16;
constexpr uint32_t kMaxAttempts = 4096;
constexpr uint32_t kMetasPerExpiryStep = 4096;

// Room that overwriting and deleting left in a segment is taken back before anything alive is evicted.
bool worth_compacting(const SegmentMeta& meta) noexcept { return meta.live * uint64_t{4} <= meta.used * uint64_t{3}; }

}  // namespace

void Cache::drop_others(uint16_t shard, uint32_t segment, Pass pass, Milliseconds now, uint32_t& dropped) noexcept {
  const SegmentMeta& meta = segments_.meta(segment);
  Index buckets = index(shard);
  for (uint32_t offset = 0; offset < meta.used;) {
    const uint32_t address = segments_.address(segment, offset);
    const Record record = segments_.record(address);
    const uint32_t size = record.size(geometry_.address_shift);
    touched(1, size);
    offset += size;
    if (record.dead()) continue;
    const bool over = ended(record, now);
    // One use since it came to the small queue, or since its last round in the main one, is enough to stay.
    const bool evict = pass == Pass::drop_all || (pass == Pass::evict && record.frequency() == 0);
    if (!over && !evict) continue;
    const HashParts hash_of_key{hash(record.database(), record.key())};
    const Place place =
        buckets.find(hash_of_key, [address](uint32_t candidate) noexcept { return candidate == address; });
    buckets.vacate(hash_of_key, place);
    const Loss loss = !over ? Loss::evicted : expired(record, now) ? Loss::expired : Loss::invalidated;
    if (loss == Loss::invalidated) note_end(hash_of_key.hash, record);
    // What was used until it expired is as good as never gone: its next value goes straight to the main queue.
    if (loss == Loss::evicted ? meta.queue == QueueName::small : loss == Loss::expired && worth_keeping(meta, record))
      buckets.remember_evicted(hash_of_key);
    forget_record(shard, segment, record, loss);
    ++dropped;
  }
}

void Cache::survived(uint16_t shard, Record record, QueueName from, QueueName to, Pass pass) noexcept {
  if (from != to && record.large()) {
    const uint32_t segments = record.large_value().segments;
    add_relaxed(shards_[shard].queue(from).segments, -segments);
    add_relaxed(shards_[shard].queue(to).segments, segments);
  }
  if (pass != Pass::evict) return;
  record.set_frequency(from == to ? static_cast<uint8_t>(record.frequency() - 1) : 0);
}

// What fits goes into the open segment of the class, the rest to the front of its own: so a closed segment is full but
// for less than one record.
void Cache::move_survivors(uint16_t shard, uint32_t segment, QueueName to, Pass pass) noexcept {
  SegmentMeta& meta = segments_.meta(segment);
  const uint32_t open = shards_[shard].open_segment(to, meta.ttl_class);
  const bool has_target = open != kNone && open != segment;
  Index buckets = index(shard);
  const uint32_t used = meta.used;
  meta.used = meta.live = 0;
  meta.earliest = meta.latest = 0;
  store_relaxed(meta.due, 0);
  for (uint32_t offset = 0; offset < used;) {
    const uint32_t address = segments_.address(segment, offset);
    const Record from = segments_.record(address);
    const uint32_t size = from.size(geometry_.address_shift);
    const bool dead = from.dead();
    offset += size;
    if (dead) continue;
    touched(1, size);
    const uint32_t new_segment = has_target && segments_.meta(open).used + size <= kSegmentBytes ? open : segment;
    SegmentMeta& target = segments_.meta(new_segment);
    const uint32_t new_address = segments_.address(new_segment, target.used);
    const Record moved = segments_.record(new_address);
    if (new_address != address) {
      const HashParts hash_of_key{hash(from.database(), from.key())};
      const Place place =
          buckets.find(hash_of_key, [address](uint32_t candidate) noexcept { return candidate == address; });
      std::memmove(moved.bytes(), from.bytes(), size);
      place.address() = new_address;
    }
    target.used += size;
    target.live += size;
    note_expiry(target, moved.expiry());
    survived(shard, moved, meta.queue, to, pass);
  }
}

// The segment if it is free now, out of its queue and nobody's; kNone if it lives on.
uint32_t Cache::rewrite(uint16_t shard, uint32_t segment, Pass pass, Milliseconds now, uint32_t& dropped) noexcept {
  SegmentMeta& meta = segments_.meta(segment);
  const QueueName to = pass == Pass::evict ? QueueName::main : meta.queue;
  drop_others(shard, segment, pass, now, dropped);
  move_survivors(shard, segment, to, pass);
  if (meta.used == 0) {
    free_segment(shard, segment);
    return segment;
  }
  uint32_t& was_open = shards_[shard].open_segment(meta.queue, meta.ttl_class);
  if (was_open == segment) was_open = kNone;
  segments_.detach(shards_[shard], segment);
  segments_.append(shards_[shard], to, meta.ttl_class, segment);
  uint32_t& open = shards_[shard].open_segment(to, meta.ttl_class);
  if (open == kNone || segments_.meta(open).used > meta.used) open = segment;
  return kNone;
}

uint32_t Cache::reclaim_oldest(uint16_t shard, bool force, Milliseconds now) noexcept {
  const Hold hold(*this, shard, true);
  Queue& small = shards_[shard].queue(QueueName::small);
  Queue& main = shards_[shard].queue(QueueName::main);
  const uint64_t total = uint64_t{small.segments} + main.segments;
  const bool from_small =
      small.head != kNone && (main.head == kNone || uint64_t{small.segments} * 100 > total * kSmallQueueShare);
  const uint32_t segment = from_small ? small.head : main.head;
  if (segment == kNone) return kNone;
  const Pass pass = force ? Pass::drop_all : worth_compacting(segments_.meta(segment)) ? Pass::compact : Pass::evict;
  uint32_t dropped = 0;
  return rewrite(shard, segment, pass, now, dropped);
}

// Of two shards the one that holds more, so that none keeps more than its share for long.
uint16_t Cache::choose_victim(uint16_t near) noexcept {
  const auto size = [this](uint32_t shard) noexcept {
    return uint64_t{load_relaxed(shards_[shard].queues[0].segments)} + load_relaxed(shards_[shard].queues[1].segments);
  };
  const uint32_t hand = atomic(header_->reclaim_hand).fetch_add(1, std::memory_order_relaxed) & (geometry_.shards - 1);
  return static_cast<uint16_t>(size(hand) > size(near) ? hand : near);
}

uint32_t Cache::obtain_segment(uint16_t near, Milliseconds now) noexcept {
  for (uint32_t attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (const uint32_t segment = segments_.pop_free(); segment != kNone) return segment;
    const uint32_t segment = reclaim_oldest(choose_victim(near), attempt >= kPatience, now);
    if (segment != kNone) return segment;
  }
  return kNone;
}

ExpiryStep Cache::expire(ExpiryCursor& cursor, Milliseconds now) noexcept {
  ExpiryStep step;
  const Milliseconds stored_now = storable(now);
  for (uint32_t looked_at = 0; looked_at < kMetasPerExpiryStep; ++looked_at) {
    if (cursor.segment >= segments_.count()) {
      cursor.segment = 0;
      step.wrapped = true;
      return step;
    }
    const uint32_t segment = cursor.segment++;
    SegmentMeta& meta = segments_.meta(segment);
    const Milliseconds due = load_relaxed(meta.due);
    if (due == 0 || due > stored_now) continue;

    const uint16_t shard = load_relaxed(meta.shard);
    const Hold hold(*this, shard, true);
    // It may have been given back or got another owner since.
    if (atomic(meta.state).load(std::memory_order_acquire) != SegmentState::records ||
        load_relaxed(meta.shard) != shard)
      continue;
    const Milliseconds still_due = load_relaxed(meta.due);
    if (still_due == 0 || still_due > stored_now) continue;
    if (const uint32_t freed = rewrite(shard, segment, Pass::expire, now, step.items); freed != kNone) {
      segments_.push_free(freed);
      ++step.segments;
    }
    return step;
  }
  return step;
}

}  // namespace pgcache::engine

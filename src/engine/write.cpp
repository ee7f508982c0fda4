// Writing: a record is made at the end of its class's open segment, or in place where the size is the same.
#include "internal.hpp"

namespace pgcache::engine {

namespace {

uint32_t ttl_class(Milliseconds expiry, Milliseconds now) noexcept {
  if (expiry == 0) return kNeverEnds;
  const auto seconds = static_cast<uint64_t>(expiry > now ? (expiry - now - 1) / 1000 : 0);
  return std::min<uint32_t>(static_cast<uint32_t>(std::bit_width(seconds)), kNeverEnds - 1);
}

}  // namespace

bool Cache::uncounted(const Key& key, const KnownStamps& known, std::span<const uint32_t> tags) const noexcept {
  if (!uncounted(slot(key), known.key) || !uncounted(databases_[key.database].slot, known.database)) return false;
  for (size_t i = 0; i < tags.size(); ++i)
    if (!uncounted(slots_[tags[i]], known.tags[i])) return false;
  return true;
}

bool Cache::nobody_since(const Key& key, const WriteRequest& request, Version now) const noexcept {
  const Version version = *request.if_version;
  if (version >= now || slot(key).changed() > version || !uncounted(databases_[key.database].slot, version))
    return false;
  return std::all_of(request.tags.begin(), request.tags.end(),
                     [&](uint32_t tag) noexcept { return uncounted(slots_[tag], version); });
}

Status Cache::may_write(const Key& key, const Found& existing, const WriteRequest& request,
                        Version version) const noexcept {
  if (request.mode == WriteMode::if_absent && existing) return Status::refused;
  if (request.mode == WriteMode::if_present && !existing) return Status::refused;
  if (request.unwritten_since && slot(key).written > *request.unwritten_since) return Status::refused;
  if (request.if_version) {
    if (existing && existing.record.version() != *request.if_version) return Status::refused;
    if (!existing && !nobody_since(key, request, version)) return Status::outdated;
  }
  if (request.known != nullptr && !uncounted(key, *request.known, request.tags)) return Status::outdated;
  return Status::ok;
}

void Cache::keep_tags(const Found& existing, Incoming& incoming) const noexcept {
  incoming.kept_tags.count = 0;
  if (existing.record.tagged())
    existing.record.visit_tags([&](uint32_t slot) noexcept {
      incoming.kept_tags.slots[incoming.kept_tags.count++] = slot;
      return true;
    });
  incoming.tags = incoming.kept_tags.span();
}

// Whether the entry was still valid when a number was taken just before: then its value may go on under that number.
bool Cache::carries_over(const Record& record) const noexcept {
  if (load_acquire(databases_[record.database()].slot.counting) != 0) return false;
  bool settled = true;
  if (record.tagged())
    record.visit_tags([&](uint32_t slot) noexcept { return settled = load_acquire(slots_[slot].counting) == 0; });
  return settled && !invalidated(record);
}

Milliseconds Cache::resolve(const Expiry& expiry, const Found& existing) const noexcept {
  if (expiry.rule == Expiry::Rule::keep && existing) return existing.record.expiry();
  const bool ends = expiry.rule == Expiry::Rule::at || (expiry.rule == Expiry::Rule::keep && expiry.at != 0);
  return ends ? storable(expiry.at) : 0;
}

void Cache::store(Record record, const WriteRequest& request, const Incoming& incoming, Milliseconds expiry,
                  Version version) noexcept {
  record.set_tags(incoming.tags);
  std::byte* to = record.inline_value();
  if (incoming.is_large) {
    std::memcpy(to, &incoming.large, sizeof incoming.large);
    to += sizeof incoming.large;
  }
  if (!incoming.inline_part.empty()) std::memcpy(to, incoming.inline_part.data(), incoming.inline_part.size());
  record.set_kind(request.kind);
  record.set_expiry(expiry);
  record.set_version(version);
  touched(1, record.size(geometry_.address_shift));
}

void Cache::note_expiry(SegmentMeta& meta, Milliseconds expiry) noexcept {
  if (expiry == 0) {
    meta.latest = kNever;
  } else {
    meta.earliest = meta.earliest == 0 ? expiry : std::min(meta.earliest, expiry);
    meta.latest = std::max(meta.latest, expiry);
  }
  // Looked at when a quarter of the records should have ended, or when all have: so the work is in proportion to what
  // ended, and what has ended waits for a fraction of its time to live, unless touching has given its neighbours
  // longer.
  constexpr Milliseconds kLongestWait = 60'000;
  const Milliseconds patience = std::min((Milliseconds{1000} << meta.ttl_class) / 16, kLongestWait);
  Milliseconds due = 0;
  if (meta.earliest != 0)
    due = meta.latest == kNever
              ? meta.earliest + patience
              : std::min(meta.latest, meta.earliest + std::max((meta.latest - meta.earliest) / 4, patience));
  store_relaxed(meta.due, due);
}

void Cache::open_segment(uint16_t shard, QueueName queue, uint32_t ttl_class, uint32_t segment) noexcept {
  SegmentMeta& meta = segments_.meta(segment);
  store_relaxed(meta.shard, shard);
  atomic(meta.state).store(SegmentState::records, std::memory_order_release);
  meta.used = meta.live = 0;
  meta.earliest = meta.latest = 0;
  store_relaxed(meta.due, 0);
  segments_.append(shards_[shard], queue, ttl_class, segment);
}

uint32_t Cache::room_for(uint16_t shard, QueueName queue, uint32_t ttl_class, uint32_t bytes,
                         uint32_t& spare) noexcept {
  uint32_t& open = shards_[shard].open_segment(queue, ttl_class);
  if (open != kNone && segments_.meta(open).used + bytes <= kSegmentBytes) return open;
  const uint32_t segment = spare != kNone ? spare : segments_.pop_free();
  if (segment == kNone) return kNone;
  spare = kNone;
  open_segment(shard, queue, ttl_class, segment);
  // The one with more room stays open, so that a big record does not close a segment that small ones can still fill.
  if (open == kNone || segments_.meta(open).used >= bytes) open = segment;
  return segment;
}

void Cache::forget_record(uint16_t shard, uint32_t segment, Record record, Loss loss) noexcept {
  Database& database = databases_[record.database()];
  SegmentMeta& meta = segments_.meta(segment);
  add_relaxed(database.items, -1);
  add_relaxed(database.bytes, -static_cast<int64_t>(footprint(record, geometry_.address_shift)));
  if (loss == Loss::evicted) add_relaxed(database.evictions, 1);
  if (loss == Loss::expired) add_relaxed(database.expirations, 1);
  if (record.large()) {
    const LargeValue large = record.large_value();
    add_relaxed(shards_[shard].queue(meta.queue).segments, -large.segments);
    segments_.release(large);
  }
  record.set_dead();
  meta.live -= record.size(geometry_.address_shift);
}

// Who still has the version of an entry that a tag has ended must not take it for one that was evicted. (What the key
// or the database has ended shows in their stamps.)
void Cache::note_end(uint64_t hash, const Record& record) noexcept {
  if (!record.tagged()) return;
  Version end = 0;
  record.visit_tags([&](uint32_t slot) noexcept {
    end = std::max(end, load_acquire(slots_[slot].floor));
    return true;
  });
  VersionSlot& slot = slots_[slot_number(hash)];
  if (slot.written < end) store_relaxed(slot.written, end);
}

void Cache::erase(uint16_t shard, const Found& found, HashParts hash, Loss loss) noexcept {
  if (loss == Loss::invalidated) note_end(hash.hash, found.record);
  const uint32_t segment = segments_.segment_of(found.place.address());
  index(shard).vacate(hash, found.place);
  forget_record(shard, segment, found.record, loss);
  close_if_empty(shard, segment);
}

void Cache::close_if_empty(uint16_t shard, uint32_t segment) noexcept {
  SegmentMeta& meta = segments_.meta(segment);
  if (meta.live != 0) return;
  if (shards_[shard].open_segment(meta.queue, meta.ttl_class) == segment) {
    meta.used = 0;
    meta.earliest = meta.latest = 0;
    store_relaxed(meta.due, 0);
    return;
  }
  free_segment(shard, segment);
  segments_.push_free(segment);
}

void Cache::free_segment(uint16_t shard, uint32_t segment) noexcept {
  SegmentMeta& meta = segments_.meta(segment);
  uint32_t& open = shards_[shard].open_segment(meta.queue, meta.ttl_class);
  if (open == segment) open = kNone;
  segments_.detach(shards_[shard], segment);
  store_relaxed(meta.state, SegmentState::free);
  store_relaxed(meta.due, 0);
}

Place Cache::make_place(uint16_t shard, HashParts hash) noexcept {
  Index buckets = index(shard);
  if (const Place place = buckets.find_empty(hash)) return place;
  // Every bucket that a search would visit is full: the least used key of the first one gives way.
  Bucket& home = buckets.home(hash);
  uint32_t victim = 0;
  for (uint32_t entry = 1; entry < kBucketEntries; ++entry)
    if (segments_.record(home.addresses[entry]).frequency() < segments_.record(home.addresses[victim]).frequency())
      victim = entry;
  touched(kBucketEntries, uint64_t{kBucketEntries} * kRecordHeaderBytes);
  const uint32_t address = home.addresses[victim];
  Found found;
  found.record = segments_.record(address);
  const HashParts victims{this->hash(found.record.database(), found.record.key())};
  found.place = buckets.find(victims, [address](uint32_t candidate) noexcept { return candidate == address; });
  erase(shard, found, victims, Loss::evicted);
  return buckets.find_empty(hash);
}

Cache::Found Cache::find_to_write(const Key& key, Incoming& incoming, Milliseconds now) noexcept {
  const Found existing = find(key);
  if (!existing) return existing;
  const SegmentMeta& meta = segments_.meta(segments_.segment_of(existing.place.address()));
  __builtin_prefetch(&meta, 1);
  if (!ended(existing.record, now) && existing.record.version() > slot(key).floor) return existing;
  const bool in_time = !expired(existing.record, now);
  incoming.returns = !in_time && worth_keeping(meta, existing.record);
  erase(shard_of(key), existing, HashParts{key.hash}, in_time ? Loss::invalidated : Loss::expired);
  return {};
}

QueueName Cache::queue_for(const Key& key, const Found& existing, Incoming& incoming) noexcept {
  if (existing) return segments_.meta(segments_.segment_of(existing.place.address())).queue;
  // Asked again after a segment was obtained, the ghost would be gone.
  incoming.returns = incoming.returns || index(shard_of(key)).was_evicted(HashParts{key.hash});
  return incoming.returns ? QueueName::main : QueueName::small;
}

uint32_t Cache::append(uint32_t segment, const Key& key, const WriteRequest& request, const Incoming& incoming,
                       Milliseconds expiry, Version version) noexcept {
  SegmentMeta& meta = segments_.meta(segment);
  const uint32_t address = segments_.address(segment, meta.used);
  Record record = segments_.record(address);
  record.create(key, request.kind, incoming.is_large, incoming.tags, incoming.inline_bytes());
  store(record, request, incoming, expiry, version);
  const uint32_t bytes = record.size(geometry_.address_shift);
  meta.used += bytes;
  meta.live += bytes;
  note_expiry(meta, expiry);
  add_relaxed(shards_[meta.shard].queue(meta.queue).segments, incoming.large.segments);
  Database& database = databases_[key.database];
  add_relaxed(database.items, 1);
  add_relaxed(database.bytes, static_cast<int64_t>(footprint(record, geometry_.address_shift)));
  return address;
}

void Cache::point_to(const Key& key, const Found& existing, uint32_t address) noexcept {
  const uint16_t shard = shard_of(key);
  const HashParts hash{key.hash};
  if (!existing) {
    index(shard).occupy(hash, make_place(shard, hash), address);
    return;
  }
  segments_.record(address).set_frequency(static_cast<uint8_t>(existing.record.frequency() + 1));
  const uint32_t old_segment = segments_.segment_of(existing.place.address());
  existing.place.address() = address;
  forget_record(shard, old_segment, existing.record, Loss::replaced);
  close_if_empty(shard, old_segment);
}

WriteResult Cache::place(const Key& key, const WriteRequest& request, Incoming& incoming, Milliseconds now,
                         uint32_t& spare, bool& needs_segment) noexcept {
  needs_segment = false;
  Found existing = find_to_write(key, incoming, now);
  // Numbered before the slots are looked at: an invalidation that the look misses ends this entry.
  const Version version = next_version();
  if (const Status status = may_write(key, existing, request, version); status != Status::ok) return {status, 0};
  incoming.tags = request.tags;
  if (existing && request.keep_tags) keep_tags(existing, incoming);
  // What is made from the entry before must not outlive its end.
  if (existing && (request.keep_tags || request.if_version) && !carries_over(existing.record))
    return {Status::outdated, 0};
  const Milliseconds expiry = resolve(request.expiry, existing);

  const bool same_size = existing && !existing.record.large() && !incoming.is_large &&
                         existing.record.inline_bytes() == incoming.inline_bytes() &&
                         existing.record.tag_count() == incoming.tags.size();
  if (same_size) {
    existing.record.used();
    store(existing.record, request, incoming, expiry, version);
    note_expiry(segments_.meta(segments_.segment_of(existing.place.address())), expiry);
  } else {
    const uint32_t bytes =
        Record::size(static_cast<uint32_t>(key.bytes.size()), static_cast<uint32_t>(incoming.tags.size()),
                     incoming.inline_bytes(), geometry_.address_shift);
    const uint32_t segment =
        room_for(shard_of(key), queue_for(key, existing, incoming), ttl_class(expiry, storable(now)), bytes, spare);
    needs_segment = segment == kNone;
    if (needs_segment) return {Status::busy, 0};
    point_to(key, existing, append(segment, key, request, incoming, expiry, version));
  }
  if (!request.restored) store_relaxed(slot(key).written, version);
  return {Status::ok, version};
}

Status Cache::write_large_part(uint16_t near, Bytes value, Incoming& incoming, Milliseconds now) noexcept {
  auto count = static_cast<uint32_t>(value.size() / kSegmentBytes);
  if (value.size() % kSegmentBytes > kMaxInlineValue) ++count;
  const auto promised = atomic(header_->large_segments);
  // At most half of the memory is on its way in at any time, so the other half can always be evicted.
  if (promised.fetch_add(count, std::memory_order_relaxed) + count > segments_.count() / 2) {
    promised.fetch_sub(count, std::memory_order_relaxed);
    return Status::busy;
  }
  incoming.is_large = true;
  incoming.large.value_bytes = static_cast<uint32_t>(value.size());
  Status status = Status::ok;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t segment = obtain_segment(near, now);
    if (segment == kNone) {
      status = Status::busy;
      break;
    }
    const Bytes piece = value.first(std::min<size_t>(value.size(), kSegmentBytes));
    std::memcpy(segments_.bytes(segment), piece.data(), piece.size());
    value = value.subspan(piece.size());
    SegmentMeta& meta = segments_.meta(segment);
    store_relaxed(meta.state, SegmentState::large);
    store_relaxed(meta.due, 0);
    atomic(meta.pins).store(0, std::memory_order_relaxed);
    store_relaxed(meta.next, kNone);
    if (incoming.large.last == kNone)
      incoming.large.first = segment;
    else
      store_relaxed(segments_.meta(incoming.large.last).next, segment);
    incoming.large.last = segment;
    ++incoming.large.segments;
  }
  if (status == Status::ok)
    incoming.inline_part = value;
  else
    promised.fetch_sub(count, std::memory_order_relaxed);
  return status;
}

WriteResult Cache::write(const Key& key, const WriteRequest& request, Milliseconds now) noexcept {
  const uint16_t shard = shard_of(key);
  __builtin_prefetch(&slot(key), 1);
  if (request.value.size() > geometry_.max_value_bytes() || request.value.size() > UINT32_MAX)
    return {Status::too_large, 0};
  Incoming incoming;
  incoming.inline_part = request.value;
  WriteResult result{Status::ok, 0};
  if (request.value.size() > kMaxInlineValue) result.status = write_large_part(shard, request.value, incoming, now);
  const bool promised = result.status == Status::ok && incoming.is_large;

  uint32_t spare = kNone;
  bool needs_segment = result.status == Status::ok;
  while (needs_segment) {
    {
      const Hold hold(*this, shard, true);
      result = place(key, request, incoming, now, spare, needs_segment);
    }
    if (!needs_segment) break;
    spare = obtain_segment(shard, now);
    if (spare == kNone) break;
  }
  if (spare != kNone) segments_.push_free(spare);
  if (promised) atomic(header_->large_segments).fetch_sub(incoming.large.segments, std::memory_order_relaxed);
  if (result.status != Status::ok && incoming.large.segments > 0)
    segments_.push_free_chain(incoming.large.first, incoming.large.last, incoming.large.segments);
  return result;
}

CounterResult Cache::increment(const Key& key, int64_t by, Expiry when_created, bool create_missing,
                               Milliseconds now) noexcept {
  const uint16_t shard = shard_of(key);
  CounterResult result{Status::ok};
  WriteRequest request;
  request.kind = Kind::counter;
  request.value = std::as_bytes(std::span(&by, 1));
  request.expiry = when_created;
  request.mode = WriteMode::if_absent;
  Incoming incoming;
  incoming.inline_part = request.value;
  uint32_t spare = kNone;
  for (bool needs_segment = true; needs_segment;) {
    needs_segment = false;
    {
      const Hold hold(*this, shard, true);
      // Numbered before the slots are looked at, as in `place`.
      const Version version = next_version();
      if (const Found found = find_live(key, now)) {
        Record record = found.record;
        result.kind = record.kind();
        if (record.kind() != Kind::counter) {
          result.status = Status::wrong_kind;
          break;
        }
        std::memcpy(&result.value, record.inline_value(), sizeof result.value);
        if (!carries_over(record)) {
          result.status = Status::busy;
          break;
        }
        int64_t sum;
        if (__builtin_add_overflow(result.value, by, &sum)) {
          result.status = Status::out_of_range;
          break;
        }
        result.value = sum;
        std::memcpy(record.inline_value(), &sum, sizeof sum);
        record.used();
        store_relaxed(slot(key).written, version);
        record.set_version(version);
        result.status = Status::ok;
        break;
      }
      if (!create_missing) {
        result.status = Status::not_found;
        break;
      }
      result.status = place(key, request, incoming, now, spare, needs_segment).status;
      result.value = by;
    }
    if (needs_segment && (spare = obtain_segment(shard, now)) == kNone) break;
  }
  if (spare != kNone) segments_.push_free(spare);
  return result;
}

}  // namespace pgcache::engine

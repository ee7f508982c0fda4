#include "cache.hpp"

#include "internal.hpp"

namespace pgcache::engine {

namespace {

constexpr uint32_t kBucketsPerScanHold = 16;

}  // namespace

Cache Cache::at(Buffer memory, const Environment& environment) noexcept {
  static_assert(Shareable<Header> && sizeof(Header) <= 512);
  Cache cache;
  const Geometry g = Geometry::of(memory.size());
  std::byte* const base = memory.data();
  cache.geometry_ = g;
  cache.environment_ = environment;
  cache.header_ = reinterpret_cast<Header*>(base);
  cache.databases_ = reinterpret_cast<Database*>(base + g.databases_at);
  cache.shards_ = reinterpret_cast<Shard*>(base + g.shards_at);
  cache.slots_ = reinterpret_cast<VersionSlot*>(base + g.slots_at);
  cache.buckets_ = reinterpret_cast<Bucket*>(base + g.buckets_at);
  cache.ghosts_ = reinterpret_cast<GhostSet*>(base + g.ghosts_at);
  cache.segments_ = Segments(&cache.header_->free_stack, reinterpret_cast<SegmentMeta*>(base + g.metas_at),
                             base + g.segments_at, g.segments, g.address_shift);
  return cache;
}

Cache Cache::format(Buffer memory, const Environment& environment, uint64_t secret, Version sequence_floor) noexcept {
  const Geometry g = Geometry::of(memory.size());
  // Segments hold garbage until they are used; all before them starts as zero.
  std::memset(memory.data(), 0, g.segments_at);
  Cache cache = at(memory, environment);
  cache.header_->memory = g.memory;
  cache.header_->secret = secret;
  cache.header_->sequence = sequence_floor + 1;
  for (uint32_t number = 0; number < g.shards; ++number) {
    Shard& shard = cache.shards_[number];
    for (Queue& queue : shard.queues) queue = {kNone, kNone, 0};
    for (auto& open : shard.open) std::fill(std::begin(open), std::end(open), kNone);
  }
  cache.segments_.format();
  return cache;
}

Cache Cache::attach(Buffer memory, const Environment& environment) noexcept { return at(memory, environment); }

uint64_t Cache::hash(uint16_t database, std::string_view bytes) const noexcept {
  return key_hash(environment_, header_->secret, database, bytes);
}

Key Cache::key(uint16_t database, std::string_view bytes) const noexcept {
  const Key key{bytes, hash(database, bytes), database};
  // Its bucket comes from memory while the caller makes ready and the lock is taken.
  __builtin_prefetch(&index(shard_of(key)).home(HashParts{key.hash}));
  return key;
}

SlotNumber Cache::slot_number(uint64_t hash) const noexcept {
  const HashParts parts{hash};
  return parts.shard(geometry_.shards) * geometry_.slots_per_shard + parts.slot(geometry_.key_slots_per_shard());
}

SlotNumber Cache::tag_slot_number(uint64_t hash) const noexcept {
  return slot_number(hash) + geometry_.key_slots_per_shard();
}

uint64_t Cache::tag(uint16_t database, std::string_view bytes) const noexcept {
  return tag_hash(environment_, header_->secret, load_relaxed(databases_[database].oid), bytes);
}

Version Cache::sequence() const noexcept { return atomic(header_->sequence).load(std::memory_order_acquire); }

Version Cache::next_version() noexcept { return atomic(header_->sequence).fetch_add(1, std::memory_order_acq_rel) + 1; }

uint64_t Cache::secret() const noexcept { return header_->secret; }

MemoryStatus Cache::memory_status() const noexcept {
  return {geometry_.memory, uint64_t{segments_.free_count()} * kSegmentBytes};
}

Cache::Found Cache::find(const Key& key) const noexcept {
  Found found;
  found.place = index(shard_of(key)).find(HashParts{key.hash}, [&](uint32_t address) noexcept {
    const Record record = segments_.record(address);
    // The lines of a short value come together with the first.
    for (uint32_t line = 0; line < 256; line += 64) __builtin_prefetch(record.bytes() + line);
    touched(1, kRecordHeaderBytes + key.bytes.size());
    if (!record.matches(key)) return false;
    found.record = record;
    return true;
  });
  return found;
}

Cache::Found Cache::find_live(const Key& key, Milliseconds now) const noexcept {
  Found found = find(key);
  if (found && (ended(found.record, now) || found.record.version() <= slot(key).floor)) found = {};
  return found;
}

Cache::Found Cache::find_hashed(uint16_t shard, uint64_t hash_of_key) const noexcept {
  Found found;
  found.place = index(shard).find(HashParts{hash_of_key}, [&](uint32_t address) noexcept {
    const Record record = segments_.record(address);
    touched(1, kRecordHeaderBytes + record.key_bytes());
    if (hash(record.database(), record.key()) != hash_of_key) return false;
    found.record = record;
    return true;
  });
  return found;
}

EntryInfo Cache::info(const Record& record) const noexcept {
  return {record.kind(), record.value_bytes(), footprint(record, geometry_.address_shift), record.version(),
          record.expiry()};
}

EntryInfo Cache::miss() const noexcept {
  EntryInfo entry;
  entry.version = sequence();
  return entry;
}

bool Cache::gather(const Key& key, const Record& record, Evidence* evidence) const noexcept {
  if (evidence == nullptr) return true;
  evidence->key = state_of(slot(key));
  evidence->database = state_of(databases_[key.database].slot);
  TagSlots& tags = evidence->tags;
  tags.count = 0;
  if (record.tagged())
    record.visit_tags([&](uint32_t slot) noexcept {
      tags.slots[tags.count++] = slot;
      return true;
    });
  // Whoever is no longer pending has raised the database's floor, or closed its gap around the entry.
  return !invalidated(record);
}

ReadResult Cache::peek(const Key& key, Milliseconds now, Evidence* evidence) const noexcept {
  const Hold hold(*this, shard_of(key), false);
  const Found found = find_live(key, now);
  if (!found || !gather(key, found.record, evidence)) return {Status::not_found, miss()};
  return {Status::ok, info(found.record)};
}

ReadResult Cache::read(const Key& key, Milliseconds now, Kinds kinds, Buffer buffer,
                       Evidence* evidence) const noexcept {
  ReadResult result{Status::ok, {}};
  LargeValue large;
  {
    const Hold hold(*this, shard_of(key), false);
    const Found found = find_live(key, now);
    if (!found || !gather(key, found.record, evidence)) return {Status::not_found, miss()};
    Record record = found.record;
    result.entry = info(record);
    if ((kinds & only(record.kind())) == 0) return {Status::wrong_kind, result.entry};
    record.used();
    if (result.entry.value_bytes > buffer.size()) return {Status::buffer_too_small, result.entry};
    touched(0, record.inline_bytes());
    if (!record.large()) {
      if (!buffer.empty()) std::memcpy(buffer.data(), record.inline_value(), record.inline_bytes());
      return result;
    }
    large = record.large_value();
    const uint32_t tail = record.inline_bytes() - static_cast<uint32_t>(sizeof large);
    std::memcpy(buffer.data() + large.value_bytes - tail, record.inline_value() + sizeof large, tail);
    segments_.pin(large);
  }
  segments_.copy_out(large, buffer.data());
  segments_.unpin(large);
  return result;
}

ReadResult Cache::take(const Key& key, Milliseconds now, Kinds kinds, Buffer buffer) noexcept {
  ReadResult result{Status::ok, {}};
  LargeValue large;
  const uint16_t shard = shard_of(key);
  {
    const Hold hold(*this, shard, true);
    const Found found = find_live(key, now);
    if (!found) return {Status::not_found, miss()};
    const Record record = found.record;
    result.entry = info(record);
    if ((kinds & only(record.kind())) == 0) return {Status::wrong_kind, result.entry};
    if (result.entry.value_bytes > buffer.size()) return {Status::buffer_too_small, result.entry};
    touched(0, record.inline_bytes());
    const bool is_large = record.large();
    if (is_large) {
      large = record.large_value();
      const uint32_t tail = record.inline_bytes() - static_cast<uint32_t>(sizeof large);
      std::memcpy(buffer.data() + large.value_bytes - tail, record.inline_value() + sizeof large, tail);
      segments_.pin(large);
    } else if (!buffer.empty()) {
      std::memcpy(buffer.data(), record.inline_value(), record.inline_bytes());
    }
    erase(shard, found, HashParts{key.hash}, Loss::replaced);
    // As a write, not as an invalidation: what others are computing for the key is none the worse for it.
    store_relaxed(slot(key).written, next_version());
    if (!is_large) return result;
  }
  segments_.copy_out(large, buffer.data());
  segments_.unpin(large);
  return result;
}

Status Cache::touch(const Key& key, Milliseconds now, Expiry expiry) noexcept {
  const Hold hold(*this, shard_of(key), true);
  const Found found = find_live(key, now);
  if (!found) return Status::not_found;
  Record record = found.record;
  const Milliseconds ends = resolve(expiry, found);
  record.set_expiry(ends);
  record.used();
  note_expiry(segments_.meta(segments_.segment_of(found.place.address())), ends);
  store_relaxed(slot(key).written, next_version());  // a saved copy with the old expiry is out of date
  return Status::ok;
}

Status Cache::remove(const Key& key, Milliseconds now, std::optional<Version> if_version, Transaction done,
                     Counted* counted) noexcept {
  const uint16_t shard = shard_of(key);
  const Hold hold(*this, shard, true);
  const Found found = find_live(key, now);
  if (if_version && (!found || found.record.version() != *if_version))
    return found ? Status::refused : Status::not_found;
  const Counted it = count(slot(key), done, false);
  if (counted != nullptr) *counted = it;
  if (!found) return Status::not_found;
  if (holds(Rule::stamp)) erase(shard, found, HashParts{key.hash}, Loss::replaced);
  return Status::ok;
}

bool Cache::scan(ScanCursor& cursor, uint16_t database, Milliseconds now, ScanBatch& batch) const noexcept {
  batch.count = batch.key_bytes_used = 0;
  if (cursor.shard >= geometry_.shards) return false;
  const Index buckets = index(static_cast<uint16_t>(cursor.shard));
  {
    const Hold hold(*this, cursor.shard, false);
    for (uint32_t visited = 0; visited < kBucketsPerScanHold && cursor.bucket < buckets.count() &&
                               batch.count + kBucketEntries <= ScanBatch::kEntries;
         ++visited, ++cursor.bucket) {
      const Bucket& bucket = buckets.bucket(cursor.bucket);
      for (uint32_t entry = 0; entry < kBucketEntries; ++entry) {
        if (bucket.tags[entry] == 0) continue;
        const Record record = segments_.record(bucket.addresses[entry]);
        touched(1, kRecordHeaderBytes);
        if ((database != kEveryDatabase && record.database() != database) || ended(record, now)) continue;
        const std::string_view bytes = record.key();
        touched(0, bytes.size());
        std::memcpy(batch.keys + batch.key_bytes_used, bytes.data(), bytes.size());
        batch.entries[batch.count++] = {static_cast<uint16_t>(batch.key_bytes_used),
                                        static_cast<uint16_t>(bytes.size()), record.database(), info(record)};
        batch.key_bytes_used += static_cast<uint32_t>(bytes.size());
      }
    }
  }
  if (cursor.bucket >= buckets.count()) cursor = {cursor.shard + 1, 0};
  return true;
}

bool Cache::sweep_database(ScanCursor& cursor, uint16_t database, Milliseconds now, uint64_t& dropped,
                           Version alive_above) noexcept {
  if (cursor.shard >= geometry_.shards) return false;
  const auto shard = static_cast<uint16_t>(cursor.shard);
  const Index buckets = index(shard);
  {
    const Hold hold(*this, shard, true);
    for (uint32_t visited = 0; visited < kBucketsPerScanHold && cursor.bucket < buckets.count();
         ++visited, ++cursor.bucket) {
      Bucket& bucket = buckets.bucket(cursor.bucket);
      for (uint32_t entry = 0; entry < kBucketEntries; ++entry) {
        if (bucket.tags[entry] == 0) continue;
        Found found;
        found.record = segments_.record(bucket.addresses[entry]);
        touched(1, kRecordHeaderBytes);
        if (found.record.database() != database || !ended(found.record, now)) continue;
        const bool in_time = !expired(found.record, now);
        const bool live = in_time && found.record.version() > alive_above && !tag_ended(found.record);
        const HashParts hash_of_key{hash(database, found.record.key())};
        const uint32_t address = bucket.addresses[entry];
        found.place =
            buckets.find(hash_of_key, [address](uint32_t candidate) noexcept { return candidate == address; });
        erase(shard, found, hash_of_key, in_time ? Loss::invalidated : Loss::expired);
        dropped += live ? 1 : 0;
      }
    }
  }
  if (cursor.bucket >= buckets.count()) cursor = {cursor.shard + 1, 0};
  return true;
}

std::optional<uint16_t> Cache::find_database(uint32_t oid) const noexcept {
  const Hold hold(*this, geometry_.shards, false);
  for (uint16_t number = 0; number < kMaxDatabases; ++number)
    if (load_relaxed(databases_[number].oid) == oid) return number;
  return std::nullopt;
}

std::optional<uint16_t> Cache::register_database(uint32_t oid, Transaction done,
                                                 std::span<const Transaction> prepared) noexcept {
  const Hold hold(*this, geometry_.shards, true);
  std::optional<uint16_t> vacant;
  for (uint16_t number = 0; number < kMaxDatabases; ++number) {
    if (databases_[number].oid == oid) return number;
    if (databases_[number].oid == 0 && !vacant) vacant = number;
  }
  if (vacant) {
    Database& database = databases_[*vacant];
    database = Database{};
    for (const Transaction transaction : prepared) static_cast<void>(join(database.slot, transaction | kPrepared));
    // What an earlier owner of the number left, and the misses of an earlier life, are nothing to this one.
    database.registered = count(database.slot, done, true).number;
    store_relaxed(database.oid, oid);
  }
  return vacant;
}

void Cache::forget_database(uint16_t database) noexcept {
  const Hold hold(*this, geometry_.shards, true);
  databases_[database] = Database{};
}

}  // namespace pgcache::engine

// The storage engine: a cache in a fixed span of bytes that many processes share.
//
// Guarantees
//  - A read returns a whole value that some write stored under exactly that key and that no later write, delete or
//    clear has replaced, and never one whose time is over.
//  - A write always finds room: what was read least gives way. It reports busy only while other writers of large
//    values hold their memory.
//  - One lock hold touches at most kMaxBytesPerHold bytes and kMaxItemsPerHold items, whatever the sizes of the values
//    and of the cache.
//  - What is invalidated is not stored again from a value that was computed before, and is read by nobody whose
//  snapshot
//    sees the transaction that invalidated it, if its callers keep to the protocol of versions.hpp.
//  - No call allocates, throws, waits for anything but a lock, or leaves half an update when it returns. A process
//    killed inside a call leaves the memory unusable: its owner must format it again, as the postmaster does.
//
// Locks: one for each shard, and one (the last) for the table of databases. None is taken while another is held.
#pragma once

#include "databases.hpp"
#include "environment.hpp"
#include "geometry.hpp"
#include "index.hpp"
#include "record.hpp"
#include "segments.hpp"
#include "shard.hpp"
#include "types.hpp"
#include "versions.hpp"

namespace pgcache::engine {

constexpr uint16_t kEveryDatabase = UINT16_MAX;

// Where a walk over all entries stands. Entries present during the whole walk are met exactly once.
struct ScanCursor {
  uint32_t shard = 0;
  uint32_t bucket = 0;
};

// One step of a walk. Holds copies, so nothing is locked while the caller looks at them.
struct ScanBatch {
  struct Entry {
    uint16_t key_at;
    uint16_t key_bytes;
    uint16_t database;
    EntryInfo info;
  };
  static constexpr uint32_t kEntries = 64;
  Entry entries[kEntries];
  uint32_t count = 0;
  uint32_t key_bytes_used = 0;
  char keys[kEntries * kMaxKeyBytes];

  [[nodiscard]] std::string_view key(const Entry& entry) const noexcept {
    return {keys + entry.key_at, entry.key_bytes};
  }
};

// Where the search for expired memory stands.
struct ExpiryCursor {
  uint32_t segment = 0;
};

struct ExpiryStep {
  uint32_t items = 0;     // entries dropped
  uint32_t segments = 0;  // segments given back
  bool wrapped = false;   // the step ended a round over all memory
};

// The deletion of keys, or of all that depends on a slot.
struct Invalidation {
  SlotNumber slot;
  Transaction done = 0;                 // no transaction that this is to be exact with was running at this end
  bool ends_entries = false;            // all that depend on the slot and are older; else those of `keys`
  std::span<const uint64_t> keys = {};  // hashes of keys whose slot it is, at most kMaxKeysPerInvalidation
  Transaction leaves = 0;               // the transaction to take out of `pending`, or 0
  bool was_listed = true;               // what announce said
  Version gap_from = 0;                 // of a database's slot: entries that are younger end too
};
constexpr size_t kMaxKeysPerInvalidation = 8;

struct Counted {
  Version found;   // the invalidation before
  Version number;  // this one
};

struct MemoryStatus {
  uint64_t bytes_total;  // the budget
  uint64_t bytes_free;   // in segments that hold nothing
};

// A handle: pointers into the shared memory, valid in this process only. Copy it freely.
class Cache {
 public:
  Cache() noexcept = default;

  // How many locks the environment must provide for that budget.
  static uint32_t lock_count(uint64_t memory) noexcept { return Geometry::of(memory).shards + 1; }

  // Makes an empty cache of the bytes: at least kMinMemory, 64-byte aligned. `secret` keys the hash. `sequence_floor`:
  // versions start above it, so that a version handed out by an earlier life of the cache never fits again.
  static Cache format(Buffer memory, const Environment& environment, uint64_t secret, Version sequence_floor) noexcept;
  // A handle to what another process has formatted.
  static Cache attach(Buffer memory, const Environment& environment) noexcept;

  [[nodiscard]] Key key(uint16_t database, std::string_view bytes) const noexcept;

  // A tag's hash, by which it finds its slot. It depends on the database's oid, not on its number.
  [[nodiscard]] uint64_t tag(uint16_t database, std::string_view bytes) const noexcept;

  // Copies the value into `buffer`, and what it depends on into `evidence` unless that is null; `peek` asks for the
  // entry alone and counts as no use of it.
  [[nodiscard]] ReadResult read(const Key& key, Milliseconds now, Kinds kinds, Buffer buffer,
                                Evidence* evidence = nullptr) const noexcept;
  [[nodiscard]] ReadResult peek(const Key& key, Milliseconds now, Evidence* evidence = nullptr) const noexcept;
  [[nodiscard]] WriteResult write(const Key& key, const WriteRequest& request, Milliseconds now) noexcept;
  // Reads and deletes; a refused or failed take deletes nothing.
  [[nodiscard]] ReadResult take(const Key& key, Milliseconds now, Kinds kinds, Buffer buffer) noexcept;
  [[nodiscard]] Status touch(const Key& key, Milliseconds now, Expiry expiry) noexcept;
  // Counts as an invalidation of the key, also where nothing stands: someone may be computing a value to put there.
  Status remove(const Key& key, Milliseconds now, std::optional<Version> if_version, Transaction done = 0,
                Counted* counted = nullptr) noexcept;
  [[nodiscard]] CounterResult increment(const Key& key, int64_t by, Expiry when_created, bool create_missing,
                                        Milliseconds now) noexcept;

  // False when the walk is over. Skips other databases' entries (unless kEveryDatabase is asked for) and those whose
  // time is over.
  bool scan(ScanCursor& cursor, uint16_t database, Milliseconds now, ScanBatch& batch) const noexcept;

  // The protocol of versions.hpp. False if the transaction found no place among those that are listed.
  bool announce(SlotNumber slot, Transaction transaction) noexcept;
  void withdraw(SlotNumber slot, Transaction transaction, bool was_listed) noexcept;
  Counted invalidate(const Invalidation& invalidation) noexcept;
  [[nodiscard]] SlotState slot_state(SlotNumber slot) const noexcept;
  // Above the `done` of everything that was counted under a number up to the sequence, if that was read before.
  [[nodiscard]] Transaction latest_done() const noexcept;

  // From here on no older entry of the database is read, and no fill whose miss came before is stored.
  Counted invalidate_database(uint16_t database, Transaction done = 0) noexcept;
  // As above for fills only: entries stay.
  Counted fence_database(uint16_t database, Transaction done = 0) noexcept;
  // The prepared transaction that had blocked the slot has ended, and no snapshot of the caller's has it as running.
  void unblock(SlotNumber slot, Transaction blocked, Transaction done) noexcept;
  // Once all that lies in a gap has been swept, it is over, unless it has grown meanwhile.
  void close_gap(uint16_t database, Version gap_to) noexcept;
  // Drops entries that have ended, a step at a time; counts those that only a floor above `alive_above` has. False when
  // over.
  bool sweep_database(ScanCursor& cursor, uint16_t database, Milliseconds now, uint64_t& dropped,
                      Version alive_above = 0) noexcept;
  // One step of giving expired memory back: looks at some thousand segments, rewrites or frees at most one.
  ExpiryStep expire(ExpiryCursor& cursor, Milliseconds now) noexcept;

  // The database's number for Key, registering it; none if kMaxDatabases others are. A new one begins with the
  // prepared transactions pending on all of it, and closed to snapshots that end below `done`.
  [[nodiscard]] std::optional<uint16_t> register_database(uint32_t oid, Transaction done = 0,
                                                          std::span<const Transaction> prepared = {}) noexcept;
  [[nodiscard]] std::optional<uint16_t> find_database(uint32_t oid) const noexcept;
  // The number may then serve another database. Sweep first.
  void forget_database(uint16_t database) noexcept;
  [[nodiscard]] Database& database(uint16_t number) const noexcept { return databases_[number]; }

  [[nodiscard]] Version sequence() const noexcept;
  // A number that nothing else has.
  [[nodiscard]] Version next_version() noexcept;
  [[nodiscard]] uint64_t secret() const noexcept;
  [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] MemoryStatus memory_status() const noexcept;
  // The slots of a key's and of a tag's hash, below slot_count(). No key and tag share one: a tag's invalidations end
  // entries by their slot, and are to spare those that only have their key there.
  [[nodiscard]] SlotNumber slot_number(uint64_t hash) const noexcept;
  [[nodiscard]] SlotNumber tag_slot_number(uint64_t hash) const noexcept;
  [[nodiscard]] uint32_t slot_count() const noexcept { return geometry_.shards * geometry_.slots_per_shard; }
  [[nodiscard]] SlotNumber database_slot(uint16_t database) const noexcept { return slot_count() + database; }
  // Since when nothing has happened there; kMaxVersion while something is pending.
  [[nodiscard]] Version slot_changed(SlotNumber slot) const noexcept;

 private:
  struct Header;
  class Hold;
  // How a pass over a segment treats the live records in it.
  enum class Pass : uint8_t { evict, compact, expire, drop_all };
  enum class Loss : uint8_t { replaced, evicted, expired, invalidated };
  // A value that is on its way in: its large part is written already, the rest waits in the request.
  struct Incoming;
  // Of one record under the shard's lock.
  struct Found {
    Place place;
    Record record{nullptr};
    explicit operator bool() const noexcept { return static_cast<bool>(place); }
  };

  static Cache at(Buffer memory, const Environment& environment) noexcept;

  // Everything below runs under the lock of the shard that it names.
  [[nodiscard]] uint16_t shard_of(const Key& key) const noexcept;
  [[nodiscard]] Index index(uint16_t shard) const noexcept;
  [[nodiscard]] VersionSlot& slot(const Key& key) const noexcept;
  // False if the entry has ended meanwhile.
  [[nodiscard]] bool gather(const Key& key, const Record& record, Evidence* evidence) const noexcept;
  [[nodiscard]] Found find(const Key& key) const noexcept;
  [[nodiscard]] Found find_live(const Key& key, Milliseconds now) const noexcept;
  [[nodiscard]] Found find_hashed(uint16_t shard, uint64_t hash) const noexcept;
  // The slot of its key is not looked at.
  [[nodiscard]] bool ended(const Record& record, Milliseconds now) const noexcept;
  [[nodiscard]] bool invalidated(const Record& record) const noexcept;
  [[nodiscard]] bool tag_ended(const Record& record) const noexcept;
  [[nodiscard]] bool expired(const Record& record, Milliseconds now) const noexcept;
  [[nodiscard]] EntryInfo info(const Record& record) const noexcept;
  [[nodiscard]] EntryInfo miss() const noexcept;
  [[nodiscard]] bool nobody_since(const Key& key, const WriteRequest& request, Version now) const noexcept;
  // Nothing was counted after that number, nor is being counted.
  [[nodiscard]] static bool uncounted(const VersionSlot& slot, Version since) noexcept;
  [[nodiscard]] bool uncounted(const Key& key, const KnownStamps& known, std::span<const uint32_t> tags) const noexcept;

  [[nodiscard]] Status may_write(const Key& key, const Found& existing, const WriteRequest& request,
                                 Version version) const noexcept;
  void keep_tags(const Found& existing, Incoming& incoming) const noexcept;
  [[nodiscard]] bool carries_over(const Record& record) const noexcept;
  [[nodiscard]] Found find_to_write(const Key& key, Incoming& incoming, Milliseconds now) noexcept;
  [[nodiscard]] QueueName queue_for(const Key& key, const Found& existing, Incoming& incoming) noexcept;
  [[nodiscard]] uint32_t append(uint32_t segment, const Key& key, const WriteRequest& request, const Incoming& incoming,
                                Milliseconds expiry, Version version) noexcept;
  void point_to(const Key& key, const Found& existing, uint32_t address) noexcept;
  [[nodiscard]] WriteResult place(const Key& key, const WriteRequest& request, Incoming& incoming, Milliseconds now,
                                  uint32_t& spare, bool& needs_segment) noexcept;
  [[nodiscard]] Milliseconds resolve(const Expiry& expiry, const Found& existing) const noexcept;
  void store(Record record, const WriteRequest& request, const Incoming& incoming, Milliseconds expiry,
             Version version) noexcept;
  [[nodiscard]] uint32_t room_for(uint16_t shard, QueueName queue, uint32_t ttl_class, uint32_t bytes,
                                  uint32_t& spare) noexcept;
  [[nodiscard]] Place make_place(uint16_t shard, HashParts hash) noexcept;
  void note_expiry(SegmentMeta& meta, Milliseconds expiry) noexcept;
  void forget_record(uint16_t shard, uint32_t segment, Record record, Loss loss) noexcept;
  void note_end(uint64_t hash, const Record& record) noexcept;
  void erase(uint16_t shard, const Found& found, HashParts hash, Loss loss) noexcept;
  void close_if_empty(uint16_t shard, uint32_t segment) noexcept;
  void open_segment(uint16_t shard, QueueName queue, uint32_t ttl_class, uint32_t segment) noexcept;
  void free_segment(uint16_t shard, uint32_t segment) noexcept;  // out of its queue, into nobody's

  void drop_others(uint16_t shard, uint32_t segment, Pass pass, Milliseconds now, uint32_t& dropped) noexcept;
  void move_survivors(uint16_t shard, uint32_t segment, QueueName to, Pass pass) noexcept;
  [[nodiscard]] uint32_t rewrite(uint16_t shard, uint32_t segment, Pass pass, Milliseconds now,
                                 uint32_t& dropped) noexcept;
  void survived(uint16_t shard, Record record, QueueName from, QueueName to, Pass pass) noexcept;
  [[nodiscard]] uint32_t reclaim_oldest(uint16_t shard, bool force, Milliseconds now) noexcept;

  [[nodiscard]] uint32_t lock_of(SlotNumber slot) const noexcept;
  [[nodiscard]] VersionSlot& version_slot(SlotNumber slot) const noexcept;
  Counted count(VersionSlot& slot, Transaction done, bool ends_entries) noexcept;
  Counted count_gap(Database& database, const Invalidation& invalidation) noexcept;
  [[nodiscard]] bool join(VersionSlot& slot, Transaction transaction) noexcept;

  // These take locks themselves.
  [[nodiscard]] uint32_t obtain_segment(uint16_t near, Milliseconds now) noexcept;
  [[nodiscard]] uint16_t choose_victim(uint16_t near) noexcept;
  [[nodiscard]] Status write_large_part(uint16_t near, Bytes value, Incoming& incoming, Milliseconds now) noexcept;

  [[nodiscard]] uint64_t hash(uint16_t database, std::string_view bytes) const noexcept;

  Header* header_ = nullptr;
  Database* databases_ = nullptr;
  Shard* shards_ = nullptr;
  VersionSlot* slots_ = nullptr;
  Bucket* buckets_ = nullptr;
  GhostSet* ghosts_ = nullptr;
  Segments segments_;
  Geometry geometry_{};
  Environment environment_{};
};

}  // namespace pgcache::engine

// A partition of the table: where its counts lie, and whose place may be taken. The caller holds its lock.
//
// A key has two buckets, its homes, chosen by its hash; all cells of the key lie in them. A new cell goes to the
// emptier one (Azar, Broder, Karlin, Upfal, SIAM Journal on Computing 29(1), 1999); if both are full, what has run off
// gives way; if nothing has, one of their cells moves to its other home (Pagh, Rodler, Journal of Algorithms 51(2),
// 2004).
#pragma once

#include "limits/denied_keys.hpp"
#include "limits/hit_log.hpp"

namespace pgcache::limits {

constexpr uint32_t kCellsPerBucket = 8;
// So many are searched in one hold of the lock.
constexpr uint32_t kBucketsPerHold = 64;
// The lowest bits of a cell's name: whether it has a log, and of calendar the unit plus one.
constexpr uint64_t kHasLog = 1;
constexpr uint64_t kUnitFactor = 2;
constexpr uint64_t kNameBits = 7;

// Cells by columns: a search looks at one cache line of a bucket.
struct alignas(64) Bucket {
  uint64_t keys[kCellsPerBucket];   // 0: empty
  uint64_t names[kCellsPerBucket];  // which count of the key
  Count counts[kCellsPerBucket];
};
static_assert(engine::Shareable<Bucket> && sizeof(Bucket) == uint64_t{48} * kCellsPerBucket);

// A place in the table.
struct Cell {
  Bucket* bucket = nullptr;
  uint32_t number = 0;

  explicit operator bool() const noexcept { return bucket != nullptr; }
  [[nodiscard]] uint64_t& key() const noexcept { return bucket->keys[number]; }
  [[nodiscard]] uint64_t& name() const noexcept { return bucket->names[number]; }
  [[nodiscard]] Count& count() const noexcept { return bucket->counts[number]; }
  [[nodiscard]] bool has_log() const noexcept { return (name() & kHasLog) != 0; }
  // The calendar's unit plus one; 0: of another algorithm.
  [[nodiscard]] uint64_t unit() const noexcept { return (name() & kNameBits) / kUnitFactor; }
  [[nodiscard]] bool has_run_off(int64_t now) const noexcept {
    return count().fresh_at <= now && count().charged_at <= now;
  }
};

// When a call takes place. A cell that was charged later was either charged by a process that was faster, or the clock
// was set back. The clock, read once more after the cell was seen, tells: if it is still earlier, it was set back. It
// is read once more at most; a cell that has been charged again by then shows that processes are faster.
struct Moment {
  int64_t now = 0;
  int64_t seen = INT64_MIN;  // the latest charge that was seen before the clock was read
  bool is_second = false;    // the clock has been read once more

  [[nodiscard]] bool is_before(const Cell& cell) const noexcept { return cell.count().charged_at > now; }
  // The clock was set back.
  [[nodiscard]] bool is_surely_before(const Cell& cell) const noexcept {
    return is_before(cell) && cell.count().charged_at <= seen;
  }
  // The clock must be read again to know.
  [[nodiscard]] bool is_doubtful(const Cell& cell) const noexcept { return !is_second && is_before(cell); }
  void doubt(int64_t charged_at) noexcept {
    seen = charged_at;
    is_second = true;
  }
};

struct alignas(64) PartitionState {
  int64_t allowed;
  int64_t denied;
  int64_t forgotten;
  int64_t no_room;
  uint32_t cells;
  uint32_t free_log;
  uint32_t free_logs;
  uint32_t search_hand;  // the bucket to go on with
  uint32_t log_changes;  // counts what may make a log run off earlier than a search has found
  // No log runs off between these, so that a search is in vain.
  int64_t searched_at;
  int64_t next_log;
  alignas(64) DeniedKeys denied_keys;
};
static_assert(engine::Shareable<PartitionState>);

// A search for logs that have run off, over several holds.
struct LogSearch {
  uint32_t searched = 0;         // buckets
  uint32_t changes = 0;          // log_changes when it began
  int64_t next = kNever;         // when the first of those runs off that were met
  int64_t doubtful = INT64_MIN;  // the latest charge of which it must be known whether the clock was set back
};

struct Homes {
  Bucket* buckets[2];

  template <typename Visit>
  void for_cells(Visit visit) const noexcept {
    for (Bucket* bucket : buckets)
      for (uint32_t number = 0; number < kCellsPerBucket; ++number) visit(Cell{bucket, number});
  }
};

class Partition {
 public:
  Partition(PartitionState& state, Bucket* buckets, uint32_t bucket_count, LogBlock* logs) noexcept
      : state_(state), buckets_(buckets), bucket_count_(bucket_count), logs_{logs, &state.free_log, &state.free_logs} {}

  [[nodiscard]] PartitionState& state() const noexcept { return state_; }
  [[nodiscard]] LogPool logs() const noexcept { return logs_; }

  [[nodiscard]] Homes homes(uint64_t hash) const noexcept {
    return {{&buckets_[first_bucket(hash)], &buckets_[second_bucket(hash)]}};
  }
  // Nothing if there is no room. Cells that were found before may have moved, or be gone.
  Cell add(uint64_t hash, uint64_t name, const Moment& moment) noexcept;
  void release(const Cell& cell) noexcept;

  // Whether the pool has so many blocks, perhaps after a search. If not, and all was searched, there are none.
  bool find_logs(uint32_t wanted, const Moment& moment, LogSearch& search) noexcept;
  [[nodiscard]] bool has_searched_all(const LogSearch& search) const noexcept {
    return search.searched >= bucket_count_;
  }
  // The clock was set back to before the cell's last charge.
  void set_back(const Cell& cell, int64_t now) noexcept;
  // A log was written, or put elsewhere, that runs off then.
  void note_log(int64_t runs_off_at) noexcept;

 private:
  [[nodiscard]] uint32_t first_bucket(uint64_t hash) const noexcept {
    return static_cast<uint32_t>((hash >> 5 & 0xffffffff) * bucket_count_ >> 32);
  }
  [[nodiscard]] uint32_t second_bucket(uint64_t hash) const noexcept {
    const auto number = static_cast<uint32_t>((hash >> 32) * bucket_count_ >> 32);
    return number != first_bucket(hash) ? number : (number + 1) % bucket_count_;
  }
  [[nodiscard]] static Cell empty_cell(const Homes& homes) noexcept;
  // A cell is only given away where time has surely passed.
  bool has_run_off(const Cell& cell, const Moment& moment) noexcept;
  Cell place_in(Bucket& bucket, const Moment& moment) noexcept;
  Cell moved_away(const Homes& homes, const Moment& moment) noexcept;
  void forget(const Cell& cell) noexcept;
  void search_logs(const Moment& moment, LogSearch& search) noexcept;
  void search_bucket(Bucket& bucket, const Moment& moment, LogSearch& search) noexcept;

  PartitionState& state_;
  Bucket* buckets_;
  uint32_t bucket_count_;
  LogPool logs_;
};

}  // namespace pgcache::limits

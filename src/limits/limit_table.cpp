#include "limits/limit_table.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace pgcache::limits {

namespace {

constexpr uint64_t kMagic = 0x70676361'6c696d31;  // changes with the layout
constexpr uint64_t kHasLog = 1;

uint64_t scrambled(uint64_t bits) noexcept {
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
  return bits ^ bits >> 31;
}

uint64_t block_name(const Key& key) noexcept { return key.second & ~kHasLog; }

uint64_t count_name(const Key& key, const Limit& limit) noexcept {
  const auto algorithm = static_cast<uint64_t>(limit.algorithm) + 1;
  const uint64_t name = key.second + scrambled(scrambled(static_cast<uint64_t>(limit.period)) + algorithm);
  return (name & ~kHasLog) | (limit.algorithm == Algorithm::exact ? kHasLog : 0);
}

// A place in the table.
struct Cell {
  Bucket* bucket = nullptr;
  uint32_t number = 0;

  explicit operator bool() const noexcept { return bucket != nullptr; }
  [[nodiscard]] uint64_t& key() const noexcept { return bucket->keys[number]; }
  [[nodiscard]] uint64_t& name() const noexcept { return bucket->names[number]; }
  [[nodiscard]] Count& count() const noexcept { return bucket->counts[number]; }
  [[nodiscard]] bool has_log() const noexcept { return (name() & kHasLog) != 0; }
  [[nodiscard]] bool has_run_off(int64_t now) const noexcept {
    return count().fresh_at <= now && count().charged_at <= now;
  }
};

}  // namespace

struct LimitTable::Front {
  uint64_t magic;
  uint64_t bytes;
  uint32_t partitions;
  uint32_t partition_bytes;
  uint32_t buckets_each;
  uint32_t logs_each;
  Secrets secrets;
  int64_t since;  // relaxed
};

struct alignas(64) LimitTable::Partition {
  int64_t allowed;
  int64_t denied;
  int64_t forgotten;
  int64_t no_room;
  uint32_t cells;
  uint32_t free_log;
  uint32_t free_logs;
  uint32_t sweep_hand;   // the bucket to go on with
  uint32_t log_changes;  // counts what may make a log run off earlier than a search has found
  int64_t next_log;      // before that none runs off, so that a search is in vain. 0: unknown
  alignas(64) DeniedKeys denied_keys;
};

struct LimitTable::Geometry {
  uint64_t partitions_at;
  uint64_t buckets_at;
  uint64_t logs_at;
  uint32_t buckets_each;
  uint32_t logs_each;
};

// What a call carries from one hold of the lock to the next.
struct LimitTable::Attempt {
  int64_t now = 0;
  int64_t seen = INT64_MIN;   // the latest charge that was seen before the clock was read
  uint32_t swept = 0;         // buckets searched for logs that have run off
  uint32_t log_changes = 0;   // when the search began
  int64_t next_log = kNever;  // when the first log runs off that was met there
};

// A key's partition under its lock.
class LimitTable::Hold {
 public:
  Hold(LimitTable& table, const Key& key) noexcept
      : table_(table),
        key_(key),
        number_(static_cast<uint32_t>(key.first) % kPartitions),
        partition_(table.partitions_[number_]),
        buckets_(table.buckets_ + uint64_t{number_} * table.buckets_each_),
        pool_{table.logs_ + uint64_t{number_} * table.logs_each_, &partition_.free_log, &partition_.free_logs} {
    table_.environment_.lock(table_.environment_.context, number_, true);
    home_[0] = &buckets_[first_bucket(key.first)];
    home_[1] = &buckets_[second_bucket(key.first)];
  }
  ~Hold() { table_.environment_.unlock(table_.environment_.context, number_, true); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  // Nothing: the call must come again.
  std::optional<Verdict> charge(const Request& request, Attempt& attempt) noexcept;
  std::optional<Verdict> peek(const Request& request, Attempt& attempt) noexcept;
  std::optional<Verdict> refund(const Request& request, Attempt& attempt) noexcept;
  int64_t block(int64_t duration, int64_t now) noexcept;
  bool unblock(int64_t now) noexcept;
  uint32_t reset(int64_t now) noexcept;

 private:
  // What there is of the key.
  struct Found {
    Cell count;
    Cell block;
  };

  // How a count stands with a limit.
  struct Standing {
    Count count;  // of exact, as it is stored
    int64_t remaining;
    bool counts;  // false: there is nothing to wait for
  };

  [[nodiscard]] uint32_t first_bucket(uint64_t hash) const noexcept {
    return static_cast<uint32_t>((hash >> 5 & 0xffffffff) * table_.buckets_each_ >> 32);
  }
  [[nodiscard]] uint32_t second_bucket(uint64_t hash) const noexcept {
    const auto number = static_cast<uint32_t>((hash >> 32) * table_.buckets_each_ >> 32);
    return number != first_bucket(hash) ? number : (number + 1) % table_.buckets_each_;
  }

  [[nodiscard]] Found find(uint64_t name) const noexcept;
  std::optional<Found> find_in_time(const Limit& limit, Attempt& attempt) noexcept;
  bool is_in_time(const Cell& cell, const Limit& limit, Attempt& attempt) noexcept;

  [[nodiscard]] Standing standing(const Cell& cell, const Limit& limit, int64_t now) const noexcept;
  [[nodiscard]] int64_t wait(const Standing& standing, const Request& request, int64_t now) const noexcept;
  void add_reset(Verdict& verdict, const Standing& standing, const Limit& limit, int64_t now) const noexcept;
  // reset_after is that of the block.
  [[nodiscard]] Verdict judge(const Found& found, const Standing& standing, const Request& request,
                              int64_t now) const noexcept;

  enum class Taken : uint8_t { yes, no_room, again };
  Taken take(Cell cell, const Standing& standing, const Request& request, Attempt& attempt, Verdict& verdict) noexcept;
  bool find_logs(uint32_t wanted, Attempt& attempt) noexcept;
  void note_log(int64_t runs_off_at) noexcept {
    partition_.next_log = std::min(partition_.next_log, runs_off_at);
    ++partition_.log_changes;
  }
  void be_full(const Request& request, const Attempt& attempt, Verdict& verdict) noexcept;
  void block_for(const Cell& found, int64_t duration, int64_t now, Verdict& verdict) noexcept;
  void deny(const Found& found, const Request& request, int64_t now, Verdict& verdict) noexcept;
  void tally(const Verdict& verdict, int64_t now) noexcept;

  Cell new_cell(uint64_t name, int64_t now) noexcept;
  [[nodiscard]] Cell empty_home() const noexcept;
  [[nodiscard]] Cell place_in(Bucket& bucket, int64_t now) noexcept;
  Cell moved_away(int64_t now) noexcept;
  void release(const Cell& cell) noexcept;
  void forget(const Cell& cell) noexcept;

  template <typename Visit>
  void for_homes(Visit visit) const noexcept {
    for (Bucket* bucket : home_)
      for (uint32_t number = 0; number < kCellsPerBucket; ++number) visit(Cell{bucket, number});
  }

  LimitTable& table_;
  const Key& key_;
  uint32_t number_;
  Partition& partition_;
  Bucket* buckets_;
  LogPool pool_;
  Bucket* home_[2];
};

// ---- places

LimitTable::Hold::Found LimitTable::Hold::find(uint64_t name) const noexcept {
  Found found;
  const uint64_t block = block_name(key_);
  for (Bucket* bucket : home_)
    for (uint32_t number = 0; number < kCellsPerBucket; ++number) {
      if (bucket->keys[number] != key_.first) continue;
      if (bucket->names[number] == name) found.count = {bucket, number};
      if (bucket->names[number] == block) found.block = {bucket, number};
    }
  return found;
}

void LimitTable::Hold::release(const Cell& cell) noexcept {
  if (cell.has_log()) HitLog(cell.count(), pool_).drop_all();
  cell.key() = 0;
  --partition_.cells;
}

void LimitTable::Hold::forget(const Cell& cell) noexcept {
  release(cell);
  ++partition_.forgotten;
}

// In the emptier of the two buckets, so that both fill evenly.
Cell LimitTable::Hold::empty_home() const noexcept {
  Cell best;
  ptrdiff_t most = 0;
  for (Bucket* bucket : home_) {
    const ptrdiff_t empty = std::count(bucket->keys, bucket->keys + kCellsPerBucket, 0);
    if (empty <= most) continue;
    most = empty;
    best = {bucket, static_cast<uint32_t>(std::find(bucket->keys, bucket->keys + kCellsPerBucket, 0) - bucket->keys)};
  }
  return best;
}

// Empty, or emptied of what has run off.
Cell LimitTable::Hold::place_in(Bucket& bucket, int64_t now) noexcept {
  for (uint32_t number = 0; number < kCellsPerBucket; ++number) {
    const Cell cell{&bucket, number};
    if (cell.key() == 0) return cell;
    if (!cell.has_run_off(now)) continue;
    forget(cell);
    return cell;
  }
  return {};
}

// A place that becomes free because its cell goes to its other bucket.
Cell LimitTable::Hold::moved_away(int64_t now) noexcept {
  for (Bucket* bucket : home_)
    for (uint32_t number = 0; number < kCellsPerBucket; ++number) {
      const Cell cell{bucket, number};
      Bucket& one = buckets_[first_bucket(cell.key())];
      Bucket& other = &one == bucket ? buckets_[second_bucket(cell.key())] : one;
      const Cell place = place_in(other, now);
      if (!place) continue;
      place.key() = cell.key();
      place.name() = cell.name();
      place.count() = cell.count();
      cell.key() = 0;
      return cell;
    }
  return {};
}

// Whatever else was found before may have moved.
Cell LimitTable::Hold::new_cell(uint64_t name, int64_t now) noexcept {
  Cell cell = empty_home();
  for (int i = 0; i < 2 && !cell; ++i) cell = place_in(*home_[i], now);
  if (!cell) cell = moved_away(now);
  if (!cell) return cell;
  cell.key() = key_.first;
  cell.name() = name;
  cell.count() = Count{};
  ++partition_.cells;
  return cell;
}

// ---- time

// False: the cell was charged after the clock was read, as far as is known.
bool LimitTable::Hold::is_in_time(const Cell& cell, const Limit& limit, Attempt& attempt) noexcept {
  if (!cell || cell.count().charged_at <= attempt.now) return true;
  if (cell.count().charged_at > attempt.seen) {
    attempt.seen = cell.count().charged_at;
    return false;
  }
  if (!cell.has_log()) {
    set_back(cell.count(), limit, attempt.now);
  } else {
    HitLog(cell.count(), pool_).set_back(attempt.now);
    note_log(cell.count().fresh_at);
  }
  return true;
}

std::optional<LimitTable::Hold::Found> LimitTable::Hold::find_in_time(const Limit& limit, Attempt& attempt) noexcept {
  const Found found = find(count_name(key_, limit));
  constexpr Limit kBlock{Algorithm::fixed, 1, 1, 1};
  if (is_in_time(found.count, limit, attempt) && is_in_time(found.block, kBlock, attempt)) return found;
  return std::nullopt;
}

// ---- judging

LimitTable::Hold::Standing LimitTable::Hold::standing(const Cell& cell, const Limit& limit,
                                                      int64_t now) const noexcept {
  if (limit.quota == 0) return {{}, 0, false};
  if (!cell) return {{}, limit.capacity(), false};
  if (limit.algorithm == Algorithm::exact) {
    const HitLog log(cell.count(), pool_);
    return {cell.count(), std::max<int64_t>(limit.quota - log.used(limit.period, now), 0), true};
  }
  const Count count = at(cell.count(), limit, now);
  return {count, remaining(count, limit, now), true};
}

// What `take` has taken tells its own.
void LimitTable::Hold::add_reset(Verdict& verdict, const Standing& standing, const Limit& limit,
                                 int64_t now) const noexcept {
  if (!standing.counts) return;
  Count count = standing.count;
  const int64_t reset = limit.algorithm == Algorithm::exact ? HitLog(count, pool_).reset(limit.period, now)
                                                            : limits::reset(count, limit, now);
  verdict.reset_after = std::max(verdict.reset_after, reset);
}

int64_t LimitTable::Hold::wait(const Standing& standing, const Request& request, int64_t now) const noexcept {
  if (request.cost <= standing.remaining) return 0;
  if (request.limit.algorithm != Algorithm::exact)
    return limits::wait(standing.count, request.limit, request.cost, now);
  Count count = standing.count;
  const HitLog log(count, pool_);
  return log.wait(log.used(request.limit.period, now) + request.cost - request.limit.quota, request.limit.period, now);
}

Verdict LimitTable::Hold::judge(const Found& found, const Standing& standing, const Request& request,
                                int64_t now) const noexcept {
  const bool is_blocked = found.block && found.block.count().fresh_at > now;
  const int64_t blocked_for = is_blocked ? found.block.count().fresh_at - now : 0;
  Verdict verdict{
      .allowed = false,
      .lacks_room = false,
      .reason = Reason::none,
      .remaining = is_blocked ? 0 : standing.remaining,
      .retry_after = kNever,
      .reset_after = blocked_for,
      .blocked_until = is_blocked ? found.block.count().fresh_at : 0,
  };
  if (request.limit.quota == 0)
    verdict.reason = Reason::quota_is_zero;
  else if (request.cost > request.limit.capacity())
    verdict.reason = Reason::cost_exceeds_limit;
  else {
    verdict.allowed = request.cost <= standing.remaining && !is_blocked;
    verdict.retry_after = std::max(wait(standing, request, now), blocked_for);
    if (!verdict.allowed) verdict.reason = is_blocked ? Reason::blocked : Reason::limit_exceeded;
  }
  return verdict;
}

// ---- calls

// Whether the pool has so many blocks, perhaps after a search; if not, and attempt.swept says that all was searched,
// there are none.
bool LimitTable::Hold::find_logs(uint32_t wanted, Attempt& attempt) noexcept {
  if (*pool_.free_count >= wanted) return true;
  if (attempt.swept == 0) {
    attempt.log_changes = partition_.log_changes;
    if (attempt.now < partition_.next_log) {
      attempt.swept = table_.buckets_each_;
      attempt.next_log = partition_.next_log;
      return false;
    }
  }
  for (uint32_t i = 0; i < kBucketsPerHold && attempt.swept < table_.buckets_each_; ++i, ++attempt.swept) {
    Bucket& bucket = buckets_[partition_.sweep_hand];
    partition_.sweep_hand = (partition_.sweep_hand + 1) % table_.buckets_each_;
    for (uint32_t number = 0; number < kCellsPerBucket; ++number) {
      const Cell cell{&bucket, number};
      if (cell.key() == 0 || !cell.has_log()) continue;
      if (cell.has_run_off(attempt.now))
        forget(cell);
      else if (attempt.next_log == kNever || cell.count().fresh_at < attempt.next_log)
        attempt.next_log = cell.count().fresh_at;
    }
  }
  if (*pool_.free_count < wanted) {
    if (attempt.swept >= table_.buckets_each_ && attempt.log_changes == partition_.log_changes)
      partition_.next_log = std::max<int64_t>(attempt.next_log, 0);
    return false;
  }
  attempt.next_log = kNever;
  return true;
}

LimitTable::Hold::Taken LimitTable::Hold::take(Cell cell, const Standing& standing, const Request& request,
                                               Attempt& attempt, Verdict& verdict) noexcept {
  const Limit& limit = request.limit;
  const int64_t now = attempt.now;
  const bool is_exact = limit.algorithm == Algorithm::exact;
  if (is_exact) {
    Count none{};
    HitLog log(cell ? cell.count() : none, pool_);
    log.drop_run_off(limit.period, now);
    const uint64_t name = count_name(key_, limit);
    if (!find_logs(log.blocks_for(request.cost), attempt))
      return attempt.swept < table_.buckets_each_ ? Taken::again : Taken::no_room;
    // The search may have taken the cell away.
    cell = find(name).count;
  }
  if (!cell) cell = new_cell(count_name(key_, limit), now);
  if (!cell) return Taken::no_room;
  if (is_exact) {
    HitLog(cell.count(), pool_).append(request.cost, limit.period, now);
    note_log(cell.count().fresh_at);
    verdict.reset_after = limit.period;
  } else {
    cell.count() = standing.count;
    limits::take(cell.count(), limit, request.cost, now);
    verdict.reset_after = limits::reset(cell.count(), limit, now);
  }
  verdict.remaining -= request.cost;
  return Taken::yes;
}

void LimitTable::Hold::be_full(const Request& request, const Attempt& attempt, Verdict& verdict) noexcept {
  ++partition_.no_room;
  verdict.lacks_room = true;
  verdict.reason = Reason::memory_full;
  verdict.allowed = request.allow_when_full;
  if (verdict.allowed) {
    verdict.remaining -= request.cost;
    return;
  }
  int64_t next = INT64_MAX;
  for_homes([&](const Cell& cell) { next = std::min(next, cell.count().fresh_at); });
  if (attempt.next_log != kNever) next = attempt.next_log;
  verdict.remaining = 0;
  verdict.retry_after = std::max<int64_t>(next - attempt.now, 1);
}

void LimitTable::Hold::block_for(const Cell& found, int64_t duration, int64_t now, Verdict& verdict) noexcept {
  const Cell cell = found ? found : new_cell(block_name(key_), now);
  if (!cell) {
    ++partition_.no_room;
    verdict.lacks_room = true;
    return;
  }
  cell.count() = {.charged_at = now, .fresh_at = later(now, duration), .used = 0, .rest = 0};
  verdict.blocked_until = cell.count().fresh_at;
  verdict.remaining = 0;
  verdict.retry_after = std::max(verdict.retry_after, duration);
  verdict.reset_after = std::max(verdict.reset_after, duration);
}

void LimitTable::Hold::deny(const Found& found, const Request& request, int64_t now, Verdict& verdict) noexcept {
  // A limit that is lower than the one that charged waits longer for the count to run off.
  Count& count = found.count.count();
  count.fresh_at = std::max(count.fresh_at, later(now, verdict.reset_after));
  if (request.block > 0) block_for(found.block, request.block, now, verdict);
}

void LimitTable::Hold::tally(const Verdict& verdict, int64_t now) noexcept {
  ++(verdict.allowed ? partition_.allowed : partition_.denied);
  // Where there is no room the key has done nothing.
  if (!verdict.allowed && verdict.reason != Reason::memory_full)
    partition_.denied_keys.count(key_.first, key_.database, key_.text, now);
}

std::optional<Verdict> LimitTable::Hold::charge(const Request& request, Attempt& attempt) noexcept {
  const std::optional<Found> found = find_in_time(request.limit, attempt);
  if (!found) return std::nullopt;
  const Standing stands = standing(found->count, request.limit, attempt.now);
  Verdict verdict = judge(*found, stands, request, attempt.now);
  if (verdict.allowed) {
    const Taken taken = take(found->count, stands, request, attempt, verdict);
    if (taken == Taken::again) return std::nullopt;
    if (taken == Taken::no_room) be_full(request, attempt, verdict);
  } else {
    add_reset(verdict, stands, request.limit, attempt.now);
    if (verdict.reason == Reason::limit_exceeded) deny(*found, request, attempt.now, verdict);
  }
  tally(verdict, attempt.now);
  return verdict;
}

std::optional<Verdict> LimitTable::Hold::peek(const Request& request, Attempt& attempt) noexcept {
  const std::optional<Found> found = find_in_time(request.limit, attempt);
  if (!found) return std::nullopt;
  const Standing stands = standing(found->count, request.limit, attempt.now);
  Verdict verdict = judge(*found, stands, request, attempt.now);
  add_reset(verdict, stands, request.limit, attempt.now);
  return verdict;
}

std::optional<Verdict> LimitTable::Hold::refund(const Request& request, Attempt& attempt) noexcept {
  std::optional<Found> found = find_in_time(request.limit, attempt);
  if (!found) return std::nullopt;
  if (found->count && request.limit.quota > 0) {
    Count& count = found->count.count();
    if (request.limit.algorithm == Algorithm::exact) {
      HitLog log(count, pool_);
      log.drop_run_off(request.limit.period, attempt.now);
      log.drop_oldest(request.cost);
    } else {
      give_back(count, request.limit, request.cost);
    }
    if (count.used == 0 && count.rest == 0) release(std::exchange(found->count, Cell{}));
  }
  Request look = request;
  look.cost = 0;
  const Standing stands = standing(found->count, request.limit, attempt.now);
  Verdict verdict = judge(*found, stands, look, attempt.now);
  add_reset(verdict, stands, request.limit, attempt.now);
  verdict.allowed = true;
  verdict.reason = Reason::none;
  verdict.retry_after = 0;
  return verdict;
}

int64_t LimitTable::Hold::block(int64_t duration, int64_t now) noexcept {
  Verdict verdict{};
  block_for(find(block_name(key_)).block, duration, now, verdict);
  return verdict.blocked_until;
}

bool LimitTable::Hold::unblock(int64_t now) noexcept {
  const Cell block = find(block_name(key_)).block;
  if (!block) return false;
  const bool was_blocked = !block.has_run_off(now);
  release(block);
  return was_blocked;
}

uint32_t LimitTable::Hold::reset(int64_t now) noexcept {
  uint32_t counts = 0;
  for_homes([&](const Cell& cell) {
    if (cell.key() != key_.first) return;
    if (cell.name() != block_name(key_) && !cell.has_run_off(now)) ++counts;
    release(cell);
  });
  return counts;
}

// ---- the table

LimitTable::Geometry LimitTable::geometry(uint64_t bytes) noexcept {
  Geometry parts{};
  parts.partitions_at = kFrontBytes;
  parts.buckets_at = parts.partitions_at + kPartitions * sizeof(Partition);
  parts.logs_each = static_cast<uint32_t>(bytes / 8 / sizeof(LogBlock) / kPartitions);
  const uint64_t for_logs = uint64_t{parts.logs_each} * kPartitions * sizeof(LogBlock);
  parts.buckets_each = static_cast<uint32_t>((bytes - parts.buckets_at - for_logs) / sizeof(Bucket) / kPartitions);
  parts.logs_at = parts.buckets_at + uint64_t{parts.buckets_each} * kPartitions * sizeof(Bucket);
  return parts;
}

LimitTable::LimitTable(engine::Buffer memory, const engine::Environment& environment) noexcept
    : environment_(environment) {
  static_assert(sizeof(Front) <= kFrontBytes && engine::Shareable<Front> && engine::Shareable<Partition>);
  const Geometry parts = geometry(memory.size());
  front_ = reinterpret_cast<Front*>(memory.data());
  partitions_ = reinterpret_cast<Partition*>(memory.data() + parts.partitions_at);
  buckets_ = reinterpret_cast<Bucket*>(memory.data() + parts.buckets_at);
  logs_ = reinterpret_cast<LogBlock*>(memory.data() + parts.logs_at);
  buckets_each_ = parts.buckets_each;
  logs_each_ = parts.logs_each;
}

LimitTable LimitTable::attach(engine::Buffer memory, const engine::Environment& environment) noexcept {
  return LimitTable(memory, environment);
}

LimitTable LimitTable::format(engine::Buffer memory, const engine::Environment& environment, const Secrets& secrets,
                              int64_t now) noexcept {
  std::memset(static_cast<void*>(memory.data()), 0, memory.size());
  LimitTable table(memory, environment);
  *table.front_ = {.magic = kMagic,
                   .bytes = memory.size(),
                   .partitions = kPartitions,
                   .partition_bytes = sizeof(Partition),
                   .buckets_each = table.buckets_each_,
                   .logs_each = table.logs_each_,
                   .secrets = secrets,
                   .since = now};
  for (uint32_t number = 0; number < kPartitions; ++number) {
    Partition& partition = table.partitions_[number];
    LogPool{table.logs_ + uint64_t{number} * table.logs_each_, &partition.free_log, &partition.free_logs}.format(
        table.logs_each_);
  }
  return table;
}

bool LimitTable::belongs(const std::byte* front, uint64_t bytes) noexcept {
  const Geometry parts = geometry(bytes);
  Front found;
  std::memcpy(&found, front, sizeof found);
  return found.magic == kMagic && found.bytes == bytes && found.partitions == kPartitions &&
         found.partition_bytes == sizeof(Partition) && found.buckets_each == parts.buckets_each &&
         found.logs_each == parts.logs_each;
}

Key LimitTable::key(uint32_t database, std::string_view text) const noexcept {
  const auto hash = [&](uint64_t secret) {
    return environment_.hash(text.data(), text.size(), secret + database * 0x9e3779b97f4a7c15);
  };
  // A hash of 0 would be an empty cell.
  return {std::max<uint64_t>(hash(front_->secrets.first), 1), hash(front_->secrets.second), database, text};
}

Verdict LimitTable::charge(const Key& key, const Request& request, Clock clock) noexcept {
  if (request.cost == 0) return peek(key, request, clock);
  for (Attempt attempt;;) {
    attempt.now = clock();
    if (const std::optional<Verdict> verdict = Hold(*this, key).charge(request, attempt)) return *verdict;
  }
}

Verdict LimitTable::peek(const Key& key, const Request& request, Clock clock) noexcept {
  for (Attempt attempt;;) {
    attempt.now = clock();
    if (const std::optional<Verdict> verdict = Hold(*this, key).peek(request, attempt)) return *verdict;
  }
}

Verdict LimitTable::refund(const Key& key, const Request& request, Clock clock) noexcept {
  for (Attempt attempt;;) {
    attempt.now = clock();
    if (const std::optional<Verdict> verdict = Hold(*this, key).refund(request, attempt)) return *verdict;
  }
}

int64_t LimitTable::block(const Key& key, int64_t duration, Clock clock) noexcept {
  const int64_t now = clock();
  return Hold(*this, key).block(duration, now);
}

bool LimitTable::unblock(const Key& key, Clock clock) noexcept {
  const int64_t now = clock();
  return Hold(*this, key).unblock(now);
}

uint32_t LimitTable::reset(const Key& key, Clock clock) noexcept {
  const int64_t now = clock();
  return Hold(*this, key).reset(now);
}

Totals LimitTable::totals() const noexcept {
  Totals totals{};
  totals.bytes = front_->bytes;
  totals.cells_max = uint64_t{buckets_each_} * kPartitions * kCellsPerBucket;
  totals.log_entries_max = uint64_t{logs_each_} * kPartitions * kTimesPerBlock;
  totals.since = engine::load_relaxed(front_->since);
  for (uint32_t number = 0; number < kPartitions; ++number) {
    const Partition& partition = partitions_[number];
    environment_.lock(environment_.context, number, false);
    totals.cells += partition.cells;
    totals.log_entries += uint64_t{logs_each_ - partition.free_logs} * kTimesPerBlock;
    totals.allowed += partition.allowed;
    totals.denied += partition.denied;
    totals.forgotten += partition.forgotten;
    totals.no_room += partition.no_room;
    environment_.unlock(environment_.context, number, false);
  }
  return totals;
}

void LimitTable::reset_totals(int64_t now) noexcept {
  for (uint32_t number = 0; number < kPartitions; ++number) {
    Partition& partition = partitions_[number];
    environment_.lock(environment_.context, number, true);
    partition.allowed = partition.denied = partition.forgotten = partition.no_room = 0;
    partition.denied_keys = DeniedKeys{};
    environment_.unlock(environment_.context, number, true);
  }
  engine::store_relaxed(front_->since, now);
}

void LimitTable::copy_denied(uint32_t partition, DeniedKeys& copy) const noexcept {
  environment_.lock(environment_.context, partition, false);
  copy = partitions_[partition].denied_keys;
  environment_.unlock(environment_.context, partition, false);
}

}  // namespace pgcache::limits

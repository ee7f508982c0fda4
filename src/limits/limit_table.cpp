#include "limits/limit_table.hpp"

#include <algorithm>

#include "limits/limit_call.hpp"

namespace pgcache::limits {

namespace {

constexpr uint64_t kMagic = 0x70676361'6c696d31;  // changes with the layout

uint32_t number_of(const Key& key) noexcept { return static_cast<uint32_t>(key.first) % kPartitions; }

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

struct LimitTable::Geometry {
  uint64_t partitions_at;
  uint64_t buckets_at;
  uint64_t logs_at;
  uint32_t buckets_each;
  uint32_t logs_each;
};

// A partition's, while it lives.
class LimitTable::Lock {
 public:
  enum Mode : bool { shared, exclusive };
  Lock(const engine::Environment& environment, uint32_t number, Mode mode = exclusive) noexcept
      : environment_(environment), number_(number), mode_(mode) {
    environment_.lock(environment_.context, number_, mode_);
  }
  ~Lock() { environment_.unlock(environment_.context, number_, mode_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  const engine::Environment& environment_;
  uint32_t number_;
  Mode mode_;
};

LimitTable::Geometry LimitTable::geometry(uint64_t bytes) noexcept {
  Geometry parts{};
  parts.partitions_at = kFrontBytes;
  parts.buckets_at = parts.partitions_at + kPartitions * sizeof(PartitionState);
  parts.logs_each = static_cast<uint32_t>(bytes / 8 / sizeof(LogBlock) / kPartitions);
  const uint64_t for_logs = uint64_t{parts.logs_each} * kPartitions * sizeof(LogBlock);
  parts.buckets_each = static_cast<uint32_t>((bytes - parts.buckets_at - for_logs) / sizeof(Bucket) / kPartitions);
  parts.logs_at = parts.buckets_at + uint64_t{parts.buckets_each} * kPartitions * sizeof(Bucket);
  return parts;
}

LimitTable::LimitTable(engine::Buffer memory, const engine::Environment& environment) noexcept
    : environment_(environment) {
  static_assert(sizeof(Front) <= kFrontBytes && engine::Shareable<Front>);
  const Geometry parts = geometry(memory.size());
  front_ = reinterpret_cast<Front*>(memory.data());
  states_ = reinterpret_cast<PartitionState*>(memory.data() + parts.partitions_at);
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
                   .partition_bytes = sizeof(PartitionState),
                   .buckets_each = table.buckets_each_,
                   .logs_each = table.logs_each_,
                   .secrets = secrets,
                   .since = now};
  for (uint32_t number = 0; number < kPartitions; ++number) table.partition(number).logs().format(table.logs_each_);
  return table;
}

bool LimitTable::belongs(const std::byte* front, uint64_t bytes) noexcept {
  const Geometry parts = geometry(bytes);
  Front found;
  std::memcpy(&found, front, sizeof found);
  return found.magic == kMagic && found.bytes == bytes && found.partitions == kPartitions &&
         found.partition_bytes == sizeof(PartitionState) && found.buckets_each == parts.buckets_each &&
         found.logs_each == parts.logs_each;
}

Key LimitTable::key(uint32_t database, std::string_view text) const noexcept {
  const auto hash = [&](uint64_t secret) {
    return environment_.hash(text.data(), text.size(), secret + database * 0x9e3779b97f4a7c15);
  };
  // A hash of 0 would be an empty cell.
  return {std::max<uint64_t>(hash(front_->secrets.first), 1), hash(front_->secrets.second), database, text};
}

Partition LimitTable::partition(uint32_t number) const noexcept {
  return {states_[number], buckets_ + uint64_t{number} * buckets_each_, buckets_each_,
          logs_ + uint64_t{number} * logs_each_};
}

template <typename Step>
Verdict LimitTable::until_answered(const Key& key, Clock clock, Step step) noexcept {
  for (Attempt attempt;;) {
    attempt.moment.now = clock();
    const Lock lock(environment_, number_of(key));
    LimitCall call(partition(number_of(key)), key);
    if (const std::optional<Verdict> verdict = step(call, attempt)) return *verdict;
  }
}

Verdict LimitTable::charge(const Key& key, const Request& request, Clock clock) noexcept {
  if (request.cost == 0) return peek(key, request, clock);
  return until_answered(key, clock, [&](LimitCall& call, Attempt& attempt) { return call.charge(request, attempt); });
}

Verdict LimitTable::peek(const Key& key, const Request& request, Clock clock) noexcept {
  return until_answered(key, clock, [&](LimitCall& call, Attempt& attempt) { return call.peek(request, attempt); });
}

Verdict LimitTable::refund(const Key& key, const Request& request, Clock clock) noexcept {
  return until_answered(key, clock, [&](LimitCall& call, Attempt& attempt) { return call.refund(request, attempt); });
}

int64_t LimitTable::block(const Key& key, int64_t duration, Clock clock) noexcept {
  return until_answered(key, clock, [&](LimitCall& call, Attempt& attempt) { return call.block(duration, attempt); })
      .blocked_until;
}

bool LimitTable::unblock(const Key& key, Clock clock) noexcept {
  const int64_t now = clock();
  const Lock lock(environment_, number_of(key));
  return LimitCall(partition(number_of(key)), key).unblock(now);
}

uint32_t LimitTable::reset(const Key& key, Clock clock) noexcept {
  const int64_t now = clock();
  const Lock lock(environment_, number_of(key));
  return LimitCall(partition(number_of(key)), key).reset(now);
}

Totals LimitTable::totals() const noexcept {
  Totals totals{};
  totals.bytes = front_->bytes;
  totals.cells_max = uint64_t{buckets_each_} * kPartitions * kCellsPerBucket;
  totals.log_entries_max = uint64_t{logs_each_} * kPartitions * kTimesPerBlock;
  totals.since = engine::load_relaxed(front_->since);
  for (uint32_t number = 0; number < kPartitions; ++number) {
    const Lock lock(environment_, number, Lock::shared);
    const PartitionState& state = states_[number];
    totals.cells += state.cells;
    totals.log_entries += uint64_t{logs_each_ - state.free_logs} * kTimesPerBlock;
    totals.allowed += state.allowed;
    totals.denied += state.denied;
    totals.forgotten += state.forgotten;
    totals.no_room += state.no_room;
  }
  return totals;
}

void LimitTable::reset_totals(int64_t now) noexcept {
  for (uint32_t number = 0; number < kPartitions; ++number) {
    const Lock lock(environment_, number);
    PartitionState& state = states_[number];
    state.allowed = state.denied = state.forgotten = state.no_room = 0;
    state.denied_keys = DeniedKeys{};
  }
  engine::store_relaxed(front_->since, now);
}

void LimitTable::copy_denied(uint32_t number, DeniedKeys& copy) const noexcept {
  const Lock lock(environment_, number, Lock::shared);
  copy = states_[number].denied_keys;
}

}  // namespace pgcache::limits

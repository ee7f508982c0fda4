#include "limits/partition.hpp"

#include <algorithm>

namespace pgcache::limits {

void Partition::release(const Cell& cell) noexcept {
  if (cell.has_log()) HitLog(cell.count(), logs_).drop_all();
  cell.key() = 0;
  --state_.cells;
}

void Partition::forget(const Cell& cell) noexcept {
  release(cell);
  ++state_.forgotten;
}

// In the emptier of the two buckets, so that both fill evenly.
Cell Partition::empty_cell(const Homes& homes) noexcept {
  Cell best;
  ptrdiff_t most = 0;
  for (Bucket* bucket : homes.buckets) {
    const ptrdiff_t empty = std::count(bucket->keys, bucket->keys + kCellsPerBucket, 0);
    if (empty <= most) continue;
    most = empty;
    best = {bucket, static_cast<uint32_t>(std::find(bucket->keys, bucket->keys + kCellsPerBucket, 0) - bucket->keys)};
  }
  return best;
}

// Empty, or emptied of what has run off.
Cell Partition::place_in(Bucket& bucket, const Moment& moment) noexcept {
  for (uint32_t number = 0; number < kCellsPerBucket; ++number) {
    const Cell cell{&bucket, number};
    if (cell.key() == 0) return cell;
    if (!has_run_off(cell, moment)) continue;
    forget(cell);
    return cell;
  }
  return {};
}

// A place that becomes free because its cell goes to its other home.
Cell Partition::moved_away(const Homes& homes, const Moment& moment) noexcept {
  for (Bucket* bucket : homes.buckets)
    for (uint32_t number = 0; number < kCellsPerBucket; ++number) {
      const Cell cell{bucket, number};
      const Homes its = this->homes(cell.key());
      const Cell place = place_in(*its.buckets[its.buckets[0] == bucket ? 1 : 0], moment);
      if (!place) continue;
      place.key() = cell.key();
      place.name() = cell.name();
      place.count() = cell.count();
      cell.key() = 0;
      if (place.has_log()) note_log(place.count().fresh_at);
      return cell;
    }
  return {};
}

Cell Partition::add(uint64_t hash, uint64_t name, const Moment& moment) noexcept {
  const Homes homes = this->homes(hash);
  Cell cell = empty_cell(homes);
  if (!cell) cell = place_in(*homes.buckets[0], moment);
  if (!cell) cell = place_in(*homes.buckets[1], moment);
  if (!cell) cell = moved_away(homes, moment);
  if (!cell) return cell;
  cell.key() = hash;
  cell.name() = name;
  cell.count() = Count{};
  ++state_.cells;
  return cell;
}

void Partition::set_back(const Cell& cell, int64_t now) noexcept {
  if (cell.has_log()) {
    HitLog(cell.count(), logs_).set_back(now);
    note_log(cell.count().fresh_at);
    return;
  }
  limits::set_back(cell.count(), now);
  if (cell.unit() > 0) cell.count().fresh_at = end_of_unit(static_cast<CalendarUnit>(cell.unit() - 1), now);
}

bool Partition::has_run_off(const Cell& cell, const Moment& moment) noexcept {
  if (moment.is_surely_before(cell)) set_back(cell, moment.now);
  return cell.has_run_off(moment.now);
}

void Partition::note_log(int64_t runs_off_at) noexcept {
  state_.next_log = std::min(state_.next_log, runs_off_at);
  ++state_.log_changes;
}

void Partition::search_bucket(Bucket& bucket, const Moment& moment, LogSearch& search) noexcept {
  for (uint32_t number = 0; number < kCellsPerBucket; ++number) {
    const Cell cell{&bucket, number};
    if (cell.key() == 0 || !cell.has_log()) continue;
    if (has_run_off(cell, moment)) {
      forget(cell);
      continue;
    }
    if (moment.is_doubtful(cell)) search.doubtful = std::max(search.doubtful, cell.count().charged_at);
    if (search.next == kNever || cell.count().fresh_at < search.next) search.next = cell.count().fresh_at;
  }
}

void Partition::search_logs(const Moment& moment, LogSearch& search) noexcept {
  if (search.searched == 0) {
    search.changes = state_.log_changes;
    if (state_.searched_at <= moment.now && moment.now < state_.next_log) {
      search.searched = bucket_count_;
      search.next = state_.next_log;
    }
  }
  for (uint32_t i = 0; i < kBucketsPerHold && !has_searched_all(search); ++i, ++search.searched) {
    search_bucket(buckets_[state_.search_hand], moment, search);
    state_.search_hand = (state_.search_hand + 1) % bucket_count_;
  }
}

bool Partition::find_logs(uint32_t wanted, const Moment& moment, LogSearch& search) noexcept {
  if (state_.free_logs < wanted) search_logs(moment, search);
  if (state_.free_logs >= wanted) {
    search.next = kNever;
    return true;
  }
  if (has_searched_all(search) && search.changes == state_.log_changes && search.doubtful == INT64_MIN) {
    state_.searched_at = moment.now;
    state_.next_log = std::max<int64_t>(search.next, 0);
  }
  return false;
}

}  // namespace pgcache::limits

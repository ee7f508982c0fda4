#include "limits/limit_call.hpp"

#include <algorithm>
#include <utility>

namespace pgcache::limits {

namespace {

uint64_t scrambled(uint64_t bits) noexcept {
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
  return bits ^ bits >> 31;
}

uint64_t block_name(const Key& key) noexcept { return key.second & ~kNameBits; }

uint64_t count_name(const Key& key, const Limit& limit) noexcept {
  const auto algorithm = static_cast<uint64_t>(limit.algorithm) + 1;
  const auto period = static_cast<uint64_t>(limit.period);
  const uint64_t name = (key.second + scrambled(scrambled(period) + algorithm)) & ~kNameBits;
  if (limit.algorithm == Algorithm::exact) return name | kHasLog;
  return limit.algorithm == Algorithm::calendar ? name | (period + 1) * kUnitFactor : name;
}

}  // namespace

// ---- the key's cells

LimitCall::Found LimitCall::find(uint64_t name) const noexcept {
  Found found;
  const uint64_t block = block_name(key_);
  homes_.for_cells([&](const Cell& cell) {
    if (cell.key() != key_.first) return;
    if (cell.name() == name) found.count = cell;
    if (cell.name() == block) found.block = cell;
  });
  return found;
}

std::optional<LimitCall::Found> LimitCall::find_in_time(const Limit& limit, Attempt& attempt) noexcept {
  Moment& moment = attempt.moment;
  const Found found = find(count_name(key_, limit));
  int64_t latest = moment.now;
  for (const Cell& cell : {found.count, found.block})
    if (cell) latest = std::max(latest, cell.count().charged_at);
  if (latest == moment.now) return found;
  if (!moment.is_second) {
    moment.doubt(latest);
    return std::nullopt;
  }
  // A time that another process has read has been.
  if (latest > moment.seen) moment.now = latest;
  for (const Cell& cell : {found.count, found.block})
    if (cell && moment.is_surely_before(cell)) partition_.set_back(cell, moment.now);
  return found;
}

// ---- judging

LimitCall::Standing LimitCall::standing(const Cell& cell, const Limit& limit, int64_t now) const noexcept {
  if (limit.quota == 0) return {{}, 0, false};
  if (!cell) return {{}, limit.capacity(), false};
  if (limit.algorithm == Algorithm::exact) {
    const HitLog log(cell.count(), partition_.logs());
    return {cell.count(), std::max<int64_t>(limit.quota - log.used(limit.period, now), 0), true};
  }
  const Count count = at(cell.count(), limit, now);
  return {count, remaining(count, limit, now), true};
}

// What `take` has taken tells its own.
void LimitCall::add_reset(Verdict& verdict, const Standing& standing, const Limit& limit, int64_t now) const noexcept {
  if (!standing.counts) return;
  Count count = standing.count;
  const int64_t reset = limit.algorithm == Algorithm::exact ? HitLog(count, partition_.logs()).reset(limit.period, now)
                                                            : limits::reset(count, limit, now);
  verdict.reset_after = std::max(verdict.reset_after, reset);
}

int64_t LimitCall::wait(const Standing& standing, const Request& request, int64_t now) const noexcept {
  if (request.cost <= standing.remaining) return 0;
  if (request.limit.algorithm != Algorithm::exact)
    return limits::wait(standing.count, request.limit, request.cost, now);
  Count count = standing.count;
  const HitLog log(count, partition_.logs());
  return log.wait(log.used(request.limit.period, now) + request.cost - request.limit.quota, request.limit.period, now);
}

Verdict LimitCall::judge(const Found& found, const Standing& standing, const Request& request,
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

// ---- charging

// What is taken is stored; the verdict becomes that of after.
LimitCall::Taken LimitCall::take(const Cell& found, const Standing& standing, const Request& request, Attempt& attempt,
                                 Verdict& verdict) noexcept {
  const Limit& limit = request.limit;
  if (limit.algorithm == Algorithm::exact) {
    const Taken taken = take_exact(found, request, attempt);
    if (taken != Taken::yes) return taken;
    verdict.reset_after = limit.period;
  } else {
    Cell cell = found;
    if (!cell)
      if (const Taken added = add(count_name(key_, limit), attempt.moment, cell); added != Taken::yes) return added;
    cell.count() = standing.count;
    limits::take(cell.count(), limit, request.cost, attempt.moment.now);
    verdict.reset_after = limits::reset(cell.count(), limit, attempt.moment.now);
  }
  verdict.remaining -= request.cost;
  return Taken::yes;
}

// A new cell. Whether there is room may depend on whether the clock was set back.
LimitCall::Taken LimitCall::add(uint64_t name, Moment& moment, Cell& cell) noexcept {
  cell = partition_.add(key_.first, name, moment);
  if (cell) return Taken::yes;
  int64_t latest = moment.now;
  homes_.for_cells([&](const Cell& home) {
    if (moment.is_doubtful(home)) latest = std::max(latest, home.count().charged_at);
  });
  if (latest == moment.now) return Taken::no_room;
  moment.doubt(latest);
  return Taken::again;
}

LimitCall::Taken LimitCall::take_exact(const Cell& found, const Request& request, Attempt& attempt) noexcept {
  const Limit& limit = request.limit;
  const uint64_t name = count_name(key_, limit);
  Count none{};
  HitLog log(found ? found.count() : none, partition_.logs());
  log.drop_run_off(limit.period, attempt.moment.now);
  if (!partition_.find_logs(log.blocks_for(request.cost), attempt.moment, attempt.search)) {
    if (!partition_.has_searched_all(attempt.search)) return Taken::again;
    if (attempt.search.doubtful == INT64_MIN) return Taken::no_room;
    attempt.moment.doubt(attempt.search.doubtful);
    attempt.search = LogSearch{};
    return Taken::again;
  }
  // The search may have taken the cell away.
  Cell cell = find(name).count;
  if (!cell)
    if (const Taken added = add(name, attempt.moment, cell); added != Taken::yes) return added;
  HitLog(cell.count(), partition_.logs()).append(request.cost, limit.period, attempt.moment.now);
  partition_.note_log(cell.count().fresh_at);
  return Taken::yes;
}

void LimitCall::be_full(const Request& request, const Attempt& attempt, Verdict& verdict) noexcept {
  ++partition_.state().no_room;
  verdict.lacks_room = true;
  verdict.reason = Reason::memory_full;
  verdict.allowed = request.allow_when_full;
  if (verdict.allowed) {
    verdict.remaining -= request.cost;
    return;
  }
  int64_t next = INT64_MAX;
  homes_.for_cells([&](const Cell& cell) { next = std::min(next, cell.count().fresh_at); });
  if (attempt.search.next != kNever) next = attempt.search.next;
  verdict.remaining = 0;
  verdict.retry_after = std::max<int64_t>(next - attempt.moment.now, 1);
}

bool LimitCall::block_for(Cell cell, int64_t duration, Moment& moment, Verdict& verdict) noexcept {
  if (!cell) {
    const Taken added = add(block_name(key_), moment, cell);
    if (added == Taken::again) return false;
    if (added == Taken::no_room) {
      ++partition_.state().no_room;
      verdict.lacks_room = true;
      return true;
    }
  }
  cell.count() = {.charged_at = moment.now, .fresh_at = later(moment.now, duration), .used = 0, .rest = 0};
  verdict.blocked_until = cell.count().fresh_at;
  verdict.remaining = 0;
  verdict.retry_after = std::max(verdict.retry_after, duration);
  verdict.reset_after = std::max(verdict.reset_after, duration);
  return true;
}

void LimitCall::tally(const Verdict& verdict, int64_t now) noexcept {
  ++(verdict.allowed ? partition_.state().allowed : partition_.state().denied);
  // Where there is no room the key has done nothing.
  if (!verdict.allowed && verdict.reason != Reason::memory_full)
    partition_.state().denied_keys.count(key_.first, key_.database, key_.text, now);
}

std::optional<Verdict> LimitCall::charge(const Request& request, Attempt& attempt) noexcept {
  const std::optional<Found> found = find_in_time(request.limit, attempt);
  if (!found) return std::nullopt;
  const Standing stands = standing(found->count, request.limit, attempt.moment.now);
  Verdict verdict = judge(*found, stands, request, attempt.moment.now);
  if (verdict.allowed) {
    const Taken taken = take(found->count, stands, request, attempt, verdict);
    if (taken == Taken::again) return std::nullopt;
    if (taken == Taken::no_room) {
      add_reset(verdict, stands, request.limit, attempt.moment.now);
      be_full(request, attempt, verdict);
    }
  } else {
    add_reset(verdict, stands, request.limit, attempt.moment.now);
    if (verdict.reason == Reason::limit_exceeded && request.block > 0 &&
        !block_for(found->block, request.block, attempt.moment, verdict))
      return std::nullopt;
  }
  tally(verdict, attempt.moment.now);
  return verdict;
}

std::optional<Verdict> LimitCall::peek(const Request& request, Attempt& attempt) noexcept {
  const std::optional<Found> found = find_in_time(request.limit, attempt);
  if (!found) return std::nullopt;
  const Standing stands = standing(found->count, request.limit, attempt.moment.now);
  Verdict verdict = judge(*found, stands, request, attempt.moment.now);
  add_reset(verdict, stands, request.limit, attempt.moment.now);
  return verdict;
}

std::optional<Verdict> LimitCall::refund(const Request& request, Attempt& attempt) noexcept {
  std::optional<Found> found = find_in_time(request.limit, attempt);
  if (!found) return std::nullopt;
  if (found->count && request.limit.quota > 0) {
    Count& count = found->count.count();
    if (request.limit.algorithm == Algorithm::exact) {
      HitLog log(count, partition_.logs());
      log.drop_run_off(request.limit.period, attempt.moment.now);
      log.drop_oldest(request.cost);
    } else {
      give_back(count, request.limit, request.cost);
    }
    if (count.used == 0 && count.rest == 0) partition_.release(std::exchange(found->count, Cell{}));
  }
  Request look = request;
  look.cost = 0;
  const Standing stands = standing(found->count, request.limit, attempt.moment.now);
  Verdict verdict = judge(*found, stands, look, attempt.moment.now);
  add_reset(verdict, stands, request.limit, attempt.moment.now);
  verdict.allowed = true;
  verdict.reason = Reason::none;
  verdict.retry_after = 0;
  return verdict;
}

std::optional<Verdict> LimitCall::block(int64_t duration, Attempt& attempt) noexcept {
  Verdict verdict{};
  if (!block_for(find(block_name(key_)).block, duration, attempt.moment, verdict)) return std::nullopt;
  return verdict;
}

bool LimitCall::unblock(int64_t now) noexcept {
  const Cell block = find(block_name(key_)).block;
  if (!block) return false;
  const bool was_blocked = !block.has_run_off(now);
  partition_.release(block);
  return was_blocked;
}

uint32_t LimitCall::reset(int64_t now) noexcept {
  uint32_t counts = 0;
  homes_.for_cells([&](const Cell& cell) {
    if (cell.key() != key_.first) return;
    if (cell.name() != block_name(key_) && !cell.has_run_off(now)) ++counts;
    partition_.release(cell);
  });
  return counts;
}

}  // namespace pgcache::limits

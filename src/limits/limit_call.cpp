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

uint64_t block_name(const Key& key) noexcept { return key.second & ~kHasLog; }

uint64_t count_name(const Key& key, const Limit& limit) noexcept {
  const auto algorithm = static_cast<uint64_t>(limit.algorithm) + 1;
  const uint64_t name = key.second + scrambled(scrambled(static_cast<uint64_t>(limit.period)) + algorithm);
  return (name & ~kHasLog) | (limit.algorithm == Algorithm::exact ? kHasLog : 0);
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

// False: the cell was charged after the clock was read, as far as is known.
bool LimitCall::is_in_time(const Cell& cell, const Limit& limit, Attempt& attempt) noexcept {
  if (!cell || cell.count().charged_at <= attempt.now) return true;
  if (cell.count().charged_at > attempt.seen) {
    attempt.seen = cell.count().charged_at;
    return false;
  }
  if (!cell.has_log()) {
    set_back(cell.count(), limit, attempt.now);
  } else {
    HitLog(cell.count(), partition_.logs()).set_back(attempt.now);
    partition_.note_log(cell.count().fresh_at);
  }
  return true;
}

std::optional<LimitCall::Found> LimitCall::find_in_time(const Limit& limit, Attempt& attempt) noexcept {
  const Found found = find(count_name(key_, limit));
  constexpr Limit kBlock{Algorithm::fixed, 1, 1, 1};
  if (is_in_time(found.count, limit, attempt) && is_in_time(found.block, kBlock, attempt)) return found;
  return std::nullopt;
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
    const Cell cell = found ? found : partition_.add(key_.first, count_name(key_, limit), attempt.now);
    if (!cell) return Taken::no_room;
    cell.count() = standing.count;
    limits::take(cell.count(), limit, request.cost, attempt.now);
    verdict.reset_after = limits::reset(cell.count(), limit, attempt.now);
  }
  verdict.remaining -= request.cost;
  return Taken::yes;
}

LimitCall::Taken LimitCall::take_exact(const Cell& found, const Request& request, Attempt& attempt) noexcept {
  const Limit& limit = request.limit;
  const uint64_t name = count_name(key_, limit);
  Count none{};
  HitLog log(found ? found.count() : none, partition_.logs());
  log.drop_run_off(limit.period, attempt.now);
  if (!partition_.find_logs(log.blocks_for(request.cost), attempt.now, attempt.search))
    return partition_.has_searched_all(attempt.search) ? Taken::no_room : Taken::again;
  // The search may have taken the cell away.
  Cell cell = find(name).count;
  if (!cell) cell = partition_.add(key_.first, name, attempt.now);
  if (!cell) return Taken::no_room;
  HitLog(cell.count(), partition_.logs()).append(request.cost, limit.period, attempt.now);
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
  verdict.retry_after = std::max<int64_t>(next - attempt.now, 1);
}

void LimitCall::block_for(const Cell& found, int64_t duration, int64_t now, Verdict& verdict) noexcept {
  const Cell cell = found ? found : partition_.add(key_.first, block_name(key_), now);
  if (!cell) {
    ++partition_.state().no_room;
    verdict.lacks_room = true;
    return;
  }
  cell.count() = {.charged_at = now, .fresh_at = later(now, duration), .used = 0, .rest = 0};
  verdict.blocked_until = cell.count().fresh_at;
  verdict.remaining = 0;
  verdict.retry_after = std::max(verdict.retry_after, duration);
  verdict.reset_after = std::max(verdict.reset_after, duration);
}

void LimitCall::deny(const Found& found, const Request& request, int64_t now, Verdict& verdict) noexcept {
  // A limit that is lower than the one that charged waits longer for the count to run off.
  Count& count = found.count.count();
  count.fresh_at = std::max(count.fresh_at, later(now, verdict.reset_after));
  if (request.block > 0) block_for(found.block, request.block, now, verdict);
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

std::optional<Verdict> LimitCall::peek(const Request& request, Attempt& attempt) noexcept {
  const std::optional<Found> found = find_in_time(request.limit, attempt);
  if (!found) return std::nullopt;
  const Standing stands = standing(found->count, request.limit, attempt.now);
  Verdict verdict = judge(*found, stands, request, attempt.now);
  add_reset(verdict, stands, request.limit, attempt.now);
  return verdict;
}

std::optional<Verdict> LimitCall::refund(const Request& request, Attempt& attempt) noexcept {
  std::optional<Found> found = find_in_time(request.limit, attempt);
  if (!found) return std::nullopt;
  if (found->count && request.limit.quota > 0) {
    Count& count = found->count.count();
    if (request.limit.algorithm == Algorithm::exact) {
      HitLog log(count, partition_.logs());
      log.drop_run_off(request.limit.period, attempt.now);
      log.drop_oldest(request.cost);
    } else {
      give_back(count, request.limit, request.cost);
    }
    if (count.used == 0 && count.rest == 0) partition_.release(std::exchange(found->count, Cell{}));
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

int64_t LimitCall::block(int64_t duration, int64_t now) noexcept {
  Verdict verdict{};
  block_for(find(block_name(key_)).block, duration, now, verdict);
  return verdict.blocked_until;
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

#include "limits/algorithms.hpp"

#include <algorithm>
#include <chrono>

namespace pgcache::limits {

namespace {

using Wide = unsigned __int128;

Wide wide(int64_t value) noexcept { return static_cast<Wide>(static_cast<uint64_t>(value)); }

int64_t narrow(Wide value) noexcept {
  return value > static_cast<Wide>(INT64_MAX) ? INT64_MAX : static_cast<int64_t>(value);
}

// Nearly all fit 64 bits, where a division is several times as fast.
Wide quotient(Wide dividend, Wide divisor) noexcept {
  if (((dividend | divisor) >> 64) == 0) return static_cast<uint64_t>(dividend) / static_cast<uint64_t>(divisor);
  return dividend / divisor;
}

Wide ceiling(Wide dividend, Wide divisor) noexcept { return quotient(dividend + divisor - 1, divisor); }

// ---- gcra: a bucket that runs dry evenly. Its level is counted in parts, period of which make a unit and quota of
// which run off each microsecond, so that nothing is rounded. What is kept is when it is dry: a time, of which the
// fraction of a microsecond that it is too late by is rest / used. Limits that share a count so share that time: none
// makes it pass faster for another.

// Of the same limit it is exact; of another the fraction is rounded, to the later.
Wide level(const Count& count, const Limit& limit, int64_t now) noexcept {
  if (count.used == 0 || count.fresh_at <= now) return 0;
  const auto quota = static_cast<uint64_t>(limit.quota);
  const Wide too_late = count.used == quota ? Wide{count.rest} : static_cast<Wide>(count.rest) * quota / count.used;
  return wide(count.fresh_at - now) * quota - too_late;
}

void set_level(Count& count, const Limit& limit, Wide level, int64_t now) noexcept {
  const Wide time = ceiling(level, wide(limit.quota));
  count.fresh_at = later(now, narrow(time));
  count.used = static_cast<uint64_t>(limit.quota);
  count.rest = static_cast<uint64_t>(time * wide(limit.quota) - level);
}

Wide capacity_parts(const Limit& limit) noexcept { return wide(limit.burst) * wide(limit.period); }

// A level over the capacity comes from a limit that was higher; it keeps nobody longer than a full bucket would.
int64_t refilled_at(const Count& count, const Limit& limit) noexcept {
  return later(count.charged_at, refill_time(limit).microseconds);
}

bool was_over_capacity(const Count& count, const Limit& limit) noexcept {
  return level(count, limit, count.charged_at) > capacity_parts(limit);
}

Count bucket_at(const Count& stored, const Limit& limit, int64_t now) noexcept {
  Count count = stored;
  if (level(stored, limit, now) == 0 || (was_over_capacity(stored, limit) && now >= refilled_at(stored, limit)))
    count.used = count.rest = 0;
  return count;
}

int64_t run_off_time(const Count& count, const Limit& limit, Wide parts, int64_t now) noexcept {
  const int64_t time = narrow(ceiling(parts, wide(limit.quota)));
  return was_over_capacity(count, limit) ? std::min(time, refilled_at(count, limit) - now) : time;
}

// ---- sliding: windows of the clock

int64_t window_of(int64_t time, int64_t period) noexcept { return time / period - (time % period < 0 ? 1 : 0); }

int64_t elapsed_in_window(int64_t now, int64_t period) noexcept { return now - window_of(now, period) * period; }

// Where nothing was taken within the last period, the estimate is known to be zero.
Count windows_at(const Count& stored, const Limit& limit, int64_t now) noexcept {
  Count count = stored;
  if (now >= later(stored.charged_at, limit.period)) {
    count.used = count.rest = 0;
  } else if (window_of(now, limit.period) != window_of(stored.charged_at, limit.period)) {
    count.rest = count.used;
    count.used = 0;
  }
  return count;
}

// In parts, period of which make a unit.
Wide estimate(const Count& count, const Limit& limit, int64_t now) noexcept {
  return static_cast<Wide>(count.rest) * wide(limit.period - elapsed_in_window(now, limit.period)) +
         static_cast<Wide>(count.used) * wide(limit.period);
}

// How far a window must have gone until `before`, taken in the one before it, leaves `free` units.
int64_t enough_elapsed(uint64_t before, uint64_t free, int64_t period) noexcept {
  return period - narrow(quotient(static_cast<Wide>(free) * wide(period), before));
}

int64_t windows_wait(const Count& count, const Limit& limit, int64_t cost, int64_t now) noexcept {
  const auto quota = static_cast<uint64_t>(limit.quota);
  const auto wanted = static_cast<uint64_t>(cost);
  const int64_t elapsed = elapsed_in_window(now, limit.period);
  const int64_t known = later(count.charged_at, limit.period) - now;
  const int64_t estimated =
      count.used + wanted <= quota
          ? enough_elapsed(count.rest, quota - count.used - wanted, limit.period) - elapsed
          : later(limit.period - elapsed, enough_elapsed(count.used, quota - wanted, limit.period));
  return std::min(known, estimated);
}

int64_t windows_reset(const Count& count, const Limit& limit, int64_t now) noexcept {
  const int64_t known = later(count.charged_at, limit.period) - now;
  return count.used > 0 ? known : std::min(known, limit.period - elapsed_in_window(now, limit.period));
}

bool is_empty(const Count& count) noexcept { return count.used == 0 && count.rest == 0; }

// Of fixed and calendar.
int64_t window_end(const Count& count, const Limit& limit) noexcept {
  return limit.algorithm == Algorithm::calendar ? end_of_unit(static_cast<CalendarUnit>(limit.period), count.charged_at)
                                                : count.fresh_at;
}

}  // namespace

int64_t end_of_unit(CalendarUnit unit, int64_t time) noexcept {
  using namespace std::chrono;
  constexpr int64_t kHour = 3'600'000'000;
  constexpr int64_t kDay = 24 * kHour;
  constexpr sys_days kEpoch = 2000y / January / 1;
  if (unit != CalendarUnit::month) {
    const int64_t length = unit == CalendarUnit::hour ? kHour : kDay;
    return later(window_of(time, length) * length, length);
  }
  const sys_days day = kEpoch + days{window_of(time, kDay)};
  // Beyond the library's calendar months have 31 days.
  if (day >= sys_days{year::max() / December / 1}) return later(time, 31 * kDay);
  const year_month_day today{day};
  const sys_days next = (today.year() / today.month() + months{1}) / 1;
  return (next - kEpoch).count() * kDay;
}

Refill refill_time(const Limit& limit) noexcept {
  const Wide time = ceiling(capacity_parts(limit), wide(limit.quota));
  return {time <= wide(kLongestSpan), narrow(time)};
}

Count at(const Count& stored, const Limit& limit, int64_t now) noexcept {
  switch (limit.algorithm) {
    case Algorithm::gcra:
      return bucket_at(stored, limit, now);
    case Algorithm::sliding:
      return windows_at(stored, limit, now);
    default:
      break;
  }
  Count count = stored;
  if (now >= window_end(stored, limit)) count.used = 0;
  return count;
}

int64_t remaining(const Count& count, const Limit& limit, int64_t now) noexcept {
  switch (limit.algorithm) {
    case Algorithm::gcra: {
      const Wide full = capacity_parts(limit);
      const Wide in_use = level(count, limit, now);
      return in_use >= full ? 0 : narrow(quotient(full - in_use, wide(limit.period)));
    }
    case Algorithm::sliding: {
      const Wide full = wide(limit.quota) * wide(limit.period);
      const Wide in_use = estimate(count, limit, now);
      return in_use >= full ? 0 : narrow(quotient(full - in_use, wide(limit.period)));
    }
    default:
      return static_cast<uint64_t>(limit.quota) > count.used ? limit.quota - static_cast<int64_t>(count.used) : 0;
  }
}

int64_t wait(const Count& count, const Limit& limit, int64_t cost, int64_t now) noexcept {
  switch (limit.algorithm) {
    case Algorithm::gcra:
      return run_off_time(count, limit,
                          level(count, limit, now) + wide(cost) * wide(limit.period) - capacity_parts(limit), now);
    case Algorithm::sliding:
      return windows_wait(count, limit, cost, now);
    default:
      return window_end(count, limit) - now;
  }
}

int64_t reset(const Count& count, const Limit& limit, int64_t now) noexcept {
  if (is_empty(count)) return 0;
  switch (limit.algorithm) {
    case Algorithm::gcra:
      return run_off_time(count, limit, level(count, limit, now), now);
    case Algorithm::sliding:
      return windows_reset(count, limit, now);
    default:
      return window_end(count, limit) - now;
  }
}

void take(Count& count, const Limit& limit, int64_t cost, int64_t now) noexcept {
  if (limit.algorithm == Algorithm::gcra) {
    set_level(count, limit, level(count, limit, now) + wide(cost) * wide(limit.period), now);
    count.charged_at = now;
    return;
  }
  const bool begins = is_empty(count);
  count.used += static_cast<uint64_t>(cost);
  count.charged_at = now;
  if (limit.algorithm == Algorithm::calendar)
    count.fresh_at = window_end(count, limit);
  else if (limit.algorithm == Algorithm::sliding || begins)
    count.fresh_at = later(now, limit.period);
}

void give_back(Count& stored, const Limit& limit, int64_t cost) noexcept {
  const auto units = static_cast<uint64_t>(cost);
  if (limit.algorithm == Algorithm::gcra) {
    const Wide before = level(stored, limit, stored.charged_at);
    const Wide parts = wide(cost) * wide(limit.period);
    if (before > parts)
      set_level(stored, limit, before - parts, stored.charged_at);
    else
      stored.used = stored.rest = 0;
    return;
  }
  const uint64_t from_used = std::min(units, stored.used);
  stored.used -= from_used;
  if (limit.algorithm == Algorithm::sliding) stored.rest -= std::min(units - from_used, stored.rest);
}

void set_back(Count& stored, int64_t now) noexcept {
  stored.fresh_at = later(now, stored.fresh_at - stored.charged_at);
  stored.charged_at = now;
}

}  // namespace pgcache::limits

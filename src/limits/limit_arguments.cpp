#include "limits/limit_arguments.hpp"

#include "limits/limit_settings.hpp"
#include "limits/shared_limits.hpp"
#include "pg/arguments.hpp"
#include "pg/clock.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace pgcache {

namespace {

using limits::Algorithm;
using limits::CalendarUnit;

constexpr int kQuota = 1;
constexpr int kPeriod = 2;
constexpr int kCost = 3;
constexpr int kBurst = 4;
constexpr int kAlgorithm = 5;
constexpr int kBlock = 6;

int64_t count_argument(FunctionCallInfo fcinfo, int number, const char* name) {
  pg::require_not_null(fcinfo, number, name);
  const int64_t value = PG_GETARG_INT64(number);
  if (unlikely(value < 0))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("%s must not be negative: %lld", name, static_cast<long long>(value))));
  return value;
}

Algorithm algorithm_argument(FunctionCallInfo fcinfo) {
  const std::string_view name = pg::view_of(pg::required_varlena(fcinfo, kAlgorithm, "algorithm"));
  if (likely(name == "gcra")) return Algorithm::gcra;
  if (name == "fixed") return Algorithm::fixed;
  if (name == "sliding") return Algorithm::sliding;
  if (name == "exact") return Algorithm::exact;
  if (name == "calendar") return Algorithm::calendar;
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown algorithm: \"%s\"", pg::beginning_of(name)),
                  errhint("It must be gcra, fixed, sliding, exact or calendar.")));
}

// Finite, above zero, within what the counts can hold.
int64_t checked_span(const Interval* interval, const char* name) {
  const int64_t microseconds = pg::microseconds_of(interval);
  if (unlikely(microseconds <= 0 || pg::infinity_of(interval) != 0))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("%s must be finite and above zero: %s", name, pg::text_of(interval))));
  if (unlikely(microseconds > limits::kLongestSpan))
    ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                    errmsg("%s is out of range: %s", name, pg::text_of(interval))));
  return microseconds;
}

int64_t plain_period(const Interval* period) {
  if (unlikely(period->month != 0 && pg::infinity_of(period) == 0))
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("period must not have months: %s", pg::text_of(period)),
             errhint("Months are not of one length: give days, or take the algorithm calendar.")));
  return checked_span(period, "period");
}

int64_t calendar_period(const Interval* period) {
  if (pg::infinity_of(period) == 0) {
    if (period->month == 1 && period->day == 0 && period->time == 0) return static_cast<int64_t>(CalendarUnit::month);
    const int64_t length = pg::microseconds_of(period);
    if (period->month == 0 && length == USECS_PER_DAY) return static_cast<int64_t>(CalendarUnit::day);
    if (period->month == 0 && length == USECS_PER_HOUR) return static_cast<int64_t>(CalendarUnit::hour);
  }
  ereport(ERROR,
          (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
           errmsg("period of the algorithm calendar must be an hour, a day or a month: %s", pg::text_of(period))));
}

int64_t period_argument(FunctionCallInfo fcinfo, Algorithm algorithm) {
  pg::require_not_null(fcinfo, kPeriod, "period");
  const Interval* period = PG_GETARG_INTERVAL_P(kPeriod);
  return algorithm == Algorithm::calendar ? calendar_period(period) : plain_period(period);
}

int64_t burst_argument(FunctionCallInfo fcinfo, Algorithm algorithm, int64_t quota) {
  if (PG_ARGISNULL(kBurst)) return quota;
  const int64_t burst = PG_GETARG_INT64(kBurst);
  if (burst < 1)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("burst must be at least 1: %lld", static_cast<long long>(burst))));
  if (algorithm != Algorithm::gcra && burst != quota)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("burst is for the algorithm gcra only: %lld", static_cast<long long>(burst)),
                    errhint("Leave it out: what the others allow at once is the quota.")));
  return burst;
}

void require_range(const limits::Limit& limit) {
  if (likely(limit.algorithm != Algorithm::gcra || limit.burst <= limit.quota || limit.quota == 0)) return;
  if (limits::refill_time(limit).in_range) return;
  ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                  errmsg("a burst of %lld at a quota of %lld refills in a time that is out of range",
                         static_cast<long long>(limit.burst), static_cast<long long>(limit.quota)),
                  errhint("Lower the burst, raise the quota, or shorten the period.")));
}

void require_exact_quota(const limits::Limit& limit) {
  if (limit.algorithm == Algorithm::exact && limit.quota > limits::kMaxExactQuota)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("quota of the algorithm exact is %lld, the limit is %lld",
                           static_cast<long long>(limit.quota), static_cast<long long>(limits::kMaxExactQuota)),
                    errhint("It remembers each hit; take sliding or gcra for larger quotas.")));
}

}  // namespace

limits::Key limit_key_argument(FunctionCallInfo fcinfo, int number) {
  return limit_table.key(MyDatabaseId, pg::checked_key(pg::required_varlena(fcinfo, number, "key"), "rate limit key"));
}

limits::Request plain_request(FunctionCallInfo fcinfo) {
  limits::Request request{};
  request.limit.quota = request.limit.burst = count_argument(fcinfo, kQuota, "quota");
  request.limit.period = period_argument(fcinfo, Algorithm::gcra);
  request.cost = count_argument(fcinfo, kCost, "cost");
  request.allow_when_full = allow_when_full_setting();
  return request;
}

limits::Request full_request(FunctionCallInfo fcinfo) {
  limits::Request request{};
  request.limit.algorithm = algorithm_argument(fcinfo);
  request.limit.quota = count_argument(fcinfo, kQuota, "quota");
  request.limit.period = period_argument(fcinfo, request.limit.algorithm);
  request.limit.burst = burst_argument(fcinfo, request.limit.algorithm, request.limit.quota);
  require_range(request.limit);
  require_exact_quota(request.limit);
  request.cost = count_argument(fcinfo, kCost, "cost");
  if (!PG_ARGISNULL(kBlock)) request.block = block_argument(fcinfo, kBlock, "block");
  request.allow_when_full = allow_when_full_setting();
  return request;
}

int64_t block_argument(FunctionCallInfo fcinfo, int number, const char* name) {
  pg::require_not_null(fcinfo, number, name);
  const Interval* interval = PG_GETARG_INTERVAL_P(number);
  const int64_t span = checked_span(interval, name);
  if (unlikely(span >= END_TIMESTAMP - pg::clock_now()))
    ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                    errmsg("%s ends out of the range of a timestamp: %s", name, pg::text_of(interval))));
  return span;
}

}  // namespace pgcache

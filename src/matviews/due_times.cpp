#include "matviews/due_times.hpp"

#include "matviews/cron.hpp"
#include "pg/compat.hpp"

extern "C" {
#include "common/int.h"
#include "common/pg_prng.h"
#include "pgtime.h"
#include "utils/builtins.h"
}

namespace pgcache {

namespace {

constexpr int64_t kEpochSeconds = int64_t{POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE} * SECS_PER_DAY;
constexpr int64_t kLongest = int64_t{10'000} * USECS_PER_DAY;

const char* text_of(const Interval* interval) {
  return DatumGetCString(DirectFunctionCall1(interval_out, PointerGetDatum(interval)));
}

// Nothing if it is infinite or too large to count.
std::optional<int64_t> microseconds_of(const Interval& interval) {
  const int64_t days = interval.day + int64_t{interval.month} * DAYS_PER_MONTH;
  int64_t microseconds = 0;
  if (pg::infinity_of(&interval) != 0 || pg_mul_s64_overflow(days, USECS_PER_DAY, &microseconds) ||
      pg_add_s64_overflow(microseconds, interval.time, &microseconds))
    return std::nullopt;
  return microseconds;
}

int64_t checked_microseconds(const Interval* interval, const char* name, int64_t least, const char* least_text) {
  const std::optional<int64_t> microseconds = microseconds_of(*interval);
  if (!microseconds || *microseconds < least || *microseconds > kLongest)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is out of range: %s", name, text_of(interval)),
                    errdetail("It must be from %s to 10000 days.", least_text)));
  return *microseconds;
}

int32_t offset_at(const void* zone, int64_t utc_seconds) noexcept {
  const pg_time_t time = utc_seconds;
  const struct pg_tm* local = pg_localtime(&time, static_cast<const pg_tz*>(zone));
  return local == nullptr ? 0 : static_cast<int32_t>(local->tm_gmtoff);
}

pg_tz* zone_named(const char* name) {
  pg_tz* zone = pg_tzset(name);
  return zone != nullptr && pg_tz_acceptable(zone) ? zone : nullptr;
}

void check_zone(const char* name) {
  if (zone_named(name) == nullptr)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown time zone: \"%s\"", name),
                    errhint("The view pg_timezone_names lists those that there are.")));
}

[[noreturn]] void raise_bad_cron(const char* text, const ParsedCron& parsed) {
  const char* field = cron_field_name(parsed.field);
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("cron expression \"%s\" is not valid", text),
                  field == nullptr ? errdetail("Expression: %s.", parsed.problem)
                                   : errdetail("Field \"%s\": %s.", field, parsed.problem),
                  errhint("Five fields: minute, hour, day of month, month, day of week, as in '0 6 * * mon-fri'.")));
}

void check_cron(const char* text) {
  const ParsedCron parsed = parse_cron(text);
  if (parsed.problem != nullptr) raise_bad_cron(text, parsed);
}

int64_t unix_seconds(TimestampTz time) {
  return time / USECS_PER_SEC - (time % USECS_PER_SEC < 0 ? 1 : 0) + kEpochSeconds;
}

TimestampTz from_unix(int64_t seconds) { return (seconds - kEpochSeconds) * USECS_PER_SEC; }

std::optional<TimestampTz> next_cron_time(const Timing& timing, TimestampTz after) {
  const pg_tz* zone = zone_named(timing.timezone);
  const ParsedCron parsed = parse_cron(timing.cron);
  if (zone == nullptr || parsed.problem != nullptr) return std::nullopt;
  const std::optional<int64_t> next = next_time(parsed.schedule, unix_seconds(after), {offset_at, zone});
  if (!next) return std::nullopt;
  return from_unix(*next);
}

TimestampTz next_on_grid(int64_t every, TimestampTz after) {
  const int64_t steps = after / every - (after % every < 0 ? 1 : 0);
  return (steps + 1) * every;
}

}  // namespace

void check_timing(const Timing& timing) {
  if ((timing.every == nullptr) == (timing.cron == nullptr))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    timing.every == nullptr ? errmsg("a schedule needs every or cron")
                                            : errmsg("a schedule cannot have both every and cron"),
                    errhint("For example every => '5 minutes', or cron => '*/5 * * * *'.")));
  check_zone(timing.timezone);
  const int64_t jitter = timing.jitter == nullptr ? 0 : checked_microseconds(timing.jitter, "jitter", 0, "0");
  if (timing.every != nullptr) {
    if (jitter >= checked_microseconds(timing.every, "every", USECS_PER_SEC, "1 second"))
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                      errmsg("jitter must be less than every: %s", text_of(timing.jitter))));
    return;
  }
  check_cron(timing.cron);
  if (!next_cron_time(timing, GetCurrentTimestamp()))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("cron expression \"%s\" names no time that comes", timing.cron),
                    errdetail("No such day is in the next nine years.")));
}

void check_timeout(const Interval* timeout) { checked_microseconds(timeout, "timeout", 1000, "1 millisecond"); }

int64_t milliseconds_of(const Interval& interval) {
  return std::clamp<int64_t>(microseconds_of(interval).value_or(kLongest), 1000, kLongest) / 1000;
}

std::optional<TimestampTz> next_due(const Timing& timing, TimestampTz after) {
  if (timing.every == nullptr) return timing.cron == nullptr ? std::nullopt : next_cron_time(timing, after);
  const std::optional<int64_t> every = microseconds_of(*timing.every);
  if (!every || *every < USECS_PER_SEC || *every > kLongest) return std::nullopt;
  return next_on_grid(*every, after);
}

TimestampTz with_jitter(const Timing& timing, TimestampTz due) {
  const int64_t jitter = timing.jitter == nullptr ? 0 : microseconds_of(*timing.jitter).value_or(0);
  if (jitter <= 0 || jitter > kLongest || TIMESTAMP_NOT_FINITE(due)) return due;
  return due + static_cast<int64_t>(pg_prng_uint64_range(&pg_global_prng_state, 0, static_cast<uint64_t>(jitter)));
}

TimestampTz retry_time(TimestampTz now, int failures, TimestampTz due) {
  constexpr int64_t kFirst = 10 * USECS_PER_SEC;
  const int64_t wait = std::min<int64_t>(kFirst << std::clamp(failures - 1, 0, 20), USECS_PER_HOUR);
  return std::min(due, now + wait);
}

}  // namespace pgcache

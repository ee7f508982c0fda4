// Schedules as cron writes them, such as '0 6 * * mon-fri', and the times they name. Pure: no PostgreSQL.
//
// Five fields: minute, hour, day of month, month, day of week; or @yearly, @annually, @monthly, @weekly, @daily,
// @midnight, @hourly. If both kinds of days are restricted, either will do.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pgcache {

// Bit n of a set stands for n: minutes 0-59, hours 0-23, days 1-31, months 1-12, weekdays 0-6 from Sunday.
struct CronSchedule {
  uint64_t minutes = 0;
  uint32_t hours = 0;
  uint32_t days = 0;
  uint16_t months = 0;
  uint8_t weekdays = 0;
  // Whether the field begins with '*'. Then days must match both fields.
  bool any_day = false;
  bool any_weekday = false;
  // Whether minutes or hours do. Then what counts is what the clock shows, else that each time comes once a day.
  bool by_the_clock = false;

  friend bool operator==(const CronSchedule&, const CronSchedule&) noexcept = default;
};

struct ParsedCron {
  CronSchedule schedule;
  const char* problem;  // nullptr if there is none; else what is wrong with the field
  int field;            // 1 to 5; 0 for the text as a whole
};

[[nodiscard]] ParsedCron parse_cron(std::string_view text) noexcept;

// "minute" for 1, to "day of week" for 5; nullptr for others.
[[nodiscard]] const char* cron_field_name(int field) noexcept;

// Where the clock hangs. Its offset may change by anything at any second, but not twice within two days.
struct Zone {
  int32_t (*offset_at)(const void* context, int64_t utc_seconds) noexcept;  // seconds east of UTC in force then
  const void* context;
};

// The furthest that next_time looks ahead: nine years, because from 2096 to 2104 there is no 29 February.
inline constexpr int64_t kCronSecondsAhead = int64_t{9} * 366 * 86400;
// From when on it does not look: what std::chrono's years can hold, with room.
inline constexpr int64_t kCronFarthest = 900'000'000'000;

// The first Unix time later than `after` that the schedule names; none if there is none within nine years, or if
// `after` is further away than kCronFarthest.
//
// Where the clock is changed, it is as with Vixie's cron. By the clock, times that it skips don't come and times that
// it repeats come again. Otherwise a time that it skips comes when it is changed, at once with others skipped then, and
// one that it repeats comes the first time only.
[[nodiscard]] std::optional<int64_t> next_time(const CronSchedule& schedule, int64_t after, const Zone& zone) noexcept;

}  // namespace pgcache

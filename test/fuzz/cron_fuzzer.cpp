// Schedules of any bytes, from any time on, in a zone whose clock is changed: what the parser takes makes sense, and
// times come in order, later than asked for, and are what the schedule names.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "matviews/cron.hpp"

namespace {

using namespace pgcache;

constexpr int64_t kDay = 86400;

void demand(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

bool has(uint64_t set, int64_t bit) { return (set >> bit & 1) != 0; }

// Changes of up to a day, in one direction and the other, at odd times.
struct FuzzedZone {
  int64_t period;  // at least two days
  int32_t offset;
  int32_t other_offset;

  static int32_t offset_at(const void* context, int64_t time) noexcept {
    const auto& self = *static_cast<const FuzzedZone*>(context);
    const int64_t phase = (time % (2 * self.period) + 2 * self.period) % (2 * self.period);
    return phase < self.period ? self.offset : self.other_offset;
  }
  [[nodiscard]] Zone zone() const { return {offset_at, this}; }
};

void check_sets(const CronSchedule& schedule) {
  demand(schedule.minutes != 0 && schedule.minutes >> 60 == 0, "minutes are 0 to 59");
  demand(schedule.hours != 0 && schedule.hours >> 24 == 0, "hours are 0 to 23");
  demand(schedule.days != 0 && !has(schedule.days, 0), "days are 1 to 31");
  demand(schedule.months != 0 && !has(schedule.months, 0) && schedule.months >> 13 == 0, "months are 1 to 12");
  demand(schedule.weekdays != 0 && schedule.weekdays >> 7 == 0, "weekdays are 0 to 6");
}

// Whether the clock shows a time of the schedule's sets; of the days', the weekday alone is easy to tell.
bool shows_due(const CronSchedule& schedule, int64_t face) {
  const int64_t second = (face % kDay + kDay) % kDay;
  const int64_t day = (face - second) / kDay;
  const int64_t weekday = ((day + 4) % 7 + 7) % 7;
  if (schedule.any_day && !has(schedule.weekdays, weekday)) return false;
  return second % 60 == 0 && has(schedule.minutes, second / 60 % 60) && has(schedule.hours, second / 3600);
}

void check_times(const CronSchedule& schedule, int64_t after, const FuzzedZone& clock) {
  const Zone zone = clock.zone();
  for (int i = 0; i < 8; ++i) {
    const std::optional<int64_t> found = next_time(schedule, after, zone);
    if (!found.has_value()) return;
    const int64_t time = *found;
    demand(time > after, "it is later");
    demand(time <= after + kCronSecondsAhead, "it is within nine years");
    if (time - 1 > kCronFarthest) return;
    demand(next_time(schedule, time - 1, zone) == time, "it is the next one a second before");
    demand(next_time(schedule, after + (time - after) / 2, zone) == time, "there is none before it");
    const int32_t offset = FuzzedZone::offset_at(&clock, time);
    const bool is_set_forward = offset > FuzzedZone::offset_at(&clock, time - 1);
    demand(shows_due(schedule, time + offset) || (is_set_forward && !schedule.by_the_clock),
           "it is the schedule's, or was skipped");
    after = time;
  }
}

template <typename Number>
Number take(std::string_view& bytes) {
  Number number = 0;
  if (bytes.size() < sizeof number) return number;
  std::memcpy(&number, bytes.data(), sizeof number);
  bytes.remove_prefix(sizeof number);
  return number;
}

}  // namespace

// The time, the zone, then the schedule.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto after = take<int64_t>(text);
  const int64_t period = 2 * kDay + take<uint16_t>(text) * int64_t{300};
  const int32_t offset = take<int16_t>(text);
  const int32_t other_offset = offset + take<int8_t>(text) * 675;
  const FuzzedZone clock{period, offset, other_offset};
  const ParsedCron parsed = parse_cron(text);
  demand((parsed.problem == nullptr) == (parsed.schedule != CronSchedule{}), "there is a problem or a schedule");
  demand(parsed.field == 0 || (parsed.problem != nullptr && cron_field_name(parsed.field) != nullptr),
         "a problem is in a field");
  if (parsed.problem != nullptr) return 0;
  check_sets(parsed.schedule);
  check_times(parsed.schedule, after, clock);
  check_times(parsed.schedule, after % (int64_t{1} << 32), clock);
  return 0;
}

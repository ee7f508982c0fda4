#include "matviews/cron.hpp"

#include <algorithm>
#include <bit>
#include <chrono>

namespace pgcache {

namespace {

constexpr int64_t kDay = 86400;
// A time on the clock that never comes.
constexpr int64_t kNever = INT64_MAX / 2;
// Greater than any value or useful step, so that no number overflows.
constexpr int kHuge = 1000;
constexpr int kFields = 5;

struct FieldRule {
  const char* name;
  int lowest;
  int highest;
  std::string_view names;  // of three letters each, from the lowest value on
};

constexpr FieldRule kRules[kFields] = {{"minute", 0, 59, {}},
                                       {"hour", 0, 23, {}},
                                       {"day of month", 1, 31, {}},
                                       {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
                                       {"day of week", 0, 7, "sunmontuewedthufrisat"}};

struct Macro {
  std::string_view name;
  std::string_view fields;
};

constexpr Macro kMacros[] = {{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
                             {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
                             {"@hourly", "0 * * * *"}};

// Not those of <cctype>, which ask the locale.
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
constexpr bool is_letter(char c) noexcept { return lower(c) >= 'a' && lower(c) <= 'z'; }
constexpr bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

constexpr bool has(uint64_t set, unsigned bit) noexcept { return (set >> bit & 1) != 0; }

bool same_name(std::string_view text, std::string_view name) noexcept {
  return std::equal(text.begin(), text.end(), name.begin(), name.end(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

// Cuts off what of the text's beginning fits.
template <typename Fits>
std::string_view take_while(std::string_view& text, Fits fits) noexcept {
  const auto size = static_cast<size_t>(std::find_if_not(text.begin(), text.end(), fits) - text.begin());
  const std::string_view taken(text.data(), size);
  text.remove_prefix(size);
  return taken;
}

// The word before the next blank; empty at the end.
std::string_view take_word(std::string_view& text) noexcept {
  take_while(text, is_blank);
  return take_while(text, [](char c) { return !is_blank(c); });
}

// Reads one field: elements with commas in between.
class FieldReader {
 public:
  FieldReader(std::string_view text, const FieldRule& rule) noexcept : text_(text), rule_(rule) {}

  // The values; what they are is of no use if there is a problem.
  [[nodiscard]] uint64_t read() noexcept {
    do {
      if (!read_element()) return 0;
    } while (accept(','));
    if (!text_.empty()) problem_ = "unexpected character";
    return values_;
  }
  [[nodiscard]] const char* problem() const noexcept { return problem_; }

 private:
  [[nodiscard]] bool fail(const char* problem) noexcept {
    problem_ = problem;
    return false;
  }
  [[nodiscard]] bool accept(char c) noexcept {
    if (!text_.starts_with(c)) return false;
    text_.remove_prefix(1);
    return true;
  }
  [[nodiscard]] bool read_element() noexcept;
  [[nodiscard]] bool read_number(int& number) noexcept;
  [[nodiscard]] bool read_name(int& value) noexcept;
  [[nodiscard]] bool read_value(int& value) noexcept;

  std::string_view text_;
  const FieldRule& rule_;
  uint64_t values_ = 0;
  const char* problem_ = nullptr;
};

bool FieldReader::read_number(int& number) noexcept {
  const std::string_view digits = take_while(text_, is_digit);
  if (digits.empty()) return fail("number expected");
  number = 0;
  for (const char c : digits) number = std::min(number * 10 + (c - '0'), kHuge);
  return true;
}

bool FieldReader::read_name(int& value) noexcept {
  const std::string_view word = take_while(text_, is_letter);
  value = rule_.lowest;
  for (std::string_view names = rule_.names; !names.empty(); names.remove_prefix(3), ++value)
    if (same_name(word, {names.data(), 3})) return true;
  return fail("unknown name");
}

bool FieldReader::read_value(int& value) noexcept {
  if (!rule_.names.empty() && !text_.empty() && is_letter(text_.front())) return read_name(value);
  if (!read_number(value)) return false;
  return (value >= rule_.lowest && value <= rule_.highest) || fail("value out of range");
}

bool FieldReader::read_element() noexcept {
  int first = rule_.lowest;
  int last = rule_.highest;
  int step = 1;
  bool is_range = accept('*');
  if (!is_range) {
    if (!read_value(first)) return false;
    last = first;
    is_range = accept('-');
    if (is_range && !read_value(last)) return false;
    if (last < first) return fail("range runs backwards");
  }
  if (accept('/')) {
    if (!is_range) return fail("step needs a range");
    if (!read_number(step)) return false;
    if (step == 0) return fail("step must be positive");
  }
  for (int value = first; value <= last; value += step) values_ |= uint64_t{1} << value;
  return true;
}

ParsedCron failed(const char* problem, int field) noexcept { return {{}, problem, field}; }

ParsedCron parse_fields(std::string_view text) noexcept {
  std::string_view words[kFields];
  for (std::string_view& word : words) word = take_word(text);
  if (words[kFields - 1].empty() || !take_word(text).empty()) return failed("needs five fields", 0);
  uint64_t values[kFields];
  bool is_any[kFields];
  for (int i = 0; i < kFields; ++i) {
    FieldReader reader(words[i], kRules[i]);
    values[i] = reader.read();
    if (reader.problem() != nullptr) return failed(reader.problem(), i + 1);
    is_any[i] = words[i].starts_with('*');
  }
  const uint64_t weekdays = values[4] | values[4] >> 7;  // 7 is Sunday too
  return {{.minutes = values[0],
           .hours = static_cast<uint32_t>(values[1]),
           .days = static_cast<uint32_t>(values[2]),
           .months = static_cast<uint16_t>(values[3]),
           .weekdays = static_cast<uint8_t>(weekdays & 0x7F),
           .any_day = is_any[2],
           .any_weekday = is_any[4],
           .by_the_clock = is_any[0] || is_any[1]},
          nullptr,
          0};
}

bool day_matches(const CronSchedule& schedule, std::chrono::sys_days day) noexcept {
  const bool by_day = has(schedule.days, static_cast<unsigned>(std::chrono::year_month_day{day}.day()));
  const bool by_weekday = has(schedule.weekdays, std::chrono::weekday{day}.c_encoding());
  return schedule.any_day || schedule.any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

// The first day that matches, from this one on and before the last; else the last.
std::chrono::sys_days next_day(const CronSchedule& schedule, std::chrono::sys_days day,
                               std::chrono::sys_days last) noexcept {
  while (day < last) {
    const std::chrono::year_month_day date{day};
    if (!has(schedule.months, static_cast<unsigned>(date.month()))) {
      day = date.year() / date.month() / 1 + std::chrono::months{1};
    } else if (day_matches(schedule, day)) {
      return day;
    } else {
      day += std::chrono::days{1};
    }
  }
  return last;
}

// The first minute of a day that matches, from this one on.
std::optional<int> next_minute(const CronSchedule& schedule, int from) noexcept {
  const int hour = from / 60;
  const uint64_t rest = schedule.minutes >> (from % 60);
  if (has(schedule.hours, static_cast<unsigned>(hour)) && rest != 0) return from + std::countr_zero(rest);
  const uint32_t later = schedule.hours & ~uint32_t{0} << (hour + 1);
  if (later == 0) return std::nullopt;
  return std::countr_zero(later) * 60 + std::countr_zero(schedule.minutes);
}

// A time on the clock is counted in seconds as if the clock were at UTC. The first that matches, from this one on.
int64_t next_on_clock(const CronSchedule& schedule, int64_t from) noexcept {
  if (schedule.minutes == 0 || schedule.hours == 0) return kNever;
  using std::chrono::sys_days;
  const std::chrono::sys_seconds start{std::chrono::seconds{from}};
  const auto minute = std::chrono::ceil<std::chrono::minutes>(start);
  const auto today = std::chrono::floor<std::chrono::days>(minute);
  // Clocks of two offsets are some days apart at most.
  const sys_days last = today + std::chrono::days{kCronSecondsAhead / kDay + 3};
  sys_days day = next_day(schedule, today, last);
  std::optional<int> found = next_minute(schedule, day == today ? static_cast<int>((minute - today).count()) : 0);
  if (!found.has_value()) {
    day = next_day(schedule, day + std::chrono::days{1}, last);
    found = next_minute(schedule, 0);
  }
  if (day >= last || !found.has_value()) return kNever;
  return (day + std::chrono::minutes{*found}).time_since_epoch() / std::chrono::seconds{1};
}

int64_t offset_at(const Zone& zone, int64_t time) noexcept { return zone.offset_at(zone.context, time); }

// The first time after `from` of another offset than there, if at `to` there is one.
int64_t first_change(const Zone& zone, int64_t from, int64_t to) noexcept {
  const int64_t offset = offset_at(zone, from);
  while (to - from > 1) {
    const int64_t middle = from + (to - from) / 2;
    (offset_at(zone, middle) == offset ? from : to) = middle;
  }
  return to;
}

// The first time on the clock that it has not shown up to now, even if it has been set back.
int64_t first_not_shown(const Zone& zone, int64_t now) noexcept {
  const int64_t offset = offset_at(zone, now);
  const int64_t earlier = offset_at(zone, now - kDay);
  if (offset == earlier) return now + offset + 1;
  return std::max(now + offset + 1, first_change(zone, now - kDay, now) + earlier);
}

}  // namespace

ParsedCron parse_cron(std::string_view text) noexcept {
  std::string_view rest = text;
  const std::string_view word = take_word(rest);
  if (!word.starts_with('@')) return parse_fields(text);
  if (!take_word(rest).empty()) return failed("nothing may follow a macro", 0);
  for (const Macro& macro : kMacros)
    if (same_name(word, macro.name)) return parse_fields(macro.fields);
  return failed("unknown macro", 0);
}

const char* cron_field_name(int field) noexcept {
  return field >= 1 && field <= kFields ? kRules[field - 1].name : nullptr;
}

std::optional<int64_t> next_time(const CronSchedule& schedule, int64_t after, const Zone& zone) noexcept {
  if (after < -kCronFarthest || after > kCronFarthest) return std::nullopt;
  const int64_t last = after + kCronSecondsAhead;
  int64_t now = after + 1;
  int64_t offset = offset_at(zone, now);
  int64_t due = next_on_clock(schedule, schedule.by_the_clock ? now + offset : first_not_shown(zone, after));
  // Day by day, so that no change of the clock is missed.
  for (;;) {
    const int64_t at = std::max(due - offset, now);  // what was skipped comes now
    const int64_t to = std::min({at, now + kDay, last});
    if (offset_at(zone, to) == offset) {
      if (to == at) return at;
      if (to == last) return std::nullopt;
      now = to;
    } else {
      now = first_change(zone, now, to);
      offset = offset_at(zone, now);
      if (schedule.by_the_clock) due = next_on_clock(schedule, now + offset);
    }
  }
}

}  // namespace pgcache

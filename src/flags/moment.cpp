#include "flags/moment.hpp"

#include <chrono>

namespace pgcache::flags {

namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;

class Reader {
 public:
  explicit Reader(std::string_view text) noexcept : rest_(text) {}

  bool is_at_end() const noexcept { return rest_.empty(); }

  bool take(char c) noexcept { return take_one_of(std::string_view(&c, 1)); }

  bool take_one_of(std::string_view choices) noexcept {
    if (rest_.empty() || choices.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // Exactly so many digits, giving a number up to `most`; -1 otherwise.
  int number(size_t digits, int most) noexcept {
    if (rest_.size() < digits) return -1;
    int value = 0;
    for (const char c : rest_.substr(0, digits)) {
      if (c < '0' || c > '9') return -1;
      value = value * 10 + (c - '0');
    }
    rest_.remove_prefix(digits);
    return value <= most ? value : -1;
  }

  // Of a second, from its digits, at least one; -1 otherwise.
  int64_t microseconds() noexcept {
    int64_t value = 0;
    int64_t unit = kSecond;
    size_t digits = 0;
    for (; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
      unit /= 10;
      value += (rest_[digits] - '0') * unit;
    }
    rest_.remove_prefix(digits);
    return digits == 0 ? -1 : value;
  }

 private:
  std::string_view rest_;
};

std::optional<int64_t> parse_date(Reader& reader) noexcept {
  const int year = reader.number(4, 9999);
  if (year < 0 || !reader.take('-')) return std::nullopt;
  const int month = reader.number(2, 12);
  if (month < 1 || !reader.take('-')) return std::nullopt;
  const int day = reader.number(2, 31);
  const std::chrono::year_month_day date{std::chrono::year{year}, std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day < 0 ? 0 : day)}};
  if (!date.ok()) return std::nullopt;
  constexpr std::chrono::sys_days epoch = std::chrono::January / 1 / 2000;
  return int64_t{(std::chrono::sys_days{date} - epoch).count()} * 24 * 60 * kMinute;
}

std::optional<int64_t> parse_hour_and_minute(Reader& reader) noexcept {
  const int hour = reader.number(2, 23);
  if (hour < 0 || !reader.take(':')) return std::nullopt;
  const int minute = reader.number(2, 59);
  if (minute < 0) return std::nullopt;
  return (hour * 60 + minute) * kMinute;
}

std::optional<int64_t> parse_time(Reader& reader) noexcept {
  std::optional<int64_t> time = parse_hour_and_minute(reader);
  if (!time || !reader.take(':')) return time;
  const int second = reader.number(2, 59);
  if (second < 0) return std::nullopt;
  *time += second * kSecond;
  if (!reader.take('.')) return time;
  const int64_t fraction = reader.microseconds();
  if (fraction < 0) return std::nullopt;
  return *time + fraction;
}

// "+01:00", "+0100", "+01".
std::optional<int64_t> parse_offset(Reader& reader) noexcept {
  if (reader.is_at_end() || reader.take_one_of("Zz")) return 0;
  const bool is_east = reader.take('+');
  if (!is_east && !reader.take('-')) return std::nullopt;
  const int hour = reader.number(2, 23);
  const bool has_minute = !reader.is_at_end();
  if (has_minute) reader.take(':');
  const int minute = has_minute ? reader.number(2, 59) : 0;
  if (hour < 0 || minute < 0) return std::nullopt;
  const int64_t offset = (hour * 60 + minute) * kMinute;
  return is_east ? offset : -offset;
}

}  // namespace

std::optional<int64_t> parse_moment(std::string_view text) noexcept {
  Reader reader(text);
  const std::optional<int64_t> date = parse_date(reader);
  if (!date || reader.is_at_end()) return date;
  if (!reader.take_one_of("Tt ")) return std::nullopt;
  const std::optional<int64_t> time = parse_time(reader);
  if (!time) return std::nullopt;
  const std::optional<int64_t> offset = parse_offset(reader);
  if (!offset || !reader.is_at_end()) return std::nullopt;
  return *date + *time - *offset;
}

}  // namespace pgcache::flags

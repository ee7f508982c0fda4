// What each algorithm is by its definition, told another way than the code has it: gcra by its theoretical arrival
// time, the others by what was taken when. Slow; waits are searched for, not calculated.
#pragma once

#include <ctime>
#include <deque>
#include <memory>
#include <vector>

#include "limits.hpp"

namespace pgcache::limits::test {

// Before all that the clock can show.
constexpr int64_t kLongAgo = -1'000'000'000'000'000'000;

class Oracle {
 public:
  explicit Oracle(const Limit& by) : limit_(by) {}
  virtual ~Oracle() = default;

  // At that time, if nothing more is taken.
  [[nodiscard]] virtual int64_t remaining(int64_t time) const = 0;
  virtual void take(int64_t cost, int64_t now) = 0;
  virtual void refund(int64_t cost, int64_t now) = 0;
  // The clock was set back to before the last charge.
  virtual void set_back(int64_t now) = 0;
  [[nodiscard]] virtual int64_t last() const = 0;

  void see(int64_t now) {
    if (now < last()) set_back(now);
  }
  // The least wait until so much is there.
  [[nodiscard]] int64_t wait(int64_t cost, int64_t now, int64_t longest) const {
    if (remaining(now) >= cost) return 0;
    int64_t too_short = 0;
    int64_t enough = longest;
    while (enough - too_short > 1) {
      const int64_t middle = too_short + (enough - too_short) / 2;
      (remaining(now + middle) >= cost ? enough : too_short) = middle;
    }
    return remaining(now + enough) >= cost ? enough : -2;
  }

 protected:
  const Limit limit_;
};

class GcraOracle final : public Oracle {
 public:
  using Oracle::Oracle;
  // Times are scaled by the quota, so that the interval of one unit is the whole period.
  [[nodiscard]] int64_t remaining(int64_t time) const override {
    const Scaled ahead = std::max<Scaled>(arrival_ - scaled(time), 0);
    const Scaled tolerance = Scaled{limit_.burst} * limit_.period;
    return static_cast<int64_t>((tolerance - ahead) / limit_.period);
  }
  void take(int64_t cost, int64_t now) override {
    arrival_ = std::max(arrival_, scaled(now)) + Scaled{cost} * limit_.period;
    last_ = now;
  }
  void refund(int64_t cost, int64_t) override { arrival_ -= Scaled{cost} * limit_.period; }
  void set_back(int64_t now) override {
    arrival_ -= scaled(last_) - scaled(now);
    last_ = now;
  }
  [[nodiscard]] int64_t last() const override { return last_; }

 private:
  using Scaled = __int128;
  [[nodiscard]] Scaled scaled(int64_t time) const { return Scaled{time} * limit_.quota; }
  Scaled arrival_ = scaled(kLongAgo);
  int64_t last_ = kLongAgo;
};

class FixedOracle final : public Oracle {
 public:
  using Oracle::Oracle;
  [[nodiscard]] int64_t remaining(int64_t time) const override {
    return limit_.quota - (time - begin_ < limit_.period ? taken_ : 0);
  }
  void take(int64_t cost, int64_t now) override {
    if (taken_ == 0 || now - begin_ >= limit_.period) {
      begin_ = now;
      taken_ = 0;
    }
    taken_ += cost;
    last_ = now;
  }
  void refund(int64_t cost, int64_t) override { taken_ = std::max<int64_t>(taken_ - cost, 0); }
  void set_back(int64_t now) override {
    begin_ -= last_ - now;
    last_ = now;
  }
  [[nodiscard]] int64_t last() const override { return taken_ > 0 ? last_ : kLongAgo; }

 private:
  int64_t begin_ = 0;
  int64_t taken_ = 0;
  int64_t last_ = kLongAgo;
};

class SlidingOracle final : public Oracle {
 public:
  using Oracle::Oracle;
  [[nodiscard]] int64_t remaining(int64_t time) const override {
    if (taken_in(0) + taken_in(1) == 0 || time - last_ >= limit_.period) return limit_.quota;
    const int64_t window = floor(time);
    const int64_t share = limit_.period - (time - window * limit_.period);
    // In parts of a unit, as many as the period has microseconds.
    const __int128 in_use =
        static_cast<__int128>(taken_of(window)) * limit_.period + static_cast<__int128>(taken_of(window - 1)) * share;
    const __int128 left = static_cast<__int128>(limit_.quota) * limit_.period - in_use;
    return left < 0 ? 0 : static_cast<int64_t>(left / limit_.period);
  }
  void take(int64_t cost, int64_t now) override {
    if (now - last_ >= limit_.period) hits_.clear();
    hits_.push_back({floor(now), cost});
    last_ = now;
  }
  // The newest first; what lies before the two windows is past anyway.
  void refund(int64_t cost, int64_t) override {
    while (cost > 0 && !hits_.empty() && hits_.back().window >= floor(last_) - 1) {
      const int64_t back = std::min(cost, hits_.back().cost);
      cost -= back;
      hits_.back().cost -= back;
      if (hits_.back().cost == 0) hits_.pop_back();
    }
  }
  void set_back(int64_t now) override {
    const int64_t by = floor(last_) - floor(now);
    for (Hit& hit : hits_) hit.window -= by;
    last_ = now;
  }
  [[nodiscard]] int64_t last() const override { return taken_in(0) + taken_in(1) > 0 ? last_ : kLongAgo; }

 private:
  struct Hit {
    int64_t window;
    int64_t cost;
  };
  [[nodiscard]] int64_t floor(int64_t time) const {
    int64_t window = time / limit_.period;
    while (window * limit_.period > time) --window;
    return window;
  }
  [[nodiscard]] int64_t taken_of(int64_t window) const {
    int64_t taken = 0;
    for (const Hit& hit : hits_) taken += hit.window == window ? hit.cost : 0;
    return taken;
  }
  [[nodiscard]] int64_t taken_in(int64_t windows_ago) const {
    return hits_.empty() ? 0 : taken_of(floor(last_) - windows_ago);
  }
  std::vector<Hit> hits_;
  int64_t last_ = kLongAgo;
};

class ExactOracle final : public Oracle {
 public:
  using Oracle::Oracle;
  [[nodiscard]] int64_t remaining(int64_t time) const override {
    int64_t left = limit_.quota;
    for (const int64_t hit : hits_) left -= time - hit < limit_.period ? 1 : 0;
    return left;
  }
  void take(int64_t cost, int64_t now) override {
    for (int64_t unit = 0; unit < cost; ++unit) hits_.push_back(now);
  }
  void refund(int64_t cost, int64_t now) override {
    while (!hits_.empty() && now - hits_.front() >= limit_.period) hits_.pop_front();
    for (; cost > 0 && !hits_.empty(); --cost) hits_.pop_front();
  }
  void set_back(int64_t now) override {
    const int64_t by = last() - now;
    for (int64_t& hit : hits_) hit -= by;
  }
  [[nodiscard]] int64_t last() const override { return hits_.empty() ? kLongAgo : hits_.back(); }

 private:
  std::deque<int64_t> hits_;
};

// By the C library's calendar.
class CalendarOracle final : public Oracle {
 public:
  using Oracle::Oracle;
  [[nodiscard]] int64_t remaining(int64_t time) const override {
    return limit_.quota - (unit_of(time) == unit_of(last_) ? taken_ : 0);
  }
  void take(int64_t cost, int64_t now) override {
    if (unit_of(now) != unit_of(last_)) taken_ = 0;
    taken_ += cost;
    last_ = now;
  }
  void refund(int64_t cost, int64_t) override { taken_ = std::max<int64_t>(taken_ - cost, 0); }
  void set_back(int64_t now) override { last_ = now; }
  [[nodiscard]] int64_t last() const override { return taken_ > 0 ? last_ : kLongAgo; }

 private:
  [[nodiscard]] int64_t unit_of(int64_t time) const {
    constexpr int64_t kSecondsBefore2000 = 946'684'800;
    int64_t seconds = time / kSecond;
    while (seconds * kSecond > time) --seconds;
    const time_t since_1970 = seconds + kSecondsBefore2000;
    std::tm parts{};
    gmtime_r(&since_1970, &parts);
    const int64_t month = int64_t{parts.tm_year} * 12 + parts.tm_mon;
    const auto unit = static_cast<CalendarUnit>(limit_.period);
    if (unit == CalendarUnit::month) return month;
    const int64_t day = month * 32 + parts.tm_mday;
    return unit == CalendarUnit::day ? day : day * 24 + parts.tm_hour;
  }
  int64_t taken_ = 0;
  int64_t last_ = kLongAgo;
};

inline std::unique_ptr<Oracle> oracle(const Limit& by) {
  switch (by.algorithm) {
    case Algorithm::gcra:
      return std::make_unique<GcraOracle>(by);
    case Algorithm::fixed:
      return std::make_unique<FixedOracle>(by);
    case Algorithm::sliding:
      return std::make_unique<SlidingOracle>(by);
    case Algorithm::exact:
      return std::make_unique<ExactOracle>(by);
    case Algorithm::calendar:
      return std::make_unique<CalendarOracle>(by);
  }
  return nullptr;
}

}  // namespace pgcache::limits::test

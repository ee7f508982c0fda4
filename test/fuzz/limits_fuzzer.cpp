// Calls of any kind on the smallest table, also where all keys want the same few places: what is answered makes sense,
// waits are the least, no call touches another key's count, and in the end every place and every log's block comes
// back.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "../unit/heap_environment.hpp"
#include "limits/limit_table.hpp"

namespace {

using namespace pgcache::limits;
using pgcache::engine::test::Hash;
using pgcache::engine::test::Locks;
using pgcache::engine::test::Memory;
using pgcache::engine::test::spreading_hash;

constexpr int64_t kLastTime = 9'223'371'331'199'999'999;
constexpr Secrets kSecrets{0x5ec7e7, 0x07e3};
constexpr int64_t kLongestUnit = int64_t{31} * 24 * 3600 * 1'000'000;
constexpr std::string_view kKeys = "abcdefghijklmnopqrstuvwxyz012345";
constexpr int64_t kPeriods[] = {1, 10, 1000, 3'600'000'000, kLongestSpan};

void demand(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

// All keys have one home in common, and one of four others; some share the whole first hash.
uint64_t crowding_hash(const void* bytes, size_t size, uint64_t seed) noexcept {
  const uint64_t hash = spreading_hash(bytes, size, seed);
  return seed == kSecrets.first ? hash >> 62 << 60 | ((hash & 7) + 1) << 5 : hash;
}

int64_t now;
int64_t clock_of_test() { return now; }

struct Call {
  uint8_t kind;
  uint8_t key;
  uint8_t algorithm;
  uint8_t quota;
  uint8_t cost;
  uint8_t step;
};

class Program {
 public:
  Program(pgcache::engine::Buffer memory, Hash hash)
      : environment_{Locks::lock, Locks::unlock, hash, &locks_},
        table_(LimitTable::format(memory, environment_, kSecrets, now)) {}

  void run(const Call& call) {
    pass_time(call.step);
    const Key key = key_of(call.key);
    const Request request = request_of(call);
    if (witness_.key.first == key.first) witness_ = {};
    const Verdict before = look(witness_);
    act(call.kind, key, request);
    if (witness_.key.first != key.first) demand(is_same(look(witness_), before), "a call changes no other key's count");
  }

  void end() {
    demand(charges_ == table_.totals().allowed + table_.totals().denied, "each charge is counted once");
    for (uint8_t key = 0; key < kKeys.size(); ++key) static_cast<void>(table_.reset(key_of(key), clock_of_test));
    demand(table_.totals().cells == 0, "every place comes back");
    demand(table_.totals().log_entries == 0, "every block of a log comes back");
  }

 private:
  // A key, and the limit by which it was charged, or denied because of its count.
  struct Charged {
    Key key{};
    Request request{};
  };

  void act(uint8_t kind, const Key& key, const Request& request) {
    switch (kind % 12) {
      case 0:
        return refund(key, request);
      case 1:
        return block(key, request.limit.period);
      case 2:
        static_cast<void>(table_.unblock(key, clock_of_test));
        return demand(look(key, request).blocked_until == 0, "who is unblocked is not blocked");
      case 3:
        demand(table_.reset(key, clock_of_test) <= 15 + 1, "a key has sixteen counts");
        return demand(look(key, request).reset_after == 0, "after a reset all is whole");
      default:
        charge(key, request);
    }
  }

  [[nodiscard]] Key key_of(uint8_t number) const { return table_.key(0, kKeys.substr(number % kKeys.size(), 1)); }

  static Request request_of(const Call& call) {
    Request request{};
    Limit& limit = request.limit;
    limit.algorithm = static_cast<Algorithm>(call.algorithm % 5);
    const int64_t number = call.algorithm / 5 % 5;
    limit.period = limit.algorithm == Algorithm::calendar ? number % 3 : kPeriods[number];
    limit.quota = quantity(call.quota, limit.algorithm == Algorithm::exact ? kMaxExactQuota : INT64_MAX);
    limit.burst = limit.quota;
    if (limit.algorithm == Algorithm::gcra && call.kind % 2 == 0) {
      limit.burst = std::max<int64_t>(quantity(static_cast<uint8_t>(call.quota ^ call.kind), INT64_MAX), 1);
      if (limit.quota > 0 && !refill_time(limit).in_range) limit.burst = limit.quota;
    }
    request.cost = quantity(call.cost, INT64_MAX);
    request.block = call.kind >= 240 ? 5 : 0;
    request.allow_when_full = call.kind >= 200;
    return request;
  }

  // Small, of the size of a log, or huge.
  static int64_t quantity(uint8_t number, int64_t most) {
    if (number < 64) return number;
    if (number < 224) return std::min<int64_t>((number - 63) * int64_t{8}, most);
    return most - (number - 224);
  }

  void pass_time(uint8_t step) {
    int64_t by = 0;
    if (step < 64)
      by = step / 4;
    else if (step < 96)
      by = last_.retry_after - step % 2;
    else if (step < 128)
      by = last_.reset_after - step % 2;
    else if (step < 192)
      by = int64_t{1} << (step - 128);
    else
      by = -(int64_t{1} << (step - 192) % 63);
    int64_t sum;
    if (__builtin_add_overflow(now, by, &sum)) sum = kLastTime;
    now = std::clamp<int64_t>(sum, 0, kLastTime);
  }

  static int64_t longest_wait(const Limit& limit) {
    if (limit.algorithm == Algorithm::gcra) return refill_time(limit).microseconds;
    return limit.algorithm == Algorithm::calendar ? kLongestUnit : limit.period;
  }

  static void check(const Verdict& verdict, const Request& request) {
    const Limit& limit = request.limit;
    demand(verdict.remaining >= 0 && verdict.remaining <= limit.capacity(), "what remains is within the capacity");
    demand(verdict.reset_after >= 0, "a reset lies ahead");
    demand(verdict.allowed == (verdict.retry_after == 0), "who is allowed need not wait");
    demand(!verdict.allowed || verdict.reason == Reason::none || verdict.reason == Reason::memory_full,
           "who is allowed needs no reason");
    if (limit.quota == 0) {
      demand(verdict.reason == Reason::quota_is_zero && verdict.retry_after == kNever, "of nothing nothing is allowed");
      return;
    }
    demand((verdict.retry_after == kNever) == (verdict.reason == Reason::cost_exceeds_limit) &&
               (verdict.reason == Reason::cost_exceeds_limit) == (request.cost > limit.capacity()),
           "never is only where the cost exceeds the limit");
    if (verdict.blocked_until > 0) {
      demand(verdict.blocked_until > now && verdict.remaining == 0, "a block is not over, and leaves nothing");
      return;
    }
    demand(verdict.retry_after <= longest_wait(limit) || verdict.reason == Reason::memory_full,
           "nobody waits longer than a period");
    demand(verdict.reset_after <= longest_wait(limit), "nor for all of it");
    if (verdict.lacks_room) return;
    demand((verdict.reset_after == 0) == (verdict.remaining == limit.capacity()), "whole is as never used");
  }

  // At a later time, or now.
  Verdict look(const Key& key, const Request& request, int64_t later_by = 0) {
    const int64_t before = now;
    now += later_by;
    const Verdict verdict = table_.peek(key, request, clock_of_test);
    check(verdict, request);
    now = before;
    return verdict;
  }

  Verdict look(const Charged& charged) {
    return charged.key.first == 0 ? Verdict{} : look(charged.key, charged.request);
  }

  static bool is_same(const Verdict& one, const Verdict& other) {
    return one.allowed == other.allowed && one.reason == other.reason && one.remaining == other.remaining &&
           one.retry_after == other.retry_after && one.reset_after == other.reset_after &&
           one.blocked_until == other.blocked_until;
  }

  void check_waits(const Key& key, const Request& request, const Verdict& verdict) {
    if (verdict.lacks_room) return;
    if (verdict.retry_after > 0 && verdict.retry_after <= kLastTime - now) {
      demand(look(key, request, verdict.retry_after).allowed, "who waits is allowed");
      demand(!look(key, request, verdict.retry_after - 1).allowed, "who waits less is not");
    }
    if (verdict.reset_after <= 0 || verdict.reset_after > kLastTime - now || request.limit.quota == 0) return;
    Request whole = request;
    whole.cost = request.limit.capacity();
    demand(look(key, whole, verdict.reset_after).allowed, "after the reset all is there");
    demand(!look(key, whole, verdict.reset_after - 1).allowed, "and not before");
  }

  void charge(const Key& key, const Request& request) {
    const Verdict expected = look(key, request);
    const Verdict verdict = table_.charge(key, request, clock_of_test);
    check(verdict, request);
    if (request.cost > 0) ++charges_;
    if (expected.allowed && !verdict.lacks_room) {
      demand(verdict.allowed && verdict.remaining == expected.remaining - request.cost, "it takes the cost");
    } else if (!expected.allowed) {
      demand(!verdict.allowed && verdict.reason == expected.reason, "it says what a look said");
      demand(verdict.remaining == expected.remaining || verdict.blocked_until > 0, "a denial takes nothing");
    }
    check_waits(key, request, verdict);
    last_ = verdict;
    const bool counts =
        (verdict.reason == Reason::none && request.cost > 0) || verdict.reason == Reason::limit_exceeded;
    if (counts) witness_ = {key, request};
  }

  void refund(const Key& key, const Request& request) {
    const Verdict before = look(key, request);
    const Verdict after = table_.refund(key, request, clock_of_test);
    demand(after.allowed && after.retry_after == 0, "a refund is not denied");
    demand(after.remaining >= before.remaining && after.remaining - before.remaining <= request.cost,
           "it gives back no more than was asked");
    demand(after.remaining == look(key, request).remaining, "and it stays given");
  }

  void block(const Key& key, int64_t duration) {
    duration = std::max<int64_t>(duration, 1);
    const int64_t until = table_.block(key, duration, clock_of_test);
    if (until == 0) return;
    demand(until == later(now, duration), "a block is as long as asked");
    demand(look(key, {{Algorithm::fixed, 5, 1, 5}, 1, 0, false}).reason == Reason::blocked, "and it denies");
  }

  Locks locks_{kPartitions};
  pgcache::engine::Environment environment_;
  LimitTable table_;
  Verdict last_{};
  Charged witness_;
  int64_t charges_ = 0;
};

}  // namespace

// How keys spread, when it begins, then the calls.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  now = data[1] < 128 ? data[1] : kLastTime - (int64_t{1} << (data[1] - 128) / 2 % 62);
  static const Memory memory(kMinTableBytes);
  Program program(memory.span(), data[0] % 2 == 0 ? spreading_hash : crowding_hash);
  for (size_t at = 2; at + sizeof(Call) <= size; at += sizeof(Call)) {
    Call call;
    std::memcpy(&call, data + at, sizeof call);
    program.run(call);
  }
  program.end();
  return 0;
}

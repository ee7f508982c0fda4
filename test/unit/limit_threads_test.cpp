// Many at once: exactly as many are allowed as the limit says, and nothing is lost.
#include <algorithm>
#include <array>
#include <mutex>
#include <random>
#include <vector>

#include "limits.hpp"
#include "threads.hpp"

namespace pgcache::limits::test {
namespace {

using engine::test::in_threads;
using engine::test::kThreads;

class LimitThreads : public testing::TestWithParam<Algorithm> {
 protected:
  [[nodiscard]] static Limit limit_of(int64_t quota) {
    return GetParam() == Algorithm::calendar ? calendar(quota, CalendarUnit::hour) : limit(GetParam(), quota, kSecond);
  }
};

// Whether exactly the quota was granted: what the tests below believe, and the last one shows to fail.
testing::AssertionResult grants_exactly(int64_t granted, int64_t quota) {
  if (granted == quota) return testing::AssertionSuccess();
  return testing::AssertionFailure() << granted << " of " << quota << " were granted";
}

TEST_P(LimitThreads, AHotKeyGrantsExactlyTheQuota) {
  constexpr int64_t kQuota = 997;
  for (int round = 0; round < 5; ++round) {
    Table table;
    shared_time = kStart;
    const Limit by = limit_of(kQuota);
    std::atomic<int64_t> granted = 0;
    std::atomic<int64_t> denied = 0;
    in_threads([&](int) {
      const Key key = table.key("hot");
      for (int call = 0; call < 600; ++call)
        (table.table.charge(key, {by, 1, 0, false}, shared_clock).allowed ? granted : denied) += 1;
    });
    EXPECT_TRUE(grants_exactly(granted, kQuota));
    EXPECT_EQ(table.totals().allowed, granted);
    EXPECT_EQ(table.totals().denied, denied);
    EXPECT_EQ(table.totals().cells, 1U);
  }
}

// A clock that goes on with each reading, and remembers for each thread what it told last: when the call was decided.
thread_local int64_t told;
int64_t running_clock() { return told = shared_time.fetch_add(1, std::memory_order_relaxed); }

TEST_P(LimitThreads, ManyKeysAreEachGrantedTheirQuota) {
  constexpr uint64_t kKeys = 300;
  constexpr int64_t kQuota = 7;
  Table table;
  shared_time = kStart;
  std::array<std::atomic<int64_t>, kKeys> granted{};
  in_threads([&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread) + 1);
    for (int call = 0; call < 12'000; ++call) {
      const uint64_t number = random() % kKeys;
      const std::string name = numbered("key", number);
      const Key key = table.key(name);
      // What was given back can be taken again.
      if (!table.table.charge(key, {limit_of(kQuota), 1, 0, false}, shared_clock).allowed) continue;
      if (random() % 4 == 0)
        static_cast<void>(table.table.refund(key, {limit_of(kQuota), 1, 0, false}, shared_clock));
      else
        granted[number] += 1;
    }
  });
  for (uint64_t number = 0; number < kKeys; ++number) {
    EXPECT_TRUE(grants_exactly(
        granted[number] +
            table.table.peek(table.key(numbered("key", number)), {limit_of(kQuota), 0, 0, false}, shared_clock)
                .remaining,
        kQuota));
  }
}

std::string algorithm_name(const testing::TestParamInfo<Algorithm>& about) {
  return testing::PrintToString(about.param);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, LimitThreads, testing::ValuesIn(kAlgorithms), algorithm_name);

// When a key was granted something that many want all of.
std::vector<int64_t> times_granted(const Limit& by) {
  Table table;
  shared_time = kStart;
  std::array<std::vector<int64_t>, kThreads> granted;
  in_threads([&](int thread) {
    const Key key = table.key("hot");
    for (int call = 0; call < 20'000; ++call)
      if (table.table.charge(key, {by, 1, 0, false}, running_clock).allowed)
        granted[static_cast<size_t>(thread)].push_back(told);
  });
  std::vector<int64_t> times;
  for (const auto& some : granted) times.insert(times.end(), some.begin(), some.end());
  std::sort(times.begin(), times.end());
  return times;
}

// No unit of the calendar is so short.
TEST(LimitThreadsTime, NoWindowGetsMoreThanItsBoundWhileTheClockRuns) {
  constexpr int64_t kQuota = 50;
  constexpr int64_t kPeriod = 701;
  for (const Algorithm algorithm : {Algorithm::gcra, Algorithm::fixed, Algorithm::sliding, Algorithm::exact}) {
    SCOPED_TRACE(algorithm);
    const std::vector<int64_t> times = times_granted(limit(algorithm, kQuota, kPeriod));
    int64_t most = 0;
    for (size_t first = 0, end = 0; first < times.size(); ++first) {
      while (end < times.size() && times[end] - times[first] < kPeriod) ++end;
      most = std::max(most, static_cast<int64_t>(end - first));
    }
    EXPECT_LE(most, algorithm == Algorithm::exact ? kQuota : 2 * kQuota);
    EXPECT_GE(most, kQuota);
    // Nor was less granted over all: whoever asks always gets what is there.
    const int64_t periods = (shared_time - kStart) / kPeriod;
    EXPECT_GE(static_cast<int64_t>(times.size()), periods * kQuota * 9 / 10);
  }
}

// With resets, blocks and refunds in between, in a table that gets full, while the clock runs and is set back.
TEST(LimitThreadsTotals, NothingIsLostInAWildMix) {
  Table table;
  shared_time = kStart;
  constexpr uint64_t kKeys = 40'000;
  std::atomic<int64_t> asked = 0;
  in_threads([&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread) + 1);
    int64_t charges = 0;
    for (int call = 0; call < 25'000; ++call) {
      const std::string name = numbered("key", random() % (call % 2 == 0 ? 20 : kKeys));
      const Key key = table.key(name);
      const Algorithm algorithm = kAlgorithms[random() % 5];
      const Limit by =
          limit(algorithm, 20, algorithm == Algorithm::calendar ? 0 : 5000 + static_cast<int64_t>(random() % 2));
      const Request request{by, static_cast<int64_t>(random() % 8 + 1), random() % 16 == 0 ? 300 : 0, false};
      switch (random() % 16) {
        case 0:
          table.table.reset(key, running_clock);
          break;
        case 1:
          static_cast<void>(table.table.refund(key, request, running_clock));
          break;
        case 2:
          table.table.block(key, 100, running_clock);
          break;
        case 3:
          table.table.unblock(key, running_clock);
          break;
        case 4: {
          const Verdict seen = table.table.peek(key, request, running_clock);
          EXPECT_TRUE(seen.remaining >= 0 && seen.remaining <= 20) << seen;
          break;
        }
        case 5:
          if (random() % 64 == 0) shared_time.fetch_sub(2000);
          break;
        default: {
          const Verdict verdict = table.table.charge(key, request, running_clock);
          EXPECT_TRUE(verdict.remaining >= 0 && verdict.remaining <= 20) << verdict;
          EXPECT_EQ(verdict.allowed, verdict.retry_after == 0) << verdict;
          ++charges;
        }
      }
    }
    asked += charges;
  });
  const Totals totals = table.totals();
  EXPECT_EQ(totals.allowed + totals.denied, asked);
  EXPECT_LE(totals.cells, totals.cells_max);
  EXPECT_LE(totals.log_entries, totals.log_entries_max);
  table.now = shared_time;
  for (uint64_t number = 0; number < kKeys; ++number) table.reset(numbered("key", number));
  EXPECT_EQ(table.totals().cells, 0U);
  EXPECT_EQ(table.totals().log_entries, 0U);
}

// That the check can fail. Two that are not kept apart both read before either has written, so that one's charge is
// lost: here, each time the lock is taken, the memory is as it was before the other's call.
struct LostUpdates {
  engine::Buffer memory;
  std::vector<std::byte> before;
  int calls = 0;

  static void lock(void* context, uint32_t, bool) noexcept {
    auto& self = *static_cast<LostUpdates*>(context);
    if (self.calls++ % 2 == 0)
      self.before.assign(self.memory.begin(), self.memory.end());
    else
      std::copy(self.before.begin(), self.before.end(), self.memory.begin());
  }
  static void unlock(void*, uint32_t, bool) noexcept {}
};

TEST(LimitThreadsChecker, SeesWhatIsGrantedWithoutLocks) {
  constexpr int64_t kQuota = 20;
  engine::test::Memory memory(kMinTableBytes);
  LostUpdates lost{memory.span(), {}};
  const engine::Environment environment{LostUpdates::lock, LostUpdates::unlock, spreading_hash, &lost};
  LimitTable table = LimitTable::format(memory.span(), environment, {1, 2}, kStart);
  shared_time = kStart;
  for (const Algorithm algorithm : kAlgorithms) {
    const Limit by = limit(algorithm, kQuota, algorithm == Algorithm::calendar ? 0 : kHour);
    int64_t granted = 0;
    for (int64_t call = 0; call < 4 * kQuota; ++call)
      granted += table.charge(table.key(1, "hot"), {by, 1, 0, false}, shared_clock).allowed ? 1 : 0;
    EXPECT_FALSE(grants_exactly(granted, kQuota)) << algorithm;
  }
}

}  // namespace
}  // namespace pgcache::limits::test

#include "limits/hit_log.hpp"

#include <algorithm>
#include <utility>

namespace pgcache::limits {

using engine::kNone;

// What stands in Count::used and rest.
struct HitLog::Chain {
  uint32_t size;
  uint32_t first;  // the oldest's place in its block
  uint32_t head;
  uint32_t tail;
};

namespace {

static_assert(sizeof(Count) == 32);

// Calls visit(time) from the oldest on while it says so.
template <typename Visit>
void walk(const LogPool& pool, uint32_t head, uint32_t first, uint32_t size, Visit visit) noexcept {
  uint32_t block = head;
  for (uint32_t place = first, left = size; left > 0; --left) {
    if (!visit(pool.blocks[block].times[place])) return;
    if (++place == kTimesPerBlock) {
      place = 0;
      block = pool.blocks[block].next;
    }
  }
}

}  // namespace

void LogPool::format(uint32_t count) const noexcept {
  *free_head = kNone;
  for (uint32_t block = count; block-- > 0;) blocks[block].next = std::exchange(*free_head, block);
  *free_count = count;
}

HitLog::Chain HitLog::chain() const noexcept {
  return {static_cast<uint32_t>(count_.used), static_cast<uint32_t>(count_.used >> 32),
          static_cast<uint32_t>(count_.rest), static_cast<uint32_t>(count_.rest >> 32)};
}

void HitLog::store(const Chain& chain) noexcept {
  count_.used = uint64_t{chain.first} << 32 | chain.size;
  count_.rest = uint64_t{chain.tail} << 32 | chain.head;
}

int64_t HitLog::size() const noexcept { return chain().size; }

int64_t HitLog::run_off(int64_t period, int64_t now) const noexcept {
  const Chain log = chain();
  int64_t units = 0;
  walk(pool_, log.head, log.first, log.size,
       [&](int64_t time) { return later(time, period) <= now ? (++units, true) : false; });
  return units;
}

int64_t HitLog::used(int64_t period, int64_t now) const noexcept { return size() - run_off(period, now); }

int64_t HitLog::wait(int64_t units, int64_t period, int64_t now) const noexcept {
  const Chain log = chain();
  int64_t left = run_off(period, now) + units;
  int64_t last = now;
  walk(pool_, log.head, log.first, log.size, [&](int64_t time) {
    last = time;
    return --left > 0;
  });
  return later(last, period) - now;
}

int64_t HitLog::reset(int64_t period, int64_t now) const noexcept {
  const int64_t units = used(period, now);
  return units == 0 ? 0 : wait(units, period, now);
}

uint32_t HitLog::blocks_for(int64_t units) const noexcept {
  const Chain log = chain();
  const auto in_blocks = [](uint32_t times) { return (times + kTimesPerBlock - 1) / kTimesPerBlock; };
  const uint32_t begun = log.size == 0 ? 0 : log.first + log.size;
  return in_blocks(begun + static_cast<uint32_t>(units)) - in_blocks(begun);
}

void HitLog::drop_run_off(int64_t period, int64_t now) noexcept { drop_oldest(run_off(period, now)); }

void HitLog::drop_oldest(int64_t units) noexcept {
  Chain log = chain();
  for (auto left = static_cast<uint32_t>(std::min<int64_t>(units, log.size)); left > 0; --left) {
    --log.size;
    if (++log.first < kTimesPerBlock && log.size > 0) continue;
    LogBlock& emptied = pool_.blocks[log.head];
    const uint32_t next = std::exchange(emptied.next, *pool_.free_head);
    *pool_.free_head = log.head;
    ++*pool_.free_count;
    log.head = next;
    log.first = 0;
  }
  if (log.size == 0) log = Chain{};
  store(log);
}

void HitLog::append(int64_t units, int64_t period, int64_t now) noexcept {
  Chain log = chain();
  for (int64_t left = units; left > 0; --left) {
    const uint32_t place = (log.first + log.size) % kTimesPerBlock;
    if (log.size == 0 || place == 0) {
      const uint32_t block = std::exchange(*pool_.free_head, pool_.blocks[*pool_.free_head].next);
      --*pool_.free_count;
      pool_.blocks[block].next = kNone;
      if (log.size == 0)
        log = {.size = 0, .first = 0, .head = block, .tail = block};
      else
        log.tail = pool_.blocks[log.tail].next = block;
    }
    pool_.blocks[log.tail].times[(log.first + log.size) % kTimesPerBlock] = now;
    ++log.size;
  }
  store(log);
  count_.charged_at = now;
  count_.fresh_at = later(now, period);
}

void HitLog::set_back(int64_t now) noexcept {
  const Chain log = chain();
  walk(pool_, log.head, log.first, log.size, [&](int64_t& time) {
    time = now - (count_.charged_at - time);
    return true;
  });
  count_.fresh_at = later(now, count_.fresh_at - count_.charged_at);
  count_.charged_at = now;
}

}  // namespace pgcache::limits

// The eviction policies that pgcache is compared with, written from their papers (see README.md) for exactness, not
// speed: real queues, no sampling, and an entry whose time is over is gone at that very moment.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "traces.hpp"

namespace pgcache::bench {

// A cache as the benchmark drives it: look aside, and store what was missing.
class Policy {
 public:
  virtual ~Policy() = default;
  virtual bool get(uint32_t key, int64_t now) = 0;
  // After a miss of that key at that time. expires_at 0: never.
  virtual void set(uint32_t key, uint32_t value_bytes, int64_t now, int64_t expires_at) = 0;
};

// What all the references share: entries by key number, and queues of them linked through the entries.
class Reference : public Policy {
 public:
  struct Options {
    uint64_t budget;          // bytes
    uint32_t keys;            // their numbers are below it
    uint32_t entry_overhead;  // bytes charged for an entry beside its value: key and bookkeeping
  };

  bool get(uint32_t key, int64_t now) final {
    drop_expired(now);
    const bool hit = entries_[key].queue != kNoQueue;
    requested(key, hit);
    return hit;
  }

  void set(uint32_t key, uint32_t value_bytes, int64_t, int64_t expires_at) final {
    const uint32_t bytes = value_bytes + options_.entry_overhead;
    if (bytes > options_.budget / 4) return;  // as the engine refuses it
    entries_[key].bytes = bytes;
    entries_[key].frequency = 0;
    insert(key);
    if (expires_at == 0 || !resident(key)) return;
    if (expires_at_.empty()) expires_at_.resize(options_.keys);
    expires_at_[key] = expires_at;
    expiries_.emplace(expires_at, key);
  }

  [[nodiscard]] uint64_t bytes() const { return bytes_; }
  [[nodiscard]] uint64_t items() const { return items_; }

 protected:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint8_t kNoQueue = 0xff;

  struct Entry {
    uint32_t newer = kNone;
    uint32_t older = kNone;
    uint32_t bytes = 0;
    uint8_t queue = kNoQueue;
    uint8_t frequency = 0;
  };
  struct Queue {
    uint32_t newest = kNone;
    uint32_t oldest = kNone;
    uint64_t bytes = 0;
  };

  Reference(const Options& options, size_t queues) : options_(options), queues_(queues), entries_(options.keys) {}

  // Counts the request towards the entry's rank.
  virtual void requested(uint32_t key, bool hit) = 0;
  // Makes room for the key and stores it; may refuse it. Afterwards bytes() is within the budget.
  virtual void insert(uint32_t key) = 0;
  // The entry is about to leave its queue because its time is over.
  virtual void expiring(uint32_t) {}

  [[nodiscard]] bool resident(uint32_t key) const { return entries_[key].queue != kNoQueue; }
  [[nodiscard]] Entry& entry(uint32_t key) { return entries_[key]; }
  [[nodiscard]] const Queue& queue(uint8_t number) const { return queues_[number]; }
  [[nodiscard]] uint64_t budget() const { return options_.budget; }
  [[nodiscard]] bool over_budget() const { return bytes_ > options_.budget; }

  void push(uint8_t number, uint32_t key) {
    Queue& queue = queues_[number];
    Entry& entry = entries_[key];
    entry.queue = number;
    entry.newer = kNone;
    entry.older = queue.newest;
    (queue.newest == kNone ? queue.oldest : entries_[queue.newest].newer) = key;
    queue.newest = key;
    queue.bytes += entry.bytes;
    bytes_ += entry.bytes;
    ++items_;
  }

  void remove(uint32_t key) {
    Entry& entry = entries_[key];
    Queue& queue = queues_[entry.queue];
    (entry.newer == kNone ? queue.newest : entries_[entry.newer].older) = entry.older;
    (entry.older == kNone ? queue.oldest : entries_[entry.older].newer) = entry.newer;
    entry.queue = kNoQueue;
    queue.bytes -= entry.bytes;
    bytes_ -= entry.bytes;
    --items_;
  }

  void move(uint8_t number, uint32_t key) {
    remove(key);
    push(number, key);
  }

 private:
  void drop_expired(int64_t now) {
    while (!expiries_.empty() && expiries_.top().first <= now) {
      const auto [at, key] = expiries_.top();
      expiries_.pop();
      if (!resident(key) || expires_at_[key] != at) continue;
      expiring(key);
      remove(key);
    }
  }

  using Expiry = std::pair<int64_t, uint32_t>;

  Options options_;
  std::vector<Queue> queues_;
  std::vector<Entry> entries_;
  uint64_t bytes_ = 0;
  uint64_t items_ = 0;
  std::vector<int64_t> expires_at_;
  std::priority_queue<Expiry, std::vector<Expiry>, std::greater<>> expiries_;
};

class Lru final : public Reference {
 public:
  explicit Lru(const Options& options) : Reference(options, 1) {}

 private:
  void requested(uint32_t key, bool hit) override {
    if (hit) move(0, key);
  }
  void insert(uint32_t key) override {
    push(0, key);
    while (over_budget()) remove(queue(0).oldest);
  }
};

// Yang et al., SOSP'23, algorithm 1: a tenth of the bytes for the small queue, two bits of frequency, as much ghost as
// main queue.
class S3Fifo final : public Reference {
 public:
  explicit S3Fifo(const Options& options) : Reference(options, 2), ghost_(options.keys) {}

 private:
  static constexpr uint8_t kSmall = 0;
  static constexpr uint8_t kMain = 1;
  static constexpr uint8_t kMaxFrequency = 3;

  void requested(uint32_t key, bool hit) override {
    if (hit && entry(key).frequency < kMaxFrequency) ++entry(key).frequency;
  }

  void insert(uint32_t key) override {
    while (bytes() + entry(key).bytes > budget()) {
      if (queue(kSmall).bytes >= budget() / 10 || queue(kMain).bytes == 0) {
        evict_small();
      } else {
        evict_main();
      }
    }
    push(forget_ghost(key) ? kMain : kSmall, key);
  }

  void evict_small() {
    while (queue(kSmall).bytes != 0) {
      const uint32_t key = queue(kSmall).oldest;
      if (entry(key).frequency > 1) {
        entry(key).frequency = 0;
        move(kMain, key);
        if (queue(kMain).bytes > budget() - budget() / 10) evict_main();
      } else {
        remember_ghost(key);
        remove(key);
        return;
      }
    }
  }

  void evict_main() {
    while (queue(kMain).bytes != 0) {
      const uint32_t key = queue(kMain).oldest;
      if (entry(key).frequency == 0) {
        remove(key);
        return;
      }
      --entry(key).frequency;
      move(kMain, key);
    }
  }

  void remember_ghost(uint32_t key) {
    ghost_queue_.push({key, entry(key).bytes, ++ghosts_made_});
    ghost_[key] = ghosts_made_;
    ghost_bytes_ += entry(key).bytes;
    // Entries that came back are still counted until they reach the end, as in a hash table with insertion times.
    while (ghost_bytes_ > budget() - budget() / 10) {
      const Ghost oldest = ghost_queue_.front();
      ghost_queue_.pop();
      ghost_bytes_ -= oldest.bytes;
      if (ghost_[oldest.key] == oldest.number) ghost_[oldest.key] = 0;
    }
  }

  bool forget_ghost(uint32_t key) { return std::exchange(ghost_[key], 0) != 0; }

  struct Ghost {
    uint32_t key;
    uint32_t bytes;
    uint32_t number;
  };
  std::queue<Ghost> ghost_queue_;
  std::vector<uint32_t> ghost_;  // by key: the number of its ghost, 0: none
  uint32_t ghosts_made_ = 0;
  uint64_t ghost_bytes_ = 0;
};

// Zhang et al., NSDI'24: one queue, one bit, a hand that goes from old to new and stays where it evicted.
class Sieve final : public Reference {
 public:
  explicit Sieve(const Options& options) : Reference(options, 1) {}

 private:
  void requested(uint32_t key, bool hit) override {
    if (hit) entry(key).frequency = 1;
  }
  void insert(uint32_t key) override {
    while (bytes() + entry(key).bytes > budget()) evict();
    push(0, key);
  }
  void expiring(uint32_t key) override {
    if (hand_ == key) hand_ = entry(key).newer;
  }
  void evict() {
    uint32_t key = hand_ == kNone ? queue(0).oldest : hand_;
    while (entry(key).frequency != 0) {
      entry(key).frequency = 0;
      key = entry(key).newer == kNone ? queue(0).oldest : entry(key).newer;
    }
    hand_ = entry(key).newer;
    remove(key);
  }

  uint32_t hand_ = kNone;
};

// Einziger et al., ToS'17, as Caffeine has it: a count-min sketch of 4-bit counters, four rows, sixteen counters for an
// entry that fits, halved after ten requests for each.
class FrequencySketch {
 public:
  explicit FrequencySketch(uint64_t entries)
      : mask_(std::bit_ceil(std::max<uint64_t>(entries * 4, 16)) - 1), sample_(entries * 10) {
    for (auto& row : rows_) row.resize(mask_ + 1);
  }

  void count(uint32_t key) {
    bool added = false;
    for (uint32_t row = 0; row < kRows; ++row) {
      uint8_t& counter = rows_[row][index(key, row)];
      if (counter == kMax) continue;
      ++counter;
      added = true;
    }
    if (added && ++counted_ >= sample_) halve();
  }

  [[nodiscard]] uint8_t estimate(uint32_t key) const {
    uint8_t least = kMax;
    for (uint32_t row = 0; row < kRows; ++row) least = std::min(least, rows_[row][index(key, row)]);
    return least;
  }

 private:
  static constexpr uint32_t kRows = 4;
  static constexpr uint8_t kMax = 15;

  [[nodiscard]] uint64_t index(uint32_t key, uint32_t row) const { return mix(key * uint64_t{kRows} + row) & mask_; }

  void halve() {
    for (auto& row : rows_) {
      for (uint8_t& counter : row) counter /= 2;
    }
    counted_ /= 2;
  }

  std::vector<uint8_t> rows_[kRows];
  uint64_t mask_;
  uint64_t sample_;
  uint64_t counted_ = 0;
};

// A window of a hundredth of the bytes, in LRU order; what leaves it must be asked for more often than what it would
// displace in the main part, a segmented LRU of a fifth on probation and four fifths protected.
class WTinyLfu final : public Reference {
 public:
  // mean_bytes: of an entry, to know how many fit.
  WTinyLfu(const Options& options, double mean_bytes)
      : Reference(options, 3),
        sketch_(static_cast<uint64_t>(static_cast<double>(options.budget) / mean_bytes)),
        window_budget_(options.budget / 100),
        protected_budget_((options.budget - window_budget_) / 10 * 8) {}

 private:
  static constexpr uint8_t kWindow = 0;
  static constexpr uint8_t kProbation = 1;
  static constexpr uint8_t kProtected = 2;

  void requested(uint32_t key, bool hit) override {
    sketch_.count(key);
    if (!hit) return;
    if (entry(key).queue != kProbation) {
      move(entry(key).queue, key);
      return;
    }
    move(kProtected, key);
    while (queue(kProtected).bytes > protected_budget_) move(kProbation, queue(kProtected).oldest);
  }

  void insert(uint32_t key) override {
    push(kWindow, key);
    while (queue(kWindow).bytes > window_budget_) {
      const uint32_t candidate = queue(kWindow).oldest;
      move(kProbation, candidate);
      while (over_budget() && resident(candidate)) {
        uint32_t victim = queue(kProbation).oldest;
        if (victim == candidate && queue(kProtected).bytes != 0) victim = queue(kProtected).oldest;
        remove(sketch_.estimate(candidate) > sketch_.estimate(victim) ? victim : candidate);
      }
    }
    while (over_budget()) remove(queue(kProbation).bytes != 0 ? queue(kProbation).oldest : queue(kProtected).oldest);
  }

  FrequencySketch sketch_;
  uint64_t window_budget_;
  uint64_t protected_budget_;
};

}  // namespace pgcache::bench

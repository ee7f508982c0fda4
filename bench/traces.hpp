// Request streams for the hit-ratio benchmark: generated, the same in every run.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace pgcache::bench {

// Steele et al., OOPSLA'14.
inline uint64_t splitmix(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

inline uint64_t mix(uint64_t value) { return splitmix(value); }

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(((splitmix(state_) >> 32) * bound) >> 32); }
  double unit() { return static_cast<double>(splitmix(state_) >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

// Ranks 0 to count-1, rank r as often as 1 / (r+1)^exponent, by Walker's alias method.
class Zipf {
 public:
  Zipf(uint32_t count, double exponent) : cells_(count) {
    std::vector<double> weight(count);
    for (uint32_t rank = 0; rank < count; ++rank) weight[rank] = std::pow(rank + 1.0, -exponent);
    const double mean = std::accumulate(weight.begin(), weight.end(), 0.0) / count;
    std::vector<uint32_t> poor, rich;
    for (uint32_t rank = 0; rank < count; ++rank) {
      weight[rank] /= mean;
      cells_[rank] = {1.0, rank};
      (weight[rank] < 1 ? poor : rich).push_back(rank);
    }
    while (!poor.empty() && !rich.empty()) {
      const uint32_t taker = poor.back();
      const uint32_t giver = rich.back();
      poor.pop_back();
      cells_[taker] = {weight[taker], giver};
      weight[giver] -= 1 - weight[taker];
      if (weight[giver] < 1) {
        rich.pop_back();
        poor.push_back(giver);
      }
    }
  }

  uint32_t draw(Random& random) const {
    const uint32_t rank = random.below(static_cast<uint32_t>(cells_.size()));
    return random.unit() < cells_[rank].own ? rank : cells_[rank].alias;
  }

 private:
  struct Cell {
    double own;
    uint32_t alias;
  };
  std::vector<Cell> cells_;
};

// Who asks for what, in which order. A key's value has one size and one lifetime throughout.
struct Trace {
  std::string name;
  std::vector<uint32_t> requests;     // key numbers
  std::vector<uint32_t> value_bytes;  // by key number
  std::vector<int64_t> ttl;           // by key number, in milliseconds, 0: none; empty: none for all
  int64_t request_milliseconds = 1;   // the clock's step
  uint64_t footprint_keys = 0;        // the keys 0 to this, less one, are what a cache's share of all is counted on

  [[nodiscard]] uint32_t keys() const { return static_cast<uint32_t>(value_bytes.size()); }
};

struct TraceOptions {
  uint32_t requests = 3'000'000;
  uint32_t keys = 1'000'000;
  uint64_t seed = 20260101;
};

namespace traces {

constexpr uint32_t kValueBytes = 200;

inline Trace make(std::string name, const TraceOptions& options) {
  Trace trace;
  trace.name = std::move(name);
  trace.requests.reserve(options.requests);
  trace.value_bytes.assign(options.keys, kValueBytes);
  trace.footprint_keys = options.keys;
  return trace;
}

inline Trace zipf(std::string name, const TraceOptions& options, double exponent) {
  Trace trace = make(std::move(name), options);
  const Zipf popularity(options.keys, exponent);
  Random random(options.seed);
  for (uint32_t i = 0; i < options.requests; ++i) trace.requests.push_back(popularity.draw(random));
  return trace;
}

// After every `gap` requests a report reads `length` keys that nobody reads again.
inline Trace one_time_scans(const TraceOptions& options, double exponent, uint32_t gap, uint32_t length) {
  Trace trace = make("zipf 0.9, one-time scans", options);
  const Zipf popularity(options.keys, exponent);
  Random random(options.seed);
  uint32_t fresh = options.keys;
  while (trace.requests.size() < options.requests) {
    for (uint32_t i = 0; i < gap; ++i) trace.requests.push_back(popularity.draw(random));
    for (uint32_t i = 0; i < length; ++i) trace.requests.push_back(fresh++);
  }
  trace.value_bytes.resize(fresh, kValueBytes);
  return trace;
}

// One request in `every` belongs to a job that reads the same keys over and over, in the same order.
inline Trace loop(const TraceOptions& options, double exponent, uint32_t every, uint32_t length) {
  Trace trace = make("zipf 0.9, loop", options);
  const Zipf popularity(options.keys, exponent);
  Random random(options.seed);
  uint32_t at = 0;
  for (uint32_t i = 0; i < options.requests; ++i) {
    if (random.below(every) == 0) {
      trace.requests.push_back(options.keys + at);
      at = at + 1 == length ? 0 : at + 1;
    } else {
      trace.requests.push_back(popularity.draw(random));
    }
  }
  trace.value_bytes.resize(options.keys + length, kValueBytes);
  return trace;
}

// A share of all requests is for keys that nobody reads again.
inline Trace one_hit_wonders(const TraceOptions& options, double exponent, double share) {
  Trace trace = make("zipf 1.0, one-hit wonders", options);
  const Zipf popularity(options.keys, exponent);
  Random random(options.seed);
  uint32_t fresh = options.keys;
  for (uint32_t i = 0; i < options.requests; ++i) {
    trace.requests.push_back(random.unit() < share ? fresh++ : popularity.draw(random));
  }
  trace.value_bytes.resize(fresh, kValueBytes);
  return trace;
}

// A quarter of the keys each: ten seconds, five minutes, an hour, for ever.
inline Trace ttl_mix(std::string name, const TraceOptions& options, double exponent) {
  Trace trace = zipf(std::move(name), options, exponent);
  constexpr int64_t kTtl[] = {10'000, 300'000, 3'600'000, 0};
  trace.ttl.resize(options.keys);
  for (uint32_t key = 0; key < options.keys; ++key) trace.ttl[key] = kTtl[mix(key) & 3];
  return trace;
}

// Every `every` requests one of the popular keys changes places with any other key; as often in each decade of ranks.
inline Trace gradual_shift(const TraceOptions& options, double exponent, uint32_t every) {
  Trace trace = make("zipf 1.0, gradual shift", options);
  const Zipf popularity(options.keys, exponent);
  Random random(options.seed);
  std::vector<uint32_t> key_of_rank(options.keys);
  std::iota(key_of_rank.begin(), key_of_rank.end(), 0);
  const double decades = std::log(static_cast<double>(options.keys));
  for (uint32_t i = 0; i < options.requests; ++i) {
    if (i % every == 0) {
      const auto rank = std::min(static_cast<uint32_t>(std::exp(random.unit() * decades)) - 1, options.keys - 1);
      std::swap(key_of_rank[rank], key_of_rank[random.below(options.keys)]);
    }
    trace.requests.push_back(key_of_rank[popularity.draw(random)]);
  }
  return trace;
}

// Every `every` requests all keys get other ranks.
inline Trace abrupt_shift(const TraceOptions& options, double exponent, uint32_t every) {
  Trace trace = make("zipf 1.0, abrupt shift", options);
  const Zipf popularity(options.keys, exponent);
  Random random(options.seed);
  std::vector<uint32_t> key_of_rank(options.keys);
  std::iota(key_of_rank.begin(), key_of_rank.end(), 0);
  for (uint32_t i = 0; i < options.requests; ++i) {
    if (i % every == every - 1) {
      for (uint32_t rank = options.keys - 1; rank > 0; --rank) {
        std::swap(key_of_rank[rank], key_of_rank[random.below(rank + 1)]);
      }
    }
    trace.requests.push_back(key_of_rank[popularity.draw(random)]);
  }
  return trace;
}

// Sessions, news: what is new is asked for most. Every `every` requests a key is born and all others age by a rank.
inline Trace ageing(const TraceOptions& options, double exponent, uint32_t every) {
  Trace trace = make("zipf 0.9 by age", options);
  const Zipf popularity(options.keys, exponent);
  Random random(options.seed);
  uint32_t newest = options.keys;
  for (uint32_t i = 0; i < options.requests; ++i) {
    newest += i % every == 0;
    trace.requests.push_back(newest - popularity.draw(random));
  }
  trace.value_bytes.resize(newest + 1, kValueBytes);
  return trace;
}

// Values of 16 bytes to 64 kB, log-normal around 300 bytes.
inline Trace mixed_sizes(const TraceOptions& options, double exponent) {
  TraceOptions fewer = options;
  fewer.keys = options.keys / 3;
  Trace trace = zipf("zipf 0.9, mixed sizes", fewer, exponent);
  for (uint32_t key = 0; key < fewer.keys; ++key) {
    Random random(mix(key));
    const double normal = std::sqrt(-2 * std::log(1 - random.unit())) * std::cos(6.283185307179586 * random.unit());
    trace.value_bytes[key] = static_cast<uint32_t>(std::clamp(300 * std::exp(1.3 * normal), 16.0, 65536.0));
  }
  return trace;
}

inline Trace small_values(const TraceOptions& options, double exponent) {
  Trace trace = zipf("zipf 0.9, 64-byte values", options, exponent);
  trace.value_bytes.assign(options.keys, 64);
  return trace;
}

// A trace is made when its turn comes: all of them together would take a gigabyte.
struct Maker {
  const char* name;
  Trace (*make)(const TraceOptions&);
};

inline const std::vector<Maker>& all() {
  static const std::vector<Maker> makers = {
      {"zipf 0.8", [](const TraceOptions& o) { return zipf("zipf 0.8", o, 0.8); }},
      {"zipf 0.9", [](const TraceOptions& o) { return zipf("zipf 0.9", o, 0.9); }},
      {"zipf 1.0", [](const TraceOptions& o) { return zipf("zipf 1.0", o, 1.0); }},
      {"zipf 1.1", [](const TraceOptions& o) { return zipf("zipf 1.1", o, 1.1); }},
      {"zipf 0.9, one-time scans", [](const TraceOptions& o) { return one_time_scans(o, 0.9, 160'000, 40'000); }},
      {"zipf 0.9, loop", [](const TraceOptions& o) { return loop(o, 0.9, 4, o.keys / 5); }},
      {"zipf 1.0, one-hit wonders", [](const TraceOptions& o) { return one_hit_wonders(o, 1.0, 0.3); }},
      {"zipf 0.9, TTL mix", [](const TraceOptions& o) { return ttl_mix("zipf 0.9, TTL mix", o, 0.9); }},
      {"zipf 1.1, TTL mix", [](const TraceOptions& o) { return ttl_mix("zipf 1.1, TTL mix", o, 1.1); }},
      {"zipf 1.0, gradual shift", [](const TraceOptions& o) { return gradual_shift(o, 1.0, 200); }},
      {"zipf 1.0, abrupt shift", [](const TraceOptions& o) { return abrupt_shift(o, 1.0, 600'000); }},
      {"zipf 0.9 by age", [](const TraceOptions& o) { return ageing(o, 0.9, 10); }},
      {"zipf 0.9, mixed sizes", [](const TraceOptions& o) { return mixed_sizes(o, 0.9); }},
      {"zipf 0.9, 64-byte values", [](const TraceOptions& o) { return small_values(o, 0.9); }},
  };
  return makers;
}

}  // namespace traces

}  // namespace pgcache::bench

// Hit ratio at equal bytes: the engine against LRU, S3-FIFO, SIEVE and W-TinyLFU, on generated traces. See README.md.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cache.hpp"
#include "policies.hpp"
#include "traces.hpp"

namespace pgcache::bench {

namespace {

constexpr uint32_t kKeyBytes = 16;

struct Options {
  TraceOptions trace;
  uint32_t entry_overhead = 26;  // what the references are charged for an entry, above key and value
  std::vector<double> shares = {2, 10};
  std::string_view only;  // traces whose name contains it
  bool markdown = false;
  bool equal_items = false;
  bool check = false;
};

// The engine as one process uses it: no locks, and the trace's clock.
class Engine final : public Policy {
 public:
  explicit Engine(uint64_t budget)
      : memory_(static_cast<std::byte*>(std::aligned_alloc(64, budget)), &std::free),
        cache_(engine::Cache::format({memory_.get(), budget}, kEnvironment, 42, 0)),
        database_(*cache_.register_database(1)) {
    stored_.resize(1 << 20);
    read_.resize(1 << 20);
  }

  bool get(uint32_t key, int64_t now) override {
    reclaim_expired(now);
    KeyBytes bytes;
    const auto result = cache_.read(named(key, bytes), now, engine::kAnyKind, read_);
    if (result.status != engine::Status::ok) return false;
    if (result.entry.value_bytes >= sizeof key && std::memcmp(read_.data(), &key, sizeof key) != 0) {
      std::fprintf(stderr, "read another key's value\n");
      std::abort();
    }
    return true;
  }

  void set(uint32_t key, uint32_t value_bytes, int64_t now, int64_t expires_at) override {
    KeyBytes bytes;
    std::memcpy(stored_.data(), &key, sizeof key);
    engine::WriteRequest request;
    request.value = {stored_.data(), value_bytes};
    if (expires_at != 0) {
      request.expiry = engine::Expiry::when(expires_at);
      expires_ = true;
    }
    const auto result = cache_.write(named(key, bytes), request, now);
    if (result.status != engine::Status::ok && result.status != engine::Status::too_large) {
      std::fprintf(stderr, "a write found no room\n");
      std::abort();
    }
  }

  struct Content {
    uint64_t items = 0;
    uint64_t bytes = 0;  // of keys and values
  };
  [[nodiscard]] Content content(int64_t now) const {
    Content content;
    engine::ScanCursor cursor;
    const auto batch = std::make_unique<engine::ScanBatch>();
    while (cache_.scan(cursor, database_, now, *batch)) {
      content.items += batch->count;
      for (uint32_t i = 0; i < batch->count; ++i) {
        content.bytes += batch->entries[i].key_bytes + batch->entries[i].info.value_bytes;
      }
    }
    return content;
  }

 private:
  using KeyBytes = char[kKeyBytes + 1];

  engine::Key named(uint32_t key, KeyBytes& bytes) const {
    std::snprintf(bytes, sizeof bytes, "item:%011u", key);
    return cache_.key(database_, {bytes, kKeyBytes});
  }

  // As the worker does: once a second, all that has ended.
  void reclaim_expired(int64_t now) {
    if (!expires_ || now < next_reclaim_) return;
    next_reclaim_ = now + 1000;
    while (!cache_.expire(cursor_, now).wrapped) {
    }
  }

  static uint64_t hash(const void* bytes, size_t size, uint64_t seed) noexcept {
    const char* at = static_cast<const char*>(bytes);
    uint64_t hash = mix(seed ^ size);
    for (; size > 0; at += 8) {
      uint64_t word = 0;
      const size_t part = std::min<size_t>(size, 8);
      std::memcpy(&word, at, part);
      hash = mix(hash ^ word);
      size -= part;
    }
    return hash;
  }

  static constexpr engine::Environment kEnvironment = {
      [](void*, uint32_t, bool) noexcept {},
      [](void*, uint32_t, bool) noexcept {},
      hash,
      nullptr,
  };

  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  engine::Cache cache_;
  uint16_t database_;
  std::vector<std::byte> stored_;
  std::vector<std::byte> read_;
  engine::ExpiryCursor cursor_;
  int64_t next_reclaim_ = 0;
  bool expires_ = false;
};

// The first quarter of the trace fills the cache and is not counted.
double hit_ratio(Policy& policy, const Trace& trace) {
  const size_t counted_from = trace.requests.size() / 4;
  uint64_t hits = 0;
  int64_t now = 0;
  for (size_t i = 0; i < trace.requests.size(); ++i, now += trace.request_milliseconds) {
    const uint32_t key = trace.requests[i];
    if (policy.get(key, now)) {
      hits += i >= counted_from;
    } else {
      const int64_t ttl = trace.ttl.empty() ? 0 : trace.ttl[key];
      policy.set(key, trace.value_bytes[key], now, ttl == 0 ? 0 : now + ttl);
    }
  }
  return static_cast<double>(hits) / static_cast<double>(trace.requests.size() - counted_from);
}

struct Row {
  std::string trace;
  uint64_t budget;
  double lru, s3_fifo, sieve, w_tinylfu, engine;
  uint64_t items;           // in the engine at the end
  double engine_overhead;   // bytes of memory for each, above key and value
  double equal_items_best;  // of the references, at a budget for as many entries; 0: not measured

  [[nodiscard]] double best() const { return std::max({s3_fifo, sieve, w_tinylfu}); }
};

struct References {
  double lru, s3_fifo, sieve, w_tinylfu;
};

References run_references(const Trace& trace, const Options& options, uint64_t budget, double mean_bytes) {
  const Reference::Options reference{budget, trace.keys(), kKeyBytes + options.entry_overhead};
  const auto ratio = [&trace](auto&& policy) { return hit_ratio(policy, trace); };
  return {ratio(Lru(reference)), ratio(S3Fifo(reference)), ratio(Sieve(reference)),
          ratio(WTinyLfu(reference, mean_bytes))};
}

Row measure(const Trace& trace, const Options& options, double share) {
  uint64_t value_bytes = 0;
  for (uint64_t key = 0; key < trace.footprint_keys; ++key) value_bytes += trace.value_bytes[key];
  const uint64_t footprint = value_bytes + trace.footprint_keys * (kKeyBytes + options.entry_overhead);
  const double mean_bytes = static_cast<double>(footprint) / static_cast<double>(trace.footprint_keys);
  const auto wanted = static_cast<uint64_t>(static_cast<double>(footprint) * share / 100);
  const uint64_t budget = std::max(wanted, engine::kMinMemory) & ~uint64_t{63};

  Row row{};
  row.trace = trace.name;
  row.budget = budget;
  Engine::Content content;
  {
    Engine engine(budget);
    row.engine = hit_ratio(engine, trace);
    const auto end = static_cast<int64_t>(trace.requests.size()) * trace.request_milliseconds;
    content = engine.content(end);
    row.items = content.items;
    row.engine_overhead = static_cast<double>(budget - content.bytes) / static_cast<double>(content.items);
  }
  const References equal_bytes = run_references(trace, options, budget, mean_bytes);
  row.lru = equal_bytes.lru;
  row.s3_fifo = equal_bytes.s3_fifo;
  row.sieve = equal_bytes.sieve;
  row.w_tinylfu = equal_bytes.w_tinylfu;
  if (options.equal_items) {
    const uint64_t as_many = content.bytes + content.items * options.entry_overhead;
    const References equal = run_references(trace, options, as_many, mean_bytes);
    row.equal_items_best = std::max({equal.s3_fifo, equal.sieve, equal.w_tinylfu});
  }
  return row;
}

void print_heading(const Options& options) {
  if (options.markdown) {
    std::printf("| trace | memory | LRU | S3-FIFO | SIEVE | W-TinyLFU | pgcache | pgcache / best |\n");
    std::printf("|---|---:|---:|---:|---:|---:|---:|---:|\n");
    return;
  }
  std::printf("%-26s %8s %8s %8s %8s %10s %8s %7s %7s %9s %9s", "trace", "memory", "lru", "s3-fifo", "sieve",
              "w-tinylfu", "pgcache", "/ best", "/ lru", "items", "overhead");
  if (options.equal_items) std::printf(" %10s", "/ same n");
  std::printf("\n");
}

void print(const Row& row, const Options& options) {
  const double megabytes = static_cast<double>(row.budget) / (1 << 20);
  if (options.markdown) {
    std::printf("| %s | %.1f MB | %.4f | %.4f | %.4f | %.4f | %.4f | %.3f |\n", row.trace.c_str(), megabytes, row.lru,
                row.s3_fifo, row.sieve, row.w_tinylfu, row.engine, row.engine / row.best());
  } else {
    std::printf("%-26s %5.1f MB %8.4f %8.4f %8.4f %10.4f %8.4f %7.3f %7.3f %9llu %9.1f", row.trace.c_str(), megabytes,
                row.lru, row.s3_fifo, row.sieve, row.w_tinylfu, row.engine, row.engine / row.best(),
                row.engine / row.lru, static_cast<unsigned long long>(row.items), row.engine_overhead);
    if (options.equal_items) std::printf(" %10.3f", row.engine / row.equal_items_best);
    std::printf("\n");
  }
  std::fflush(stdout);
}

// True if both promises hold: above LRU on each trace, and nowhere more than 2 % below the best.
bool summarize(const std::vector<Row>& rows) {
  if (rows.empty()) {
    std::fprintf(stderr, "no trace of that name\n");
    return false;
  }
  const auto above_lru = std::count_if(rows.begin(), rows.end(), [](const Row& r) { return r.engine > r.lru; });
  const auto near_best =
      std::count_if(rows.begin(), rows.end(), [](const Row& r) { return r.engine >= 0.98 * r.best(); });
  const auto worst = std::min_element(
      rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.engine / a.best() < b.engine / b.best(); });
  std::printf(
      "\nAbove LRU on %td of %zu; within 2 %% of the best of S3-FIFO, SIEVE and W-TinyLFU on %td; "
      "worst %.3f (%s, %.1f MB).\n",
      above_lru, rows.size(), near_best, worst->engine / worst->best(), worst->trace.c_str(),
      static_cast<double>(worst->budget) / (1 << 20));
  return above_lru == std::ssize(rows) && near_best == std::ssize(rows);
}

int usage() {
  std::fprintf(stderr,
               "usage: hit_ratio [--quick] [--markdown] [--equal-items] [--check] [--requests N] [--keys N]\n"
               "                 [--seed N] [--overhead BYTES] [--share PERCENT]... [--trace PART-OF-NAME]\n");
  return 2;
}

std::optional<Options> parse(int count, char** arguments) {
  Options options;
  bool own_shares = false;
  for (int i = 1; i < count; ++i) {
    const std::string_view name = arguments[i];
    if (name == "--markdown") {
      options.markdown = true;
    } else if (name == "--equal-items") {
      options.equal_items = true;
    } else if (name == "--check") {
      options.check = true;
    } else if (name == "--quick") {
      options.trace.requests = 1'000'000;
      options.trace.keys = 300'000;
      options.shares = {10};
    } else if (i + 1 == count) {
      return std::nullopt;
    } else if (const char* value = arguments[++i]; name == "--requests") {
      options.trace.requests = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    } else if (name == "--keys") {
      options.trace.keys = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    } else if (name == "--seed") {
      options.trace.seed = std::strtoull(value, nullptr, 10);
    } else if (name == "--overhead") {
      options.entry_overhead = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    } else if (name == "--share") {
      if (!own_shares) options.shares.clear();
      own_shares = true;
      options.shares.push_back(std::strtod(value, nullptr));
    } else if (name == "--trace") {
      options.only = value;
    } else {
      return std::nullopt;
    }
  }
  return options;
}

int run(const Options& options) {
  print_heading(options);
  std::vector<Row> rows;
  for (const traces::Maker& maker : traces::all()) {
    if (std::string_view(maker.name).find(options.only) == std::string_view::npos) continue;
    const Trace trace = maker.make(options.trace);
    for (const double share : options.shares) {
      rows.push_back(measure(trace, options, share));
      print(rows.back(), options);
    }
  }
  return summarize(rows) || !options.check ? 0 : 1;
}

}  // namespace

}  // namespace pgcache::bench

int main(int count, char** arguments) {
  const auto options = pgcache::bench::parse(count, arguments);
  return options ? pgcache::bench::run(*options) : pgcache::bench::usage();
}

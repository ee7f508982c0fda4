// The engine in one process: what an operation costs with nothing around it, and what an item costs in memory.
#include <benchmark/benchmark.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../test/unit/heap_environment.hpp"
#include "engine/cache.hpp"
#include "traces.hpp"

namespace {

using namespace pgcache::engine;
using pgcache::bench::Random;

constexpr uint64_t kMegabyte = uint64_t{1} << 20;
constexpr Milliseconds kNow = 1'700'000'000'000;
constexpr size_t kKeyBytes = 16;
constexpr size_t kValueBytes = 64;
constexpr uint32_t kHotKeys = 1000;
constexpr uint32_t kManyKeys = 1'000'000;

// wyhash's mixing, which is about what the server's hash costs.
uint64_t folded_hash(const void* bytes, size_t size, uint64_t seed) noexcept {
  __extension__ using Wide = unsigned __int128;
  const auto* at = static_cast<const char*>(bytes);
  const auto fold = [](uint64_t a, uint64_t b) noexcept {
    const Wide product = Wide{a} * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  uint64_t hash = seed ^ 0xa0761d6478bd642f;
  size_t left = size;
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = fold(hash ^ word, 0xe7037ed1a0b428db);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, at, left);
  return fold(hash ^ rest ^ size, 0x8ebc6af09c88c6e3);
}

class Instance {
 public:
  explicit Instance(uint64_t memory)
      : memory_(memory),
        locks_(Cache::lock_count(memory)),
        cache(Cache::format(memory_.span(), {test::Locks::lock, test::Locks::unlock, folded_hash, &locks_}, 1, 0)),
        database(*cache.register_database(1)) {}

  // "key:" and twelve digits.
  static std::string_view name(uint64_t number, char (&buffer)[kKeyBytes]) {
    std::memcpy(buffer, "key:", 4);
    for (size_t at = kKeyBytes; at > 4; number /= 10) buffer[--at] = static_cast<char>('0' + number % 10);
    return {buffer, kKeyBytes};
  }

  bool write(uint64_t number, Bytes value, Milliseconds ends = kNow + 3'600'000) {
    char buffer[kKeyBytes];
    WriteRequest request;
    request.value = value;
    request.expiry = Expiry::when(ends);
    return cache.write(cache.key(database, name(number, buffer)), request, kNow).status == Status::ok;
  }

  bool read(uint64_t number, Buffer value) {
    char buffer[kKeyBytes];
    return cache.read(cache.key(database, name(number, buffer)), kNow, kAnyKind, value).status == Status::ok;
  }

  void fill(uint32_t items, size_t value_bytes) {
    const std::vector<std::byte> value(value_bytes);
    for (uint32_t number = 0; number < items; ++number) write(number, value);
  }

 private:
  test::Memory memory_;
  test::Locks locks_;

 public:
  Cache cache;
  uint16_t database;
};

std::unique_ptr<Instance> shared;

// The first thread makes the cache, the last to leave needs no other.
void prepare(const benchmark::State& state, uint64_t memory, uint32_t items, size_t value_bytes) {
  if (state.thread_index() != 0) return;
  shared = std::make_unique<Instance>(memory);
  shared->fill(items, value_bytes);
}

void finish(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) shared.reset();
}

void read_random(benchmark::State& state, uint32_t keys) {
  prepare(state, 256 * kMegabyte, keys, kValueBytes);
  Random random(static_cast<uint64_t>(state.thread_index()) + 1);
  std::byte value[kValueBytes];
  uint64_t hits = 0;
  for (auto _ : state) hits += shared->read(random.below(keys), value) ? 1 : 0;
  state.counters["hit_ratio"] = benchmark::Counter(static_cast<double>(hits) / static_cast<double>(state.iterations()),
                                                   benchmark::Counter::kAvgThreads);
  finish(state);
}

void BM_ReadHot(benchmark::State& state) { read_random(state, kHotKeys); }
void BM_ReadMany(benchmark::State& state) { read_random(state, kManyKeys); }

void BM_ReadMiss(benchmark::State& state) {
  prepare(state, 256 * kMegabyte, kManyKeys, kValueBytes);
  Random random(static_cast<uint64_t>(state.thread_index()) + 1);
  std::byte value[kValueBytes];
  for (auto _ : state) benchmark::DoNotOptimize(shared->read(kManyKeys + random.below(kManyKeys), value));
  finish(state);
}

// Of range(0) bytes.
void BM_ReadOfSize(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  prepare(state, 256 * kMegabyte, 16, size);
  std::vector<std::byte> value(size);
  uint64_t number = 0;
  for (auto _ : state) benchmark::DoNotOptimize(shared->read(++number % 16, value));
  state.SetBytesProcessed(state.iterations() * state.range(0));
  finish(state);
}

void BM_Overwrite(benchmark::State& state) {
  prepare(state, 256 * kMegabyte, kManyKeys, kValueBytes);
  Random random(static_cast<uint64_t>(state.thread_index()) + 1);
  const std::byte value[kValueBytes]{};
  for (auto _ : state) benchmark::DoNotOptimize(shared->write(random.below(kManyKeys), value));
  finish(state);
}

// With values of another size each time, so that none is replaced in place.
void BM_OverwriteOtherSize(benchmark::State& state) {
  prepare(state, 256 * kMegabyte, kManyKeys, kValueBytes);
  Random random(static_cast<uint64_t>(state.thread_index()) + 1);
  const std::byte value[2 * kValueBytes]{};
  for (auto _ : state)
    benchmark::DoNotOptimize(
        shared->write(random.below(kManyKeys), Bytes(value).first(kValueBytes / 2 + random.below(kValueBytes))));
  finish(state);
}

void write_new(benchmark::State& state, uint64_t memory) {
  prepare(state, memory, 0, 0);
  // Threads write keys of their own.
  uint64_t number = static_cast<uint64_t>(state.thread_index()) * 1'000'000'000;
  const std::byte value[kValueBytes]{};
  for (auto _ : state) benchmark::DoNotOptimize(shared->write(++number, value));
  if (state.thread_index() == 0)
    state.counters["evicted"] = static_cast<double>(shared->cache.database(shared->database).evictions);
  finish(state);
}

// As many as fit into memory that is free.
void BM_WriteNew(benchmark::State& state) { write_new(state, 512 * kMegabyte); }
// Nearly every write evicts.
void BM_WriteNewInFullMemory(benchmark::State& state) { write_new(state, 16 * kMegabyte); }

void BM_Increment(benchmark::State& state) {
  prepare(state, 64 * kMegabyte, 0, 0);
  Random random(static_cast<uint64_t>(state.thread_index()) + 1);
  char buffer[kKeyBytes];
  for (auto _ : state) {
    const Key key = shared->cache.key(shared->database, Instance::name(random.below(kHotKeys), buffer));
    benchmark::DoNotOptimize(shared->cache.increment(key, 1, Expiry::never(), true, kNow));
  }
  finish(state);
}

// The least memory in which range(0) items of a 16-byte key and a 64-byte value stay, lifetimes included, but for
// range(1) of them; less what their keys and values take. A few go where the index happens to be crowded, long before
// memory ends.
void BM_BytesAboveKeyAndValue(benchmark::State& state) {
  const auto items = static_cast<uint32_t>(state.range(0));
  constexpr uint64_t kStep = 64 * 1024;
  const auto missing = static_cast<uint32_t>(state.range(1));
  const auto they_fit = [items, missing](uint64_t memory) {
    Instance instance(memory);
    instance.fill(items, kValueBytes);
    return instance.cache.database(instance.database).items >= items - missing;
  };
  uint64_t least = 0;
  for (auto _ : state) {
    uint64_t too_little = uint64_t{items} * (kKeyBytes + kValueBytes);
    least = too_little * 2;
    while (least - too_little > kStep) {
      const uint64_t middle = (least + too_little) / 2;
      (they_fit(middle) ? least : too_little) = middle;
    }
  }
  state.counters["bytes"] = static_cast<double>(least) / items - (kKeyBytes + kValueBytes);
}

BENCHMARK(BM_ReadHot)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(BM_ReadMany)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(BM_ReadMiss)->UseRealTime();
BENCHMARK(BM_ReadOfSize)->Arg(1 << 10)->Arg(16 << 10)->Arg(1 << 20)->UseRealTime();
BENCHMARK(BM_Overwrite)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(BM_OverwriteOtherSize)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(BM_WriteNew)->Iterations(2'000'000)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(BM_WriteNewInFullMemory)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(BM_Increment)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(BM_BytesAboveKeyAndValue)
    ->Args({1'000'000, 0})
    ->Args({1'000'000, 100})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();

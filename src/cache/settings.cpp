#include "cache/settings.hpp"

#include <climits>

#include "engine/geometry.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace pgcache {

namespace {

constexpr int kMegabyte = 1024 * 1024;

int memory_megabytes = 64;
double default_ttl_seconds = 3600;
int max_value_bytes = 16 * kMegabyte;
bool serializable_reads = false;
int transaction_kilobytes = 64 * 1024;

}  // namespace

void define_cache_settings() {
  // Only a server start can take memory; loaded later, the module has none, and only must not call the setting unknown.
  const GucContext at_start = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;
  DefineCustomIntVariable("pgcache.memory", "Memory for the cache, its index and everything else that it shares.",
                          nullptr, &memory_megabytes, 64, static_cast<int>(engine::kMinMemory / kMegabyte),
                          static_cast<int>(engine::kMaxMemory / kMegabyte), at_start, GUC_UNIT_MB, nullptr, nullptr,
                          nullptr);
  // As an integer, '100ms' would be rounded to 0, which is no expiry.
  DefineCustomRealVariable("pgcache.default_ttl", "Time to live of entries that are set without one.",
                           "0 means that they do not expire.", &default_ttl_seconds, 3600, 0,
                           static_cast<double>(engine::kMaxTtl) / 1000, PGC_USERSET, GUC_UNIT_S, nullptr, nullptr,
                           nullptr);
  DefineCustomIntVariable("pgcache.max_value_size", "Largest value that is stored; larger ones are an error.",
                          "A quarter of pgcache.memory is the most that fits, whatever this says.", &max_value_bytes,
                          16 * kMegabyte, 1, 512 * kMegabyte, PGC_SUSET, GUC_UNIT_BYTE, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("pgcache.serializable_reads",
                           "Lets serializable transactions that may write read what others have stored.",
                           "A hit takes no predicate lock, so what depends on it is not checked for serializability.",
                           &serializable_reads, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgcache.transaction_memory",
                          "Memory for the sets of one transaction that wait for its commit.",
                          "A set beyond it is an error.", &transaction_kilobytes, 64 * 1024, 1024, MAX_KILOBYTES,
                          PGC_USERSET, GUC_UNIT_KB, nullptr, nullptr, nullptr);
}

uint64_t memory_setting() { return static_cast<uint64_t>(memory_megabytes) * kMegabyte; }

engine::Milliseconds default_ttl_setting() {
  if (default_ttl_seconds == 0) return 0;
  return std::max<engine::Milliseconds>(static_cast<engine::Milliseconds>(default_ttl_seconds * 1000 + 0.5), 1);
}

bool serializable_reads_setting() { return serializable_reads; }

uint64_t transaction_memory_setting() { return static_cast<uint64_t>(transaction_kilobytes) * 1024; }

uint64_t max_value_size_setting() {
  return std::min<uint64_t>(static_cast<uint64_t>(max_value_bytes), memory_setting() / 4);
}

}  // namespace pgcache

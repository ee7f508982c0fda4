#include "limits/limit_settings.hpp"

#include "limits/limit_table.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace pgcache {

namespace {

constexpr int kMegabyte = 1024 * 1024;
constexpr int kMostMegabytes = 64 * 1024;

enum WhenFull { kDeny, kAllow };

const config_enum_entry kWhenFull[] = {{"deny", kDeny, false}, {"allow", kAllow, false}, {nullptr, 0, false}};

int memory_megabytes = 16;
int when_full = kDeny;

}  // namespace

void define_limit_settings() {
  // As pgcache.memory.
  const GucContext at_start = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;
  DefineCustomIntVariable("pgcache.rate_limit_memory", "Memory for the counts of rate limits, of all databases.",
                          nullptr, &memory_megabytes, 16, static_cast<int>(limits::kMinTableBytes / kMegabyte),
                          kMostMegabytes, at_start, GUC_UNIT_MB, nullptr, nullptr, nullptr);
  DefineCustomEnumVariable("pgcache.rate_limit_when_full",
                           "What a rate limit answers for a key that finds no place in its memory.",
                           "Counts, denials and blocks that are there are kept in any case.", &when_full, kDeny,
                           kWhenFull, PGC_SUSET, 0, nullptr, nullptr, nullptr);
}

uint64_t rate_limit_memory_setting() { return static_cast<uint64_t>(memory_megabytes) * kMegabyte; }

bool allow_when_full_setting() { return when_full == kAllow; }

}  // namespace pgcache

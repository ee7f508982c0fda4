// All flags of one environment, as one snapshot has them, ready to be evaluated.
#pragma once

#include "flags/evaluation.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace pgcache {

// What has been read of a flag and is compiled when it is first asked for.
struct FlagSource;
struct SegmentSource;

struct FlagSet {
  MemoryContext context;  // all of it; deleting it deletes the set and what RE2 has allocated for it
  const char* environment;
  Oid table;  // pgcache.flags
  flags::Workshop workshop;
  std::span<flags::Flag> flags;   // by name
  std::span<FlagSource> sources;  // of each flag
  std::span<SegmentSource> segments;
  std::span<uint32_t> slots;  // an open-addressed table of numbers of flags; kNoFlag: none
  flags::Workspace workspace;
  std::span<flags::Flag*> counted;  // those with counts that have not been handed on; the first counted_count
  size_t counted_count;
};

constexpr uint32_t kNoFlag = UINT32_MAX;

// Reads them from the tables. In a memory context below the current one until the caller moves it.
FlagSet* load_flags(Snapshot snapshot, const char* environment);

// nullptr: there is none of that name. It and all that it stands on are compiled.
flags::Flag* find_flag(FlagSet& set, std::string_view name);
void compile_flag(FlagSet& set, flags::Flag& flag);

// 53200 where RE2 has found no memory in an evaluation: its answer means nothing then.
void require_memory(flags::Workshop& workshop);

}  // namespace pgcache

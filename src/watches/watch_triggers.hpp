// A watch is a set of triggers on its table, on each below it and on each above these, and nothing else: PostgreSQL
// keeps them with the tables, moves them with these, dumps them, drops them.
//
//   pgcache_watch_7_insert, _update, _delete: after each statement, with its transition tables. ENABLE ALWAYS.
//   pgcache_watch_7_truncate: after TRUNCATE. ENABLE ALWAYS. It also says what is watched: its arguments are the
//     templates, and its UPDATE OF list is their columns, so a column that is renamed is followed, and one that is
//     named can't be dropped.
//   pgcache_watch_7_replicated: for each row. ENABLE REPLICA: the apply worker of a subscription fires no triggers for
//     statements. Not on partitioned tables, which have no rows, nor on those above.
//
// Arguments of all: the watch's id. Of _truncate besides: what the table is to the watch ('watched' itself, 'inherited'
// below, 'above'), then 'key=…' and 'tag=…', in which {1} stands for the first column of the list; or 'all' where a
// column is missing: every change ends all entries of the database.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/pg_list.h"
#include "utils/rel.h"
}

namespace pgcache {

enum class WatchPart : uint8_t { inserted, updated, deleted, truncated, replicated };
constexpr int kWatchParts = 5;
const char* part_name(WatchPart part);
constexpr uint32_t only(WatchPart part) { return 1U << static_cast<int>(part); }

// One of a watch's triggers, as the catalog has it.
struct WatchTrigger {
  Oid trigger;
  Oid relation;
  NameData name;
  char enabled;  // pg_trigger.tgenabled
  WatchPart part;
  int64_t id;
  // Of the truncated part:
  bool is_watched;  // and neither inherited nor above
  int template_count;
  const char* const* templates;  // "key=…", "tag=…" or "all"
  int column_count;
  const int16_t* columns;

  [[nodiscard]] bool describes() const { return part == WatchPart::truncated; }
};

// The function of all these triggers; InvalidOid where the extension is not.
Oid watch_function();

// Those of a relation, or of all if it is InvalidOid; takes no lock on it. Triggers with our function that no watch has
// made are left out.
List* read_watch_triggers(Oid relation);
// Whether the table has any.
bool is_watched_table(Oid relation);
// The trigger, if it is one of a watch.
std::optional<WatchTrigger> find_watch_trigger(Oid trigger);

// The same from the relation's cache entry, for triggers that fire: fills `trigger`, which points into it. False if
// that is none of a watch.
bool describe_watch_trigger(const struct Trigger& from, Oid relation, WatchTrigger& trigger);

}  // namespace pgcache

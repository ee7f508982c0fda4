// The tables of flags.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace pgcache {

enum class FlagTable : uint8_t { flags, strategies, segments, strategy_segments, prerequisites };
constexpr size_t kFlagTables = 5;

// 42P01 where the extension is not there.
Oid flag_table(FlagTable table);

// Columns by their place in flags.sql, from 0.
namespace flag_column {
enum : int { id, environment, name, enabled, killed, on_at, off_at, variants };
}
namespace strategy_column {
enum : int { id, flag, by_flag_set, rollout, stickiness, group_id, constraints, variants };
}
namespace segment_column {
enum : int { name, constraints };
}
namespace strategy_segment_column {
enum : int { strategy, segment };
}
namespace prerequisite_column {
enum : int { flag, prerequisite, enabled, variants };
}

// Calls visit(slot), whose columns are all there, for each row that the snapshot sees.
template <typename Visit>
void visit_rows(FlagTable table, Snapshot snapshot, Visit visit) {
  Relation relation = table_open(flag_table(table), AccessShareLock);
  TupleTableSlot* slot = table_slot_create(relation, nullptr);
  TableScanDesc scan = table_beginscan(relation, snapshot, 0, nullptr);
  while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
    CHECK_FOR_INTERRUPTS();
    slot_getallattrs(slot);
    visit(slot);
  }
  table_endscan(scan);
  ExecDropSingleTupleTableSlot(slot);
  table_close(relation, AccessShareLock);
}

}  // namespace pgcache

#include "pg/rows.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/memutils.h"
}

namespace pgcache::pg {

TupleDesc permanent_row_type(std::span<const Column> columns) {
  MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
  TupleDesc made = CreateTemplateTupleDesc(static_cast<int>(columns.size()));
  for (size_t i = 0; i < columns.size(); ++i)
    TupleDescInitEntry(made, static_cast<AttrNumber>(i + 1), columns[i].name, columns[i].type, -1, 0);
  TupleDesc blessed = BlessTupleDesc(made);
  MemoryContextSwitchTo(caller);
  return blessed;
}

}  // namespace pgcache::pg

#include "pg/sql.hpp"

namespace pgcache::pg {

uint64_t run_sql(const char* statement, std::initializer_list<Argument> arguments) {
  constexpr size_t kMost = 32;
  Oid types[kMost];
  Datum values[kMost];
  char nulls[kMost] = {};
  int count = 0;
  Assert(arguments.size() <= kMost);
  for (const Argument& argument : arguments) {
    types[count] = argument.type;
    values[count] = argument.value;
    nulls[count] = argument.is_null ? 'n' : ' ';
    ++count;
  }
  // SPI leaves its own context behind.
  MemoryContext caller = CurrentMemoryContext;
  const int result = SPI_execute_with_args(statement, count, types, values, nulls, false, 0);
  MemoryContextSwitchTo(caller);
  if (result < 0) elog(ERROR, "a statement of pgcache cannot be run: %s", SPI_result_code_string(result));
  return SPI_processed;
}

Value value_at(uint64_t row, int column) {
  Value value{};
  value.datum = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1, &value.is_null);
  return value;
}

char* text_at(uint64_t row, int column) {
  return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1);
}

}  // namespace pgcache::pg

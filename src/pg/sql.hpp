// Statements run through SPI with arguments, and the rows they give. The caller is connected to SPI.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace pgcache::pg {

struct Argument {
  Oid type;
  Datum value;
  bool is_null;
};

inline Argument null_of(Oid type) { return {type, Datum{0}, true}; }
inline Argument of_bool(bool value) { return {BOOLOID, BoolGetDatum(value), false}; }
inline Argument of_bigint(int64_t value) { return {INT8OID, Int64GetDatum(value), false}; }
inline Argument of_integer(int32_t value) { return {INT4OID, Int32GetDatum(value), false}; }
inline Argument of_oid(Oid value) { return {OIDOID, ObjectIdGetDatum(value), false}; }
inline Argument of_time(TimestampTz value) { return {TIMESTAMPTZOID, TimestampTzGetDatum(value), false}; }
inline Argument of_interval(const Interval* value) {
  return value == nullptr ? null_of(INTERVALOID) : Argument{INTERVALOID, PointerGetDatum(value), false};
}
inline Argument of_text(const char* value) {
  return value == nullptr ? null_of(TEXTOID) : Argument{TEXTOID, CStringGetTextDatum(value), false};
}

// $1… are the arguments. How many rows it gave or touched.
uint64_t run_sql(const char* statement, std::initializer_list<Argument> arguments = {});

// A value of SPI_tuptable, which the next statement sets anew; both numbers count from 0. It lives until SPI_finish; a
// text is a copy in the current memory context.
struct Value {
  Datum datum;
  bool is_null;
};
Value value_at(uint64_t row, int column);
char* text_at(uint64_t row, int column);  // nullptr: null
inline int64_t bigint_at(uint64_t row, int column) { return DatumGetInt64(value_at(row, column).datum); }

}  // namespace pgcache::pg

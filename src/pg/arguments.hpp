// SQL values as the engine takes them. All of these may ERROR; none is called under a lock.
#pragma once

#include "engine/types.hpp"
#include "pg/compat.hpp"

namespace pgcache::pg {

inline std::string_view view_of(const struct varlena* value) {
  return {VARDATA_ANY(value), static_cast<size_t>(VARSIZE_ANY_EXHDR(value))};
}

inline engine::Bytes bytes_of(const struct varlena* value) {
  return {reinterpret_cast<const std::byte*>(VARDATA_ANY(value)), static_cast<size_t>(VARSIZE_ANY_EXHDR(value))};
}

// The argument, detoasted; 22004 naming it if it is NULL.
struct varlena* required_varlena(FunctionCallInfo fcinfo, int number, const char* name);

// 22004 naming the argument if it is NULL.
void require_not_null(FunctionCallInfo fcinfo, int number, const char* name);

// For a message.
const char* text_of(const Interval* interval);

// The first 64 bytes, for a message.
const char* beginning_of(std::string_view text);

// The bytes of a key, 1 to 1,024; 22023 otherwise, naming it as `what`.
std::string_view checked_key(const struct varlena* text, const char* what);

// A day counts 24 hours, a month 30 days. Saturates; infinite intervals are the extremes.
int64_t microseconds_of(const Interval* interval);

// Milliseconds, rounded up; 0 for no end. 22023 naming the argument if it is negative or over the engine's longest.
engine::Milliseconds ttl_milliseconds(const Interval* ttl, const char* name = "ttl");

// The elements; 22004 naming the argument if one is NULL and may not be.
struct Elements {
  Datum* values;
  bool* nulls;
  int count;
};
Elements elements_of(Datum array, Oid element_type, const char* name, bool nulls_allowed);

}  // namespace pgcache::pg

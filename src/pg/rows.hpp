// Rows that functions answer with.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "access/tupdesc.h"
}

namespace pgcache::pg {

struct Column {
  const char* name;
  Oid type;
};

// For a function's OUT parameters, to be kept for the backend's life: in FROM, a function has nowhere to keep it from
// call to call.
TupleDesc permanent_row_type(std::span<const Column> columns);

}  // namespace pgcache::pg

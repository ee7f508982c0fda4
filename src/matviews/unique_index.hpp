// The unique index without which REFRESH ... CONCURRENTLY does not work.
#pragma once

#include "pg/postgres.hpp"

namespace pgcache {

// Unique, valid, over columns only, of all rows. The caller is connected to SPI.
bool has_usable_unique_index(Oid view);

// CREATE UNIQUE INDEX over the columns by which the view's definition groups or that identify the rows of its table;
// where none can be told, over all that can be indexed: it works if no row is there twice. nullptr if none can.
char* unique_index_statement(Oid view);

}  // namespace pgcache

// Partitions and children as pg_inherits has them, those included that are being detached. Takes no locks.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/pg_list.h"
#include "utils/hsearch.h"
}

namespace pgcache {

// Tables, each once, in the order in which they came. In the caller's memory context.
class TableSet {
 public:
  TableSet();
  bool add(Oid table);  // false if it is there
  [[nodiscard]] bool has(Oid table) const;
  [[nodiscard]] const List* list() const { return in_order_; }

 private:
  HTAB* known_;
  List* in_order_ = NIL;
};

// The table and all below it, parents before children.
void add_below(TableSet& to, Oid table);
// All above it, children before parents.
void add_above(TableSet& to, Oid table);

}  // namespace pgcache

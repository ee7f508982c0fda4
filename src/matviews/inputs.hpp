// What a materialized view is made of: the relations, views and functions below it, found by reading its definition and
// those of the views that it reads. Takes no lock on any of them: a refresh must not wait, nor make others wait, to
// learn that there is nothing to do.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pgcache {

// nullptr if the view is gone.
Query* definition_of(Oid view);

// The materialized views below, at any depth.
List* matviews_below(Oid view);

struct Inputs {
  struct varlena* digest;  // bytea; the same again: nothing has been written in between
  const char* unknowable;  // why writes could not be seen; nullptr: they are
};

// As the server's statistics count writes. Read before the snapshot of a refresh: what is counted has committed, so
// the refresh sees it, and what is not will make a difference later. Backends hand in their counts before they tell
// their client of a commit, see write_counts.hpp.
Inputs read_inputs(Oid view);

}  // namespace pgcache

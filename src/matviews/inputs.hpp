// What a materialized view is made of: the relations, views and functions below it, found by reading its definition and
// those of the views that it reads. Takes no lock on any of them: a refresh must not wait, nor make others wait, to
// learn that there is nothing to do.
#pragma once

#include "matviews/write_counts.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pgcache {

// nullptr if the view is gone.
Query* definition_of(Oid view);

// The materialized views below, at any depth.
List* matviews_below(Oid view);

// What a view was computed from: two that are the same mean that nothing has been written in between.
struct Inputs {
  // Definitions, relations and their files; and when PostgreSQL's counts were reset, because then nobody knows more
  // than that.
  uint64_t composition[2];
  uint64_t statistics[2];  // PostgreSQL's counts; complete if they are of an earlier life of write_counts.hpp
  uint64_t life;
  uint64_t writes[kWriteRows];  // in that life
  const char* unknowable;       // why writes could not be seen; nullptr: they are
};

// Read before the snapshot of a refresh. The caller is connected to SPI.
Inputs read_inputs(Oid view);

// `before` is as it was stored.
bool same_inputs(const Inputs& before, const Inputs& now);

// bytea
struct varlena* stored_inputs(const Inputs& inputs);
std::optional<Inputs> inputs_of_stored(const struct varlena* stored);

}  // namespace pgcache

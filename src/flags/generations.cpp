#include "flags/generations.hpp"

#include "flags/flag_settings.hpp"
#include "flags/flag_statistics.hpp"
#include "flags/flag_tables.hpp"
#include "flags/shared_flags.hpp"
#include "pg/compat.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "utils/inval.h"
#include "utils/memutils.h"
}

namespace pgcache {

namespace {

// What a snapshot sees, and whose flags are asked for. Of two snapshots of one backend with the same numbers, nothing
// has ended between them: below the same xmax, transactions in progress only become fewer.
struct View {
  LocalTransactionId transaction;
  TransactionId xmax;
  uint32 in_progress;
  int32 subtransactions_in_progress;
  CommandId command;
  uint32 environment;  // how often it was set

  bool operator==(const View&) const = default;
};

struct Generation {
  FlagSet* set;       // nullptr: none
  View view;          // it was read with
  bool is_open;       // to later snapshots, until a message comes
  bool is_open_here;  // to later commands of the transaction and snapshot that it was read in, until a message comes
  uint64_t used;
};

// A few, for sessions that go to and fro between environments, or between snapshots.
Generation generations[4];
uint64_t uses = 0;
uint64_t messages = 0;

// Whatever has been heard of has a smaller full transaction id, unless something was heard since.
uint64_t heard_below = 0;
bool has_heard = true;

// The last answer, until a message comes.
FlagSet* served = nullptr;
View served_view;

Oid tables[kFlagTables];  // that generations were read from

View view_of(Snapshot snapshot) {
  return {pg::my_local_transaction(), snapshot->xmax,   snapshot->xcnt,
          snapshot->subxcnt,          snapshot->curcid, environment_changes()};
}

// Whether it may see less than the other one, which has the same environment.
bool is_older(const View& view, const View& other) {
  if (view.xmax != other.xmax) return TransactionIdPrecedes(view.xmax, other.xmax);
  return view.in_progress > other.in_progress || view.subtransactions_in_progress > other.subtransactions_in_progress ||
         (view.transaction == other.transaction && view.command < other.command);
}

// Whether both see the same of other transactions.
bool differ_in_command_only(const View& view, const View& other) {
  View same = view;
  same.command = other.command;
  return same == other;
}

bool serves(const Generation& generation, const View& view, bool sees_change_in_flight) {
  if (generation.set == nullptr) return false;
  if (generation.view == view) return true;
  if (generation.is_open_here && differ_in_command_only(view, generation.view))
    return view.command >= generation.view.command;
  if (IsolationIsSerializable() && generation.view.transaction != view.transaction) return false;
  return generation.is_open && !sees_change_in_flight && !is_older(view, generation.view) &&
         strcmp(generation.set->environment, environment_setting()) == 0;
}

// No memory may be given back here: it can come while a set is being read, or used.
void close_generations(Datum, Oid relation) {
  if (OidIsValid(relation) && std::find(std::begin(tables), std::end(tables), relation) == std::end(tables)) return;
  ++messages;
  has_heard = true;
  served = nullptr;
  for (Generation& generation : generations) {
    generation.is_open = generation.is_open_here = false;
    // What was read with the same numbers may have been rolled back.
    generation.view.transaction = InvalidLocalTransactionId;
  }
}

void drop(Generation& generation) {
  if (generation.set == nullptr) return;
  hand_on_counts(*generation.set);
  MemoryContext context = generation.set->context;
  generation = {};
  MemoryContextDelete(context);
}

// Whether a query would take the same snapshot now; it cannot be told in parallel mode, where none can be taken.
bool is_latest(const View& view) { return !IsInParallelMode() && view_of(GetLatestSnapshot()) == view; }

// A free place, once those are dropped that serve nothing any more; else that which was used least recently.
Generation& place_for_generation() {
  for (Generation& generation : generations)
    if (!generation.is_open && generation.view.transaction != pg::my_local_transaction()) drop(generation);
  Generation& place = *std::min_element(std::begin(generations), std::end(generations),
                                        [](const Generation& a, const Generation& b) { return a.used < b.used; });
  drop(place);
  return place;
}

// Whether every commit that has been heard of is visible to the snapshot; may be false where it is.
bool has_seen_all(Snapshot snapshot) {
  if (RecoveryInProgress()) return false;
  if (std::exchange(has_heard, false)) heard_below = U64FromFullTransactionId(ReadNextFullTransactionId());
  return heard_below <= pg::widened(snapshot->xmin);
}

Generation& read_generation(Snapshot snapshot, const View& view) {
  served = nullptr;
  Generation& generation = place_for_generation();
  for (size_t i = 0; i < kFlagTables; ++i) tables[i] = flag_table(static_cast<FlagTable>(i));
  const uint64_t heard = messages;
  const bool may_be_open_here = view.command == GetCurrentCommandId(false);
  const bool may_be_open = (may_be_open_here && has_seen_all(snapshot)) || is_latest(view);
  FlagSet* set = load_flags(snapshot, environment_setting());
  MemoryContextSetParent(set->context, TopMemoryContext);
  const bool is_undisturbed = heard == messages;
  generation = {set, view, may_be_open && is_undisturbed, may_be_open_here && is_undisturbed, 0};
  return generation;
}

FlagSet& find_generation(Snapshot snapshot, const View& view) {
  // In this order: the messages of what is not in flight any more are there.
  const bool sees_change_in_flight = sees_flag_change_in_flight(snapshot);
  AcceptInvalidationMessages();
  Generation* found = std::find_if(std::begin(generations), std::end(generations),
                                   [&](const Generation& it) { return serves(it, view, sees_change_in_flight); });
  if (found == std::end(generations)) found = &read_generation(snapshot, view);
  found->used = ++uses;
  found->set->workshop.lacks_memory = false;  // of a call that was cancelled
  served = found->set;
  served_view = view;
  return *found->set;
}

// For a caller in C that has none.
FlagSet& flags_of_latest_snapshot() {
  PushActiveSnapshot(GetLatestSnapshot());
  FlagSet& set = find_generation(GetActiveSnapshot(), view_of(GetActiveSnapshot()));
  PopActiveSnapshot();
  return set;
}

}  // namespace

FlagSet& current_flags() {
  if (unlikely(!ActiveSnapshotSet() || GetActiveSnapshot()->snapshot_type != SNAPSHOT_MVCC))
    return flags_of_latest_snapshot();
  Snapshot snapshot = GetActiveSnapshot();
  const View view = view_of(snapshot);
  if (likely(served != nullptr && view == served_view)) return *served;
  return find_generation(snapshot, view);
}

void hand_on_counts_of_all() {
  for (const Generation& generation : generations)
    if (generation.set != nullptr) hand_on_counts(*generation.set);
}

void install_generations() { CacheRegisterRelcacheCallback(close_generations, Datum{0}); }

}  // namespace pgcache

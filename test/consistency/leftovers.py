"""Prepared transactions that outlive the server: left by one run of the checker, ended by another after a restart."""

import model
from books import TRIES
from database import Session, create_schema, drop_schema, leftovers, statistics
from model import CACHED, LATE_KEYS
from filling import FILL
from reading import READ
from writing import DELETE_MANY, INVALIDATE, UPDATE

PREFIX = "stale_reads left "
# What each of them did, and how it ends.
KINDS = ("key commit", "tag commit", "set commit", "key rollback", "tag commit late")
KEYS = [key for key in CACHED if key not in LATE_KEYS]
# The saved entries come back in the background: looked at until then, and beyond.
ROUNDS = 300


def prepare(history, most):
    """Fills everything, leaves transactions that have changed rows and invalidated. How many."""
    session = Session("prepare", history)
    create_schema(session)
    fill(session)
    for number, kind in enumerate(KINDS[:most]):
        item = number * 2
        session.run("BEGIN")
        session.run(UPDATE, "plain", [item])
        invalidate(session, kind, item)
        session.run(f"PREPARE TRANSACTION '{PREFIX}{kind}'")
    session.close()
    return len(KINDS[:most])


def invalidate(session, kind, item):
    dependents = model.dependents([item])
    if kind.startswith("key"):
        session.run(DELETE_MANY, dependents)
    elif kind.startswith("tag"):
        session.run(INVALIDATE, [f"item {item}", f"group {item // model.GROUP_SIZE}"])
        session.run(DELETE_MANY, [key for key in dependents if not CACHED[key].tags])
    else:
        session.run(FILL, "always", dependents)


def fill(session):
    return sum(accepted for _, accepted in session.run(FILL, "always", KEYS))


class Resolver:
    """Ends them one by one; before and after each, readers with snapshots of all ages must find what their rows say."""

    def __init__(self, history, violation):
        self.history = history
        self.violation = violation
        self.session = Session("resolve", history)
        self.old_readers = []
        self.reads = 0
        self.hits = 0

    def read(self, session):
        rows = session.run(READ["get"], KEYS)
        self.reads += len(rows)
        for key, hit, expected, snapshot in rows:
            if hit is None:
                continue
            self.hits += 1
            kind = model.judge(key, hit, expected, None)
            if kind:
                self.violation(kind, key, hit, expected, f"{session.name}, snapshot {snapshot}", "")

    def read_all(self):
        for session in [self.session, *self.old_readers]:
            self.read(session)

    def start_old_reader(self):
        reader = Session(f"old {len(self.old_readers)}", self.history)
        reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self.read(reader)
        self.old_readers.append(reader)

    def resolve(self):
        """Counters of what was seen. The first transaction ends before anything was filled."""
        gids = leftovers(self.session, PREFIX)
        for number, gid in enumerate(sorted(gids, key=lambda gid: KINDS.index(gid[len(PREFIX) :]))):
            self.read_all()
            if number > 0:
                fill(self.session)
                self.read_all()
            self.start_old_reader()
            self.session.run(f"{'ROLLBACK' if 'rollback' in gid else 'COMMIT'} PREPARED '{gid}'")
            for _ in range(ROUNDS if number == 0 else 3):
                self.read_all()
        hits_before = self.hits
        for _ in range(TRIES):
            fill(self.session)
            hits_before = self.hits
            self.read(self.session)
            if self.hits - hits_before == len(KEYS):
                break
        counted = statistics(self.session)
        return {
            "prepared transactions left over a restart": len(gids),
            "hits before the last one ended": hits_before,
            "hits of the last read": self.hits - hits_before,
            "reads": self.reads,
            "sets refused": counted["refused"],
        }

    def finish(self):
        for reader in self.old_readers:
            reader.close()
        drop_schema(self.session)
        self.session.close()

"""Prepared transactions that outlive the server: left by one run of the checker, ended by another after a restart."""

import model
from books import TRIES
from database import Session, create_schema, drop_schema, prepared_names, statistics
from filling import FILL
from model import CACHED, EXACT_KEYS
from reading import READ
from writing import DELETE_MANY, INVALIDATE, UPDATE

PREFIX = "stale_reads left "
# What each of them did, and how it ends.
KINDS = ("key commit", "tag commit", "set commit", "key rollback", "tag commit late")
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
    session.run(FILL, "always", EXACT_KEYS)


class Resolver:
    """Ends them one by one; before and after, readers with snapshots of all ages must find what their rows say."""

    def __init__(self, findings):
        self.findings = findings
        self.session = Session("resolve", findings.history)
        self.old_readers = []
        self.reads = 0
        self.hits = 0

    def resolve(self):
        """Counters of what was seen. The first transaction ends before anything was filled."""
        gids = sorted(prepared_names(self.session, PREFIX), key=lambda gid: KINDS.index(gid[len(PREFIX) :]))
        for number, gid in enumerate(gids):
            self.read_all()
            if number > 0:
                fill(self.session)
                self.read_all()
            self.start_old_reader()
            self.session.run(f"{'ROLLBACK' if 'rollback' in gid else 'COMMIT'} PREPARED '{gid}'")
            for _ in range(ROUNDS if number == 0 else 3):
                self.read_all()
        hits = self.hits
        return {
            "prepared transactions left over a restart": len(gids),
            "hits until the last one had ended": hits,
            "hits of the last read": self.fill_and_read(),
            "reads": self.reads,
            "sets refused": statistics(self.session)["refused"],
        }

    def read(self, session):
        """The number of hits."""
        rows = session.run(READ["get"], EXACT_KEYS)
        hits = [row for row in rows if row[1] is not None]
        self.reads += len(rows)
        self.hits += len(hits)
        for key, hit, expected, snapshot in hits:
            kind = model.judge(key, hit, expected, None)
            if kind:
                self.findings.violation(kind, key, hit, expected, f"{session.name}, snapshot {snapshot}", "")
        return len(hits)

    def read_all(self):
        for session in (self.session, *self.old_readers):
            self.read(session)

    def start_old_reader(self):
        reader = Session(f"old{len(self.old_readers)}", self.findings.history)
        reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self.read(reader)
        self.old_readers.append(reader)

    def fill_and_read(self):
        """What the transactions have left may refuse a set, but not for ever."""
        for _ in range(TRIES):
            fill(self.session)
            hits = self.read(self.session)
            if hits == len(EXACT_KEYS):
                break
        return hits

    def finish(self):
        for reader in self.old_readers:
            reader.close()
        drop_schema(self.session)
        self.session.close()

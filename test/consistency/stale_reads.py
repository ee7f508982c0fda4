#!/usr/bin/env python3
"""Looks for a hit that is not what the reader's own snapshot would compute.

Writers change rows and invalidate what is cached of them, in every way and with every end that a transaction can have;
fillers compute and store in every way that the docs allow; readers read rows and entries in one snapshot and compare.
A row's version is part of the value, so that a hit is known to be stale, or newer than its reader may see. The server
is the one that the PG* variables name; pgcache must be preloaded, and max_prepared_transactions be 6 or more.

usage: stale_reads.py [--seconds N] [--seed N] [--clients N] [--levels LEVEL,...]
       stale_reads.py --prepare-leftovers      leaves prepared transactions; restart the server, then:
       stale_reads.py --resolve-leftovers      ends them and looks

Prints `ok - ...` or `not ok - ...` for each thing demanded; ends with 1 if something was not ok. What a client does is
chosen by the seed; what comes of it, by the processes' timing.
"""

import argparse
import collections
import multiprocessing
import os
import random
import signal
import sys
import time
import traceback

import psycopg

import leftovers
import model
from actors import READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE
from books import TRIES, Bookkeeper, first_wins, private_keys, settle
from database import APPLICATION, History, Session, create_schema, drop_schema, prepared_names, statistics
from filling import FILL
from model import CACHED
from reading import READ
from rush import Rusher
from steps import Director

LEVELS = {"rc": READ_COMMITTED, "rr": REPEATABLE_READ, "ser": SERIALIZABLE}

# The parts of a run, and their shares of its time. Between them everything is at rest and looked at as a whole.
PARTS = {"steps": 0.45, "rush": 0.4, "books": 0.15}
DIRECTORS = 2
LEAST_PREPARED = 6
# Of those who rush: mostly reading, writing, filling; then all three.
WEIGHTS = ((8, 1, 1), (1, 8, 1), (1, 1, 8), (1, 1, 1))

# What must have happened so often in a second, on a slow machine too, for the run to mean something.
DEMANDED_PER_SECOND = {
    "reads": 300,
    "hits": 100,
    "hits while a writer was pending": 5,
    "hits of a watched table": 20,
    "commits to a watched table": 3,
    "fetches compared": 10,
    "own held sets read": 0.3,
    "fills accepted": 20,
    "fills refused": 2,
    "commits": 10,
    "rollbacks": 5,
    "rollbacks to a savepoint": 1,
    "statement errors": 0.5,
    "prepared transactions": 2,
    "prepared transactions committed": 0.3,
    "prepared transactions rolled back": 0.1,
    "killed backends": 0.1,
    "late deletes": 1,
    "private keys verified": 3,
    "dropped by PREPARE": 0.1,
}
WRONG = {
    "stale": "stale hits",
    "newer": "newer hits",
    "lost": "sets lost uncounted",
    "forbidden": "serializable hits without leave",
    "error": "unexpected errors",
}
READ_WATCHED_AT_REST = "SELECT key, cache_get(key)::text, value::text FROM stale_reads.watched_expected"
SHOWN_VIOLATIONS = 10
SHOWN_OPERATIONS = 80
# To wait for the others after a part; a client that takes longer is stuck.
PATIENCE = 120


class Shared:
    """What the processes tell each other."""

    def __init__(self, clients, prepared_allowed):
        self.failed = multiprocessing.Event()
        self.barrier = multiprocessing.Barrier(clients + 1)
        self.results = multiprocessing.Queue()
        self.deleted = multiprocessing.Array("q", [1] * (max(model.LATE_ITEMS) + 1))
        self.gid_prefix = f"{APPLICATION} {os.getpid()} "
        # Some are left for connections that were killed while they prepared.
        self.most_prepared = (prepared_allowed - 4) // DIRECTORS

    def deleted_versions(self):
        return self.deleted[:]

    def note_deleted(self, item, version):
        with self.deleted.get_lock():
            self.deleted[item] = max(self.deleted[item], version)

    def meet(self, seconds=0):
        """Waits until all have come here."""
        self.barrier.wait(timeout=seconds + PATIENCE)


class Findings:
    """Counters, violations and last operations of a process."""

    def __init__(self, name, shared):
        self.name = name
        self.shared = shared
        self.count = collections.Counter()
        self.history = History()
        self.violations = []

    def violation(self, kind, key, hit, expected, who, level):
        """`who` begins with the name of the session."""
        self.violations.append((time.monotonic(), kind, key, str(hit), str(expected), who, level))
        self.shared.failed.set()

    def report(self):
        lines = list(self.history.lines()) if self.shared.failed.is_set() else []
        return self.count, self.violations, lines


class Client(Findings):
    """A process of its own: takes part in each part, in the role that its number gives it."""

    def __init__(self, number, options, shared, private):
        super().__init__(f"c{number}", shared)
        self.number = number
        self.seconds = options.seconds
        self.levels = options.levels
        self.rng = random.Random(f"{options.seed} {number}")
        self.private = private

    def role(self, part):
        if part == "books":
            return Bookkeeper(self, self.private)
        if self.number < DIRECTORS:
            return Director(self)
        if part == "rush":
            return Rusher(self, WEIGHTS[(self.number - DIRECTORS) % len(WEIGHTS)])
        return None

    def run(self):
        for part, share in PARTS.items():
            self.shared.meet()
            try:
                self.play(self.role(part), time.monotonic() + self.seconds * share)
            except Exception:  # whatever it is, the others must not wait for us
                self.violation("error", "", traceback.format_exc(), "no error", self.name, "")
            self.shared.meet(self.seconds)
        self.shared.results.put(self.report())

    def play(self, role, end):
        if role is None:
            return
        while time.monotonic() < end and not self.shared.failed.is_set():
            role.step()
        role.finish()


class Checker(Findings):
    """The process that starts the others, and looks at what they leave."""

    def __init__(self, options, shared):
        super().__init__("main", shared)
        self.options = options
        self.session = Session(self.name, self.history, application=APPLICATION + " main")
        self.before = {}
        self.after = {}

    def run(self):
        """All counters, violations and last operations."""
        create_schema(self.session)
        processes = self.start_clients()
        for part in PARTS:
            if part == "books":
                settle(self.session, "first")
            self.before[part] = statistics(self.session)
            if part == "books" and not self.shared.failed.is_set():
                first_wins(self)
            self.shared.meet()
            self.shared.meet(self.options.seconds)
            self.end_prepared()
            self.after[part] = statistics(self.session)
            if not self.shared.failed.is_set():
                self.look_at_rest(part)
        reports = [self.shared.results.get(timeout=PATIENCE) for _ in processes]
        for process in processes:
            process.join(PATIENCE)
        return self.together([*reports, self.report()])

    def start_clients(self):
        private = private_keys(self.session, self.options.clients)
        clients = [Client(n, self.options, self.shared, private[n]) for n in range(self.options.clients)]
        processes = [multiprocessing.Process(target=client.run, daemon=True) for client in clients]
        for process in processes:
            process.start()
        return processes

    def together(self, reports):
        count, violations, lines = collections.Counter(), [], []
        for one_count, some_violations, some_lines in reports:
            count.update(one_count)
            violations += some_violations
            lines += some_lines
        return count, sorted(violations), [text for _, text in sorted(lines)]

    def end_prepared(self):
        """Those whose clients were killed at the wrong moment."""
        for gid in prepared_names(self.session, self.shared.gid_prefix):
            self.session.run(f"{random.choice(('COMMIT', 'ROLLBACK'))} PREPARED '{gid}'")

    def look_at_rest(self, part):
        """When nobody writes, every entry is right, and every one can be filled and is then hit."""
        who = f"{self.name}, at rest after {part}"
        if self.session.value("SELECT count(*) FROM stale_reads.no_crash") != 1:
            self.violation("error", "", "the server has crashed", "", who, "")
        self.compare(who)
        refused = self.try_until_none(self.fill_all)
        if refused:
            self.violation("lost", refused[0], f"{len(refused)} sets are refused", "none", who, "")
        missing = self.try_until_none(lambda: self.compare(who))
        if missing:
            self.violation("lost", missing[0], f"{len(missing)} keys are missing", "none", who, "")

    def try_until_none(self, try_once):
        for _ in range(TRIES):
            left = try_once()
            if not left:
                break
        return left

    def fill_all(self):
        """The keys that were refused."""
        return [key for key, accepted in self.session.run(FILL, "always", list(CACHED)) if not accepted]

    def compare(self, who):
        """The keys that are missing."""
        deleted = self.shared.deleted_versions()
        rows = self.session.run(READ["get"], list(CACHED))
        for key, hit, expected, snapshot in rows:
            kind = hit is not None and model.judge(key, hit, expected, deleted)
            if kind:
                self.violation(kind, key, hit, expected, f"{who}, snapshot {snapshot}", "")
        self.compare_watched(who)
        return [key for key, hit, _, _ in rows if hit is None]

    def compare_watched(self, who):
        for key, hit, expected in self.session.run(READ_WATCHED_AT_REST):
            kind = hit is not None and model.judge(key, hit, expected, None)
            if kind:
                self.violation(kind, key, hit, expected, who, "")

    def counted(self, name, *parts):
        """What cache_stats counted in these parts."""
        return sum(self.after[part][name] - self.before[part][name] for part in parts)


# ---- the verdict ----------------------------------------------------------------------------------------------------


class Verdict:
    def __init__(self):
        self.failed = False

    def demand(self, is_right, text):
        self.failed |= not is_right
        print(f"{'ok' if is_right else 'not ok'} - {text}", flush=True)

    def at_least(self, name, number, wanted):
        self.demand(number >= wanted, f"{name}: {number} (at least {wanted})")

    def all_counted(self, name, number, counted):
        self.demand(number == counted, f"{name}: {number}, all of them in cache_stats: {counted}")


def judge_run(checker, count, violations, options):
    verdict = Verdict()
    kinds = collections.Counter(violation[1] for violation in violations)
    for kind, text in WRONG.items():
        verdict.demand(kinds[kind] == 0, f"{text}: {kinds[kind]}")
    if violations:
        return verdict  # the run was cut short
    for name, rate in DEMANDED_PER_SECOND.items():
        verdict.at_least(name, count[name], int(rate * options.seconds * share_of(options.levels)))
    if options.levels != [READ_COMMITTED]:
        verdict.at_least("serialization failures", count["serialization failures"], options.seconds)
    judge_statistics(verdict, checker, count, options)
    return verdict


def share_of(levels):
    """Read-write serializable transactions seldom hit, and fail often: alone they give less of everything."""
    return 0.2 if levels == [SERIALIZABLE] else 1


def judge_statistics(verdict, checker, count, options):
    refused = checker.counted("refused", "steps", "rush")
    verdict.demand(
        refused >= count["fills refused"],
        f"refused fills: {count['fills refused']}, all of them in cache_stats, beside those of the killed: {refused}",
    )
    dropped = checker.counted("dropped", "steps", "rush")
    verdict.at_least("held sets dropped, by cache_stats", dropped, options.seconds // 2)
    reasons = ("dropped by PREPARE", "dropped by others' commit", "private sets dropped at commit")
    dropped = sum(count[reason] for reason in reasons)
    verdict.all_counted("private sets dropped", dropped, checker.counted("dropped", "books"))
    verdict.all_counted("private sets refused", count["private sets refused"], checker.counted("refused", "books"))
    evictions = checker.counted("evictions", *PARTS)
    verdict.demand(evictions == 0, f"entries evicted, which would look like a loss: {evictions}")


def show_violations(violations, lines):
    for at, kind, key, hit, expected, who, level in violations[:SHOWN_VIOLATIONS]:
        print(f"{kind.upper()} {key} at {at:.6f}")
        print(f"    hit       {hit}\n    expected  {expected}\n    by        {who} {level}")
    if not violations:
        return
    at, _, key, _, _, who, _ = violations[0]
    before = [line for line in lines if float(line.split()[0]) <= at]
    session = who.split(",")[0]
    print(f"The last operations of {session} before the first of these, at seconds of the clock:")
    show_last([line for line in before if line.split()[3] == session])
    print(f"The last operations of all that name {key or 'anything'}, or end a transaction:")
    show_last([line for line in before if concerns(line, key)])


def show_last(lines):
    for line in lines[-SHOWN_OPERATIONS:]:
        print(f"    {line}", flush=True)


def concerns(line, key):
    """Whether the operation may have to do with the key."""
    if key not in CACHED:
        return key in line or "watched" in line
    items = (f"({item}, " for item in CACHED[key].items)
    names = [key, *CACHED[key].tags, *items, "cache_clear", "matching", "COMMIT", "ROLLBACK"]
    return any(name in line for name in names)


# ---- the start ------------------------------------------------------------------------------------------------------


def check(options, prepared_allowed):
    started = time.monotonic()
    shared = Shared(options.clients, prepared_allowed)
    checker = Checker(options, shared)
    try:
        count, violations, lines = checker.run()
    except Exception:  # a client that never came back, or a server that is gone
        checker.violation("error", "", traceback.format_exc(), "no error", checker.name, "")
        count, violations, lines = checker.together([checker.report()])
    show_violations(violations, lines)
    verdict = judge_run(checker, count, violations, options)
    print(f"In {time.monotonic() - started:.0f} s, {', '.join(options.levels)}, seed {options.seed}:")
    for name in sorted(count):
        print(f"    {count[name]:9} {name}")
    if not verdict.failed:
        drop_schema(checker.session)
    return int(verdict.failed)


def check_leftovers(prepared_allowed):
    findings = Findings("main", Shared(0, prepared_allowed))
    resolver = leftovers.Resolver(findings)
    count = resolver.resolve()
    show_violations(findings.violations, [text for _, text in findings.history.lines()])
    verdict = Verdict()
    for name, number in count.items():
        print(f"    {number:9} {name}")
    left = "prepared transactions left over a restart"
    verdict.at_least(left, count[left], len(leftovers.KINDS))
    verdict.demand(not findings.violations, f"wrong hits before and after their end: {len(findings.violations)}")
    verdict.at_least("hits of the last read", count["hits of the last read"], len(model.EXACT_KEYS))
    if not verdict.failed:
        resolver.finish()
    return int(verdict.failed)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None, help="chooses what each client does")
    parser.add_argument("--clients", type=int, default=5, help="processes, at least 4")
    parser.add_argument("--levels", default="rc,rr,ser", help="some of rc, rr, ser")
    parser.add_argument("--prepare-leftovers", action="store_true")
    parser.add_argument("--resolve-leftovers", action="store_true")
    options = parser.parse_args()
    if options.clients < 4 or options.seconds < 1 or not set(options.levels.split(",")) <= set(LEVELS):
        parser.error("at least 4 clients and a second; the levels are " + ", ".join(LEVELS))
    options.levels = [LEVELS[name] for name in options.levels.split(",")]
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    return options


def prepared_transactions_allowed():
    with psycopg.connect("", autocommit=True) as connection:
        allowed = int(connection.execute("SHOW max_prepared_transactions").fetchone()[0])
    if allowed < LEAST_PREPARED:
        sys.exit(f"stale_reads.py: max_prepared_transactions must be {LEAST_PREPARED} or more, better 20")
    return allowed


def main():
    multiprocessing.set_start_method("fork")
    # An end by sys.exit ends the other processes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_arguments()
    allowed = prepared_transactions_allowed()
    if options.prepare_leftovers:
        print(f"{leftovers.prepare(History(), allowed)} prepared transactions left")
        return 0
    if options.resolve_leftovers:
        return check_leftovers(allowed)
    return check(options, allowed)


if __name__ == "__main__":
    sys.exit(main())

"""Scripts that read entries and rows of one snapshot, and compare."""

from typing import NamedTuple

import psycopg

import model
from actors import READ_COMMITTED, Actor, Cast
from model import CACHED

# One statement that reads entries and rows: key, hit, what the rows say, snapshot.
READ = {
    "get": """SELECT key, cache_get(key)::text, value::text, pg_current_snapshot()::text
        FROM stale_reads.expected WHERE key = ANY(%s)""",
    "get_many": """SELECT e.key, c.value::text, e.value::text, pg_current_snapshot()::text
        FROM stale_reads.expected e LEFT JOIN cache_get_many(%s) c ON c.key = e.key WHERE e.key = ANY(%s)""",
    "entry": """SELECT e.key, c.value::text, e.value::text, pg_current_snapshot()::text
        FROM stale_reads.expected e, cache_entry(e.key) c WHERE e.key = ANY(%s)""",
    "stable": "SELECT * FROM stale_reads.read_stable(%s)",
    "volatile": "SELECT * FROM stale_reads.read_volatile(%s)",
}
TAKE = """SELECT key, cache_take(key)::text, value::text, pg_current_snapshot()::text
    FROM stale_reads.expected WHERE key = ANY(%s)"""
READ_CACHE = "SELECT key, cache_get(key)::text FROM unnest(%s::text[]) key"
READ_ROWS = "SELECT key, value::text, pg_current_snapshot()::text FROM stale_reads.expected WHERE key = ANY(%s)"


class Moment(NamedTuple):
    """What was so before a read began."""

    deleted: list  # see model.judge
    pending: set  # keys on which another transaction of this process was pending


class Reading(Cast):
    def now(self, actor):
        return Moment(self.client.shared.deleted_versions(), self.pending_keys(but=actor))

    def check(self, actor, rows, moment):
        """rows: key, hit, expected, snapshot."""
        self.count["reads"] += len(rows)
        for key, hit, expected, snapshot in rows:
            state = actor.own.state(key)
            if hit is None:
                # At READ COMMITTED others may have invalidated it since.
                if state == "held" and actor.keeps_snapshot:
                    self.wrong("lost", key, hit, expected, actor, f"own set; snapshot {snapshot}")
            elif state not in ("open", "covered"):
                self.check_hit(actor, state, (key, hit, expected, snapshot), moment)

    def check_hit(self, actor, state, row, moment):
        key, hit, expected, snapshot = row
        self.count["hits"] += 1
        self.count["hits while a writer was pending"] += key in moment.pending
        self.count["own held sets read"] += state == "held"
        if state == "untouched" and actor.never_hits:
            self.wrong("forbidden", key, hit, expected, actor, f"serializable; snapshot {snapshot}")
        if state == "gone":
            self.wrong("stale", key, hit, expected, actor, f"own invalidation; snapshot {snapshot}")
        kind = model.judge(key, hit, expected, moment.deleted)
        if kind:
            self.wrong(kind, key, hit, expected, actor, f"own state {state}; snapshot {snapshot}")
        elif hit != expected:
            self.count["hits between commit and late delete"] += 1

    # ---- ways to read -----------------------------------------------------------------------------------------------

    def read(self, actor):
        """Entries and rows in one statement, or in several of one snapshot."""
        if actor.keeps_snapshot and self.rng.random() < 0.6:
            yield from self.read_apart(actor)
        elif actor.in_block and self.rng.random() < 0.2:
            yield from self.read_by_cursor(actor)
        else:
            keys = self.some_keys()
            sql = READ[self.rng.choice(list(READ))]
            moment = self.now(actor)
            self.check(actor, actor.session.run(sql, *[keys] * sql.count("%s")), moment)
            yield

    def read_apart(self, actor):
        keys = self.some_keys()
        reads = []
        rows = None
        for _ in range(self.rng.randint(2, 4)):
            if rows is None and self.rng.random() < 0.4:
                rows = actor.session.run(READ_ROWS, keys)
            else:
                moment = self.now(actor)
                reads.append((actor.session.run(READ_CACHE, keys), moment))
            yield
        rows = rows or actor.session.run(READ_ROWS, keys)
        expected = {key: (value, snapshot) for key, value, snapshot in rows}
        for hits, moment in reads:
            self.check(actor, [(key, hit, *expected[key]) for key, hit in hits], moment)

    def read_by_cursor(self, actor):
        """The cursor's snapshot is older than the statement's that fetches."""
        actor.session.run_together("DECLARE reader NO SCROLL CURSOR FOR " + READ["get"], self.some_keys())
        for _ in range(self.rng.randint(1, 3)):
            yield
            moment = self.now(actor)
            self.check(actor, actor.session.run("FETCH 2 FROM reader"), moment)
        actor.session.run("CLOSE reader")
        yield

    def take(self, actor):
        """Acts at once on what all see now: the value may be newer than the snapshot, never older."""
        keys = [key for key in self.some(CACHED, 2) if actor.own.state(key) == "untouched"]
        moment = self.now(actor)
        for key, hit, expected, snapshot in actor.session.run(TAKE, keys):
            self.count["takes"] += hit is not None
            if hit is not None and model.judge(key, hit, expected, moment.deleted) == "stale":
                self.wrong("stale", key, hit, expected, actor, f"taken; snapshot {snapshot}")
        yield

    def long_reader(self, actor):
        """A snapshot that grows old; sometimes it also fills."""
        level = self.rng.choice(self.lasting_levels() or [READ_COMMITTED])
        yield from self.begin(actor, level, self.rng.random() < 0.6)
        actor.session.run("SELECT count(*) FROM stale_reads.item")
        yield
        for _ in range(self.rng.randint(2, 10)):
            yield from self.choice(((self.read, 4), (self.fill, 1), (self.rest, 2)))(actor)
        yield from self.commit(actor)

    def parallel_read(self, actor):
        """In a parallel worker."""
        version = actor.session.connection.info.server_version
        name = "debug_parallel_query" if version >= 160000 else "force_parallel_mode"
        yield from self.begin(actor, self.some_level(), self.rng.random() < 0.5)
        actor.session.run(f"SET LOCAL {name} = on")
        for _ in range(self.rng.randint(1, 5)):
            moment = self.now(actor)
            self.check(actor, actor.session.run(READ["get"], self.some_keys()), moment)
            yield
        yield from self.commit(actor)

    def shared_snapshot(self, actor):
        """Another connection reads under a snapshot that this one has exported."""
        levels = self.lasting_levels()
        if not levels:
            return
        level = self.rng.choice(levels)
        yield from self.begin(actor, level, False)
        snapshot = actor.session.value("SELECT pg_export_snapshot()")
        for _ in range(self.rng.randint(1, 4)):
            yield from self.rest(actor)
            self.read_under(snapshot, level)
        yield from self.commit(actor)

    def read_under(self, snapshot, level):
        """In one step, so that the helper is never met in a block."""
        reader = Actor(self.helpers[0], level, False)
        reader.enter(level, True)
        moment = self.now(reader)
        reader.session.run(f"BEGIN ISOLATION LEVEL {level}, READ ONLY")
        try:
            reader.session.run(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        except psycopg.errors.InvalidParameterValue:
            reader.session.recover()  # the other one's backend was killed
            return
        rows = reader.session.run(READ["get"], self.some_keys())
        reader.session.run("COMMIT")
        self.check(reader, rows, moment)

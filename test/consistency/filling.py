"""Scripts that compute a value and store it, in every way that may be relied on."""

from actors import Cast
from model import CACHED, LATE_KEYS

# Each tells whether the key is missing, and leaves its miss behind.
MISS = (
    "SELECT cache_get(%s) IS NULL",
    "SELECT count(*) = 0 FROM cache_get_many(ARRAY[%s])",
    "SELECT NOT found FROM cache_entry(%s)",
    "SELECT NOT cache_exists(%s)",
    "SELECT cache_ttl(%s) IS NULL",
)
COMPUTE = "SELECT value::text FROM stale_reads.expected WHERE key = %s"
MISS_AND_COMPUTE = "SELECT cache_get(key) IS NULL, value::text FROM stale_reads.expected WHERE key = %s"
MISS_BY_CURSOR = """DECLARE filler NO SCROLL CURSOR FOR
    SELECT key, cache_get(key) IS NULL, value::text FROM stale_reads.expected WHERE key = ANY(%s)"""
FILL_BY_CURSOR = """DECLARE filler NO SCROLL CURSOR FOR
    SELECT key, stale_reads.set_later(key, value, tags, 1, %s) FROM stale_reads.expected WHERE key = ANY(%s)"""
VERSION = "SELECT found, version FROM cache_entry(%s)"
VERSION_AND_COMPUTE = """SELECT c.version, e.value::text
    FROM stale_reads.expected e, cache_entry(e.key) c WHERE e.key = %s"""
STORE = "SELECT cache_set(%s, %s::jsonb, tags => %s::text[])"
STORE_IF_VERSION = "SELECT cache_set(%s, %s::jsonb, tags => %s::text[], if_version => %s)"
FILL = "SELECT key, cache_set(key, value, mode => %s, tags => tags) FROM stale_reads.expected WHERE key = ANY(%s)"
FILL_MANY = """SELECT cache_set_many(jsonb_object_agg(key, value), tags => %s::text[])
    FROM stale_reads.expected WHERE key = ANY(%s)"""
FILL_LATER = """SELECT stale_reads.set_later(key, value, tags, %s, %s)
    FROM stale_reads.expected WHERE key = %s"""


def store(session, key, value):
    return session.value(STORE, key, value, list(CACHED[key].tags))


def store_if_version(session, key, value, version):
    return session.value(STORE_IF_VERSION, key, value, list(CACHED[key].tags), version)


class Filling(Cast):
    def filled(self, actor, key, accepted, conditional=False):
        """Notes what a set returned: true, false, or None where that is not known of this key."""
        if accepted:
            self.count["fills accepted"] += 1
        elif conditional:
            self.count["fills refused by a condition"] += 1
        elif accepted is not None:
            self.count["fills refused"] += 1
        if actor.in_block and not (conditional and not accepted):
            actor.own.set(key, accepted)

    def fill(self, actor):
        ways = (
            (self.fill_at_once, 3),
            (self.fill_many_at_once, 1),
            (self.fill_by_steps, 4),
            (self.fill_after_joint_miss, 3),
            (self.fill_later, 2),
            (self.miss_by_cursor, 1),
            (self.fill_by_cursor, 2),
            (self.fill_by_version, 4),
        )
        yield from self.choice(ways)(actor)

    def fill_at_once(self, actor, keys=None):
        mode = "always" if keys else self.choice((("always", 4), ("if_absent", 1), ("if_present", 1)))
        for key, accepted in actor.session.run(FILL, mode, keys or self.some_keys()):
            self.filled(actor, key, accepted, mode != "always")
        yield

    def fill_many_at_once(self, actor):
        keys = [key for key in self.some_keys() if not CACHED[key].tags] or ["item:0"]
        stored = actor.session.value(FILL_MANY, [], keys)
        for key in keys:
            self.filled(actor, key, True if stored == len(keys) else False if stored == 0 else None)
        yield

    def fill_by_steps(self, actor, key=None):
        """Miss, compute, store: a statement each. A key that is given is set in any case."""
        wanted, key = key, key or self.some_key()
        missing = actor.session.value(self.rng.choice(MISS), key)
        yield
        if not missing:
            # A value computed now would have no miss before it that protects it.
            if wanted:
                yield from self.fill_at_once(actor, [key])
            return
        value = actor.session.value(COMPUTE, key)
        yield
        self.filled(actor, key, store(actor.session, key, value))
        yield

    def fill_after_joint_miss(self, actor):
        """Miss and compute in one statement, store in a later one."""
        key = self.some_key()
        missing, value = actor.session.run(MISS_AND_COMPUTE, key)[0]
        if missing:
            yield from self.rest(actor)
            self.filled(actor, key, store(actor.session, key, value))
        yield

    def fill_later(self, actor):
        """Computed by the outer statement, stored by an inner one that has a newer snapshot."""
        key = self.some_key()
        work = self.rng.choice((10, 1000, 10000))
        accepted = actor.session.value(FILL_LATER, work, self.rng.random() < 0.5, key)
        if accepted is not None:
            self.filled(actor, key, accepted)
        yield

    def miss_by_cursor(self, actor):
        """Miss and compute under a cursor's snapshot, store under a newer one."""
        if not actor.in_block:
            return
        actor.session.run_together(MISS_BY_CURSOR, self.some_keys())
        yield from self.rest(actor)
        fetched = actor.session.run("FETCH 1 FROM filler")
        actor.session.run("CLOSE filler")
        yield
        for key, missing, value in fetched:
            if missing:
                self.filled(actor, key, store(actor.session, key, value))
        yield

    def fill_by_cursor(self, actor):
        """Computed under a cursor's snapshot, stored by an inner statement that has a newer one."""
        if not actor.in_block:
            return
        actor.session.run_together(FILL_BY_CURSOR, self.rng.random() < 0.5, self.some_keys())
        for _ in range(self.rng.randint(1, 3)):
            yield from self.rest(actor)
            for key, accepted in actor.session.run("FETCH 1 FROM filler"):
                if accepted is not None:
                    self.filled(actor, key, accepted)
        actor.session.run("CLOSE filler")
        yield

    def fill_by_version(self, actor):
        """Over two or three connections; the last one may be in a transaction of its own."""
        key = self.some_key()
        if actor.own.state(key) != "untouched":
            return  # the other connections don't see the own rows
        if actor.keeps_snapshot and key in LATE_KEYS:
            return  # nobody has said yet that the own snapshot is older than theirs
        first, second = self.rng.choice(self.helpers), self.rng.choice(self.helpers)
        if self.rng.random() < 0.5:
            _, version = first.run(VERSION, key)[0]
            yield
            value = second.value(COMPUTE, key)
        else:
            version, value = first.run(VERSION_AND_COMPUTE, key)[0]
        yield from self.rest(actor)
        self.filled(actor, key, store_if_version(actor.session, key, value, version), conditional=True)
        yield

    def carried_fill(self, actor):
        """Miss and compute under an old snapshot, store after its end, here or on another connection."""
        key = self.some_key()
        yield from self.begin(actor, self.some_level(), self.rng.random() < 0.5)
        actor.session.run("SELECT count(*) FROM stale_reads.item")
        for _ in range(self.rng.randint(1, 4)):
            yield from self.rest(actor)
        if self.rng.random() < 0.5:
            version, value = actor.session.run(VERSION_AND_COMPUTE, key)[0]
            yield from self.commit(actor)
            helper = self.rng.choice(self.helpers)
            self.filled(actor, key, store_if_version(helper, key, value, version), conditional=True)
        else:
            missing, value = actor.session.run(MISS_AND_COMPUTE, key)[0]
            yield from self.commit(actor)
            if missing:
                self.filled(actor, key, store(actor.session, key, value))
        yield

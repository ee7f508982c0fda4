"""Who takes part in the game of steps.py, and what all kinds of scripts need."""

import model
from database import Session
from model import CACHED, OwnEvents

READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE = "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"

# Errors that are part of the game: serialization failure, deadlock, no more room for serializable transactions'
# conflicts; our division by zero.
SERIALIZATION_FAILURES = ("40001", "40P01", "53200")
OUR_ERROR = "22012"


class Actor:
    """A connection, the script that it is in the middle of, and what its open transaction has done."""

    def __init__(self, session, level, serializable_reads):
        self.session = session
        self.default_level = level
        self.serializable_reads = serializable_reads
        self.script = None
        self.leave()

    def enter(self, level, read_only):
        self.level, self.read_only, self.in_block = level, read_only, True

    def leave(self):
        """The transaction is over."""
        self.level, self.read_only, self.in_block = self.default_level, False, False
        self.own = OwnEvents()

    @property
    def never_hits(self):
        return self.level == SERIALIZABLE and not self.read_only and not self.serializable_reads

    @property
    def keeps_snapshot(self):
        return self.in_block and self.level != READ_COMMITTED


class Prepared:
    """A prepared transaction. `uncertain`: the connection was lost before the server's word."""

    def __init__(self, gid, keys):
        self.gid = gid
        self.keys = keys
        self.uncertain = False


class Cast:
    """The actors of one process, and its choices. A script is a generator: others may act at each of its yields."""

    def __init__(self, client, actors):
        self.client = client
        self.rng = client.rng
        self.count = client.count
        self.prepared = []
        self.number = 0
        self.actors = [self.new_actor(f"{client.name}.{n}") for n in range(actors)]
        # Never in a block: for the steps of a fill that go over other connections, and to end other transactions.
        self.helpers = [Session(f"{client.name}.h{n}", client.history) for n in range(2)]

    def new_actor(self, name):
        level = self.rng.choice(self.client.levels)
        serializable_reads = self.rng.random() < 0.6
        settings = [f"default_transaction_isolation = '{level.lower()}'"]
        if serializable_reads:
            settings.append("pgcache.serializable_reads = on")
        return Actor(Session(name, self.client.history, settings), level, serializable_reads)

    # ---- choices ----------------------------------------------------------------------------------------------------

    def choice(self, weighted):
        """One of (what, weight)."""
        return self.rng.choices([what for what, _ in weighted], [weight for _, weight in weighted])[0]

    def some(self, population, most):
        population = list(population)
        return self.rng.sample(population, min(len(population), self.rng.randint(1, most)))

    def some_keys(self):
        """To read: more often those of one group, so that writers of it are met."""
        if self.rng.random() < 0.5:
            group = self.rng.randrange(model.GROUPS)
            return self.some(model.dependents(model.items_of_group(group)), 6)
        return self.some(CACHED, 6)

    def some_key(self):
        return self.rng.choice(list(CACHED))

    def some_level(self):
        return self.rng.choice(self.client.levels)

    def lasting_levels(self):
        """Those with one snapshot for the whole transaction."""
        return [level for level in self.client.levels if level != READ_COMMITTED]

    # ---- what every script needs ------------------------------------------------------------------------------------

    def begin(self, actor, level, read_only):
        actor.session.run(f"BEGIN ISOLATION LEVEL {level}, {'READ ONLY' if read_only else 'READ WRITE'}")
        actor.enter(level, read_only)
        yield

    def rest(self, _actor):
        for _ in range(self.rng.randint(1, 5)):
            yield

    def pending_keys(self, but):
        """Keys that an open or prepared transaction of another connection has invalidated or set."""
        keys = set()
        for actor in self.actors:
            if actor is not but:
                keys |= actor.own.announced()
        for prepared in self.prepared:
            keys |= prepared.keys
        return keys

    def wrong(self, kind, key, hit, expected, actor, remark):
        self.client.violation(kind, key, hit, expected, f"{actor.session.name}, {remark}", actor.level)

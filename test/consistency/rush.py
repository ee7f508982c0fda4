"""Many transactions in one call: reads, writes and fills at the server's own speed, in several backends at once.

What happens within a statement or a commit, such as the moment in which a commit is visible already and its
invalidations are not yet counted, is met here, because the processes interrupt each other anywhere.
"""

import psycopg

import model
from actors import OUR_ERROR, SERIALIZATION_FAILURES
from database import Session, was_killed

READ_MANY = "SELECT reads, hits, wrong FROM stale_reads.read_many(%s, %s)"
WRITE_MANY = "CALL stale_reads.write_many(%s, %s::int[], %s, NULL, NULL)"
READ_WATCHED = "SELECT reads, hits, wrong FROM stale_reads.read_watched(%s)"
WRITE_WATCHED = "CALL stale_reads.write_watched(%s, NULL, NULL)"
FETCH_MANY = "CALL stale_reads.fetch_many(%s, NULL, NULL, NULL)"
FILL_MANY = "CALL stale_reads.fill_many(%s, %s::text[], NULL, NULL)"

# (transactions, tags and keys that each may invalidate beside its own)
WRITES = ((20, 0), (20, 20), (5, 500), (2, 5000))


class Rusher:
    """One connection that calls them, one after another. `weights`: of reading, writing, filling."""

    def __init__(self, client, weights):
        self.client = client
        self.rng = client.rng
        self.count = client.count
        self.session = Session(client.name, client.history, ["pgcache.serializable_reads = on"])
        self.session.run("SELECT setseed(%s)", self.rng.random())
        self.calls = [self.read, self.write, self.fill]
        self.watched_calls = [self.read_watched, self.write_watched, self.fetch]
        self.weights = weights

    def step(self):
        try:
            self.level = self.rng.choice(self.client.levels)
            self.session.run(f"SET default_transaction_isolation = '{self.level.lower()}'")
            calls = self.watched_calls if self.rng.random() < 0.4 else self.calls
            self.rng.choices(calls, self.weights)[0]()
        except psycopg.Error as error:
            self.call_failed(error)

    def call_failed(self, error):
        if was_killed(self.session, error):
            self.session.open()
        elif error.sqlstate in SERIALIZATION_FAILURES:
            self.count["serialization failures"] += 1
        elif error.sqlstate != OUR_ERROR:
            self.client.violation("error", "", f"{error.sqlstate}: {error}", "no error", self.session.name, self.level)

    def keys(self):
        """Mostly those that the writers here change."""
        population = model.HOT_KEYS if self.rng.random() < 0.8 else model.EXACT_KEYS
        return self.rng.sample(population, self.rng.randint(1, 4))

    def read(self):
        ((reads, hits, wrong),) = self.session.run(READ_MANY, self.rng.randint(1, 60), self.keys())
        self.count["reads"] += reads
        self.count["hits"] += hits
        self.report(wrong)

    def report(self, wrong):
        for key, hit, expected, snapshot in wrong or ():
            kind = model.judge(key, hit, expected, None)
            who = f"{self.session.name}, snapshot {snapshot}"
            self.client.violation(kind, key, hit, expected, who, self.level)

    def write(self):
        items = list(model.HOT_ITEMS) if self.rng.random() < 0.7 else list(model.ITEMS)
        rounds, others = self.rng.choice(WRITES)
        ((commits, rollbacks),) = self.session.run(WRITE_MANY, rounds, items, others)
        self.count["commits"] += commits
        self.count["rollbacks"] += rollbacks

    def fill(self):
        ((accepted, refused),) = self.session.run(FILL_MANY, self.rng.randint(5, 40), self.keys())
        self.count["fills accepted"] += accepted
        self.count["fills refused"] += refused

    def read_watched(self):
        ((reads, hits, wrong),) = self.session.run(READ_WATCHED, self.rng.randint(1, 40))
        self.count["reads of a watched table"] += reads
        self.count["hits of a watched table"] += hits
        self.report(wrong)

    def write_watched(self):
        ((commits, rollbacks),) = self.session.run(WRITE_WATCHED, self.rng.choice((2, 5, 20)))
        self.count["commits to a watched table"] += commits
        self.count["rollbacks"] += rollbacks

    def fetch(self):
        ((fetches, compared, wrong),) = self.session.run(FETCH_MANY, self.rng.randint(5, 40))
        self.count["fetches"] += fetches
        self.count["fetches compared"] += compared
        self.report(wrong)

    def finish(self):
        self.session.close()

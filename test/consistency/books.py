"""Nothing is lost uncounted: keys that one client alone writes, so that it knows what must be there.

A set that returned true in a transaction that committed is there, until the client itself deletes or invalidates it,
or it is counted in cache_stats.dropped; and every refused set is counted in cache_stats.refused. This part runs by
itself, for another writer's key may share a slot of the cache's memory with one of these and end it rightly.
"""

import psycopg

from actors import SERIALIZATION_FAILURES
from database import Session, was_killed
from filling import STORE

KEYS_PER_CLIENT = 6
# For what a snapshot may miss that was taken while another transaction ended, though it is there.
TRIES = 50
FIRST = 4

GET = "SELECT cache_get(%s)::text"
SET_TAGGED = "SELECT cache_set(%s, '0', tags => ARRAY[%s])"
SET_TAGGED_IF_VERSION = "SELECT cache_set(%s, '0', tags => ARRAY[%s], if_version => %s)"
END = "SELECT cache_delete(%s), cache_invalidate(ARRAY[%s])"
DROPPED = "SELECT coalesce(sum(dropped), 0)::bigint FROM cache_stats WHERE database = current_database()"


def there(session, key):
    """What everybody finds under the key."""
    for _ in range(TRIES):
        value = session.value(GET, key)
        if value is not None:
            break
    return value


def settle(session, key):
    """What earlier transactions have left on the key's and the tag's slots may refuse a set, but not for ever."""
    for _ in range(TRIES):
        if session.value(SET_TAGGED, key, key):
            break
    session.run(END, key, key)


def private_keys(session, clients):
    """For each client some keys that share no slot of the cache's memory, each with a tag of the same name.

    A write to a key makes the version of a miss of another key worthless only if they share one.
    """
    wanted = clients * KEYS_PER_CLIENT
    candidates = [f"private:{n}" for n in range(wanted * 2)]
    for key in candidates:
        settle(session, key)
    versions = {key: session.value("SELECT version FROM cache_entry(%s)", key) for key in candidates}
    alone = []
    for key in candidates:
        if session.value(SET_TAGGED_IF_VERSION, key, key, versions[key]):
            alone.append(key)
        session.run(END, key, key)
    assert len(alone) >= wanted, f"{len(alone)} of {len(candidates)} keys have slots of their own"
    return [alone[n * KEYS_PER_CLIENT : (n + 1) * KEYS_PER_CLIENT] for n in range(clients)]


def first_wins(client):
    """Of several held sets with if_absent the first to commit is published, the others are counted."""
    sessions = [Session(f"first{n}", client.history) for n in range(FIRST)]
    before = sessions[0].value(DROPPED)
    accepted = []
    for n, session in enumerate(sessions):
        session.run("BEGIN")
        accepted.append(session.value("SELECT cache_set('first', %s::jsonb, mode => 'if_absent')", str(n)))
    for session in reversed(sessions):
        session.run("COMMIT")
    found = (all(accepted), there(sessions[0], "first"), sessions[0].value(DROPPED) - before)
    wanted = (True, str(FIRST - 1), FIRST - 1)
    if found != wanted:
        client.violation("lost", "first", found, wanted, f"{sessions[0].name}, if_absent by {FIRST} transactions", "")
    client.count["dropped by others' commit"] += FIRST - 1
    sessions[0].run("SELECT cache_delete('first')")
    for session in sessions:
        session.close()


class Bookkeeper:
    """One connection, its keys, and what it knows of them."""

    def __init__(self, client, keys):
        self.client = client
        self.rng = client.rng
        self.count = client.count
        self.keys = keys
        self.session = Session(client.name, client.history)
        self.helper = Session(client.name + "h", client.history)
        self.serial = 0
        # Of each key the values that may be there, None for a miss, and whether the entry has its tag.
        self.possible = {key: {None} for key in keys}
        self.tagged = {key: False for key in keys}
        self.just_published = set()
        # Of the open transaction: (key, value or None, tagged, whether it surely took effect; None for a tag).
        self.events = []
        self.savepoints = []

    def step(self):
        try:
            if self.rng.random() < 0.25:
                self.lone_statement()
            else:
                self.transaction()
            self.verify()
        except psycopg.Error as error:
            self.failed(error)

    def failed(self, error):
        if error.sqlstate in SERIALIZATION_FAILURES:
            self.count["serialization failures"] += 1
            self.roll_back(False)
        else:
            self.violation("error", "", f"{error.sqlstate}: {error}", "no error", "unexpected")

    def violation(self, kind, key, found, wanted, remark):
        self.client.violation(kind, key, found, wanted, f"{self.session.name}, {remark}", "")

    # ---- what is done -----------------------------------------------------------------------------------------------

    def lone_statement(self):
        key = self.rng.choice(self.keys)
        if self.rng.random() < 0.7:
            value, tagged = self.next_value(), self.rng.random() < 0.5
            if self.set(key, value, tagged):
                self.possible[key], self.tagged[key] = {value}, tagged
            else:
                self.possible[key].add(None)
        else:
            self.session.run("SELECT cache_delete(%s)", key)
            self.possible[key] = {None}

    def next_value(self):
        self.serial += 1
        return f'"{self.client.name} {self.serial}"'

    def set(self, key, value, tagged):
        accepted = self.session.value(STORE, key, value, [key] if tagged else [])
        self.count["private sets accepted" if accepted else "private sets refused"] += 1
        return accepted

    def transaction(self):
        self.events, self.savepoints = [], []
        self.session.run(f"BEGIN ISOLATION LEVEL {self.rng.choice(self.client.levels)}")
        operations = (self.put, self.delete, self.invalidate, self.savepoint, self.end_savepoint, self.look)
        has_number = False
        for _ in range(self.rng.randint(1, 8)):
            if self.rng.random() < 0.1:
                self.session.run("SELECT pg_current_xact_id()")
                has_number = True
            else:
                self.rng.choices(operations, (6, 2, 2, 2, 2, 3))[0]()
        self.rng.choices((self.commit, self.roll_back, self.prepare, self.kill), (60, 15, 20, 2))[0](has_number)

    def put(self):
        key, value, tagged = self.rng.choice(self.keys), self.next_value(), self.rng.random() < 0.5
        accepted = self.set(key, value, tagged)
        self.events.append((key, value if accepted else None, tagged, bool(accepted)))

    def delete(self):
        keys = self.rng.sample(self.keys, self.rng.randint(1, 3))
        self.session.run("SELECT cache_delete_many(%s)", keys)
        self.events += [(key, None, False, True) for key in keys]

    def invalidate(self):
        """Ends the entry only if it carries the tag."""
        key = self.rng.choice(self.keys)
        self.session.run("SELECT cache_invalidate(ARRAY[%s])", key)
        self.events.append((key, None, True, None))

    def savepoint(self):
        name = f"s{len(self.events)}_{len(self.savepoints)}"
        self.session.run(f"SAVEPOINT {name}")
        self.savepoints.append((name, len(self.events)))

    def end_savepoint(self):
        if not self.savepoints:
            return
        name, length = self.savepoints.pop()
        if self.rng.random() < 0.5:
            self.session.run(f"ROLLBACK TO SAVEPOINT {name}")
            del self.events[length:]
        self.session.run(f"RELEASE SAVEPOINT {name}")

    def look(self):
        """The own transaction reads what it holds."""
        key = self.rng.choice(self.keys)
        held, possible, _ = self.after(key, False)
        value = self.session.value(GET, key)
        self.count["reads"] += 1
        self.count["hits"] += value is not None
        if value not in possible and (held or value is not None):
            self.violation("lost" if value is None else "stale", key, value, possible, "own transaction")

    def after(self, key, has_number):
        """What the key's events make of it at a commit: (whether it is a held set, possible values, tagged).

        A transaction without an id has changed no row: where its own set was refused, or ended by itself, the entry
        that was there before may stay.
        """
        shared, shared_tagged = set(self.possible[key]), self.tagged[key]
        held, held_tagged = None, False
        for changed, value, tagged, sure in self.events:
            if changed != key:
                continue
            if sure is None:
                if held is not None and held_tagged:
                    held, shared = None, {None} if has_number else shared | {None}
                if shared_tagged:
                    shared = {None}
            elif value is not None:
                held, held_tagged = value, tagged
            elif sure:
                held, shared = None, {None}
            else:
                held, shared = None, {None} if has_number else shared | {None}
        return (True, {held}, held_tagged) if held is not None else (False, shared, shared_tagged)

    # ---- how it ends ------------------------------------------------------------------------------------------------

    def commit(self, has_number):
        self.session.run("COMMIT")
        self.count["commits"] += 1
        self.apply(has_number, published=True)

    def apply(self, has_number, published):
        for key, (held, possible, tagged) in {key: self.after(key, has_number) for key in self.keys}.items():
            if held and not published:
                possible, tagged = {None}, False
            elif held:
                self.just_published.add(key)
            self.possible[key], self.tagged[key] = possible, tagged

    def roll_back(self, _has_number):
        self.session.run("ROLLBACK")
        self.count["rollbacks"] += 1

    def prepare(self, _has_number):
        gid = f"{self.client.shared.gid_prefix}{self.client.name}.{self.serial}"
        holds = sum(self.after(key, True)[0] for key in self.keys)
        self.session.run(f"PREPARE TRANSACTION '{gid}'")
        self.count["prepared transactions"] += 1
        self.count["dropped by PREPARE"] += holds
        self.verify()
        commits = self.rng.random() < 0.6
        self.helper.run(f"{'COMMIT' if commits else 'ROLLBACK'} PREPARED '{gid}'")
        if commits:
            self.apply(True, published=False)
        else:
            self.count["rollbacks"] += 1

    def kill(self, _has_number):
        self.helper.run("SELECT pg_terminate_backend(%s, 10000)", self.session.pid)
        self.count["killed backends"] += 1
        try:
            self.session.run("COMMIT")
        except psycopg.Error as error:
            if not was_killed(self.session, error):
                raise
        self.session.open()

    # ---- the check --------------------------------------------------------------------------------------------------

    def verify(self):
        """By the other connection, which sees what everybody sees."""
        for key in self.keys:
            possible = self.possible[key]
            value = self.helper.value(GET, key) if None in possible else there(self.helper, key)
            self.count["private keys verified"] += 1
            if value is None and key in self.just_published:
                # Rightly only if it was counted: the sum is compared at the end.
                self.count["private sets dropped at commit"] += 1
                self.possible[key] = {None}
            elif value not in possible:
                self.violation("lost" if value is None else "stale", key, value, possible, "private")
            elif value is not None:
                self.possible[key] = {value}
        self.just_published.clear()

    def finish(self):
        for key in self.keys:
            self.session.run("SELECT cache_delete(%s)", key)
        self.session.close()
        self.helper.close()

"""Nothing is lost uncounted: keys that one client alone writes, so that it knows what must be there.

A set that returned true in a transaction that committed is there, until the client itself deletes or invalidates it, or it
is counted in cache_stats.dropped; and every refused set is counted in cache_stats.refused. This part runs by itself, for
another writer's key may share a slot of the cache's memory with one of these and drop it rightly.
"""

import psycopg

from actors import SERIALIZATION_FAILURES
from database import Session, was_killed
from filling import STORE

KEYS_PER_CLIENT = 6
# For what a snapshot may miss that was taken while another transaction ended, though it is there.
TRIES = 50


def private_keys(session, clients):
    """For each client some keys that share no slot of the cache's memory, each with a tag of the same name.

    A write to a key makes the version of a miss of another key worthless only if they share one.
    """
    wanted = clients * KEYS_PER_CLIENT
    candidates = [f"private:{n}" for n in range(wanted * 2)]
    for key in candidates:
        settle(session, key)
    versions = {key: session.run("SELECT version FROM cache_entry(%s)", key)[0][0] for key in candidates}
    alone = []
    for key in candidates:
        stored = session.value(
            "SELECT cache_set(%s, '0', tags => ARRAY[%s], if_version => %s)", key, key, versions[key]
        )
        session.run("SELECT cache_delete(%s), cache_invalidate(ARRAY[%s])", key, key)
        if stored:
            alone.append(key)
    assert len(alone) >= wanted, f"{len(alone)} of {len(candidates)} keys have slots of their own"
    return [alone[n * KEYS_PER_CLIENT : (n + 1) * KEYS_PER_CLIENT] for n in range(clients)]


def settle(session, key):
    """What earlier transactions have left on the key's and the tag's slots may refuse a set, but not for ever."""
    for _ in range(TRIES):
        if session.value("SELECT cache_set(%s, '0', tags => ARRAY[%s])", key, key):
            break
    session.run("SELECT cache_delete(%s), cache_invalidate(ARRAY[%s])", key, key)


def first_wins(count, history, violation):
    """Of several held sets with if_absent that all returned true the first to commit is published, the others are counted."""
    sessions = [Session(f"first{n}", history) for n in range(4)]
    before = dropped(sessions[0])
    for n, session in enumerate(sessions):
        session.run("BEGIN")
        if not session.value("SELECT cache_set('first', %s::jsonb, mode => 'if_absent')", str(n)):
            violation("lost", "first", "false", "true", "nobody has published yet", "READ COMMITTED")
    for session in reversed(sessions):
        session.run("COMMIT")
    value = there(sessions[0], "first")
    counted = dropped(sessions[0]) - before
    if value != "3" or counted != 3:
        violation("lost", "first", f"{value}, {counted} dropped", "3, 3 dropped", "if_absent by four transactions", "READ COMMITTED")
    count["dropped by others' commit"] += 3
    for session in sessions:
        session.run("SELECT cache_delete('first')")
        session.close()


def there(session, key):
    """What everybody finds under the key."""
    for _ in range(TRIES):
        value = session.value("SELECT cache_get(%s)::text", key)
        if value is not None:
            break
    return value


def dropped(session):
    return session.value("SELECT coalesce(sum(dropped), 0)::bigint FROM cache_stats WHERE database = current_database()")


class Frame:
    """What the transaction has done to one key, undone by savepoints."""

    def __init__(self):
        self.events = []  # (key, value or None, tagged, sure)
        self.savepoints = []


class Bookkeeper:
    """One connection and its keys."""

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

    def step(self):
        try:
            if self.rng.random() < 0.25:
                self.lone_statement()
            else:
                self.transaction()
            self.verify(self.keys)
        except psycopg.Error as error:
            self.failed(error)

    def failed(self, error):
        self.frame = None
        if error.sqlstate in SERIALIZATION_FAILURES:
            self.count["serialization failures"] += 1
            self.session.run("ROLLBACK")
            self.count["rollbacks"] += 1
        else:
            self.client.violation("error", "", f"{error.sqlstate}: {error}", "no error", self.session.name, "")

    # ---- what is done -----------------------------------------------------------------------------------------------

    def next_value(self):
        self.serial += 1
        return f'"{self.client.name} {self.serial}"'

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

    def set(self, key, value, tagged):
        accepted = self.session.value(STORE, key, value, [key] if tagged else [])
        self.count["private sets accepted" if accepted else "private sets refused"] += 1
        return accepted

    def transaction(self):
        level = self.level = self.rng.choice(self.client.levels)
        self.frame = Frame()
        self.session.run(f"BEGIN ISOLATION LEVEL {level}")
        has_number = False
        for _ in range(self.rng.randint(1, 8)):
            operation = self.rng.choices(
                (self.put, self.delete, self.invalidate, self.savepoint, self.end_savepoint, self.look, self.take_number),
                (6, 2, 2, 2, 2, 3, 2),
            )[0]
            has_number |= bool(operation())
        end = self.rng.choices((self.commit, self.roll_back, self.prepare, self.kill), (60, 15, 20, 2))[0]
        end(has_number)

    def put(self):
        key, value, tagged = self.rng.choice(self.keys), self.next_value(), self.rng.random() < 0.5
        accepted = self.set(key, value, tagged)
        self.frame.events.append((key, value if accepted else None, tagged, bool(accepted)))

    def delete(self):
        keys = self.rng.sample(self.keys, self.rng.randint(1, 3))
        self.session.run("SELECT cache_delete_many(%s)", keys)
        self.frame.events += [(key, None, False, True) for key in keys]

    def invalidate(self):
        """Ends the entry only if it carries the tag."""
        key = self.rng.choice(self.keys)
        self.session.run("SELECT cache_invalidate(ARRAY[%s])", key)
        self.frame.events.append((key, None, True, None))

    def savepoint(self):
        name = f"s{len(self.frame.events)}_{len(self.frame.savepoints)}"
        self.session.run(f"SAVEPOINT {name}")
        self.frame.savepoints.append((name, len(self.frame.events)))

    def end_savepoint(self):
        if not self.frame.savepoints:
            return
        name, length = self.frame.savepoints.pop()
        if self.rng.random() < 0.5:
            self.session.run(f"RELEASE SAVEPOINT {name}")
        else:
            self.session.run(f"ROLLBACK TO SAVEPOINT {name}")
            self.session.run(f"RELEASE SAVEPOINT {name}")
            del self.frame.events[length:]

    def take_number(self):
        self.session.run("SELECT pg_current_xact_id()")
        return True

    def look(self):
        """The own transaction reads what it holds."""
        key = self.rng.choice(self.keys)
        held, possible, _ = self.after(key, False)
        value = self.session.value("SELECT cache_get(%s)::text", key)
        self.count["reads"] += 1
        self.count["hits"] += value is not None
        # At READ COMMITTED it is gone once others have invalidated a neighbour in its slot; the commit will drop it.
        if value not in possible and value is not None or value is None and held and self.level != "READ COMMITTED":
            self.client.violation("lost" if value is None else "stale", key, value, possible, f"{self.session.name}, own transaction", "")

    def after(self, key, has_number):
        """What the key's events make of it at a commit: (whether it is a held set, possible values, tagged).

        A transaction without an id has changed no row: where its own set was refused, or ended by itself, the entry that
        was there before may stay.
        """
        shared, shared_tagged = set(self.possible[key]), self.tagged[key]
        held, held_tagged = None, False
        for changed, value, tagged, sure in self.frame.events:
            if changed != key:
                continue
            if sure is None:  # a tag
                ended = held is not None and held_tagged
                if ended:
                    held = None
                    shared = {None} if has_number else shared | {None}
                if shared_tagged:
                    shared = {None}
            elif sure and value is not None:
                held, held_tagged = value, tagged
            elif sure:
                held, shared = None, {None}
            else:  # a refused set
                held, shared = None, {None} if has_number else shared | {None}
        return (True, {held}, held_tagged) if held is not None else (False, shared, shared_tagged)

    # ---- how it ends ------------------------------------------------------------------------------------------------

    def commit(self, has_number):
        self.session.run("COMMIT")
        self.count["commits"] += 1
        self.apply(has_number, published=True)

    def apply(self, has_number, published):
        after = {key: self.after(key, has_number) for key in self.keys}
        for key, (held, possible, tagged) in after.items():
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
        self.verify(self.keys)
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

    def verify(self, keys):
        """From the other connection, which sees what everybody sees."""
        for key in keys:
            possible = self.possible[key]
            if None in possible:
                value = self.helper.value("SELECT cache_get(%s)::text", key)
            else:
                value = there(self.helper, key)
            self.count["private keys verified"] += 1
            if value is None and key in self.just_published:
                # Rightly only if it was counted: the sum is compared at the end.
                self.count["private sets dropped at commit"] += 1
                self.possible[key] = {None}
            elif value not in possible:
                kind = "lost" if value is None else "stale"
                self.client.violation(kind, key, value, sorted(possible, key=str), f"{self.session.name}, private", "")
            elif value is not None:
                self.possible[key] = {value}
        self.just_published.clear()

    def finish(self):
        for key in self.keys:
            self.session.run("SELECT cache_delete(%s)", key)
        self.session.close()
        self.helper.close()

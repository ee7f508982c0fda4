"""Transactions on several connections, one statement of one of them at a time.

A director holds some connections, each in the middle of a script, and lets a random one of them take its next step. So
open transactions, prepared ones, old snapshots and half-done fills lie beside each other for long, in every order; the
director knows exactly what is open when a reader hits. Other directors do the same at the same time, on the same rows.
"""

import psycopg

from actors import OUR_ERROR, SERIALIZATION_FAILURES
from database import was_killed
from filling import Filling
from reading import Reading
from writing import Writing

ACTORS = 6


class Director(Reading, Filling, Writing):
    def __init__(self, client):
        super().__init__(client, ACTORS)

    def step(self):
        actor = self.rng.choice(self.actors)
        if actor.script is None:
            actor.script = self.next_script(actor)
        try:
            next(actor.script)
        except StopIteration:
            actor.script = None
        except psycopg.Error as error:
            self.statement_failed(actor, error)

    def statement_failed(self, actor, error):
        """The script ends; the connection goes on, or is opened anew."""
        actor.script = None
        sessions = [actor.session, *self.helpers]
        if any(was_killed(session, error) for session in sessions):
            pass
        elif error.sqlstate in SERIALIZATION_FAILURES:
            self.count["serialization failures"] += 1
        elif error.sqlstate != OUR_ERROR:
            self.wrong("error", "", f"{error.sqlstate}: {error}", "no error", actor, "unexpected")
        for session in sessions:
            self.count["rollbacks"] += session.recover()
        actor.leave()

    def finish(self):
        """Ends all transactions and connections."""
        for actor in self.actors:
            actor.session.close()
        try:
            for prepared in list(self.prepared):
                self.end_prepared(prepared)
        except psycopg.Error:
            pass  # killed just now; who prepares the next part ends what is left
        for helper in self.helpers:
            helper.close()

    def next_script(self, actor):
        scripts = (
            (self.transaction, 40),
            (self.read, 30),
            (self.fill, 30),
            (self.take, 1),
            (self.long_reader, 8),
            (self.carried_fill, 10),
            (self.lone_write, 8),
            (self.late_write, 6),
            (self.end_some_prepared, 6),
            (self.pile_of_prepared, 1),
            (self.shared_snapshot, 1),
            (self.parallel_read, 0.3),
            (self.kill, 0.4),
        )
        return self.choice(scripts)(actor)

    def transaction(self, actor):
        """Some of everything, then a random end."""
        read_only = self.rng.random() < 0.15
        yield from self.begin(actor, self.some_level(), read_only)
        steps = [
            (self.read, 3),
            (self.fill, 2),
            (self.rest, 2),
            (self.save, 2),
            (self.end_savepoint, 2),
            (self.fail_inside, 0.5),
            (self.invalidate_some, 1),
            (self.take, 0.3),
        ]
        if not read_only:
            steps += [(self.update, 5), (self.see_to_open_keys, 2), (self.take_number, 1)]
        for _ in range(self.rng.randint(1, 9)):
            yield from self.choice(steps)(actor)
        ends = [(self.commit, 60), (self.roll_back, 12), (self.fail, 4)]
        if self.may_prepare():
            ends.append((self.prepare, 20))
        yield from self.choice(ends)(actor)

    def kill(self, actor):
        """Ends the backend of another connection in the middle of its transaction, or, sometimes, of any client."""
        victims = [other for other in self.actors if other is not actor and other.session.in_transaction]
        helper = self.rng.choice(self.helpers)
        if victims and self.rng.random() < 0.7:
            pid = self.rng.choice(victims).session.pid
        else:
            pid = helper.value(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND pid <> pg_backend_pid() "
                "AND state <> 'idle' ORDER BY random() LIMIT 1",
                helper.application,
            )
        if pid is not None and helper.value("SELECT pg_terminate_backend(%s, 10000)", pid):
            self.count["killed backends"] += 1
        yield

"""Connections to the server that the PG* variables name, and the tables that all clients share."""

import collections
import pathlib
import time

import psycopg

import model

APPLICATION = "stale_reads"

# A shutdown of our own making; what the server says while it recovers from a crash is not among them.
KILLED = ("57P01", None)
CRASHED = ("57P02", "57P03")


class ServerCrashed(Exception):
    pass


class History:
    """The last operations of a process, with a clock that all processes share."""

    def __init__(self, size=300):
        self.operations = collections.deque(maxlen=size)

    def add(self, started, name, sql, parameters, outcome):
        self.operations.append((started, time.monotonic(), name, sql, parameters, outcome))

    def lines(self):
        """(time, text) of each operation."""
        for started, ended, name, sql, parameters, outcome in self.operations:
            text = f"{name:10} {shortened(sql, 110)} {shortened(parameters, 150)} -> {shortened(outcome, 150)}"
            yield started, f"{started:.6f} {(ended - started) * 1000:7.3f} ms {text}"


def shortened(value, length):
    text = " ".join(str(value).split())
    return text if len(text) <= length else text[: length - 20] + " … " + text[-17:]


class Session:
    """A connection that remembers what it ran, and can be opened again after its backend was killed."""

    def __init__(self, name, history, settings=(), application=APPLICATION):
        self.name = name
        self.history = history
        self.settings = settings
        self.application = application
        self.open()

    def open(self):
        try:
            self.connection = psycopg.connect(
                "", autocommit=True, application_name=self.application, prepare_threshold=None
            )
            for setting in ("client_min_messages = error", "synchronous_commit = off", *self.settings):
                self.connection.execute(f"SET {setting}")
        except psycopg.OperationalError as error:
            raise ServerCrashed(str(error)) from error
        self.pid = self.connection.info.backend_pid
        self.history.add(time.monotonic(), self.name, f"connected, pid {self.pid}", "", "")

    def close(self):
        self.connection.close()

    @property
    def is_closed(self):
        return self.connection.closed

    @property
    def in_transaction(self):
        return self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def run(self, sql, *parameters):
        """All rows of one statement, as a prepared one if it has parameters."""
        prepare = bool(parameters)
        return self.run_by(lambda: self.connection.execute(sql, parameters or None, prepare=prepare), sql, parameters)

    def run_together(self, sql, *parameters):
        """Several statements in one message, which the server runs as one transaction; the last one's rows."""
        return self.run_by(lambda: psycopg.ClientCursor(self.connection).execute(sql, parameters), sql, parameters)

    def run_pipelined(self, *statements):
        """Several statements that the server runs as one transaction, each sent by itself."""

        def run_all():
            with self.connection.pipeline():
                for sql, parameters in statements:
                    cursor = self.connection.execute(sql, parameters)
            return cursor

        return self.run_by(run_all, "; ".join(sql for sql, _ in statements), [p for _, p in statements])

    def run_by(self, execute, sql, parameters):
        started = time.monotonic()
        try:
            cursor = execute()
            while cursor.nextset():
                pass
            rows = cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            self.history.add(started, self.name, sql, parameters, f"{error.sqlstate} {error}")
            if error.sqlstate in CRASHED or "crash of another server process" in str(error):
                raise ServerCrashed(str(error)) from error
            raise
        self.history.add(started, self.name, sql, parameters, rows)
        return rows

    def recover(self):
        """Opens the connection if it was lost, ends its transaction if it is in one. Whether it was."""
        if not self.is_closed and not self.in_transaction:
            return False
        if not self.is_closed:
            try:
                self.run("ROLLBACK")
                return True
            except psycopg.Error as error:
                if not was_killed(self, error):
                    raise
        self.open()
        return True

    def value(self, sql, *parameters):
        rows = self.run(sql, *parameters)
        return rows[0][0] if rows else None


def was_killed(session, error):
    """Whether the error is what a terminated backend leaves."""
    return session.is_closed and error.sqlstate in KILLED


def create_schema(session):
    """Anew, whatever an interrupted run has left."""
    for gid in prepared_names(session, APPLICATION):
        session.run(f"ROLLBACK PREPARED '{gid}'")
    session.run("CREATE EXTENSION IF NOT EXISTS pgcache")
    for name in ("schema.sql", "watched.sql"):
        sql = pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8")
        session.run_together(sql.replace("%", "%%"))
    last = max(model.LATE_ITEMS)
    session.run("INSERT INTO stale_reads.item SELECT id, 1, 'plain' FROM generate_series(0, %s) id", last)
    for entry in model.CACHED.values():
        row = (entry.key, list(entry.items), list(entry.tags))
        session.run("INSERT INTO stale_reads.cached VALUES (%s, %s, %s::text[])", *row)
    session.run("SELECT cache_clear()")
    session.run("SELECT cache_stats_reset()")


def drop_schema(session):
    session.run("DROP SCHEMA IF EXISTS stale_reads CASCADE")
    session.run("SELECT cache_clear()")


STATISTICS = ("hits", "misses", "sets", "deletes", "evictions", "refused", "dropped")


def statistics(session):
    """This database's counters."""
    row = session.run(f"SELECT {', '.join(STATISTICS)} FROM cache_stats WHERE database = current_database()")
    return dict(zip(STATISTICS, row[0])) if row else dict.fromkeys(STATISTICS, 0)


def prepared_names(session, prefix):
    """Of the prepared transactions of this database whose names begin so."""
    rows = session.run(
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, %s)", prefix
    )
    return [gid for (gid,) in rows]

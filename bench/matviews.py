"""The part about materialized views: what schedules cost that have nothing to do, and what writers pay for them."""

import re
import statistics
import time

from processes import cpu_fields, run, say

VIEWS = 1000
IDLE_SECONDS = 30
ROWS = 10_000

SETUP = f"""
SET client_min_messages = warning;
CREATE EXTENSION pgcache;
CREATE TABLE counted (id int PRIMARY KEY, visits int NOT NULL) WITH (fillfactor = 50);
INSERT INTO counted SELECT n, 0 FROM generate_series(1, {ROWS}) n;
"""
VIEWS_SETUP = f"""
SET client_min_messages = warning;
CREATE TABLE shown AS SELECT n AS id, n % 10 AS team FROM generate_series(1, 1000) n;
DO $$ BEGIN
    FOR n IN 1..{VIEWS} LOOP
        EXECUTE format('CREATE MATERIALIZED VIEW view_%s AS SELECT team, count(*) FROM shown GROUP BY team WITH NO DATA', n);
    END LOOP;
END $$;
"""
SCHEDULE = f"SET client_min_messages = warning; SELECT count(matview_schedule(format('view_%s', n)::regclass, every => '10000 days')) FROM generate_series(1, {VIEWS}) n"
AGAIN = "UPDATE pgcache.matview_states SET due = now(), next_run = now(); SELECT pgcache.notify_scheduler()"
UPDATE = f"\\set id random(1, {ROWS})\nUPDATE counted SET visits = visits + 1 WHERE id = :id;\n"


class Matviews:
    """Figures of (unchanged, refreshed) ms a view, ms of CPU a minute when idle, and pairs of rates of writers."""

    def __init__(self, bench):
        self.postgres = bench.postgres
        self.options = bench.options
        for database in ("matviews", "no_matviews"):
            self.postgres.psql("-c", f"CREATE DATABASE {database}", database="postgres")
            self.postgres.psql("-c", SETUP, database=database)
        self.postgres.psql("-c", VIEWS_SETUP, database="matviews")
        self.refreshed = self.round_of(SCHEDULE, "refreshed")
        self.unchanged = self.round_of(AGAIN, "unchanged")
        self.idle = self.idle_cpu()
        self.rates = [self.pair_of_rates(number) for number in range(self.options.rounds)]

    def ask(self, sql):
        return self.postgres.psql("-c", sql, database="matviews").strip()

    def round_of(self, start, outcome):
        """Milliseconds a view, from the start until all are done."""
        before = time.monotonic()
        self.ask(start)
        done = f"SELECT count(*) FROM matview_history WHERE outcome = '{outcome}'"
        while int(self.ask(done)) < VIEWS:
            time.sleep(0.05)
        return (time.monotonic() - before) * 1000 / VIEWS

    def idle_cpu(self):
        pid = self.ask("SELECT pgcache.scheduler_pid()")
        before = cpu_fields(pid)[1]
        time.sleep(IDLE_SECONDS)
        return (cpu_fields(pid)[1] - before) * 1000 * 60 / IDLE_SECONDS

    def rate(self, database):
        script = f"{self.options.work}/update.sql"
        with open(script, "w") as file:
            file.write(UPDATE)
        options = ["-n", "-M", "prepared", "-c", str(self.options.clients), "-j", str(self.options.threads)]
        output = run([*self.postgres.client("pgbench"), *options, "-T", str(self.options.seconds), "-f", script, database])
        return float(re.search(r"tps = ([0-9.]+)", output).group(1))

    def pair_of_rates(self, number):
        order = ("matviews", "no_matviews") if number % 2 == 0 else ("no_matviews", "matviews")
        rates = {database: self.rate(database) for database in order}
        return rates["matviews"], rates["no_matviews"]

    def rows(self):
        ours, theirs = (statistics.median(rates) for rates in zip(*self.rates))
        ratio = statistics.median(our / their for our, their in self.rates)
        yield (f"a scheduled view that has not changed, of {VIEWS:,}, beside its refresh", f"{self.unchanged:.2f} ms", f"{self.refreshed:.2f} ms", f"{self.unchanged / self.refreshed:.2f}", "", "")
        yield (f"CPU of the scheduler with {VIEWS:,} schedules that are not due", f"{self.idle:.0f} ms a minute", "", "", "", "")
        yield ("UPDATE of a row where a view is refreshed only if changed, beside a database without", f"{ours:,.0f} /s", f"{theirs:,.0f} /s", f"{ratio:.3f}", "", "")


    def explanation(self):
        yield (
            f"Materialized views: {VIEWS:,} of a table of 1,000 rows, in one database; from the call that makes all of them due until the last is done, "
            f"by {self.postgres.ask('SHOW pgcache.max_refresh_workers')} workers. The scheduler's CPU over {IDLE_SECONDS} s. Writers: pgbench, one row a transaction, "
            "synchronous_commit off."
        )


def compare_matviews(bench):
    say("Materialized views")
    return Matviews(bench)

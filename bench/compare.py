"""pgcache beside what the server itself costs, an UNLOGGED table, and Redis. Started by scripts/bench.

Every round runs all statements one after another, every other round backwards, so that whatever changes on the machine
meanwhile meets all of them. A ratio is taken within each round; what is reported is the median over the rounds. It
judges nothing by its exit status: it reports.
"""

import argparse
import datetime
import os
import platform
import random
import re
import statistics
import sys

from flags import compare_flags
from limits import compare_limits
from matviews import compare_matviews
from processes import say
from statements import (
    BENCH,
    DATABASE,
    FIRST_KEY,
    REDIS_KEY,
    PgbenchStatement,
    Postgres,
    Redis,
    RedisStatement,
    run_rounds,
    script,
    warm_up,
)

TTL = "15 minutes"
KEYS_A_CALL = 100
# Arrays of keys come on pgbench's command line, which holds no more.
ARRAY_SCRIPTS = 100
ARRAYS_A_SCRIPT = 5


def statements(options):
    keys = (f"first={FIRST_KEY}", f"last={FIRST_KEY + options.keys - 1}")
    written = (*keys, f"value={options.value}", f"ttl={TTL}")
    seconds = ["EX", "900"]
    return [
        PgbenchStatement("SELECT 1", script("select_1")),
        PgbenchStatement("floor_get", script("floor_get"), definitions=keys),
        PgbenchStatement("cache_get", script("cache_get"), definitions=keys),
        PgbenchStatement("cache_fetch", script("cache_fetch"), definitions=keys),
        RedisStatement("Redis GET", ["GET", REDIS_KEY]),
        PgbenchStatement("table get", script("table_get"), definitions=keys),
        PgbenchStatement("floor_set", script("floor_set"), definitions=written),
        PgbenchStatement("cache_set", script("cache_set"), definitions=written),
        PgbenchStatement("floor_set in a writing transaction", script("floor_set_in_transaction"), definitions=written),
        PgbenchStatement("cache_set in a writing transaction", script("cache_set_in_transaction"), definitions=written),
        RedisStatement("Redis SET", ["SET", REDIS_KEY, options.value, *seconds]),
        PgbenchStatement("table set", script("table_set"), definitions=written),
        many_statement(options, "cache_get_many", ""),
        RedisStatement("Redis MGET", ["MGET", *[REDIS_KEY] * KEYS_A_CALL]),
        many_statement(options, "cache_get_many_text", "t"),
    ]


def many_statement(options, function, prefix):
    """Random keys, a hundred a call. pgbench can't make such arrays, so they are drawn beforehand: one for each statement
    of a hundred scripts, given as a parameter as a driver would."""
    draw = random.Random(1)
    paths, definitions = [], []
    for number in range(ARRAY_SCRIPTS):
        path = os.path.join(options.work, f"{function}_{number}.sql")
        with open(path, "w") as file:
            for call in range(ARRAYS_A_SCRIPT):
                name = f"keys_{number}_{call}"
                keys = (f"{prefix}{FIRST_KEY + draw.randrange(options.keys)}" for _ in range(KEYS_A_CALL))
                definitions.append(f"{name}={{{','.join(keys)}}}")
                file.write(f"SELECT key, value FROM {function}(:{name});\n")
        paths.append(path)
    return PgbenchStatement(f"{function}, {KEYS_A_CALL} keys", paths, ARRAYS_A_SCRIPT, definitions)


class Bench:
    def __init__(self, options):
        self.options = options
        self.postgres = Postgres(options)
        self.redis = Redis(options)
        self.samples = {}  # name: a sample for each round
        self.in_query = {}  # table: {expression: milliseconds of each round}
        self.invalidation = {}  # tag: milliseconds of each call, the first one being that which finds the entries
        self.tagged_bytes = []  # of an entry without tags, with one, with four
        self.limits = None
        self.flags = None
        self.matviews = None
        self.bulk_updates = []  # (milliseconds of the watched table's, of the other's)
        self.memory = []  # (what, bytes of pgcache for a million items, of Redis)
        self.notes = []

    def prepare(self):
        options = self.options
        self.postgres.psql("-c", f"CREATE DATABASE {DATABASE}", database="postgres")
        variables = {"first": FIRST_KEY, "keys": options.keys, "value": options.value}
        for name, value in variables.items():
            variables[name] = f"{name}={value}"
        given = [word for pair in variables.values() for word in ("-v", pair)]
        self.postgres.psql(*given, "-f", os.path.join(BENCH, "setup.sql"))
        self.redis.fill("1%012d", options.value, 0, options.keys - 1, 86_400)
        items = int(self.postgres.ask("SELECT items FROM cache_stats WHERE database = current_database()"))
        if items != 2 * options.keys:
            sys.exit(f"{items} of {2 * options.keys} entries fit into pgcache.memory")
        self.value_bytes = int(self.postgres.ask("SELECT length(current_setting('benchmark.value'))"))

    def compare_statements(self):
        todo = statements(self.options)
        warm_up(self, todo)
        self.postgres.ask("SELECT cache_stats_reset()")
        self.samples |= run_rounds(self, todo)
        hits, misses = self.postgres.ask(
            "SELECT hits, misses FROM cache_stats WHERE database = current_database()"
        ).split("|")
        hits_of_redis = self.redis.information("stats")
        self.notes.append(
            f"pgcache: {int(hits):,} hits, {int(misses):,} misses; "
            f"Redis: {int(hits_of_redis['keyspace_misses']):,} misses."
        )

    def compare_in_query(self):
        say("One call a row inside a query")
        items = self.options.items
        self.postgres.psql(
            "-v", f"items={items}", "-v", f"value={self.options.value}", "-f", os.path.join(BENCH, "setup_in_query.sql")
        )
        expressions = {"plain": "count(key)", "cache": "count(cache_get(key))", "floor": "count(floor_get(key))"}
        rounds = self.options.rounds * 3
        for table in ("random_keys", "hot_keys"):
            queries = [f"SELECT {expression} FROM {table};" for expression in expressions.values()]
            script = os.path.join(self.options.work, "in_query.sql")
            with open(script, "w") as file:
                file.write("SET max_parallel_workers_per_gather = 0;\nSET jit = off;\n")
                file.write("\n".join(queries) + "\n\\timing on\n" + "\n".join(queries * rounds) + "\n")
            output = self.postgres.psql("-f", script)
            counts = [int(line) for line in output.splitlines() if line.isdigit()]
            if set(counts) != {items}:
                sys.exit(f"{table}: only {min(counts)} of {items} keys are in the cache")
            times = [float(time) for time in re.findall(r"^Time: ([0-9.]+) ms", output, re.M)]
            self.in_query[table] = {name: times[i :: len(queries)] for i, name in enumerate(expressions)}

    def nanoseconds_above(self, table, expression, base):
        times = self.in_query[table]
        pairs = zip(times[expression], times[base])
        return statistics.median((one - other) * 1e6 / self.options.items for one, other in pairs)

    def compare_tags(self):
        say("Tags")
        items = self.options.items
        lines = self.postgres.psql("-v", f"items={items}", "-f", os.path.join(BENCH, "setup_tags.sql")).split()
        self.tagged_bytes = [float(line) for line in lines[:3]]
        if int(lines[3]) != items:
            sys.exit(f"only {lines[3]} of {items} tagged entries fit into pgcache.memory")
        calls = self.options.rounds * 10
        script = os.path.join(self.options.work, "tags.sql")
        with open(script, "w") as file:
            file.write("SELECT cache_invalidate('{other}');\n\\timing on\n")
            file.write("SELECT cache_invalidate('{few}');\nSELECT cache_invalidate('{many}');\n" * calls)
        times = [float(time) for time in re.findall(r"^Time: ([0-9.]+) ms", self.postgres.psql("-f", script), re.M)]
        self.invalidation = {"few": times[0::2], "many": times[1::2]}
        left = self.postgres.ask(f"SELECT count(*) FROM generate_series(1, {items}) AS n WHERE cache_exists('many:' || n)")
        if left != "0":
            sys.exit(f"{left} entries of an invalidated tag are still read")

    def compare_watches(self):
        say("Watches")
        self.postgres.psql("-f", os.path.join(BENCH, "setup_watches.sql"))
        update = "UPDATE {} SET visits = visits + 1;\n"
        clean = "\\timing off\nVACUUM watched, unwatched;\n\\timing on\n"
        script = os.path.join(self.options.work, "watches.sql")
        with open(script, "w") as file:
            for number in range(self.options.rounds * 2 + 1):
                tables = ("watched", "unwatched") if number % 2 == 0 else ("unwatched", "watched")
                file.write(clean + "".join(update.format(table) for table in tables))
        times = [float(time) for time in re.findall(r"^Time: ([0-9.]+) ms", self.postgres.psql("-f", script), re.M)]
        pairs = list(zip(times[0::2], times[1::2]))[1:]  # the first one warms up
        self.bulk_updates = [pair if number % 2 else pair[::-1] for number, pair in enumerate(pairs)]

    def compare_memory(self):
        say("Memory")
        items = self.options.items
        before = int(self.redis.information("memory")["used_memory"])
        self.redis.fill("user:%d:profile", self.options.value, 1, items, 86_400)
        redis = (int(self.redis.information("memory")["used_memory"]) - before) / items
        budget = int(self.postgres.ask("SELECT pg_size_bytes(current_setting('pgcache.memory'))"))
        for what, function in (("the same text", "cache_set_text"), ("as jsonb", "cache_set")):
            self.postgres.ask("SELECT cache_clear()")
            # Until it must evict; a few at a time, so that the last count is close.
            stored = 0
            while int(self.postgres.ask("SELECT evictions FROM cache_stats WHERE database = current_database()")) == 0:
                self.postgres.psql(
                    "-c",
                    f"SELECT count({function}('user:' || n || ':profile', current_setting('benchmark.value')"
                    f"{'::jsonb' if function == 'cache_set' else ''}, '1 day')) "
                    f"FROM generate_series({stored + 1}, {stored + 100_000}) AS n",
                )
                stored += 100_000
            held = int(self.postgres.ask("SELECT items FROM cache_stats WHERE database = current_database()"))
            self.memory.append((what, budget / held, redis))
            self.postgres.ask("SELECT cache_stats_reset()")

    # ---- the report --------------------------------------------------------------------------------------------------

    def median(self, name, what):
        values = [getattr(sample, what) for sample in self.samples[name]]
        return None if None in values else statistics.median(values)

    def ratio(self, ours, theirs):
        pairs = zip(self.samples[ours], self.samples[theirs])
        return statistics.median(our.rate / their.rate for our, their in pairs)

    def targets(self):
        """Rows of (what, ours, theirs, ratio, target, met)."""

        def compared(what, ours, theirs, target, factor=1):
            ratio = self.ratio(ours, theirs)
            rates = (f"{self.median(name, 'rate') * factor:,.0f} /s" for name in (ours, theirs))
            return (what, *rates, f"{ratio:.3f}", f"≥ {target}", met(ratio >= target))

        rows = []
        if "cache_get" in self.samples:
            many = f"cache_get_many, {KEYS_A_CALL} keys"
            many_text = f"cache_get_many_text, {KEYS_A_CALL} keys"
            rows += [
                compared("cache_get against the server's own cost", "cache_get", "floor_get", 0.95),
                compared("cache_set against the server's own cost", "cache_set", "floor_set", 0.93),
                compared(
                    "BEGIN, UPDATE, cache_set, COMMIT against the same with the server's own cost",
                    "cache_set in a writing transaction",
                    "floor_set in a writing transaction",
                    0.85,
                ),
                compared("a hit of cache_fetch against cache_get", "cache_fetch", "cache_get", 0.9),
                compared("cache_get against the UNLOGGED table", "cache_get", "table get", 1.2),
                compared("cache_set against the UNLOGGED table", "cache_set", "table set", 1.8),
                compared("cache_get against Redis GET", "cache_get", "Redis GET", 1.0),
                compared("cache_set against Redis SET", "cache_set", "Redis SET", 1.0),
                compared(f"keys: {many} a call, against Redis MGET", many, "Redis MGET", 1.0, KEYS_A_CALL),
                compared(f"keys: {many_text} a call, against Redis MGET", many_text, "Redis MGET", 1.0, KEYS_A_CALL),
            ]
        for table, what, target in (
            ("random_keys", f"{self.options.items:,} keys in random order", 300),
            ("hot_keys", f"1,000 keys repeated to {self.options.items:,}", 120),
        ):
            if table in self.in_query:
                ours = self.nanoseconds_above(table, "cache", "plain")
                floor = self.nanoseconds_above(table, "floor", "plain")
                what = f"a cache_get inside a query, {what}"
                rows.append((what, f"{ours:.0f} ns", f"{floor:.0f} ns", "", f"≤ {target} ns", met(ours <= target)))
        if self.invalidation:
            many, few = (statistics.median(self.invalidation[tag]) for tag in ("many", "few"))
            what = f"invalidating a tag of {self.options.items:,} entries, beside one of 10"
            worst = max(many, self.invalidation["many"][0])
            rows.append((what, f"{many:.3f} ms", f"{few:.3f} ms", f"{many / few:.2f}", "< 1 ms", met(worst < 1)))
            none, one, four = self.tagged_bytes
            worst = max(one - none, (four - none) / 4)
            rows.append(("memory of a tag of an entry", f"{worst:.1f} bytes", "", "", "≤ 4 bytes", met(worst <= 4)))
        if self.bulk_updates:
            ours, theirs = (statistics.median(times) for times in zip(*self.bulk_updates))
            ratio = statistics.median(our / their for our, their in self.bulk_updates)
            what = "UPDATE of 100,000 rows of a watched table against one with an empty trigger"
            rows.append((what, f"{ours:.0f} ms", f"{theirs:.0f} ms", f"{ratio:.2f}", "≤ 1.5", met(ratio <= 1.5)))
        if self.limits:
            rows += self.limits.rows(compared)
        if self.flags:
            rows += self.flags.rows(compared)
        if self.matviews:
            rows += self.matviews.rows()
        for what, ours, theirs in self.memory:
            what = f"memory of an item with a TTL, {what}"
            rows.append((what, f"{ours:.0f} bytes", f"{theirs:.0f} bytes", f"{ours / theirs:.2f}", "", ""))
        return rows

    def report(self):
        lines = ["| what | pgcache | peer | ratio | target | met? |", "|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(row) + " |" for row in self.targets()]
        if self.samples:
            lines += ["", "| statement | calls/s | p50 µs | p99 µs | server CPU µs | client CPU µs |", "|---|---|---|---|---|---|"]
        for name in self.samples:
            shown = [figure(self.median(name, what), digits) for what, digits in FIGURES]
            lines.append("| " + " | ".join([name, *shown]) + " |")
        return "\n".join([*lines, "", *self.explanation()])

    def explanation(self):
        options = self.options
        yield f"Medians of {options.rounds} rounds of {options.seconds} s, ratios taken within each round."
        yield (
            f"{options.clients} clients on unix sockets, one request at a time each; {options.keys:,} uniformly random keys, "
            f"values of {self.value_bytes} bytes of JSON, TTL {TTL}."
        )
        yield (
            f"Clients: pgbench -M prepared with {min(options.clients, options.threads)} threads; redis-benchmark with one. "
            "All share the machine's cores with the servers, so the clients' CPU counts too. "
            "CPU is per call, of all the server's processes."
        )
        yield (
            "The server's own cost is a function of the same signature that takes its arguments and returns a constant. "
            "The table is UNLOGGED, with an index on expires_at, autovacuum as it comes. "
            "Writing transactions do not wait for the disk (synchronous_commit off), which would hide what the cache costs."
        )
        if self.in_query:
            yield (
                "Inside a query: SELECT count(cache_get(key)) FROM keys, above SELECT count(key) FROM keys; one process, "
                "no JIT. The peer there is the function that returns a constant, in the same query."
            )
        if self.invalidation:
            yield (
                "A tag: SELECT cache_invalidate('{many}') from psql, round trip included, in turns with that of the ten; "
                "the median, and the first call, which is the one that ends the entries, is under the limit too."
            )
        if self.bulk_updates:
            yield (
                "A watched table: a key and a tag of each row; the other's trigger is empty, and has the same transition "
                "tables. One after the other, VACUUM before each pair; medians, ratios within each pair."
            )
        if self.limits:
            yield from self.limits.explanation()
        if self.flags:
            yield from self.flags.explanation()
        if self.matviews:
            yield from self.matviews.explanation()
        if self.memory:
            yield (
                "Memory: pgcache.memory by the entries that it holds when it is full, index and all; "
                "Redis' used_memory by its keys. Values of the same bytes."
            )
        yield from self.notes
        yield ""
        yield from machine(self)


FIGURES = (("rate", 0), ("p50", 0), ("p99", 0), ("server_cpu", 1), ("client_cpu", 1))


def met(yes):
    return "yes" if yes else "no"


def figure(value, digits):
    return "" if value is None else f"{value:,.{digits}f}"


def machine(bench):
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    redis = bench.redis.information("server")["redis_version"]
    settings = bench.postgres.ask(
        "SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) FROM pg_settings WHERE name IN "
        "('shared_buffers', 'fsync', 'synchronous_commit', 'pgcache.memory', 'autovacuum', 'huge_pages', 'io_method')"
    )
    yield f"- Machine: {len(os.sched_getaffinity(0))} cores of {model}, Linux {platform.release()}"
    yield f"- PostgreSQL {bench.postgres.ask('SHOW server_version')}: {settings}; else the defaults"
    yield f"- Redis {redis}: --save '' --appendonly no; else the defaults"
    yield f"- pgcache {bench.postgres.ask('SELECT pgcache.library_version()')}, {bench.options.revision}"
    yield f"- {datetime.date.today().isoformat()}, scripts/bench {bench.options.command}".rstrip()


def json_of(length):
    """A JSON object whose text has that many bytes."""
    empty = '{"id": 123456, "name": "John Doe", "plan": "team", "seen": ""}'
    return empty[:-2] + "x" * max(0, length - len(empty)) + empty[-2:]


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.split("\n")[0])
    for name in ("bindir", "data", "socket", "work", "revision", "command", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--only", required=True)
    for name in ("rounds", "seconds", "clients", "threads", "keys", "items", "value-bytes"):
        parser.add_argument(f"--{name}", required=True, type=int)
    options = parser.parse_args()
    options.only = options.only.split(",")
    options.value = json_of(options.value_bytes)
    return options


def main():
    options = parse()
    bench = Bench(options)
    bench.prepare()
    if "statements" in options.only:
        bench.compare_statements()
    if "in_query" in options.only:
        bench.compare_in_query()
    if "tags" in options.only:
        bench.compare_tags()
    if "watches" in options.only:
        bench.compare_watches()
    if "limits" in options.only:
        bench.limits = compare_limits(bench)
    if "flags" in options.only:
        bench.flags = compare_flags(bench)
    if "matviews" in options.only:
        bench.matviews = compare_matviews(bench)
    if "memory" in options.only:
        bench.compare_memory()
    with open(options.output, "w") as file:
        file.write(bench.report() + "\n")


main()

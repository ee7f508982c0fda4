"""The part about rate limits: a call beside what the server itself costs, and beside Redis with the same algorithm."""

import os

from statements import BENCH, FIRST_KEY, REDIS_KEY, PgbenchStatement, RedisStatement, run_rounds, script, warm_up

# So high that nearly all calls are allowed.
QUOTA = 100_000
PERIOD_SECONDS = 60
LIVE_KEYS = 200_000


class Limits:
    def __init__(self, bench):
        self.postgres = bench.postgres
        with open(os.path.join(BENCH, "gcra.lua")) as file:
            sha = bench.redis.cli("SCRIPT", "LOAD", file.read()).strip()
        last = FIRST_KEY + bench.options.keys - 1
        given = (f"first={FIRST_KEY}", f"last={last}", f"quota={QUOTA}", f"period={PERIOD_SECONDS} seconds")
        names = ("floor_rate_limit", "rate_limit", "floor_rate_limit_allowed", "rate_limit_allowed")
        todo = [PgbenchStatement(name, script(name), definitions=given) for name in names]
        arguments = ["EVALSHA", sha, "1", "limit:" + REDIS_KEY, str(QUOTA), str(PERIOD_SECONDS * 1_000_000), "1"]
        todo.append(RedisStatement("Redis GCRA", arguments))
        warm_up(bench, todo)
        bench.samples |= run_rounds(bench, todo)
        self.remembered = self.fill()
        self.bytes_per_cell = self.postgres.ask("SELECT bytes_per_cell FROM rate_limit_stats")
        self.memory = self.postgres.ask("SHOW pgcache.rate_limit_memory")

    def fill(self):
        """How many of so many keys are all remembered, and found no place, each with half of its quota taken."""
        keys = f"generate_series(1, {LIVE_KEYS}) n"
        self.postgres.ask(f"SELECT count(*) FROM {keys}, LATERAL rate_limit('live ' || n, 2, '1 day')")
        peeked = f"SELECT count(*) FROM {keys}, LATERAL rate_limit_peek('live ' || n, 2, '1 day') WHERE remaining = 1"
        return int(self.postgres.ask(peeked))

    def rows(self, compared):
        yield compared("rate_limit against the server's own cost", "rate_limit", "floor_rate_limit", 0.93)
        yield compared(
            "rate_limit_allowed against the server's own cost", "rate_limit_allowed", "floor_rate_limit_allowed", 0.95
        )
        yield compared("rate_limit against Redis with GCRA as a Lua script", "rate_limit", "Redis GCRA", 1.3)
        what = f"keys remembered of {LIVE_KEYS:,} live ones in {self.memory}"
        yield (what, f"{self.remembered:,}", "", "", f"{LIVE_KEYS:,}", "yes" if self.remembered == LIVE_KEYS else "no")
        small = float(self.bytes_per_cell) <= 64
        yield ("memory of a count", f"{self.bytes_per_cell} bytes", "", "", "≤ 64 bytes", "yes" if small else "no")

    def explanation(self):
        yield (
            f"Rate limits: {QUOTA:,} a minute for each key, so that calls are allowed; the same keys. Redis: bench/gcra.lua by "
            "EVALSHA. Memory of a count: pgcache.rate_limit_memory by the places in it."
        )


def compare_limits(bench):
    return Limits(bench)

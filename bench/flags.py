"""The part about feature flags: a call beside what the server itself costs, one call a row inside a query, and reading a
thousand flags."""

import os
import re
import statistics

from processes import say
from statements import BENCH, FIRST_KEY, PgbenchStatement, run_rounds, script, warm_up

IN_QUERY = {
    "constant": "count(*) FILTER (WHERE id IS NOT NULL)",
    "flag_enabled_for": "count(*) FILTER (WHERE flag_enabled_for('rollout', id))",
    "constant context": "count(*) FILTER (WHERE context IS NOT NULL)",
    "flag_enabled": "count(*) FILTER (WHERE flag_enabled('rollout', context))",
}
# As text: what a client that evaluates by itself would be sent, without sending it.
READ_ROWS = (
    "SELECT sum(length(f::text) + length(s::text)) FROM pgcache.flags f JOIN pgcache.flag_strategies s ON s.flag = f.id "
    "WHERE f.environment = 'many'"
)


class Flags:
    def __init__(self, bench):
        self.options = bench.options
        self.postgres = bench.postgres
        given = (f"items={self.options.items}",)
        self.postgres.psql(*(word for pair in given for word in ("-v", pair)), "-f", os.path.join(BENCH, "setup_flags.sql"))
        users = (f"first={FIRST_KEY}", f"last={FIRST_KEY + self.options.keys - 1}")
        names = ("floor_flag_enabled", "flag_enabled", "floor_flag_enabled_for", "flag_enabled_for")
        todo = [PgbenchStatement(name, script(name), definitions=users) for name in names]
        warm_up(bench, todo)
        bench.samples |= run_rounds(bench, todo)
        say("One flag a row inside a query")
        self.in_query = self.time_in_query()
        say("A thousand flags")
        self.compiling = self.time_compiling()

    def times(self, statements):
        """Milliseconds of each, run by one session."""
        path = os.path.join(self.options.work, "flags.sql")
        with open(path, "w") as file:
            file.write("SET max_parallel_workers_per_gather = 0;\nSET jit = off;\nSET pgcache.environment = 'default';\n")
            file.write("\\timing on\n" + ";\n".join(statements) + ";\n")
        return [float(time) for time in re.findall(r"^Time: ([0-9.]+) ms", self.postgres.psql("-f", path), re.M)]

    def time_in_query(self):
        queries = [f"SELECT {expression} FROM flag_users" for expression in IN_QUERY.values()]
        times = self.times(queries * (self.options.rounds * 3 + 1))[len(queries) :]
        return {name: times[i :: len(queries)] for i, name in enumerate(IN_QUERY)}

    def nanoseconds_above(self, expression, base):
        pairs = zip(self.in_query[expression], self.in_query[base])
        return statistics.median((one - other) * 1e6 / self.options.items for one, other in pairs)

    def time_compiling(self):
        """Pairs of milliseconds: reading the rows, and all flags asked for after one has changed, less the same again."""
        change = "UPDATE pgcache.flags SET enabled = enabled WHERE name = 'flag 1'"
        attributes = ", ".join(f'"attribute{number}": "x"' for number in range(1, 11))
        ask = f"SELECT count(*) FROM flag_evaluate_all('{{{attributes}}}')"
        statements = [READ_ROWS, change, ask, ask]
        rounds = self.options.rounds * 5 + 1
        times = self.times(["SET pgcache.environment = 'many'", *(statements * rounds)])[1:][len(statements) :]
        return [(times[i], times[i + 2] - times[i + 3]) for i in range(0, len(times), len(statements))]

    def rows(self, compared):
        yield compared("flag_enabled against the server's own cost", "flag_enabled", "floor_flag_enabled", 0.93)
        yield compared("flag_enabled_for against the server's own cost", "flag_enabled_for", "floor_flag_enabled_for", 0.93)
        for name, base, most in (("flag_enabled", "constant context", 300), ("flag_enabled_for", "constant", 150)):
            above = self.nanoseconds_above(name, base)
            what = f"{name} of a rollout inside a query over {self.options.items:,} users"
            yield (what, f"{above:.0f} ns", "", "", f"≤ {most} ns", "yes" if above <= most else "no")
        read, compiled = (statistics.median(times) for times in zip(*self.compiling))
        ratio = statistics.median(ours / theirs for theirs, ours in self.compiling)
        what = "1,000 flags with 10 constraints made ready by a session, against reading their rows as text"
        yield (what, f"{compiled:.1f} ms", f"{read:.1f} ms", f"{ratio:.2f}", "< 2", "yes" if ratio < 2 else "no")

    def explanation(self):
        yield (
            "Flags: a rollout of 50 % and random users; the context is made by jsonb_build_object in the statement, in a query it is "
            "a column. 1,000 flags: every operator in turn; the first flag_evaluate_all after a change, less the second, with "
            "every attribute, so reading, compiling and RE2's compiling are in it."
        )


def compare_flags(bench):
    return Flags(bench)

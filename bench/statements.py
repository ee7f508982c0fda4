"""What is measured: the servers, a statement's runs, and their figures."""

import glob
import os
import re
import resource
import sys
import time

from processes import cpu_fields, run, say

BENCH = os.path.dirname(os.path.abspath(__file__))
DATABASE = "benchmark"

# Keys have 13 digits: pgbench can make random numbers only, redis-benchmark always writes 12 digits, and a 1 stands first.
FIRST_KEY = 10**12
REDIS_KEY = "1__rand_int__"


# ---- programs --------------------------------------------------------------------------------------------------------


class Postgres:
    def __init__(self, arguments):
        self.arguments = arguments
        with open(os.path.join(arguments.data, "postmaster.pid")) as file:
            self.pid = int(file.readline())

    def client(self, program):
        return [os.path.join(self.arguments.bindir, program), "-h", self.arguments.socket, "-U", "postgres"]

    def psql(self, *options, database=DATABASE):
        return run([*self.client("psql"), "-d", database, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *options])

    def ask(self, sql):
        return self.psql("-c", sql).strip()

    def children(self):
        for name in os.listdir("/proc"):
            if name.isdigit() and (fields := cpu_fields(name)) and fields[0] == self.pid:
                yield fields

    def settled_cpu(self, backends):
        """Seconds of all server processes, once the benchmark's backends have ended and are counted."""
        deadline = time.monotonic() + 3
        while len(children := list(self.children())) > backends and time.monotonic() < deadline:
            time.sleep(0.02)
        _, own, ended = cpu_fields(self.pid)
        return own + ended + sum(fields[1] for fields in children)


class Redis:
    def __init__(self, arguments):
        self.socket = os.path.join(arguments.socket, "redis.sock")
        self.pid = int(self.information("server")["process_id"])

    def cli(self, *command):
        return run(["redis-cli", "-s", self.socket, *command])

    def information(self, section):
        lines = self.cli("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def cpu(self):
        return cpu_fields(self.pid)[1]

    def fill(self, key, value, first, last, seconds):
        """SET of the keys from first to last; `key` is a format of Lua's string.format."""
        script = (
            "for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do "
            "redis.call('SET', string.format(ARGV[3], n), ARGV[4], 'EX', ARGV[5]) end"
        )
        for start in range(first, last + 1, 10_000):
            self.cli("EVAL", script, "0", str(start), str(min(start + 9_999, last)), key, value, str(seconds))


# ---- measuring -------------------------------------------------------------------------------------------------------


class Sample:
    """One run of one statement: calls a second, latencies in µs, CPU µs a call of the server and of the client."""

    def __init__(self, rate, latencies, server_cpu, client_cpu):
        self.rate = rate
        self.p50, self.p99 = latencies
        self.server_cpu = server_cpu
        self.client_cpu = client_cpu


def client_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class PgbenchStatement:
    def __init__(self, name, scripts, calls=1, definitions=()):
        self.name = name
        self.scripts = scripts
        self.calls = calls  # statements in a script
        self.definitions = definitions

    def measure(self, bench, seconds):
        options = bench.options
        postgres = bench.postgres
        prefix = os.path.join(options.work, "latencies")
        command = [*postgres.client("pgbench"), "-n", "-M", "prepared", "-c", str(options.clients)]
        command += ["-j", str(min(options.clients, options.threads)), "-T", str(seconds)]
        # A sample of the latencies: writing down all of them would cost the client more than the calls.
        command += ["--log", f"--log-prefix={prefix}", "--sampling-rate=0.05"]
        for script in self.scripts:
            command += ["-f", script]
        for definition in self.definitions:
            command += ["-D", definition]
        backends = len(list(postgres.children()))
        server, client = postgres.settled_cpu(backends), client_seconds()
        output = run([*command, DATABASE])
        client = client_seconds() - client
        server = postgres.settled_cpu(backends) - server
        rate = float(re.search(r"^tps = ([0-9.]+)", output, re.M)[1]) * self.calls
        calls = int(re.search(r"actually processed: ([0-9]+)", output)[1]) * self.calls
        if not re.search(r"failed transactions: 0 ", output):
            sys.exit(f"{self.name}: transactions failed\n{output}")
        latencies = []
        for path in glob.glob(prefix + ".*"):
            with open(path) as file:
                latencies += [int(line.split()[2]) for line in file]
            os.unlink(path)
        return Sample(rate, percentiles(latencies, self.calls), server / calls * 1e6, client / calls * 1e6)


def percentiles(latencies, calls):
    # Of several calls in one script only the sum is known.
    if calls > 1 or len(latencies) < 100:
        return None, None
    latencies.sort()
    return latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]


class RedisStatement:
    def __init__(self, name, command):
        self.name = name
        self.command = command
        self.rate = None

    def measure(self, bench, seconds):
        # redis-benchmark counts requests, not time: as many as the last run says.
        requests = int(self.rate * seconds) if self.rate else 2_000
        options = bench.options
        command = ["redis-benchmark", "-s", bench.redis.socket, "-c", str(options.clients), "-n", str(requests)]
        command += ["-r", str(options.keys), "--csv", *self.command]
        server, client = bench.redis.cpu(), client_seconds()
        output = run(command)
        client = client_seconds() - client
        server = bench.redis.cpu() - server
        # The first field holds the command, quotes and all.
        fields = output.strip().splitlines()[-1].strip('"').split('","')[-7:]
        self.rate = float(fields[0])
        latencies = [float(fields[i]) * 1000 for i in (3, 5)]
        return Sample(self.rate, latencies, server / requests * 1e6, client / requests * 1e6)


def script(name):
    return [os.path.join(BENCH, f"{name}.sql")]


def run_rounds(bench, todo):
    """A sample of each for each round, by names."""
    samples = {statement.name: [] for statement in todo}
    for number in range(bench.options.rounds):
        for statement in todo if number % 2 == 0 else reversed(todo):
            sample = statement.measure(bench, bench.options.seconds)
            samples[statement.name].append(sample)
            say(f"round {number + 1}/{bench.options.rounds}  {statement.name:30} {sample.rate:12,.0f} /s")
    return samples


def warm_up(bench, todo):
    say("Warming up")
    for statement in todo:
        statement.measure(bench, 1)
        if isinstance(statement, RedisStatement):
            statement.measure(bench, 0.5)

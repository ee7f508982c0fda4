"""Programs that are started, and what processes use."""

import os
import subprocess
import sys

TICKS = os.sysconf("SC_CLK_TCK")


def run(command, **options):
    done = subprocess.run(command, stdin=options.pop("stdin", subprocess.DEVNULL), capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def say(text):
    print(text, flush=True)


def cpu_fields(pid):
    """(parent, own seconds, seconds of ended children) of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    own, children = (sum(map(int, fields[i : i + 2])) / TICKS for i in (11, 13))
    return int(fields[1]), own, children

"""What is cached of what, what a hit may be, and what an open transaction has done to it."""

import json
from typing import NamedTuple

GROUPS = 3
GROUP_SIZE = 4
ITEMS = range(GROUPS * GROUP_SIZE)
# Rows whose writers commit first and invalidate afterwards, in a transaction of its own.
LATE_ITEMS = range(len(ITEMS), len(ITEMS) + 4)


class Cached(NamedTuple):
    """An entry: its value is the versions of the items, its key or any one of its tags invalidates it."""

    key: str
    items: tuple
    tags: tuple = ()


def items_of_group(group):
    return tuple(range(group * GROUP_SIZE, (group + 1) * GROUP_SIZE))


def all_cached():
    """One row or several, invalidated by key alone, by one tag, by any of many."""
    entries = [Cached(f"item:{i}", (i,)) for i in ITEMS]
    entries += [Cached(f"tagged:{i}", (i,), (f"item {i}",)) for i in ITEMS if i % 2 == 0]
    for group in range(GROUPS):
        items = items_of_group(group)
        entries.append(Cached(f"group:{group}", items, (f"group {group}",)))
        entries.append(Cached(f"list:{group}", items, tuple(f"item {i}" for i in items)))
    entries.append(Cached("all", tuple(ITEMS), tuple(f"group {group}" for group in range(GROUPS))))
    for i in LATE_ITEMS:
        entries.append(Cached(f"late:{i}", (i,), (f"late {i}",) if i % 2 else ()))
    return entries


CACHED = {entry.key: entry for entry in all_cached()}
LATE_KEYS = [key for key in CACHED if key.startswith("late:")]
EXACT_KEYS = [key for key in CACHED if key not in LATE_KEYS]
# Where the hottest writers and readers meet.
HOT_ITEMS = items_of_group(0)
HOT_KEYS = [key for key in EXACT_KEYS if set(CACHED[key].items) & set(HOT_ITEMS)]


def dependents(items):
    """Keys whose value an update of one of the items changes."""
    return [key for key in EXACT_KEYS if set(CACHED[key].items) & set(items)]


def carriers(tags):
    """Keys whose entries carry one of the tags."""
    return [key for key, entry in CACHED.items() if set(entry.tags) & set(tags)]


def judge(key, hit, expected, deleted):
    """None if a snapshot whose rows say `expected` may get the hit; else what is wrong with it.

    `deleted[item]`: the highest version of a late item whose delete had returned before the read began. Until the
    delete of a version, what was there before may be read by those who see that version, and what was computed from it
    by those who don't.
    """
    if hit == expected:
        return None
    hit, expected = json.loads(hit), json.loads(expected)
    if key not in CACHED:  # of the watched table, where rows come and go
        return "stale" if highest(hit) < highest(expected) else "newer"
    if key in LATE_KEYS and deleted is not None:
        known = deleted[CACHED[key].items[0]]
        if known <= min(hit[0], expected[0]):
            return None
    if len(hit) == len(expected) and any(h < e for h, e in zip(hit, expected)):
        return "stale"
    return "newer"


def highest(versions):
    return max(versions if isinstance(versions, list) else [versions or 0])


class OwnEvents:
    """What an open transaction has done to rows and entries, in order; savepoints cut it back."""

    def __init__(self):
        self.events = []
        self.savepoints = []

    def update(self, items, covered):
        """`covered`: a deferred trigger will invalidate what depends on them."""
        self.events.append(("update", frozenset(items), covered))

    def invalidate(self, keys):
        self.events.append(("gone", frozenset(keys), None))

    def set(self, key, accepted):
        """`accepted`: True, False, or None where the caller doesn't know."""
        self.events.append(("set", frozenset([key]), accepted))

    def savepoint(self, name):
        self.savepoints.append((name, len(self.events)))

    def release(self, name):
        while self.savepoints.pop()[0] != name:
            pass

    def rollback_to(self, name):
        while self.savepoints[-1][0] != name:
            self.savepoints.pop()
        del self.events[self.savepoints[-1][1] :]

    def state(self, key):
        """What the transaction itself must find under the key.

        untouched  what everybody finds
        gone       nothing
        refused    nothing, a set was refused
        held       its own value
        maybe      its own value or nothing
        open       a row was changed and the entry not yet invalidated, so anything
        covered    the same, but a deferred trigger will see to it
        """
        items = set(CACHED[key].items)
        state = "untouched"
        for kind, what, detail in self.events:
            if kind == "update" and items & what:
                if detail:
                    state = "covered"
                elif state in ("untouched", "held", "maybe"):
                    state = "open"
            elif kind == "gone" and key in what and state != "covered":
                state = "gone"
            elif kind == "set" and key in what and state != "covered":
                state = {True: "held", False: "refused", None: "maybe"}[detail]
        return state

    def open_keys(self):
        """Keys that must be invalidated before a commit."""
        return [key for key in EXACT_KEYS if self.state(key) == "open"]

    def announced(self):
        """Keys that a commit will invalidate."""
        keys = set()
        for kind, what, _ in self.events:
            if kind != "update":
                keys |= what
        return keys

    def has_updates(self):
        return any(kind == "update" for kind, _, _ in self.events)

#!/usr/bin/env -S python3 -B
"""Explores every interleaving of the commit-exact cache protocol in small settings. The rules stand in
commit_exact_protocol.py; the server's own are in src/engine/versions.hpp.

Some writers change a row each, and invalidate a key, a tag or the database. One value, cached under that key with that
tag, is computed from all the rows: here it is the set of the writers whose change it contains. A filler computes and
stores it; a reader takes a snapshot and reads the cache. A hit must be exactly what the reader's snapshot would
compute. (If a writer deletes the key in a later transaction of its own, what it left open until then is allowed.)

Left out because it cannot matter: one read, at any time after the snapshot, stands for all reads of READ COMMITTED and
of REPEATABLE READ. Nobody heeds a pending transaction before it commits, so writers are pending from the start, unless
they compete for a place, and leave as they roll back. Eviction and expiry only make misses.

usage: commit_exact_model.py [--scenario NAME] [--fault NAME] | --list-faults
Without a fault no scenario may show a wrong hit; with one, which switches a rule off, the scenario that needs the rule
must. The exit status is 0 if so. A wrong hit comes with a shortest series of steps that leads to it.
"""
import argparse
import collections
import itertools
import sys
from typing import NamedTuple

from commit_exact_protocol import KEY, Count, Protocol, Session, Set, Slot, State, put, snapshot, without


class Kind(NamedTuple):
    """What a writer does."""

    slots: tuple
    manner: str = "commits"


class Scenario(NamedTuple):
    writers: tuple
    filler: tuple = ()
    bystanders: tuple = (0,)  # transactions, one a time, that invalidate nothing and run throughout; 0: none
    places: int = 2  # in `pending`


# What a filler does; "statement", "compute" and "nested" take a snapshot. Each value is from the outermost one.
ONE_STATEMENT = ("compute", "set")
STATEMENTS = ("statement", "miss", "compute", "statement", "set")
SAME_STATEMENT = ("compute", "miss", "statement", "set")
ONE_SNAPSHOT = ("compute", "miss", "set")
BYSTANDERS = (0, 3)  # none, and one that is older than the writers
key, tag, database = Kind(("key",)), Kind(("tag",)), Kind(("database",))
late_key, publisher, prepared_key = (Kind(("key",), manner) for manner in ("deletes late", "publishes", "prepares"))
prepared_tag, prepared_database = Kind(("tag",), "prepares"), Kind(("database",), "prepares")

SCENARIOS = {
    "key and tag": Scenario((key, tag), ONE_STATEMENT, BYSTANDERS),
    "tag and database": Scenario((tag, database), ONE_STATEMENT),
    "statements": Scenario((key, tag), STATEMENTS),
    "same statement": Scenario((key, tag), SAME_STATEMENT, BYSTANDERS),
    "one snapshot": Scenario((key, tag), ONE_SNAPSHOT),
    "two snapshots": Scenario((key, tag), ("compute", "nested", "set")),
    "two snapshots and a miss": Scenario((key, tag), ("compute", "nested", "miss", "set")),
    "nested miss": Scenario((key, tag), ("compute", "nested", "miss", "statement", "set")),
    "own delete": Scenario((key, tag), ("statement", "miss", "compute", ("count", KEY), "statement", "set")),
    "late delete": Scenario((late_key, tag), ONE_STATEMENT),
    "late delete, one snapshot": Scenario((late_key, tag), ONE_SNAPSHOT),
    "publish, tag": Scenario((publisher, tag), (), BYSTANDERS),
    "publish, key": Scenario((publisher, key), (), BYSTANDERS),
    "publish, own tag": Scenario((Kind(("key", "tag"), "publishes"), tag), (), BYSTANDERS),
    "publish twice": Scenario((publisher, publisher), (), BYSTANDERS),
    "publish beside a filler": Scenario((publisher, tag), ONE_STATEMENT),
    "prepared": Scenario((prepared_tag, tag), ONE_STATEMENT),
    "prepared, key and tag": Scenario((Kind(("key", "tag"), "prepares"),), STATEMENTS, BYSTANDERS),
    "prepared at start": Scenario((prepared_database,), STATEMENTS, BYSTANDERS),
    "unlisted, key": Scenario((key, key), ONE_STATEMENT, places=1),
    "unlisted, tag": Scenario((tag, tag), ONE_STATEMENT, places=1),
    "blocked, key": Scenario((key, prepared_key), ONE_STATEMENT, places=1),
    "blocked, tag": Scenario((tag, prepared_tag), ONE_STATEMENT, places=1),
    "blocked, same statement": Scenario((prepared_tag,), SAME_STATEMENT, BYSTANDERS, places=0),
    "blocked, statements": Scenario((prepared_tag,), STATEMENTS, BYSTANDERS, places=0),
}

# Each rule that can be switched off, with a scenario that needs it.
FAULTS = {
    # As in src/engine/rules.hpp, where they are explained.
    "stamp": "key and tag",
    "pending": "key and tag",
    "seen": "key and tag",
    "strict": "key and tag",
    "latest": "key and tag",
    "seen_at_fill": "key and tag",
    "miss_number": "statements",
    "publish_count": "publish, tag",
    "publish_check": "publish, tag",
    "bare_delete": "late delete, one snapshot",
    "outermost": "two snapshots",
    "miss_snapshot": "same statement",
    "prepared_at_start": "prepared at start",
    # A set takes its number before it looks at the slots for the last time, and stores nothing during a count.
    "number_first": "tag and database",
    "counting_flag": "tag and database",
    # A reader copies the entry, its key's slot with it, before it looks at the other slots.
    "copy_first": "tag and database",
    "key_with_copy": "key and tag",
    # These two are switched on: a reader looks at a slot's pending last; a transaction is counted by who meets it when
    # it is in the log, and snapshots do not show it yet.
    "fields_before_pending": "tag and database",
    "meet_in_progress": "prepared",
    # A count shows in what a miss asks its snapshots before it takes its number, and a miss reads the sequence before
    # it asks; the outermost snapshot too. What was prepared without finding a place is counted by the next set.
    "latest_before_number": "same statement",
    "miss_number_first": "same statement",
    "miss_outermost": "nested miss",
    "miss_blocked": "blocked, same statement",
    # An own delete renews a miss's number for the key alone, not for the tags.
    "renew_key_only": "own delete",
}


class Model(Protocol):
    """A scenario: who does what, in which order."""

    def __init__(self, scenario, fault=None):
        super().__init__(fault)
        self.scenario, self.kinds = scenario, scenario.writers
        targets = [name for kind in self.kinds for name in kind.slots]
        self.names = ["key", *sorted(set(targets) - {"key"}, reverse=True)]
        self.crowded = any(targets.count(name) > scenario.places for name in targets)
        self.plans = [self.writer_plan(kind) for kind in self.kinds] + [self.filler_plan(scenario.filler)]
        self.reading = self.reader_plan()

    def slots_of(self, kind):
        slots = [self.names.index(name) for name in kind.slots]
        return slots[1:] if kind.manner == "publishes" and not self.holds("publish_count") else slots

    def writer_plan(self, kind):
        slots = self.slots_of(kind)
        announces, counts, leaves = ([(step, i) for i in slots] for step in ("announce", "count", "leave"))
        commits = [*(announces if self.crowded else []), "log", "show"]
        if kind.manner == "prepares":
            return commits
        if kind.manner == "publishes":
            first, second = self.filler_plan(["compute", "set"])[:4], self.filler_plan(["set"])[3:]
            return [*first, *commits, *counts, *second, *(["drop"] if KEY in slots else []), *leaves]
        return [*commits, *counts]

    def filler_plan(self, parts):
        miss = ["miss", "miss_look"] if self.holds("miss_number_first") else ["miss_look", "miss"]
        last = ["number", "last_look"] if self.holds("number_first") else ["last_look", "number"]
        steps = {"miss": miss, "set": ["settle", "limit", "look", "lock", *last, "store"]}
        return [step for part in parts for step in steps.get(part, [part])]

    def reader_plan(self):
        order = ("pending", "fields") if self.holds("fields_before_pending") else ("fields", "pending")
        slots = range(KEY + 1 if self.holds("key_with_copy") else KEY, len(self.names))
        looks = [(part, i) for i in slots for part in order]
        return ["snapshot", "copy", *looks] if self.holds("copy_first") else ["snapshot", *looks, "copy"]

    # ---- every step that is possible, as (what, state after it), or after a hit (what, whether it is right) ----------

    def steps(self, state):
        for i, session in enumerate(state.sessions):
            if session.at < len(self.plans[i]):
                yield from self.session_steps(state, i, session, self.plans[i][session.at])
        yield from self.meeter_steps(state)
        yield from self.reader_steps(state)

    def session_steps(self, state, i, me, step):
        if me.count or step == "drop" or step[0] == "count":
            yield from self.counting(state, i, me)
        elif step in self.SET_STEPS:
            if done := getattr(self, step)(state, me.set, frozenset({i} if me.xid else ())):
                yield self.after(done[0], i, f"set: {step}" if done[1] else f"set: {step} refuses", set=done[1])
        elif step[0] in ("announce", "leave"):
            if not self.is_locked(state, step[1]):
                yield self.announce(state, i, step[1]) if step[0] == "announce" else self.leave(state, i, step[1])
        elif step == "log":
            yield self.after(state, i, "commits in the log", status="logged")
            if self.kinds[i].manner != "deletes late":
                yield self.roll_back(state, i)
        else:
            latest = max(state.latest, me.xid)
            yield self.after(state._replace(latest=latest), i, "is shown by snapshots", status="committed")

    def after(self, state, i, what, at=None, **changes):
        """The session has done that, and goes to the next step that has something to do."""
        me, plan = state.sessions[i]._replace(**changes), self.plans[i]
        at = me.at + 1 if at is None else at
        while at < len(plan) and (plan[at] == "drop" if me.set else plan[at] in self.SET_STEPS):
            at += 1
        its = me.set if "store" in plan[at:] else None
        if its and plan[at] in ("statement", "compute", "lock"):
            its = its._replace(active=None, outermost=None)  # nobody asks for them any more
        who = f"writer {i}" if me.xid else "filler"
        return f"{who}: {what}", state._replace(sessions=put(state.sessions, i, me._replace(at=at, set=its)))

    def announce(self, state, i, number):
        me, slot = state.sessions[i], state.slots[number]
        if len(slot.pending) < self.scenario.places:
            slot = slot._replace(pending=slot.pending | {me.xid})
        elif self.kinds[i].manner != "prepares":
            slot = slot._replace(unlisted=slot.unlisted + 1)
        else:
            state, count = self.count(state, Count(number, xid=me.xid, blocks=True))
            return self.after(state, i, "finds no place, begins to count", at=me.at, count=count)
        return self.after(state._replace(slots=put(state.slots, number, slot)), i, "announces")

    def leave(self, state, i, number):
        slots = put(state.slots, number, without(state.slots[number], state.sessions[i].xid))
        return self.after(state._replace(slots=slots), i, "leaves")

    def roll_back(self, state, i):
        xid, slots = state.sessions[i].xid, state.slots
        for number in self.slots_of(self.kinds[i]):
            if xid != slots[number].blocked and (self.kinds[i].manner != "prepares" or xid in slots[number].pending):
                slots = put(slots, number, without(slots[number], xid))
        state = state._replace(slots=slots, latest=max(state.latest, xid))
        return self.after(state, i, "rolls back", at=len(self.plans[i]), status="aborted", set=None)

    def counting(self, state, i, me):
        if done := self.count(state, me.count or self.own_count(i, me)):
            state, count = done
            what = f"counts the {self.names[count.slot]}, {count.stage}/{self.LAST_STAGE}, number {count.number}"
            if count.stage < self.LAST_STAGE:
                yield self.after(state, i, what, at=me.at, count=count)
            else:
                yield self.after(state, i, what, count=None, set=me.set and me.set._replace(own=(*me.set.own, count)))

    def own_count(self, i, me):
        step, manner = self.plans[i][me.at], self.kinds[i].manner if me.xid else "deletes late"
        number = KEY if step == "drop" else step[1]
        ends = "older" if number != KEY else "nothing" if manner == "publishes" and me.set else "entry"
        return Count(number, ends, 0 if manner == "deletes late" else me.xid, leaves=manner == "commits")

    def meeter_steps(self, state):
        """Anybody who meets a prepared transaction that has committed."""
        shown = ("committed",) if self.holds("meet_in_progress") else ("logged", "committed")
        met = [
            Count(number, xid=session.xid, leaves=True)
            for kind, session in zip(self.kinds, state.sessions)
            for number, slot in enumerate(state.slots)
            if kind.manner == "prepares" and session.status in shown and session.xid in slot.pending
        ]
        for count in [state.meeter] if state.meeter else met:
            if done := self.count(state, count):
                what = f"somebody counts the {self.names[count.slot]}, {done[1].stage}/{self.LAST_STAGE}"
                yield what, done[0]._replace(meeter=done[1] if done[1].stage < self.LAST_STAGE else None)

    def reader_steps(self, state):
        step, me = self.reading[state.reader.at], state.reader
        if step == "snapshot":
            me = me._replace(snapshot=snapshot(state))
        elif step == "copy":
            late = self.kinds[0].manner == "deletes late" and state.sessions[0].at == len(self.plans[0])
            me = self.copied(state, me._replace(deleted=late))
        else:
            me = self.looked(state, me, *step)
        if me and me.at + 1 == len(self.reading):
            got, want = me.entry[0], me.snapshot.shows
            what = f"reader: hits what contains {sorted(got)} and should contain {sorted(want)}"
            yield what, self.is_right(me, got ^ want)
        elif me:  # else it waits, or misses
            what = step if isinstance(step, str) else f"looks at the {self.names[step[1]]}'s {step[0]}"
            yield f"reader: {what}", state._replace(reader=me._replace(at=me.at + 1))

    def is_right(self, me, wrong):
        if self.kinds[0].manner == "deletes late" and not (me.deleted and 0 in wrong & me.snapshot.shows):
            wrong -= {0}
        return not wrong

    def may_hit(self, state):
        """False if the reader can only miss from here on."""
        if not (state.entry or state.reader.entry or any(session.set for session in state.sessions)):
            return False
        view = state.reader.snapshot
        if not view or not self.holds("seen"):
            return True
        return all(self.sees(state, view, slot.done, slot.blocked) for slot in state.slots)

    # ---- all of it ---------------------------------------------------------------------------------------------------

    def starts(self):
        """The transactions in any order, another beside them or not, the cache filled or empty."""
        for xids in itertools.permutations(range(4, 4 + len(self.kinds))):
            for bystander, entry in itertools.product(self.scenario.bystanders, ((frozenset(), 1), None)):
                yield self.start(xids, bystander, entry)

    def start(self, xids, bystander, entry):
        slots, sessions = [Slot()] * len(self.names), []
        for xid, kind in zip(xids, self.kinds):
            sessions.append(Session(xid=xid, set=Set() if kind.manner == "publishes" else None))
            unknown = "deletes late" if self.holds("prepared_at_start") else "prepares"
            for i in () if self.crowded or kind.manner == unknown else self.slots_of(kind):
                slots[i] = slots[i]._replace(pending=slots[i].pending | {xid})
        sessions.append(Session(status="", set=Set() if self.plans[-1] else None))
        return State(tuple(sessions), tuple(slots), bystander, entry)

    def explore(self):
        """How many states there are, how many hits, and the way to a wrong one if there is one."""
        came_from = {start: None for start in self.starts()}
        todo, hits = collections.deque(came_from), 0
        while todo:
            state = todo.popleft()
            for what, after in self.steps(state):
                if isinstance(after, bool):
                    hits += 1
                    if not after:
                        return len(came_from), hits, [*way_to(state, came_from), what]
                elif after not in came_from and self.may_hit(after):
                    came_from[after] = (state, what)
                    todo.append(after)
        return len(came_from), hits, None


def way_to(state, came_from):
    way = []
    while came_from[state]:
        state, what = came_from[state]
        way.append(what)
    who = [f"writer {i} is transaction {session.xid}" for i, session in enumerate(state.sessions) if session.xid]
    who += [f"transaction {state.bystander} runs too"] if state.bystander else []
    return [f"{', '.join(who)}; the cache is {'filled' if state.entry else 'empty'}", *reversed(way)]


def run(name, fault):
    """Whether it ends as it should. There must be hits: a protocol that never hits proves nothing."""
    states, hits, way = Model(SCENARIOS[name], fault).explore()
    as_expected = bool(way) == bool(fault) and hits > 0
    title = f"without {fault}, {name}" if fault else name
    found = "a wrong hit" if way else "no wrong hit"
    print(f"{'ok' if as_expected else 'not ok'} - model: {title}: {found}, {states} states, {hits} hits", flush=True)
    for number, what in enumerate(way or []):
        print(f"    {number:2}  {what}")
    return as_expected


def main():
    parser = argparse.ArgumentParser(description="Explores the commit-exact cache protocol.")
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--list-faults", action="store_true")
    options = parser.parse_args()
    if options.list_faults:
        print("\n".join(FAULTS))
        return 0
    names = [options.scenario] if options.scenario else [FAULTS[options.fault]] if options.fault else SCENARIOS
    return 0 if all([run(name, options.fault) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main())

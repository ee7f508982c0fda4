"""The commit-exact cache protocol as commit_exact_model.py explores it: what is shared, the rules, and the steps.

 - Numbers come from one sequence; an entry has that of its store. It depends on the slots of its key, its tag and its
   database, which note what was invalidated.
 - A writer announces its transaction in the slots before it commits: in `pending`; if that is full, in `unlisted`, or,
   if it is being prepared, as `blocked`. The commit is in the log first, then snapshots show it, then the writer
   counts. A transaction that was prepared is counted by whoever meets it after that.
 - A reader copies the entry, with its key's slot, under the key's lock. Then it looks at the other slots without a
   lock, at `pending` and `unlisted` first. It has a hit if no pending transaction has committed, the entry is above
   every floor, and its snapshot sees what was invalidated.
 - A miss gives a number, unless its snapshots do not see all that was invalidated up to there.
 - A set first counts what was blocked and is over for its snapshots. It reads the sequence, its limit, and looks at each slot: nothing is being counted, nothing was since the miss,
   and the active and the outermost snapshot see what was. Then, under the key's lock, it takes its number, and only
   after that looks whether anything was counted beyond the limit.
 - A held set does the first part at the call and the second after its transaction has counted: that count, and no
   other, may stand in between. If it is dropped, the key is deleted. Only then the transaction leaves `pending`.
"""
from typing import NamedTuple, Optional

KEY = 0  # the number of its slot


class Snapshot(NamedTuple):
    first: int  # the transactions below had completed
    end: int  # none from here on had
    running: frozenset
    shows: frozenset  # the writers whose change it shows


class Slot(NamedTuple):
    stamp: int = 0  # the last invalidation: what was computed before is not stored
    floor: int = 0  # entries up to it are no more
    done: int = 0  # the first transaction that had not completed at the last count
    blocked: int = 0  # only snapshots in which this transaction is over may use what depends on the slot
    pending: frozenset = frozenset()
    unlisted: int = 0
    counting: bool = False


class Count(NamedTuple):
    """An invalidation that is being counted in a slot, under the slot's lock."""

    slot: int
    ends: str = "older"  # what is not above the floor; 'entry': it is deleted; 'nothing': it will be replaced
    xid: int = 0
    leaves: bool = False  # the transaction is pending no longer
    blocks: bool = False  # it is being prepared, and found no place
    stage: int = 0
    done: int = 0
    found: int = 0  # the stamp before
    number: int = 0


class Set(NamedTuple):
    """A set on its way."""

    active: Optional[Snapshot] = None
    outermost: Optional[Snapshot] = None
    value: Optional[frozenset] = None
    miss: Optional[int] = None  # its number
    limit: int = 0
    number: int = 0
    own: tuple = ()  # Counts of the same session


class Session(NamedTuple):
    """A writer, or the filler, which has no transaction."""

    at: int = 0
    xid: int = 0
    status: str = "running"  # then logged: committed, but snapshots do not show it yet; committed; aborted
    count: Optional[Count] = None
    set: Optional[Set] = None


class Reader(NamedTuple):
    at: int = 0
    snapshot: Optional[Snapshot] = None
    entry: Optional[tuple] = None
    floor: int = 0
    deleted: bool = False  # a late delete had returned before


class State(NamedTuple):
    sessions: tuple
    slots: tuple
    bystander: int
    entry: Optional[tuple]  # (value, number)
    reader: Reader = Reader()
    meeter: Optional[Count] = None  # of a prepared transaction
    sequence: int = 1
    latest: int = 2  # of the transactions that have completed
    latest_done: int = 0  # of all slots
    key_locked: bool = False  # by a set


def put(items, i, item):
    return items[:i] + (item,) + items[i + 1 :]


def has_committed(state, xid):
    return any(session.xid == xid and session.status in ("logged", "committed") for session in state.sessions)


def snapshot(state):
    end = state.latest + 1
    xids = [session.xid for session in state.sessions if session.status in ("running", "logged")]
    running = frozenset(xid for xid in (state.bystander, *xids) if 0 < xid < end)
    shows = frozenset(i for i, session in enumerate(state.sessions) if session.status == "committed")
    return Snapshot(min(running | {end}), end, running, shows)


def without(slot, xid):
    if xid in slot.pending:
        return slot._replace(pending=slot.pending - {xid})
    return slot._replace(unlisted=slot.unlisted - 1)


class Protocol:
    """The rules, and what each step does to the state."""

    SET_STEPS = "statement compute nested miss miss_look settle limit look lock number last_look store".split()
    LAST_STAGE = 4

    def __init__(self, fault):
        self.fault = fault

    def holds(self, rule):
        return rule != self.fault

    def sees(self, state, view, done, blocked):
        """Whether the snapshot sees everything that was invalidated, by what a slot says of it."""
        if blocked and blocked >= view.first:
            return False
        if done != view.end:
            return done < view.end
        return not self.holds("strict") or not any(has_committed(state, xid) for xid in view.running)

    def is_locked(self, state, i):
        return state.slots[i].counting or (i == KEY and state.key_locked)

    # ---- counts ------------------------------------------------------------------------------------------------------

    def count(self, state, count):
        """The next stage of a count: (state, count), or nothing while another has the lock."""
        if count.stage == 0 and self.is_locked(state, count.slot):
            return None
        stage = (self.begin, self.take_number, self.raise_fields, self.finish)[count.stage]
        state, slot, count = stage(state, state.slots[count.slot], count)
        return state._replace(slots=put(state.slots, count.slot, slot)), count._replace(stage=count.stage + 1)

    def begin(self, state, slot, count):
        count = count._replace(done=self.done_of(state, count))
        blocked = max(slot.blocked, count.xid if count.blocks else 0)
        state = self.raise_latest(state, count.done) if self.holds("latest_before_number") else state
        return state, slot._replace(counting=True, blocked=blocked), count

    def raise_latest(self, state, done):
        return state._replace(latest_done=max(state.latest_done, done))

    def done_of(self, state, count):
        if count.blocks or (not count.xid and not self.holds("bare_delete")):
            return 0
        return state.latest + 1 if self.holds("latest") or not count.xid else count.xid + 1

    def take_number(self, state, slot, count):
        number = state.sequence + 1
        return state._replace(sequence=number), slot, count._replace(found=slot.stamp, number=number)

    def raise_fields(self, state, slot, count):
        floor = count.number if count.ends == "older" and self.holds("stamp") else slot.floor
        if state.entry and state.entry[1] < count.number and count.ends != "nothing" and self.holds("stamp"):
            state = state._replace(entry=None)  # what the floor has ended might as well be gone
        state = state if self.holds("latest_before_number") else self.raise_latest(state, count.done)
        return state, slot._replace(done=max(slot.done, count.done), floor=floor, stamp=count.number), count

    def finish(self, state, slot, count):
        slot = without(slot, count.xid) if count.leaves else slot
        return state, slot._replace(counting=False), count

    # ---- sets: each step gives (state, set), without the set if it is refused, or nothing while it waits -------------

    def statement(self, state, its, me):
        now = snapshot(state)
        return state, its._replace(active=now, outermost=now)

    def compute(self, state, its, me):
        now = snapshot(state)
        return state, its._replace(active=now, outermost=now, value=now.shows | me)

    def nested(self, state, its, me):
        return state, its._replace(active=snapshot(state))

    def miss(self, state, its, me):
        return state, its._replace(miss=state.sequence)

    def miss_look(self, state, its, me):
        """A number that does not fit ends the set."""
        views = {its.active, its.outermost} if self.holds("miss_outermost") else {its.active}
        fits = all(self.sees(state, view, state.latest_done, 0) for view in views)
        return state, its if fits or not self.holds("miss_snapshot") else None

    def settle(self, state, its, me):
        """What was prepared without a place, and is over for this set's snapshots, is counted now: no miss knew how it ended."""
        first = min(view.first for view in (its.active, its.outermost))
        for i, slot in enumerate(state.slots):
            if not slot.blocked or slot.blocked >= first or not self.holds("miss_blocked"):
                continue
            if self.is_locked(state, i):
                return None
            number, done = state.sequence + 1, state.latest + 1
            slot = slot._replace(stamp=number, done=max(slot.done, done), blocked=0)
            state = self.raise_latest(state._replace(sequence=number, slots=put(state.slots, i, slot)), done)
        return state, its

    def limit(self, state, its, me):
        return state, its._replace(limit=state.sequence)

    def look(self, state, its, me):
        """What is counted was known when the value was computed."""
        views = {its.active, its.outermost} if self.holds("outermost") else {its.active}
        for i, slot in enumerate(state.slots):
            if slot.counting and self.holds("counting_flag"):
                return state, None
            if its.miss is not None and slot.stamp > self.known(its, i, its.miss) and self.holds("miss_number"):
                return state, None
            if self.holds("seen_at_fill") and not all(self.sees(state, it, slot.done, slot.blocked) for it in views):
                return state, None
        return state, its

    def lock(self, state, its, me):
        return None if self.is_locked(state, KEY) else (state._replace(key_locked=True), its)

    def number(self, state, its, me):
        return state._replace(sequence=state.sequence + 1), its._replace(number=state.sequence + 1)

    def last_look(self, state, its, me):
        for i, slot in enumerate(state.slots):
            counts = slot.counting and self.holds("counting_flag") or slot.stamp > self.known(its, i, its.limit)
            if counts and not (me and not self.holds("publish_check")):
                return state._replace(key_locked=False), None
        return state, its

    def known(self, its, i, number):
        """Up to where the slot may have been counted; the own count may follow if it found no other."""
        for own in its.own:
            if own.slot == i or not self.holds("renew_key_only"):
                return own.number if own.found <= number else 0
        return number

    def store(self, state, its, me):
        return state._replace(key_locked=False, entry=(its.value, its.number)), its

    # ---- reads: the reader after its step, or nothing if it misses or waits ------------------------------------------

    def copied(self, state, me):
        if not state.entry or self.is_locked(state, KEY):
            return None
        me = me._replace(entry=state.entry)
        for part in ("pending", "fields") if self.holds("key_with_copy") else ():
            me = me and self.looked(state, me, part, KEY)
        return me if me and me.entry[1] > me.floor else None

    def looked(self, state, me, part, number):
        slot = state.slots[number]
        if part == "pending":
            due = slot.unlisted or any(has_committed(state, xid) for xid in slot.pending)
            return None if due and self.holds("pending") else me
        if self.holds("seen") and not self.sees(state, me.snapshot, slot.done, slot.blocked):
            return None
        if me.entry:
            return me if me.entry[1] > slot.floor else None
        return me._replace(floor=max(me.floor, slot.floor))

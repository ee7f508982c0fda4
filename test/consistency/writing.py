"""Scripts that change rows and invalidate, or write through, what is cached of them; and how their transactions end."""

import psycopg

import model
from actors import OUR_ERROR, Cast, Prepared
from model import CACHED, EXACT_KEYS, ITEMS, LATE_ITEMS

# Rows that another transaction has locked are left out, so no script waits for another one of the same process.
FREE = "ANY(ARRAY(SELECT id FROM stale_reads.item WHERE id = ANY(%s) FOR UPDATE SKIP LOCKED))"
UPDATE = f"""UPDATE stale_reads.item SET version = version + 1, how = %s WHERE id = {FREE} RETURNING id, version"""
UPDATE_AND_DELETE = f"""WITH changed AS ({UPDATE})
    SELECT cache_delete(c.key) FROM changed, stale_reads.cached c WHERE changed.id = ANY(c.items)"""
# The keys are deleted before the transaction has an id.
DELETE_AND_UPDATE = f"""UPDATE stale_reads.item SET version = version + 1, how = 'plain'
    WHERE (SELECT cache_delete_many(%s)) >= 0 AND id = {FREE}"""
DELETE = "SELECT cache_delete(%s)"
DELETE_MANY = "SELECT cache_delete_many(%s)"
DELETE_MATCHING = "SELECT cache_delete_matching(%s)"
INVALIDATE = "SELECT cache_invalidate(%s)"
FLOOD = "SELECT cache_invalidate(ARRAY(SELECT 'flood ' || n FROM generate_series(1, 70000) n))"
DELETE_AND_FAIL = "SELECT cache_delete(%s), 1 / (version - version) FROM stale_reads.item LIMIT 1"
SET_AND_FAIL = """SELECT cache_set(key, value, tags => tags), 1 / (version - version)
    FROM stale_reads.expected, stale_reads.item WHERE key = %s LIMIT 1"""

NO_SUCH_GID = "42704"
MANY_TAGS = (100, 100, 300, 3000)
MOST_PREPARED = 5


class Writing(Cast):
    # ---- changing rows ----------------------------------------------------------------------------------------------

    def update(self, actor):
        items = self.some(ITEMS, 3)
        if self.rng.random() < 0.02:
            self.update_often(actor, items[0])
        else:
            how = self.choice((("plain", 6), ("trigger", 1), ("deferred", 1)))
            changed = [item for item, _ in actor.session.run(UPDATE, how, items)]
            actor.own.update(changed, how == "deferred")
            if how == "trigger":
                actor.own.invalidate(model.dependents(changed))
        yield

    def update_often(self, actor, item):
        """In a subtransaction each, sometimes more of them than a snapshot lists."""
        times = self.rng.choice((3, 80))
        if actor.session.value("SELECT stale_reads.many_subtransactions(%s, %s)", item, times):
            actor.own.update([item], False)
            actor.own.invalidate(model.dependents([item]))

    def take_number(self, actor):
        """A transaction id without a change, for the others' snapshots."""
        actor.session.run("SELECT pg_current_xact_id()")
        yield from self.rest(actor)

    # ---- invalidating -----------------------------------------------------------------------------------------------

    def invalidate_some(self, actor):
        """Before the update, or without one."""
        yield from self.invalidate(actor, self.some(EXACT_KEYS, 4))

    def see_to_open_keys(self, actor):
        """Invalidates or sets what the updates until here have made wrong."""
        keys = actor.own.open_keys()
        while keys:
            part = self.some(keys, len(keys))
            yield from self.invalidate(actor, part)
            keys = [key for key in keys if key not in part]

    def invalidate(self, actor, keys):
        ways = (
            (self.delete_each, 3),
            (self.delete_together, 3),
            (self.invalidate_tags, 5),
            (self.invalidate_among_many, 0.5),
            (self.fill_at_once, 5),
            (self.write_through_by_steps, 2),
            (self.delete_matching, 0.1),
            (self.clear, 0.05),
            (self.flood, 0.01),
        )
        yield from self.choice(ways)(actor, keys)

    def delete_each(self, actor, keys):
        for key in keys[:4]:
            actor.session.run(DELETE, key)
            actor.own.invalidate([key])
            yield
        if keys[4:]:
            yield from self.delete_together(actor, keys[4:])

    def delete_together(self, actor, keys):
        actor.session.run(DELETE_MANY, keys)
        actor.own.invalidate(keys)
        yield

    def tags_for(self, keys):
        """A tag of each key that has some, and the keys without."""
        tags = [self.rng.choice(CACHED[key].tags) for key in keys if CACHED[key].tags]
        return sorted(set(tags)), [key for key in keys if not CACHED[key].tags]

    def invalidate_tags(self, actor, keys):
        tags, untagged = self.tags_for(keys)
        if tags:
            actor.session.run(INVALIDATE, tags)
            actor.own.invalidate(model.carriers(tags))
            yield
        if untagged:
            yield from self.delete_together(actor, untagged)

    def invalidate_among_many(self, actor, keys):
        """So many that counting them after the commit takes long."""
        tags, untagged = self.tags_for(keys)
        first = self.rng.randrange(10**6)
        others = [f"other {n}" for n in range(first, first + self.rng.choice(MANY_TAGS))]
        middle = self.rng.randrange(len(others))
        actor.session.run(INVALIDATE, others[:middle] + tags + others[middle:])
        actor.own.invalidate(model.carriers(tags))
        yield
        actor.session.run(DELETE_MANY, others[middle:] + untagged + others[:middle])
        actor.own.invalidate(untagged)
        yield

    def flood(self, actor, keys):
        """More than a transaction keeps one by one, so that their neighbours in memory go too."""
        actor.session.run(FLOOD)
        for key in CACHED:
            if actor.own.state(key) == "held":
                actor.own.set(key, None)
        yield from self.invalidate_tags(actor, keys)

    def write_through_by_steps(self, actor, keys):
        for key in keys[:3]:
            yield from self.fill_by_steps(actor, key)
        if keys[3:]:
            yield from self.delete_together(actor, keys[3:])

    def delete_matching(self, actor, keys):
        for prefix in sorted({key.split(":")[0] for key in keys}):
            actor.session.run(DELETE_MATCHING, prefix + "%")
            actor.own.invalidate([key for key in CACHED if key.startswith(prefix)])
            yield

    def clear(self, actor, _keys):
        actor.session.run("SELECT cache_clear()")
        actor.own.invalidate(CACHED)
        yield

    # ---- savepoints and errors --------------------------------------------------------------------------------------

    def save(self, actor):
        self.number += 1
        name = f"s{self.number}"
        actor.session.run(f"SAVEPOINT {name}")
        actor.own.savepoint(name)
        self.count["savepoints"] += 1
        yield

    def end_savepoint(self, actor):
        if not actor.own.savepoints:
            return
        name, _ = self.rng.choice(actor.own.savepoints)
        if self.rng.random() < 0.5:
            actor.session.run(f"RELEASE SAVEPOINT {name}")
            actor.own.release(name)
        else:
            self.roll_back_to(actor, name)
        yield

    def roll_back_to(self, actor, name):
        actor.session.run(f"ROLLBACK TO SAVEPOINT {name}")
        actor.own.rollback_to(name)
        self.count["rollbacks to a savepoint"] += 1

    def fail_inside(self, actor):
        """A statement that invalidates, or sets, and fails; the savepoint before it is gone back to."""
        yield from self.save(actor)
        name, _ = actor.own.savepoints[-1]
        try:
            self.failing_statement(actor)
        except psycopg.Error as error:
            if error.sqlstate != OUR_ERROR:
                raise
        yield
        self.roll_back_to(actor, name)
        yield

    def failing_statement(self, actor):
        self.count["statement errors"] += 1
        actor.session.run(self.rng.choice((DELETE_AND_FAIL, SET_AND_FAIL)), self.rng.choice(EXACT_KEYS))

    # ---- ends -------------------------------------------------------------------------------------------------------

    def commit(self, actor):
        yield from self.see_to_open_keys(actor)
        actor.session.run("COMMIT")
        self.count["commits"] += 1
        actor.leave()
        yield

    def roll_back(self, actor):
        actor.session.run("ROLLBACK")
        self.count["rollbacks"] += 1
        actor.leave()
        yield

    def fail(self, actor):
        """By an error that nothing in the transaction catches."""
        self.failing_statement(actor)
        yield

    def may_prepare(self):
        return len(self.prepared) < min(MOST_PREPARED, self.client.shared.most_prepared)

    def new_gid(self):
        self.number += 1
        return f"{self.client.shared.gid_prefix}{self.client.name}.{self.number}"

    def prepare(self, actor):
        yield from self.see_to_open_keys(actor)
        prepared = Prepared(self.new_gid(), actor.own.announced())
        try:
            actor.session.run(f"PREPARE TRANSACTION '{prepared.gid}'")
        except psycopg.Error:
            if actor.session.is_closed:
                prepared.uncertain = True
                self.prepared.append(prepared)
            raise
        self.prepared.append(prepared)
        self.count["prepared transactions"] += 1
        actor.leave()
        yield

    def end_some_prepared(self, _actor):
        for _ in range(self.rng.randint(1, 2)):
            if self.prepared:
                self.end_prepared(self.rng.choice(self.prepared))
                yield

    def end_prepared(self, prepared):
        """By a connection that has nothing to do with it."""
        commits = self.rng.random() < 0.7
        try:
            self.rng.choice(self.helpers).run(f"{'COMMIT' if commits else 'ROLLBACK'} PREPARED '{prepared.gid}'")
        except psycopg.Error as error:
            if prepared.uncertain and error.sqlstate == NO_SUCH_GID:
                self.prepared.remove(prepared)
                return
            prepared.uncertain = True
            raise
        self.prepared.remove(prepared)
        self.count["prepared transactions committed" if commits else "prepared transactions rolled back"] += 1

    def pile_of_prepared(self, actor):
        """Several prepared transactions on the same keys at the same time, ended in any order."""
        group = self.rng.randrange(model.GROUPS)
        for item in self.rng.sample(model.items_of_group(group), model.GROUP_SIZE):
            if not self.may_prepare():
                break
            yield from self.begin(actor, self.some_level(), False)
            actor.own.update([changed for changed, _ in actor.session.run(UPDATE, "plain", [item])], False)
            yield from self.invalidate_tags(actor, model.dependents([item]))
            yield from self.prepare(actor)

    # ---- lone statements --------------------------------------------------------------------------------------------

    def lone_write(self, actor):
        """Rows and entries in one transaction without BEGIN."""
        items = self.some(ITEMS, 2)
        keys = model.dependents(items)
        session = actor.session
        ways = (
            lambda: session.run(UPDATE, "trigger", items),
            lambda: session.run(UPDATE, "deferred", items),
            lambda: session.run(UPDATE_AND_DELETE, "plain", items),
            lambda: session.run(DELETE_AND_UPDATE, keys, items),
            lambda: session.run("SELECT stale_reads.write_by_function(%s, true)", items),
            lambda: session.run("SELECT stale_reads.write_by_function(%s, false)", items),
            lambda: session.run_together(f"{UPDATE}; {DELETE_MANY}", "plain", items, keys),
            lambda: session.run_together(f"{DELETE_MANY}; {UPDATE}", keys, "plain", items),
            # By a helper, at READ COMMITTED: psycopg's pipeline does not survive a serialization failure.
            lambda: self.helpers[0].run_pipelined((UPDATE, ("plain", items)), (DELETE_MANY, (keys,))),
        )
        self.rng.choice(ways)()
        self.count["commits"] += 1
        yield

    def late_write(self, actor):
        """Commits, and invalidates later, as applications do that know nothing better. See model.judge."""
        item = self.rng.choice(LATE_ITEMS)
        in_block = self.rng.random() < 0.5
        if in_block:
            yield from self.begin(actor, self.some_level(), False)
        changed = actor.session.run(UPDATE, "plain", [item])
        yield
        if in_block:
            rolls_back = self.rng.random() < 0.2
            yield from (self.roll_back if rolls_back else self.commit)(actor)
            if rolls_back:
                return
        if not changed:
            return
        yield from self.rest(actor)
        yield from self.late_delete(actor, f"late:{item}")
        self.client.shared.note_deleted(item, changed[0][1])
        self.count["late deletes"] += 1

    def late_delete(self, actor, key):
        ways = [((DELETE, key), 4), ((DELETE_MANY, [key]), 2), ((DELETE_MATCHING, key), 0.1)]
        if CACHED[key].tags:
            ways.append(((INVALIDATE, list(CACHED[key].tags)), 6))
        sql, parameter = self.choice(ways)
        end = self.choice((("lone", 4), ("block", 2), ("prepared", 1)))
        if end == "lone":
            actor.session.run(sql, parameter)
            yield
            return
        yield from self.begin(actor, self.some_level(), False)
        actor.session.run(sql, parameter)
        actor.own.invalidate([key])
        yield
        if self.rng.random() < 0.5:
            yield from self.fill_at_once(actor, [key])
        if end == "block":
            yield from self.commit(actor)
        else:
            yield from self.commit_in_two_phases(actor)

    def commit_in_two_phases(self, actor):
        gid = self.new_gid()
        actor.session.run(f"PREPARE TRANSACTION '{gid}'")
        actor.leave()
        yield
        actor.session.run(f"COMMIT PREPARED '{gid}'")
        yield

-- Rows, what is cached of them, and functions that read, write and fill many times in one call.
DROP SCHEMA IF EXISTS stale_reads CASCADE;
CREATE SCHEMA stale_reads;

-- `how` says which trigger the last update asked for.
CREATE TABLE stale_reads.item (id int PRIMARY KEY, version bigint NOT NULL, how text NOT NULL) WITH (fillfactor = 20);
CREATE TABLE stale_reads.cached (key text PRIMARY KEY, items int[] NOT NULL, tags text[] NOT NULL);
-- A crash empties it.
CREATE UNLOGGED TABLE stale_reads.no_crash AS SELECT true AS yes;

-- The truth: what each key's value is by the snapshot that reads this.
CREATE VIEW stale_reads.expected AS
    SELECT c.key, c.tags, (SELECT jsonb_agg(i.version ORDER BY i.id) FROM stale_reads.item i WHERE i.id = ANY (c.items)) AS value
    FROM stale_reads.cached c;

CREATE FUNCTION stale_reads.dependents(wanted int) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(key) FROM stale_reads.cached WHERE wanted = ANY (items) $$;

-- ---- invalidation by trigger ---------------------------------------------------------------------------------------

CREATE FUNCTION stale_reads.invalidate_dependents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version % 2 = 0 THEN
        PERFORM cache_delete_many(stale_reads.dependents(NEW.id));
    ELSE
        PERFORM cache_delete(key) FROM stale_reads.cached WHERE NEW.id = ANY (items) AND tags = '{}';
        PERFORM cache_invalidate(ARRAY['item ' || NEW.id, 'group ' || NEW.id / 4]);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER at_once AFTER UPDATE ON stale_reads.item FOR EACH ROW WHEN (NEW.how = 'trigger')
    EXECUTE FUNCTION stale_reads.invalidate_dependents();
CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON stale_reads.item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.how = 'deferred') EXECUTE FUNCTION stale_reads.invalidate_dependents();

-- ---- one step -------------------------------------------------------------------------------------------------------

-- Reads under the caller's snapshot, and, at READ COMMITTED, under one of its own.
CREATE FUNCTION stale_reads.read_stable(keys text[]) RETURNS TABLE (key text, hit text, expected text, snapshot text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT e.key, cache_get(e.key)::text, e.value::text, pg_current_snapshot()::text
        FROM stale_reads.expected e WHERE e.key = ANY (keys);
END $$;
CREATE FUNCTION stale_reads.read_volatile(keys text[]) RETURNS TABLE (key text, hit text, expected text, snapshot text)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY SELECT e.key, cache_get(e.key)::text, e.value::text, pg_current_snapshot()::text
        FROM stale_reads.expected e WHERE e.key = ANY (keys);
END $$;

-- Stores what the caller's statement has computed, under a snapshot of its own, after some work.
CREATE FUNCTION stale_reads.set_later(key text, value jsonb, tags text[], work int, miss_first boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM count(*) FROM generate_series(1, work);
    IF miss_first AND cache_get(set_later.key) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    RETURN cache_set(set_later.key, set_later.value, tags => set_later.tags);
END $$;

-- `deletes_first`: before the transaction has an id.
CREATE FUNCTION stale_reads.write_by_function(items int[], deletes_first boolean) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    changed int;
BEGIN
    IF deletes_first THEN
        PERFORM cache_delete_many(stale_reads.dependents(item)) FROM unnest(items) item;
    END IF;
    FOR changed IN
        UPDATE stale_reads.item SET version = version + 1, how = 'plain'
        WHERE id = ANY (ARRAY(SELECT id FROM stale_reads.item WHERE id = ANY (items) FOR UPDATE SKIP LOCKED)) RETURNING id
    LOOP
        IF NOT deletes_first THEN
            PERFORM cache_delete_many(stale_reads.dependents(changed));
        END IF;
    END LOOP;
END $$;

-- More subtransactions than a snapshot lists. The number of updates.
CREATE FUNCTION stale_reads.many_subtransactions(wanted int, n int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM 1 FROM stale_reads.item WHERE id = wanted FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN 0; END IF;
    FOR i IN 1..n LOOP
        BEGIN
            UPDATE stale_reads.item SET version = version + 1, how = 'plain' WHERE id = wanted;
            PERFORM cache_delete_many(stale_reads.dependents(wanted));
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
    RETURN n;
END $$;

-- ---- many in one call -----------------------------------------------------------------------------------------------

-- Reads rows and entries `rounds` times; at READ COMMITTED with a new snapshot each.
CREATE FUNCTION stale_reads.read_many(rounds int, keys text[], OUT reads bigint, OUT hits bigint, OUT wrong jsonb)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    now_read bigint;
    now_hit bigint;
BEGIN
    reads := 0;
    hits := 0;
    FOR round IN 1..rounds LOOP
        SELECT count(*), count(r.hit), jsonb_agg(jsonb_build_array(r.key, r.hit::text, r.value::text, pg_current_snapshot()::text))
            FILTER (WHERE r.hit <> r.value)
            INTO now_read, now_hit, wrong
            FROM (SELECT e.key, cache_get(e.key) AS hit, e.value FROM stale_reads.expected e WHERE e.key = ANY (keys) OFFSET 0) r;
        reads := reads + now_read;
        hits := hits + now_hit;
        EXIT WHEN wrong IS NOT NULL;
    END LOOP;
END $$;

-- Transactions that update one of the rows and invalidate what depends on it, each in another way.
-- `others`: how many tags and keys that nobody uses are invalidated beside, in some of them.
CREATE PROCEDURE stale_reads.write_many(rounds int, items int[], others int, INOUT commits bigint, INOUT rollbacks bigint)
LANGUAGE plpgsql AS $$
DECLARE
    chosen int;
    changed int;
    way int;
    untagged text[];
    tagged_with text[];
    depends text[];
BEGIN
    commits := 0;
    rollbacks := 0;
    FOR round IN 1..rounds LOOP
        way := floor(random() * 9);
        chosen := items[1 + floor(random() * cardinality(items))];
        UPDATE stale_reads.item SET version = version + 1, how = CASE way WHEN 0 THEN 'trigger' WHEN 1 THEN 'deferred' ELSE 'plain' END
            WHERE id = (SELECT id FROM stale_reads.item WHERE id = chosen FOR UPDATE SKIP LOCKED)
            RETURNING id INTO changed;
        IF changed IS NOT NULL THEN
            depends := stale_reads.dependents(changed);
            SELECT array_agg(key) FILTER (WHERE tags = '{}') INTO untagged
                FROM stale_reads.cached WHERE changed = ANY (cached.items);
            SELECT array_agg(tag) INTO tagged_with FROM stale_reads.cached, unnest(tags) tag
                WHERE changed = ANY (cached.items);
            IF way = 2 THEN
                PERFORM cache_delete(key) FROM unnest(depends) key;
            ELSIF way = 3 THEN
                PERFORM cache_delete_many(depends);
            ELSIF way = 4 THEN
                PERFORM cache_delete_many(untagged);
                PERFORM cache_invalidate(tagged_with);
            ELSIF way = 5 THEN  -- in the middle of many others
                PERFORM cache_delete_many(ARRAY(SELECT 'other ' || i FROM generate_series(1, others) i) || untagged
                                          || ARRAY(SELECT 'another ' || i FROM generate_series(1, others) i));
                PERFORM cache_invalidate(ARRAY(SELECT 'other ' || i FROM generate_series(1, others) i) || tagged_with);
            ELSIF way = 6 THEN  -- write through
                PERFORM cache_set(key, value, tags => tags) FROM stale_reads.expected WHERE key = ANY (depends);
            ELSIF way = 7 THEN  -- write through some, tags for all
                PERFORM cache_delete_many(untagged);
                PERFORM cache_invalidate(tagged_with);
                PERFORM cache_set(key, value, tags => tags) FROM stale_reads.expected WHERE key = ANY (depends) AND random() < 0.5;
            ELSIF way = 8 THEN  -- once in a subtransaction that fails, once for good
                BEGIN
                    PERFORM cache_set(key, value, tags => tags) FROM stale_reads.expected WHERE key = ANY (depends);
                    PERFORM 1 / 0;
                EXCEPTION WHEN division_by_zero THEN
                    PERFORM cache_delete_many(depends);
                END;
            END IF;
        END IF;
        IF random() < 0.15 THEN
            rollbacks := rollbacks + 1;
            ROLLBACK;
        ELSE
            commits := commits + 1;
            COMMIT;
        END IF;
    END LOOP;
END $$;

-- Fills one of the keys at a time, each in another way, with a snapshot of its own.
CREATE PROCEDURE stale_reads.fill_many(rounds int, keys text[], INOUT accepted bigint, INOUT refused bigint)
LANGUAGE plpgsql AS $$
DECLARE
    wanted text;
    way int;
    found boolean;
    number bigint;
    computed jsonb;
    tagged text[];
    stored boolean;
BEGIN
    accepted := 0;
    refused := 0;
    FOR round IN 1..rounds LOOP
        wanted := keys[1 + floor(random() * cardinality(keys))];
        way := floor(random() * 6);
        stored := NULL;
        IF way = 0 THEN
            SELECT cache_set(key, value, tags => tags) INTO stored FROM stale_reads.expected WHERE key = wanted;
        ELSIF way = 1 THEN
            IF cache_get(wanted) IS NULL THEN
                SELECT value, tags INTO computed, tagged FROM stale_reads.expected WHERE key = wanted;
                stored := cache_set(wanted, computed, tags => tagged);
            END IF;
        ELSIF way = 2 THEN
            SELECT cache_get(key) IS NOT NULL, value, tags INTO found, computed, tagged FROM stale_reads.expected WHERE key = wanted;
            IF NOT found THEN stored := cache_set(wanted, computed, tags => tagged); END IF;
        ELSIF way = 3 THEN
            SELECT e.found, e.version INTO found, number FROM cache_entry(wanted) e;
            SELECT value, tags INTO computed, tagged FROM stale_reads.expected WHERE key = wanted;
            stored := cache_set(wanted, computed, tags => tagged, if_version => number);
        ELSIF way = 4 THEN
            SELECT v.version, e.value, e.tags INTO number, computed, tagged
                FROM stale_reads.expected e, cache_entry(e.key) v WHERE e.key = wanted;
            stored := cache_set(wanted, computed, tags => tagged, if_version => number);
        ELSE
            SELECT stale_reads.set_later(key, value, tags, 1000, random() < 0.5) INTO stored FROM stale_reads.expected WHERE key = wanted;
        END IF;
        IF stored THEN accepted := accepted + 1; ELSIF NOT stored THEN refused := refused + 1; END IF;
        COMMIT;
    END LOOP;
END $$;

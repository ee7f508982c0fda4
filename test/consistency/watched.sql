-- A watched table, partitioned, and what is cached of it: nobody invalidates anything by hand here. Entries are filled by
-- cache_fetch and by cache_set. A version is given once in all, so equal values were computed from equal rows.
CREATE SEQUENCE stale_reads.watched_version;
CREATE TABLE stale_reads.watched (id int NOT NULL, team int NOT NULL, version bigint NOT NULL DEFAULT nextval('stale_reads.watched_version'))
    PARTITION BY LIST (team);
CREATE TABLE stale_reads.watched_even PARTITION OF stale_reads.watched FOR VALUES IN (0, 2) WITH (fillfactor = 20);
SELECT cache_watch('stale_reads.watched', 'watched:{id}', ARRAY['team {team}']);
-- It comes later, with its columns at other places.
CREATE TABLE stale_reads.watched_odd (gone int, version bigint NOT NULL DEFAULT nextval('stale_reads.watched_version'), team int NOT NULL, id int NOT NULL)
    WITH (fillfactor = 20);
ALTER TABLE stale_reads.watched_odd DROP COLUMN gone;
ALTER TABLE stale_reads.watched ATTACH PARTITION stale_reads.watched_odd FOR VALUES IN (1, 3);
INSERT INTO stale_reads.watched SELECT i, i % 4 FROM generate_series(0, 11) i;

CREATE VIEW stale_reads.watched_expected AS
    SELECT 'watched:' || id AS key, '{}'::text[] AS tags,
        coalesce((SELECT to_jsonb(w.version) FROM stale_reads.watched w WHERE w.id = i.id), 'null') AS value,
        'SELECT version FROM stale_reads.watched WHERE id = $1' AS query, jsonb_build_array(id) AS params
    FROM generate_series(0, 11) i (id)
    UNION ALL
    SELECT 'team:' || team, ARRAY['team ' || team],
        coalesce((SELECT jsonb_agg(w.version ORDER BY w.id) FROM stale_reads.watched w WHERE w.team = t.team), 'null'),
        'SELECT jsonb_agg(version ORDER BY id) FROM stale_reads.watched WHERE team = $1', jsonb_build_array(team)
    FROM generate_series(0, 3) t (team);

-- Rows and entries in one snapshot, as read_many.
CREATE FUNCTION stale_reads.read_watched(rounds int, OUT reads bigint, OUT hits bigint, OUT wrong jsonb)
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
            FROM (SELECT e.key, cache_get(e.key) AS hit, e.value FROM stale_reads.watched_expected e WHERE random() < 0.4 OFFSET 0) r;
        reads := reads + now_read;
        hits := hits + now_hit;
        EXIT WHEN wrong IS NOT NULL;
    END LOOP;
END $$;

-- Changes rows of one id or team at a time, in every way that a trigger sees.
CREATE PROCEDURE stale_reads.write_watched(rounds int, INOUT commits bigint, INOUT rollbacks bigint) LANGUAGE plpgsql AS $$
DECLARE
    way int;
    chosen int;
    other int;
BEGIN
    commits := 0;
    rollbacks := 0;
    FOR round IN 1..rounds LOOP
        way := floor(random() * 10);
        chosen := floor(random() * 12);
        other := floor(random() * 4);
        -- One writer of an id at a time, so that there is never a second row of it.
        IF NOT pg_try_advisory_xact_lock(4711, chosen) THEN
            way := 9;
        END IF;
        CASE way
            WHEN 0, 1, 2 THEN
                UPDATE stale_reads.watched SET version = DEFAULT WHERE id = chosen;
            WHEN 3 THEN  -- to another team, often in another partition
                UPDATE stale_reads.watched SET team = other, version = DEFAULT WHERE id = chosen;
            WHEN 4 THEN
                UPDATE stale_reads.watched_even SET version = DEFAULT WHERE id = chosen;
                UPDATE stale_reads.watched_odd SET version = DEFAULT WHERE id = chosen;
            WHEN 5 THEN
                DELETE FROM stale_reads.watched WHERE id = chosen;
            WHEN 6 THEN
                INSERT INTO stale_reads.watched (id, team) SELECT chosen, other WHERE NOT EXISTS (SELECT FROM stale_reads.watched WHERE id = chosen);
            WHEN 7 THEN
                MERGE INTO stale_reads.watched w USING (VALUES (chosen)) v (id) ON w.id = v.id
                WHEN MATCHED AND version % 2 = 0 THEN DELETE
                WHEN MATCHED THEN UPDATE SET version = DEFAULT
                WHEN NOT MATCHED THEN INSERT (id, team) VALUES (v.id, other);
            WHEN 8 THEN  -- once in a subtransaction that fails, once for good
                BEGIN
                    DELETE FROM stale_reads.watched WHERE id = chosen;
                    PERFORM 1 / 0;
                EXCEPTION WHEN division_by_zero THEN
                    UPDATE stale_reads.watched SET version = DEFAULT WHERE id = chosen;
                    PERFORM cache_set(key, value, tags => tags) FROM stale_reads.watched_expected WHERE key = 'watched:' || chosen;
                END;
            ELSE
                PERFORM 1;
        END CASE;
        IF random() < 0.15 THEN
            rollbacks := rollbacks + 1;
            ROLLBACK;
        ELSE
            commits := commits + 1;
            COMMIT;
        END IF;
    END LOOP;
END $$;

-- Fetches, and compares with what is computed before and after it, if nothing has come and gone in between: nothing has ended since, or
-- it is a row, whose version never comes again. Some of the queries take long enough to be waited for.
CREATE PROCEDURE stale_reads.fetch_many(rounds int, INOUT fetches bigint, INOUT compared bigint, INOUT wrong jsonb) LANGUAGE plpgsql AS $$
DECLARE
    e record;
    fetched jsonb;
    afterwards jsonb;
    snapshot_afterwards text;
BEGIN
    fetches := 0;
    compared := 0;
    FOR round IN 1..rounds LOOP
        SELECT key, tags, value, params, pg_current_snapshot()::text AS snapshot, CASE WHEN random() < 0.3 THEN format('WITH w AS MATERIALIZED (SELECT count(*) FROM generate_series(1, 3000)) SELECT (%s) FROM w', query) ELSE query END AS query
            INTO e FROM stale_reads.watched_expected ORDER BY random() LIMIT 1;
        IF random() < 0.1 THEN  -- by hand
            SELECT CASE WHEN cache_set(key, value, tags => tags) THEN value END, value, pg_current_snapshot()::text INTO fetched, e.value, e.snapshot
                FROM stale_reads.watched_expected WHERE key = e.key;
            afterwards := e.value;
            snapshot_afterwards := e.snapshot;
        ELSE
            fetched := cache_fetch(e.key, e.query, '1 hour', e.params, e.tags);
            SELECT value, pg_current_snapshot()::text INTO afterwards, snapshot_afterwards FROM stale_reads.watched_expected WHERE key = e.key;
        END IF;
        fetches := fetches + 1;
        IF e.value = afterwards AND (e.snapshot = snapshot_afterwards OR (e.key LIKE 'watched:%' AND e.value <> 'null')) THEN
            compared := compared + 1;
            IF fetched <> afterwards THEN
                wrong := jsonb_build_array(jsonb_build_array(e.key, fetched::text, afterwards::text, snapshot_afterwards));
                EXIT;
            END IF;
        END IF;
        COMMIT;
    END LOOP;
END $$;

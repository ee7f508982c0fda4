-- Two tables of 100,000 rows: one watched, one with an empty trigger that has the same transition tables.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

CREATE TABLE watched (id int PRIMARY KEY, team int NOT NULL, visits int NOT NULL, name text NOT NULL) WITH (fillfactor = 45);
CREATE TABLE unwatched (LIKE watched INCLUDING ALL) WITH (fillfactor = 45);
INSERT INTO watched SELECT n, n % 1000, 0, 'name of row ' || n FROM generate_series(1, 100000) AS n;
INSERT INTO unwatched SELECT * FROM watched;
SELECT cache_watch('watched', 'row:{id}', ARRAY['team:{team}']) > 0 AS watched \gset
CREATE FUNCTION do_nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER empty AFTER UPDATE ON unwatched REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION do_nothing();
ALTER TABLE watched SET (autovacuum_enabled = off);
ALTER TABLE unwatched SET (autovacuum_enabled = off);
VACUUM ANALYZE watched, unwatched;
CHECKPOINT;

-- Watched tables: what their changes invalidate. Names of watches are read by \gset, so that numbers don't matter.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
CREATE SCHEMA watches;
SET search_path = watches, public;
SELECT cache_clear() >= 0 AS cleared;

CREATE TABLE users (id int PRIMARY KEY, org_id int, name text);
INSERT INTO users SELECT i, i % 3, 'name ' || i FROM generate_series(1, 6) i;
SELECT cache_watch('users', 'user:{id}:profile', ARRAY['org:{org_id}', 'users']) AS users_watch \gset
SELECT id = :users_watch AS same, relation, key, tags, problem FROM cache_watches;
-- The same again is the same watch.
SELECT cache_watch('users', 'user:{id}:profile', ARRAY['org:{org_id}', 'users']) = :users_watch AS same, count(*) FROM cache_watches;

-- Fills an entry for each id and each tag, and shows which are gone.
CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
    SELECT cache_set('user:' || id || ':profile', to_jsonb(id), immediate => true) FROM generate_series(1, 9) id;
    SELECT cache_set('absent:' || id, '0', immediate => true) FROM generate_series(1, 2) id;
    SELECT cache_set('of org ' || org, to_jsonb(org), tags => ARRAY['org:' || org], immediate => true) FROM generate_series(0, 4) org;
    SELECT cache_set('all', '1', tags => ARRAY['users'], immediate => true);
$$;
CREATE FUNCTION gone() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(key, ', ' ORDER BY key COLLATE "C") FROM (
        SELECT 'user:' || id || ':profile' FROM generate_series(1, 9) id
        UNION ALL SELECT 'of org ' || org FROM generate_series(0, 4) org
        UNION ALL SELECT 'absent:' || id FROM generate_series(1, 2) id
        UNION ALL SELECT 'all') k(key)
    WHERE NOT cache_exists(key)
$$;

SELECT fill(), gone();
INSERT INTO users VALUES (7, 4, 'new'), (8, 4, 'newer');
SELECT gone(), fill();
UPDATE users SET name = 'x' WHERE id = 1;
SELECT gone(), fill();
-- Before and after the change.
UPDATE users SET id = 9, org_id = 3 WHERE id = 8;
SELECT gone(), fill();
UPDATE users SET org_id = NULL WHERE id IN (1, 7);
SELECT gone(), fill();
DELETE FROM users WHERE id IN (7, 9);
SELECT gone(), fill();
-- Nothing changed.
UPDATE users SET name = 'x' WHERE id = 100;
DELETE FROM users WHERE false;
INSERT INTO users SELECT 5, 5 WHERE false;
INSERT INTO users VALUES (1, 1) ON CONFLICT DO NOTHING;
SELECT gone();
-- Some inserted, some updated.
INSERT INTO users VALUES (2, 4, 'again'), (7, 4, 'new') ON CONFLICT (id) DO UPDATE SET org_id = excluded.org_id;
SELECT gone(), fill();
MERGE INTO users u USING (VALUES (1, 'delete'), (2, 'update'), (8, 'insert'), (3, 'nothing')) v(id, what) ON u.id = v.id
WHEN MATCHED AND what = 'delete' THEN DELETE
WHEN MATCHED AND what = 'update' THEN UPDATE SET name = 'merged'
WHEN NOT MATCHED THEN INSERT VALUES (v.id, 0, 'merged');
SELECT gone(), fill();
COPY users FROM stdin (DELIMITER ',');
1,1,copied
9,1,copied
\.
SELECT gone(), fill();
-- Several in one statement, and a set in the same one.
WITH gone AS (DELETE FROM users WHERE id = 1 RETURNING *), changed AS (UPDATE users SET name = 'cte' WHERE id = 2 RETURNING *)
SELECT cache_set('user:2:profile', to_jsonb(changed)) FROM changed;
SELECT gone(), fill();
-- Through a view, a rule's rewriting, a function.
CREATE VIEW few AS SELECT id, name FROM users WHERE id < 4;
UPDATE few SET name = 'by view' WHERE id = 3;
SELECT gone(), fill();
TRUNCATE users;
SELECT count(*) FROM cache_keys();

-- Exactly at the commit.
INSERT INTO users SELECT i, i % 3, 'name ' || i FROM generate_series(1, 6) i;
SELECT fill(), gone();
BEGIN;
UPDATE users SET name = 'y' WHERE id = 1;
SELECT gone();
SAVEPOINT s;
DELETE FROM users WHERE id = 2;
SELECT gone();
ROLLBACK TO SAVEPOINT s;
SELECT gone();
ROLLBACK;
SELECT gone();
BEGIN;
UPDATE users SET name = 'y' WHERE id = 1;
-- Write-through after the change.
SELECT cache_set('user:1:profile', to_jsonb(u), tags => ARRAY['org:' || org_id]) FROM users u WHERE id = 1;
COMMIT;
SELECT gone(), cache_get('user:1:profile') ->> 'name' AS name;
-- Before the change it is dropped.
BEGIN;
SELECT cache_set('user:1:profile', '"early"');
UPDATE users SET name = 'z' WHERE id = 1;
COMMIT;
SELECT cache_get('user:1:profile');
-- A value from before one's own change is refused, unlike after one's own cache_delete.
SELECT cache_get('user:2:profile') IS NOT NULL AS hit, cache_delete('user:2:profile'), cache_get('user:2:profile');
SELECT to_jsonb(u) AS old FROM users u WHERE id = 2 \gset
UPDATE users SET name = 'newer' WHERE id = 2;
SELECT cache_set('user:2:profile', :'old');

-- A watch is for rows of all kinds of types, in their text form, whatever the settings.
CREATE TYPE color AS ENUM ('red', 'dark red');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE types (b boolean, i2 smallint, i8 bigint, p positive, t text, v varchar(10), c char(10), n name, u uuid, num numeric, d date, ts timestamp,
    tz timestamptz, i interval, f float8, by bytea, e color, a int[], r int4range, j jsonb, ip inet, pr pair, ch "char");
INSERT INTO types VALUES (true, -1, 9223372036854775807, 3, 'te:xt{}%', 'var', 'char', 'name', '00000000-0000-0000-0000-00000000000a', 1.50, '2026-02-01',
    '2026-02-01 10:00', '2026-02-01 10:00+02', '1 day 02:00', 0.1, '\x00ff', 'dark red', '{1,2}', '[1,3)', '{"a": 1}', '10.0.0.1', '(1,x)', 'q');
SELECT attname AS column FROM pg_attribute WHERE attrelid = 'types'::regclass AND attnum > 0 ORDER BY attnum;
SELECT count(cache_watch('types', format('%s={%s}', attname, attname))) FROM pg_attribute WHERE attrelid = 'types'::regclass AND attnum > 0;
SELECT key FROM cache_watches WHERE relation = 'types'::regclass ORDER BY id LIMIT 3;
CREATE FUNCTION keys_of_types() RETURNS SETOF text LANGUAGE sql SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = postgres SET bytea_output = hex AS $$
    SELECT format('%s=%s', c.name, cache_quote(c.value)) FROM types t, LATERAL (VALUES
        ('b', b::text), ('i2', i2::text), ('i8', i8::text), ('p', p::text), ('t', t), ('v', v::text), ('c', c::text), ('n', n::text), ('u', u::text), ('num', num::text),
        ('d', d::text), ('ts', ts::text), ('tz', tz::text), ('i', i::text), ('f', f::text), ('by', by::text), ('e', e::text), ('a', a::text), ('r', r::text),
        ('j', j::text), ('ip', ip::text), ('pr', pr::text), ('ch', ch::text)) c(name, value)
$$;
SELECT * FROM keys_of_types();
SELECT count(*), count(*) FILTER (WHERE cache_set(k, '1')) AS set FROM keys_of_types() k;
SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo'; SET intervalstyle = iso_8601; SET extra_float_digits = -3; SET bytea_output = escape;
UPDATE types SET i2 = i2;
SHOW datestyle; SHOW timezone; SHOW intervalstyle; SHOW extra_float_digits; SHOW bytea_output;
RESET datestyle; RESET timezone; RESET intervalstyle; RESET extra_float_digits; RESET bytea_output;
SELECT k FROM keys_of_types() k WHERE cache_exists(k);
-- NULL is the empty string.
SELECT cache_set('b=', '1'), cache_set('t=', '1');
INSERT INTO types DEFAULT VALUES;
SELECT cache_get('b='), cache_get('t=');

-- No value can name another's key. Braces that stand for themselves. What is too long for a key is nobody's.
CREATE TABLE tricky ("Odd name" text, "with:colon" text, x text);
SELECT cache_watch('tricky', 'a:{Odd name}:{with:colon}', ARRAY['{{x}}{x}', '{x}']) AS tricky \gset
SELECT key, tags FROM cache_watches WHERE id = :tricky;
SELECT cache_set('a:1:2', '1'), cache_set('a:1%3A2:', '1'), cache_set('a:{x}:', '1'), cache_set('braces', '1', tags => '{"{x}v"}'), cache_set('braces2', '1', tags => '{v}');
INSERT INTO tricky VALUES ('1:2', '', 'w'), ('{x}', NULL, 'w'), (repeat('long', 1000), 'x', '');
SELECT k, cache_exists(k) FROM unnest(ARRAY['a:1:2', 'a:1%3A2:', 'a:{x}:', 'braces', 'braces2']) k;
INSERT INTO tricky VALUES ('', '', 'v');
SELECT k, cache_exists(k) FROM unnest('{braces,braces2}'::text[]) k;
SELECT cache_quote('a:{b}%'), cache_quote(''), cache_quote(NULL), cache_quote('é/–');

-- The table changes.
DROP VIEW few;
ALTER TABLE users RENAME COLUMN org_id TO team_id;
ALTER TABLE users RENAME TO people;
CREATE SCHEMA "Other";
ALTER TABLE people SET SCHEMA "Other";
SELECT relation, key, tags, problem FROM cache_watches WHERE id = :users_watch;
SELECT fill();
UPDATE "Other".people SET name = 'moved' WHERE id = 4;
SELECT gone();
\set VERBOSITY terse
ALTER TABLE "Other".people DROP COLUMN team_id;
ALTER TABLE "Other".people ALTER COLUMN team_id TYPE bigint;
\set VERBOSITY default
-- What changes all rows ends all entries; what does not, too.
CREATE FUNCTION ends_all(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cache_set('unrelated', '1', immediate => true);
    EXECUTE statement;
    RETURN cache_get('unrelated') IS NULL;
END
$$;
SELECT format('SELECT %L AS statement, ends_all(%1$L)', s) FROM unnest(ARRAY[
    'ALTER TABLE "Other".people ADD COLUMN extra int DEFAULT 1',
    'ALTER TABLE "Other".people ALTER COLUMN name TYPE varchar',
    'ALTER TABLE "Other".people DROP COLUMN extra',
    'ALTER TABLE "Other".people DISABLE TRIGGER USER',
    'ALTER TABLE "Other".people ENABLE TRIGGER USER',
    'TRUNCATE "Other".people',
    'CREATE TABLE unwatched (id int)',
    'ALTER TABLE unwatched ADD COLUMN x int DEFAULT 2',
    'TRUNCATE unwatched',
    'CREATE INDEX ON "Other".people (name)',
    'DROP TABLE unwatched']) s \gexec
SELECT regexp_replace(unnest(string_to_array(problem, '; ')), '\d+', 'N') AS problem FROM cache_watches WHERE id = :users_watch;
SELECT item, ok, left(detail, 21) AS detail, fix FROM pgcache.check() WHERE item = 'watches';
SELECT pgcache.repair_watches();
SELECT problem FROM cache_watches WHERE id = :users_watch;
-- CASCADE ends the watch with the column; nothing is left over.
SET client_min_messages = warning;
ALTER TABLE "Other".people DROP COLUMN team_id CASCADE;
RESET client_min_messages;
SELECT count(*) FROM pg_trigger WHERE tgrelid = '"Other".people'::regclass;
SELECT ends_all('DROP TABLE types');

SELECT cache_unwatch(:tricky), cache_unwatch(:tricky), cache_unwatch(0), cache_unwatch(-1);
SELECT count(*) FROM cache_watches;
SELECT count(*) FROM pgcache.watch_triggers();

-- What can't be watched, and how not to write a template.
\set SHOW_CONTEXT never
CREATE VIEW a_view AS SELECT 1 AS id;
CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS id;
CREATE TEMP TABLE a_temp (id int);
CREATE SEQUENCE a_sequence;
CREATE FOREIGN DATA WRAPPER a_wrapper;
CREATE SERVER a_server FOREIGN DATA WRAPPER a_wrapper;
CREATE FOREIGN TABLE a_foreign (id int) SERVER a_server;
CREATE TABLE t (id int, "Id" int);
\set VERBOSITY terse
SELECT cache_watch('a_view', 'k:{id}');
SELECT cache_watch('a_matview', 'k:{id}');
SELECT cache_watch('a_temp', 'k:{id}');
SELECT cache_watch('a_sequence', 'k');
SELECT cache_watch('a_foreign', 'k:{id}');
SELECT cache_watch('pg_class', 'k:{oid}');
SELECT cache_watch('t_id', 'k');
SELECT cache_watch(0, 'k');
SELECT cache_watch(NULL, 'k');
SELECT cache_watch('t');
SELECT cache_watch('t', tags => '{}');
SELECT cache_watch('t', tags => '{a,NULL}');
SELECT cache_watch('t', '');
SELECT cache_watch('t', 'k:{id');
SELECT cache_watch('t', 'k:{i{d}');
SELECT cache_watch('t', 'k:id}');
SELECT cache_watch('t', 'k:{}');
SELECT cache_watch('t', 'k:{ID}');
SELECT cache_watch('t', 'k:{ctid}');
SELECT cache_watch('t', 'k:{absent}');
SELECT cache_watch('t', repeat('k', 1025));
SELECT cache_watch('t', tags => array_agg('t' || i)) FROM generate_series(1, 65) i;
SELECT cache_unwatch(NULL);
SELECT pgcache.watch_changed();
SELECT pgcache.watch_members();
SELECT count(*) FROM cache_watches;
-- A foreign table below a watched one.
CREATE TABLE parent (id int) PARTITION BY LIST (id);
SELECT cache_watch('parent', 'k:{id}') AS parent \gset
CREATE FOREIGN TABLE part PARTITION OF parent FOR VALUES IN (1) SERVER a_server;
CREATE TABLE plain (id int);
SELECT cache_watch('plain', 'k:{id}') AS plain \gset
CREATE TEMP TABLE temp_child () INHERITS (plain);
CREATE TABLE unwatched (id int) PARTITION BY LIST (id);
CREATE FOREIGN TABLE part PARTITION OF unwatched FOR VALUES IN (1) SERVER a_server;
SELECT cache_watch('unwatched', 'k:{id}');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA watches, "Other" CASCADE;
DROP FOREIGN DATA WRAPPER a_wrapper CASCADE;

-- cache_fetch in one session: what is run, what is stored, for whom. How often a query ran is read from cache_stats.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
CREATE SCHEMA fetching;
SET search_path = fetching, public;
SELECT cache_clear() >= 0 AS cleared, cache_stats_reset();
CREATE FUNCTION runs() RETURNS bigint LANGUAGE sql AS $$ SELECT fetch_runs FROM cache_stats WHERE database = current_database() $$;
CREATE TABLE sales (id int, product text, amount numeric);
INSERT INTO sales VALUES (1, 'lamp', 20), (2, 'lamp', 25), (3, 'desk', NULL);

-- A miss runs the query, a hit does not.
SELECT cache_fetch('total', 'SELECT sum(amount) FROM sales', '5 minutes'), runs();
SELECT cache_fetch('total', 'SELECT sum(amount) FROM sales', '5 minutes'), runs();
-- It is an entry like others.
SELECT cache_get('total'), cache_exists('total'), cache_ttl('total') <= '5 minutes' AS ttl, (cache_entry('total')).kind, (cache_entry('total')).value;
SELECT key, value FROM cache_get_many('{total}');
SELECT key, kind FROM cache_keys();
SELECT cache_take('total'), cache_get('total');
SELECT cache_fetch('total', 'SELECT 100'), cache_incr('total', 5), cache_get('total'), cache_fetch('total', 'SELECT 1'), runs();
SELECT cache_set('total', '"set"'), cache_fetch('total', 'SELECT 2'), runs();
SELECT cache_delete('total');
SELECT cache_fetch('total', 'SELECT 3'), cache_touch('total', '1 hour'), cache_ttl('total') > '59 minutes' AS touched, runs();
SELECT cache_set_text('text', 'x'), cache_set_bytes('bytes', 'x'), cache_incr('counter', 7);
SELECT cache_fetch('counter', 'SELECT 1');
SELECT cache_fetch('text', 'SELECT 1');
SELECT cache_fetch('bytes', 'SELECT 1');

-- Results.
SELECT cache_fetch('one', $$SELECT 'a "text"'$$), cache_fetch('null', 'SELECT NULL::int'), cache_fetch('bool', 'SELECT true'), cache_fetch('json', $$SELECT '{"a": [1, null]}'::json$$),
       cache_fetch('array', 'SELECT ARRAY[[1, 2], [3, NULL]]'), cache_fetch('row', 'SELECT ROW(1, 2)'), cache_fetch('date', $$SELECT date '2026-02-01'$$), cache_fetch('num', 'SELECT 1.50');
SELECT cache_fetch('columns', 'SELECT 1 AS a, NULL AS b'), cache_fetch('rows', 'SELECT id, product FROM sales ORDER BY id'), cache_fetch('same name', 'SELECT 1 AS x, 2 AS x'), cache_fetch('no column', 'SELECT');
SELECT cache_fetch('composite', 'SELECT s FROM sales s WHERE id = 1'), cache_fetch('values', 'VALUES (1), (2)'), cache_fetch('table', 'TABLE sales LIMIT 1'), cache_fetch('with', 'WITH w AS (SELECT 1) SELECT * FROM w;');
-- No row is null, and that is stored.
SELECT runs() AS before \gset
SELECT cache_fetch('none', 'SELECT 1 FROM sales WHERE false'), cache_exists('none'), cache_fetch('none', 'SELECT 1'), runs() - :before AS runs;
SELECT jsonb_array_length(cache_fetch('many', 'SELECT i, repeat(''x'', 100) AS t FROM generate_series(1, 20000) i')), pg_column_size(cache_get('many')) > 2000000 AS large, cache_get('many') -> 19999 ->> 'i' AS last;

-- Parameters.
SELECT cache_fetch('p1', 'SELECT sum(amount) FROM sales WHERE product = $1 AND id > $2', params => '["lamp", 1]');
SELECT cache_fetch('p2', 'SELECT count(*) FROM sales WHERE id = ANY ($1)', params => '[[1, 3]]'), cache_fetch('p3', 'SELECT $1::int + $1', params => '[2]'), cache_fetch('p4', 'SELECT $2', params => '["unused", "x"]');
SELECT cache_fetch('p5', 'SELECT $1::text IS NULL', params => '[null]'), cache_fetch('p6', 'SELECT $1::jsonb', params => '[{"a": "b"}]'), cache_fetch('p7', 'SELECT $1::date + 1', params => '["2026-02-28"]'), cache_fetch('p8', 'SELECT $1::sales', params => '[{"id": 5, "product": "x"}]');
SELECT cache_fetch('p9', 'SELECT $1', params => '["Robert''); DROP TABLE sales; --"]'), cache_fetch('p10', 'SELECT $1::bigint', params => '[9223372036854775807]'), cache_fetch('p11', 'SELECT 1', params => '[]'), cache_fetch('p12', 'SELECT $1::numeric[]', params => '[[1.5, null]]');
SELECT cache_fetch('p13', 'SELECT $60::int', params => (SELECT jsonb_agg(i) FROM generate_series(1, 60) i));

-- An invalidation ends it: by key, by tag, by a watch.
SELECT cache_watch('sales', 'sold:{product}', ARRAY['sales']) > 0 AS watched;
SELECT cache_fetch('sold:lamp', 'SELECT sum(amount) FROM sales WHERE product = $1', params => '["lamp"]'), cache_fetch('all', 'SELECT count(*) FROM sales', tags => '{sales}'), cache_fetch('other', 'SELECT 1');
INSERT INTO sales VALUES (4, 'lamp', 5);
SELECT cache_get('sold:lamp'), cache_get('all'), cache_get('other');
SELECT cache_fetch('sold:lamp', 'SELECT sum(amount) FROM sales WHERE product = $1', params => '["lamp"]'), cache_fetch('all', 'SELECT count(*) FROM sales', tags => '{sales}');

-- A transaction that has written sees its own rows, and stores nothing.
BEGIN;
UPDATE sales SET amount = 100 WHERE id = 1;
SELECT cache_fetch('sold:lamp', 'SELECT sum(amount) FROM sales WHERE product = $1', params => '["lamp"]'), cache_fetch('other', 'SELECT 2'), cache_fetch('new', 'SELECT sum(amount) FROM sales');
ROLLBACK;
SELECT cache_get('sold:lamp'), cache_get('new'), cache_get('other');
BEGIN;
SELECT cache_delete('other'), cache_fetch('other', 'SELECT 3');
COMMIT;
SELECT cache_get('other');
INSERT INTO sales SELECT 5, 'x', cache_fetch('in an insert', 'SELECT 5')::int;
SELECT cache_get('in an insert');
-- One that has not stores at once, whatever becomes of it.
BEGIN;
SELECT cache_fetch('read', 'SELECT count(*) FROM sales');
ROLLBACK;
SELECT cache_get('read');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cache_fetch('repeatable', 'SELECT count(*) FROM sales'), cache_fetch('repeatable', 'SELECT 0');
COMMIT;
SELECT cache_get('repeatable');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT runs() AS before \gset
SELECT cache_fetch('repeatable', 'SELECT 10'), cache_fetch('repeatable', 'SELECT 11'), runs() - :before AS runs;
COMMIT;

-- Time.
SET pgcache.test_clock = '2030-01-01 00:00:00';
SELECT cache_fetch('t', 'SELECT 1', '1 minute', stale_for => '1 hour'), cache_ttl('t'), cache_fetch('s', 'SELECT 1', '1 minute'), cache_fetch('e', 'SELECT 1', '0', stale_for => '1 hour'), cache_ttl('e');
SET pgcache.test_clock = '2030-01-01 00:00:58';
SELECT cache_fetch('t', 'SELECT 2', '1 minute', stale_for => '1 hour'), cache_fetch('s', 'SELECT 2', '1 minute');
SET pgcache.test_clock = '2030-01-01 00:01:00';
SELECT cache_get('t'), cache_get('s');
-- The first caller refreshes.
SELECT cache_fetch('t', 'SELECT 3', '1 minute', stale_for => '1 hour'), cache_fetch('t', 'SELECT 4', '1 minute', stale_for => '1 hour'), cache_get('t');
-- Who may not share gets the old value.
SET pgcache.test_clock = '2030-01-01 00:02:30';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cache_fetch('t', 'SELECT 5', '1 minute', stale_for => '1 hour');
COMMIT;
-- An error in the refresh leaves it.
SELECT cache_fetch('t', 'SELECT 1 / 0', '1 minute', stale_for => '1 hour');
SELECT cache_get('t');
SET pgcache.test_clock = '2030-01-01 01:02:00';
SELECT cache_get('t'), cache_fetch('t', 'SELECT 6', '1 minute', stale_for => '1 hour'), cache_fetch('e', 'SELECT 2', '0');
RESET pgcache.test_clock;

-- Roles.
CREATE ROLE regress_pgcache_ann;
CREATE ROLE regress_pgcache_bob;
SELECT pgcache.grant_to(r) FROM unnest('{regress_pgcache_ann,regress_pgcache_bob}'::regrole[]) r;
GRANT USAGE ON SCHEMA fetching TO regress_pgcache_ann, regress_pgcache_bob;
SET ROLE regress_pgcache_ann;
SELECT cache_fetch('role', 'SELECT current_user'), cache_fetch('role', 'SELECT 0'), cache_fetch('shared', 'SELECT current_user', shared => true);
SET ROLE regress_pgcache_bob;
SELECT cache_fetch('role', 'SELECT current_user'), cache_fetch('role', 'SELECT 0'), cache_fetch('role', 'SELECT 1', shared => true), cache_fetch('shared', 'SELECT current_user', shared => true), cache_fetch('shared', 'SELECT current_user');
-- The entry stays with its owner.
SET ROLE regress_pgcache_ann;
SELECT cache_fetch('role', 'SELECT 0'), cache_fetch('shared', 'SELECT 0');
-- With the caller's rights.
SELECT cache_fetch('secret', 'SELECT count(*) FROM sales');
RESET ROLE;
CREATE FUNCTION total() RETURNS jsonb LANGUAGE sql SECURITY DEFINER SET search_path = fetching, public AS $$ SELECT cache_fetch('secret', 'SELECT count(*) FROM sales') $$;
GRANT EXECUTE ON FUNCTION total() TO regress_pgcache_ann;
SET ROLE regress_pgcache_ann;
SELECT total();
RESET ROLE;
SELECT cache_fetch('secret', 'SELECT 0');

-- Row-level security.
CREATE TABLE notes (tenant text, note text);
INSERT INTO notes VALUES ('a', 'of a'), ('b', 'of b');
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (tenant = current_setting('app.tenant'));
GRANT SELECT ON notes TO regress_pgcache_ann;
CREATE VIEW note_view WITH (security_invoker) AS SELECT * FROM notes;
GRANT SELECT ON note_view TO regress_pgcache_ann;
SELECT cache_fetch('notes', 'SELECT note FROM notes');
SET ROLE regress_pgcache_ann;
SET app.tenant = 'a';
SELECT cache_fetch('notes', 'SELECT note FROM notes');
SELECT cache_fetch('notes', 'SELECT note FROM note_view');
SELECT cache_fetch('notes', 'SELECT (SELECT count(*) FROM notes)');
SELECT cache_fetch('notes:a', 'SELECT note FROM notes', shared => true);
SET app.tenant = 'b';
SELECT cache_fetch('notes:b', 'SELECT note FROM notes', shared => true), cache_fetch('notes:a', 'SELECT note FROM notes', shared => true);
RESET ROLE;
RESET app.tenant;

-- What changes anything is refused, also deep inside.
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO sales VALUES (9); RETURN 1; END $$;
CREATE FUNCTION locks() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM * FROM sales FOR UPDATE; RETURN 1; END $$;
CREATE SEQUENCE numbers;
\set VERBOSITY sqlstate
SELECT cache_fetch('w', 'DELETE FROM sales');
SELECT cache_fetch('w', 'WITH d AS (DELETE FROM sales RETURNING id) SELECT * FROM d');
SELECT cache_fetch('w', 'SELECT * FROM sales FOR UPDATE');
SELECT cache_fetch('w', 'SELECT * FROM (SELECT * FROM sales FOR SHARE) s');
SELECT cache_fetch('w', 'SELECT 1 AS x INTO new_table');
SELECT cache_fetch('w', 'CREATE TABLE x AS SELECT 1');
SELECT cache_fetch('w', 'SHOW work_mem');
SELECT cache_fetch('w', 'EXPLAIN SELECT 1');
SELECT cache_fetch('w', 'COPY sales TO stdout');
SELECT cache_fetch('w', 'DO ''''');
SELECT cache_fetch('w', 'SELECT (SELECT id FROM sales FOR UPDATE)');
SELECT cache_fetch('w', 'COMMIT');
SELECT cache_fetch('w', 'SELECT writes()');
SELECT cache_fetch('w', 'SELECT locks()');
SELECT cache_fetch('w', $$SELECT nextval('numbers')$$);
-- What is no query.
SELECT cache_fetch('w', 'SELECT 1; SELECT 2');
SELECT cache_fetch('w', '');
SELECT cache_fetch('w', '-- nothing');
SELECT cache_fetch('w', 'SELEC 1');
SELECT cache_fetch('w', 'SELECT 1 +');
SELECT cache_fetch('w', 'SELECT absent');
SELECT cache_fetch('w', 'SELECT * FROM absent');
SELECT cache_fetch('w', 'SELECT 1 / 0');
-- Arguments.
SELECT cache_fetch(NULL, 'SELECT 1');
SELECT cache_fetch('', 'SELECT 1');
SELECT cache_fetch(repeat('k', 1025), 'SELECT 1');
SELECT cache_fetch('w', NULL);
SELECT cache_fetch('w', 'SELECT 1', '-1 second');
SELECT cache_fetch('w', 'SELECT 1', stale_for => '-1 second');
SELECT cache_fetch('w', 'SELECT 1', '10000 days', stale_for => '1 second');
SELECT cache_fetch('w', 'SELECT 1', params => '{}');
SELECT cache_fetch('w', 'SELECT 1', params => '1');
SELECT cache_fetch('w', 'SELECT 1', params => '[1]');
SELECT cache_fetch('w', 'SELECT $1');
SELECT cache_fetch('w', 'SELECT $2', params => '[1]');
SELECT cache_fetch('w', 'SELECT $1::int', params => '["x"]');
SELECT cache_fetch('w', 'SELECT $1::int', params => '[{"a": 1}]');
SELECT cache_fetch('w', 'SELECT 1', tags => '{a,NULL}');
SELECT cache_fetch('w', 'SELECT 1', tags => array_agg('t' || i)) FROM generate_series(1, 65) i;
\set VERBOSITY default
SELECT cache_exists('w'), count(*) FROM sales WHERE id = 9;
SHOW transaction_read_only;
-- The error points into the query.
SELECT cache_fetch('w', 'SELECT absent FROM sales');
SELECT cache_fetch('w', 'SELECT $1', params => '[1, 2]');
-- In a subtransaction that fails, nothing is left behind.
DO $$ BEGIN PERFORM cache_fetch('w', 'SELECT 1 / 0'); EXCEPTION WHEN division_by_zero THEN INSERT INTO fetching.sales VALUES (10); END $$;
SELECT cache_fetch('w', 'SELECT 1'), count(*) FROM sales WHERE id = 10;

-- What is too large is returned, and not stored.
SET pgcache.max_value_size = 1000;
SELECT length(cache_fetch('large', $$SELECT repeat('x', 2000)$$) #>> '{}'), cache_exists('large');
RESET pgcache.max_value_size;

-- A fetch in a fetch; the key itself in it.
SELECT cache_fetch('outer', $$SELECT cache_fetch('inner', 'SELECT 1')::int + 1$$), cache_get('inner'), cache_get('outer');
SELECT cache_fetch('self', $$SELECT cache_fetch('self', 'SELECT 1')::int + 1$$), cache_get('self');
-- Its tags end it.
SELECT cache_fetch('set', 'SELECT 1', tags => '{a,b}'), cache_invalidate('{b}'), cache_get('set');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA fetching CASCADE;
SELECT pgcache.revoke_from(r) FROM unnest('{regress_pgcache_ann,regress_pgcache_bob}'::regrole[]) r;
DROP ROLE regress_pgcache_ann, regress_pgcache_bob;

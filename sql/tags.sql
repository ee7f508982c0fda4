-- Tags: what cache_invalidate ends and what it leaves, what a set makes of an entry's tags, and what is no tag.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET pgcache.test_clock = '2040-01-01 00:00:00+00';

-- Each entry goes with any of its tags; what has none of them stays.
SELECT cache_set('user:1', '1', tags => '{org:7}'), cache_set_text('user:2', '2', tags => '{org:7,role:admin}'), cache_set_bytes('user:3', '\x03', tags => '{role:admin}'), cache_set('user:4', '4');
SELECT cache_get('user:1'), cache_get_text('user:2'), cache_get_bytes('user:3'), cache_get('user:4');
SELECT cache_invalidate('{org:7}');
SELECT cache_get('user:1'), cache_get_text('user:2'), cache_get_bytes('user:3'), cache_get('user:4');
SELECT cache_invalidate(ARRAY['role:admin']);
SELECT cache_get_bytes('user:3'), cache_get('user:4');

-- It is gone for every function.
SELECT cache_set('k', '1', tags => '{a}'), cache_set_text('t', 'x', tags => '{a}'), cache_set_bytes('b', 'x', tags => '{a}'), cache_invalidate('{a}');
SELECT cache_get('k'), cache_get_text('t'), cache_get_bytes('b'), cache_exists('k'), cache_ttl('k');
SELECT found, kind, value, expires_at, size_bytes FROM cache_entry('k');
SELECT count(*) FROM cache_get_many('{k}');
SELECT count(*) FROM cache_get_many_text('{t}');
SELECT count(*) FROM cache_get_many_bytes('{b}');
SELECT count(*) FROM cache_keys() WHERE key <> 'user:4';
SELECT cache_take('k'), cache_take_text('t'), cache_take_bytes('b');
SELECT cache_set('k', '1', tags => '{a}'), cache_set_text('t', 'x', tags => '{a}'), cache_invalidate('{a}');
SELECT cache_touch('k'), cache_delete('k'), cache_delete_many('{k,t}'), cache_delete_matching('_');
SELECT cache_set('k', '1', tags => '{a}'), cache_invalidate('{a}'), cache_set('k', '2', mode => 'if_present'), cache_set('k', '3', mode => 'if_absent'), cache_get('k');
SELECT cache_set('k', '1', '1 minute', tags => '{a}'), cache_invalidate('{a}'), cache_set('k', '2', keep_ttl => true), cache_ttl('k');
SELECT cache_set('k', '41', tags => '{a}'), cache_invalidate('{a}'), cache_incr('k');
SELECT cache_set('k', '41', tags => '{a}'), cache_invalidate('{a}'), cache_incr('k', create_missing => false);

-- The number is that of different tags, whether anything has them or not.
SELECT cache_invalidate('{}'), cache_invalidate('{nobody}'), cache_invalidate('{a,b,a}'), cache_invalidate('{{a,b},{c,d}}'), cache_invalidate('[5:6]={a,b}');
SELECT cache_invalidate(array_agg('tag:' || n % 1000)) FROM generate_series(1, 3000) n;
-- Again is as good as once, and what is stored after it stays.
SELECT cache_invalidate('{a}'), cache_invalidate('{a}'), cache_set('k', '1', tags => '{a}'), cache_get('k');

-- A thousand entries of a tag go at once; what has no tag stays.
SELECT cache_set_many((SELECT jsonb_object_agg('many:' || n, n) FROM generate_series(1, 1000) n), tags => '{many}');
SELECT cache_set_many((SELECT jsonb_object_agg('other:' || n, n) FROM generate_series(1, 1000) n));
SELECT cache_invalidate('{many}');
SELECT count(*) FROM cache_get_many((SELECT array_agg('many:' || n) FROM generate_series(1, 1000) n));
SELECT count(*) FROM cache_get_many((SELECT array_agg('other:' || n) FROM generate_series(1, 1000) n));
-- Every form of set_many gives its tags to all.
SELECT cache_set_many('{"j1": 1, "j2": 2}', '1 hour', '{a,b}'), cache_set_many_text('{t1,t2}', '{1,2}', '1 hour', '{b,a}'), cache_set_many_bytes('{b1,b2}', '{1,2}', tags => '{a}');
SELECT cache_exists('j1') AND cache_exists('j2') AND cache_exists('t1') AND cache_exists('t2') AND cache_exists('b1') AND cache_exists('b2') AS all_there;
SELECT cache_invalidate('{a}'), cache_exists('j1') OR cache_exists('j2') OR cache_exists('t1') OR cache_exists('t2') OR cache_exists('b1') OR cache_exists('b2') AS any_there;

-- A set decides the tags anew: none, others, more, or the same, whatever its size and kind.
SELECT cache_set('k', '1', tags => '{a}'), cache_set('k', '2'), cache_invalidate('{a}'), cache_get('k');
SELECT cache_set('k', '1', tags => '{a}'), cache_set('k', '2', tags => '{b}'), cache_invalidate('{a}'), cache_get('k'), cache_invalidate('{b}'), cache_get('k');
SELECT cache_set('k', '1'), cache_set('k', '2', tags => '{a}'), cache_invalidate('{a}'), cache_get('k');
SELECT cache_set('k', '1', tags => '{a}'), cache_set('k', '2', tags => '{a,b}'), cache_invalidate('{b}'), cache_get('k');
SELECT cache_set('k', '1', tags => '{a}'), cache_set_text('k', 'text', tags => '{b}'), cache_invalidate('{a}'), cache_get_text('k'), cache_invalidate('{b}'), cache_get_text('k');
SELECT cache_set('k', '1', tags => '{a}'), cache_set('k', '2', tags => NULL), cache_invalidate('{a}'), cache_get('k');
SELECT cache_set('k', '1', tags => '{a}'), cache_set('k', '2', tags => '{}'), cache_invalidate('{a}'), cache_get('k');
SELECT cache_set('k', '1', tags => '{a}'), cache_set('k', '2', keep_ttl => true), cache_invalidate('{a}'), cache_get('k');
SELECT cache_set('k', '1', tags => '{a}'), cache_set_many('{"k": 2}'), cache_invalidate('{a}'), cache_get('k');
-- A set that was refused by an option leaves the tags as they are.
SELECT cache_set('k', '1', tags => '{a}'), cache_set('k', '2', mode => 'if_absent', tags => '{b}'), cache_set('k', '2', if_version => 1, tags => '{b}'), cache_invalidate('{b}'), cache_get('k'), cache_invalidate('{a}'), cache_get('k');
-- So do a new time to live and counting.
SELECT cache_set('k', '1', tags => '{a}'), cache_touch('k', '2 hours'), cache_incr('k'), cache_get('k'), cache_invalidate('{a}'), cache_get('k');
-- A version from before the invalidation fits nothing any more.
SELECT cache_set('k', '1', tags => '{a}');
SELECT version AS seen FROM cache_entry('k') \gset
SELECT cache_invalidate('{a}'), cache_set('k', '2', if_version => :seen, tags => '{a}'), cache_delete('k', :seen), cache_exists('k');

-- Tags and keys of the same name have nothing to do with each other.
SELECT cache_set('name', '1'), cache_set('k', '1', tags => '{name}'), cache_invalidate('{name}'), cache_get('name'), cache_get('k');
SELECT cache_set('name', '1', tags => '{name}'), cache_set('k', '1', tags => '{name}'), cache_delete('name'), cache_get('k'), cache_delete_matching('name'), cache_get('k');
-- They are compared byte by byte, and nothing is folded or trimmed. (Two tags may share a slot of memory, by a rare chance.)
SELECT count(*) FILTER (WHERE stored AND tags = 1 AND still_there) >= 7 AS all_but_rare_chance FROM (
    SELECT cache_set('k', '1', tags => ARRAY[given]) AS stored, cache_invalidate(ARRAY[other]) AS tags, cache_exists('k') AS still_there
    FROM (VALUES ('org', 'Org'), ('org', 'org '), ('org', ' org'), ('org', 'or'), ('org', 'org1'), ('org', 'or_'), ('org', '%'), (U&'\00e9', U&'e\0301')) pairs (given, other)) each_pair;
SELECT count(*) FILTER (WHERE stored AND tags = 1 AND left_over IS NULL) FROM (
    SELECT cache_set('k', '1', tags => ARRAY[tag]) AS stored, cache_invalidate(ARRAY[tag]) AS tags, cache_get('k') AS left_over
    FROM unnest(ARRAY[' org', 'org ', E'org\n', 'ключ', '鍵', '🔑', U&'\00e9', '{a,b}', '%', 'it''s', '"q"', 'back\slash', E'\x01']) tag) each_tag;

-- 64 different ones, of 1 to 1,024 bytes; each of them ends the entry.
CREATE FUNCTION pg_temp.tags(count integer) RETURNS text[] LANGUAGE sql AS $$ SELECT array_agg('tag:' || n) FROM generate_series(1, count) n $$;
SELECT cache_set('k', '1', tags => pg_temp.tags(64)), cache_set('l', '1', tags => pg_temp.tags(64) || pg_temp.tags(64)), cache_get('k'), cache_get('l');
SELECT count(*) FILTER (WHERE stored AND was_there AND tags = 1 AND NOT still_there) FROM (
    SELECT cache_set('k', '1', tags => pg_temp.tags(64)) AS stored, cache_exists('k') AS was_there, cache_invalidate(ARRAY['tag:' || n]) AS tags, cache_exists('k') AS still_there
    FROM generate_series(1, 64) n) each_tag;
SELECT cache_set('k', '1', tags => ARRAY['x', repeat('x', 1024)]), cache_invalidate(ARRAY[repeat('x', 1024)]), cache_get('k');
SELECT cache_set('k', '1', tags => ARRAY[repeat('鍵', 341) || 'k']), cache_invalidate(ARRAY[repeat('鍵', 341) || 'k']), cache_get('k');
-- They cost little memory, and one that is given twice nothing.
SELECT cache_set('k', '1'), cache_set('l', '1', tags => '{a,b,c}'), cache_set('m', '1', tags => '{a,b,c,b,a}');
SELECT l.size_bytes - k.size_bytes BETWEEN 1 AND 12 AS four_each, m.size_bytes = l.size_bytes AS same FROM cache_entry('k') k, cache_entry('l') l, cache_entry('m') m;

-- What is wrong with one of them stops all: nothing is stored, nothing ends.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  ', state || ' ' || message, 'HINT: ' || nullif(hint, ''));
END
$$;
SELECT cache_set('k', '1', tags => '{a}');
\pset format unaligned
\pset tuples_only on
SELECT statement || E'\n  ' || pg_temp.refusal(statement) FROM (VALUES
    ($$SELECT cache_set('k', '2', tags => '{b,NULL}')$$),
    ($$SELECT cache_set('k', '2', tags => '{b,""}')$$),
    ($$SELECT cache_set('k', '2', tags => ARRAY['b', repeat('x', 1025)])$$),
    ($$SELECT cache_set('k', '2', tags => ARRAY[repeat('é', 512) || 'x'])$$),
    ($$SELECT cache_set('k', '2', tags => pg_temp.tags(65))$$),
    ($$SELECT cache_set_text('k', '2', tags => '{NULL}')$$),
    ($$SELECT cache_set_bytes('k', '2', tags => pg_temp.tags(10000))$$),
    ($$SELECT cache_set_many('{"k": 2, "new": 2}', tags => '{""}')$$),
    ($$SELECT cache_set_many_text('{k,new}', '{2,2}', tags => '{NULL}')$$),
    ($$SELECT cache_set_many_bytes('{k,new}', '{2,2}', tags => pg_temp.tags(65))$$),
    ($$SELECT cache_invalidate(NULL)$$),
    ($$SELECT cache_invalidate('{a,NULL}')$$),
    ($$SELECT cache_invalidate('{a,""}')$$),
    ($$SELECT cache_invalidate(ARRAY['a', repeat('x', 1025)])$$)) AS statements (statement);
\pset format aligned
\pset tuples_only off
SELECT cache_get('k'), cache_exists('new'), cache_invalidate('{b}'), cache_get('k'), cache_invalidate('{a}'), cache_get('k');
-- A tag that is too long is not shown whole.
SELECT length(pg_temp.refusal($$SELECT cache_invalidate(ARRAY[repeat('x', 1000000)])$$)) < 500 AS short;

-- With values and keys of every size, in one piece or in several.
SELECT count(*) FILTER (WHERE stored AND read = repeat('x', n * n * 17)) FROM (
    SELECT n, cache_set_text('size:' || n, repeat('x', n * n * 17), tags => pg_temp.tags(n % 64) || '{sizes}'::text[]) AS stored, cache_get_text('size:' || n) AS read
    FROM generate_series(1, 70) n) each_size;
SELECT count(*) FILTER (WHERE stored AND read = repeat('x', n)) FROM (
    SELECT n, cache_set_text('edge', repeat('x', n), tags => '{sizes,a,b}') AS stored, cache_get_text('edge') AS read
    FROM generate_series(15200, 15400) n) each_size;
SELECT cache_set_text(repeat('k', 1024), repeat('x', 3000000), tags => pg_temp.tags(63) || '{sizes}'::text[]), length(cache_get_text(repeat('k', 1024)));
SELECT cache_invalidate('{sizes}'), cache_exists('edge'), cache_exists(repeat('k', 1024)), (SELECT count(*) FROM generate_series(1, 70) n WHERE cache_exists('size:' || n));
-- A large value that lost its tag gives way to a new one.
SELECT count(*) FILTER (WHERE stored AND tags = 1 AND NOT still_there) FROM (
    SELECT cache_set_text('large', repeat('x', 1000000), tags => '{large}') AS stored, cache_invalidate('{large}') AS tags, cache_exists('large') AS still_there
    FROM generate_series(1, 100)) each_one;

-- Time to live and tags have nothing to do with each other.
SELECT cache_set('k', '1', '1 second', tags => '{a}'), cache_set('l', '1', '0', tags => '{a}');
SET pgcache.test_clock = '2040-01-01 00:00:01+00';
SELECT cache_get('k'), cache_get('l'), cache_invalidate('{a}'), cache_get('l');
RESET pgcache.test_clock;

-- Argument types that become text[], prepared statements, rows.
SELECT cache_set('varchar', '1', tags => ARRAY['a', 'b']::varchar[]), cache_invalidate(ARRAY['b']::varchar(10)[]), cache_get('varchar');
PREPARE store (text, jsonb, text[]) AS SELECT cache_set($1, $2, tags => $3);
PREPARE ended (text[]) AS SELECT cache_invalidate($1);
EXECUTE store('p', '1', '{a}');
SET plan_cache_mode = force_generic_plan;
EXECUTE store('q', '1', ARRAY['a', 'b']);
EXECUTE ended('{b}');
SELECT cache_get('p'), cache_get('q');
EXECUTE ended(NULL);
RESET plan_cache_mode;
DEALLOCATE ALL;
CREATE TABLE orders (id integer PRIMARY KEY, customer integer, total integer);
INSERT INTO orders SELECT n, n % 5, n * 10 FROM generate_series(1, 50) n;
SELECT count(*) FROM orders WHERE cache_set('order:' || id, to_jsonb(orders), tags => ARRAY['orders', 'customer:' || customer]);
SELECT sum(cache_invalidate(ARRAY['customer:' || customer])) FROM (SELECT DISTINCT customer FROM orders WHERE customer < 2) c;
SELECT count(*) FROM orders WHERE customer < 2 AND cache_exists('order:' || id);
SELECT count(*) >= 28 AS others FROM orders WHERE customer >= 2 AND cache_exists('order:' || id);

-- A trigger on the table knows best what has changed: one call for all the rows of a statement.
CREATE FUNCTION invalidate_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cache_invalidate(array_agg(DISTINCT 'customer:' || customer)) FROM changed HAVING count(*) > 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER invalidate_orders AFTER UPDATE ON orders REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION invalidate_orders();
SELECT cache_set('customer:3', '"report"', tags => '{customer:3}');
UPDATE orders SET total = 0 WHERE customer = 99;
SELECT cache_get('customer:3');
UPDATE orders SET total = 0 WHERE customer = 3 AND id > 40;
SELECT cache_get('customer:3');
DROP TABLE orders;
DROP FUNCTION invalidate_orders;

-- Tags belong to the database, as keys do.
SELECT current_database() AS here \gset
SELECT cache_set('k', '"here"', tags => '{shared}');
CREATE DATABASE regress_pgcache_tags;
\c regress_pgcache_tags
CREATE EXTENSION pgcache;
SELECT cache_set('k', '"there"', tags => '{shared}'), cache_invalidate('{shared}'), cache_get('k');
SELECT cache_set('k', '"there"', tags => '{shared}');
\c :here
SELECT cache_get('k'), cache_invalidate('{shared}'), cache_get('k');
\c regress_pgcache_tags
SELECT cache_get('k');
\c :here
DROP DATABASE regress_pgcache_tags;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

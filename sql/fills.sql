-- Filling the cache: a value is refused if what it was computed from may have changed since. Everything here is one
-- connection; what others do in between is in test/isolation.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
CREATE TABLE facts (id integer PRIMARY KEY, value integer);
INSERT INTO facts VALUES (1, 10);
CREATE VIEW pg_temp.counts AS SELECT refused, dropped, sets FROM cache_stats WHERE database = current_database();
SELECT cache_stats_reset();
-- The columns are where they belong.
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'cache_stats'::regclass AND attnum > 10;
SELECT exact FROM cache_stats WHERE database = current_database();

-- A miss, and the fill after it.
SELECT cache_get('fill');
SELECT cache_set('fill', to_jsonb(value)) FROM facts;
SELECT cache_get('fill');
SELECT * FROM pg_temp.counts;
-- What was invalidated since the miss makes it refuse, once: with the set the miss is forgotten.
SELECT cache_get('tagged');
SELECT cache_invalidate('{a}');
SELECT cache_set('tagged', '1', tags => '{a}'), cache_exists('tagged');
SELECT refused, sets FROM pg_temp.counts;
SELECT cache_set('tagged', '1', tags => '{a}'), cache_get('tagged');
-- A tag that the value does not have is nothing to it.
SELECT cache_get('untagged');
SELECT cache_invalidate('{a}');
SELECT cache_set('untagged', '1', tags => '{b}');
-- All entries, or those of a pattern, whatever it is: nobody knows what will match.
SELECT cache_get('cleared');
SELECT cache_clear() > 0 AS cleared;
SELECT cache_set('cleared', '1');
SELECT cache_get('matched');
SELECT cache_delete_matching('nothing like it%');
SELECT cache_set('matched', '1');
SELECT refused FROM pg_temp.counts;
-- The key itself: who deletes it on this connection knows what he stores after that.
SELECT cache_get('deleted');
SELECT cache_delete('deleted');
SELECT cache_set('deleted', '1');
SELECT cache_delete('deleted'), cache_get('deleted'), cache_delete_many('{deleted}');
SELECT cache_set('deleted', '2'), cache_get('deleted');
-- But that hides nothing else.
SELECT cache_delete('deleted'), cache_get('deleted'), cache_invalidate('{a}'), cache_delete('deleted');
SELECT cache_set('deleted', '3', tags => '{a}');
-- Deleting another key is nothing to it, but by a rare chance: keys share slots of memory.
SELECT count(*) FILTER (WHERE missed IS NULL AND stored) >= 18 AS stored FROM (
    SELECT cache_get('fill:' || n) AS missed, cache_delete('other:' || n), cache_set('fill:' || n, '1') AS stored FROM generate_series(1, 20) n) each_one;

-- Each function that reads remembers its miss.
SELECT cache_stats_reset();
SELECT cache_get('get'), cache_get_text('get_text'), cache_get_bytes('get_bytes'), (cache_entry('entry')).found, cache_exists('exists'), cache_ttl('ttl');
SELECT (SELECT count(*) FROM cache_get_many('{many:1,many:2}')), (SELECT count(*) FROM cache_get_many_text('{many:3}')), (SELECT count(*) FROM cache_get_many_bytes('{many:4}'));
SELECT cache_invalidate('{a}');
SELECT cache_set('get', '1', tags => '{a}'), cache_set_text('get_text', '1', tags => '{a}'), cache_set_bytes('get_bytes', '1', tags => '{a}'), cache_set('entry', '1', tags => '{a}'), cache_set('exists', '1', tags => '{a}'), cache_set('ttl', '1', tags => '{a}');
SELECT cache_set_many('{"many:1": 1}', tags => '{a}'), cache_set_many_text('{many:2,many:3}', '{1,1}', tags => '{a}'), cache_set_many_bytes('{many:4}', '{1}', tags => '{a}');
SELECT refused, sets FROM pg_temp.counts;
-- Several in one call: those are stored that may be.
SELECT cache_get('many:1');
SELECT cache_invalidate('{a}');
SELECT cache_set_many('{"many:1": 1, "many:5": 5}', tags => '{a}'), cache_get('many:1'), cache_get('many:5');
-- Of several misses the first counts, because the value may have been computed after any.
SELECT cache_get('again'), cache_invalidate('{a}');
SELECT cache_get('again'), cache_exists('again'), (cache_entry('again')).found;
SELECT cache_set('again', '1', tags => '{a}');
SELECT cache_exists('asked'), cache_invalidate('{a}'), cache_get('asked');
SELECT cache_set('asked', '1', tags => '{a}');
-- Without a miss behind it, a set is judged by its own statement, which sees all that was done before.
SELECT cache_invalidate('{a}');
SELECT cache_set('unasked', '1', tags => '{a}');
-- immediate is not judged at all.
SELECT cache_get('now'), cache_invalidate('{a}');
SELECT cache_set('now', '1', tags => '{a}', immediate => true), cache_get('now');
SELECT cache_delete('now'), cache_get('now'), cache_invalidate('{a}');
SELECT cache_set_many('{"now": 2}', tags => '{a}', immediate => true), cache_get('now');
-- What is remembered belongs to the connection.
SELECT cache_get('connection'), cache_invalidate('{a}');
\c
SELECT cache_set('connection', '1', tags => '{a}');

-- In transactions: what was rolled back has invalidated nothing, what was committed has.
SELECT cache_stats_reset();
SELECT cache_get('t1'), cache_get('t2'), cache_get('t3'), cache_get('t4'), cache_get('t5');
BEGIN;
SELECT cache_invalidate('{b}'), cache_clear() >= 0 AS cleared, cache_delete('t1'), cache_delete_matching('%') >= 0 AS matched;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT cache_invalidate('{b}'), cache_clear() >= 0 AS cleared;
ROLLBACK TO s;
COMMIT;
SELECT cache_set('t1', '1', tags => '{b}'), cache_set('t2', '1', tags => '{b}');
BEGIN;
SELECT cache_delete('t3'), cache_invalidate('{b}');
COMMIT;
SELECT cache_set('t3', '1'), cache_set('t4', '1'), cache_set('t5', '1', tags => '{b}');
SELECT refused, dropped FROM cache_stats WHERE database = current_database();
-- A transaction's own invalidation is no reason to refuse what it sets after it.
SELECT cache_get('t6');
BEGIN;
UPDATE facts SET value = 11;
SELECT cache_invalidate('{b}'), cache_delete('t6');
SELECT cache_set('t6', to_jsonb(value), tags => '{b}') FROM facts;
COMMIT;
SELECT cache_get('t6');
-- A held set follows a miss as one at once does.
BEGIN;
SELECT cache_get('t7');
SELECT cache_set('t7', to_jsonb(value), tags => '{b}') FROM facts;
COMMIT;
SELECT cache_get('t7');
SELECT cache_get('t8'), cache_invalidate('{b}');
BEGIN;
SELECT cache_set('t8', '1', tags => '{b}'), cache_get('t8'), cache_set_many('{"t8": 2}', tags => '{b}'), cache_get('t8');
COMMIT;
SELECT cache_get('t8');
-- Refused in a transaction that changes rows, nothing older stays.
SELECT cache_stats_reset();
SELECT version AS missed FROM cache_entry('t9') \gset
SELECT cache_set('t9', '"older"', immediate => true), cache_delete('t9'), cache_set('t10', '"older"', immediate => true);
BEGIN;
UPDATE facts SET value = 12;
SELECT cache_set('t9', '12', if_version => :missed), cache_get('t9');
COMMIT;
SELECT cache_get('t9');
SELECT refused, dropped FROM cache_stats WHERE database = current_database();
-- What mode or if_version says no to is no set: it leaves what is there.
BEGIN;
UPDATE facts SET value = 12;
SELECT cache_set('t10', '12', if_version => :missed), cache_set('t10', '12', mode => 'if_absent'), cache_set('t11', '12', mode => 'if_present');
COMMIT;
SELECT cache_get('t10'), cache_get('t11');
SELECT refused, dropped FROM cache_stats WHERE database = current_database();
-- Write-through: what a transaction sets is what it has changed, and no miss is behind it.
SELECT cache_set('through', '12');
BEGIN;
UPDATE facts SET value = 13;
SELECT cache_set('through', to_jsonb(value), '1 hour', tags => '{b}') FROM facts;
COMMIT;
SELECT value, cache_get('through') FROM facts;
UPDATE facts SET value = 14 RETURNING cache_set('through', to_jsonb(value));
SELECT value, cache_get('through') FROM facts;

-- if_version: the same by the version of a miss, on whatever connection the value was computed.
SELECT cache_stats_reset();
SELECT found, version AS missed FROM cache_entry('v') \gset
SELECT cache_set('v', '1', if_version => :missed), cache_get('v'), cache_set('v', '2', if_version => :missed), cache_get('v');
SELECT cache_delete('v');
SELECT version AS missed FROM cache_entry('v') \gset
\c
SELECT cache_set('v', '1', if_version => :missed), cache_get('v');
SELECT cache_delete('v');
SELECT version AS missed FROM cache_entry('v') \gset
-- The key was deleted since: also by this connection, which the version does not know.
SELECT cache_delete('v'), cache_set('v', '1', if_version => :missed), cache_exists('v');
SELECT version AS missed FROM cache_entry('v') \gset
SELECT cache_invalidate('{a}'), cache_set('v', '1', if_version => :missed, tags => '{b,a}'), cache_set('v', '2', if_version => :missed, tags => '{b}'), cache_get('v');
SELECT cache_delete('v');
SELECT version AS missed FROM cache_entry('v') \gset
SELECT cache_clear() >= 0 AS cleared, cache_set('v', '1', if_version => :missed);
SELECT version AS missed FROM cache_entry('v') \gset
SELECT cache_delete_matching('nothing like it%'), cache_set_text('v', '1', if_version => :missed);
SELECT version AS missed FROM cache_entry('v') \gset
SELECT cache_set('v', '"other"', immediate => true), cache_delete('v'), cache_set_bytes('v', '1', if_version => :missed);
-- No miss has the version 0, nor one that is yet to come.
SELECT cache_set('v', '1', if_version => 0), cache_set('v', '1', if_version => -1), cache_set('v', '1', if_version => 9223372036854775807), cache_exists('v');
SELECT version > 0 AS has_version FROM cache_entry('v');
-- In a transaction it is asked at the call and again at the commit.
SELECT version AS missed FROM cache_entry('w') \gset
BEGIN;
SELECT cache_set('w', '1', if_version => :missed), cache_set('w', '2', if_version => :missed), cache_get('w');
COMMIT;
SELECT cache_get('w'), cache_delete('w');
SELECT version AS missed FROM cache_entry('w') \gset
BEGIN;
SELECT cache_set('w', '2', if_version => :missed), cache_set('w', '"first"', immediate => true), cache_get('w');
COMMIT;
SELECT cache_get('w'), cache_delete('w');
SELECT dropped FROM cache_stats WHERE database = current_database();
SELECT version AS missed FROM cache_entry('w') \gset
BEGIN;
SELECT cache_delete('w'), cache_set('w', '3', if_version => :missed);
ROLLBACK;
SELECT cache_set('w', '4', if_version => :missed), cache_get('w');
-- With immediate, it is all that is asked.
SELECT cache_delete('w');
SELECT version AS missed FROM cache_entry('w') \gset
BEGIN;
SELECT cache_set('w', '5', if_version => :missed, immediate => true), cache_set('w', '6', if_version => :missed, immediate => true);
ROLLBACK;
SELECT cache_get('w');

-- In functions and DO blocks each statement counts as one.
CREATE FUNCTION cached_fact(fact integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb := cache_get('fact:' || fact);
BEGIN
    IF result IS NULL THEN
        SELECT to_jsonb(value) INTO result FROM facts WHERE id = fact;
        PERFORM cache_set('fact:' || fact, result, tags => ARRAY['facts']);
    END IF;
    RETURN result;
END
$$;
SELECT cached_fact(1), cache_exists('fact:1');
SELECT cached_fact(1);
BEGIN;
UPDATE facts SET value = 16;
SELECT cache_invalidate('{facts}'), cached_fact(1), cache_get('fact:1');
ROLLBACK;
SELECT cached_fact(1), cache_get('fact:1');
BEGIN;
UPDATE facts SET value = 16;
SELECT cache_invalidate('{facts}'), cached_fact(1);
COMMIT;
SELECT value, cached_fact(1), cache_get('fact:1') FROM facts;
DO $$
BEGIN
    PERFORM cache_get('do'), cache_invalidate('{a}');
    PERFORM cache_set('do', to_jsonb(cache_set('do', '1', tags => '{a}')), tags => '{b}');
END
$$;
SELECT cache_get('do');

-- 262,144 misses are remembered; the oldest are forgotten then, and the fill is judged by its statement alone.
SELECT cache_get('first') IS NULL AS missed;
SELECT count(cache_get('miss:' || n)) FROM generate_series(1, 100000) n;
SELECT cache_invalidate('{a}'), cache_set('first', '1', tags => '{a}');
SELECT cache_get('first') IS NULL AS missed;
SELECT count(cache_get('miss:' || n)) FROM generate_series(1, 400000) n;
SELECT cache_invalidate('{a}'), cache_set('first', '1', tags => '{a}');

-- cache_clear and cache_delete_matching count what is there and ask for no entry: a set after them has no miss behind it.
SELECT cache_set('counted', '1');
BEGIN;
SELECT cache_clear() > 0 AS cleared;
SELECT cache_clear(), cache_delete_matching('counted');
COMMIT;
SELECT cache_set('counted', '2');

DROP TABLE facts;
DROP FUNCTION cached_fact;
SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

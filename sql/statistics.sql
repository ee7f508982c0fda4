-- cache_stats: one row a database, counted at once, reset for this database only.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET pgcache.test_clock = '2040-01-01 00:00:00+00';
SELECT count(*) FROM cache_stats WHERE database = current_database();
SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = 'cache_stats'::regclass AND attnum > 0 ORDER BY attnum;
CREATE TEMP VIEW mine AS SELECT hits, misses, hit_ratio, sets, deletes, evictions, expirations FROM cache_stats WHERE database = current_database();

-- Nothing was asked for yet: no ratio.
SELECT cache_stats_reset();
\pset null none
SELECT * FROM mine;
\pset null ''
SELECT items, bytes_used >= 0 AS used, bytes_used <= bytes_allowed AS within, bytes_allowed > 0 AS allowed,
       since <= clock_timestamp() AND since > clock_timestamp() - '1 minute'::interval AS just_reset
FROM cache_stats WHERE database = current_database();

-- Reads.
SELECT cache_set('k', '1'), cache_get('k'), cache_get('k'), cache_get('k'), cache_get('nobody');
SELECT hits, misses, hit_ratio, sets FROM mine;
SELECT cache_set_text('t', 'x'), cache_get_text('t'), cache_get_text('nobody'), cache_set_bytes('b', 'x'), cache_get_bytes('b'), cache_get_bytes('nobody');
SELECT hits, misses, sets FROM mine;
SELECT count(*) FROM cache_get_many('{k,nobody,NULL,k}');
SELECT hits, misses FROM mine;
-- To look whether something is there is no use of it, nor is to be refused.
SELECT cache_exists('k'), cache_exists('nobody'), cache_ttl('k') IS NULL, (SELECT count(*) FROM cache_keys());
\set VERBOSITY sqlstate
SELECT cache_get_text('k');
\set VERBOSITY default
SELECT hits, misses FROM mine;

-- Writes that were done; those refused by an option are none.
SELECT cache_stats_reset();
SELECT cache_set('k', '2'), cache_set('k', '2', mode => 'if_absent'), cache_set('k', '2', if_version => 0);
SELECT cache_set_many('{"k": 1, "l": 2}'), cache_set_many_text('{t,u}', '{x,y}'), cache_set_many_bytes('{b}', '{x}'), cache_incr('n');
SELECT sets FROM mine;
-- Deletes of what was there.
SELECT cache_delete('k'), cache_delete('nobody'), cache_delete_many('{l,nobody}'), cache_delete_matching('t'), cache_take('n'), cache_take('n');
SELECT deletes FROM mine;
SELECT items FROM cache_stats WHERE database = current_database();
SELECT cache_clear();
SELECT deletes FROM mine;

-- What it holds: items and bytes.
SELECT items, bytes_used AS before FROM cache_stats WHERE database = current_database() \gset
SELECT cache_set_text('large', repeat('x', 100000));
SELECT :items AS items_before, items, bytes_used - :before BETWEEN 100000 AND 110000 AS grown FROM cache_stats WHERE database = current_database();
SELECT (cache_entry('large')).size_bytes = bytes_used - :before AS same FROM cache_stats WHERE database = current_database();
SELECT cache_delete('large');
SELECT items, bytes_used = :before AS back FROM cache_stats WHERE database = current_database();

-- What has expired is a miss, and counts as expired as soon as somebody comes across it.
SELECT cache_stats_reset(), cache_set('k', '1', '1 second');
SET pgcache.test_clock = '2040-01-01 00:00:01+00';
SELECT cache_get('k'), cache_set('k', '2');
SELECT hits, misses, sets, deletes, evictions, expirations FROM mine;

-- Counts are of all sessions: what another one counted stays when it ends.
SELECT cache_stats_reset();
SELECT cache_get('k'), cache_get('k'), cache_get('nobody');
\c
SELECT hits, misses, sets FROM cache_stats WHERE database = current_database();
SELECT cache_set('k', '1', '0'), cache_get('k');
SELECT hits, misses, sets FROM cache_stats WHERE database = current_database();

-- Reset: the counts, not what is cached.
SELECT since AS since_before FROM cache_stats WHERE database = current_database() \gset
SELECT cache_stats_reset();
SELECT hits, misses, sets, deletes, evictions, expirations, items, since > :'since_before' AS newer FROM cache_stats WHERE database = current_database();
SELECT cache_get('k');

-- Other databases have their own entries and counts.
SELECT current_database() AS here \gset
CREATE DATABASE regress_pgcache_other;
\c regress_pgcache_other
CREATE EXTENSION pgcache;
SELECT cache_get('k') AS not_ours, cache_set('k', '"other"'), cache_set('l', '"other"');
SELECT hits, misses, sets, items FROM cache_stats WHERE database = current_database();
SELECT cache_delete_matching('l'), (SELECT string_agg(key, ' ') FROM cache_keys()) AS keys;
SELECT cache_stats_reset(), cache_clear();
SELECT hits, misses, sets, items FROM cache_stats WHERE database = current_database();
\c :here
SELECT cache_get('k');
SELECT hits, misses, sets, items FROM cache_stats WHERE database = current_database();
SELECT count(*) FROM cache_stats WHERE database = 'regress_pgcache_other';
-- A database that is gone has no row, one of its name begins anew.
DROP DATABASE regress_pgcache_other;
SELECT count(*) FROM cache_stats WHERE database = 'regress_pgcache_other';
CREATE DATABASE regress_pgcache_other;
\c regress_pgcache_other
CREATE EXTENSION pgcache;
SELECT count(*) FROM cache_keys();
\c :here
DROP DATABASE regress_pgcache_other;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

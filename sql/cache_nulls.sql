-- NULL where it is allowed: reads give NULL or no row, options take their default. Refusals are in cache_errors.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET intervalstyle = 'postgres';
SET pgcache.test_clock = '2040-01-01 00:00:00+00';
\pset null NULL

SELECT cache_get(NULL), cache_get_text(NULL), cache_get_bytes(NULL), cache_exists(NULL), cache_ttl(NULL);
SELECT * FROM cache_entry(NULL);
SELECT count(*) FROM cache_get_many(NULL);
SELECT count(*) FROM cache_get_many_text(NULL);
SELECT count(*) FROM cache_get_many_bytes(NULL);
SELECT count(*) FROM cache_keys(NULL);
SELECT count(*) FROM cache_keys('%', NULL);

SELECT cache_set('k', '1', NULL, keep_ttl => NULL, if_version => NULL), cache_ttl('k');
SELECT cache_set_text('t', '1', NULL, keep_ttl => NULL, if_version => NULL), cache_ttl('t');
SELECT cache_set_bytes('b', '1', NULL, keep_ttl => NULL, if_version => NULL), cache_ttl('b');
SELECT cache_set_many('{"k": 1}', NULL), cache_ttl('k'), cache_set_many_text('{t}', '{1}', NULL), cache_ttl('t'), cache_set_many_bytes('{b}', '{1}', NULL), cache_ttl('b');
SELECT cache_touch('k', NULL), cache_ttl('k'), cache_incr('n', ttl => NULL), cache_ttl('n'), cache_delete('k', NULL);

-- A JSON null is a value.
SELECT cache_set('null', 'null'), cache_get('null'), cache_exists('null');
SELECT cache_set_many('{"null": null}'), cache_get('null');
SELECT * FROM cache_get_many('{null,nobody}');
\pset null ''

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

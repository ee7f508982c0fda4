-- Expiry to the millisecond, by a clock that the test sets.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET intervalstyle = 'postgres';
SET datestyle = 'ISO';
SET timezone = 'UTC';
SET pgcache.test_clock = '2040-01-01 00:00:00+00';

SELECT cache_set('json', '1', '10 seconds'), cache_set_text('text', 'x', '10 seconds'), cache_set_bytes('bytes', 'x', '10 seconds'),
       cache_incr('counter', 1, '10 seconds'), cache_set('forever', '1', '0');
SELECT cache_set_many('{"many": 1}', '10 seconds'), cache_set_many_text('{many text}', '{x}', '10 seconds'), cache_set_many_bytes('{many bytes}', '{x}', '10 seconds');
SELECT key, expires_at FROM cache_keys() ORDER BY key COLLATE "C";

-- Up to the last millisecond it is there, then in no function.
SET pgcache.test_clock = '2040-01-01 00:00:09.999+00';
SELECT cache_get('json'), cache_get_text('text'), cache_get_bytes('bytes'), cache_get('counter'), cache_exists('json'), cache_ttl('json');
SELECT count(*) FROM cache_keys();
SET pgcache.test_clock = '2040-01-01 00:00:10+00';
SELECT cache_get('json'), cache_get_text('text'), cache_get_bytes('bytes'), cache_get('counter'), cache_exists('json'), cache_ttl('json');
SELECT found, kind, value, expires_at, size_bytes FROM cache_entry('json');
SELECT count(*) FROM cache_get_many('{json,counter,many,forever}');
SELECT count(*) FROM cache_get_many_text('{text,many text}');
SELECT count(*) FROM cache_get_many_bytes('{bytes,many bytes}');
SELECT key FROM cache_keys();
SELECT cache_take('json'), cache_take_text('text'), cache_take_bytes('bytes'), cache_delete('json'), cache_touch('json', '1 hour'), cache_delete_many('{json,text}');
-- What has expired is of no kind: another may read and write it.
SELECT cache_get('text'), cache_get_bytes('json'), cache_incr('bytes');
SELECT cache_delete_matching('%');

-- The default, changed for this session; shorter than the clock's step is rounded up, never to none.
SET pgcache.default_ttl = '2 min';
SELECT cache_set('k', '1'), cache_ttl('k'), cache_set_text('k', '1'), cache_ttl('k'), cache_set_bytes('k', '1'), cache_ttl('k');
SELECT cache_set_many('{"k": 1}'), cache_ttl('k'), cache_set_many_text('{k}', '{1}'), cache_ttl('k'), cache_set_many_bytes('{k}', '{1}'), cache_ttl('k');
SELECT cache_delete('k'), cache_incr('k'), cache_ttl('k'), cache_touch('k', '1 day'), cache_ttl('k'), cache_touch('k'), cache_ttl('k');
SET pgcache.default_ttl = '100ms';
SELECT cache_set('k', '1'), cache_ttl('k');
SET pgcache.default_ttl = '100us';
SELECT cache_set('k', '1'), cache_ttl('k');
SET pgcache.default_ttl = 0;
SELECT cache_set('k', '1'), cache_ttl('k') AS no_expiry;
RESET pgcache.default_ttl;

-- touch counts from now, shortens as well as lengthens, and takes the end away.
SELECT cache_set('k', '"value"', '1 minute');
SET pgcache.test_clock = '2040-01-01 00:00:40+00';
SELECT cache_touch('k', '1 minute'), cache_ttl('k'), cache_touch('k', '1 second'), cache_ttl('k'), cache_touch('k', '0'), cache_ttl('k') AS no_expiry;
SELECT cache_touch('k', '10 minutes'), cache_ttl('k'), cache_get('k'), cache_touch('nobody', '1 minute');
SET pgcache.test_clock = '2040-01-01 00:10:39.999+00';
SELECT cache_get('k'), cache_ttl('k');
SET pgcache.test_clock = '2040-01-01 00:10:40+00';
SELECT cache_get('k'), cache_touch('k', '1 minute'), cache_get('k');

-- Between two milliseconds, an entry lives for its whole ttl, and ttl tells no more than was given.
SET pgcache.test_clock = '2040-01-01 00:00:00.0005+00';
SELECT cache_set('k', '1', '1 second'), cache_ttl('k'), (cache_entry('k')).expires_at;
SET pgcache.test_clock = '2040-01-01 00:00:01.0004+00';
SELECT cache_get('k') AS still_there, cache_ttl('k');
SET pgcache.test_clock = '2040-01-01 00:00:01.002+00';
SELECT cache_get('k');

-- Ends of every size.
SELECT count(*) AS exact FROM generate_series(0, 26) n
WHERE cache_set('k', '1', make_interval(secs => 2 ^ n)) AND cache_ttl('k') = make_interval(secs => 2 ^ n);
SELECT cache_set('long', '1', '5000 days'), cache_ttl('long') = '120000 hours' AS exact;
SET pgcache.test_clock = '2053-09-09 00:00:00+00';
SELECT cache_exists('long'), cache_ttl('long');
SET pgcache.test_clock = '2053-09-09 00:00:01.002+00';
SELECT cache_exists('long');
SELECT cache_clear() >= 0 AS cleared;

-- By the clock of the system.
RESET pgcache.test_clock;
SELECT cache_set('k', '1', '1 hour'), cache_ttl('k') BETWEEN '59 minutes' AND '1 hour' AS ttl;
SELECT expires_at - clock_timestamp() BETWEEN '59 minutes' AND '1 hour 1 second' AS end FROM cache_entry('k');

-- From PostgreSQL 17, infinity is no expiry, and minus infinity is negative.
SELECT CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN 'infinity' ELSE '0' END AS forever,
       CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN '-infinity' ELSE '-1 day' END AS before \gset
SELECT cache_set('k', '1', :'forever'), cache_ttl('k') AS no_expiry, (cache_entry('k')).expires_at AS no_end;
SELECT cache_touch('k', '1 hour'), cache_touch('k', :'forever'), cache_ttl('k') AS no_expiry, cache_incr('n', ttl => :'forever'), cache_ttl('n') AS no_expiry;
\set VERBOSITY sqlstate
SELECT cache_set('k', '2', :'before');
SELECT cache_touch('k', :'before');
SELECT cache_set('k', '2', :'forever', keep_ttl => true);
\set VERBOSITY default
SELECT cache_get('k');

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

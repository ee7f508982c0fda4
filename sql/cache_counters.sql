-- cache_incr: counters and JSON integers, atomic, immediate, checked for overflow.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET intervalstyle = 'postgres';
SET pgcache.test_clock = '2040-01-01 00:00:00+00';

SELECT cache_incr('n'), cache_incr('n'), cache_incr('n', 10), cache_incr('n', -20), cache_incr('n', 0);
SELECT cache_get('n'), jsonb_typeof(cache_get('n')), cache_exists('n');
SELECT found, kind, value, size_bytes > 0 AS has_size FROM cache_entry('n');
SELECT * FROM cache_get_many('{n,nobody}');
SELECT cache_take('n'), cache_take('n'), cache_incr('n', 5);
SELECT cache_incr('zero', 0), cache_exists('zero');

-- ttl counts only when it creates the key.
SELECT cache_incr('t', 1, '10 seconds'), cache_ttl('t'), cache_incr('t', 1, '1 hour'), cache_ttl('t'), cache_incr('t'), cache_ttl('t');
SELECT cache_incr('d'), cache_ttl('d') AS default_ttl, cache_incr('e', ttl => '0'), cache_ttl('e') AS no_expiry;
SET pgcache.test_clock = '2040-01-01 00:00:09.999+00';
SELECT cache_incr('t'), cache_ttl('t');
SET pgcache.test_clock = '2040-01-01 00:00:10+00';
SELECT cache_incr('t', 1, '1 minute'), cache_ttl('t');
-- A window of 10 seconds that somebody else has opened.
SELECT cache_touch('t', '10 seconds'), cache_incr('t', 1, '1 hour'), cache_ttl('t');

-- Without create_missing: only what is there.
SELECT cache_incr('nobody', create_missing => false) IS NULL AS missing, cache_exists('nobody');
SELECT cache_incr('t', create_missing => false);
SET pgcache.test_clock = '2040-01-01 00:00:20+00';
SELECT cache_incr('t', create_missing => false) IS NULL AS missing, cache_exists('t');

-- The ends of bigint; what would leave it is refused and leaves the value as it is.
SELECT cache_incr('max', 9223372036854775807), cache_incr('max', 0), cache_get('max');
SELECT cache_incr('max');
SELECT cache_incr('max', 9223372036854775807);
SELECT cache_get('max'), cache_incr('max', -9223372036854775808);
SELECT cache_incr('min', -9223372036854775808), cache_get('min');
SELECT cache_incr('min', -1);
SELECT cache_incr('min', -9223372036854775808);
SELECT cache_get('min'), cache_incr('min', 9223372036854775807);

-- A JSON integer that was set counts too, stays JSON and keeps its end.
SELECT cache_set('json', '41', '7 seconds'), cache_incr('json'), cache_incr('json', -2, '1 hour'), cache_get('json'), cache_ttl('json'), (cache_entry('json')).kind;
SELECT cache_set('json', '0', '0'), cache_incr('json', -9223372036854775808), cache_ttl('json') AS no_expiry;
SELECT cache_incr('json', create_missing => false, by => 1);
SELECT cache_set('json', '5.00'), cache_incr('json'), cache_set('json', '2e3'), cache_incr('json'), cache_set('json', '-0'), cache_incr('json');
SELECT cache_set('json', '9223372036854775807');
SELECT cache_incr('json');
SELECT cache_get('json'), cache_incr('json', -1);
SELECT cache_set('json', '-9223372036854775808');
SELECT cache_incr('json', -1);
SELECT cache_get('json'), cache_incr('json', 9223372036854775807);
-- A counter set anew is JSON.
SELECT cache_incr('n'), cache_set('n', '100'), cache_incr('n'), (cache_entry('n')).kind;

-- Everything else is no counter, and stays as it was.
\set VERBOSITY sqlstate
SELECT cache_set('json', '18446744073709551616');
SELECT cache_incr('json');
SELECT cache_get('json'), cache_set('json', '1.5');
SELECT cache_incr('json');
SELECT cache_get('json'), cache_set('json', '"5"');
SELECT cache_incr('json');
SELECT cache_get('json'), cache_set('json', '[5]');
SELECT cache_incr('json');
SELECT cache_get('json'), cache_set('json', '{"n": 5}');
SELECT cache_incr('json');
SELECT cache_get('json'), cache_set('json', 'null');
SELECT cache_incr('json');
SELECT cache_get('json'), cache_set('json', 'true');
SELECT cache_incr('json');
SELECT cache_get('json');
\set VERBOSITY default
SELECT cache_set_text('text', '5'), cache_set_bytes('bytes', '5');
SELECT cache_incr('text');
SELECT cache_incr('bytes');
SELECT cache_get_text('text'), cache_get_bytes('bytes');

-- Counters are immediate: they survive rollback, whole and partial, as nextval does. So does what was taken.
SELECT cache_incr('r'), cache_set('taken', '1');
BEGIN;
SELECT cache_incr('r'), cache_take('taken');
SAVEPOINT s;
SELECT cache_incr('r');
ROLLBACK TO s;
SELECT cache_incr('r');
ROLLBACK;
SELECT cache_get('r'), cache_exists('taken');
DO $$
BEGIN
    PERFORM cache_incr('r');
    RAISE EXCEPTION 'undone';
EXCEPTION WHEN raise_exception THEN
    PERFORM cache_incr('r');
END
$$;
SELECT cache_get('r');

-- Many in one statement, in rows and in one row.
SELECT max(cache_incr('m')) AS last, count(*) FROM generate_series(1, 10000);
SELECT count(*) AS keys, sum((cache_get('m:' || n))::bigint) AS sum
FROM generate_series(0, 99) n WHERE (SELECT count(cache_incr('m:' || i % 100)) FROM generate_series(1, 10000) i) = 10000;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

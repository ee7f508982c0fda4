-- Values of every size, from 1 byte to pgcache.max_value_size, around the sizes where they are stored another way.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SHOW pgcache.max_value_size;

-- Bytes of which no stretch is like another, so that a part in the wrong place shows.
CREATE TEMP TABLE noise (bytes bytea);
ALTER TABLE noise ALTER bytes SET STORAGE EXTERNAL;
INSERT INTO noise SELECT decode(string_agg(md5(n::text), ''), 'hex') FROM generate_series(1, 1048577) n;
CREATE FUNCTION pg_temp.noise(size integer) RETURNS bytea LANGUAGE sql AS $$ SELECT substring(bytes FROM 1 FOR size) FROM noise $$;
CREATE TEMP TABLE sizes (size integer);
INSERT INTO sizes
SELECT base + delta FROM unnest('{1, 2, 16, 64, 128, 256, 1024, 2048, 4096, 8192, 15360, 16384, 32768, 65536, 131072, 262144, 1048576}'::integer[]) base,
    unnest('{-1, 0, 1}'::integer[]) delta;
INSERT INTO sizes SELECT size FROM generate_series(15000, 17000, 250) size;

-- Stored and read one by one.
SELECT count(*) AS sizes, count(*) FILTER (WHERE stored) AS stored, count(*) FILTER (WHERE same) AS same
FROM (SELECT size, cache_set_bytes('bytes:' || size, pg_temp.noise(size)) AS stored,
             cache_get_bytes('bytes:' || size) = pg_temp.noise(size) AS same FROM sizes) s;
SELECT count(*) AS sizes, count(*) FILTER (WHERE stored) AS stored, count(*) FILTER (WHERE same) AS same
FROM (SELECT size, cache_set_text('text', encode(pg_temp.noise(size), 'hex')) AS stored,
             cache_get_text('text') = encode(pg_temp.noise(size), 'hex') AS same FROM sizes) s;
SELECT count(*) AS sizes, count(*) FILTER (WHERE stored) AS stored, count(*) FILTER (WHERE same) AS same
FROM (SELECT size, cache_set('json:' || size, to_jsonb(encode(pg_temp.noise(size), 'hex'))) AS stored,
             cache_get('json:' || size) = to_jsonb(encode(pg_temp.noise(size), 'hex')) AS same FROM sizes) s;
-- All the lengths up to some.
SELECT count(*) AS lengths, count(*) FILTER (WHERE stored AND same) AS same
FROM (SELECT cache_set_bytes('all', substring(whole FROM 1 FOR n)) AS stored, cache_get_bytes('all') = substring(whole FROM 1 FOR n) AS same
      FROM generate_series(0, 3000) n, pg_temp.noise(3000) whole) s;
-- One key with a value that grows and shrinks.
SELECT bool_and(stored AND same) AS good
FROM (SELECT cache_set_bytes('one', pg_temp.noise(size)) AS stored, length(cache_get_bytes('one')) = size AS same
      FROM (SELECT size FROM sizes WHERE size > 0 ORDER BY md5(size::text)) s) t;

-- Exactly the limit of 16 MB, of each kind, and one byte more.
SELECT cache_clear() > 0 AS cleared;
SELECT cache_set_bytes('largest', pg_temp.noise(16777216)), md5(cache_get_bytes('largest')) = md5(pg_temp.noise(16777216)) AS same;
SELECT size_bytes > 16777216 AND size_bytes < 16777216 * 1.05 AS size FROM cache_entry('largest');
SELECT cache_set_bytes('largest', pg_temp.noise(16777216) || '\x00');
-- The older value is still there.
SELECT length(cache_get_bytes('largest'));
SELECT length(cache_take_bytes('largest')), cache_exists('largest');
SELECT cache_set_text('largest', repeat('é', 8388608)), length(cache_get_text('largest'));
SELECT cache_set_text('largest', repeat('é', 8388608) || 'x');
SELECT cache_delete('largest');
-- PostgreSQL's binary form counts: 8 bytes more than this string.
SELECT cache_set('largest', to_jsonb(repeat('x', 16777208))), length(cache_get('largest') #>> '{}');
SELECT cache_set('largest', to_jsonb(repeat('x', 16777209)));
SELECT cache_delete('largest');
-- In many at once: nothing of the call is stored.
SELECT cache_set_many_bytes('{small,large}', ARRAY['\x00', pg_temp.noise(16777217)]);
SELECT cache_set_many_text('{small,large}', ARRAY['', repeat('x', 16777217)]);
SELECT cache_set_many(jsonb_build_object('small', 1, 'large', repeat('x', 16777209)));
SELECT cache_exists('small'), cache_exists('large');

SELECT cache_set_many_bytes('{small,large}', ARRAY['\x00', pg_temp.noise(16777216)]), length(cache_get_bytes('large')), cache_delete_many('{small,large}');

-- More than fits goes in by eviction, without an error.
SELECT count(*) AS stored FROM generate_series(1, 12) n WHERE cache_set_bytes('full:' || n, pg_temp.noise(8000000) || n::text::bytea);
SELECT bool_and(cache_get_bytes('full:' || n) = pg_temp.noise(8000000) || n::text::bytea) AS intact, count(*) BETWEEN 1 AND 8 AS some
FROM generate_series(1, 12) n WHERE cache_exists('full:' || n);
SELECT evictions > 0 AS evicted, bytes_used <= bytes_allowed AS within FROM cache_stats WHERE database = current_database();

-- A smaller limit of one's own.
SET pgcache.max_value_size = 10;
SELECT cache_set_text('limited', '0123456789');
SELECT cache_set_text('limited', '0123456789+');
SELECT cache_set('limited', '"0123456789"');
SELECT cache_get_text('limited');
-- It is a limit for writers only.
SELECT length(cache_get_bytes('full:12'));
-- A counter always fits.
SET pgcache.max_value_size = 1;
SELECT cache_incr('counter', 1234567890123456789);
RESET pgcache.max_value_size;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

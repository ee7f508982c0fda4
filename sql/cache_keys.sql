-- cache_keys and cache_delete_matching look at all entries of this database; cache_entry tells all about one.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET datestyle = 'ISO';
SET timezone = 'UTC';
SET pgcache.test_clock = '2040-01-01 00:00:00+00';

SELECT count(*) FROM cache_keys();
SELECT cache_set('user:1', '{"name": "John"}', '1 minute'), cache_set_text('user:2', 'x', '0'), cache_set_bytes('user:10', 'x'), cache_incr('visits');
SELECT key, kind, size_bytes > 0 AS has_size, expires_at FROM cache_keys() ORDER BY key COLLATE "C";

-- LIKE: % and _, taken literally after a backslash; letters as they are; characters, not bytes.
SELECT cache_set('100%', '1'), cache_set('100 percent', '1'), cache_set('a_b', '1'), cache_set('axb', '1'), cache_set('back\slash', '1'),
       cache_set('ключ', '1'), cache_set('é', '1'), cache_set('User:1', '1'), cache_set(E'line\nbreak', '1');
CREATE TEMP TABLE patterns (pattern text);
INSERT INTO patterns VALUES ('%'), ('user:%'), ('user:_'), ('user:1'), ('USER:%'), ('%1%'), ('100\%'), ('100%'), ('a\_b'), ('a_b'), ('back\\slash'), ('back_slash'),
    ('back\slash'), ('____'), ('_'), ('к%ч'), ('line%break'), ('line_break'), (''), ('nothing%'), ('%%'), ('%_%'), ('[u]%'), ('user:1|visits');
SELECT pattern, string_agg(key, ' ' ORDER BY key COLLATE "C") AS keys FROM patterns, cache_keys(pattern) GROUP BY pattern ORDER BY pattern COLLATE "C";
-- The same as LIKE says.
SELECT pattern, found FROM patterns, LATERAL (SELECT array_agg(key ORDER BY key COLLATE "C") FROM cache_keys(pattern)) f (found)
WHERE found IS DISTINCT FROM (SELECT array_agg(key ORDER BY key COLLATE "C") FROM cache_keys() WHERE key LIKE pattern);

-- At most max.
SELECT (SELECT count(*) FROM cache_keys(max => 0)) AS none, (SELECT count(*) FROM cache_keys(max => 3)) AS three,
       (SELECT count(*) FROM cache_keys('user:%', 2)) AS two, (SELECT count(*) FROM cache_keys(max => 9223372036854775807)) AS all;
SELECT cache_set_many((SELECT jsonb_object_agg('many:' || n, n) FROM generate_series(1, 3000) n));
SELECT count(*) AS default_is_1000 FROM cache_keys();
SELECT count(*), count(DISTINCT key) FROM cache_keys('many:%', 10000);

-- Deleting what matches: the number, and no other.
SELECT cache_delete_matching('many:%'), cache_delete_matching('many:%');
SELECT cache_delete_matching('100\%'), cache_exists('100%'), cache_exists('100 percent');
SELECT cache_delete_matching('a\_b'), cache_exists('a_b'), cache_exists('axb');
SELECT cache_delete_matching('user:_'), cache_exists('user:10'), cache_exists('User:1');
SELECT cache_delete_matching(''), cache_delete_matching('nobody');
SELECT string_agg(key, ' ' ORDER BY key COLLATE "C") FROM cache_keys();

-- A pattern that ends in the escape character is refused, whatever is cached, and nothing is deleted.
SELECT cache_delete_matching('visits\');
SELECT cache_delete_matching('%\\\');
SELECT * FROM cache_keys('nobody\');
SELECT * FROM cache_keys('\');
SELECT cache_exists('visits'), cache_delete_matching('%\\');

-- Where another collation is asked for, the pattern still means what it says.
SELECT cache_delete_matching('é' COLLATE "C"), cache_delete_matching(lower('VISITS') COLLATE "POSIX");
-- So it does under a collation by which two different keys are equal.
DO $$
BEGIN
    CREATE COLLATION pg_temp.ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
EXCEPTION WHEN OTHERS THEN
    CREATE COLLATION pg_temp.ignore_case FROM "C";  -- without ICU
END
$$;
SELECT cache_set('Case', '1'), cache_set('case', '2');
SELECT key FROM cache_keys('case' COLLATE pg_temp.ignore_case);
SELECT cache_get('Case' COLLATE pg_temp.ignore_case), cache_delete_matching('CASE' COLLATE pg_temp.ignore_case), cache_delete('case');

-- cache_entry: one row, whatever there is.
SELECT cache_clear() > 0 AS cleared;
SELECT cache_set('json', '{"a": [1, null]}', '1 minute'), cache_set_text('text', 'a "b" ü', '0'), cache_set_bytes('bytes', '\x00ff'), cache_incr('counter', -7);
SELECT e.found, e.kind, e.value, e.version > 0 AS has_version, e.expires_at, e.size_bytes > 0 AS has_size
FROM unnest('{json,text,bytes,counter,nobody}'::text[]) key, cache_entry(key) e;
SELECT jsonb_typeof((cache_entry('text')).value) AS text, jsonb_typeof((cache_entry('counter')).value) AS counter;
-- Versions grow with every write, over all keys.
SELECT version AS first FROM cache_entry('json') \gset
SELECT cache_set('json', '1');
SELECT version > :first AS grows, version AS second FROM cache_entry('json') \gset
SELECT :'grows' AS grows, cache_incr('counter'), (cache_entry('counter')).version > :second AS grows, (cache_entry('json')).version = :second AS stays;
-- Larger values take more, in cache_keys as in cache_entry.
SELECT cache_set_text('large', repeat('x', 100000)), (cache_entry('large')).size_bytes BETWEEN 100000 AND 110000 AS size;
SELECT count(*) AS same_size FROM cache_keys() k, cache_entry(k.key) e WHERE (k.kind, k.size_bytes, k.expires_at) IS NOT DISTINCT FROM (e.kind, e.size_bytes, e.expires_at);

-- cache_clear: all of this database.
SELECT cache_clear(), cache_clear();
SELECT count(*) FROM cache_keys();

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

-- What bad input gets: the SQLSTATE, and a message that names the value. What is refused changes nothing.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET intervalstyle = 'postgres';

-- Runs a statement and says how it was refused, without what differs between versions of PostgreSQL.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  ', state || ' ' || message, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END
$$;
SELECT cache_set('k', '"before"', '0'), cache_set_text('t', 'before', '0'), cache_set_bytes('b', 'before', '0'), cache_incr('n', 5, '0');
\pset format unaligned
\pset tuples_only on

-- A key that is NULL: reads give NULL (cache_nulls), writes refuse.
SELECT statement || E'\n  ' || pg_temp.refusal(statement) FROM (VALUES
    ($$SELECT cache_set(NULL, '1')$$),
    ($$SELECT cache_set_text(NULL, '1')$$),
    ($$SELECT cache_set_bytes(NULL, '1')$$),
    ($$SELECT cache_take(NULL)$$),
    ($$SELECT cache_take_text(NULL)$$),
    ($$SELECT cache_take_bytes(NULL)$$),
    ($$SELECT cache_touch(NULL)$$),
    ($$SELECT cache_delete(NULL)$$),
    ($$SELECT cache_incr(NULL)$$),
    ($$SELECT cache_delete_many(NULL)$$),
    ($$SELECT cache_delete_many('{k,NULL}')$$),
    ($$SELECT cache_delete_matching(NULL)$$),
    ($$SELECT cache_set_many(NULL)$$),
    ($$SELECT cache_set_many_text(NULL, '{1}')$$),
    ($$SELECT cache_set_many_text('{k,NULL}', '{1,2}')$$),
    ($$SELECT cache_set_many_bytes(NULL, '{1}')$$),
    ($$SELECT cache_set_many_bytes('{NULL,k}', '{1,2}')$$)) AS statements (statement);

-- A value that is NULL is none: neither stored nor taken for a delete.
SELECT statement || E'\n  ' || pg_temp.refusal(statement) FROM (VALUES
    ($$SELECT cache_set('k', NULL)$$),
    ($$SELECT cache_set_text('t', NULL)$$),
    ($$SELECT cache_set_bytes('b', NULL)$$),
    ($$SELECT cache_set_many_text('{t}', NULL)$$),
    ($$SELECT cache_set_many_text('{t,u}', '{1,NULL}')$$),
    ($$SELECT cache_set_many_bytes('{b,c}', '{NULL,1}')$$),
    ($$SELECT cache_incr('n', NULL)$$),
    ($$SELECT cache_incr('n', create_missing => NULL)$$),
    ($$SELECT cache_set('k', '1', mode => NULL)$$)) AS statements (statement);

-- A key that is empty or over 1,024 bytes, in every function, also if its characters are fewer.
SELECT statement || E'\n  ' || pg_temp.refusal(statement) FROM (VALUES
    ($$SELECT cache_get('')$$),
    ($$SELECT cache_set('', '1')$$),
    ($$SELECT cache_get(repeat('x', 1025))$$),
    ($$SELECT cache_set(repeat('x', 1025), '1')$$),
    ($$SELECT cache_set(repeat('é', 512) || 'x', '1')$$),
    ($$SELECT cache_set('x' || repeat('鍵', 1000000), '1')$$)) AS statements (statement);
SELECT left(pg_temp.refusal(replace(call, 'KEY', $$''$$)), 5) || ' ' || left(pg_temp.refusal(replace(call, 'KEY', $$repeat('x', 1025)$$)), 5) || ' ' || call FROM (VALUES
    ('SELECT cache_get(KEY)'), ('SELECT cache_get_text(KEY)'), ('SELECT cache_get_bytes(KEY)'),
    ($$SELECT cache_set(KEY, '1')$$), ($$SELECT cache_set_text(KEY, '1')$$), ($$SELECT cache_set_bytes(KEY, '1')$$),
    ('SELECT cache_take(KEY)'), ('SELECT cache_take_text(KEY)'), ('SELECT cache_take_bytes(KEY)'),
    ($$SELECT cache_get_many(ARRAY['k', KEY])$$), ($$SELECT cache_get_many_text(ARRAY['t', KEY])$$), ($$SELECT cache_get_many_bytes(ARRAY['b', KEY])$$),
    ($$SELECT cache_set_many(jsonb_build_object('k', 1, KEY, 2))$$), ($$SELECT cache_set_many_text(ARRAY['t', KEY], '{1,2}')$$), ($$SELECT cache_set_many_bytes(ARRAY['b', KEY], '{1,2}')$$),
    ('SELECT cache_exists(KEY)'), ('SELECT cache_ttl(KEY)'), ('SELECT cache_touch(KEY)'), ('SELECT cache_delete(KEY)'), ($$SELECT cache_delete_many(ARRAY['k', KEY])$$),
    ('SELECT cache_entry(KEY)'), ('SELECT cache_incr(KEY)')) AS calls (call);

-- ttl: negative, beyond all bounds, together with keep_ttl.
SELECT statement || E'\n  ' || pg_temp.refusal(statement) FROM (VALUES
    ($$SELECT cache_set('k', '1', '-1 second')$$),
    ($$SELECT cache_set('k', '1', '-1 microsecond')$$),
    ($$SELECT cache_set('k', '1', '1 month -31 days')$$),
    ($$SELECT cache_set('k', '1', '1 day -25 hours')$$),
    ($$SELECT cache_set('k', '1', '-178000000 years')$$),
    ($$SELECT cache_set('k', '1', '178000000 years')$$),
    ($$SELECT cache_set('k', '1', '10000 days 1 microsecond')$$),
    ($$SELECT cache_set('k', '1', make_interval(months => 2147483647, days => 2147483647))$$),
    ($$SELECT cache_set('k', '1', make_interval(months => -2147483648, days => -2147483648))$$),
    ($$SELECT cache_set_text('t', '1', '-1 day')$$),
    ($$SELECT cache_set_bytes('b', '1', '-1 day')$$),
    ($$SELECT cache_set_many('{"k": 1}', '-1 day')$$),
    ($$SELECT cache_set_many_text('{t}', '{1}', '-1 day')$$),
    ($$SELECT cache_set_many_bytes('{b}', '{1}', '-1 day')$$),
    ($$SELECT cache_touch('k', '-1 day')$$),
    ($$SELECT cache_touch('nobody', '-1 day')$$),
    ($$SELECT cache_incr('n', ttl => '-1 day')$$),
    ($$SELECT cache_incr('nobody', ttl => '-1 day')$$),
    ($$SELECT cache_set('k', '1', '1 hour', keep_ttl => true)$$),
    ($$SELECT cache_set('k', '1', '0', keep_ttl => true)$$),
    ($$SELECT cache_set_text('t', '1', '1 hour', keep_ttl => true)$$),
    ($$SELECT cache_set_bytes('b', '1', '1 hour', keep_ttl => true)$$)) AS statements (statement);

-- mode: one of three words.
SELECT statement || E'\n  ' || pg_temp.refusal(statement) FROM (VALUES
    ($$SELECT cache_set('k', '1', mode => 'never')$$),
    ($$SELECT cache_set('k', '1', mode => 'ALWAYS')$$),
    ($$SELECT cache_set('k', '1', mode => '')$$),
    ($$SELECT cache_set('k', '1', mode => 'always ')$$),
    ($$SELECT cache_set_text('t', '1', mode => 'if absent')$$),
    ($$SELECT cache_set_bytes('b', '1', mode => '"; DROP TABLE users')$$)) AS statements (statement);

-- The rest.
SELECT statement || E'\n  ' || pg_temp.refusal(statement) FROM (VALUES
    ($$SELECT cache_keys(max => -1)$$),
    ($$SELECT cache_keys('k\')$$),
    ($$SELECT cache_delete_matching('k\')$$),
    ($$SELECT cache_set_many('[1, 2]')$$),
    ($$SELECT cache_set_many('"text"')$$),
    ($$SELECT cache_set_many('null')$$),
    ($$SELECT cache_set_many_text('{a,b}', '{1}')$$),
    ($$SELECT cache_set_many_bytes('{}', '{1}')$$),
    ($$SELECT cache_incr('n', 9223372036854775807)$$),
    ($$SELECT cache_get('t')$$),
    ($$SELECT cache_get_text('n')$$),
    ($$SELECT cache_incr('k')$$),
    ($$SELECT cache_incr('b')$$)) AS statements (statement);

-- A key ends up in a message, a value never.
SELECT pg_temp.refusal(statement) !~ 'secret' AS discreet FROM (VALUES
    ($$SELECT cache_set('k', '"secret"', mode => 'never')$$),
    ($$SELECT cache_set('', '"secret"')$$),
    ($$SELECT cache_set_many('["secret"]')$$),
    ($$SELECT cache_set('s', '"secret"'), cache_incr('s')$$),
    ($$SELECT cache_set('s', '"secret"'), cache_get_bytes('s')$$)) AS statements (statement);
\pset format aligned
\pset tuples_only off

-- All is as it was.
SELECT cache_get('k'), cache_get_text('t'), cache_get_bytes('b') = 'before' AS bytes, cache_get('n'), cache_ttl('k'), cache_ttl('n');
SELECT cache_delete('s') IS NOT NULL AS tidy, string_agg(key, ' ' ORDER BY key) FROM cache_keys() WHERE key <> 's';

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

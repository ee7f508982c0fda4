-- A library beside SQL objects of another version: a clear error in every function, no crash.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SELECT cache_set('key', '1');
SELECT extversion AS real_version FROM pg_extension WHERE extname = 'pgcache' \gset

-- As if the library had been replaced by one of another version. Each connection looks once.
UPDATE pg_extension SET extversion = '0.0.0-test' WHERE extname = 'pgcache';
\c

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
\pset format unaligned
\pset tuples_only on
SELECT replace(pg_temp.refusal($$SELECT cache_get('key')$$), pgcache.library_version(), 'LIBRARY');
-- Every C function of the cache, called with NULLs or with defaults where it has them; none may say anything else.
SELECT left(pg_temp.refusal(statement), 5) || ' ' || statement FROM (VALUES
    ($$SELECT flag_enabled('flag')$$),
    ($$SELECT flag_enabled_for('flag', 'user')$$),
    ($$SELECT flag_variant('flag')$$),
    ($$SELECT * FROM flag_evaluate_all()$$),
    ($$SELECT flag_explain('flag')$$),
    ($$SELECT * FROM flag_stats$$),
    ($$SELECT flag_stats_reset()$$),
    ($$SELECT rate_limit('key', 1, '1 s')$$),
    ($$SELECT rate_limit_allowed('key', 1, '1 s')$$),
    ($$SELECT rate_limit_peek('key', 1, '1 s')$$),
    ($$SELECT rate_limit_refund('key', 1, '1 s')$$),
    ($$SELECT rate_limit_block('key', '1 s')$$),
    ($$SELECT rate_limit_unblock('key')$$),
    ($$SELECT rate_limit_reset('key')$$),
    ($$SELECT * FROM rate_limit_top()$$),
    ($$SELECT rate_limit_stats_reset()$$),
    ($$SELECT * FROM rate_limit_stats$$),
    ($$SELECT cache_get('key')$$),
    ($$SELECT cache_get_text('key')$$),
    ($$SELECT cache_get_bytes('key')$$),
    ($$SELECT cache_set('key', '2')$$),
    ($$SELECT cache_set_text('key', '2')$$),
    ($$SELECT cache_set_bytes('key', '2')$$),
    ($$SELECT cache_take('key')$$),
    ($$SELECT cache_take_text('key')$$),
    ($$SELECT cache_take_bytes('key')$$),
    ($$SELECT cache_get_many('{key}')$$),
    ($$SELECT cache_get_many_text('{key}')$$),
    ($$SELECT cache_get_many_bytes('{key}')$$),
    ($$SELECT cache_set_many('{"key": 2}')$$),
    ($$SELECT cache_set_many_text('{key}', '{2}')$$),
    ($$SELECT cache_set_many_bytes('{key}', '{2}')$$),
    ($$SELECT cache_exists('key')$$),
    ($$SELECT cache_ttl('key')$$),
    ($$SELECT cache_touch('key')$$),
    ($$SELECT cache_delete('key')$$),
    ($$SELECT cache_delete_many('{key}')$$),
    ($$SELECT cache_delete_matching('%')$$),
    ($$SELECT cache_clear()$$),
    ($$SELECT cache_entry('key')$$),
    ($$SELECT cache_incr('key')$$),
    ($$SELECT cache_keys()$$),
    ($$SELECT * FROM cache_stats$$),
    ($$SELECT cache_stats_reset()$$)) AS calls (statement);
\pset format aligned
\pset tuples_only off
-- check still answers, and says what to do.
SELECT ok, replace(detail, pgcache.library_version(), 'LIBRARY') AS detail, fix FROM pgcache.check() WHERE item = 'version';
SELECT item, ok FROM pgcache.check() WHERE NOT ok;

-- Put right, the same connection works again, and nothing was touched.
UPDATE pg_extension SET extversion = :'real_version' WHERE extname = 'pgcache';
SELECT cache_get('key');
SELECT item, ok FROM pgcache.check() WHERE item = 'version';

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

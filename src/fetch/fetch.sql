-- cache_fetch: what is in the cache, or one run of a query for all who miss it.

CREATE FUNCTION cache_fetch(key text, query text, ttl interval DEFAULT NULL, params jsonb DEFAULT NULL, tags text[] DEFAULT NULL,
        stale_for interval DEFAULT NULL, shared boolean DEFAULT false) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'pgcache_fetch' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_fetch(text, text, interval, jsonb, text[], interval, boolean) IS
    'The JSON under the key; on a miss the query''s result, which one session computes while the others wait. params: a JSON array for $1, $2.... stale_for: after the ttl one caller refreshes and the others get the old value. shared: with other roles that say so too. Example: SELECT cache_fetch(''answer'', ''SELECT $1::int * 7'', ''1 minute'', params => ''[6]'')';

INSERT INTO pgcache.privilege VALUES
    ('cache_fetch(text, text, interval, jsonb, text[], interval, boolean)', 'app');

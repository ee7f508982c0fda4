-- The benchmark's database. psql variables: first, keys, value (JSON).
\set ON_ERROR_STOP on
SET client_min_messages = warning;

CREATE EXTENSION pgcache;

-- What the server itself costs: src/cache/benchmark_floor.cpp. Declared as cache_get and cache_set are.
CREATE FUNCTION floor_get(key text) RETURNS jsonb
    AS '$libdir/pgcache', 'pgcache_floor_get' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
CREATE FUNCTION floor_set(key text, value jsonb, ttl interval DEFAULT NULL, mode text DEFAULT 'always', keep_ttl boolean DEFAULT false, if_version bigint DEFAULT NULL, tags text[] DEFAULT NULL, immediate boolean DEFAULT false) RETURNS boolean
    AS '$libdir/pgcache', 'pgcache_floor_set' LANGUAGE C VOLATILE PARALLEL UNSAFE;
-- src/limits/benchmark_floor.cpp, declared as rate_limit and rate_limit_allowed are.
CREATE FUNCTION floor_rate_limit(key text, quota bigint, period interval, cost bigint DEFAULT 1, burst bigint DEFAULT NULL, algorithm text DEFAULT 'gcra', block interval DEFAULT NULL,
        OUT allowed boolean, OUT quota bigint, OUT remaining bigint, OUT retry_after interval, OUT reset_after interval, OUT retry_after_ms bigint, OUT reset_after_ms bigint,
        OUT blocked_until timestamptz, OUT reason text) RETURNS record
    AS '$libdir/pgcache', 'pgcache_floor_rate_limit' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION floor_rate_limit_allowed(key text, quota bigint, period interval, cost bigint DEFAULT 1) RETURNS boolean
    AS '$libdir/pgcache', 'pgcache_floor_rate_limit_allowed' LANGUAGE C VOLATILE PARALLEL UNSAFE;
-- src/flags/benchmark_floor.cpp, declared as flag_enabled and flag_enabled_for are.
CREATE FUNCTION floor_flag_enabled(flag text, context jsonb DEFAULT '{}', fallback boolean DEFAULT false) RETURNS boolean
    AS '$libdir/pgcache', 'pgcache_floor_flag_enabled' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION floor_flag_enabled_for(flag text, user_id text, fallback boolean DEFAULT false) RETURNS boolean
    AS '$libdir/pgcache', 'pgcache_floor_flag_enabled_for' LANGUAGE C STABLE PARALLEL SAFE;
ALTER DATABASE :DBNAME SET benchmark.value = :'value';

-- What a transaction writes that sets an entry too. Waiting for the disk would hide what the entry costs.
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO account SELECT id, 0 FROM generate_series(1, 1000) AS id;
ALTER DATABASE :DBNAME SET synchronous_commit = off;

-- The cache as people make it from a table, with the index that finds what has expired.
CREATE UNLOGGED TABLE cache (
    key text PRIMARY KEY,
    value jsonb NOT NULL,
    expires_at timestamptz DEFAULT now() + interval '1 hour',
    created_at timestamptz DEFAULT now()
);
CREATE INDEX idx_cache_expires ON cache (expires_at);

CREATE TEMPORARY TABLE key AS
    SELECT (:first + n)::text AS key FROM generate_series(0, :keys - 1) AS n ORDER BY random();
INSERT INTO cache (key, value, expires_at) SELECT key, :'value', now() + interval '1 day' FROM key;
SELECT count(*) FILTER (WHERE cache_set(key, :'value', '1 day')) AS stored FROM key;
-- Texts of the same keys, for cache_get_many_text.
SELECT count(*) FILTER (WHERE cache_set_text('t' || key, :'value', '1 day')) AS stored FROM key;

VACUUM ANALYZE cache;
CHECKPOINT;

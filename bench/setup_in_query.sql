-- A million keys in random order, and a thousand of them repeated to a million; all of them are in the cache.
-- psql variables: items, value (JSON).
\set ON_ERROR_STOP on
SET client_min_messages = warning;

DROP TABLE IF EXISTS random_keys, hot_keys;
CREATE UNLOGGED TABLE random_keys AS
    SELECT 'user:' || n || ':profile' AS key FROM generate_series(1, :items) AS n ORDER BY random();
CREATE UNLOGGED TABLE hot_keys AS
    SELECT 'user:' || n % 1000 + 1 || ':profile' AS key FROM generate_series(1, :items) AS n ORDER BY random();
VACUUM ANALYZE random_keys;
VACUUM ANALYZE hot_keys;

SELECT count(*) FILTER (WHERE cache_set(key, :'value', '1 day')) AS stored FROM random_keys;

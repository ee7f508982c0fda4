-- The settings: their defaults, bounds, and who may change them where.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SELECT name, boot_val, unit, context, vartype, short_desc <> '' AS described FROM pg_settings WHERE name LIKE 'pgcache.%' ORDER BY name COLLATE "C";
-- There is no other, so that a slip of the pen is found.
\set VERBOSITY sqlstate
SET pgcache.default_tll = 1;
-- Memory is taken when the server starts.
SET pgcache.memory = '128MB';
SET pgcache.default_ttl = -1;
SET pgcache.default_ttl = '10001 d';
SET pgcache.default_ttl = 'forever';
SET pgcache.max_value_size = 0;
SET pgcache.max_value_size = '1GB';
SET pgcache.serializable_reads = 'perhaps';
SET pgcache.transaction_memory = '1023kB';
SET pgcache.transaction_memory = 0;
SET pgcache.transaction_memory = -1;
SET pgcache.test_clock = 'garbage';
SET pgcache.test_clock = 'infinity';
SET pgcache.test_clock = '2040-02-30';
\set VERBOSITY default
SHOW pgcache.test_clock;
SET pgcache.default_ttl = '90 s';
SHOW pgcache.default_ttl;
SET pgcache.default_ttl = '1 d';
SHOW pgcache.default_ttl;
SET pgcache.max_value_size = '1kB';
SHOW pgcache.max_value_size;
SHOW pgcache.serializable_reads;
SHOW pgcache.transaction_memory;
SET pgcache.transaction_memory = '1MB';
SHOW pgcache.transaction_memory;
SET pgcache.transaction_memory = '1TB';
SHOW pgcache.transaction_memory;
RESET pgcache.transaction_memory;
-- In a transaction, for a function, for a role.
BEGIN;
SET LOCAL pgcache.default_ttl = '5 s';
SELECT cache_set('k', '1'), cache_ttl('k') <= '5 seconds' AS local;
ROLLBACK;
SELECT cache_set('k', '1'), cache_ttl('k') > '1 hour' AS session;
CREATE FUNCTION short_lived(key text) RETURNS interval LANGUAGE plpgsql SET pgcache.default_ttl = '5 s' AS $$ BEGIN PERFORM cache_set(key, '1'); RETURN cache_ttl(key); END $$;
SELECT short_lived('k') <= '5 seconds' AS of_function, cache_set('k', '1'), cache_ttl('k') > '1 hour' AS session;
DROP FUNCTION short_lived;
RESET pgcache.default_ttl;
RESET pgcache.max_value_size;
-- The clock may stand anywhere from the server's start on, in any form of a timestamp; empty is the system's.
SET pgcache.test_clock = '2040-01-01 12:00:00+02';
SELECT cache_set('k', '1', '1 hour'), (cache_entry('k')).expires_at = '2040-01-01 11:00:00+00' AS right_time;
SET pgcache.test_clock = '';
SELECT cache_set('k', '1', '1 hour'), (cache_entry('k')).expires_at BETWEEN clock_timestamp() AND clock_timestamp() + '61 minutes'::interval AS right_time;
RESET pgcache.test_clock;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

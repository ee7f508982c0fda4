-- The cache: values under keys, with a time to live. Functions that write are not STRICT, because a NULL key must be an error;
-- functions that read are, because it is a miss.

CREATE FUNCTION cache_get(key text) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'pgcache_get' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_get(text) IS
    'The JSON value under the key, a counter as a number; NULL on a miss. Example: SELECT cache_get(''user:123:profile'')';

CREATE FUNCTION cache_set(key text, value jsonb, ttl interval DEFAULT NULL, mode text DEFAULT 'always', keep_ttl boolean DEFAULT false, if_version bigint DEFAULT NULL, tags text[] DEFAULT NULL, immediate boolean DEFAULT false) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_set' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_set(text, jsonb, interval, text, boolean, bigint, text[], boolean) IS
    'Stores the value; true if stored. ttl NULL: pgcache.default_ttl; interval ''0'': no expiry. mode: always, if_absent, if_present. keep_ttl: the entry keeps its end. if_version: only if cache_entry still gives that version. tags: for cache_invalidate. In a transaction block it waits for the commit, unless immediate';

CREATE FUNCTION cache_take(key text) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'pgcache_take' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_take(text) IS
    'Reads and deletes in one step: of several callers one gets the value, the others NULL. Immediate: survives rollback';

CREATE FUNCTION cache_get_many(keys text[], OUT key text, OUT value jsonb) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_get_many' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION cache_get_many(text[]) IS
    'One row for each key that hits, in the order of the keys';

CREATE FUNCTION cache_get_text(key text) RETURNS text
    AS 'MODULE_PATHNAME', 'pgcache_get_text' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_get_text(text) IS
    'The text under the key; NULL on a miss. Example: SELECT cache_get_text(''page:/home'')';

CREATE FUNCTION cache_set_text(key text, value text, ttl interval DEFAULT NULL, mode text DEFAULT 'always', keep_ttl boolean DEFAULT false, if_version bigint DEFAULT NULL, tags text[] DEFAULT NULL, immediate boolean DEFAULT false) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_set_text' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_set_text(text, text, interval, text, boolean, bigint, text[], boolean) IS
    'Stores the value; true if stored. ttl NULL: pgcache.default_ttl; interval ''0'': no expiry. mode: always, if_absent, if_present. keep_ttl: the entry keeps its end. if_version: only if cache_entry still gives that version. tags: for cache_invalidate. In a transaction block it waits for the commit, unless immediate';

CREATE FUNCTION cache_take_text(key text) RETURNS text
    AS 'MODULE_PATHNAME', 'pgcache_take_text' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_take_text(text) IS
    'Reads and deletes in one step: of several callers one gets the value, the others NULL. Immediate: survives rollback';

CREATE FUNCTION cache_get_many_text(keys text[], OUT key text, OUT value text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_get_many_text' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION cache_get_many_text(text[]) IS
    'One row for each key that hits, in the order of the keys';

CREATE FUNCTION cache_get_bytes(key text) RETURNS bytea
    AS 'MODULE_PATHNAME', 'pgcache_get_bytes' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_get_bytes(text) IS
    'The bytes under the key; NULL on a miss. Example: SELECT cache_get_bytes(''avatar:123'')';

CREATE FUNCTION cache_set_bytes(key text, value bytea, ttl interval DEFAULT NULL, mode text DEFAULT 'always', keep_ttl boolean DEFAULT false, if_version bigint DEFAULT NULL, tags text[] DEFAULT NULL, immediate boolean DEFAULT false) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_set_bytes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_set_bytes(text, bytea, interval, text, boolean, bigint, text[], boolean) IS
    'Stores the value; true if stored. ttl NULL: pgcache.default_ttl; interval ''0'': no expiry. mode: always, if_absent, if_present. keep_ttl: the entry keeps its end. if_version: only if cache_entry still gives that version. tags: for cache_invalidate. In a transaction block it waits for the commit, unless immediate';

CREATE FUNCTION cache_take_bytes(key text) RETURNS bytea
    AS 'MODULE_PATHNAME', 'pgcache_take_bytes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_take_bytes(text) IS
    'Reads and deletes in one step: of several callers one gets the value, the others NULL. Immediate: survives rollback';

CREATE FUNCTION cache_get_many_bytes(keys text[], OUT key text, OUT value bytea) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_get_many_bytes' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION cache_get_many_bytes(text[]) IS
    'One row for each key that hits, in the order of the keys';

CREATE FUNCTION cache_set_many(entries jsonb, ttl interval DEFAULT NULL, tags text[] DEFAULT NULL, immediate boolean DEFAULT false) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_set_many' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_set_many(jsonb, interval, text[], boolean) IS
    'Stores every member of the JSON object under its name; the number stored. Example: SELECT cache_set_many(''{"a": 1, "b": [2]}'', ''5 minutes'')';

CREATE FUNCTION cache_set_many_text(keys text[], new_values text[], ttl interval DEFAULT NULL, tags text[] DEFAULT NULL, immediate boolean DEFAULT false) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_set_many_text' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_set_many_text(text[], text[], interval, text[], boolean) IS
    'Stores the values under the keys at the same places; the number stored';

CREATE FUNCTION cache_set_many_bytes(keys text[], new_values bytea[], ttl interval DEFAULT NULL, tags text[] DEFAULT NULL, immediate boolean DEFAULT false) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_set_many_bytes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_set_many_bytes(text[], bytea[], interval, text[], boolean) IS
    'Stores the values under the keys at the same places; the number stored';

CREATE FUNCTION cache_exists(key text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_exists' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_exists(text) IS
    'Whether there is an entry under the key. Counts as no use of it';

CREATE FUNCTION cache_ttl(key text) RETURNS interval
    AS 'MODULE_PATHNAME', 'pgcache_ttl' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_ttl(text) IS
    'Time until the entry expires; interval ''0'' if it does not expire, NULL if there is none';

CREATE FUNCTION cache_touch(key text, ttl interval DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_touch' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_touch(text, interval) IS
    'Gives the entry a new time to live, counted from now; false if there is none';

CREATE FUNCTION cache_delete(key text, if_version bigint DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_delete' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_delete(text, bigint) IS
    'Deletes the entry; true if there was one (and, with if_version, it had that version)';

CREATE FUNCTION cache_delete_many(keys text[]) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_delete_many' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_delete_many(text[]) IS
    'Deletes the entries under these keys; the number deleted';

CREATE FUNCTION cache_delete_matching(pattern text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_delete_matching' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_delete_matching(text) IS
    'Deletes the entries of this database whose keys match the LIKE pattern; the number deleted. Looks at every entry. Example: SELECT cache_delete_matching(''user:123:%'')';

CREATE FUNCTION cache_clear() RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_clear' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_clear() IS
    'Deletes every entry of this database; the number deleted';

CREATE FUNCTION cache_invalidate(tags text[]) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_invalidate' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_invalidate(text[]) IS
    'Ends all entries that were set with one of the tags, however many, exactly at the commit; the number of tags. Example: SELECT cache_invalidate(ARRAY[''org:7''])';

CREATE FUNCTION cache_entry(key text, OUT found boolean, OUT kind text, OUT value jsonb, OUT version bigint, OUT expires_at timestamptz, OUT size_bytes bigint) RETURNS record
    AS 'MODULE_PATHNAME', 'pgcache_entry' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_entry(text) IS
    'All about the entry in one row. kind: json, text, bytes, counter. value: NULL for bytes, a JSON string for text. version: for if_version, on a miss too. size_bytes: memory it takes';

CREATE FUNCTION cache_incr(key text, by bigint DEFAULT 1, ttl interval DEFAULT NULL, create_missing boolean DEFAULT true) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_incr' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_incr(text, bigint, interval, boolean) IS
    'Adds to the counter or JSON integer; the sum. Atomic, immediate, survives rollback. ttl counts only when it creates the key; NULL where the key is missing and create_missing is false. Example: SELECT cache_incr(''visits'')';

CREATE FUNCTION cache_keys(pattern text DEFAULT '%', max bigint DEFAULT 1000, OUT key text, OUT kind text, OUT size_bytes bigint, OUT expires_at timestamptz) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_keys' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 1000;
COMMENT ON FUNCTION cache_keys(text, bigint) IS
    'Entries of this database whose keys match the LIKE pattern, at most max, in no order. For looking around: it walks over the whole cache';

CREATE FUNCTION pgcache.statistics(OUT database text, OUT items bigint, OUT bytes_used bigint, OUT bytes_allowed bigint,
        OUT hits bigint, OUT misses bigint, OUT hit_ratio double precision, OUT sets bigint, OUT deletes bigint,
        OUT evictions bigint, OUT expirations bigint, OUT refused bigint, OUT dropped bigint,
        OUT fetch_runs bigint, OUT fetch_waits bigint, OUT since timestamptz,
        OUT exact boolean) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_statistics' LANGUAGE C VOLATILE STRICT PARALLEL SAFE ROWS 10;
COMMENT ON FUNCTION pgcache.statistics() IS 'What the view cache_stats shows';

CREATE VIEW cache_stats AS SELECT * FROM pgcache.statistics();
COMMENT ON VIEW cache_stats IS
    'One row for each database that has used the cache. refused: sets of values that may have been out of date; dropped: sets that a commit did not publish; fetch_runs: queries that cache_fetch ran; fetch_waits: its callers that waited for another''s; exact: false on a standby. bytes_allowed is shared by all; items and bytes_used count entries that have expired but are not given back yet';

CREATE FUNCTION cache_stats_reset() RETURNS void
    AS 'MODULE_PATHNAME', 'pgcache_statistics_reset' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_stats_reset() IS 'Sets this database''s counts in cache_stats to zero; items and bytes_used stay';

INSERT INTO pgcache.privilege VALUES
    ('cache_get(text)', 'app'),
    ('cache_set(text, jsonb, interval, text, boolean, bigint, text[], boolean)', 'app'),
    ('cache_take(text)', 'app'),
    ('cache_get_many(text[])', 'app'),
    ('cache_get_text(text)', 'app'),
    ('cache_set_text(text, text, interval, text, boolean, bigint, text[], boolean)', 'app'),
    ('cache_take_text(text)', 'app'),
    ('cache_get_many_text(text[])', 'app'),
    ('cache_get_bytes(text)', 'app'),
    ('cache_set_bytes(text, bytea, interval, text, boolean, bigint, text[], boolean)', 'app'),
    ('cache_take_bytes(text)', 'app'),
    ('cache_get_many_bytes(text[])', 'app'),
    ('cache_set_many(jsonb, interval, text[], boolean)', 'app'),
    ('cache_set_many_text(text[], text[], interval, text[], boolean)', 'app'),
    ('cache_set_many_bytes(text[], bytea[], interval, text[], boolean)', 'app'),
    ('cache_exists(text)', 'app'),
    ('cache_ttl(text)', 'app'),
    ('cache_touch(text, interval)', 'app'),
    ('cache_delete(text, bigint)', 'app'),
    ('cache_delete_many(text[])', 'app'),
    ('cache_delete_matching(text)', 'app'),
    ('cache_clear()', 'admin'),
    ('cache_invalidate(text[])', 'app'),
    ('cache_entry(text)', 'app'),
    ('cache_incr(text, bigint, interval, boolean)', 'app'),
    ('cache_keys(text, bigint)', 'admin'),
    ('pgcache.statistics()', 'admin'),
    ('cache_stats', 'admin'),
    ('cache_stats_reset()', 'admin');

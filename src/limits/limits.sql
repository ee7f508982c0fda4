-- Rate limits: counts in shared memory that are judged and charged in one step. What acts on a key is not STRICT, because
-- a NULL must be an error: who answers NULL to "may he?" lets him.

CREATE FUNCTION rate_limit(key text, quota bigint, period interval, cost bigint DEFAULT 1, burst bigint DEFAULT NULL, algorithm text DEFAULT 'gcra', block interval DEFAULT NULL,
        OUT allowed boolean, OUT quota bigint, OUT remaining bigint, OUT retry_after interval, OUT reset_after interval, OUT retry_after_ms bigint, OUT reset_after_ms bigint,
        OUT blocked_until timestamptz, OUT reason text) RETURNS record
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rate_limit(text, bigint, interval, bigint, bigint, text, interval) IS
    'Takes cost from the key''s quota for the period, all or nothing, at once and whatever becomes of the transaction. algorithm: gcra, fixed, sliding, exact, calendar. burst: of gcra, the most at once. block: a denial blocks the key so long. retry_after: least wait for the same call, NULL if it never can succeed. Call it in FROM. Example: SELECT allowed, retry_after FROM rate_limit(''login:203.0.113.9'', 5, ''1 minute'')';

CREATE FUNCTION rate_limit_allowed(key text, quota bigint, period interval, cost bigint DEFAULT 1) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_allowed' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rate_limit_allowed(text, bigint, interval, bigint) IS
    'As rate_limit with gcra, only whether it is allowed. Example: SELECT rate_limit_allowed(''search:42'', 100, ''1 minute'')';

CREATE FUNCTION rate_limit_peek(key text, quota bigint, period interval, cost bigint DEFAULT 1, burst bigint DEFAULT NULL, algorithm text DEFAULT 'gcra', block interval DEFAULT NULL,
        OUT allowed boolean, OUT quota bigint, OUT remaining bigint, OUT retry_after interval, OUT reset_after interval, OUT retry_after_ms bigint, OUT reset_after_ms bigint,
        OUT blocked_until timestamptz, OUT reason text) RETURNS record
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_peek' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rate_limit_peek(text, bigint, interval, bigint, bigint, text, interval) IS
    'What rate_limit would answer, and takes nothing';

CREATE FUNCTION rate_limit_refund(key text, quota bigint, period interval, cost bigint DEFAULT 1, burst bigint DEFAULT NULL, algorithm text DEFAULT 'gcra', block interval DEFAULT NULL,
        OUT allowed boolean, OUT quota bigint, OUT remaining bigint, OUT retry_after interval, OUT reset_after interval, OUT retry_after_ms bigint, OUT reset_after_ms bigint,
        OUT blocked_until timestamptz, OUT reason text) RETURNS record
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_refund' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rate_limit_refund(text, bigint, interval, bigint, bigint, text, interval) IS
    'Gives back what rate_limit took with the same arguments, up to the full quota';

CREATE FUNCTION rate_limit_block(key text, duration interval) RETURNS timestamptz
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_block' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rate_limit_block(text, interval) IS
    'Denies the key by every limit from now on for so long, in place of a block that it has; until when. Example: SELECT rate_limit_block(''login:203.0.113.9'', ''1 hour'') > now()';

CREATE FUNCTION rate_limit_unblock(key text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_unblock' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rate_limit_unblock(text) IS 'Ends the key''s block; true if there was one. Its counts stay';

CREATE FUNCTION rate_limit_reset(key text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_reset' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rate_limit_reset(text) IS 'Forgets all counts of the key and its block; the number of counts';

CREATE FUNCTION rate_limit_top(n integer DEFAULT 20, OUT key text, OUT denied bigint, OUT denied_at_least bigint, OUT last_denied timestamptz) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_top' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 20;
COMMENT ON FUNCTION rate_limit_top(integer) IS
    'The keys of this database that were denied most, from a bounded list: denied is never too low, denied_at_least never too high';

CREATE FUNCTION pgcache.rate_limit_statistics(OUT cells bigint, OUT cells_max bigint, OUT bytes_per_cell double precision, OUT log_entries bigint, OUT log_entries_max bigint,
        OUT allowed bigint, OUT denied bigint, OUT forgotten bigint, OUT no_room bigint, OUT since timestamptz) RETURNS record
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_statistics' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION pgcache.rate_limit_statistics() IS 'What the view rate_limit_stats shows';

CREATE VIEW rate_limit_stats AS SELECT * FROM pgcache.rate_limit_statistics();
COMMENT ON VIEW rate_limit_stats IS
    'Rate limits of the whole server, one row. cells: counts and blocks; bytes_per_cell: all of the memory by cells_max; log_entries: hits that exact remembers; forgotten: counts that had run off and gave their place to another key; no_room: calls and blocks that found no place';

CREATE FUNCTION rate_limit_stats_reset() RETURNS void
    AS 'MODULE_PATHNAME', 'pgcache_rate_limit_stats_reset' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION rate_limit_stats_reset() IS
    'Begins the counters of rate_limit_stats and the list of rate_limit_top anew, for the whole server; counts and blocks stay';

INSERT INTO pgcache.privilege VALUES
    ('rate_limit(text, bigint, interval, bigint, bigint, text, interval)', 'app'),
    ('rate_limit_allowed(text, bigint, interval, bigint)', 'app'),
    ('rate_limit_peek(text, bigint, interval, bigint, bigint, text, interval)', 'app'),
    ('rate_limit_refund(text, bigint, interval, bigint, bigint, text, interval)', 'app'),
    ('rate_limit_block(text, interval)', 'app'),
    ('rate_limit_unblock(text)', 'app'),
    ('rate_limit_reset(text)', 'app'),
    ('rate_limit_top(integer)', 'admin'),
    ('pgcache.rate_limit_statistics()', 'admin'),
    ('rate_limit_stats', 'admin'),
    ('rate_limit_stats_reset()', 'admin');

-- Rate limits: the functions, at a clock that stands still.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SET TimeZone = 'UTC';
SET pgcache.test_clock = '2026-03-01 12:00:00';
CREATE FUNCTION pg_temp.clock(offset_ms numeric) RETURNS void LANGUAGE sql AS $$
    SELECT set_config('pgcache.test_clock', (timestamptz '2026-03-01 12:00:00' + offset_ms * interval '1 ms')::text, false) $$;
SELECT count(rate_limit_reset(k)) FROM unnest('{a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,v1,v2,v3,once,each,lists,named,never used,k2}'::text[] || repeat('x', 1024)) k;

-- All columns, allowed and denied.
SELECT * FROM rate_limit('a', 2, '1 minute');
SELECT * FROM rate_limit('a', 2, '1 minute');
SELECT * FROM rate_limit('a', 2, '1 minute');
SELECT rate_limit_allowed('a', 2, '1 minute'), rate_limit_allowed('a', 3, '1 minute'), rate_limit_allowed('a', 3, '1 minute');
SELECT pg_typeof(r.retry_after), pg_typeof(r.quota), pg_typeof(r.blocked_until) FROM rate_limit_peek('a', 2, '1 minute') r;

-- The published vectors of GCRA. now: milliseconds; a wait that never ends is null.
CREATE FUNCTION pg_temp.vectors(key text, quota bigint, period interval, burst bigint, steps int[][])
RETURNS TABLE (now int, cost int, allowed boolean, remaining bigint, retry_ms bigint, reset_ms bigint) LANGUAGE plpgsql AS $$
DECLARE
    step int[];
BEGIN
    FOREACH step SLICE 1 IN ARRAY steps LOOP
        PERFORM pg_temp.clock(step[1]);
        now := step[1]; cost := step[2];
        SELECT r.allowed, r.remaining, r.retry_after_ms, r.reset_after_ms INTO allowed, remaining, retry_ms, reset_ms
        FROM rate_limit(vectors.key, vectors.quota, vectors.period, step[2], vectors.burst) r;
        RETURN NEXT;
    END LOOP;
END $$;
SELECT * FROM pg_temp.vectors('v1', 1, '1 second', 5, '{{0,6},{0,1},{0,1},{0,1},{0,1},{0,1},{0,1},{3000,1},{3100,1},{4000,1},{8000,1},{9500,1},{9500,0},{9500,2},{9500,5},{15000,6}}');
SELECT * FROM pg_temp.vectors('v2', 10, '1 minute', NULL, '{{0,10},{0,1},{5999,1},{6000,1},{6000,0},{11999,1},{60000,5},{66000,10}}');
SELECT * FROM pg_temp.vectors('v3', 3, '1 second', NULL, '{{0,3},{333,1},{334,1},{999,2},{1000,2},{1001,1}}');
-- To the microsecond: a third of a second is 333,333 1/3 of them.
SELECT pg_temp.clock(0), rate_limit_reset('v3');
SELECT allowed, retry_after, reset_after FROM rate_limit('v3', 3, '1 second', 3);
SELECT allowed, retry_after, retry_after_ms, reset_after FROM rate_limit('v3', 3, '1 second');
SELECT pg_temp.clock(333.333);
SELECT allowed, retry_after, retry_after_ms FROM rate_limit('v3', 3, '1 second');
SELECT pg_temp.clock(333.334);
SELECT allowed, retry_after, reset_after FROM rate_limit('v3', 3, '1 second');
SELECT pg_temp.clock(0);

-- FROM charges once, a star over the row once for each column.
SELECT allowed, quota, remaining, reason FROM rate_limit('once', 100, '1 hour');
SELECT remaining FROM rate_limit_peek('once', 100, '1 hour');
SELECT (rate_limit('each', 100, '1 hour')).*;
SELECT remaining FROM rate_limit_peek('each', 100, '1 hour');
SELECT rate_limit('lists', 100, '1 hour');
SELECT sum(r.remaining), count(*) FROM generate_series(1, 3) n, LATERAL rate_limit('lists', 100, '1 hour', cost => n) r;

-- Cost, quota, burst.
SELECT allowed, remaining, retry_after, reset_after, reason FROM rate_limit('b', 10, '1 minute', 11);
SELECT allowed, remaining, retry_after, reset_after, reason FROM rate_limit('b', 10, '1 minute', 0);
SELECT allowed, remaining, retry_after, reset_after, reason FROM rate_limit('b', 10, '1 minute', 7);
SELECT allowed, remaining, retry_after, reset_after, reason FROM rate_limit('b', 10, '1 minute', 4);
SELECT allowed, remaining, retry_after, reset_after, reason FROM rate_limit('b', 10, '1 minute', 3);
SELECT allowed, remaining, retry_after, reset_after, reason FROM rate_limit('b', 10, '1 minute', 0);
SELECT * FROM rate_limit('b', 0, '1 minute');
SELECT * FROM rate_limit('b', 0, '1 minute', 0);
SELECT rate_limit_allowed('b', 0, '1 minute'), rate_limit_allowed('b', 0, '1 minute', 0);
SELECT allowed, remaining, reset_after FROM rate_limit('c', 1, '1 second', burst => 3);
SELECT allowed, remaining, reset_after FROM rate_limit('c', 1, '1 second', 3, 3);
SELECT allowed, remaining, reason FROM rate_limit('c', 1, '1 second', 4, 3);

-- A count is named by key, algorithm and period; not by quota, burst or the way that the period is written.
SELECT a, p, allowed, remaining FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, unnest('{1 minute,1 hour}'::interval[]) p, LATERAL rate_limit('named', 5, p, algorithm => a);
SELECT remaining FROM rate_limit('named', 5, '60 seconds');
SELECT remaining FROM rate_limit('named', 8, '1 minute');
SELECT allowed, remaining, retry_after FROM rate_limit('named', 2, '1 minute');
SELECT p, remaining FROM unnest('{1 hour,1 day,1 month}'::interval[]) p, LATERAL rate_limit('named', 100, p, algorithm => 'calendar');
SELECT remaining FROM rate_limit('named', 100, '24 hours', algorithm => 'calendar');
SELECT rate_limit_reset('named'), rate_limit_reset('named');

-- The other algorithms, with what they say of waiting.
SELECT allowed, remaining, retry_after, reset_after FROM rate_limit('d', 3, '1 minute', 2, algorithm => 'fixed');
SELECT pg_temp.clock(20000);
SELECT allowed, remaining, retry_after, reset_after FROM rate_limit('d', 3, '1 minute', 2, algorithm => 'fixed');
SELECT pg_temp.clock(59999.999);
SELECT allowed FROM rate_limit('d', 3, '1 minute', 2, algorithm => 'fixed');
SELECT pg_temp.clock(60000);
SELECT allowed, remaining, reset_after FROM rate_limit('d', 3, '1 minute', 2, algorithm => 'fixed');

SELECT pg_temp.clock(0);
SELECT allowed, remaining, reset_after FROM rate_limit('e', 10, '1 minute', 8, algorithm => 'sliding');
SELECT pg_temp.clock(45000);
SELECT allowed, remaining, reset_after FROM rate_limit('e', 10, '1 minute', 2, algorithm => 'sliding');
SELECT pg_temp.clock(75000);  -- a quarter of the second window: 7.5 are left of 10
SELECT allowed, remaining, retry_after FROM rate_limit('e', 10, '1 minute', 3, algorithm => 'sliding');
SELECT pg_temp.clock(78000);
SELECT allowed, remaining, retry_after FROM rate_limit('e', 10, '1 minute', 3, algorithm => 'sliding');

SELECT pg_temp.clock(0);
SELECT allowed, remaining, reset_after FROM rate_limit('f', 3, '1 minute', algorithm => 'exact');
SELECT pg_temp.clock(10000);
SELECT allowed, remaining, reset_after FROM rate_limit('f', 3, '1 minute', 2, algorithm => 'exact');
SELECT pg_temp.clock(59999.999);
SELECT allowed, remaining, retry_after FROM rate_limit('f', 3, '1 minute', algorithm => 'exact');
SELECT allowed, remaining, retry_after FROM rate_limit('f', 3, '1 minute', 2, algorithm => 'exact');
SELECT pg_temp.clock(60000);
SELECT allowed, remaining, reset_after FROM rate_limit('f', 3, '1 minute', algorithm => 'exact');
SELECT allowed FROM rate_limit('f', 3, '1 minute', algorithm => 'exact');

CREATE FUNCTION pg_temp.calendar(at text) RETURNS TABLE (period interval, reset_after interval, ends timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('pgcache.test_clock', at, false), rate_limit_reset('g');
    RETURN QUERY SELECT p, r.reset_after, at::timestamptz + r.reset_after FROM unnest('{1 hour,1 day,1 month}'::interval[]) p, LATERAL rate_limit('g', 5, p, algorithm => 'calendar') r;
END $$;
SELECT * FROM pg_temp.calendar('2026-03-01 12:34:56.789');
SELECT * FROM pg_temp.calendar('2024-02-10 00:00');
SELECT * FROM pg_temp.calendar('2026-12-31 23:59:59.999999');
SET TimeZone = 'Asia/Kathmandu';
SELECT * FROM pg_temp.calendar('2026-03-01 00:00+00');
SET TimeZone = 'UTC';
SET pgcache.test_clock = '2026-03-31 23:59:59';
SELECT rate_limit_reset('g') >= 0;
SELECT allowed, remaining FROM rate_limit('g', 1, '1 month', algorithm => 'calendar');
SELECT allowed, retry_after FROM rate_limit('g', 1, '1 month', algorithm => 'calendar');
SET pgcache.test_clock = '2026-04-01 00:00';
SELECT allowed, remaining FROM rate_limit('g', 1, '1 month', algorithm => 'calendar');

-- Looking and giving back.
SELECT pg_temp.clock(0);
SELECT a, p.allowed, p.remaining, p.reset_after FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit_peek('h', 5, '1 minute', algorithm => a) p;
SELECT a, r.remaining FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit('h', 5, '1 minute', 4, algorithm => a) r;
SELECT a, p.allowed, p.remaining, p.retry_after, p.reason FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit_peek('h', 5, '1 minute', 2, algorithm => a) p;
SELECT a, r.allowed, r.remaining, r.retry_after, r.reset_after FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit_refund('h', 5, '1 minute', 3, algorithm => a) r;
SELECT a, r.allowed, r.remaining, r.reset_after FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit_refund('h', 5, '1 minute', 9223372036854775807, algorithm => a) r;
SELECT a, r.allowed, r.remaining FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit_refund('never used', 5, '1 minute', algorithm => a) r;
SELECT * FROM rate_limit_refund('h', 0, '1 minute');

-- Blocks: by a denial, by hand. They hold for every limit of the key.
SELECT allowed, remaining, blocked_until, reason FROM rate_limit('i', 1, '1 minute', block => '10 minutes');
SELECT allowed, remaining, retry_after, reset_after, blocked_until, reason FROM rate_limit('i', 1, '1 minute', block => '10 minutes');
SELECT pg_temp.clock(300000);
SELECT allowed, remaining, retry_after, reset_after, blocked_until, reason FROM rate_limit('i', 1, '1 minute', block => '10 minutes');
SELECT allowed, remaining, retry_after, reason FROM rate_limit('i', 1000, '1 second', algorithm => 'exact');
SELECT allowed, retry_after, reason FROM rate_limit('i', 1000, '1 second', 0);
SELECT allowed, retry_after, reason FROM rate_limit_peek('i', 1000, '1 second');
SELECT rate_limit_allowed('i', 1000, '1 second'), rate_limit_allowed('i', 1000, '1 second', 0);
SELECT pg_temp.clock(599999.999);
SELECT allowed, retry_after FROM rate_limit('i', 1, '1 minute');
SELECT pg_temp.clock(600000);
SELECT allowed, blocked_until, reason FROM rate_limit('i', 1, '1 minute');
SELECT pg_temp.clock(0);
SELECT rate_limit_block('j', '1 hour'), rate_limit_block('j', '1 minute');
SELECT allowed, retry_after, reset_after, blocked_until, reason FROM rate_limit('j', 5, '1 day');
-- A block and a quota that is used up: the longer wait.
SELECT rate_limit_unblock('j'), rate_limit_unblock('j');
SELECT allowed, remaining FROM rate_limit('j', 5, '1 day', 5, algorithm => 'fixed');
SELECT rate_limit_block('j', '1 hour');
SELECT allowed, retry_after, reset_after, reason FROM rate_limit('j', 5, '1 day', algorithm => 'fixed');
SELECT rate_limit_block('j', '1 month') - '2026-03-01 12:00' AS month;
SELECT allowed, retry_after, reset_after, reason FROM rate_limit('j', 5, '1 day', algorithm => 'fixed');
-- A cost that can never be there does not block; a quota of zero neither.
SELECT allowed, blocked_until, reason FROM rate_limit('k', 5, '1 minute', 6, block => '1 hour');
SELECT allowed, blocked_until, reason FROM rate_limit('k', 0, '1 minute', block => '1 hour');
SELECT allowed, blocked_until, reason FROM rate_limit('k', 5, '1 minute', 5, block => '1 hour');
SELECT allowed, blocked_until, reason FROM rate_limit_peek('k', 5, '1 minute', block => '1 hour');
SELECT allowed, blocked_until, reason FROM rate_limit('k', 5, '1 minute', 0);
-- A reset takes the block too.
SELECT rate_limit_reset('j'), rate_limit_unblock('j');
SELECT allowed, remaining FROM rate_limit('j', 5, '1 day', algorithm => 'fixed');

-- What is taken stays taken.
BEGIN;
SELECT remaining FROM rate_limit('l', 5, '1 minute');
SAVEPOINT s;
SELECT remaining FROM rate_limit('l', 5, '1 minute');
ROLLBACK TO s;
SELECT remaining FROM rate_limit_peek('l', 5, '1 minute');
SELECT rate_limit_block('m', '1 hour') IS NOT NULL AS blocked;
SELECT 1 / (SELECT remaining - 2 FROM rate_limit('l', 5, '1 minute'));
ROLLBACK;
SELECT remaining FROM rate_limit_peek('l', 5, '1 minute');
SELECT reason FROM rate_limit('m', 5, '1 minute');
BEGIN READ ONLY;
SELECT remaining FROM rate_limit('l', 5, '1 minute');
COMMIT;

-- The quota may change; the clock may be set back. Nobody waits longer than one period.
SELECT a, r.remaining FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit('n', 100, '1 minute', 100, algorithm => a) r;
SELECT a, r.allowed, r.retry_after FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit('n', 5, '1 minute', algorithm => a) r;
SELECT a, r.allowed, r.remaining FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit('n', 120, '1 minute', algorithm => a) r;
SELECT pg_temp.clock(60000);
SELECT a, r.allowed FROM unnest('{gcra,fixed,sliding,exact}'::text[]) a, LATERAL rate_limit('n', 5, '1 minute', algorithm => a) r;
SELECT a, r.remaining FROM unnest('{gcra,fixed,sliding,exact,calendar}'::text[]) a, LATERAL rate_limit('o', 5, '1 hour', 5, algorithm => a) r;
SELECT pg_temp.clock(-86400000.0 * 365);
SELECT a, r.allowed, r.retry_after FROM unnest('{gcra,fixed,sliding,exact,calendar}'::text[]) a, LATERAL rate_limit('o', 5, '1 hour', algorithm => a) r;
SELECT pg_temp.clock(-86400000.0 * 365 + 3600000);
SELECT a, r.allowed FROM unnest('{gcra,fixed,sliding,exact,calendar}'::text[]) a, LATERAL rate_limit('o', 5, '1 hour', algorithm => a) r;
-- A burst that was lowered holds nobody longer than it takes to refill.
SELECT pg_temp.clock(0);
SELECT remaining FROM rate_limit('p', 10, '1 minute', 1000, 1000);
SELECT retry_after FROM rate_limit('p', 10, '1 minute');
SELECT pg_temp.clock(60000);
SELECT allowed, remaining FROM rate_limit('p', 10, '1 minute');

-- Large numbers.
SELECT pg_temp.clock(0);
SELECT allowed, remaining, reset_after FROM rate_limit('q', 9223372036854775807, '1 microsecond', 9223372036854775807);
SELECT allowed, remaining, reset_after FROM rate_limit('q', 9223372036854775807, '36500000 days', algorithm => 'fixed');
SELECT allowed, remaining, reset_after FROM rate_limit('q', 9223372036854775807, '36500000 days', 9223372036854775807, algorithm => 'sliding');
SELECT allowed, remaining, reset_after FROM rate_limit('q', 1, '36500000 days');
SELECT allowed, remaining, retry_after, reset_after FROM rate_limit('q', 1, '36500000 days');
SELECT * FROM rate_limit('q', 1, '36500000 days', burst => 2);
SELECT * FROM rate_limit('q', 5, '2000000000 days');
SELECT rate_limit_block('q', '2000000000 days');

-- Bad input.
SELECT * FROM rate_limit(NULL, 5, '1 minute');
SELECT * FROM rate_limit('k', NULL, '1 minute');
SELECT * FROM rate_limit('k', 5, NULL);
SELECT * FROM rate_limit('k', 5, '1 minute', NULL);
SELECT * FROM rate_limit('k', 5, '1 minute', algorithm => NULL);
SELECT * FROM rate_limit('', 5, '1 minute');
SELECT * FROM rate_limit(repeat('x', 1025), 5, '1 minute');
SELECT allowed FROM rate_limit(repeat('x', 1024), 5, '1 minute');
SELECT * FROM rate_limit('k', -1, '1 minute');
SELECT * FROM rate_limit('k', 5, '0');
SELECT * FROM rate_limit('k', 5, '-1 minute');
SELECT * FROM rate_limit('k', 5, '1 month');
SELECT * FROM rate_limit('k', 5, '1 month -30 days', algorithm => 'sliding');
SELECT * FROM rate_limit('k', 5, '2 hours', algorithm => 'calendar');
SELECT * FROM rate_limit('k', 5, '2 months', algorithm => 'calendar');
SELECT * FROM rate_limit('k', 5, '-1 month', algorithm => 'calendar');
SELECT * FROM rate_limit('k', 5, '1 minute', -1);
SELECT * FROM rate_limit('k', 5, '1 minute', burst => 0);
SELECT * FROM rate_limit('k', 5, '1 minute', burst => 6, algorithm => 'fixed');
SELECT allowed FROM rate_limit_peek('k', 5, '1 minute', burst => 5, algorithm => 'fixed');
SELECT * FROM rate_limit('k', 5, '1 minute', algorithm => 'GCRA');
SELECT * FROM rate_limit('k', 1001, '1 minute', algorithm => 'exact');
SELECT allowed FROM rate_limit('k2', 1000, '1 microsecond', 1000, algorithm => 'exact');
SELECT * FROM rate_limit('k', 5, '1 minute', block => '0');
SELECT * FROM rate_limit('k', 5, '1 minute', block => '-1 hour');
SELECT * FROM rate_limit_peek('k', -1, '1 minute');
SELECT * FROM rate_limit_refund('k', 5, '1 minute', -1);
SELECT rate_limit_allowed('k', 5, NULL);
SELECT rate_limit_allowed('k', 5, '1 month');
SELECT rate_limit_block('k', NULL);
SELECT rate_limit_block(NULL, '1 hour');
SELECT rate_limit_block('k', '0');
SELECT rate_limit_unblock(NULL);
SELECT rate_limit_reset(NULL);
SELECT rate_limit_reset('');
SELECT * FROM rate_limit_top(0);
SELECT * FROM rate_limit_top(NULL);

CREATE FUNCTION pg_temp.sqlstate_of(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT ' || call;
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT call, pg_temp.sqlstate_of(call) FROM unnest(ARRAY[
    $$rate_limit(NULL, 5, '1 minute')$$, $$rate_limit('k', NULL, '1 minute')$$, $$rate_limit('k', 5, NULL)$$, $$rate_limit('k', 5, '1 minute', NULL)$$, $$rate_limit('k', 5, '1 minute', algorithm => NULL)$$,
    $$rate_limit_peek(NULL, 5, '1 minute')$$, $$rate_limit_refund('k', 5, NULL)$$, $$rate_limit_allowed('k', NULL, '1 minute')$$, $$rate_limit_block('k', NULL)$$, $$rate_limit_unblock(NULL)$$, $$rate_limit_reset(NULL)$$,
    $$rate_limit('', 5, '1 minute')$$, $$rate_limit(repeat('x', 1025), 5, '1 minute')$$, $$rate_limit('k', -1, '1 minute')$$, $$rate_limit('k', 5, '0')$$, $$rate_limit('k', 5, '1 month')$$,
    $$rate_limit('k', 5, '1 week', algorithm => 'calendar')$$, $$rate_limit('k', 5, '1 minute', -1)$$, $$rate_limit('k', 5, '1 minute', burst => 0)$$, $$rate_limit('k', 5, '1 minute', burst => 6, algorithm => 'fixed')$$,
    $$rate_limit('k', 5, '1 minute', algorithm => '')$$, $$rate_limit('k', 1001, '1 minute', algorithm => 'exact')$$, $$rate_limit('k', 5, '1 minute', block => '0')$$, $$rate_limit_block('k', '-1 s')$$, $$rate_limit_top(0)$$,
    $$rate_limit('q', 5, '2000000000 days')$$, $$rate_limit('q', 1, '36500000 days', burst => 2)$$, $$rate_limit('q', 5, '1 s', block => '2000000000 days')$$, $$rate_limit_block('q', '2000000000 days')$$, $$rate_limit('q', 5, '1 s', 9223372036854775807)$$]) call;

-- A block that would end after the last timestamp.
SET pgcache.test_clock = '294276-12-31 23:00';
SELECT call, pg_temp.sqlstate_of(call) FROM unnest(ARRAY[$$rate_limit_block('q', '2 hours')$$, $$rate_limit('q', 5, '1 s', block => '2 hours')$$, $$rate_limit_peek('q', 5, '1 s', block => '1 minute')$$]) call;
-- PostgreSQL has infinite intervals from version 17 on.
SELECT pg_temp.clock(0);
SELECT call, pg_temp.sqlstate_of(call) = CASE WHEN current_setting('server_version_num')::int >= 170000 THEN '22023' ELSE '22007' END AS refused
FROM unnest(ARRAY[$$rate_limit('k', 5, 'infinity')$$, $$rate_limit('k', 5, '-infinity')$$, $$rate_limit('k', 5, 'infinity', algorithm => 'calendar')$$, $$rate_limit('k', 5, '1 s', block => 'infinity')$$, $$rate_limit_block('k', 'infinity')$$]) call;

-- Statistics, and who was denied.
SELECT rate_limit_stats_reset();
SELECT allowed, denied, no_room FROM rate_limit_stats;
SELECT count(rate_limit_reset('s' || n)) FROM generate_series(1, 5) n;
SELECT count(*) FILTER (WHERE rate_limit_allowed('s' || n, 2, '1 hour')) FROM generate_series(1, 5) n, generate_series(1, n * 2) again;
SELECT allowed, denied, no_room, cells > 0 AS cells, cells_max > 290000 AS places, bytes_per_cell <= 58 AS small, since <= now() AS since FROM rate_limit_stats;
SELECT * FROM rate_limit_top(3);
SELECT count(*) FROM rate_limit_top();
-- Neither a look nor a peek, a refund or a block counts.
SELECT allowed FROM rate_limit('s5', 2, '1 hour', 0);
SELECT allowed FROM rate_limit_peek('s5', 2, '1 hour');
SELECT allowed, denied FROM rate_limit_stats;
-- Keys are listed as they were given.
SELECT rate_limit_allowed(k, 0, '1 hour') FROM unnest(ARRAY['ключ 日本 🔑', E'line\nbreak', repeat('y', 1024)]) k;
SELECT left(key, 20) AS key, length(key), denied, last_denied FROM rate_limit_top() WHERE denied = 1 ORDER BY key COLLATE "C";
SELECT rate_limit_stats_reset();
SELECT count(*) FROM rate_limit_top();
SELECT allowed, remaining FROM rate_limit_peek('s5', 3, '1 hour');

-- A plan that runs it for many rows charges each.
SELECT count(*) FILTER (WHERE allowed) FROM generate_series(1, 20) n, LATERAL rate_limit('rows ' || n % 4, 3, '1 hour', 1 + 0 * n);
SELECT count(rate_limit_reset('rows ' || n)) FROM generate_series(0, 3) n;
PREPARE ask(text) AS SELECT allowed, remaining FROM rate_limit($1, 5, '1 hour');
EXECUTE ask('rows 0'); EXECUTE ask('rows 0');
SELECT rate_limit_reset('rows 0');
RESET pgcache.test_clock;
SELECT allowed, remaining, retry_after, reset_after <= '12 seconds' AS reset FROM rate_limit('rows 0', 5, '1 minute');
SELECT rate_limit_reset('rows 0');

-- Materialized views: the SQL face, what is refused, refreshes by hand, suggested indexes. Schedules do not run here; see test/t.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
CREATE SCHEMA matviews;
SET search_path = matviews, public;

CREATE TABLE orders (id int PRIMARY KEY, customer int, day date, note json);
INSERT INTO orders SELECT i, i % 10, '2026-01-01'::date + i % 7 FROM generate_series(1, 100) i;
CREATE MATERIALIZED VIEW stats AS SELECT customer, count(*) FROM orders GROUP BY customer;
CREATE UNIQUE INDEX ON stats (customer);
CREATE VIEW plain AS SELECT 1;

-- A schedule, and another in its place.
SELECT matview_schedule('stats', every => '5 minutes') AS id \gset
SELECT view, every, cron, timezone, is_concurrent, only_if_changed, timeout, jitter, failures, last_run, age FROM matview_status WHERE id = :id;
SELECT next_run <= now() AS at_once FROM matview_status WHERE id = :id;
SELECT matview_schedule('stats', cron => '30 6 * * mon-fri', timezone => 'Europe/Berlin', concurrently => true, only_if_changed => false,
    timeout => '1 minute', jitter => '10 seconds') = :id AS same;
SELECT view, every, cron, timezone, is_concurrent, only_if_changed, timeout, jitter FROM matview_status;
SELECT (next_run AT TIME ZONE 'Europe/Berlin')::time BETWEEN '06:30' AND '06:30:10' AS half_past_six, extract(isodow FROM next_run AT TIME ZONE 'Europe/Berlin') < 6 AS weekday
FROM matview_status;
BEGIN;
SELECT matview_unschedule('stats');
SELECT count(*) FROM matview_status;
ROLLBACK;
SELECT count(*) FROM matview_status;
-- Renamed, moved, gone.
ALTER MATERIALIZED VIEW stats RENAME TO "Stats, 1";
CREATE SCHEMA "Other";
ALTER MATERIALIZED VIEW "Stats, 1" SET SCHEMA "Other";
SELECT view, state FROM matview_status;
DROP MATERIALIZED VIEW "Other"."Stats, 1";
SELECT view, state FROM matview_status;
CREATE MATERIALIZED VIEW stats AS SELECT customer, count(*) FROM orders GROUP BY customer;
SELECT matview_schedule('stats', every => '1 day', concurrently => false) = :id AS same;
SELECT view, state, every FROM matview_status;
SELECT matview_unschedule('stats'), matview_unschedule('stats');
SELECT count(*) FROM matview_status;

-- What is refused.
SELECT matview_schedule('orders', every => '1 minute');
SELECT matview_schedule('plain', every => '1 minute');
SELECT matview_schedule('none', every => '1 minute');
SELECT matview_schedule(0::regclass, every => '1 minute');
SELECT matview_schedule(NULL, every => '1 minute');
SELECT matview_schedule('stats');
SELECT matview_schedule('stats', every => '1 minute', cron => '* * * * *');
SELECT matview_schedule('stats', every => '0');
SELECT matview_schedule('stats', every => '-1 minute');
SELECT matview_schedule('stats', every => '999 ms');
SELECT matview_schedule('stats', every => '10001 days');
SELECT matview_schedule('stats', every => '178000000 years');
SELECT matview_schedule('stats', every => '1 minute', jitter => '1 minute');
SELECT matview_schedule('stats', every => '1 minute', jitter => '-1 second');
SELECT matview_schedule('stats', every => '1 minute', timeout => '0');
SELECT matview_schedule('stats', every => '1 minute', timeout => '-1 second');
SELECT matview_schedule('stats', every => '1 minute', timezone => 'Europe/Nowhere');
SELECT matview_schedule('stats', cron => '0 6 * * *', timezone => '');
SELECT matview_schedule('stats', cron => '');
SELECT matview_schedule('stats', cron => '* * * *');
SELECT matview_schedule('stats', cron => '60 * * * *');
SELECT matview_schedule('stats', cron => '* 24 * * *');
SELECT matview_schedule('stats', cron => '* * 0 * *');
SELECT matview_schedule('stats', cron => '* * * foo *');
SELECT matview_schedule('stats', cron => '* * * * fri-mon');
SELECT matview_schedule('stats', cron => '*/0 * * * *');
SELECT matview_schedule('stats', cron => '0 0 30 2 *');
SELECT matview_schedule('stats', cron => '@reboot');
SELECT matview_schedule('stats', every => '1 minute', concurrently => true);
SELECT matview_refresh('orders');
SELECT matview_refresh(NULL);
SELECT matview_unschedule('plain');
SELECT count(*) FROM matview_status;

-- Somebody else's.
CREATE ROLE matviews_stranger;
GRANT USAGE ON SCHEMA matviews TO matviews_stranger;
SELECT matview_schedule('stats', every => '1 day', concurrently => false) > 0 AS scheduled;
SELECT matview_refresh('stats');
SET ROLE matviews_stranger;
SELECT matview_schedule('stats', every => '1 minute');
RESET ROLE;
SELECT pgcache.grant_to('matviews_stranger');
SET ROLE matviews_stranger;
SELECT matview_schedule('stats', every => '1 minute');
SELECT matview_refresh('stats');
SELECT matview_unschedule('stats');
SELECT (SELECT count(*) FROM matview_status), (SELECT count(*) FROM matview_history);
SELECT count(*) FROM pgcache.matview_runs;
RESET ROLE;
GRANT pg_read_all_stats TO matviews_stranger;
SET ROLE matviews_stranger;
SELECT view FROM matview_status;
RESET ROLE;
SELECT pgcache.revoke_from('matviews_stranger');
DROP OWNED BY matviews_stranger;
DROP ROLE matviews_stranger;
SELECT matview_unschedule('stats');

-- Indexes.
CREATE MATERIALIZED VIEW single AS SELECT count(*) AS all_orders, max(day) FROM orders;
SELECT matview_schedule('single', every => '1 day') > 0 AS scheduled;
CREATE MATERIALIZED VIEW grouped AS SELECT count(*), day, customer AS "Customer" FROM orders GROUP BY customer, day;
SELECT matview_schedule('grouped', every => '1 day') > 0 AS scheduled;
CREATE MATERIALIZED VIEW hidden_group AS SELECT count(*) FROM orders GROUP BY customer;
SELECT matview_schedule('hidden_group', every => '1 day') > 0 AS scheduled;
CREATE MATERIALIZED VIEW different AS SELECT DISTINCT day, customer FROM orders;
SELECT matview_schedule('different', every => '1 day') > 0 AS scheduled;
CREATE MATERIALIZED VIEW copied AS SELECT customer, id AS number, note FROM orders WHERE customer > 3;
SELECT matview_schedule('copied', every => '1 day') > 0 AS scheduled;
CREATE MATERIALIZED VIEW joined AS SELECT a.id, b.day, a.note FROM orders a JOIN orders b USING (customer);
SELECT matview_schedule('joined', every => '1 day') > 0 AS scheduled;
CREATE MATERIALIZED VIEW expanded AS SELECT customer, unnest(array_agg(id)) AS id FROM orders GROUP BY customer;
SELECT matview_schedule('expanded', every => '1 day') > 0 AS scheduled;
CREATE TABLE parent (id int PRIMARY KEY, x int);
CREATE TABLE child () INHERITS (parent);
CREATE MATERIALIZED VIEW inherited AS SELECT id, x FROM parent;
SELECT matview_schedule('inherited', every => '1 day') > 0 AS scheduled;
CREATE MATERIALIZED VIEW notes AS SELECT note FROM orders;
SELECT matview_schedule('notes', every => '1 day') > 0 AS scheduled;
SELECT matview_schedule('notes', every => '1 day', concurrently => true);
-- Of no use: partial, over expressions, deferrable would be too.
CREATE UNIQUE INDEX ON single (all_orders) WHERE all_orders > 0;
CREATE UNIQUE INDEX ON single ((all_orders + 1));
SELECT matview_schedule('single', every => '1 day') > 0 AS scheduled;
CREATE UNIQUE INDEX ON single (all_orders);
SELECT matview_schedule('single', every => '1 day') > 0 AS scheduled;

-- By hand.
CREATE MATERIALIZED VIEW unfilled AS SELECT id FROM orders WITH NO DATA;
CREATE UNIQUE INDEX ON unfilled (id);
SELECT cache_set('of unfilled', '1', tags => ARRAY['matview:matviews.unfilled'], immediate => true);
SELECT matview_refresh('unfilled');
SELECT cache_get('of unfilled'), count(*) FROM unfilled;
INSERT INTO orders VALUES (101);
BEGIN;
SELECT cache_set('of unfilled', '2', tags => ARRAY['matview:matviews.unfilled'], immediate => true);
SELECT matview_refresh('unfilled');
SELECT cache_get('of unfilled'), count(*) FROM unfilled;
ROLLBACK;
SELECT cache_get('of unfilled'), count(*) FROM unfilled;
REFRESH MATERIALIZED VIEW unfilled;
SELECT cache_get('of unfilled'), count(*) FROM unfilled;
SELECT matview_refresh('unfilled');
SELECT matview_refresh('joined');
SELECT view, by_hand, is_concurrent, note FROM matview_history WHERE view LIKE '%.joined' ORDER BY id;
SELECT view, outcome, by_hand, is_concurrent, rows, bytes > 0 AS has_size, duration >= '0' AS has_duration, schedule, error, note
FROM matview_history WHERE view LIKE '%.unfilled' ORDER BY id;
CREATE FUNCTION fails(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', $1; END $$;
CREATE MATERIALIZED VIEW failing AS SELECT matviews.fails(id) FROM orders WITH NO DATA;
SELECT matview_refresh('failing');
BEGIN READ ONLY;
SELECT matview_refresh('unfilled');
ROLLBACK;

-- The parts that users do not call.
SELECT pgcache.matview_schedules_changed();
SELECT pgcache.clock() BETWEEN now() AND clock_timestamp() AS real_time;
SET pgcache.test_clock = '2030-01-01 00:00:00+00';
SELECT pgcache.clock();
SELECT matview_schedule('unfilled', cron => '*/20 3 29 feb *') > 0 AS scheduled;
SELECT next_run FROM matview_status WHERE view = 'matviews.unfilled';
RESET pgcache.test_clock;
SHOW pgcache.refresh_timeout;
SHOW pgcache.refresh_lock_timeout;
SHOW pgcache.history_retention;

SET client_min_messages = warning;
DELETE FROM pgcache.matview_schedules;
DROP SCHEMA matviews, "Other" CASCADE;

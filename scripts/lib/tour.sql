-- What scripts/demo shows, as the application's role. Can be run again and again.
\set ECHO queries
\pset footer off
\pset null '(null)'

\echo
\echo '-- A value with a time to live, and back.'
SELECT cache_set('user:123:profile', '{"name": "John", "theme": "dark"}', '15 minutes');
SELECT cache_get('user:123:profile');
SELECT cache_get('user:123:profile') ->> 'name' AS name;
SELECT cache_ttl('user:123:profile');

\echo '-- A miss is NULL.'
SELECT cache_get('user:999:profile');

\echo '-- Only if nobody has it yet: a lock with an end.'
SELECT cache_set('lock:report', '"worker 1"', '30 seconds', mode => 'if_absent') AS first,
       cache_set('lock:report', '"worker 2"', '30 seconds', mode => 'if_absent') AS second;

\echo '-- What an entry is, with the version that guards a later write.'
SELECT * FROM cache_entry('user:123:profile');

\echo '-- Counters: one atomic step, whatever the number of clients.'
SELECT cache_incr('visits', ttl => '1 day');
SELECT cache_incr('visits', 10);

\echo '-- Many in one call.'
SELECT cache_set_many('{"product:1": {"price": 10}, "product:2": {"price": 20}}', '1 hour');
SELECT * FROM cache_get_many(ARRAY['product:1', 'product:2', 'product:3']);

\echo '-- Text and binary values.'
SELECT cache_set_text('page:/about', '<h1>About us</h1>', '5 minutes');
SELECT cache_get_text('page:/about');
SELECT cache_set_bytes('thumb:7', '\x89504e47');
SELECT cache_get_bytes('thumb:7');

\echo '-- Get and delete in one step: one winner.'
SELECT cache_take('lock:report');
SELECT cache_take('lock:report');

\echo '-- Delete one, or all that match.'
SELECT cache_delete('user:123:profile');
SELECT cache_delete_matching('product:%');

\echo '-- A watched table: its changes end what was cached of it, whoever makes them.'
DROP TABLE IF EXISTS app.orders CASCADE;
CREATE TABLE app.orders (id int PRIMARY KEY, customer int, total numeric);
INSERT INTO app.orders SELECT n, n % 3, n FROM generate_series(1, 100) n;
SELECT cache_watch('app.orders', tags => ARRAY['customer:{customer}']) > 0 AS watched;
SELECT cache_fetch('total:1', 'SELECT sum(total) FROM app.orders WHERE customer = $1', '1 hour', '[1]', ARRAY['customer:1']);
UPDATE app.orders SET total = 1000 WHERE id = 1;
SELECT cache_get('total:1');
SELECT cache_fetch('total:1', 'SELECT sum(total) FROM app.orders WHERE customer = $1', '1 hour', '[1]', ARRAY['customer:1']);

\echo '-- A rate limit: three a minute.'
SELECT rate_limit_reset('login:203.0.113.9') >= 0 AS fresh;
SELECT allowed, remaining, retry_after FROM rate_limit('login:203.0.113.9', 3, '1 minute', cost => 3);
SELECT allowed, remaining, retry_after < '21 seconds' AS soon, reason FROM rate_limit('login:203.0.113.9', 3, '1 minute');

\echo '-- A materialized view that refreshes itself.'
CREATE MATERIALIZED VIEW app.revenue AS SELECT customer, sum(total) FROM app.orders GROUP BY customer WITH NO DATA;
CREATE UNIQUE INDEX ON app.revenue (customer);
SELECT matview_schedule('app.revenue', every => '5 minutes') > 0 AS scheduled;
SELECT matview_refresh('app.revenue');
SELECT view, every, state FROM matview_status;
TABLE app.revenue;

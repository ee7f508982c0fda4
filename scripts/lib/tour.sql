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

-- The end of the tour, as an administrator.
\set ECHO queries
\pset footer off

\echo
\echo '-- A feature flag: a quarter of all users, and all customers of a plan; a rollback takes it back.'
SELECT flag_delete('new_checkout') IS NOT NULL AS fresh;
SELECT flag_set('new_checkout', enabled => true, rollout => 25);
SELECT flag_strategy_add('new_checkout', constraints => '[{"contextName": "plan", "operator": "IN", "values": ["team"]}]') > 0 AS added;
SELECT flag_enabled('new_checkout', '{"userId": "42", "plan": "team"}'), flag_enabled_for('new_checkout', '42');
BEGIN;
SELECT flag_kill('new_checkout');
SELECT flag_enabled('new_checkout', '{"userId": "42", "plan": "team"}');
ROLLBACK;
SELECT flag_enabled('new_checkout', '{"userId": "42", "plan": "team"}');

\echo '-- Looking around.'
SELECT key, kind, size_bytes FROM cache_keys() ORDER BY key;
\x on
SELECT * FROM cache_stats;
\x off

\echo '-- Is everything as it should be?'
SELECT item, ok, detail FROM pgcache.check();

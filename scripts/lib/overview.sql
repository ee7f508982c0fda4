-- The end of the tour, as an administrator.
\set ECHO queries
\pset footer off

\echo
\echo '-- Looking around.'
SELECT key, kind, size_bytes FROM cache_keys() ORDER BY key;
\x on
SELECT * FROM cache_stats;
\x off

\echo '-- Is everything as it should be?'
SELECT item, ok, detail FROM pgcache.check();

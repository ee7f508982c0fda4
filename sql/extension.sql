-- CREATE EXTENSION, what it brings, and that DROP EXTENSION leaves nothing.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS pgcache;
RESET client_min_messages;

CREATE EXTENSION pgcache;
SELECT cache_clear() >= 0 AS ready;

-- The first thing that anybody types.
SELECT cache_set('user:123:profile', '{"name":"John"}', '15 minutes');
SELECT cache_get('user:123:profile');

-- Library and SQL are of the same version.
SELECT pgcache.library_version() = extversion AS same_version, extrelocatable, extnamespace::regnamespace
FROM pg_extension WHERE extname = 'pgcache';
SELECT pgcache.is_preloaded(), pgcache.worker_pid() > 0 AS has_worker;

-- One row an item, and nothing to mend; how much was evicted depends on the tests that ran before.
SELECT item, ok, fix IS NULL AS nothing_to_mend FROM pgcache.check() WHERE item <> 'memory';
SELECT item, ok = (fix IS NULL) AS consistent, detail LIKE '% MB; % entries evicted%' AS detailed
FROM pgcache.check() WHERE item = 'memory';
SELECT item, regexp_replace(detail, '[0-9]+', 'N', 'g') AS detail FROM pgcache.check() WHERE item NOT IN ('memory', 'version');

-- Where a function is open to everybody, check says so, and its fix mends it.
GRANT EXECUTE ON FUNCTION cache_clear(), cache_get(text) TO PUBLIC;
SELECT item, ok, detail, fix FROM pgcache.check() WHERE NOT ok AND item = 'grants';
SELECT fix FROM pgcache.check() WHERE item = 'grants' \gexec
SELECT item, ok FROM pgcache.check() WHERE item = 'grants';

-- Preloaded already: the statement lists it once.
SELECT pgcache.preload_statement() ~ '^ALTER SYSTEM SET shared_preload_libraries = .*''pgcache''.*;$' AS names_pgcache,
       (length(pgcache.preload_statement()) - length(replace(pgcache.preload_statement(), 'pgcache', ''))) / length('pgcache') AS times;

-- What was cached stays through a rolled back DROP EXTENSION.
BEGIN;
DROP EXTENSION pgcache;
ROLLBACK;
SELECT cache_get('user:123:profile');

-- Nothing is left, neither objects nor the schema.
SELECT cache_clear() AS cleared;
DROP EXTENSION pgcache;
SELECT count(*) FROM pg_proc WHERE probin LIKE '%pgcache%' OR proname LIKE 'cache\_%';
SELECT to_regnamespace('pgcache') IS NULL AS no_schema, to_regclass('cache_stats') IS NULL AS no_view;

-- In a schema of its own, whose name needs quotes, and with nothing else on the search path.
CREATE SCHEMA "odd ""name""; --";
CREATE EXTENSION pgcache SCHEMA "odd ""name""; --";
CREATE ROLE regress_pgcache_odd;
SELECT pgcache.grant_to('regress_pgcache_odd', 'admin');
SET search_path = pg_catalog;
SET ROLE regress_pgcache_odd;
SELECT "odd ""name""; --".cache_set('key', '[1, 2]');
SELECT "odd ""name""; --".cache_get('key');
SELECT * FROM "odd ""name""; --".cache_get_many('{key,nokey}');
SELECT database = current_database() AS this_database FROM "odd ""name""; --".cache_stats WHERE database = current_database();
SELECT item, ok FROM pgcache.check() WHERE item <> 'memory';
SELECT "odd ""name""; --".cache_clear();
RESET ROLE;
RESET search_path;
SELECT pgcache.revoke_from('regress_pgcache_odd');
SELECT has_function_privilege('regress_pgcache_odd', '"odd ""name""; --".cache_get(text)', 'EXECUTE') AS may_get,
       has_schema_privilege('regress_pgcache_odd', 'pgcache', 'USAGE') AS may_look,
       has_schema_privilege('regress_pgcache_odd', '"odd ""name""; --"'::regnamespace, 'USAGE') AS may_look_home;
-- Nothing is left that would keep the role.
DROP ROLE regress_pgcache_odd;
-- Its functions refer to its schema, so it stays where it is.
\set VERBOSITY sqlstate
ALTER EXTENSION pgcache SET SCHEMA public;
\set VERBOSITY default
-- DROP EXTENSION ends the entries, a rolled back one does not.
SELECT "odd ""name""; --".cache_set('key', '1');
BEGIN;
DROP EXTENSION pgcache;
ROLLBACK;
SELECT "odd ""name""; --".cache_get('key');
DROP EXTENSION pgcache;
CREATE EXTENSION pgcache SCHEMA "odd ""name""; --";
SELECT "odd ""name""; --".cache_get('key') AS after_drop;
DROP EXTENSION pgcache;
DROP SCHEMA "odd ""name""; --";

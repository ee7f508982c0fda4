-- What must be true of every function and view of the extension, also of those that later features add.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;

CREATE TEMP VIEW functions AS
SELECT p.*, p.oid::regprocedure AS signature
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgcache')
  AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e';
CREATE TEMP VIEW relations AS
SELECT c.*, c.oid::regclass AS name
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgcache')
  AND d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'v', 'm', 'S', 'f');
CREATE TEMP VIEW arguments AS
SELECT f.signature, a.name, coalesce(f.proargmodes[a.place], 'i') AS mode
FROM functions f, unnest(f.proargnames) WITH ORDINALITY AS a (name, place);

-- The whole of it: a change here is a change of the interface.
\pset format unaligned
\pset tuples_only on
SELECT f.oid::regproc || '(' || pg_get_function_arguments(f.oid) || ') -> ' || pg_get_function_result(f.oid)
FROM functions f ORDER BY f.oid::regproc::text COLLATE "C";
\pset format aligned
\pset tuples_only off
SELECT name, relkind FROM relations ORDER BY name::text COLLATE "C";

-- One function a name, so that unknown literals always resolve.
SELECT pronamespace::regnamespace, proname, count(*) FROM functions GROUP BY 1, 2 HAVING count(*) > 1;
-- What applications call is in the extension's schema and named feature_verb; the rest is in schema pgcache.
SELECT signature FROM functions
WHERE pronamespace <> (SELECT extnamespace FROM pg_extension WHERE extname = 'pgcache')
  AND pronamespace <> 'pgcache'::regnamespace
   OR pronamespace <> 'pgcache'::regnamespace AND proname !~ '^[a-z]+_[a-z_]+$';
-- Tables in schema pgcache.
SELECT name FROM relations WHERE relkind = 'r' AND relnamespace <> 'pgcache'::regnamespace;

-- Every argument has a name, none that has to be quoted in named notation or as a column's name.
SELECT signature FROM functions WHERE pronargs > 0 AND (proargnames IS NULL OR '' = ANY (proargnames));
SELECT a.* FROM arguments a
WHERE a.mode IN ('i', 'b', 'v') AND (a.name !~ '^[a-z_][a-z0-9_]*$'
      OR EXISTS (SELECT FROM pg_get_keywords() k WHERE k.word = a.name AND k.catcode IN ('R', 'C')));
SELECT a.* FROM arguments a
WHERE a.mode IN ('o', 't') AND (a.name !~ '^[a-z_][a-z0-9_]*$'
      OR EXISTS (SELECT FROM pg_get_keywords() k WHERE k.word = a.name AND k.catcode IN ('R', 'T')));
-- The argument that has no default comes before those that have (PostgreSQL sees to it); key comes first wherever it is, but for what is
-- about a table.
SELECT signature FROM functions WHERE array_position(proargnames, 'key') > 1 AND coalesce(proargmodes[array_position(proargnames, 'key')], 'i') = 'i'
  AND proargtypes[0] <> 'regclass'::regtype;

-- Each is described.
SELECT signature FROM functions WHERE coalesce(obj_description(oid, 'pg_proc'), '') = '';
SELECT name FROM relations WHERE coalesce(obj_description(oid, 'pg_class'), '') = '';
SELECT obj_description('pgcache'::regnamespace, 'pg_namespace') <> '' AS schema_is_described,
       obj_description((SELECT oid FROM pg_extension WHERE extname = 'pgcache'), 'pg_extension') <> '' AS extension_is_described;
-- The statements in the descriptions are SQL that runs.
CREATE MATERIALIZED VIEW dashboard_stats AS SELECT 1 AS one;
CREATE UNIQUE INDEX ON dashboard_stats (one);
CREATE TABLE users (id bigint, org_id bigint);
ALTER SEQUENCE pgcache.watch_id RESTART 1000;
ALTER SEQUENCE pgcache.matview_schedule_id RESTART 1000;
ALTER SEQUENCE pgcache.flag_strategy_id RESTART 1000;
SELECT flag_set('new_checkout'), flag_set('button_color');
SELECT substring(obj_description(oid, 'pg_proc') FROM 'Example: (.*)$') AS example FROM functions
WHERE obj_description(oid, 'pg_proc') LIKE '%Example: %' AND pronamespace <> 'pgcache'::regnamespace
ORDER BY proname COLLATE "C" \gexec
DROP TABLE users;
SELECT rate_limit_reset('login:203.0.113.9'), rate_limit_reset('search:42');
SELECT flag_delete('new_checkout'), flag_delete('button_color'), flag_segment_delete('beta testers'), flag_stats_reset();
SELECT matview_unschedule('dashboard_stats');
DROP MATERIALIZED VIEW dashboard_stats;

-- Nobody but the owner may do anything with anything.
SELECT f.signature, a.grantee::regrole, a.privilege_type FROM functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
WHERE a.grantee <> f.proowner;
SELECT r.name, a.grantee::regrole, a.privilege_type FROM relations r, aclexplode(coalesce(r.relacl, acldefault('r', r.relowner))) a
WHERE a.grantee <> r.relowner;
SELECT a.grantee::regrole, a.privilege_type FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
WHERE n.nspname = 'pgcache' AND a.grantee <> n.nspowner;

-- Functions that run SQL see to it that names mean what they should. With their owner's rights act those that change flags.
SELECT signature FROM functions f JOIN pg_language l ON l.oid = f.prolang
WHERE l.lanname NOT IN ('c', 'internal') AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (f.proconfig), false);
SELECT signature FROM functions WHERE prosecdef ORDER BY 1;
SELECT name FROM relations WHERE relkind = 'v' AND coalesce('security_invoker=false' = ANY (reloptions), false);

-- What writes is neither STRICT, which would swallow a NULL key, nor done in a parallel worker; what reads shared memory is volatile.
SELECT signature, provolatile, proparallel, proisstrict FROM functions
WHERE proname ~ '^cache_(set|take|delete|touch|incr|clear|invalidate|watch|unwatch)' AND (proisstrict OR proparallel <> 'u' OR provolatile <> 'v');
SELECT signature, provolatile, proparallel, proisstrict FROM functions
WHERE proname ~ '^cache_(get|exists|ttl|entry|keys)' AND (NOT proisstrict OR proparallel <> 's' OR provolatile <> 'v');

-- Each level that a privilege is listed under means an object that exists; everything for applications is listed.
SELECT object FROM pgcache.privilege
WHERE CASE WHEN object LIKE '%(%' THEN to_regprocedure(object)::oid ELSE to_regclass(object)::oid END IS NULL;
SELECT signature FROM functions
WHERE pronamespace <> 'pgcache'::regnamespace
  AND NOT EXISTS (SELECT FROM pgcache.privilege p WHERE p.object LIKE '%(%' AND to_regprocedure(p.object) = functions.signature);
SELECT name FROM relations r
WHERE relkind = 'v' AND name::text NOT LIKE 'pgcache.%'
  AND NOT EXISTS (SELECT FROM pgcache.privilege p WHERE p.object NOT LIKE '%(%' AND to_regclass(p.object) = r.name);

-- Unknown literals resolve in every function.
SELECT cache_set('k', '1', '1 hour', 'always', 'false', NULL, '{a}', 'false'), cache_get('k'), cache_take('k');
SELECT cache_set_text('k', 'one', '1 hour', 'always', 'false', NULL, '{a}', 'false'), cache_get_text('k'), cache_take_text('k');
SELECT cache_set_bytes('k', '\x01', '1 hour', 'always', 'false', NULL, '{a}', 'false'), cache_get_bytes('k'), cache_take_bytes('k');
SELECT cache_set_many('{"k": 1}', '1 hour', '{a}', 'false'), cache_get_many('{k}');
SELECT cache_set_many_text('{k}', '{one}', '1 hour', '{a}', 'false'), cache_get_many_text('{k}');
SELECT cache_set_many_bytes('{k}', '{"\\x01"}', '1 hour', '{a}', 'false'), cache_get_many_bytes('{k}');
SELECT cache_exists('k'), cache_ttl('k') <= '1 hour' AS ttl, cache_touch('k', '2 hours'), (cache_entry('k')).kind, cache_delete('k', NULL);
SELECT cache_incr('k', '5', '1 hour', 'true');
SELECT key, kind FROM cache_keys('k', '10');
SELECT cache_delete_many('{k}'), cache_delete_matching('k'), cache_invalidate('{a}');
-- And so does named notation, without quotes.
SELECT cache_set(key => 'k', value => '1', ttl => '1 hour', mode => 'always', keep_ttl => false, if_version => NULL, tags => NULL, immediate => true),
       cache_incr(key => 'k', by => 2, ttl => NULL, create_missing => true), cache_touch(key => 'k', ttl => NULL), cache_delete(key => 'k', if_version => NULL);
SELECT cache_set_many(entries => '{"k": 1}', ttl => '1 hour', tags => '{a}', immediate => true), cache_set_many_text(keys => '{t}', new_values => '{one}', ttl => '1 hour', tags => '{a}', immediate => true),
       cache_set_many_bytes(keys => '{b}', new_values => '{one}', ttl => '1 hour', tags => '{a}', immediate => true), cache_invalidate(tags => '{b}');
SELECT key, kind FROM cache_keys(pattern => 't', max => 1);
DROP VIEW functions, relations, arguments CASCADE;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

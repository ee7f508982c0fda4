-- Who may call what: nobody, until pgcache.grant_to says so; levels app and admin; the hint; odd names of roles.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
CREATE ROLE regress_pgcache_none;
CREATE ROLE regress_pgcache_app;
CREATE ROLE regress_pgcache_admin;
CREATE ROLE regress_pgcache_member IN ROLE regress_pgcache_app;
CREATE ROLE "regress pgcache we""ird; --";
CREATE ROLE "REGRESS_PGCACHE_UPPER";
CREATE ROLE "regress_pgcache_ключ";

SELECT pgcache.grant_to('regress_pgcache_app');
SELECT pgcache.grant_to('regress_pgcache_admin', 'admin');

-- The table of the docs, as it really is.
SELECT p.oid::regprocedure AS function,
       has_function_privilege('regress_pgcache_none', p.oid, 'EXECUTE') AS "none",
       has_function_privilege('regress_pgcache_app', p.oid, 'EXECUTE') AS app,
       has_function_privilege('regress_pgcache_admin', p.oid, 'EXECUTE') AS admin
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgcache') AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT role, has_table_privilege(role, 'cache_stats', 'SELECT') AS reads_stats, has_table_privilege(role, 'pgcache.privilege', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') AS any_on_table,
       has_schema_privilege(role, 'pgcache', 'USAGE') AS uses_schema, has_schema_privilege(role, 'pgcache', 'CREATE') AS creates_there
FROM unnest('{regress_pgcache_none,regress_pgcache_app,regress_pgcache_admin,regress_pgcache_member}'::text[]) role;

-- Without a grant: PostgreSQL's error, with a hint that names the grant.
SET ROLE regress_pgcache_none;
SELECT cache_get('k');
SELECT cache_set('k', '1');
SELECT * FROM cache_stats;
SELECT count(*) FROM pg_proc WHERE cache_get(proname) IS NULL;
\set VERBOSITY terse
SELECT cache_take('k');
SELECT cache_get_many('{k}');
SELECT cache_set_many('{"k": 1}');
SELECT cache_delete_matching('%');
SELECT cache_incr('k');
SELECT cache_invalidate('{a}');
SELECT cache_clear();
SELECT cache_keys();
SELECT cache_stats_reset();
SET pgcache.test_clock = '2040-01-01';
SET pgcache.max_value_size = '1GB';
\set VERBOSITY sqlstate
SELECT pgcache.grant_to('regress_pgcache_none', 'admin');
SELECT pgcache.check();
SELECT * FROM pgcache.privilege;
SELECT * FROM pgcache.statistics();
\set VERBOSITY default
-- A function of one's own that is refused gets no advice about ours, unless it is named like one.
RESET ROLE;
CREATE FUNCTION regress_own() RETURNS integer LANGUAGE sql AS 'SELECT 1';
REVOKE ALL ON FUNCTION regress_own() FROM PUBLIC;
SET ROLE regress_pgcache_none;
SELECT regress_own();
RESET ROLE;
DROP FUNCTION regress_own();

-- The application: what it needs, in its own right and through membership.
SET ROLE regress_pgcache_app;
SELECT cache_set('k', '1'), cache_get('k'), cache_touch('k'), cache_ttl('k') > '0' AS ttl, cache_exists('k'), cache_take('k');
SELECT cache_set_text('t', 'x'), cache_get_text('t'), cache_take_text('t'), cache_set_bytes('b', 'x'), cache_get_bytes('b'), cache_take_bytes('b');
SELECT cache_set_many('{"k": 1}'), cache_get_many('{k}'), cache_set_many_text('{t}', '{x}'), cache_get_many_text('{t}'), cache_set_many_bytes('{b}', '{x}'), cache_get_many_bytes('{b}');
SELECT cache_incr('n'), (cache_entry('n')).kind, cache_delete('n'), cache_delete_many('{k,t}'), cache_delete_matching('b'), cache_invalidate('{a}');
SET pgcache.default_ttl = '1 min';
RESET pgcache.default_ttl;
SET pgcache.serializable_reads = on;
RESET pgcache.serializable_reads;
SET pgcache.transaction_memory = '128MB';
RESET pgcache.transaction_memory;
SET ROLE regress_pgcache_member;
SELECT cache_set('k', '1'), cache_get('k');
-- What looks at everything or empties it is not among it.
SET ROLE regress_pgcache_app;
SELECT cache_clear();
\set VERBOSITY terse
SELECT cache_keys();
SELECT * FROM cache_stats;
SELECT cache_stats_reset();
SELECT * FROM pgcache.check();
SELECT * FROM pgcache.statistics();
SELECT * FROM pgcache.privilege;
INSERT INTO pgcache.privilege VALUES ('pg_read_file(text)', 'app');
SELECT pgcache.grant_to('regress_pgcache_app', 'admin');
SELECT pgcache.revoke_from('regress_pgcache_admin');
SELECT pgcache.privilege_statements('GRANT', 'regress_pgcache_app', 'admin');
CREATE FUNCTION pgcache.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1';
SET pgcache.test_clock = '2040-01-01';
SET pgcache.max_value_size = '1GB';
\set VERBOSITY default

-- The administrator: all of it but granting.
SET ROLE regress_pgcache_admin;
SELECT key, kind FROM cache_keys();
SELECT items FROM cache_stats WHERE database = current_database();
SELECT count(*) FROM pgcache.statistics() WHERE database = current_database();
SELECT item, ok FROM pgcache.check() WHERE item <> 'memory';
SELECT cache_stats_reset(), cache_clear();
-- Without pg_read_all_settings, which libraries are loaded stays unknown.
SELECT pgcache.preload_statement() IS NULL AS unknown, pgcache.is_preloaded();
\set VERBOSITY terse
SELECT pgcache.grant_to('regress_pgcache_none');
SELECT pgcache.revoke_from('regress_pgcache_app');
\set VERBOSITY default
RESET ROLE;

-- Taken back; again and for who has nothing is no error.
SELECT pgcache.revoke_from('regress_pgcache_app'), pgcache.revoke_from('regress_pgcache_app'), pgcache.revoke_from('regress_pgcache_none');
SET ROLE regress_pgcache_member;
\set VERBOSITY terse
SELECT cache_get('k');
\set VERBOSITY default
RESET ROLE;
SELECT pgcache.revoke_from('regress_pgcache_admin');
SELECT count(*) AS left FROM pg_proc p, aclexplode(p.proacl) a WHERE a.grantee::regrole::text LIKE '%regress_pgcache%';

-- Granting twice, more and less: what was given before stays.
SELECT pgcache.grant_to('regress_pgcache_app', 'admin'), pgcache.grant_to('regress_pgcache_app', 'app'), pgcache.grant_to('regress_pgcache_app', level => 'app');
SELECT has_function_privilege('regress_pgcache_app', 'cache_clear()', 'EXECUTE') AS still_admin;

-- Names that need quotes are quoted.
SELECT pgcache.grant_to('"regress pgcache we""ird; --"', 'admin'), pgcache.grant_to('"REGRESS_PGCACHE_UPPER"'), pgcache.grant_to('"regress_pgcache_ключ"');
SET ROLE "regress pgcache we""ird; --";
SELECT cache_set('k', '1'), cache_get('k'), cache_clear();
SET ROLE "REGRESS_PGCACHE_UPPER";
SELECT cache_set('k', '1'), cache_get('k');
SET ROLE "regress_pgcache_ключ";
SELECT cache_get('k');
RESET ROLE;
SELECT statement FROM pgcache.privilege_statements('REVOKE', '"regress pgcache we""ird; --"', 'app') statement ORDER BY statement COLLATE "C" LIMIT 3;
SELECT pgcache.revoke_from('"regress pgcache we""ird; --"'), pgcache.revoke_from('"REGRESS_PGCACHE_UPPER"'), pgcache.revoke_from('"regress_pgcache_ключ"');
SELECT count(*) AS left FROM pg_proc p, aclexplode(p.proacl) a WHERE a.grantee::regrole::text ~* 'regress.pgcache.(weird|upper|ключ)';

-- Nobody to grant to, or a level that there isn't. What the role argument itself refuses differs between versions of PostgreSQL.
\set VERBOSITY sqlstate
SELECT pgcache.grant_to('regress_pgcache_nobody');
SELECT pgcache.grant_to('public');
SELECT pgcache.grant_to('regress_pgcache_app; DROP TABLE users');
SELECT pgcache.revoke_from('regress_pgcache_nobody');
\set VERBOSITY terse
SELECT pgcache.grant_to('-');
SELECT pgcache.grant_to('4294967295');
SELECT pgcache.grant_to(NULL);
SELECT pgcache.revoke_from(NULL);
SELECT pgcache.grant_to('regress_pgcache_none', NULL);
SELECT pgcache.grant_to('regress_pgcache_none', '');
SELECT pgcache.grant_to('regress_pgcache_none', 'Admin');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT pgcache.grant_to('regress_pgcache_none', 'superuser');
\set SHOW_CONTEXT errors
SELECT has_function_privilege('regress_pgcache_none', 'cache_get(text)', 'EXECUTE') AS given;

-- Once all is taken back, nothing keeps a role from being dropped.
SELECT pgcache.revoke_from('regress_pgcache_app');
DROP ROLE regress_pgcache_none, regress_pgcache_app, regress_pgcache_admin, regress_pgcache_member,
    "regress pgcache we""ird; --", "REGRESS_PGCACHE_UPPER", "regress_pgcache_ключ";

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

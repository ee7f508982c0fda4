-- Somebody who may create objects, but owns nothing of pgcache, lays traps for the superuser who grants and checks.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
CREATE ROLE regress_pgcache_trapper;
CREATE ROLE regress_pgcache_victim;
CREATE SCHEMA regress_traps AUTHORIZATION regress_pgcache_trapper;
GRANT CREATE ON SCHEMA public TO regress_pgcache_trapper;

-- Functions, operators, tables and types named like what the extension's own functions use.
SET ROLE regress_pgcache_trapper;
SET search_path = regress_traps, public;
CREATE TABLE caught (trap text, who text DEFAULT current_user);
GRANT ALL ON caught TO PUBLIC;
GRANT USAGE ON SCHEMA regress_traps TO PUBLIC;
CREATE FUNCTION spring(trap text) RETURNS void LANGUAGE sql AS 'INSERT INTO regress_traps.caught VALUES (trap)';
DO $$
DECLARE
    definition text;
BEGIN
    FOREACH definition IN ARRAY ARRAY[
        'format(text, VARIADIC text[]) RETURNS text', 'quote_ident(text) RETURNS text', 'quote_literal(text) RETURNS text',
        'format(text) RETURNS text', 'format(text, text, regrole) RETURNS text', 'format(text, text, text) RETURNS text', 'format(text, name, regrole) RETURNS text', 'format(text, bigint) RETURNS text',
        'to_regprocedure(text) RETURNS regprocedure', 'to_regclass(text) RETURNS regclass', 'current_setting(text) RETURNS text',
        'pg_size_bytes(text) RETURNS bigint', 'aclexplode(aclitem[]) RETURNS SETOF record', 'acldefault("char", oid) RETURNS aclitem[]',
        'library_version() RETURNS text', 'is_preloaded() RETURNS boolean', 'worker_pid() RETURNS integer', 'statistics() RETURNS text',
        'privilege_statements(text, regrole, text) RETURNS SETOF text', 'cache_get(name) RETURNS jsonb'
    ] LOOP
        EXECUTE 'CREATE FUNCTION regress_traps.' || definition || ' LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''a trap''; END $f$';
    END LOOP;
END
$$;
CREATE FUNCTION trap_like(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_traps.spring('operator'); RETURN true; END $$;
CREATE FUNCTION trap_equal(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_traps.spring('operator'); RETURN true; END $$;
CREATE FUNCTION trap_equal_name(name, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_traps.spring('operator'); RETURN true; END $$;
CREATE FUNCTION trap_concat(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_traps.spring('operator'); RETURN 'trap'; END $$;
CREATE OPERATOR ~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = trap_like);
CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap_equal);
CREATE OPERATOR = (LEFTARG = name, RIGHTARG = text, FUNCTION = trap_equal_name);
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = trap_like);
CREATE OPERATOR || (LEFTARG = text, RIGHTARG = text, FUNCTION = trap_concat);
CREATE VIEW pg_extension AS SELECT 'pgcache'::name AS extname, 'regress_traps'::regnamespace::oid AS extnamespace, '6.6.6'::text AS extversion, 0::oid AS oid;
CREATE VIEW pg_roles AS SELECT 0::oid AS oid, 'trap'::name AS rolname;
CREATE VIEW pg_namespace AS SELECT 0::oid AS oid, 'regress_traps'::name AS nspname;
CREATE TABLE privilege (object text, level text);
INSERT INTO privilege VALUES ('pg_read_file(text)', 'app');
CREATE TABLE cache_stats (trap integer);
RESET search_path;
RESET ROLE;

-- The superuser comes along with a search path that looks there first, even before pg_catalog.
SET search_path = regress_traps, pg_catalog, public;
-- The traps work.
\set SHOW_CONTEXT never
SELECT format('%s'::text, 'a'::text, 'b'::text);
\set SHOW_CONTEXT errors
SELECT 'a'::text || 'b'::text;
SELECT trap, who FROM caught;
TRUNCATE caught;
-- But not for pgcache.
SELECT pgcache.grant_to('regress_pgcache_victim', 'admin');
SELECT item, ok FROM pgcache.check() WHERE item <> 'memory';
SELECT public.cache_set('k', '1'), public.cache_set_text('t', 'x'), public.cache_get('k'), public.cache_incr('n'), public.cache_delete_matching('k'), public.cache_invalidate('{t}'), public.cache_clear();
SELECT count(*) > 0 AS has_rows FROM public.cache_stats;
SELECT pgcache.revoke_from('regress_pgcache_victim');
SELECT pgcache.grant_to('regress_pgcache_victim');
SET search_path = pg_catalog;
SELECT * FROM regress_traps.caught;
SELECT has_function_privilege('regress_pgcache_victim', 'public.cache_get(text)', 'EXECUTE') AS given,
       has_function_privilege('regress_pgcache_victim', 'public.cache_clear()', 'EXECUTE') AS taken_back,
       has_function_privilege('regress_pgcache_victim', 'pg_catalog.pg_read_file(text)', 'EXECUTE') AS trapped;

-- Temporary objects are no better, and the pinned path puts them last.
SET search_path = public;
CREATE TEMP TABLE pg_extension AS SELECT 'pgcache'::name AS extname, 0::oid AS extnamespace, '6.6.6'::text AS extversion, 0::oid AS oid;
CREATE TEMP TABLE pg_roles AS SELECT 0::oid AS oid;
CREATE FUNCTION pg_temp.format(text, text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trap'; END $$;
SELECT pgcache.grant_to('regress_pgcache_victim', 'admin');
SELECT item, ok FROM pgcache.check() WHERE item = 'version';
SELECT cache_get('k') IS NULL AS works;
SELECT pgcache.revoke_from('regress_pgcache_victim');
DROP TABLE pg_temp.pg_extension, pg_temp.pg_roles;
RESET search_path;

-- A role that has the name of a keyword of GRANT, or of one of its options.
CREATE ROLE "regress_pgcache_x WITH GRANT OPTION";
CREATE ROLE "current_user";
SELECT pgcache.grant_to('"regress_pgcache_x WITH GRANT OPTION"'), pgcache.grant_to('"current_user"');
SELECT a.is_grantable, a.grantee::regrole FROM pg_proc p, aclexplode(p.proacl) a WHERE p.oid = 'cache_get(text)'::regprocedure AND a.grantee <> p.proowner ORDER BY 2;
SELECT pgcache.revoke_from('"regress_pgcache_x WITH GRANT OPTION"'), pgcache.revoke_from('"current_user"');
SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a WHERE p.oid = 'cache_get(text)'::regprocedure AND a.grantee <> p.proowner;
DROP ROLE "regress_pgcache_x WITH GRANT OPTION", "current_user";

-- Nobody can put a function in the place of one of the extension's before it is created.
DROP EXTENSION pgcache;
SET ROLE regress_pgcache_trapper;
CREATE FUNCTION public.cache_get(key text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"trap"'::jsonb $$;
RESET ROLE;
\set VERBOSITY sqlstate
CREATE EXTENSION pgcache;
\set VERBOSITY default
DROP FUNCTION public.cache_get(text);
SET ROLE regress_pgcache_trapper;
-- Nor one that fits the script's calls better than PostgreSQL's own, though the schema is on the script's search path.
CREATE FUNCTION public.format(text, regprocedure) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$;
CREATE FUNCTION public.statistics() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$;
CREATE FUNCTION public.trap_equal(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$;
CREATE FUNCTION public.trap_equal(name, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$;
CREATE FUNCTION public.trap_equal("char", text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$;
CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.trap_equal);
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.trap_equal);
CREATE OPERATOR public.= (LEFTARG = "char", RIGHTARG = text, FUNCTION = public.trap_equal);
RESET ROLE;
CREATE EXTENSION pgcache;
SELECT has_function_privilege('public', 'cache_get(text)', 'EXECUTE') AS open_to_all;

SET client_min_messages = warning;
DROP SCHEMA regress_traps CASCADE;
RESET client_min_messages;
DROP OWNED BY regress_pgcache_trapper, regress_pgcache_victim;
DROP ROLE regress_pgcache_trapper, regress_pgcache_victim;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

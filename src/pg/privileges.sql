-- Comes after all rooms: nobody but the owner may call anything until grant_to says so.

CREATE FUNCTION pgcache.privilege_statements(verb text, role regrole, level text) RETURNS SETOF text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    home regnamespace := (SELECT e.extnamespace FROM pg_extension e WHERE e.extname = 'pgcache');
    preposition text := CASE verb WHEN 'GRANT' THEN 'TO' ELSE 'FROM' END;
    -- Where everybody has USAGE, a grant would only keep the role from being dropped; it is taken back only where nothing but
    -- the extension needs it.
    with_home boolean := CASE WHEN verb = 'GRANT' THEN NOT has_schema_privilege('public', home::oid, 'USAGE') ELSE NOT EXISTS (
        SELECT FROM pg_proc p WHERE p.pronamespace = home AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
        UNION ALL
        SELECT FROM pg_class c WHERE c.relnamespace = home AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')) END;
    entry record;
BEGIN
    IF role IS NULL OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        RAISE EXCEPTION 'there is no such role: %', coalesce(role::text, 'NULL')
            USING ERRCODE = 'undefined_object';
    END IF;
    IF level IS NULL OR level NOT IN ('app', 'admin') THEN
        RAISE EXCEPTION 'unknown level: %', coalesce(quote_literal(level), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It must be app or admin.';
    END IF;

    RETURN NEXT format('%s USAGE ON SCHEMA pgcache %s %s', verb, preposition, role);
    IF with_home THEN
        RETURN NEXT format('%s USAGE ON SCHEMA %s %s %s', verb, home, preposition, role);
    END IF;
    FOR entry IN
        SELECT p.object, CASE WHEN p.object LIKE 'pgcache.%' THEN p.object ELSE home::text || '.' || p.object END AS name
        FROM pgcache.privilege p
        WHERE privilege_statements.level = 'admin' OR p.level = 'app'
        ORDER BY p.object
    LOOP
        IF entry.object LIKE '%(%' THEN
            RETURN NEXT format('%s EXECUTE ON FUNCTION %s %s %s', verb, to_regprocedure(entry.name)::regprocedure, preposition, role);
        ELSE
            RETURN NEXT format('%s SELECT ON %s %s %s', verb, to_regclass(entry.name)::regclass, preposition, role);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgcache.privilege_statements(text, regrole, text) IS 'The statements that grant_to and revoke_from run';

CREATE FUNCTION pgcache.grant_to(role regrole, level text DEFAULT 'app') RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT pgcache.privilege_statements('GRANT', role, level) LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgcache.grant_to(regrole, text) IS
    'Lets a role use pgcache in this database. level app (default): what an application needs; admin: everything. Example: SELECT pgcache.grant_to(''shop'')';

CREATE FUNCTION pgcache.revoke_from(role regrole) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT pgcache.privilege_statements('REVOKE', role, 'admin') LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgcache.revoke_from(regrole) IS
    'Takes back all that pgcache.grant_to gave the role in this database. Example: SELECT pgcache.revoke_from(''shop'')';

CREATE FUNCTION pgcache.check() RETURNS TABLE (item text, ok boolean, detail text, fix text)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    installed text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pgcache');
    library text := pgcache.library_version();
    preloaded boolean := pgcache.is_preloaded();
    megabytes bigint;
    lost bigint;
    watches bigint;
    problems text;
    ratio double precision;
    failing text;
    open_objects text;
BEGIN
    item := 'preloaded'; ok := preloaded;
    detail := CASE WHEN ok THEN 'loaded at server start' ELSE 'not loaded at server start: the functions raise an error' END;
    fix := CASE WHEN NOT ok THEN
        coalesce(pgcache.preload_statement(), 'ALTER SYSTEM SET shared_preload_libraries = ''pgcache'';')
        || ' -- then restart the server' END;
    RETURN NEXT;

    item := 'version'; ok := installed = library;
    detail := format('library %s, SQL objects %s', library, installed);
    fix := CASE WHEN NOT ok THEN 'ALTER EXTENSION pgcache UPDATE; -- or, if the library is the older one, install the newer and restart' END;
    RETURN NEXT;

    IF preloaded AND installed = library THEN
        megabytes := pg_size_bytes(current_setting('pgcache.memory')) / 1024 / 1024;
        SELECT coalesce(sum(s.evictions), 0), sum(s.hits) / nullif(sum(s.hits) + sum(s.misses), 0)
        INTO lost, ratio FROM pgcache.statistics() s;
        -- A full cache evicts: that is a fault only where it makes the reads miss.
        item := 'memory'; ok := lost = 0 OR ratio IS NULL OR ratio >= 0.8;
        detail := format('%s MB; %s entries evicted for lack of memory; hit ratio %s', megabytes, lost, coalesce(round(ratio::numeric, 3)::text, 'unknown'));
        fix := CASE WHEN NOT ok THEN format('ALTER SYSTEM SET pgcache.memory = ''%s MB''; -- then restart the server', megabytes * 2) END;
        RETURN NEXT;
    END IF;

    item := 'worker'; ok := pgcache.worker_pid() IS NOT NULL;
    detail := CASE WHEN ok THEN format('running, process %s', pgcache.worker_pid()) ELSE 'not running: expired memory is taken back only when it is needed' END;
    fix := CASE WHEN NOT ok AND preloaded THEN format('ALTER SYSTEM SET max_worker_processes = %s; -- if no worker is free; then restart the server',
        greatest(current_setting('max_worker_processes')::integer + 1, 8)) END;  -- 8: PostgreSQL's own default
    RETURN NEXT;

    IF installed = library THEN
        SELECT count(*) FILTER (WHERE t.is_watched) INTO watches FROM pgcache.watch_triggers() t;
        SELECT string_agg(p.problem, '; ' ORDER BY p.problem) INTO problems FROM pgcache.watch_problems() p;
        item := 'watches'; ok := problems IS NULL AND (preloaded OR watches = 0);
        detail := CASE
            WHEN problems IS NOT NULL THEN problems
            WHEN watches > 0 AND NOT preloaded THEN format('%s watches, which do nothing until pgcache is loaded at server start', watches)
            ELSE format('%s watches', watches) END;
        fix := CASE WHEN problems IS NOT NULL THEN 'SELECT pgcache.repair_watches(), cache_clear();' END;
        RETURN NEXT;
    END IF;

    IF preloaded AND installed = library THEN
        EXECUTE format('SELECT string_agg(s.view, '', '' ORDER BY s.view) FROM %s.matview_status s WHERE s.failures > 0',
            (SELECT e.extnamespace::regnamespace FROM pg_extension e WHERE e.extname = 'pgcache')) INTO failing;
        item := 'scheduler'; ok := failing IS NULL AND (pgcache.scheduler_pid() IS NOT NULL OR pg_is_in_recovery());
        detail := CASE
            WHEN pgcache.scheduler_pid() IS NULL THEN 'not running: no materialized view is refreshed on schedule'
            WHEN failing IS NOT NULL THEN format('these materialized views fail: %s', failing)
            ELSE format('running, process %s', pgcache.scheduler_pid()) END;
        fix := CASE
            WHEN failing IS NOT NULL THEN 'SELECT view, last_error_code, last_error FROM matview_status WHERE failures > 0; -- tells why'
            WHEN NOT ok THEN format('ALTER SYSTEM SET max_worker_processes = %s; -- if no worker is free; then restart the server',
                greatest(current_setting('max_worker_processes')::integer + 1, 8)) END;
        RETURN NEXT;
    END IF;

    IF preloaded AND installed = library THEN
        SELECT s.no_room, format('%s of %s places and %s of %s hits taken; %s calls found none', s.cells, s.cells_max, s.log_entries, s.log_entries_max, s.no_room)
        INTO lost, detail FROM pgcache.rate_limit_statistics() s;
        item := 'rate_limits'; ok := lost = 0;
        fix := CASE WHEN NOT ok THEN format('ALTER SYSTEM SET pgcache.rate_limit_memory = ''%s MB''; -- then restart the server',
            pg_size_bytes(current_setting('pgcache.rate_limit_memory')) / 1024 / 1024 * 2) END;
        RETURN NEXT;
    END IF;

    SELECT string_agg(format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC;', p.oid::regprocedure), ' ' ORDER BY p.oid::regprocedure::text)
    INTO open_objects
    FROM pg_depend d
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pgcache'
    JOIN pg_proc p ON p.oid = d.objid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
      AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0);
    item := 'grants'; ok := open_objects IS NULL;
    detail := CASE WHEN ok THEN 'nothing is granted to PUBLIC' ELSE 'everybody may call some functions' END;
    fix := open_objects;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION pgcache.check() IS
    'Whether pgcache can work here: one row an item, with the SQL or the setting that mends what is not ok. Example: SELECT * FROM pgcache.check()';

INSERT INTO pgcache.privilege VALUES
    ('pgcache.check()', 'admin'),
    ('pgcache.library_version()', 'admin'),
    ('pgcache.is_preloaded()', 'admin'),
    ('pgcache.preload_statement()', 'admin'),
    ('pgcache.worker_pid()', 'admin');

-- Whoever may create objects in the extension's schema could have put operators there that fit better than PostgreSQL's own.
SET LOCAL search_path = pg_catalog, pg_temp;
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', d.objid::pg_catalog.regprocedure)
        FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'pgcache'
        WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
          AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'e'
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

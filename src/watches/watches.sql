-- Watches: tables whose changes invalidate by themselves. A watch lives in the triggers of its table; here are the functions.

CREATE SEQUENCE pgcache.watch_id;
COMMENT ON SEQUENCE pgcache.watch_id IS 'The ids of watches';
SELECT pg_catalog.pg_extension_config_dump('pgcache.watch_id', '');

CREATE FUNCTION pgcache.watch_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pgcache_watch_changed' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgcache.watch_changed() IS 'The triggers of watched tables';

CREATE FUNCTION pgcache.watch_members() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'pgcache_watch_members' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgcache.watch_members() IS 'Watches what becomes a partition or child of a watched table';

CREATE EVENT TRIGGER pgcache_watch_members ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE SCHEMA')
    EXECUTE FUNCTION pgcache.watch_members();
ALTER EVENT TRIGGER pgcache_watch_members ENABLE ALWAYS;

CREATE FUNCTION cache_watch(relation regclass, key text DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_watch' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_watch(regclass, text, text[]) IS
    'From now on each change of the table''s rows invalidates, at its commit, the key and the tags that the templates give for the row before and after. For the table''s owner. The watch''s id. Example: SELECT cache_watch(''users'', ''user:{id}:profile'', ARRAY[''org:{org_id}''])';

CREATE FUNCTION cache_unwatch(id bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_unwatch' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_unwatch(bigint) IS 'Ends a watch; false if there is none. For the table''s owner';

CREATE FUNCTION cache_quote(value text) RETURNS text
    AS 'MODULE_PATHNAME', 'pgcache_quote' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_quote(text) IS
    'The value as templates put it into keys and tags: %, :, { and } become %25, %3A, %7B and %7D. Example: SELECT cache_get(''page:'' || cache_quote(''/a:b''))';

CREATE FUNCTION pgcache.watch_triggers(OUT id bigint, OUT relation regclass, OUT part text, OUT enabled "char",
        OUT is_watched boolean, OUT key text, OUT tags text[]) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_watch_triggers' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 50;
COMMENT ON FUNCTION pgcache.watch_triggers() IS 'All triggers of watches; is_watched: the one that names what is watched';

-- What keeps a watch from seeing all changes.
CREATE FUNCTION pgcache.watch_problems(OUT id bigint, OUT problem text) RETURNS SETOF record
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE present AS MATERIALIZED (SELECT * FROM pgcache.watch_triggers()),
    below(id, relation) AS (
        SELECT p.id, p.relation::oid FROM present p WHERE p.is_watched
        UNION
        SELECT b.id, i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.relation),
    above(id, relation) AS (
        SELECT b.id, i.inhparent FROM below b JOIN pg_inherits i ON i.inhrelid = b.relation
        UNION
        SELECT a.id, i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.relation),
    member AS (SELECT * FROM below UNION SELECT * FROM above),
    wanted AS (
        SELECT m.id, m.relation, part.name
        FROM member m
        JOIN pg_class c ON c.oid = m.relation
        JOIN (VALUES ('insert'), ('update'), ('delete'), ('truncate'), ('replicated')) part(name)
            ON CASE part.name
                WHEN 'replicated' THEN c.relkind = 'r' AND EXISTS (SELECT FROM below b WHERE b.id = m.id AND b.relation = m.relation)
                WHEN 'insert' THEN c.relkind = 'p' OR EXISTS (SELECT FROM below b WHERE b.id = m.id AND b.relation = m.relation)
                ELSE true END)
    SELECT w.id, format('trigger pgcache_watch_%s_%s of %s is %s', w.id, w.name, w.relation::regclass,
        CASE p.enabled WHEN 'D' THEN 'disabled' WHEN 'O' THEN 'not fired on replicas' WHEN 'R' THEN 'fired on replicas only' ELSE 'missing' END)
    FROM wanted w
    LEFT JOIN present p ON p.id = w.id AND p.relation = w.relation AND p.part = w.name
    WHERE p.id IS NULL OR (w.name <> 'replicated' AND p.enabled <> 'A') OR (w.name = 'replicated' AND p.enabled NOT IN ('A', 'R'))
    UNION ALL
    SELECT p.id, format('trigger pgcache_watch_%s_%s of %s is left over', p.id, p.part, p.relation)
    FROM present p
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.id = p.id AND m.relation = p.relation)
    UNION ALL
    SELECT p.id, format('watch %s of %s has the id of another one, which would end with it', p.id, p.relation)
    FROM present p
    WHERE p.is_watched AND EXISTS (SELECT FROM present o WHERE o.is_watched AND o.id = p.id AND o.relation <> p.relation)
$$;
COMMENT ON FUNCTION pgcache.watch_problems() IS 'Triggers of watches that are missing, disabled or left over; pgcache.repair_watches() mends them';

CREATE FUNCTION pgcache.repair_watches() RETURNS void
    AS 'MODULE_PATHNAME', 'pgcache_repair_watches' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pgcache.repair_watches() IS
    'Gives each watched table the triggers that it should have, enabled, and removes what is left over. Locks the tables concerned';

CREATE VIEW cache_watches AS
    SELECT w.id, w.relation, w.key, w.tags, p.problem
    FROM pgcache.watch_triggers() w
    LEFT JOIN (
        SELECT f.id, pg_catalog.string_agg(f.problem, '; ' ORDER BY f.problem) AS problem
        FROM pgcache.watch_problems() f GROUP BY f.id) p ON p.id OPERATOR(pg_catalog.=) w.id
    WHERE w.is_watched;
COMMENT ON VIEW cache_watches IS 'The watches of this database, as cache_watch made them, with the names that columns have now; problem: what keeps one from seeing all changes';

INSERT INTO pgcache.privilege VALUES
    ('cache_watch(regclass, text, text[])', 'app'),
    ('cache_unwatch(bigint)', 'app'),
    ('cache_quote(text)', 'app'),
    ('cache_watches', 'app'),
    ('pgcache.watch_triggers()', 'app'),
    ('pgcache.watch_problems()', 'app'),
    ('pgcache.repair_watches()', 'admin');

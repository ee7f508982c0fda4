-- Materialized views kept fresh: schedules, and what became of each run. Schedules are dumped; where each stands and what it did is
-- this server's own.

CREATE SEQUENCE pgcache.matview_schedule_id;
COMMENT ON SEQUENCE pgcache.matview_schedule_id IS 'The ids of schedules';

CREATE TABLE pgcache.matview_schedules (
    id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('pgcache.matview_schedule_id'),
    -- By name, because object ids do not survive a dump, nor DROP and CREATE.
    view_schema name NOT NULL,
    view_name name NOT NULL,
    every interval,
    cron text,
    timezone text NOT NULL,
    is_concurrent boolean,
    only_if_changed boolean NOT NULL,
    timeout interval,
    jitter interval,
    CHECK ((every IS NULL) OPERATOR(pg_catalog.<>) (cron IS NULL))
);
CREATE INDEX ON pgcache.matview_schedules (view_name, view_schema);
COMMENT ON TABLE pgcache.matview_schedules IS 'What matview_schedule was told';
SELECT pg_catalog.pg_extension_config_dump('pgcache.matview_schedule_id', '');
SELECT pg_catalog.pg_extension_config_dump('pgcache.matview_schedules', '');

CREATE TABLE pgcache.matview_states (
    id bigint PRIMARY KEY REFERENCES pgcache.matview_schedules ON DELETE CASCADE,
    view oid NOT NULL,
    due timestamptz NOT NULL,
    next_run timestamptz NOT NULL,  -- due and the jitter, or a retry before
    failures integer NOT NULL DEFAULT 0,
    inputs bytea,  -- what the last refresh found below the view; NULL: refresh in any case
    run bigint,  -- while a worker is at it
    refreshed_at timestamptz,
    verified_at timestamptz,  -- refreshed, or found unchanged
    rows bigint,
    bytes bigint,
    note text
);
CREATE INDEX ON pgcache.matview_states (next_run);
CREATE INDEX ON pgcache.matview_states (view);
COMMENT ON TABLE pgcache.matview_states IS 'Where each schedule stands';

CREATE TABLE pgcache.matview_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule bigint,
    view oid NOT NULL,
    view_schema name NOT NULL,
    view_name name NOT NULL,
    owner oid NOT NULL,
    started_at timestamptz NOT NULL,
    duration interval,
    outcome text NOT NULL CHECK (outcome IN ('running', 'refreshed', 'unchanged', 'failed', 'interrupted')),
    by_hand boolean NOT NULL DEFAULT false,
    is_concurrent boolean,
    rows bigint,
    bytes bigint,
    error_code text,
    error text,
    note text
);
CREATE INDEX ON pgcache.matview_runs (started_at);
CREATE INDEX ON pgcache.matview_runs (schedule, id);
CREATE INDEX ON pgcache.matview_runs (view, id) WHERE by_hand;
CREATE INDEX ON pgcache.matview_runs (id) WHERE outcome OPERATOR(pg_catalog.=) 'running';
COMMENT ON SEQUENCE pgcache.matview_runs_id_seq IS 'The ids of runs';
COMMENT ON TABLE pgcache.matview_runs IS 'Every run, for pgcache.history_retention';

CREATE FUNCTION pgcache.matview_schedules_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pgcache_matview_schedules_changed' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgcache.matview_schedules_changed() IS 'Tells the scheduler, at the commit';
CREATE TRIGGER schedules_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON pgcache.matview_schedules
    FOR EACH STATEMENT EXECUTE FUNCTION pgcache.matview_schedules_changed();
ALTER TABLE pgcache.matview_schedules ENABLE ALWAYS TRIGGER schedules_changed;

CREATE FUNCTION pgcache.notify_scheduler() RETURNS void
    AS 'MODULE_PATHNAME', 'pgcache_notify_scheduler' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION pgcache.notify_scheduler() IS 'Makes the scheduler look at this database, at the commit';
SELECT pgcache.notify_scheduler();

CREATE FUNCTION pgcache.scheduler_pid() RETURNS integer
    AS 'MODULE_PATHNAME', 'pgcache_scheduler_pid' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pgcache.scheduler_pid() IS 'Process id of the scheduler of refreshes; NULL if it is not running';

CREATE FUNCTION pgcache.clock() RETURNS timestamptz
    AS 'MODULE_PATHNAME', 'pgcache_clock' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pgcache.clock() IS 'The time that schedules go by: now, or pgcache.test_clock';

CREATE FUNCTION matview_schedule(view regclass, every interval DEFAULT NULL, cron text DEFAULT NULL, timezone text DEFAULT 'UTC',
        concurrently boolean DEFAULT NULL, only_if_changed boolean DEFAULT true, timeout interval DEFAULT NULL,
        jitter interval DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pgcache_matview_schedule' LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION matview_schedule(regclass, interval, text, text, boolean, boolean, interval, interval) IS
    'Refreshes a materialized view from now on: every so often, or at the times of a cron expression in a time zone. Replaces the schedule that the view has. For the view''s owner. The schedule''s id. Example: SELECT matview_schedule(''dashboard_stats'', every => ''5 minutes'')';

CREATE FUNCTION matview_unschedule(view regclass) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_matview_unschedule' LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION matview_unschedule(regclass) IS 'Ends the schedule of a materialized view; false if it has none. For the view''s owner';

CREATE FUNCTION matview_refresh(view regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'pgcache_matview_refresh' LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION matview_refresh(regclass) IS
    'Refreshes a materialized view now, in this transaction, and invalidates the cache entries tagged matview:<schema>.<name> at its commit. For the view''s owner. Example: SELECT matview_refresh(''dashboard_stats'')';

-- What each schedule is about: the view it knows, under whatever name; else one of its name, as after DROP and CREATE or a restored dump.
CREATE VIEW pgcache.matview_targets AS
    SELECT s.id, found.oid AS view, found.nspname AS view_schema, found.relname AS view_name, found.relowner AS owner
    FROM pgcache.matview_schedules s
    LEFT JOIN pgcache.matview_states t ON t.id OPERATOR(pg_catalog.=) s.id
    LEFT JOIN LATERAL (
        SELECT c.oid, n.nspname, c.relname, c.relowner, 1 AS rank
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.relkind OPERATOR(pg_catalog.=) 'm' AND c.oid OPERATOR(pg_catalog.=) t.view
        UNION ALL
        SELECT c.oid, n.nspname, c.relname, c.relowner, 2
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.relkind OPERATOR(pg_catalog.=) 'm' AND c.relname OPERATOR(pg_catalog.=) s.view_name
            AND n.nspname OPERATOR(pg_catalog.=) s.view_schema
        ORDER BY rank LIMIT 1) found ON true;
COMMENT ON VIEW pgcache.matview_targets IS 'The materialized view of each schedule; NULL where there is none';

-- A role sees the views whose owner it is or may become, or all if it may read all statistics: error messages tell of the rows.
CREATE VIEW matview_status WITH (security_barrier) AS
    SELECT s.id, pg_catalog.format('%I.%I', coalesce(g.view_schema, s.view_schema), coalesce(g.view_name, s.view_name)) AS view,
        s.every, s.cron, s.timezone, s.is_concurrent, s.only_if_changed, s.timeout, s.jitter,
        CASE WHEN t.run IS NOT NULL THEN 'running' WHEN g.view IS NULL THEN 'missing'
            WHEN t.failures OPERATOR(pg_catalog.>) 0 THEN 'failing' ELSE 'scheduled' END AS state,
        t.next_run, last.started_at AS last_run, last.outcome AS last_outcome, last.duration AS last_duration,
        greatest(t.refreshed_at, hand.started_at) AS refreshed_at,
        pgcache.clock() OPERATOR(pg_catalog.-) greatest(t.verified_at, hand.started_at) AS age,
        CASE WHEN hand.is_newer THEN hand.rows ELSE t.rows END AS rows,
        CASE WHEN hand.is_newer THEN hand.bytes ELSE t.bytes END AS bytes,
        coalesce(t.failures, 0) AS failures,
        -- The view may be somebody else's by now.
        CASE WHEN own.may_read THEN last.error_code END AS last_error_code, CASE WHEN own.may_read THEN last.error END AS last_error, t.note
    FROM pgcache.matview_schedules s
    JOIN pgcache.matview_targets g ON g.id OPERATOR(pg_catalog.=) s.id
    LEFT JOIN pgcache.matview_states t ON t.id OPERATOR(pg_catalog.=) s.id
    LEFT JOIN LATERAL (
        SELECT r.* FROM pgcache.matview_runs r WHERE r.schedule OPERATOR(pg_catalog.=) s.id ORDER BY r.id DESC LIMIT 1) last ON true
    LEFT JOIN LATERAL (
        SELECT r.*, t.refreshed_at IS NULL OR r.started_at OPERATOR(pg_catalog.>) t.refreshed_at AS is_newer FROM pgcache.matview_runs r
        WHERE r.view OPERATOR(pg_catalog.=) g.view AND r.by_hand ORDER BY r.id DESC LIMIT 1) hand ON true
    CROSS JOIN LATERAL (
        SELECT pg_catalog.pg_has_role(last.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS may_read) own
    WHERE pg_catalog.pg_has_role(coalesce(g.owner, last.owner), 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');
COMMENT ON VIEW matview_status IS
    'The schedules of the views that the caller owns, or of all for pg_read_all_stats: when they ran and will run, how long it took, how old the data is, what went wrong';

CREATE VIEW matview_history WITH (security_barrier) AS
    SELECT r.id, r.schedule, pg_catalog.format('%I.%I', r.view_schema, r.view_name) AS view, r.started_at, r.duration, r.outcome,
        r.by_hand, r.is_concurrent, r.rows, r.bytes, r.error_code, r.error, r.note
    FROM pgcache.matview_runs r
    WHERE pg_catalog.pg_has_role(r.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');
COMMENT ON VIEW matview_history IS
    'The runs of the views that the caller owns, or of all for pg_read_all_stats, as long as pgcache.history_retention keeps them';

INSERT INTO pgcache.privilege VALUES
    ('matview_schedule(regclass, interval, text, text, boolean, boolean, interval, interval)', 'app'),
    ('matview_unschedule(regclass)', 'app'),
    ('matview_refresh(regclass)', 'app'),
    ('matview_status', 'app'),
    ('matview_history', 'app'),
    ('pgcache.clock()', 'app'),
    ('pgcache.scheduler_pid()', 'admin');

-- What every room stands on: the schema for what is not called from applications, the levels of privilege, the warning
-- where the module is not preloaded.

\echo Use "CREATE EXTENSION pgcache" to load this file. \quit

CREATE SCHEMA pgcache;
COMMENT ON SCHEMA pgcache IS 'pgcache: administration';

-- Each room adds its functions and views here; what is missing here is for the extension's owner alone.
CREATE TABLE pgcache.privilege (
    object text PRIMARY KEY,
    level text NOT NULL CHECK (level IN ('app', 'admin'))
);
COMMENT ON TABLE pgcache.privilege IS
    'What pgcache.grant_to grants at which level. object: a function''s signature or a view''s name, in the extension''s schema unless qualified';

CREATE FUNCTION pgcache.library_version() RETURNS text
    AS 'MODULE_PATHNAME', 'pgcache_library_version' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pgcache.library_version() IS 'Version of the library that the server has loaded';

CREATE FUNCTION pgcache.is_preloaded() RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_is_preloaded' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pgcache.is_preloaded() IS 'Whether the server loaded pgcache when it started';

CREATE FUNCTION pgcache.preload_statement() RETURNS text
    AS 'MODULE_PATHNAME', 'pgcache_preload_statement' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pgcache.preload_statement() IS
    'The ALTER SYSTEM that adds pgcache to the libraries loaded at start; NULL without pg_read_all_settings';

CREATE FUNCTION pgcache.worker_pid() RETURNS integer
    AS 'MODULE_PATHNAME', 'pgcache_worker_pid' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pgcache.worker_pid() IS 'Process id of the background worker; NULL if it is not running';

CREATE FUNCTION pgcache.warn_unless_preloaded() RETURNS void
    AS 'MODULE_PATHNAME', 'pgcache_warn_unless_preloaded' LANGUAGE C VOLATILE STRICT;
SELECT pgcache.warn_unless_preloaded();
DROP FUNCTION pgcache.warn_unless_preloaded();

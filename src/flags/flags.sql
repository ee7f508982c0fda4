-- Feature flags: rows in ordinary tables, so they are logged, dumped, and change with their transaction. Sessions evaluate from
-- memory; see generations.hpp. Evaluating functions are not STRICT, because a NULL must give the fallback.

CREATE SEQUENCE pgcache.flag_id;
COMMENT ON SEQUENCE pgcache.flag_id IS 'The ids of flags';
CREATE SEQUENCE pgcache.flag_strategy_id;
COMMENT ON SEQUENCE pgcache.flag_strategy_id IS 'The ids of strategies';

CREATE FUNCTION pgcache.environment() RETURNS text
    AS 'MODULE_PATHNAME', 'pgcache_environment' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pgcache.environment() IS 'What pgcache.environment says: whose flags are read and written';

CREATE TABLE pgcache.flags (
    id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('pgcache.flag_id'),
    environment text NOT NULL DEFAULT pgcache.environment(),
    name text NOT NULL,
    enabled boolean NOT NULL DEFAULT false,
    killed boolean NOT NULL DEFAULT false,
    on_at timestamptz,
    off_at timestamptz,
    variants jsonb NOT NULL DEFAULT '[]',
    description text,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    changed_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    UNIQUE (environment, name)
);
COMMENT ON TABLE pgcache.flags IS 'What flag_set, flag_variants_set, flag_kill and flag_schedule were told';

CREATE TABLE pgcache.flag_strategies (
    id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('pgcache.flag_strategy_id'),
    flag bigint NOT NULL REFERENCES pgcache.flags ON DELETE CASCADE,
    by_flag_set boolean NOT NULL DEFAULT false,  -- the one whose rollout flag_set sets
    rollout numeric NOT NULL DEFAULT 100,
    stickiness text NOT NULL DEFAULT 'default',
    group_id text,  -- NULL: the flag's name
    constraints jsonb NOT NULL DEFAULT '[]',
    variants jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX ON pgcache.flag_strategies (flag);
CREATE UNIQUE INDEX ON pgcache.flag_strategies (flag) WHERE by_flag_set;
COMMENT ON TABLE pgcache.flag_strategies IS 'For whom a flag is on: any of its strategies suffices. They are looked at in the order of their ids';

CREATE TABLE pgcache.flag_segments (
    name text PRIMARY KEY,
    constraints jsonb NOT NULL
);
COMMENT ON TABLE pgcache.flag_segments IS 'Constraints with a name, for strategies of all environments';

CREATE TABLE pgcache.flag_strategy_segments (
    strategy bigint NOT NULL REFERENCES pgcache.flag_strategies ON DELETE CASCADE,
    segment text NOT NULL REFERENCES pgcache.flag_segments ON UPDATE CASCADE,
    PRIMARY KEY (strategy, segment)
);
CREATE INDEX ON pgcache.flag_strategy_segments (segment);
COMMENT ON TABLE pgcache.flag_strategy_segments IS 'The segments that a strategy asks for, all of them';

CREATE TABLE pgcache.flag_prerequisites (
    flag bigint NOT NULL REFERENCES pgcache.flags ON DELETE CASCADE,
    prerequisite bigint NOT NULL REFERENCES pgcache.flags,
    enabled boolean NOT NULL DEFAULT true,  -- what the prerequisite must be
    variants text[] NOT NULL DEFAULT '{}',  -- one of these; empty: any
    PRIMARY KEY (flag, prerequisite),
    CHECK (enabled OR variants OPERATOR(pg_catalog.=) '{}'),
    CHECK (CASE WHEN coalesce(pg_catalog.array_ndims(variants), 1) OPERATOR(pg_catalog.=) 1 THEN pg_catalog.array_position(variants, NULL) IS NULL ELSE false END)
);
CREATE INDEX ON pgcache.flag_prerequisites (prerequisite);
COMMENT ON TABLE pgcache.flag_prerequisites IS 'What other flags must be for a flag to be on';

SELECT pg_catalog.pg_extension_config_dump('pgcache.flag_id', '');
SELECT pg_catalog.pg_extension_config_dump('pgcache.flag_strategy_id', '');
SELECT pg_catalog.pg_extension_config_dump('pgcache.flags', '');
SELECT pg_catalog.pg_extension_config_dump('pgcache.flag_strategies', '');
SELECT pg_catalog.pg_extension_config_dump('pgcache.flag_segments', '');
SELECT pg_catalog.pg_extension_config_dump('pgcache.flag_strategy_segments', '');
SELECT pg_catalog.pg_extension_config_dump('pgcache.flag_prerequisites', '');

-- These check rows whoever writes them.
CREATE FUNCTION pgcache.check_flag() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pgcache_check_flag' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgcache.check_flag() IS 'Refuses a flag that could not be evaluated';
CREATE FUNCTION pgcache.check_flag_strategy() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pgcache_check_flag_strategy' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgcache.check_flag_strategy() IS 'Refuses a strategy that could not be evaluated';
CREATE FUNCTION pgcache.check_flag_segment() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pgcache_check_flag_segment' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgcache.check_flag_segment() IS 'Refuses a segment that could not be evaluated';
CREATE FUNCTION pgcache.check_flag_prerequisites() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pgcache_check_flag_prerequisites' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgcache.check_flag_prerequisites() IS 'Refuses prerequisites in a circle, and of another environment';
CREATE FUNCTION pgcache.flags_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pgcache_flags_changed' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgcache.flags_changed() IS 'Makes every session read the flags again, this one at once, others at the commit';

-- Not where only other columns change: a flag that came in broken can be killed.
CREATE TRIGGER check_row BEFORE INSERT OR UPDATE OF environment, name, on_at, off_at, variants ON pgcache.flags
    FOR EACH ROW EXECUTE FUNCTION pgcache.check_flag();
CREATE TRIGGER check_row BEFORE INSERT OR UPDATE OF rollout, stickiness, group_id, constraints, variants ON pgcache.flag_strategies
    FOR EACH ROW EXECUTE FUNCTION pgcache.check_flag_strategy();
CREATE TRIGGER check_row BEFORE INSERT OR UPDATE ON pgcache.flag_segments FOR EACH ROW EXECUTE FUNCTION pgcache.check_flag_segment();
CREATE TRIGGER check_all AFTER INSERT OR UPDATE ON pgcache.flag_prerequisites FOR EACH STATEMENT EXECUTE FUNCTION pgcache.check_flag_prerequisites();
CREATE TRIGGER check_all AFTER UPDATE OF environment ON pgcache.flags FOR EACH STATEMENT EXECUTE FUNCTION pgcache.check_flag_prerequisites();

-- For each row, not for each statement: replication fires no others, not even ALWAYS. Before it is written, so that a function called later in the
-- same statement does not see it first; and after, for what asked between the two.
DO $$
DECLARE
    changed name;
BEGIN
    FOREACH changed IN ARRAY '{flags,flag_strategies,flag_segments,flag_strategy_segments,flag_prerequisites}'::name[] LOOP
        EXECUTE format('CREATE TRIGGER flags_changing BEFORE INSERT OR UPDATE OR DELETE ON pgcache.%I FOR EACH ROW EXECUTE FUNCTION pgcache.flags_changed()', changed);
        EXECUTE format('CREATE TRIGGER flags_changed AFTER INSERT OR UPDATE OR DELETE ON pgcache.%I FOR EACH ROW EXECUTE FUNCTION pgcache.flags_changed()', changed);
        EXECUTE format('CREATE TRIGGER flags_truncated AFTER TRUNCATE ON pgcache.%I FOR EACH STATEMENT EXECUTE FUNCTION pgcache.flags_changed()', changed);
        EXECUTE format('ALTER TABLE pgcache.%I ENABLE ALWAYS TRIGGER flags_changing, ENABLE ALWAYS TRIGGER flags_changed, ENABLE ALWAYS TRIGGER flags_truncated', changed);
    END LOOP;
END
$$;

-- Evaluation.

CREATE FUNCTION flag_enabled(flag text, context jsonb DEFAULT '{}', fallback boolean DEFAULT false) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_flag_enabled' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION flag_enabled(text, jsonb, boolean) IS
    'Whether a flag is on for a context: a JSON object with userId, sessionId, remoteAddress and whatever else its constraints look at. Never raises: where it cannot be told (unknown flag, no JSON object, no attribute to stick to) it is fallback. Example: SELECT flag_enabled(''new_checkout'', ''{"userId": "42", "plan": "pro"}'')';

CREATE FUNCTION flag_enabled_for(flag text, user_id text, fallback boolean DEFAULT false) RETURNS boolean
    AS 'MODULE_PATHNAME', 'pgcache_flag_enabled_for' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION flag_enabled_for(text, text, boolean) IS
    'flag_enabled for a context with nothing but userId, faster. Example: SELECT flag_enabled_for(''new_checkout'', ''42'')';

CREATE FUNCTION flag_variant(flag text, context jsonb DEFAULT '{}', fallback jsonb DEFAULT NULL,
        OUT variant text, OUT value jsonb, OUT enabled boolean, OUT reason text, OUT error_code text) RETURNS record
    AS 'MODULE_PATHNAME', 'pgcache_flag_variant' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION flag_variant(text, jsonb, jsonb) IS
    'The variant of a flag for a context and its value; fallback where the flag is off or has no variants. reason: STATIC, TARGETING_MATCH, SPLIT, DEFAULT, DISABLED, ERROR; error_code: FLAG_NOT_FOUND, TARGETING_KEY_MISSING, INVALID_CONTEXT, PARSE_ERROR. Example: SELECT variant, value, reason FROM flag_variant(''button_color'', ''{"userId": "42"}'', ''"grey"'')';

CREATE FUNCTION flag_evaluate_all(context jsonb DEFAULT '{}',
        OUT flag text, OUT enabled boolean, OUT variant text, OUT value jsonb, OUT reason text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_flag_evaluate_all' LANGUAGE C STABLE PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION flag_evaluate_all(jsonb) IS
    'All flags of the environment for a context, as flag_enabled and flag_variant have them, by name: what a front end starts with. Example: SELECT jsonb_object_agg(flag, enabled) FROM flag_evaluate_all(''{"userId": "42"}'')';

CREATE FUNCTION flag_explain(flag text, context jsonb DEFAULT '{}') RETURNS jsonb
    AS 'MODULE_PATHNAME', 'pgcache_flag_explain' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION flag_explain(text, jsonb) IS
    'Why flag_enabled says what it says: every prerequisite, strategy, constraint and segment with what was compared, the bucket and its threshold. Example: SELECT flag_explain(''new_checkout'', ''{"userId": "42"}'') -> ''enabled''';

-- Configuration. Its functions run with the rights of the extension's owner, whoever may call them.

CREATE FUNCTION pgcache.flag_to_change(flag text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_id bigint;
BEGIN
    IF flag IS NULL THEN
        RAISE EXCEPTION 'flag must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    -- Its row is locked, so that changes of one flag come one after the other.
    SELECT f.id INTO found_id FROM pgcache.flags f WHERE f.environment = pgcache.environment() AND f.name = flag FOR NO KEY UPDATE;
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'there is no flag "%" in environment "%"', left(flag, 64), pgcache.environment()
            USING ERRCODE = 'undefined_object', HINT = 'flag_set makes one; pgcache.environment chooses the environment.';
    END IF;
    RETURN found_id;
END
$$;
COMMENT ON FUNCTION pgcache.flag_to_change(text) IS 'The id of a flag that is about to change, which waits for others that change it';

CREATE FUNCTION flag_set(flag text, enabled boolean DEFAULT NULL, rollout numeric DEFAULT NULL, stickiness text DEFAULT NULL, group_id text DEFAULT NULL,
        prerequisites jsonb DEFAULT NULL, description text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    flag_id bigint;
BEGIN
    IF flag_set.flag IS NULL THEN
        RAISE EXCEPTION 'flag must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    INSERT INTO pgcache.flags AS f (name, enabled, description) VALUES (flag_set.flag, coalesce(flag_set.enabled, false), flag_set.description)
    ON CONFLICT ON CONSTRAINT flags_environment_name_key DO UPDATE SET enabled = coalesce(flag_set.enabled, f.enabled),
        description = coalesce(flag_set.description, f.description), changed_at = now()
    RETURNING f.id INTO flag_id;
    IF num_nonnulls(flag_set.rollout, flag_set.stickiness, flag_set.group_id) > 0 THEN
        -- A rollout that nobody asked for would switch a flag with other strategies on for everybody.
        IF flag_set.rollout IS NULL AND NOT EXISTS (SELECT FROM pgcache.flag_strategies s WHERE s.flag = flag_id AND s.by_flag_set) THEN
            RAISE EXCEPTION 'stickiness and group_id belong to a rollout, and flag "%" has none', left(flag_set.flag, 64)
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Give rollout too; or use flag_strategy_add.';
        END IF;
        INSERT INTO pgcache.flag_strategies AS s (flag, by_flag_set, rollout, stickiness, group_id)
        VALUES (flag_id, true, coalesce(flag_set.rollout, 100), coalesce(flag_set.stickiness, 'default'), flag_set.group_id)
        ON CONFLICT (flag) WHERE by_flag_set DO UPDATE SET rollout = coalesce(flag_set.rollout, s.rollout),
            stickiness = coalesce(flag_set.stickiness, s.stickiness), group_id = coalesce(flag_set.group_id, s.group_id);
    END IF;
    IF flag_set.prerequisites IS NOT NULL THEN
        PERFORM pgcache.set_flag_prerequisites(flag_id, flag_set.prerequisites);
    END IF;
END
$$;
COMMENT ON FUNCTION flag_set(text, boolean, numeric, text, text, jsonb, text) IS
    'Makes a flag, disabled, or changes what is not NULL of one. rollout: percent of contexts, 0 to 100 in steps of 0.001, by stickiness (default: userId, else sessionId, else random; random; or an attribute) within group_id (the flag''s name). prerequisites: flags that must be on, [] for none. Example: SELECT flag_set(''new_checkout'', enabled => true, rollout => 25)';

CREATE FUNCTION pgcache.set_flag_prerequisites(flag_id bigint, prerequisites jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    element jsonb;
    parent text;
    parent_id bigint;
    problem text;
BEGIN
    IF jsonb_typeof(prerequisites) <> 'array' THEN
        RAISE EXCEPTION 'prerequisites must be a JSON array, not %', jsonb_typeof(prerequisites)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Like ["other_flag", {"feature": "third", "enabled": false}, {"feature": "fourth", "variants": ["blue"]}].';
    END IF;
    DELETE FROM pgcache.flag_prerequisites p WHERE p.flag = flag_id;
    FOR element IN SELECT e.value FROM jsonb_array_elements(prerequisites) e LOOP
        IF jsonb_typeof(element) = 'string' THEN
            element := jsonb_build_object('feature', element);
        END IF;
        problem := CASE
            WHEN jsonb_typeof(element) <> 'object' THEN 'must be a name or an object, not ' || jsonb_typeof(element)
            WHEN jsonb_typeof(element -> 'feature') IS DISTINCT FROM 'string' THEN 'names no flag as "feature"'
            WHEN jsonb_typeof(element -> 'enabled') <> 'boolean' THEN 'has an "enabled" that is not true or false'
            WHEN NOT (element -> 'variants' IS NULL OR jsonb_typeof(element -> 'variants') = 'array'
                AND NOT jsonb_path_exists(element, 'strict $.variants[*] ? (@.type() != "string")')) THEN 'has "variants" that are not an array of names'
            WHEN element -> 'enabled' = 'false' AND coalesce(element -> 'variants', '[]') <> '[]' THEN 'asks for a variant of a flag that is off'
            WHEN element - '{feature,enabled,variants}'::text[] <> '{}' THEN
                format('has an unknown field "%s"', (SELECT left(min(k), 64) FROM jsonb_object_keys(element - '{feature,enabled,variants}'::text[]) k))
            END;
        IF problem IS NOT NULL THEN
            RAISE EXCEPTION 'a prerequisite %', problem
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Like "other_flag", {"feature": "third", "enabled": false} or {"feature": "fourth", "variants": ["blue"]}.';
        END IF;
        parent := element ->> 'feature';
        SELECT f.id INTO parent_id FROM pgcache.flags f WHERE f.environment = pgcache.environment() AND f.name = parent FOR KEY SHARE;
        IF parent_id IS NULL THEN
            RAISE EXCEPTION 'the prerequisite "%" does not exist in environment "%"', left(parent, 64), pgcache.environment()
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Make it first, with flag_set.';
        END IF;
        BEGIN
            INSERT INTO pgcache.flag_prerequisites (flag, prerequisite, enabled, variants)
            VALUES (flag_id, parent_id, coalesce((element ->> 'enabled')::boolean, true),
                ARRAY(SELECT v.value FROM jsonb_array_elements_text(coalesce(element -> 'variants', '[]')) v));
        EXCEPTION WHEN unique_violation THEN
            RAISE EXCEPTION 'the prerequisite "%" is named twice', left(parent, 64) USING ERRCODE = 'invalid_parameter_value';
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pgcache.set_flag_prerequisites(bigint, jsonb) IS 'The prerequisites of a flag from now on';

CREATE FUNCTION flag_strategy_add(flag text, rollout numeric DEFAULT 100, stickiness text DEFAULT 'default', group_id text DEFAULT NULL,
        constraints jsonb DEFAULT '[]', segments text[] DEFAULT '{}', variants jsonb DEFAULT '[]') RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    flag_id bigint := pgcache.flag_to_change(flag_strategy_add.flag);
    strategy_id bigint;
    unknown text;
BEGIN
    INSERT INTO pgcache.flag_strategies (flag, rollout, stickiness, group_id, constraints, variants)
    VALUES (flag_id, coalesce(flag_strategy_add.rollout, 100), coalesce(flag_strategy_add.stickiness, 'default'), flag_strategy_add.group_id,
        coalesce(flag_strategy_add.constraints, '[]'), coalesce(flag_strategy_add.variants, '[]'))
    RETURNING id INTO strategy_id;
    UPDATE pgcache.flags f SET changed_at = now() WHERE f.id = flag_id;
    IF EXISTS (SELECT FROM unnest(flag_strategy_add.segments) u WHERE u IS NULL) THEN
        RAISE EXCEPTION 'segments must not hold nulls' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    -- Those that are there stay until the transaction's end.
    PERFORM FROM pgcache.flag_segments g WHERE g.name = ANY (flag_strategy_add.segments) FOR KEY SHARE;
    SELECT u INTO unknown FROM unnest(flag_strategy_add.segments) u WHERE NOT EXISTS (SELECT FROM pgcache.flag_segments g WHERE g.name = u) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no segment "%"', left(unknown, 64)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'flag_segment_set makes one.';
    END IF;
    INSERT INTO pgcache.flag_strategy_segments (strategy, segment) SELECT DISTINCT strategy_id, u FROM unnest(flag_strategy_add.segments) u;
    RETURN strategy_id;
END
$$;
COMMENT ON FUNCTION flag_strategy_add(text, numeric, text, text, jsonb, text[], jsonb) IS
    'Adds a strategy: the flag is on where any of its strategies passes, and a strategy passes where all its constraints and segments do and the rollout reaches the context. Its id. Example: SELECT flag_strategy_add(''new_checkout'', constraints => ''[{"contextName": "plan", "operator": "IN", "values": ["pro", "team"]}]'')';

CREATE FUNCTION flag_strategy_remove(strategy bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE pgcache.flags f SET changed_at = now() FROM pgcache.flag_strategies s WHERE s.id = flag_strategy_remove.strategy AND f.id = s.flag;
    DELETE FROM pgcache.flag_strategies s WHERE s.id = flag_strategy_remove.strategy;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION flag_strategy_remove(bigint) IS
    'Removes a strategy, whatever its environment; false if there is none with this id. A flag without strategies is on for everybody, if it is enabled';

CREATE FUNCTION flag_variants_set(flag text, variants jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flag_id bigint := pgcache.flag_to_change(flag_variants_set.flag);
BEGIN
    UPDATE pgcache.flags f SET variants = flag_variants_set.variants, changed_at = now() WHERE f.id = flag_id;
END
$$;
COMMENT ON FUNCTION flag_variants_set(text, jsonb) IS
    'The variants of a flag from now on, in place of those it has; [] for none. Example: SELECT flag_variants_set(''button_color'', ''[{"name": "blue", "weight": 50, "value": "#00f"}, {"name": "red", "weight": 50, "value": "#f00"}]'')';

CREATE FUNCTION flag_kill(flag text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flag_id bigint := pgcache.flag_to_change(flag_kill.flag);
BEGIN
    UPDATE pgcache.flags f SET killed = true, changed_at = now() WHERE f.id = flag_id;
END
$$;
COMMENT ON FUNCTION flag_kill(text) IS 'Switches a flag off for everybody, whatever else it says, until flag_unkill. Example: SELECT flag_kill(''new_checkout'')';

CREATE FUNCTION flag_unkill(flag text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flag_id bigint := pgcache.flag_to_change(flag_unkill.flag);
BEGIN
    UPDATE pgcache.flags f SET killed = false, changed_at = now() WHERE f.id = flag_id;
END
$$;
COMMENT ON FUNCTION flag_unkill(text) IS 'Ends flag_kill: the flag is as it was set. Example: SELECT flag_unkill(''new_checkout'')';

CREATE FUNCTION flag_schedule(flag text, on_at timestamptz, off_at timestamptz DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flag_id bigint := pgcache.flag_to_change(flag_schedule.flag);
BEGIN
    IF num_nonnulls(flag_schedule.on_at, flag_schedule.off_at) > 0 THEN
        UPDATE pgcache.flags f SET enabled = true, on_at = flag_schedule.on_at, off_at = flag_schedule.off_at, changed_at = now()
        WHERE f.id = flag_id;
    ELSE
        -- It stays what it is now: a launch that is called off must not be a launch.
        UPDATE pgcache.flags f SET on_at = NULL, off_at = NULL, changed_at = now(),
            enabled = f.enabled AND coalesce(f.on_at <= pgcache.clock(), true) AND coalesce(f.off_at > pgcache.clock(), true)
        WHERE f.id = flag_id;
    END IF;
END
$$;
COMMENT ON FUNCTION flag_schedule(text, timestamptz, timestamptz) IS
    'Enables a flag from on_at (NULL: at once) until off_at (NULL: without end). Both NULL: ends the schedule, and the flag stays what it is at that moment. Example: SELECT flag_schedule(''new_checkout'', ''2030-12-01 08:00+00'', ''2030-12-27 00:00+00'')';

CREATE FUNCTION flag_delete(flag text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    needed_by text;
BEGIN
    DELETE FROM pgcache.flags f WHERE f.environment = pgcache.environment() AND f.name = flag_delete.flag;
    RETURN FOUND;
EXCEPTION WHEN foreign_key_violation THEN
    SELECT string_agg(format('"%s"', d.name), ', ' ORDER BY d.name) INTO needed_by
    FROM pgcache.flags f JOIN pgcache.flag_prerequisites p ON p.prerequisite = f.id JOIN pgcache.flags d ON d.id = p.flag
    WHERE f.environment = pgcache.environment() AND f.name = flag_delete.flag;
    IF needed_by IS NULL THEN
        RAISE;  -- somebody else's foreign key
    END IF;
    RAISE EXCEPTION 'the flag "%" is a prerequisite of %', left(flag_delete.flag, 64), needed_by
        USING ERRCODE = 'dependent_objects_still_exist', HINT = 'Change their prerequisites first, with flag_set.';
END
$$;
COMMENT ON FUNCTION flag_delete(text) IS
    'Deletes a flag with its strategies and variants; false if there is none. Its callers get their fallback from then on';

CREATE FUNCTION flag_segment_set(segment text, constraints jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF segment IS NULL THEN
        RAISE EXCEPTION 'segment must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    INSERT INTO pgcache.flag_segments AS g (name, constraints) VALUES (flag_segment_set.segment, flag_segment_set.constraints)
    ON CONFLICT ON CONSTRAINT flag_segments_pkey DO UPDATE SET constraints = excluded.constraints;
END
$$;
COMMENT ON FUNCTION flag_segment_set(text, jsonb) IS
    'Makes a segment, or changes it for all strategies of all environments that ask for it: constraints with a name. Example: SELECT flag_segment_set(''beta testers'', ''[{"contextName": "userId", "operator": "IN", "values": ["42", "43"]}]'')';

CREATE FUNCTION flag_segment_delete(segment text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM pgcache.flag_segments g WHERE g.name = flag_segment_delete.segment;
    RETURN FOUND;
EXCEPTION WHEN foreign_key_violation THEN
    RAISE EXCEPTION 'the segment "%" is in use', left(flag_segment_delete.segment, 64)
        USING ERRCODE = 'dependent_objects_still_exist', HINT = 'The view flag_segments shows which flags ask for it.';
END
$$;
COMMENT ON FUNCTION flag_segment_delete(text) IS 'Deletes a segment that no strategy asks for; false if there is none';

-- What there is.

CREATE VIEW flags AS
    SELECT f.name AS flag, f.environment,
        CASE WHEN f.killed THEN 'killed' WHEN NOT f.enabled THEN 'disabled'
            WHEN f.on_at OPERATOR(pg_catalog.>) pgcache.clock() THEN 'scheduled' WHEN f.off_at OPERATOR(pg_catalog.<=) pgcache.clock() THEN 'ended'
            ELSE 'enabled' END AS state,
        f.enabled, f.killed, f.on_at, f.off_at,
        (SELECT s.rollout FROM pgcache.flag_strategies s WHERE s.flag OPERATOR(pg_catalog.=) f.id AND s.by_flag_set) AS rollout,
        (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('id', s.id, 'rollout', s.rollout, 'stickiness', s.stickiness,
                'groupId', coalesce(s.group_id, f.name), 'constraints', s.constraints, 'variants', s.variants,
                'segments', ARRAY(SELECT t.segment FROM pgcache.flag_strategy_segments t WHERE t.strategy OPERATOR(pg_catalog.=) s.id ORDER BY t.segment)) ORDER BY s.id), '[]')
            FROM pgcache.flag_strategies s WHERE s.flag OPERATOR(pg_catalog.=) f.id) AS strategies,
        f.variants,
        (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('feature', r.name, 'enabled', p.enabled, 'variants', p.variants) ORDER BY r.name), '[]')
            FROM pgcache.flag_prerequisites p JOIN pgcache.flags r ON r.id OPERATOR(pg_catalog.=) p.prerequisite
            WHERE p.flag OPERATOR(pg_catalog.=) f.id) AS prerequisites,
        f.description, f.created_at, f.changed_at
    FROM pgcache.flags f;
COMMENT ON VIEW flags IS 'The flags of all environments: their state (enabled, disabled, killed, scheduled, ended) and all they were told';

CREATE VIEW flag_segments AS
    SELECT g.name AS segment, g.constraints,
        ARRAY(SELECT DISTINCT f.name FROM pgcache.flag_strategy_segments t JOIN pgcache.flag_strategies s ON s.id OPERATOR(pg_catalog.=) t.strategy
            JOIN pgcache.flags f ON f.id OPERATOR(pg_catalog.=) s.flag WHERE t.segment OPERATOR(pg_catalog.=) g.name ORDER BY f.name) AS used_by
    FROM pgcache.flag_segments g;
COMMENT ON VIEW flag_segments IS 'The segments, and the flags that ask for them';

CREATE FUNCTION pgcache.flag_counts(OUT flag bigint, OUT variant text, OUT enabled bigint, OUT disabled bigint, OUT fallback bigint,
        OUT last_evaluated timestamptz, OUT since timestamptz) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pgcache_flag_counts' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION pgcache.flag_counts() IS 'What the view flag_stats shows: counts of this database by flag, and of each variant';

CREATE VIEW flag_stats AS
    WITH counts AS MATERIALIZED (SELECT * FROM pgcache.flag_counts())
    SELECT f.name AS flag, f.environment, coalesce(c.enabled, 0) AS enabled, coalesce(c.disabled, 0) AS disabled, coalesce(c.fallback, 0) AS fallback,
        (SELECT coalesce(pg_catalog.jsonb_object_agg(v.variant, v.enabled), '{}') FROM counts v
            WHERE v.flag OPERATOR(pg_catalog.=) f.id AND v.variant IS NOT NULL) AS variants,
        c.last_evaluated, c.since
    FROM pgcache.flags f LEFT JOIN counts c ON c.flag OPERATOR(pg_catalog.=) f.id AND c.variant IS NULL
    UNION ALL
    SELECT NULL, NULL, 0, 0, c.fallback, '{}', c.last_evaluated, c.since FROM counts c WHERE c.flag OPERATOR(pg_catalog.=) 0;
COMMENT ON VIEW flag_stats IS
    'How often each flag was evaluated on this server since then, by result and variant, and when last. fallback: it could not be told; the row without a flag counts the calls for flags that do not exist';

CREATE FUNCTION flag_stats_reset() RETURNS void
    AS 'MODULE_PATHNAME', 'pgcache_flag_stats_reset' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION flag_stats_reset() IS 'Begins the counts of flag_stats anew, for this database';

INSERT INTO pgcache.privilege VALUES
    ('flag_enabled(text, jsonb, boolean)', 'app'),
    ('flag_enabled_for(text, text, boolean)', 'app'),
    ('flag_variant(text, jsonb, jsonb)', 'app'),
    ('flag_evaluate_all(jsonb)', 'app'),
    ('pgcache.environment()', 'app'),
    ('flag_explain(text, jsonb)', 'admin'),
    ('flag_set(text, boolean, numeric, text, text, jsonb, text)', 'admin'),
    ('flag_strategy_add(text, numeric, text, text, jsonb, text[], jsonb)', 'admin'),
    ('flag_strategy_remove(bigint)', 'admin'),
    ('flag_variants_set(text, jsonb)', 'admin'),
    ('flag_kill(text)', 'admin'),
    ('flag_unkill(text)', 'admin'),
    ('flag_schedule(text, timestamp with time zone, timestamp with time zone)', 'admin'),
    ('flag_delete(text)', 'admin'),
    ('flag_segment_set(text, jsonb)', 'admin'),
    ('flag_segment_delete(text)', 'admin'),
    ('pgcache.flag_counts()', 'admin'),
    ('flag_stats_reset()', 'admin'),
    ('flags', 'admin'),
    ('flag_segments', 'admin'),
    ('flag_stats', 'admin');

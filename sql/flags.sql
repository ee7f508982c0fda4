-- Feature flags: what is asked, what is configured, what is refused.
SET client_min_messages = error;
SET TimeZone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgcache;
\pset format unaligned
\pset tuples_only on
\pset null NULL
-- So that no warning of another test's minute comes or stays away.
SET pgcache.test_clock = '2026-11-22 12:00+00';

-- Runs a statement and says how it was refused.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted: ' || statement;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n  HINT: ', state || ' ' || message, nullif(hint, ''));
END
$$;

\echo -- a new flag is disabled; NULL leaves as it is
SELECT flag_set('first');
SELECT flag_enabled('first'), state, rollout FROM flags WHERE flag = 'first';
SELECT flag_set('first', enabled => true);
SELECT flag_enabled('first'), flag_enabled('first', '{}', true), flag_enabled_for('first', '1');
SELECT flag_set('first', rollout => 0);
SELECT flag_enabled_for('first', '1'), enabled, rollout FROM flags WHERE flag = 'first';
SELECT flag_set('first', rollout => 100, stickiness => 'companyId', group_id => 'all', description => 'The first one');
SELECT flag_set('first', rollout => 12.345);
SELECT rollout, strategies #- '{0,id}', description FROM flags WHERE flag = 'first';

\echo -- the buckets of Unleash: 73 and 25 of 100, 796 and 260 of 1,000
SELECT flag_set('bucket 73', true, 72, group_id => 'gr1'), flag_set('bucket 25', true, 24, group_id => 'groupX');
SELECT flag_enabled_for('bucket 73', '123'), flag_enabled_for('bucket 25', '999');
SELECT flag_set('bucket 73', rollout => 73), flag_set('bucket 25', rollout => 25);
SELECT flag_enabled_for('bucket 73', '123'), flag_enabled_for('bucket 25', '999');
SELECT flag_set('bucket 73', rollout => 72.999), flag_set('gr1', true), flag_set('groupX', true);
SELECT flag_enabled_for('bucket 73', '123'), flag_explain('bucket 73', '{"userId": "123"}') #>> '{strategies,0,rollout,bucket}';
SELECT flag_variants_set('gr1', '[{"name": "below", "weight": 795}, {"name": "here", "weight": 1}, {"name": "above", "weight": 204}]');
SELECT flag_variants_set('groupX', '[{"name": "below", "weight": 259}, {"name": "here", "weight": 1}, {"name": "above", "weight": 740}]');
SELECT (flag_variant('gr1', '{"userId": "123"}')).variant, (flag_variant('groupX', '{"userId": "999"}')).variant;

\echo -- what cannot be told is the fallback
SELECT flag_enabled('none'), flag_enabled('none', '{}', true), flag_enabled('none', '{}', NULL), flag_enabled(NULL, '{}', true), flag_enabled('');
SELECT flag_set('on', true);
SELECT flag_enabled('on', context, false), flag_enabled('on', context, true), (flag_variant('on', context, '"x"')).* FROM (VALUES (NULL::jsonb), ('[]'), ('1'), ('"text"'), ('null')) AS t (context);
SELECT flag_enabled_for('on', NULL), flag_enabled_for('on', NULL, true), flag_enabled_for(NULL, NULL, true), flag_enabled_for('none', 'x', NULL);
SELECT flag_set('by company', true, 50, 'companyId');
SELECT flag_enabled('by company', context, true), (flag_variant('by company', context)).error_code
FROM (VALUES ('{}'::jsonb), ('{"companyId": null}'), ('{"companyId": ""}'), ('{"companyId": []}'), ('{"companyId": {}}'), ('{"companyId": "7"}'), ('{"properties": {"companyId": 7}}')) AS t (context);
SELECT flag_set('by company', rollout => 0);
SELECT flag_enabled('by company', '{}', true), (flag_variant('by company', '{}')).reason;
SELECT (flag_variant('none', fallback => '{"a": 1}')).*;

\echo -- attributes: texts, numbers, booleans, at the top or in properties
SELECT flag_set('attribute', true);
SELECT flag_strategy_add('attribute', constraints => '[{"contextName": "a", "operator": "IN", "values": ["42", "10.5", "true", "100000000000000000000000", "x", " y ", ""]}]') > 0;
SELECT left(context::text, 40), flag_enabled('attribute', context) FROM (VALUES ('{"a": "42"}'::jsonb), ('{"a": 42}'), ('{"a": 42.0}'), ('{"a": 10.50}'), ('{"a": 1e23}'), ('{"a": true}'), ('{"a": false}'),
    ('{"a": 1e1000}'), ('{"a": null, "properties": {"a": "x"}}'), ('{"a": "z", "properties": {"a": "x"}}'), ('{"properties": []}'), ('{"properties": "x"}'), ('{"a": ["x"]}'), ('{"a": "y"}'), ('{"a": " y "}'), ('{"a": ""}')) AS t (context);

\echo -- each operator, plain and inverted, and without the attribute
CREATE TEMPORARY TABLE operators (operator text, field text, value jsonb, yes text, no text);
INSERT INTO operators VALUES
    ('IN', 'values', '["pro", "team"]', 'team', 'Team'), ('NOT_IN', 'values', '["pro"]', 'free', 'pro'),
    ('STR_STARTS_WITH', 'values', '["ab", "x"]', 'abc', 'aBc'), ('STR_ENDS_WITH', 'values', '["bc"]', 'abc', 'bca'), ('STR_CONTAINS', 'values', '["b"]', 'abc', 'ac'),
    ('NUM_EQ', 'value', '"5"', '5.0', '5.1'), ('NUM_GT', 'value', '"5"', '5.1', '5'), ('NUM_GTE', 'value', '"5"', '5', '4.9'), ('NUM_LT', 'value', '"5"', '-7e1', '5'), ('NUM_LTE', 'value', '"5"', ' 5 ', '5.0001'),
    ('SEMVER_EQ', 'value', '"1.2.3"', '1.2.3+build', '1.2.3-rc'), ('SEMVER_GT', 'value', '"1.2.3-alpha.2"', '1.2.3-alpha.10', '1.2.3-alpha.1'), ('SEMVER_GTE', 'value', '"1.10.0"', '1.10.0', '1.9.9'),
    ('SEMVER_LT', 'value', '"2.0.0"', '2.0.0-rc.1', '2.0.0'), ('SEMVER_LTE', 'value', '"2.0.0"', '2.0.0', '2.0.1'),
    ('REGEX', 'value', '"^a+b?$"', 'aaab', 'aabb'), ('IN_CIDR', 'values', '["10.1.0.0/16", "2001:db8::/32", "192.0.2.1"]', '10.1.255.3', '10.2.0.1');
DO $$
DECLARE
    o operators;
BEGIN
    FOR o IN TABLE operators LOOP
        PERFORM flag_set(o.operator, true), flag_set(o.operator || ' inverted', true);
        PERFORM flag_strategy_add(o.operator, constraints => jsonb_build_array(jsonb_build_object('contextName', 'a', 'operator', o.operator, o.field, o.value)));
        PERFORM flag_strategy_add(o.operator || ' inverted', constraints => jsonb_build_array(jsonb_build_object('contextName', 'a', 'operator', o.operator, o.field, o.value, 'inverted', true)));
    END LOOP;
END
$$;
SELECT operator, flag_enabled(operator, jsonb_build_object('a', yes)) AS yes, flag_enabled(operator, jsonb_build_object('a', no)) AS no, flag_enabled(operator) AS missing, flag_enabled(operator, '{"a": "~"}') AS wrong,
    flag_enabled(operator || ' inverted', jsonb_build_object('a', yes)) AS inverted_yes, flag_enabled(operator || ' inverted') AS inverted_missing FROM operators;
SELECT flag_enabled('IN_CIDR', jsonb_build_object('a', a)) FROM unnest('{2001:db8:1::5,2001:db9::,192.0.2.1,192.0.2.1/32,192.0.2.2,10.1.0.0/8,::ffff:10.1.0.1,10.1.0.01}'::text[]) a;

\echo -- dates: the time of the context, or the clock
SELECT flag_set('after', true), flag_set('before', true);
SELECT flag_strategy_add('after', constraints => '[{"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2026-11-22T13:00:00+01:00"}]') > 0,
    flag_strategy_add('before', constraints => '[{"operator": "DATE_BEFORE", "value": "2026-11-22 12:00:00.000001"}]') > 0;
SELECT flag_enabled('after', context), flag_enabled('before', context) FROM (VALUES ('{}'::jsonb), ('{"currentTime": "2026-11-22T12:00:00.000001Z"}'), ('{"currentTime": "2026-11-23"}'), ('{"currentTime": "no date"}')) AS t (context);

\echo -- without regard to case, beyond ASCII
SELECT flag_set('case', true), flag_set('case of expression', true);
SELECT flag_strategy_add('case', constraints => '[{"contextName": "a", "operator": "STR_STARTS_WITH", "values": ["ÄÖ.", "x"], "caseInsensitive": true}]') > 0,
    flag_strategy_add('case of expression', constraints => '[{"contextName": "a", "operator": "REGEX", "value": "äö.$", "caseInsensitive": true}]') > 0;
SELECT a, flag_enabled('case', jsonb_build_object('a', a)), flag_enabled('case of expression', jsonb_build_object('a', a)) FROM unnest('{äö.,ÄÖ.ü,äöx,xÄöü,y}'::text[]) a;

\echo -- segments: all of them, and of constraints all
SELECT flag_segment_set('adults', '[{"contextName": "age", "operator": "NUM_GTE", "value": "18"}]'), flag_segment_set('germans', '[{"contextName": "country", "operator": "IN", "values": ["DE"]}]');
SELECT flag_set('segments', true), flag_strategy_add('segments', segments => '{adults,germans,adults}') > 0;
SELECT flag_enabled('segments', '{"age": 18, "country": "DE"}'), flag_enabled('segments', '{"age": 17, "country": "DE"}'), flag_enabled('segments', '{"age": 18, "country": "FR"}');
SELECT flag_segment_set('adults', '[{"contextName": "age", "operator": "NUM_GTE", "value": "16"}]');
SELECT flag_enabled('segments', '{"age": 17, "country": "DE"}');
SELECT * FROM flag_segments ORDER BY segment;

\echo -- variants
SELECT flag_set('color', true);
SELECT (flag_variant('color', '{"userId": "1"}', '"grey"')).*;
SELECT flag_variants_set('color', '[{"name": "blue", "weight": 1, "value": {"hex": "#00f"}, "overrides": [{"contextName": "plan", "values": ["pro", "team"]}]}, {"name": "red", "weight": 0, "payload": {"type": "string", "value": "#f00"}},
    {"name": "number", "weight": 1, "payload": {"type": "number", "value": "4.20"}}, {"name": "json", "weight": 1, "payload": {"type": "json", "value": "[1, null]"}}, {"name": "csv", "weight": 1, "payload": {"type": "csv", "value": "a,b"}}, {"name": "nothing", "weight": 1, "weightType": "variable"}]');
SELECT variant, value, count(*) BETWEEN 1850 AND 2150 AS is_share, min(reason), bool_and(enabled) FROM generate_series(1, 10000) n, LATERAL flag_variant('color', jsonb_build_object('userId', n::text)) GROUP BY 1, 2 ORDER BY 1;
SELECT (flag_variant('color', '{"userId": "1", "plan": "team"}')).*;
SELECT flag_set('color', enabled => false);
SELECT (flag_variant('color', '{"userId": "1", "plan": "team"}', '"grey"')).*;
SELECT flag_set('of strategies', true);
SELECT flag_strategy_add('of strategies', constraints => '[{"contextName": "plan", "operator": "IN", "values": ["pro"]}]', variants => '[{"name": "for pro", "weight": 1}]') > 0, flag_strategy_add('of strategies') > 0;
SELECT flag_variants_set('of strategies', '[{"name": "for others", "weight": 1}]');
SELECT (flag_variant('of strategies', '{"plan": "pro"}')).variant, (flag_variant('of strategies', '{"plan": "free"}')).variant;

SELECT flag_set('sticky', true), flag_strategy_add('sticky', 100, 'companyId', variants => '[{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]') > 0;
SELECT count(DISTINCT variant) FROM generate_series(1, 50) n, LATERAL flag_variant('sticky', jsonb_build_object('companyId', 'x', 'userId', n::text));
SELECT count(DISTINCT variant) FROM generate_series(1, 50) n, LATERAL flag_variant('sticky', jsonb_build_object('companyId', n, 'userId', 'x'));

\echo -- prerequisites
SELECT flag_set('a', true, 100), flag_set('b', true, prerequisites => '["a"]'), flag_set('c', true, prerequisites => '[{"feature": "b", "enabled": false}]'), flag_set('d', true, prerequisites => '["b", {"feature": "of strategies", "variants": ["for pro"]}]');
SELECT flag_enabled('b'), flag_enabled('c'), flag_enabled('d', '{"plan": "pro"}'), flag_enabled('d');
SELECT flag_set('a', rollout => 0);
SELECT flag_enabled('b'), flag_enabled('c'), flag_enabled('d', '{"plan": "pro"}'), (flag_variant('b')).reason;
SELECT pg_temp.refusal($$SELECT flag_set('a', prerequisites => '["d"]')$$);
SELECT pg_temp.refusal($$SELECT flag_set('a', prerequisites => '["a"]')$$);
SELECT pg_temp.refusal($$INSERT INTO pgcache.flag_prerequisites SELECT a.id, d.id FROM pgcache.flags a, pgcache.flags d WHERE a.name = 'a' AND d.name = 'd'$$);
SELECT pg_temp.refusal($$SELECT flag_delete('b')$$);
SELECT flag_set('c', prerequisites => '[]'), flag_set('d', prerequisites => '[]');
SELECT flag_delete('b'), flag_delete('b'), flag_delete(NULL);
SELECT flag_set('chain 0', true);
SELECT count(flag_set('chain ' || n, true, prerequisites => jsonb_build_array('chain ' || n - 1))) FROM generate_series(1, 500) n;
SELECT flag_enabled('chain 500'), flag_kill('chain 0');
SELECT flag_enabled('chain 500'), flag_enabled('chain 1');

\echo -- kill, schedule
SELECT flag_kill('on');
SELECT flag_enabled('on'), state FROM flags WHERE flag = 'on';
SELECT flag_unkill('on');
SELECT flag_enabled('on');
SELECT flag_schedule('on', '2026-11-22 12:00:01+00', '2026-11-22 12:00:02+00');
CREATE FUNCTION pg_temp.at(moment text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('pgcache.test_clock', moment, true);
    RETURN (SELECT state || ' ' || flag_enabled('on') FROM flags WHERE flag = 'on');
END
$$;
SELECT pg_temp.at('2026-11-22 12:00:00.999999+00'), pg_temp.at('2026-11-22 12:00:01+00'), pg_temp.at('2026-11-22 12:00:01.999999+00'), pg_temp.at('2026-11-22 12:00:02+00');
SELECT flag_schedule('on', NULL, NULL);
SELECT flag_enabled('on'), enabled, on_at, off_at FROM flags WHERE flag = 'on';
SELECT flag_schedule('on', NULL, 'infinity');
SELECT flag_enabled('on');
SELECT flag_schedule('on', NULL);
SELECT flag_enabled('on');

\echo -- environments
SET pgcache.environment = 'staging';
SELECT flag_enabled('on', fallback => true), (flag_variant('on')).error_code;
SELECT flag_set('on'), flag_set('only here', true);
SELECT flag_enabled('on', fallback => true), flag_enabled('only here');
RESET pgcache.environment;
SELECT flag_enabled('on'), flag_enabled('only here', fallback => true);
SELECT flag, environment, enabled FROM flags WHERE flag IN ('on', 'only here') ORDER BY 1, 2;
SELECT pg_temp.refusal($$INSERT INTO pgcache.flag_prerequisites SELECT a.id, d.id FROM pgcache.flags a, pgcache.flags d WHERE a.name = 'on' AND d.name = 'only here' AND a.environment = 'default'$$);
SET pgcache.environment = '';
SET pgcache.environment = 'an environment whose name has more than sixty-three bytes, which is the most';

\echo -- transactions: the own change at once, back with a rollback, and with a savepoint
BEGIN;
SELECT flag_set('on', enabled => false);
SELECT flag_enabled('on');
SAVEPOINT s;
SELECT flag_set('on', enabled => true), flag_set('in savepoint', true);
SELECT flag_enabled('on'), flag_enabled('in savepoint');
ROLLBACK TO s;
SELECT flag_enabled('on'), flag_enabled('in savepoint', fallback => NULL);
UPDATE pgcache.flags SET killed = true WHERE name = 'first';
SELECT flag_enabled('first'), state FROM flags WHERE flag = 'first';
ROLLBACK;
SELECT flag_enabled('on'), state FROM flags WHERE flag = 'first';
-- One statement sees one state, whatever it does itself.
SELECT flag_enabled('on') AS before, flag_kill('on'), flag_enabled('on') AS after;
SELECT flag_enabled('on'), flag_unkill('on');
CREATE FUNCTION pg_temp.switch() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    seen text := '';
BEGIN
    FOR i IN 1..3 LOOP
        PERFORM flag_set('on', enabled => i % 2 = 0);
        seen := seen || flag_enabled('on')::text || ' ';
    END LOOP;
    RETURN seen;
END
$$;
SELECT flag_enabled('on') AS outside, pg_temp.switch(), flag_enabled('on') AS outside FROM generate_series(1, 2);
SELECT flag_set('on', true);
TRUNCATE pgcache.flag_strategy_segments;
SELECT flag_enabled('segments', '{}');
DELETE FROM pgcache.flag_strategies USING pgcache.flags f WHERE f.id = flag AND f.name = 'by company';
SELECT flag_enabled('by company', '{}');

\echo -- rows that come in with triggers switched off
SELECT flag_set('after broken', true, prerequisites => '["first"]'), flag_set('after broken, off', true, prerequisites => '[{"feature": "first", "enabled": false}]');
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pgcache.flags SET variants = '[{"name": 1}]' WHERE name IN ('on', 'gr1');
UPDATE pgcache.flag_strategies SET constraints = '{}' FROM pgcache.flags f WHERE f.id = flag AND f.name = 'attribute';
INSERT INTO pgcache.flag_prerequisites SELECT id, id FROM pgcache.flags WHERE name = 'color';
INSERT INTO pgcache.flag_prerequisites SELECT id, -1 FROM pgcache.flags WHERE name = 'first';
SELECT flag_enabled('after broken'), flag_enabled('after broken, off');
SELECT flag, flag_enabled(flag, '{"a": "x"}', true), (flag_variant(flag)).error_code, flag_explain(flag) ->> 'problem' FROM unnest('{on,attribute,color,first}'::text[]) flag;
SET LOCAL session_replication_role = origin;
SELECT flag_kill('gr1'), flag_set('gr1', enabled => false), flag_unkill('gr1');
SELECT pg_temp.refusal($$SELECT flag_set('c', prerequisites => '["a"]')$$);
ROLLBACK;
SELECT flag_enabled('on');

-- A function in the statement that changes rows sees those that it has changed already, as the tables have them.
CREATE FUNCTION pg_temp.agrees(value boolean) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF (SELECT bool_or(NOT killed AND enabled) IS DISTINCT FROM flag_enabled('chain 1') FROM pgcache.flags WHERE name = 'chain 1') THEN
        RAISE EXCEPTION 'not what the row says';
    END IF;
    RETURN value;
END
$$;
BEGIN;
SELECT flag_set('chain 1', prerequisites => '[]');
UPDATE pgcache.flags SET enabled = pg_temp.agrees(NOT enabled) WHERE name LIKE 'chain %';
UPDATE pgcache.flags SET enabled = pg_temp.agrees(NOT enabled) WHERE name LIKE 'chain %';
DELETE FROM pgcache.flag_strategies WHERE pg_temp.agrees(true);
ROLLBACK;

-- Who asks between the two does not keep others from seeing it.
CREATE FUNCTION pg_temp.asks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.flag_enabled('chain 1'); RETURN NEW; END $$;
BEGIN;
CREATE TRIGGER later BEFORE UPDATE ON pgcache.flags FOR EACH ROW EXECUTE FUNCTION pg_temp.asks();
SELECT flag_set('chain 1', prerequisites => '[]');
SELECT flag_enabled('chain 1');
UPDATE pgcache.flags SET killed = true WHERE name = 'chain 1';
SELECT flag_enabled('chain 1');
ROLLBACK;

\echo -- what is refused, and stores nothing
CREATE TEMPORARY TABLE kept AS SELECT pg_catalog.md5(string_agg(f::text, E'\n' ORDER BY flag, environment)) AS flags FROM flags f;
SELECT pg_temp.refusal(statement) FROM (VALUES
    ($$SELECT flag_set(NULL)$$), ($$SELECT flag_set('')$$), ($$SELECT flag_set(repeat('ä', 65))$$),
    ($$SELECT flag_set('x', rollout => -0.001)$$), ($$SELECT flag_set('x', rollout => 100.001)$$), ($$SELECT flag_set('x', rollout => 33.3333)$$), ($$SELECT flag_set('x', rollout => 'NaN')$$), ($$SELECT flag_set('x', rollout => 'Infinity')$$),
    ($$SELECT flag_set('x', rollout => 1, stickiness => '')$$), ($$SELECT flag_set('x', rollout => 1, group_id => repeat('x', 129))$$), ($$SELECT flag_set('x', stickiness => 'userId')$$), ($$SELECT flag_set('of strategies', group_id => 'x')$$),
    ($$SELECT flag_set('x', prerequisites => '{}')$$), ($$SELECT flag_set('x', prerequisites => '[1]')$$), ($$SELECT flag_set('x', prerequisites => '["none"]')$$), ($$SELECT flag_set('x', prerequisites => '[{}]')$$),
    ($$SELECT flag_set('x', prerequisites => '[{"feature": "on", "enabled": 1}]')$$), ($$SELECT flag_set('x', prerequisites => '[{"feature": "on", "variants": [1]}]')$$), ($$SELECT flag_set('x', prerequisites => '[{"feature": "on", "enabled": false, "variants": ["a"]}]')$$),
    ($$SELECT flag_set('x', prerequisites => '[{"feature": "on", "extra": 1}]')$$), ($$SELECT flag_set('x', prerequisites => '["on", "on"]')$$),
    ($$SELECT flag_kill('none')$$), ($$SELECT flag_unkill('none')$$), ($$SELECT flag_kill(NULL)$$), ($$SELECT flag_schedule('none', now())$$), ($$SELECT flag_schedule('on', '2026-01-01', '2026-01-01')$$), ($$SELECT flag_schedule('on', 'infinity', 'infinity')$$),
    ($$SELECT flag_strategy_add('none')$$), ($$SELECT flag_strategy_add('on', rollout => 101)$$), ($$SELECT flag_strategy_add('on', segments => '{none}')$$), ($$SELECT flag_strategy_add('on', segments => '{NULL}')$$),
    ($$SELECT flag_strategy_add('on', segments => '{{none},{nobody}}')$$), ($$SELECT flag_strategy_add('on', variants => '{}')$$),
    ($$SELECT flag_segment_set('', '[]')$$), ($$SELECT flag_segment_set(NULL, '[]')$$), ($$SELECT flag_segment_set('s', NULL)$$), ($$SELECT flag_segment_set('s', '[{"contextName": "a", "operator": "NUM_EQ", "value": "x"}]')$$),
    ($$SELECT flag_variants_set('none', '[]')$$), ($$SELECT flag_variants_set('on', NULL)$$),
    ($$UPDATE pgcache.flags SET off_at = '2026-01-01', on_at = '2026-01-02' WHERE name = 'on'$$), ($$UPDATE pgcache.flag_strategies SET rollout = rollout + 1000$$), ($$UPDATE pgcache.flags SET name = '' WHERE name = 'on'$$),
    ($$UPDATE pgcache.flags SET environment = 'other' WHERE name = 'chain 7'$$), ($$INSERT INTO pgcache.flag_prerequisites SELECT a.id, b.id, false, '{x}' FROM pgcache.flags a, pgcache.flags b WHERE a.name = 'on' AND b.name = 'a'$$),
    ($$INSERT INTO pgcache.flag_prerequisites SELECT a.id, b.id, true, '{x,NULL}' FROM pgcache.flags a, pgcache.flags b WHERE a.name = 'on' AND b.name = 'a' AND b.environment = 'default' AND a.environment = 'default'$$),
    ($$SELECT flag_variants_set('on', jsonb_build_array(jsonb_build_object('name', 'deep', 'weight', 1, 'payload', jsonb_build_object('type', 'json', 'value', repeat('[', 65) || '"]\"]' || repeat(']', 65)))))$$),
    ($$SELECT pgcache.check_flag()$$), ($$SELECT pgcache.flags_changed()$$)) AS t (statement);
-- The functions of the triggers are for their tables only.
CREATE TEMPORARY TABLE not_flags (a bigint, b int, c int);
SELECT count(*) FROM unnest('{check_flag,check_flag_strategy,check_flag_segment,check_flag_prerequisites,flags_changed}'::text[]) f,
    LATERAL (SELECT pg_temp.refusal(format('CREATE TRIGGER %1$I BEFORE INSERT ON not_flags FOR EACH ROW EXECUTE FUNCTION pgcache.%1$I()', f))) made;
SELECT pg_temp.refusal($$INSERT INTO not_flags VALUES (1, 2, 3)$$);
DO $$ BEGIN EXECUTE 'DROP TRIGGER check_flag ON not_flags'; END $$;
SELECT pg_temp.refusal($$INSERT INTO not_flags VALUES (1, 2, 3)$$);
DROP TABLE not_flags;
SELECT constraints, pg_temp.refusal(format('SELECT flag_strategy_add(''on'', constraints => %L)', constraints)) FROM (VALUES
    ('{}'), ('1'), ('[1]'), ('[[]]'), ('[{}]'), ('[{"operator": "IN"}]'), ('[{"operator": "IN", "values": []}]'), ('[{"contextName": "", "operator": "IN", "values": []}]'), ('[{"contextName": 1, "operator": "IN", "values": []}]'),
    ('[{"contextName": "a", "operator": "in", "values": []}]'), ('[{"contextName": "a", "operator": 1}]'), ('[{"contextName": "a", "operator": "IN"}]'), ('[{"contextName": "a", "operator": "IN", "value": "x"}]'), ('[{"contextName": "a", "operator": "IN", "values": "x"}]'), ('[{"contextName": "a", "operator": "IN", "values": [1]}]'),
    ('[{"contextName": "a", "operator": "NUM_EQ", "values": ["1"]}]'), ('[{"contextName": "a", "operator": "NUM_EQ", "value": 1}]'), ('[{"contextName": "a", "operator": "NUM_GT", "value": "1,5"}]'), ('[{"contextName": "a", "operator": "NUM_GT", "value": "NaN"}]'), ('[{"contextName": "a", "operator": "NUM_GT", "value": "1e999"}]'),
    ('[{"contextName": "a", "operator": "SEMVER_EQ", "value": "v1.2.3"}]'), ('[{"contextName": "a", "operator": "SEMVER_EQ", "value": "1.2"}]'), ('[{"contextName": "a", "operator": "SEMVER_EQ", "value": "01.2.3"}]'),
    ('[{"operator": "DATE_AFTER", "value": "tomorrow"}]'), ('[{"operator": "DATE_AFTER", "value": "2026-02-29"}]'), ('[{"operator": "DATE_AFTER", "value": "2026-02-28T24:00"}]'), ('[{"operator": "DATE_AFTER", "value": "2026-02-28T12:00+1"}]'),
    ('[{"contextName": "a", "operator": "IN_CIDR", "values": ["10.0.0.0/33"]}]'), ('[{"contextName": "a", "operator": "IN_CIDR", "values": ["10.0.0"]}]'), ('[{"contextName": "a", "operator": "IN_CIDR", "values": ["::1/129"]}]'),
    ('[{"contextName": "a", "operator": "REGEX", "value": "a("}]'), ('[{"contextName": "a", "operator": "REGEX", "value": "(?=a)"}]'), ('[{"contextName": "a", "operator": "REGEX", "value": "(a{1000}){1000}"}]'),
    ('[{"contextName": "a", "operator": "IN", "values": [], "inverted": "yes"}]'), ('[{"contextName": "a", "operator": "IN", "values": [], "caseInsensitive": 1}]'), ('[{"contextName": "a", "operator": "IN", "values": [], "extra": 1}]')) AS t (constraints);
SELECT left(variants, 80), pg_temp.refusal(format('SELECT flag_variants_set(''on'', %L)', variants)) FROM (VALUES
    ('{}'), ('[1]'), ('[{}]'), ('[{"name": "a"}]'), ('[{"name": "", "weight": 1}]'), ('[{"name": 1, "weight": 1}]'), ('[{"name": "a", "weight": "1"}]'), ('[{"name": "a", "weight": -1}]'), ('[{"name": "a", "weight": 0.5}]'), ('[{"name": "a", "weight": 0}]'), ('[{"name": "a", "weight": 1000001}]'), ('[{"name": "a", "weight": 1e131071}]'),
    ('[{"name": "a", "weight": 1000000}, {"name": "b", "weight": 1}]'), ('[{"name": "a", "weight": 1}, {"name": "a", "weight": 1}]'), ('[{"name": "a", "weight": 1, "stickiness": 1}]'), ('[{"name": "a", "weight": 1, "value": 1, "payload": {"type": "string", "value": ""}}]'),
    ('[{"name": "a", "weight": 1, "payload": 1}]'), ('[{"name": "a", "weight": 1, "payload": {"type": "text", "value": ""}}]'), ('[{"name": "a", "weight": 1, "payload": {"type": "number", "value": "x"}}]'), ('[{"name": "a", "weight": 1, "payload": {"type": "number", "value": "[1]"}}]'), ('[{"name": "a", "weight": 1, "payload": {"type": "json", "value": "{"}}]'),
    ('[{"name": "a", "weight": 1, "overrides": {}}]'), ('[{"name": "a", "weight": 1, "overrides": [{"values": []}]}]'), ('[{"name": "a", "weight": 1, "overrides": [{"contextName": "a", "values": [1]}]}]'), ('[{"name": "a", "weight": 1, "extra": 1}]')) AS t (variants);
SELECT md5(string_agg(f::text, E'\n' ORDER BY flag, environment)) = (SELECT flags FROM kept) AS nothing_stored FROM flags f;
SELECT pg_temp.refusal($$SELECT flag_segment_delete('adults')$$);
SELECT flag_strategy_add('segments', segments => '{germans}') > 0;
SELECT pg_temp.refusal($$SELECT flag_segment_delete('germans')$$);
SELECT flag_strategy_remove(0), flag_strategy_remove(NULL), flag_segment_delete('none'), flag_segment_delete(NULL);
SELECT count(*) FILTER (WHERE flag_strategy_remove((s ->> 'id')::bigint)) FROM flags, jsonb_array_elements(strategies) s WHERE flag = 'segments';
SELECT flag_segment_delete('germans');

\echo -- explained: the verdict is that of flag_enabled, and each part passes or not as the whole says
SELECT flag_set('explained', true, 50, prerequisites => '["on", {"feature": "first", "enabled": false}]', stickiness => 'default'), flag_schedule('explained', '2026-11-01', NULL);
SELECT flag_set('first', rollout => 0, stickiness => 'default');
SELECT flag_segment_set('two', '[{"contextName": "n", "operator": "NUM_LT", "value": "50"}, {"operator": "DATE_BEFORE", "value": "2026-12-01"}]');
SELECT flag_strategy_add('explained', 30.5, 'sessionId', 'g', '[{"contextName": "plan", "operator": "STR_CONTAINS", "values": ["RO"], "caseInsensitive": true, "inverted": true}, {"contextName": "n", "operator": "NUM_GT", "value": "20"}]', '{two}', '[{"name": "v", "weight": 1, "value": 7}]') > 0;
SELECT jsonb_pretty(flag_explain('explained', '{"userId": "42", "sessionId": "s", "plan": "pro", "n": 30}') #- '{strategies,0,id}' #- '{strategies,1,id}');
SELECT count(*), count(*) FILTER (WHERE (e -> 'enabled')::boolean) BETWEEN 500 AND 700 AS some,
    bool_and((e -> 'enabled')::boolean = flag_enabled('explained', context)) AS same_verdict,
    bool_and((e -> 'enabled')::boolean = (jsonb_path_exists(e, '$.strategies[*] ? (@.passed == true)') AND NOT jsonb_path_exists(e, '$.prerequisites[*] ? (@.passed == false)'))) AS by_strategies,
    bool_and((SELECT bool_and((s -> 'passed')::boolean = (NOT jsonb_path_exists(s, '$.constraints[*] ? (@.passed == false)') AND NOT jsonb_path_exists(s, '$.segments[*] ? (@.passed == false)') AND (s #> '{rollout,passed}')::boolean))
        FROM jsonb_array_elements(e -> 'strategies') s)) AS by_parts,
    bool_and(e ->> 'reason' = (flag_variant('explained', context)).reason) AS same_reason, bool_and(e ->> 'variant' IS NOT DISTINCT FROM (flag_variant('explained', context)).variant) AS same_variant
FROM (SELECT context, flag_explain('explained', context) AS e FROM generate_series(1, 1000) n, LATERAL jsonb_strip_nulls(jsonb_build_object('userId', n::text, 'sessionId', (n * 7)::text, 'plan', CASE n % 3 WHEN 0 THEN 'Pro' WHEN 1 THEN 'free' END, 'n', n % 60)) context) t;
SELECT length(flag_explain('segments', jsonb_build_object('userId', repeat('ä', 10000000)))::text) < 10000 AS is_cut FROM flag_set('segments', rollout => 1);
SELECT flag_explain('none'), flag_explain('on', NULL), flag_explain(NULL, '{}'), flag_explain('on', '[]');

\echo -- who is in stays in when a rollout grows
SELECT flag_set('growing', true, 0);
CREATE TEMPORARY TABLE reached (percent numeric, users int[]);
DO $$
DECLARE
    percent numeric;
BEGIN
    FOREACH percent IN ARRAY '{0,0.001,0.5,1,1.001,10,25,33.333,50,75,99.999,100}'::numeric[] LOOP
        PERFORM flag_set('growing', rollout => percent);
        INSERT INTO reached SELECT percent, coalesce(array_agg(n ORDER BY n), '{}') FROM generate_series(1, 20000) n WHERE flag_enabled_for('growing', n::text);
    END LOOP;
END
$$;
SELECT bool_and(users @> before) AS grows, bool_and(abs(cardinality(users) - 200 * percent) < 5 * sqrt(200 * percent * (1 - percent / 100)) + 1) AS as_many, max(cardinality(users)) FROM (SELECT percent, users, lag(users, 1, '{}') OVER (ORDER BY percent) AS before FROM reached) t;

\echo -- counts
SELECT flag_stats_reset();
SELECT flag_set('counted', true, 50), flag_variants_set('counted', '[{"name": "v", "weight": 1}]');
BEGIN;
SELECT count(*) FROM generate_series(1, 10) n WHERE flag_enabled('counted', jsonb_build_object('userId', n::text));
SELECT count((flag_variant('counted', jsonb_build_object('userId', n::text))).variant) FROM generate_series(1, 10) n;
SELECT flag_enabled('counted', NULL), flag_enabled('no flag'), flag_enabled(NULL);
ROLLBACK;
SELECT enabled, disabled, fallback, variants, last_evaluated, since FROM flag_stats WHERE flag = 'counted' OR flag IS NULL ORDER BY flag;
SELECT enabled, disabled, fallback, variants, last_evaluated FROM flag_stats WHERE flag = 'never evaluated' OR flag = 'first';
SELECT flag_stats_reset();
SELECT DISTINCT enabled, disabled, fallback, variants, last_evaluated FROM flag_stats;

\echo -- a transaction with a snapshot of its own reads the tables once, and once more after its own change
PREPARE reads AS SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_xact_all_tables WHERE relid = 'pgcache.flags'::regclass;
CREATE TEMPORARY TABLE notes (n int);
BEGIN ISOLATION LEVEL SERIALIZABLE;
DO $$ BEGIN FOR i IN 1..10 LOOP INSERT INTO notes VALUES (i); PERFORM flag_enabled('on'); END LOOP; END $$;
EXECUTE reads;
SELECT flag_set('on', enabled => true);
DO $$ BEGIN FOR i IN 1..10 LOOP INSERT INTO notes VALUES (i); PERFORM flag_enabled('on'); END LOOP; END $$;
EXECUTE reads;
COMMIT;

\echo -- all flags
SELECT flag, enabled, variant, value, reason FROM flag_evaluate_all('{"userId": "1", "plan": "pro"}') WHERE flag NOT LIKE 'chain %' AND flag NOT IN (SELECT operator FROM operators) AND flag NOT LIKE '% inverted';
SELECT bool_and(enabled = flag_enabled(flag, '{"userId": "9"}')) AND count(*) = (SELECT count(*) FROM flags WHERE environment = 'default') AS same FROM flag_evaluate_all('{"userId": "9"}');
SELECT DISTINCT enabled, reason FROM flag_evaluate_all(NULL);

\echo -- a warning a minute at most
SET client_min_messages = warning;
SET pgcache.test_clock = '2031-01-01 00:00+00';
SELECT flag_enabled('missing');
SELECT flag_enabled('missing');
SET pgcache.test_clock = '2031-01-01 00:01+00';
SELECT flag_enabled('on', '[]', true);
SET pgcache.test_clock = '2031-01-01 00:02+00';
SELECT flag_set('by company', rollout => 50, stickiness => 'companyId');
SET pgcache.test_clock = '2031-01-01 00:03+00';
SELECT flag_enabled('by company', '{}', true);

SET client_min_messages = error;
SELECT count(flag_set(flag, prerequisites => '[]')) > 0 FROM flags WHERE environment = 'default';
SELECT count(*) FILTER (WHERE flag_delete(flag)) = count(*) AS all_deleted FROM flags WHERE environment = 'default';
SET pgcache.environment = 'staging';
SELECT count(*) FILTER (WHERE flag_delete(flag)) = count(*) AS all_deleted FROM flags;
SELECT count(*) FILTER (WHERE flag_segment_delete(segment)) = count(*) AS all_deleted FROM flag_segments;

-- Flags to ask and to read, and users to ask for. psql variables: first, keys, items.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

SELECT flag_set('rollout', enabled => true, rollout => 50);

CREATE UNLOGGED TABLE flag_users AS
    SELECT n::text AS id, jsonb_build_object('userId', n::text, 'plan', CASE n % 3 WHEN 0 THEN 'pro' ELSE 'free' END, 'country', 'DE') AS context
    FROM generate_series(1, :items) AS n;
VACUUM ANALYZE flag_users;

-- A thousand flags of one strategy with ten constraints each, every operator in turn, in an environment of their own.
SET pgcache.environment = 'many';
CREATE TEMPORARY TABLE operators (number serial, operator text, field text, value jsonb);
INSERT INTO operators (operator, field, value) VALUES
    ('IN', 'values', '["pro", "team", "enterprise"]'), ('NOT_IN', 'values', '["free"]'), ('STR_STARTS_WITH', 'values', '["admin"]'), ('STR_ENDS_WITH', 'values', '["@example.com"]'),
    ('STR_CONTAINS', 'values', '["beta"]'), ('NUM_EQ', 'value', '"5"'), ('NUM_GT', 'value', '"5"'), ('NUM_GTE', 'value', '"5"'), ('NUM_LT', 'value', '"5"'), ('NUM_LTE', 'value', '"5"'),
    ('DATE_AFTER', 'value', '"2026-11-22T18:00:00Z"'), ('DATE_BEFORE', 'value', '"2026-11-22T18:00:00Z"'), ('SEMVER_EQ', 'value', '"1.2.3"'), ('SEMVER_GT', 'value', '"1.2.3"'),
    ('SEMVER_GTE', 'value', '"1.2.3"'), ('SEMVER_LT', 'value', '"1.2.3"'), ('SEMVER_LTE', 'value', '"1.2.3"'), ('REGEX', 'value', '"^user-[0-9]+$"'), ('IN_CIDR', 'values', '["10.0.0.0/8", "192.168.0.0/16"]');
SELECT count(flag_set('flag ' || f, true)), count(flag_strategy_add('flag ' || f, constraints => (
    SELECT jsonb_agg(jsonb_build_object('contextName', 'attribute' || c, 'operator', o.operator, o.field, o.value, 'inverted', true))
    FROM generate_series(1, 10) c JOIN operators o ON o.number = (f * 10 + c) % 19 + 1)))
FROM generate_series(1, 1000) f;
VACUUM ANALYZE pgcache.flags, pgcache.flag_strategies;

# Feature flags and people who want more than their due, or mean harm: without a grant, with an application's, with every function of
# the schema; with names that get in the way, contexts that are hard to carry, rules that are hard to evaluate; and what of a context
# stands in the log.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('hostile', conf => "pgcache.memory = 4MB\npgcache.test_clock = '2030-01-01 12:00:00+00'");
$server->start;
my $superuser = $server->safe_psql('postgres', 'SELECT current_user');
$server->safe_psql('postgres', q{
	CREATE EXTENSION pgcache;
	CREATE ROLE nobody LOGIN; CREATE ROLE app LOGIN; CREATE ROLE admin LOGIN; CREATE ROLE careless LOGIN; CREATE ROLE writer LOGIN;
	SELECT pgcache.grant_to('app'); SELECT pgcache.grant_to('admin', 'admin');
	GRANT USAGE ON SCHEMA pgcache TO careless, writer;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgcache TO careless;
	GRANT SELECT, INSERT, UPDATE, DELETE ON pgcache.flags, pgcache.flag_strategies, pgcache.flag_segments, pgcache.flag_strategy_segments, pgcache.flag_prerequisites TO writer;
	GRANT USAGE ON pgcache.flag_id, pgcache.flag_strategy_id TO writer;
	GRANT EXECUTE ON FUNCTION pgcache.environment() TO writer;
	CREATE SCHEMA traps AUTHORIZATION admin});
my $home = $server->safe_psql('postgres', q{SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pgcache'});

sub ask {
	my ($sql, $role) = @_;
	return $server->safe_psql('postgres', $sql, extra_params => [ '-U', $role // $superuser ]);
}

# SQLSTATE, message, detail and hint of the first error; or the result.
sub outcome {
	my ($role, $sql) = @_;
	my ($status, $output, $error) = $server->psql('postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ], on_error_stop => 1);
	return $error =~ /ERROR: / ? $error : $status == 0 ? $output : "ERROR:  crash $error";
}

sub state_of { return outcome(@_) =~ /ERROR:  (\w+)/ ? $1 : 'none'; }

sub json { return q{'} . $_[0] . q{'::jsonb}; }

note 'who may call what';

my $id = q{(SELECT 1::bigint)};
my @of_app = (
	q{SELECT flag_enabled('f')}, q{SELECT flag_enabled_for('f', '1')}, q{SELECT * FROM flag_variant('f')}, q{SELECT * FROM flag_evaluate_all()}, q{SELECT pgcache.environment()});
my @of_admin = (
	q{SELECT flag_set('f')}, q{SELECT flag_explain('f')}, q{SELECT flag_strategy_add('f')}, qq{SELECT flag_strategy_remove($id)}, q{SELECT flag_variants_set('f', '[]')}, q{SELECT flag_kill('f')}, q{SELECT flag_unkill('f')},
	q{SELECT flag_schedule('f', NULL)}, q{SELECT flag_segment_set('s', '[]')}, q{SELECT flag_segment_delete('s')}, q{SELECT * FROM flags}, q{SELECT * FROM flag_segments}, q{SELECT * FROM flag_stats}, q{SELECT flag_stats_reset()},
	q{SELECT * FROM pgcache.flag_counts()}, q{SELECT flag_delete('f')});
my @of_owner = (
	q{SELECT pgcache.flag_to_change('f')}, q{SELECT pgcache.set_flag_prerequisites(1, '[]')}, q{SELECT pgcache.check_flag()},
	map { ("SELECT * FROM pgcache.$_", "DELETE FROM pgcache.$_", "TRUNCATE pgcache.$_", "BEGIN; LOCK TABLE pgcache.$_ IN ACCESS SHARE MODE", "CREATE TRIGGER t BEFORE INSERT ON pgcache.$_ FOR EACH ROW EXECUTE FUNCTION pgcache.flags_changed()") }
	  qw(flags flag_strategies flag_segments flag_strategy_segments flag_prerequisites));
ask(q{SELECT flag_set('f')});
is(ask(q{SELECT count(*) FROM pgcache.privilege WHERE object ~ '^(flag_|pgcache\.(flag|environment)).*\('}), @of_app + @of_admin - 3, 'these are all functions');
is(join(', ', grep { state_of('nobody', $_) ne '42501' } @of_app, @of_admin, @of_owner), '', 'without a grant: none');
is(join(', ', grep { state_of('app', $_) ne 'none' } @of_app), '', 'an application: what it needs');
is(join(', ', grep { state_of('app', $_) ne '42501' } @of_admin, @of_owner), '', 'an application: nothing that shows or changes rules');
is(join(', ', grep { state_of('admin', $_) ne 'none' } @of_app, @of_admin), '', 'an administrator: all');
is(join(', ', grep { state_of('admin', $_) ne '42501' } @of_owner), '', 'but not the tables, nor what is for the extension only');
for my $role (qw(nobody app admin writer)) {
	is(join(', ', grep { state_of($role, $_) ne '42501' } q{SET pgcache.test_clock = '2040-01-01'}, q{SELECT set_config('pgcache.test_clock', '2040-01-01', false)}, q{SET session_replication_role = replica}, q{ALTER TABLE pgcache.flags DISABLE TRIGGER ALL},
			q{ALTER FUNCTION pgcache.environment() COST 1}), '', "$role cannot set the clock, nor switch the checks off");
}
is(join(' ', map { state_of('app', "SET pgcache.environment = '$_'") } '', 'x' x 63, 'x' x 64), '22023 none 22023', 'an environment has a name');
{
	local $ENV{PGOPTIONS} = "-c pgcache.environment=bad\xff";
	my ($status, $output, $error) = $server->psql('postgres', 'SELECT pgcache.environment()', extra_params => [ '-U', 'app' ]);
	like($error, qr/invalid value for parameter "pgcache\.environment"/, 'of characters, though PostgreSQL looks at no options');
}

note "what the checks do on others' tables";

for my $check (qw(check_flag check_flag_strategy check_flag_segment check_flag_prerequisites)) {
	my $of = $check =~ /prerequisites/ ? 'AFTER INSERT ON mine FOR EACH STATEMENT' : 'BEFORE INSERT ON mine FOR EACH ROW';
	is(outcome('nobody', "CREATE TEMP TABLE mine (a int); CREATE TRIGGER t $of EXECUTE FUNCTION pgcache.$check()") =~ /42501/, 1, "$check is not for everybody");
	like(outcome('careless', "CREATE TEMP TABLE mine (a bigint, b int, c int); CREATE TRIGGER t $of EXECUTE FUNCTION pgcache.$check(); INSERT INTO mine VALUES (1, 2, 3)"), qr/39P01/, 'nor for tables of others');
	like(outcome($superuser, "SELECT pgcache.$check()"), qr/ERROR:  (?:39P01|0A000)/, 'nor to be called');
}
unlike(slurp_file($server->logfile), qr/PANIC|was terminated by signal/, 'nothing crashed');

note 'who may write rows is bound by the same rules';

ask(q{SELECT flag_set('f')});
my $rows = q{INSERT INTO pgcache.flags (name, variants) VALUES ('w', %s)};
is(join(' ', map { state_of('writer', sprintf $rows, $_) } "'5'", "'[5]'", "'[{}]'", q{'[{"name": "a", "weight": 1000001}]'}, q{'[{"name": "a", "weight": -1}]'}, q{'[{"name": "a", "weight": 1e131071}]'}, q{'[{"name": "a", "weight": 0.5}]'},
		q{'[{"name": "a", "weight": 1}, {"name": "a", "weight": 1}]'}, q{'[{"name": "a", "weight": 0}]'}, 'NULL'), join(' ', ('22023') x 9, '22004'), 'variants');
is(join(' ', map { state_of('writer', "INSERT INTO pgcache.flags (environment, name) VALUES ($_)") } q{'', 'a'}, q{'a', ''}, q{'a', repeat('x', 129)}, q{NULL, 'a'}, q{repeat('x', 1000000), 'a'}), '22023 22023 22023 22004 22023', 'names');
is(join(' ', map { state_of('writer', "INSERT INTO pgcache.flag_strategies (flag, rollout) SELECT id, $_ FROM pgcache.flags LIMIT 1") } q{-1}, q{100.001}, q{'NaN'}, q{'Infinity'}, q{'-Infinity'}, q{0.0001}, q{1e131071}, q{1e-16000}, 'NULL'),
	join(' ', ('22023') x 8, '22004'), 'rollouts');
ask(q{SELECT flag_set('child', true), flag_set('parent', true), flag_set('other', true); SELECT flag_set('child', prerequisites => '["parent"]'); SET pgcache.environment = 'elsewhere'; SELECT flag_set('parent', true)});
my $prerequisite = q{INSERT INTO pgcache.flag_prerequisites SELECT a.id, b.id FROM pgcache.flags a, pgcache.flags b WHERE a.environment = 'default' AND };
is(join(' ', map { state_of('writer', $_) } $prerequisite . q{a.name = 'parent' AND b.name = 'child'}, $prerequisite . q{a.name = 'other' AND b.environment = 'elsewhere'}, $prerequisite . q{a.name = 'other' AND b.name = 'other'},
		q{UPDATE pgcache.flag_prerequisites SET prerequisite = flag}, q{UPDATE pgcache.flags SET environment = 'far' WHERE name = 'parent' AND environment = 'default'}), join(' ', ('22023') x 5), 'prerequisites');
is(join(' ', map { state_of('writer', $_) =~ s/23514/22023/r } q{UPDATE pgcache.flag_prerequisites SET variants = '{a,NULL}'}, q{UPDATE pgcache.flag_prerequisites SET variants = '{{a},{b}}'}, q{UPDATE pgcache.flag_prerequisites SET enabled = false, variants = '{a}'}), '22023 22023 22023', 'and what is asked of them');
is(ask(q{SELECT flag_enabled('child'), error_code FROM flag_variant('child')}, 'app'), 't|', 'and nothing of that is stored');

note 'names that get in the way';

ask(q{
	SET search_path = traps;
	CREATE TABLE flags AS SELECT 1; CREATE TABLE flag_strategies AS SELECT 1;
	CREATE FUNCTION trap() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$;
	CREATE FUNCTION environment() RETURNS text LANGUAGE sql AS 'SELECT traps.trap()'; CREATE FUNCTION now() RETURNS timestamptz LANGUAGE sql AS 'SELECT traps.trap()::timestamptz';
	CREATE FUNCTION jsonb_typeof(jsonb) RETURNS text LANGUAGE sql AS 'SELECT traps.trap()'; CREATE FUNCTION num_nonnulls(numeric, text, text) RETURNS int LANGUAGE sql AS 'SELECT traps.trap()::int';
	CREATE FUNCTION jsonb_agg(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT traps.trap()::jsonb'; CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT traps.trap()::timestamptz';
	CREATE FUNCTION eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$; CREATE FUNCTION eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$;
	CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = eq); CREATE OPERATOR = (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = eq); CREATE OPERATOR <> (LEFTARG = text, RIGHTARG = text, FUNCTION = eq);
	CREATE FUNCTION left(text, int) RETURNS text LANGUAGE sql AS 'SELECT traps.trap()';
	CREATE DOMAIN jsonb AS text; CREATE DOMAIN text AS bytea; CREATE DOMAIN bigint AS bytea}, 'admin');
my $all = qq{SELECT $home.flag_set('trapped', true, 50, prerequisites => '["parent"]'); SELECT $home.flag_segment_set('traps', '[]'); SELECT $home.flag_strategy_add('trapped', segments => '{traps}') IS NULL;
	SELECT $home.flag_strategy_remove(0); SELECT $home.flag_schedule('trapped', '2029-01-01', '2031-01-01'); SELECT $home.flag_schedule('trapped', NULL); SELECT $home.flag_kill('trapped'); SELECT $home.flag_unkill('trapped');
	SELECT state, strategies -> 1 -> 'segments', prerequisites -> 0 -> 'feature' FROM $home.flags WHERE flag OPERATOR(pg_catalog.=) 'trapped'; SELECT used_by FROM $home.flag_segments WHERE segment OPERATOR(pg_catalog.=) 'traps';
	SELECT $home.flag_enabled('trapped'), variant IS NULL FROM $home.flag_variant('trapped'); SELECT flag FROM $home.flag_stats WHERE flag OPERATOR(pg_catalog.=) 'trapped'; SELECT $home.flag_delete('trapped'); SELECT $home.flag_segment_delete('traps')};
my $answer = qr/^f\n{3,}enabled\|\["traps"\]\|"parent"\n\{trapped\}\nt\|t\ntrapped\nt\nt$/;
for my $path ('traps, pg_catalog, public', 'pg_catalog, public', 'pg_temp, traps', "''") {
	my $seen = ask("SET search_path = $path; " . $all, 'admin');
	like($seen =~ s/^\n+//r =~ s/f\n+f/f/r, $answer, "search_path $path changes nothing");
}
my $result = ask(qq{CREATE TEMP TABLE flags (id int, name text); CREATE TEMP TABLE flag_strategies (flag int); CREATE FUNCTION pg_temp.jsonb_typeof(jsonb) RETURNS text LANGUAGE sql AS 'SELECT (1/0)::text'; SET search_path = pg_temp, public;
	$all}, 'admin');
like($result =~ s/^\n+//r =~ s/f\n+f/f/r, $answer, 'nor do temporary objects');
ask(q{SET pgcache.environment = 'policies'; SELECT flag_set('hidden', true); ALTER TABLE pgcache.flags ENABLE ROW LEVEL SECURITY});
is(ask(q{SET pgcache.environment = 'policies'; SELECT flag_enabled('hidden')}, 'app'), 't', 'policies on the tables are for who reads the tables');
ask(q{ALTER TABLE pgcache.flags DISABLE ROW LEVEL SECURITY; SET pgcache.environment = 'policies'; SELECT flag_delete('hidden')});

note 'contexts';

ask(q{SELECT flag_set('rules', true); SELECT flag_variants_set('rules', '[{"name": "v", "weight": 1}]');
	SELECT flag_strategy_add('rules', 50, constraints => jsonb_build_array(jsonb_build_object('contextName', 'a', 'operator', o, 'value', v), '{"contextName": "gate", "operator": "IN", "values": ["open"]}'::jsonb))
	FROM (VALUES ('NUM_GT', '5'), ('SEMVER_GT', '1.2.3'), ('REGEX', '(a|b)*c$'), ('DATE_AFTER', '2029-01-01')) r(o, v);
	SELECT flag_strategy_add('rules', 50, constraints => jsonb_build_array(jsonb_build_object('contextName', 'a', 'operator', o, 'values', '["1.2.3.4", "::1"]'::jsonb, 'inverted', i, 'caseInsensitive', i), '{"contextName": "gate", "operator": "IN", "values": ["open"]}'::jsonb))
	FROM unnest('{IN,NOT_IN,STR_STARTS_WITH,STR_ENDS_WITH,STR_CONTAINS,IN_CIDR}'::text[]) o, unnest('{f,t}'::boolean[]) i});
my @contexts = (
	q{'{}'}, q{'null'}, q{'[]'}, q{'[{}]'}, q{'"x"'}, q{'5'}, q{NULL}, q{'{"a": null, "userId": [1], "properties": {"a": {"b": 1}}}'}, q{'{"properties": 5, "a": {}}'}, q{'{"": "", " ": " "}'}, q{'{"currentTime": "never", "userId": ""}'},
	q{jsonb_build_object('a', repeat('x', 2000000), 'userId', repeat('y', 2000000))}, q{jsonb_build_object('a', repeat('9', 100000)::numeric)}, q{jsonb_build_object('a', 1e131071, 'userId', 1e-16000)}, q{jsonb_build_object('a', 'NaN'::numeric, 'userId', 'Infinity'::float8)},
	q{jsonb_build_object('a', '1.2.' || repeat('3', 1000000))}, q{jsonb_build_object('a', repeat('1.', 1000000))}, q{jsonb_build_object('a', repeat(':', 1000000))}, q{jsonb_build_object('a', repeat(chr(1), 64), 'userId', E'"\\\\\n')},
	q{(SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 100000) i)}, q{(repeat('{"a":', 3000) || '1' || repeat('}', 3000))::jsonb}, q{jsonb_build_object('a', (repeat('[', 3000) || repeat(']', 3000))::jsonb)},
	q{jsonb_build_object('a', U&'\FFFD\+01f600', 'userId', U&'\+10FFFF')}, q{jsonb_build_object(repeat('k', 100000), 1)});
# Stored, some of them compressed and out of line.
ask('CREATE TABLE contexts (context jsonb); GRANT SELECT ON contexts TO app, admin; ' . join '', map { "INSERT INTO contexts VALUES ($_);" } @contexts);
is(ask(q{SELECT count(*), count(flag_enabled('rules', context, NULL)) + count(*) FILTER (WHERE v.error_code <> '') = count(*), bool_and(v.error_code <> '' OR flag_enabled('rules', context) = flag_enabled('rules', context)) FROM contexts, flag_variant('rules', context, context) v}, 'app'),
	@contexts . '|t|t', 'are answered for, whatever they are');
is(ask(q{SELECT count(*) FILTER (WHERE enabled), count(*) FILTER (WHERE error_code = 'INVALID_CONTEXT'), count(*) FILTER (WHERE error_code <> 'INVALID_CONTEXT') FROM contexts, flag_variant('rules', context)}, 'app'), '0|6|0', 'as they should be');
is(ask(q{SELECT count(*) FROM contexts WHERE (SELECT count(*) FROM flag_evaluate_all(context)) = (SELECT count(*) FROM pgcache.flags WHERE environment = 'default')}), scalar(@contexts), 'also for all flags at once');
is(ask(q{SELECT count(*) FROM contexts, flag_explain('rules', context) e, flag_variant('rules', context) v
	WHERE e ->> 'enabled' = v.enabled::text AND e ->> 'reason' = v.reason AND e ->> 'errorCode' IS NOT DISTINCT FROM v.error_code}, 'admin'), scalar(@contexts), 'and explained');
is(ask(q{SELECT flag_enabled(repeat('x', 5000000)), (flag_variant(repeat('x', 5000000))).error_code, flag_enabled_for('f', repeat('x', 5000000)), flag_enabled(''), flag_enabled(NULL, NULL, NULL), flag_enabled_for(NULL, NULL, true), (flag_variant(NULL, NULL, NULL)).error_code}, 'app'),
	'f|FLAG_NOT_FOUND|f|f||t|FLAG_NOT_FOUND', 'so are names and ids');
like(outcome('app', q{SET statement_timeout = '200ms'; SELECT count(flag_enabled('rules', context)) FROM contexts, generate_series(1, 1000000)}), qr/57014/, 'an evaluation can be cancelled');

ask(q{CREATE DATABASE kanji ENCODING 'EUC_JP' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'});
is($server->safe_psql('kanji', q{SET client_encoding = UTF8; CREATE EXTENSION pgcache; SELECT flag_set(U&'\65E5', true, 100, 'userId'); SELECT flag_strategy_add(U&'\65E5', constraints => U&'[{"contextName": "userId", "operator": "REGEX", "value": "^\6F22+$"}]') IS NULL;
		SELECT flag_enabled(U&'\65E5', jsonb_build_object('userId', repeat(U&'\6F22', 5000))), substr(flag_explain(U&'\65E5', jsonb_build_object('userId', repeat(U&'\6F22', 5000))) #>> '{strategies,0,rollout,value}', 1, 2) = U&'\6F22\6F22'}), "\nf\nt|t", 'in another encoding');
like(($server->psql('kanji', q{SET client_encoding = UTF8; SELECT flag_set(repeat(U&'\65E5', 200))}, extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2], qr/ERROR:  22023: the name of a flag is 400 bytes long/, 'messages too');

note 'all answers agree';

ask(<<'SQL');
SELECT setseed(0.7);
SET pgcache.environment = 'random';
DO $$
DECLARE
	operators text[] := '{IN,NOT_IN,STR_STARTS_WITH,STR_ENDS_WITH,STR_CONTAINS,NUM_EQ,NUM_GT,NUM_GTE,NUM_LT,NUM_LTE,DATE_AFTER,DATE_BEFORE,SEMVER_EQ,SEMVER_GT,SEMVER_LTE,REGEX,IN_CIDR}';
	texts jsonb := '["", "a", "A", "ab", "10", "1.2.3", "10.0.0.1", "é"]';
	op text;
BEGIN
	FOR f IN 1 .. 60 LOOP
		PERFORM flag_set('flag ' || f, random() < 0.9, prerequisites => CASE WHEN f > 5 AND random() < 0.4 THEN jsonb_build_array(jsonb_build_object('feature', 'flag ' || 1 + floor(random() * (f - 1)), 'enabled', random() < 0.7)) END);
		FOR s IN 1 .. floor(random() * 4) LOOP
			op := operators[1 + floor(random() * 17)];
			PERFORM flag_strategy_add('flag ' || f, round((random() * 150)::numeric % 100, 3), (ARRAY['default', 'userId', 'b'])[1 + floor(random() * 3)], NULL, jsonb_build_array(jsonb_build_object(
				'contextName', (ARRAY['a', 'b', 'userId'])[1 + floor(random() * 3)], 'operator', op, 'inverted', random() < 0.3, 'caseInsensitive', random() < 0.3) || (CASE
				WHEN op ~ '^NUM' THEN jsonb '{"value": "5"}' WHEN op ~ '^DATE' THEN '{"value": "2030-01-01T12:00Z"}' WHEN op ~ '^SEM' THEN '{"value": "1.2.3-a"}' WHEN op = 'REGEX' THEN '{"value": "a.?$"}' WHEN op = 'IN_CIDR' THEN '{"values": ["10.0.0.0/8"]}'
				ELSE jsonb_build_object('values', jsonb_build_array(texts -> floor(random() * 8)::int, texts -> floor(random() * 8)::int)) END)::jsonb),
				variants => CASE WHEN random() < 0.3 THEN '[{"name": "of strategy", "weight": 1, "value": {"a": [1]}, "stickiness": "userId"}]' ELSE jsonb '[]' END);
		END LOOP;
		IF random() < 0.5 THEN
			PERFORM flag_variants_set('flag ' || f, '[{"name": "x", "weight": 1, "payload": {"type": "json", "value": "[1]"}}, {"name": "y", "weight": 2, "overrides": [{"contextName": "a", "values": ["ab"]}]}]');
		END IF;
	END LOOP;
END
$$;
CREATE TABLE asked AS SELECT jsonb_strip_nulls(jsonb_build_object('userId', floor(random() * 100), 'a', t.a, 'b', u.b)) AS context
FROM unnest(ARRAY['', 'a', 'A', 'ab', '10', '1.2.3', '10.0.0.1', 'é', NULL]) t(a), unnest(ARRAY['a', '5', '2.0.0', 'ÉA', NULL]) u(b);
SQL
is(ask(q{SET pgcache.environment = 'random';
	SELECT count(*), count(*) FILTER (WHERE a.enabled IS DISTINCT FROM v.enabled OR a.variant IS DISTINCT FROM v.variant OR a.value IS DISTINCT FROM v.value OR a.reason <> v.reason),
		count(*) FILTER (WHERE flag_enabled(a.flag, c.context) <> v.enabled), count(*) FILTER (WHERE (v.error_code <> '') <> (flag_enabled(a.flag, c.context, NULL) IS NULL)),
		count(*) FILTER (WHERE (e -> 'enabled')::boolean <> v.enabled OR e ->> 'reason' <> v.reason OR e ->> 'variant' IS DISTINCT FROM v.variant OR e ->> 'errorCode' IS DISTINCT FROM v.error_code OR nullif(e -> 'value', 'null') IS DISTINCT FROM v.value),
		count(*) FILTER (WHERE v.error_code IS NULL AND v.enabled <> (e ->> 'state' = 'enabled' AND NOT jsonb_path_exists(e, '$.prerequisites[*] ? (@.passed == false)') AND (e -> 'strategies' = '[]' OR jsonb_path_exists(e, '$.strategies[*] ? (@.passed == true)')))),
		count(*) FILTER (WHERE v.enabled) BETWEEN 200 AND 2500 AS varied
	FROM asked c, LATERAL flag_evaluate_all(c.context) a, LATERAL flag_variant(a.flag, c.context) v, LATERAL flag_explain(a.flag, c.context) e}), '2700|0|0|0|0|0|t', 'flag_enabled, flag_variant, flag_evaluate_all and flag_explain');

note 'where queries put it';

ask(q{
	SELECT flag_set('half', true, 50, 'userId'), flag_set('on', true);
	CREATE FUNCTION is_in(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT public.flag_enabled_for($1, $2)';
	CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.flag_enabled('half'), public.flag_evaluate_all(); RETURN new; END $$;
	CREATE TABLE users (u text, is_in boolean GENERATED ALWAYS AS (is_in('half', u)) STORED, CHECK (is_in('on', u)));
	CREATE INDEX ON users (is_in('half', u)) WHERE is_in('on', u);
	CREATE TRIGGER fires BEFORE INSERT ON users FOR EACH ROW WHEN (public.flag_enabled_for('on', new.u)) EXECUTE FUNCTION fires();
	INSERT INTO users SELECT i FROM generate_series(1, 2000) i; REINDEX TABLE users; ANALYZE users; VACUUM FULL users;
	ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY half ON users USING (flag_enabled_for('half', u)); GRANT SELECT ON users TO app}) if $home eq 'public';
SKIP: {
	skip 'the extension is elsewhere', 8 if $home ne 'public';
	my $half = ask(q{SELECT count(*) FILTER (WHERE flag_enabled_for('half', i::text)) FROM generate_series(1, 2000) i});
	is(ask('SELECT count(*) FROM users WHERE is_in'), $half, 'a generated column');
	is(ask('SET enable_seqscan = off; SELECT count(*) FROM users WHERE is_in(\'half\', u) AND is_in(\'on\', u)'), $half, 'an index');
	is(ask('SELECT count(*) FROM users', 'app'), $half, 'a policy');
	is(ask("COPY users (u) FROM STDIN WHERE flag_enabled_for('half', u);\n" . join("\n", 1 .. 2000) . "\n\\.\nSELECT count(*) - 2000 FROM users"), $half, 'COPY');
	is(ask(q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT count(*) FILTER (WHERE flag_enabled_for('half', u)) - 2 * } . $half . q{ FROM users;
		BEGIN; SELECT flag_set('half', rollout => 0); SELECT count(*) FILTER (WHERE flag_enabled_for('half', u)) FROM users; ROLLBACK; SELECT count(*) FILTER (WHERE flag_enabled_for('half', u)) - 2 * } . $half . q{ FROM users}), "0\n\n0\n0", 'parallel workers');
	is(ask(q{BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT count(*) FILTER (WHERE flag_enabled_for('half', i::text)) FROM generate_series(1, 2000) i; SELECT flag_set('half', rollout => 0); COMMIT; FETCH c;
		SELECT flag_set('half', rollout => 50)}), "\n$half\n", 'a cursor sees the flags as of its beginning');
	is(ask(q{SET plan_cache_mode = force_generic_plan; PREPARE p(text) AS SELECT flag_enabled($1, '{"userId": "1"}'); SELECT flag_set('half', rollout => 0); EXECUTE p('half'); SELECT flag_set('half', rollout => 100); EXECUTE p('half'); SELECT flag_set('half', rollout => 50)}), "\nf\n\nt\n", 'a generic plan asks anew');
	is(ask(q{BEGIN READ ONLY; SELECT flag_enabled('on'); COMMIT; DO $$ BEGIN BEGIN PERFORM flag_set('on', false); RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END; IF NOT flag_enabled('on') THEN RAISE 'off'; END IF; COMMIT; IF NOT flag_enabled('on') THEN RAISE 'off'; END IF; END $$; SELECT 1}), "t\n1", 'read only, and after an exception');
}
ask(q{CREATE TRIGGER a_fires BEFORE INSERT OR UPDATE ON pgcache.flags FOR EACH ROW EXECUTE FUNCTION fires(); CREATE TRIGGER z_fires AFTER INSERT OR UPDATE ON pgcache.flags FOR EACH ROW EXECUTE FUNCTION fires()}) if $home eq 'public';
is(ask(q{SELECT flag_set('self', true); SELECT flag_enabled('self'); SELECT flag_set('self', false); SELECT flag_enabled('self')}), "\nt\n\nf", 'even a trigger on the flags themselves');
ask(q{DROP TRIGGER a_fires ON pgcache.flags; DROP TRIGGER z_fires ON pgcache.flags}) if $home eq 'public';

note 'rules that are hard';

my $constraint = q{SELECT flag_strategy_add('f', constraints => jsonb_build_array(jsonb_build_object('contextName', 'a', 'operator', %s)))};
like(outcome('admin', sprintf $constraint, "'REGEX', 'value', $_"), qr/ERROR:  22023: bad regular expression "/, "no regular expression: $_") for q{'\pL{500}'}, q{'((x{100}){100}){100}'}, q{'('}, q{'(?=a)'}, q{(SELECT string_agg(md5(i::text), '|') FROM generate_series(1, 30000) i)};
is(join(' ', map { state_of('admin', sprintf $constraint, $_) } q{'SEMVER_GT', 'value', '1.2.' || repeat('3', 1000000)}, q{'IN_CIDR', 'values', (SELECT jsonb_agg('10.' || i % 256 || '.' || i / 256 || '.0/24') FROM generate_series(1, 50000) i)},
		q{'STR_CONTAINS', 'caseInsensitive', true, 'values', (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 10000) i)}, q{'IN', 'values', (SELECT jsonb_agg(i::text) FROM generate_series(1, 100000) i)}), 'none none none none', 'long lists are fine');
is(ask(q{SELECT flag_set('f', true); SELECT flag_enabled('f', '{"a": "77"}'), flag_enabled('f', '{"a": "10.1.2.3"}'), flag_enabled('f', '{"a": "-"}'), flag_enabled('f', jsonb_build_object('a', upper(md5('77')) || '!'))}, 'admin'), "\nt|t|f|t", 'and count');
is(state_of('admin', q{SELECT flag_variants_set('f', jsonb_build_array(jsonb_build_object('name', 'v', 'weight', 1, 'payload', jsonb_build_object('type', 'json', 'value', repeat('[', 5000) || repeat(']', 5000)))))}), '22023', 'no payload that would need a deep stack');
ask(q{SET pgcache.environment = 'many'; INSERT INTO pgcache.flags (name, enabled) SELECT 'f' || i, true FROM generate_series(1, 2000) i;
	INSERT INTO pgcache.flag_strategies (flag, constraints) SELECT id, '[{"contextName": "n", "operator": "NUM_GT", "value": "5"}, {"contextName": "m", "operator": "NUM_GT", "value": "5", "inverted": true}]' FROM pgcache.flags WHERE environment = 'many';
	INSERT INTO pgcache.flag_prerequisites SELECT a.id, b.id FROM pgcache.flags a JOIN pgcache.flags b ON b.environment = 'many' AND a.environment = 'many' AND substr(b.name, 2)::int IN (substr(a.name, 2)::int + 1, substr(a.name, 2)::int + 2)});
is(ask(q{SET pgcache.environment = 'many'; SELECT count(*) FILTER (WHERE enabled) FROM flag_evaluate_all('{"n": 9}'); SELECT flag_enabled('f1', '{"n": 9}'), flag_enabled('f1', '{"n": 5}'), jsonb_array_length(flag_explain('f1', '{"n": 9}') -> 'prerequisites')}), "2000\nt|f|2", 'two thousand flags that stand on each other');
is(ask(q{SET pgcache.environment = 'many'; SELECT flag_set('f1', false); SELECT flag_enabled('f1', '{"n": 9}'), flag_enabled('f2', '{"n": 9}'); SELECT flag_kill('f2000'); SELECT count(*) FILTER (WHERE enabled) FROM flag_evaluate_all('{"n": 9}')}), "\nf|t\n\n0", 'and fall with one');
is(state_of($superuser, q{SET pgcache.environment = 'many'; SELECT flag_set('f2000', prerequisites => '["f1"]')}), '22023', 'but do not go round');

note 'rows that come in with triggers switched off';

ask(q{SET pgcache.environment = 'broken'; SELECT flag_set(f, true) FROM unnest('{a,b,variants,strategy,segment,stands,name}'::text[]) f; SELECT flag_strategy_add('strategy'); SELECT flag_segment_set('broken', '[]'); SELECT flag_strategy_add('segment', segments => '{broken}'); SELECT flag_set('stands', prerequisites => '["variants"]');
	SET session_replication_role = replica;
	UPDATE pgcache.flags SET variants = '{"secret": "rule"}' WHERE name = 'variants'; UPDATE pgcache.flag_segments SET constraints = '[{"contextName": "a", "operator": "NUM_EQ", "value": "secretrule"}]' WHERE name = 'broken';
	UPDATE pgcache.flag_strategies SET rollout = 'NaN', stickiness = '', constraints = '"x"' WHERE flag = (SELECT id FROM pgcache.flags WHERE name = 'strategy'); UPDATE pgcache.flags SET name = '' WHERE environment = 'broken' AND name = 'name';
	INSERT INTO pgcache.flag_prerequisites SELECT f.id, p.id, true, '{x}' FROM pgcache.flags f, pgcache.flags p WHERE (f.name, p.name) IN (('a', 'b'), ('b', 'a')) AND f.environment = 'broken' AND p.environment = 'broken'});
is(ask(q{SET pgcache.environment = 'broken'; SELECT string_agg(f || ':' || error_code, ' ' ORDER BY f) FROM unnest('{a,b,variants,strategy,segment,stands}'::text[]) f, flag_variant(f); SELECT count(*), count(*) FILTER (WHERE enabled) FROM flag_evaluate_all();
	SELECT count(flag_explain(f)) FROM unnest('{a,b,variants,strategy,segment,stands}'::text[]) f; SELECT flag_enabled('a', fallback => true), error_code FROM flag_variant('stands')}),
	"a:PARSE_ERROR b:PARSE_ERROR segment:PARSE_ERROR strategy:PARSE_ERROR variants:PARSE_ERROR\n7|1\n6\nt|", 'give the fallback');
ask(q{DELETE FROM pgcache.flag_prerequisites WHERE flag IN (SELECT id FROM pgcache.flags WHERE environment = 'broken'); DELETE FROM pgcache.flags WHERE environment = 'broken'; SELECT flag_segment_delete('broken')});

note 'nobody waits for who has not committed';

my $changing = $server->background_psql('postgres', on_error_stop => 0);
for my $change (q{SELECT flag_set('on', false)}, q{UPDATE pgcache.flags SET killed = true}, q{SELECT flag_segment_set('s', '[]')}, q{LOCK TABLE pgcache.flags IN EXCLUSIVE MODE}, q{SELECT flag_set('on', prerequisites => '["half"]')}, q{SELECT flag_delete('half')}) {
	$changing->query_safe("BEGIN; $change");
	is(ask(q{SET statement_timeout = '60s'; SET lock_timeout = '1ms'; SELECT flag_enabled('on'), flag_enabled('half', '{"userId": "1"}', NULL) IS NOT NULL}, 'app'), 't|t', $change);
	$changing->query_safe('ROLLBACK');
}
for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE') {
	ask(q{SELECT flag_set('on', prerequisites => '[]'), flag_set('half', prerequisites => '[]')});
	$changing->query_safe(qq{BEGIN ISOLATION LEVEL $level; SELECT flag_set('on', prerequisites => '["half"]')});
	is(state_of($superuser, qq{BEGIN ISOLATION LEVEL $level; SELECT 1 FROM pgcache.flags; SET LOCAL lock_timeout = '100ms'; SELECT flag_set('half', prerequisites => '["on"]'); COMMIT}), '55P03', "$level: who would close a circle waits");
	$changing->query_safe('COMMIT');
	is(state_of($superuser, qq{BEGIN ISOLATION LEVEL $level; SELECT flag_set('half', prerequisites => '["on"]'); COMMIT}), '22023', 'and is refused');
}
$changing->quit;
ask(q{SELECT flag_set('on', prerequisites => '[]')});

note 'the log';

ask(q{SELECT flag_set('sticky', true, 50, 'companyId')});
my $position = log_position($server);
my $script = $server->basedir . '/secret.sql';
for my $call (
	q{SELECT flag_enabled('nix', jsonb_build_object('userId', :v::text))}, q{SELECT flag_enabled('sticky', jsonb_build_object('userId', :v::text))}, q{SELECT * FROM flag_variant('rules', to_jsonb(:v::text), to_jsonb(:v::text))}, q{SELECT flag_enabled_for('nix', :v)},
	q{SELECT * FROM flag_evaluate_all(jsonb_build_object(:v::text, :v::text, 'a', :v::text, 'currentTime', :v::text, 'n', :v::text))}, q{SELECT flag_explain('rules', jsonb_build_object('a', :v::text))})
{
	unlink $script;
	append_to_file($script, "SET pgcache.test_clock = '" . (2031 + length $call) . "-01-01'; SET log_min_messages = debug5;\n$call;\n");
	$server->command_ok([ 'pgbench', '-n', '-M', 'extended', '-t', 1, '-D', 'v=secret1', '-f', $script, $server->connstr('postgres') ], $call);
}
my $log = slurp_file($server->logfile, $position);
like($log, qr/WARNING:  there is no flag "nix" in environment "default"/, 'tells of a flag that does not exist');
unlike($log =~ s/parameters?: [^\n]*//gr, qr/secret1/, 'nothing of a context');
unlike(slurp_file($server->logfile), qr/secretrule/, 'nor of a rule');
unlike(slurp_file($server->logfile), qr/PANIC|was terminated by signal/, 'nothing crashed');

done_testing();

# Rate limits and people who want more than their due: without a grant, with an application's, with names that get in the way,
# with keys that are hard to carry; and what of their keys stands in the log.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('hostile', conf => "pgcache.memory = 4MB\npgcache.rate_limit_memory = 4MB\npgcache.test_clock = '2030-01-01 12:00:00+00'");
$server->start;
my $superuser = $server->safe_psql('postgres', 'SELECT current_user');
$server->safe_psql('postgres', q{
	CREATE EXTENSION pgcache;
	CREATE ROLE nobody LOGIN; CREATE ROLE app LOGIN; CREATE ROLE admin LOGIN;
	SELECT pgcache.grant_to('app'); SELECT pgcache.grant_to('admin', 'admin');
	CREATE SCHEMA traps AUTHORIZATION app});

sub ask {
	my ($sql, $role, $database) = @_;
	return $server->safe_psql($database // 'postgres', $sql, extra_params => [ '-U', $role // $superuser ]);
}

# Status, SQLSTATE, message and hint of the first error; or the result.
sub outcome {
	my ($role, $sql) = @_;
	my ($status, $output, $error) = $server->psql('postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ], on_error_stop => 1);
	return $error =~ /ERROR: / ? $error : $output;
}

sub state_of { return outcome(@_) =~ /ERROR:  (\w+)/ ? $1 : 'none'; }

note 'who may call what';

my @of_app = (
	q{SELECT * FROM rate_limit('k', 5, '1 hour')}, q{SELECT rate_limit_allowed('k', 5, '1 hour')}, q{SELECT * FROM rate_limit_peek('k', 5, '1 hour')},
	q{SELECT * FROM rate_limit_refund('k', 5, '1 hour')}, q{SELECT rate_limit_block('k', '1 hour')}, q{SELECT rate_limit_unblock('k')}, q{SELECT rate_limit_reset('k')});
my @of_admin = (q{SELECT * FROM rate_limit_top()}, q{SELECT * FROM rate_limit_stats}, q{SELECT rate_limit_stats_reset()}, q{SELECT * FROM pgcache.rate_limit_statistics()});
my $refused = qr/ERROR:  42501: permission denied for (?:function|view|schema) \w+\n(?:LINE [^\n]*\n[^\n]*\n)?HINT:  If this is pgcache's, [^\n]*SELECT pgcache\.grant_to\('the_role'\)/;

is(ask(q{SELECT count(*) FROM pg_proc WHERE proname ~ '^rate_limit' AND proname NOT LIKE '%statistics'}), @of_app + @of_admin - 2, 'these are all functions');
is(join(', ', grep { outcome('nobody', $_) !~ $refused } @of_app, @of_admin), '', 'without a grant: none, and the hint says what grants it');
is(join(', ', grep { state_of('app', $_) ne 'none' } @of_app), '', 'an application: what it needs');
is(join(', ', grep { outcome('app', $_) !~ $refused } @of_admin), '', 'an application: nothing that shows or changes what belongs to all');
is(join(', ', grep { state_of('admin', $_) ne 'none' } @of_app, @of_admin), '', 'an administrator: all');
for my $role (qw(nobody app admin)) {
	my @attempts = map {
		my ($name, $value) = @$_;
		("SET $name = '$value'", "SELECT set_config('$name', '$value', false)", "ALTER ROLE $role SET $name = '$value'", "BEGIN; SET LOCAL $name = '$value'",
			"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET $name = '$value' AS 'SELECT 1'; SELECT pg_temp.f()")
	} ([ 'pgcache.rate_limit_when_full', 'allow' ], [ 'pgcache.test_clock', '2040-01-01' ]);
	is(join(', ', grep { state_of($role, $_) ne '42501' } @attempts), '', "$role cannot set the clock, nor what is answered when the memory is full");
}
is(state_of('app', "ALTER SYSTEM SET pgcache.rate_limit_memory = '1GB'"), '42501', 'nor the memory');
is(state_of($superuser, "SET pgcache.rate_limit_memory = '1GB'"), '55P02', 'which a session cannot change at all');
{
	local $ENV{PGOPTIONS} = '-c pgcache.test_clock=2040-01-01';
	my ($status, $output, $error) = $server->psql('postgres', q{SELECT last_denied FROM rate_limit_top()}, extra_params => [ '-U', 'app' ]);
	like($output . $error, qr/permission denied to set parameter "pgcache\.test_clock"/, 'nor by options of the connection');
}
ask(q{SELECT pgcache.revoke_from('app')});
is(join(', ', grep { outcome('app', $_) !~ $refused } @of_app), '', 'a grant can be taken back');
ask(q{SELECT pgcache.grant_to('app')});

note 'names that get in the way';

ask(q{
	SET search_path = traps;
	CREATE FUNCTION rate_limit_statistics() RETURNS text LANGUAGE sql AS 'SELECT ''trap''';
	CREATE FUNCTION rate_limit_allowed(text, integer, interval) RETURNS boolean LANGUAGE sql AS 'SELECT true';
	CREATE VIEW rate_limit_stats AS SELECT 0::bigint AS cells, 0::bigint AS cells_max, 0::bigint AS no_room;
	CREATE FUNCTION less(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'a trap'; END $$;
	CREATE OPERATOR = (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = less);
	CREATE DOMAIN bigint AS text; CREATE DOMAIN interval AS text}, 'app');
my $home = ask(q{SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pgcache'});
ask(q{SELECT rate_limit('trapped', 0, '1 hour')});
my $seen = qq{SELECT denied > 0, cells_max > 0 FROM $home.rate_limit_stats; SELECT key FROM $home.rate_limit_top(1000) WHERE key = 'trapped'; SELECT remaining FROM $home.rate_limit_peek('of nobody', 5, '1 hour');
	SELECT ok, detail ~ 'of [1-9]' FROM pgcache.check() WHERE item = 'rate_limits'};
for my $path ('traps, pg_catalog, public', 'pg_catalog, public', 'pg_temp, traps', "''") {
	is(ask("SET search_path = $path; " . ($path =~ /^traps|^pg_temp/ ? $seen =~ s/ > 0/ OPERATOR(pg_catalog.>) 0/gr =~ s/ = '/ OPERATOR(pg_catalog.=) '/gr : $seen), 'admin'), "t|t\ntrapped\n5\nt|t", "search_path $path changes nothing");
}
is(ask(q{SET search_path = traps, public; SELECT rate_limit_allowed('trapped', 0::bigint, '1 hour'::pg_catalog.interval, 1)}), 'f', 'whoever gives all arguments gets ours');

note 'keys';

# Each is a key of its own, and comes back as it was.
my @keys = (
	q{''''}, q{'"'}, q{E'\\\\'}, q{E'\\n'}, q{E'\\t '}, q{' '}, q{'a'}, q{'A'}, q{'a '}, q{' a'}, q{'%s%n'}, q{'{}'}, q{'NULL'}, q{$$'; DROP TABLE t; --$$}, q{U&'\0061\0308'}, q{U&'\00e4'}, q{U&'\200b'}, q{U&'\+01f600'},
	q{E'\\x7f'}, q{E'\\x01'}, q{repeat('x', 1024)}, q{repeat('x', 1023)}, q{repeat('x', 1023) || 'y'}, q{repeat(U&'\00e4', 512)}, q{repeat(U&'\+01f600', 256)}, q{repeat(U&'\20ac', 341) || 'x'});
my $keys = 'unnest(ARRAY[' . join(', ', @keys) . ']) k';
ask("SELECT count(rate_limit_reset(k)) FROM $keys; SELECT rate_limit_stats_reset()");
is(ask("SELECT count(*) FILTER (WHERE l.remaining = 4) FROM $keys, LATERAL rate_limit(k, 5, '1 hour') l"), @keys, 'each is counted for itself');
is(ask("SELECT count(l) FROM $keys, LATERAL rate_limit(k, 0, '1 hour') l; SELECT count(*), count(DISTINCT t.key) FROM rate_limit_top(1000) t, $keys WHERE t.key = k AND t.denied = 1"),
	@keys . "\n" . @keys . '|' . @keys, 'and listed as it is');
is(ask("SELECT sum(rate_limit_reset(k)) FROM $keys"), @keys, 'and reset');
is(join(' ', map { state_of('app', "SELECT rate_limit_allowed($_, 5, '1 hour')") } q{''}, q{repeat('x', 1025)}, q{repeat(U&'\20ac', 342)}, q{repeat('x', 100000000)}, q{NULL}, q{chr(0)}, q{E'\\x00'}, q{E'\\xff'}),
	'22023 22023 22023 22023 22004 54000 22021 22021', 'these are none');
like(outcome('app', q{SELECT rate_limit_allowed('x' || repeat(U&'\20ac', 400), 5, '1 hour')}), qr/rate limit key is 1201 bytes long, the limit is 1024\nDETAIL:  The key begins with "x\xe2\x82\xac(?:\xe2\x82\xac){20}"\.\n/, 'too long a key is cut between two characters');
ask(q{CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0});
ask('CREATE EXTENSION pgcache', $superuser, 'latin');
is( ask(q{SET client_encoding = UTF8; SELECT count(l) FROM generate_series(1, 3) i, LATERAL rate_limit(U&'\00e4', 0, i * interval '1 hour') l; SELECT key = U&'\00e4', denied FROM rate_limit_top()}, $superuser, 'latin'), "3\nt|3", 'a database of another encoding');

note 'numbers';

is( ask(q{SELECT count(*) FROM unnest('{0,1,2,1000,9223372036854775806,9223372036854775807}'::bigint[]) q, unnest('{0,1,1000,9223372036854775807}'::bigint[]) c, unnest('{1,2,9223372036854775807}'::bigint[]) b,
		unnest('{1 us,1 second,1 day -86399 seconds,1 hour,365 days,46296296 days}'::interval[]) p, unnest('{gcra,fixed,sliding}'::text[]) a,
		LATERAL (SELECT CASE WHEN a <> 'gcra' OR p < interval '366 days' AND (b < 1000 OR q > 1000) THEN 1 END AS fits) f,
		LATERAL rate_limit('numbers' || a || p, q, p, c, CASE a WHEN 'gcra' THEN CASE fits WHEN 1 THEN b END END, a) l
	WHERE l.remaining < 0 OR l.allowed <> (l.retry_after IS NOT DISTINCT FROM interval '0') OR l.reset_after < interval '0' OR l.remaining > greatest(q, b) OR l.retry_after < interval '0'
		OR l.retry_after_ms IS DISTINCT FROM ceil(extract(epoch FROM l.retry_after) * 1000)}), 0, 'the largest and the smallest make sense together');
is(join(' ', map { state_of('app', "SELECT * FROM rate_limit('n', $_)") } q{5, '46296297 days'}, q{5, '2147483647 days'}, q{1, '46296296 days', burst => 2}, q{5, '-1 us'}, q{5, '0'}, q{5, '1 month -30 days'}, q{-1, '1 s'}, q{5, '1 s', -1}, q{5, '1 s', burst => 0}, q{1001, '1 s', algorithm => 'exact'}),
	'22003 22003 22003 22023 22023 22023 22023 22023 22023 22023', 'what is none is an error');

note 'the list of the denied under a flood';

ask(q{SELECT rate_limit_stats_reset();
	SELECT count(l) FROM generate_series(1, 60000) i, LATERAL rate_limit(CASE WHEN i % 6 = 0 THEN 'attacker' ELSE 'crowd ' || i END, 0, '1 hour') l}, 'admin');
my ($place, $at_most, $at_least) = split /\|/, ask(q{SELECT row_number() OVER (), denied, denied_at_least FROM rate_limit_top(1) WHERE key = 'attacker'}, 'admin');
is($place, 1, 'who is denied most is first');
cmp_ok($at_most, '>=', 10000, 'he was denied no less');
cmp_ok($at_least, '<=', 10000, 'and what is said to be certain is');
cmp_ok(ask('SELECT count(*) FROM rate_limit_top(1000000)', 'admin'), '<=', 384, 'the list is short');
is(ask('SELECT bool_and(denied_at_least BETWEEN 1 AND denied) FROM rate_limit_top(1000)', 'admin'), 't', 'and consistent');
is(ask('SELECT count(*) FROM rate_limit_top(1000)', 'admin', 'postgres') > 0 ? ask('SELECT count(*) FROM rate_limit_top(1000)', $superuser, 'latin') : -1, 0, "another database's keys are not in it");

note 'the log';

my $position = log_position($server);
my $script = $server->basedir . '/secret.sql';
my $long = 'begin' . 'x' x 1010 . 'secret' x 10;
for my $call (
	q{SELECT rate_limit_allowed(:key, -1, '1 hour')}, q{SELECT * FROM rate_limit(:key, 5, '1 month')}, q{SELECT * FROM rate_limit(:key, 5, '1 hour', burst => 0)}, q{SELECT * FROM rate_limit(:key, 1001, '1 hour', algorithm => 'exact')},
	q{SELECT rate_limit_block(:key, '0')}, q{SELECT rate_limit_block(:long, '1 hour')}, q{SELECT * FROM rate_limit_peek(:long, 5, '1 hour')}, q{SELECT rate_limit_reset(:long)}, q{SELECT * FROM rate_limit_refund(:key, 5, '1 hour', -1)})
{
	unlink $script;
	append_to_file($script, "$call;\n");
	$server->command_fails([ 'pgbench', '-n', '-M', 'extended', '-t', 1, '-D', 'key=secret1', '-D', "long=$long", '-f', $script, $server->connstr('postgres') ], $call);
}
my $log = slurp_file($server->logfile, $position);
is(scalar(() = $log =~ /ERROR: /g), 9, 'tells nine errors');
unlike($log, qr/secret/, 'none with a key that came as a parameter');
like($log, qr/DETAIL:  The key begins with "beginx{59}"\./, 'but the first 64 bytes of one that is too long');
like(outcome('app', q{SELECT * FROM rate_limit('k', 5, '1 hour', algorithm => repeat('long', 1000))}), qr/unknown algorithm: "(?:long){16}"\n/, 'a long name of an algorithm is cut');

note 'an application that fills the memory';

is(ask(q{SELECT rate_limit_allowed('before', 1, '10 days')}, 'app'), 't', 'a key is used up');
ask(q{DO $$ BEGIN FOR i IN 1 .. 200000 LOOP PERFORM rate_limit_block('fill ' || i, '100 years'); END LOOP; EXCEPTION WHEN out_of_memory THEN NULL; END $$}, 'app');
is(ask(q{SELECT rate_limit_allowed('before', 1, '10 days')}, 'app'), 'f', 'and stays so in a memory that is full of blocks');
is(state_of('app', q{SELECT count(rate_limit_block('more ' || i, '1 day')) FROM generate_series(1, 100000) i}), '53200', 'more of them are an error');
unlike(slurp_file($server->logfile), qr/PANIC|was terminated by signal/, 'nothing crashed');

done_testing();

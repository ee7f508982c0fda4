# Without pgcache in shared_preload_libraries: what works, what is said, and that what is said mends it.
use strict;
use warnings;

use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('preload', conf => "pgcache.memory = '12 MB'\npgcache.default_ttl = '5 min'\npgcache.test_clock = ''");
preload($server, '');
ok($server->start(fail_ok => 1), 'settings of pgcache do not stop a server without it');
$server->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE looks LOGIN; GRANT pg_read_all_settings TO looks');

sub ask { return $server->safe_psql('postgres', $_[0]); }

# The error's state, message and hint.
sub failure {
	my ($sql, $role) = @_;
	my ($status, $output, $error) = $server->psql('postgres', $sql, extra_params => [ '-U', $role // 'postgres', '-v', 'VERBOSITY=verbose' ]);
	return $status == 0 ? 'no error' : $error;
}

note 'CREATE EXTENSION';

my ($status, $output, $error) = $server->psql('postgres', 'CREATE EXTENSION pgcache');
is($status, 0, 'succeeds');
like($error, qr/WARNING:  pgcache is installed, but its functions work only after it is loaded at server start/, 'with a warning');
like($error, qr/HINT:  Run: ALTER SYSTEM SET shared_preload_libraries = 'pgcache'; Then restart the server\./, 'and the statement to run');
ask(q{SELECT pgcache.grant_to('app'); SELECT pgcache.grant_to('looks')});
ask('DROP EXTENSION pgcache; CREATE EXTENSION pgcache');
ask(q{SELECT pgcache.grant_to('app'); SELECT pgcache.grant_to('looks')});

note 'every function that needs the cache says what is missing';

my @calls = split /\n/, ask(q{
	SELECT format('SELECT %s(%s)', p.oid::regproc, (SELECT coalesce(string_agg(
		CASE t::regtype::text WHEN 'text' THEN '''x''' WHEN 'jsonb' THEN '''{"a": 1}''' WHEN 'text[]' THEN '''{a}''' WHEN 'bytea' THEN '''x'''
			WHEN 'bytea[]' THEN '''{a}''' WHEN 'interval' THEN '''1 day''' WHEN 'boolean' THEN 'false' ELSE '1' END || '::' || t::regtype, ', ' ORDER BY n), '')
		FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n)))
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pgcache'
	WHERE (p.proname ~ '^(cache_|rate_limit|flag_enabled|flag_variant\$|flag_evaluate_all|flag_explain|flag_stats_reset|flag_counts)' AND p.proname NOT IN ('cache_quote', 'cache_unwatch')) OR p.proname = 'statistics' ORDER BY 1});
cmp_ok(scalar(@calls), '>=', 44, 'the functions are known');
my @silent = grep { failure($_) !~ /ERROR:  55000: pgcache must be loaded at server start\nHINT:  Run: ALTER SYSTEM SET shared_preload_libraries = 'pgcache'; Then restart the server\./ } @calls;
is(join(', ', @silent), '', 'all raise 55000 with the statement');
like(failure("SELECT * FROM $_"), qr/ERROR:  55000: /, "the view $_ too") for qw(cache_stats rate_limit_stats flag_stats);

note 'the check';

is(ask(q{SELECT item, ok FROM pgcache.check()}), "preloaded|f\nversion|t\nworker|f\nwatches|t\ngrants|t", 'pgcache.check() works without');
is(ask('SELECT pgcache.is_preloaded(), pgcache.worker_pid(), pgcache.library_version() = extversion FROM pg_extension WHERE extname = \'pgcache\''), 'f||t', 'its parts too');

# Runs what an error or the check names, and restarts.
sub run_and_restart {
	my ($statement) = @_;
	ask($statement);
	my $position = log_position($server);
	$server->stop;
	ok($server->start(fail_ok => 1), 'the server starts after it') or BAIL_OUT('no server');
	return;
}

sub statement_named {
	my ($error) = @_;
	return $error =~ /HINT:  Run: (ALTER SYSTEM SET shared_preload_libraries = .*;) Then restart the server\./ ? $1 : '';
}

sub loaded { return ask('SHOW shared_preload_libraries'); }

# postgresql.conf would win over nothing: ALTER SYSTEM comes after it.
sub without_pgcache {
	my ($libraries) = @_;
	ask('ALTER SYSTEM RESET shared_preload_libraries');
	preload($server, $libraries);
	$server->restart;
	is(loaded(), $libraries =~ s/''/'/gr, "with $libraries");
	return;
}

note 'the statement, run';

my $statement = statement_named(failure(q{SELECT cache_get('a')}));
is($statement, q{ALTER SYSTEM SET shared_preload_libraries = 'pgcache';}, 'nothing was loaded before');
run_and_restart($statement);
is(loaded(), 'pgcache', 'pgcache is loaded');
is(ask(q{SELECT cache_set('a', '1'); SELECT cache_get('a')}), "t\n1", 'it works');
wait_for_worker($server);
is(ask('SELECT count(*) FROM pgcache.check() WHERE NOT ok'), 0, 'the check is content');
like(ask(q{SELECT detail FROM pgcache.check() WHERE item = 'memory'}), qr/^12 MB/, 'the settings count');

note 'libraries that are loaded already stay';

my $directory = $server->config_data('--pkglibdir');
my $odd_directory = $server->basedir . q{/Odd, 'Ünd'};
mkdir $odd_directory or die;
my $odd = "$odd_directory/Lib rary.so";
copy("$directory/auto_explain.so", $odd) or die;
copy("$directory/pg_stat_statements.so", $server->basedir . '/PgStat.so') or die;
my $quoted = $odd =~ s/'/''/gr;

for my $case (
	[ 'pg_stat_statements, auto_explain', 'pg_stat_statements, auto_explain, pgcache' ],
	[ 'pg_stat_statements,"auto_explain"', 'pg_stat_statements, auto_explain, pgcache' ],
	[ qq{"$quoted"}, qq{"$odd", pgcache} ],
	[ qq{"@{[ $server->basedir ]}/PgStat.so",  "$quoted" }, qq{"@{[ $server->basedir ]}/PgStat.so", "$odd", pgcache} ]) {
	my ($before, $after) = @$case;
	without_pgcache($before);
	like(failure(q{SELECT cache_get('a')}, 'looks'), qr/HINT:  Run: ALTER SYSTEM/, 'a role that may read all settings sees the list');
	my $hidden = failure(q{SELECT cache_get('a')}, 'app');
	like($hidden, qr/ERROR:  55000: .*\nHINT:  Ask a superuser/, 'another role gets the error and a hint');
	unlike($hidden, qr/auto_explain|pg_stat|Lib rary|PgStat/, 'without the list');
	my $fix = ask(q{SELECT fix FROM pgcache.check() WHERE item = 'preloaded'});
	$statement = statement_named(failure(q{SELECT cache_get('a')}));
	like($fix, qr/^\Q$statement\E -- then restart the server$/, 'the check names the same statement');
	run_and_restart($before =~ /"$/ ? $fix : $statement);
	is(loaded(), $after, 'every library is still loaded');
	is(ask(q{SELECT cache_set('a', '1'); SELECT cache_get('a')}), "t\n1", 'pgcache works');
}
is(ask('SELECT pgcache.preload_statement()'), qq{ALTER SYSTEM SET shared_preload_libraries = '@{[ $server->basedir ]}/PgStat.so', '$quoted', 'pgcache';}, 'the statement does not add pgcache twice');

note 'a statement that was run, but no restart since';

without_pgcache('');
ask(statement_named(failure(q{SELECT cache_get('a')})));
$server->reload;
like(failure(q{SELECT cache_get('a')}), qr/ERROR:  55000: /, 'still an error');
$server->restart;
is(ask(q{SELECT cache_set('a', '1')}), 't', 'no more after the restart');

note 'the worker';

my $worker = wait_for_worker($server);
like(ask(q{SELECT ok, detail FROM pgcache.check() WHERE item = 'worker'}), qr/^t\|running, process $worker$/, 'its process is named');
kill 'TERM', $worker;
$server->poll_query_until('postgres', "SELECT pgcache.worker_pid() <> $worker") or die;
pass('it comes back when someone ends it');

stop_worker($server, sub {
	is($_[0]->query_safe(q{SELECT ok, detail FROM pgcache.check() WHERE item = 'worker'}), 'f|not running: expired memory is taken back only when it is needed', 'the check says that it does not run');
});
$server->append_conf('postgresql.conf', 'max_worker_processes = 0');
$server->restart;
is(ask(q{SELECT cache_set('a', '1'); SELECT cache_get('a')}), "t\n1", 'without any worker the cache works');
is(ask(q{SELECT item, ok FROM pgcache.check() WHERE NOT ok}), "worker|f\nscheduler|f", 'the check shows that it does not run');
my $fix = ask(q{SELECT fix FROM pgcache.check() WHERE item = 'worker'});
like($fix, qr/^ALTER SYSTEM SET max_worker_processes = 8;/, 'and how to mend it');
$server->restart;
is(key_count($server), 0, 'nobody saved the cache');
run_and_restart($fix);
wait_for_worker($server);
is(ask(q{SELECT count(*) FROM pgcache.check() WHERE NOT ok}), 0, 'which does');

note 'memory that is short';

$server->append_conf('postgresql.conf', "pgcache.memory = '4 MB'");
$server->restart;
ask(q{SELECT count(cache_set_text('fill ' || i, repeat('x', 1000), '0')) FROM generate_series(1, 10000) i;
	SELECT count(cache_get_text('fill ' || i)) FROM generate_series(1, 10000) i});
$fix = ask(q{SELECT fix FROM pgcache.check() WHERE item = 'memory' AND NOT ok});
like($fix, qr/^ALTER SYSTEM SET pgcache\.memory = '8 MB';/, 'the check shows it');
run_and_restart($fix);
is(ask('SHOW pgcache.memory'), '8MB', 'its statement helps');

note 'grants';

ask('GRANT EXECUTE ON FUNCTION cache_get(text), cache_clear() TO PUBLIC');
$fix = ask(q{SELECT fix FROM pgcache.check() WHERE item = 'grants' AND NOT ok});
ask($fix);
is(ask(q{SELECT count(*) FROM pgcache.check() WHERE NOT ok}), 0, 'the statements of the check take back what PUBLIC has');

done_testing();

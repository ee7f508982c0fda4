# Rate limits and many sessions: of those that call at once exactly the quota is allowed; what was taken stays taken however
# the transaction ends; who is killed in a call leaves nothing behind.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use IPC::Run;
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('sessions', conf => "pgcache.memory = 16MB\npgcache.test_clock = '2030-01-01 12:00:00+00'");
$server->start;

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }

sub session { return $server->background_psql('postgres', on_error_stop => 0); }

# The SQLSTATE of a session's statement, 'none' if it succeeds.
sub state_of {
	my ($session, $sql) = @_;
	$session->{stderr} = '';
	$session->query("\\set VERBOSITY sqlstate\n$sql");
	my $state = $session->{stderr} =~ /ERROR:  (\w+)/ ? $1 : 'none';
	$session->{stderr} = '';
	return $state;
}

my $scripts = 0;

sub script {
	my ($text) = @_;
	my $file = $server->basedir . '/script' . ++$scripts . '.sql';
	append_to_file($file, $text);
	return $file;
}

# Eight clients at once, each with its own share of calls.
sub run_clients {
	my ($name, $calls, $text, $database, @options) = @_;
	$server->command_ok(
		[ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', $calls / 8, '-M', 'prepared', @options, '-f', script($text), $server->connstr($database // 'postgres') ],
		"$name: eight clients at once");
	return;
}

ask('CREATE EXTENSION pgcache; CREATE UNLOGGED TABLE granted (what text, cost bigint)');
ask('CREATE DATABASE real');
ask(q{ALTER DATABASE real SET pgcache.test_clock = ''; CREATE EXTENSION pgcache; CREATE UNLOGGED TABLE granted (what text, cost bigint)}, 'real');

note 'one key, eight clients, a clock that stands still';

for my $algorithm (qw(gcra fixed sliding exact calendar)) {
	ask('SELECT rate_limit_stats_reset()');
	run_clients($algorithm, 1600, "INSERT INTO granted SELECT '$algorithm', 1 FROM rate_limit('hot', 500, '1 hour', algorithm => '$algorithm') WHERE allowed;\n");
	is(ask("SELECT count(*) FROM granted WHERE what = '$algorithm'"), 500, "$algorithm: exactly the quota");
	is(ask('SELECT allowed, denied, no_room FROM rate_limit_stats'), '500|1100|0', "$algorithm: counted");
	is(ask('SELECT key, denied, denied_at_least, last_denied FROM rate_limit_top()'), 'hot|1100|1100|2030-01-01 12:00:00+00', "$algorithm: listed");
	is(ask("SELECT remaining FROM rate_limit_peek('hot', 500, '1 hour', algorithm => '$algorithm')"), 0, "$algorithm: nothing is left");
}
run_clients('several at a time', 800, "INSERT INTO granted SELECT 'three', 3 FROM rate_limit('three', 500, '1 hour', 3) WHERE allowed;\n");
is(ask(q{SELECT sum(g.cost), (SELECT remaining FROM rate_limit_peek('three', 500, '1 hour')) FROM granted g WHERE what = 'three'}), '498|2', 'as many as go into the quota');
run_clients('more than the quota at once', 800, "INSERT INTO granted SELECT 'burst', 1 FROM rate_limit('burst', 10, '1 hour', burst => 300) WHERE allowed;\n");
is(ask(q{SELECT count(*) FROM granted WHERE what = 'burst'}), 300, 'the burst');
run_clients('both functions', 800, q{
	INSERT INTO granted SELECT 'both', 1 FROM rate_limit('both', 501, '1 hour') WHERE allowed;
	INSERT INTO granted SELECT 'both', 1 WHERE rate_limit_allowed('both', 501, '1 hour');
});
is(ask(q{SELECT count(*) FROM granted WHERE what = 'both'}), 501, 'share the quota');
run_clients('taken and given back', 1600, q{
	BEGIN;
	SELECT rate_limit('back', 1000000, '1 hour', 7, algorithm => 'fixed');
	SELECT rate_limit_refund('back', 1000000, '1 hour', 5, algorithm => 'fixed');
	ROLLBACK;
});
is(ask(q{SELECT remaining FROM rate_limit_peek('back', 1000000, '1 hour', algorithm => 'fixed')}), 1000000 - 1600 * 2, 'not a unit is lost');
run_clients('a block by a denial', 800, "INSERT INTO granted SELECT 'block', 1 FROM rate_limit('block', 100, '1 second', block => '1 hour') WHERE allowed;\n");
is(ask(q{SELECT count(*), (SELECT blocked_until FROM rate_limit_peek('block', 100, '1 second')) FROM granted WHERE what = 'block'}), '100|2030-01-01 13:00:00+00', 'comes after the quota');

note 'the clock of the machine';

# The most that may have been granted in so long: microseconds, from before the first call to after the last.
my %most = (
	gcra => sub { return 25 + int($_[0] * 50 / 50_000); },
	fixed => sub { return 50 * (2 + int($_[0] / 50_000)); },
	sliding => sub { return 100 * (1 + int($_[0] / 50_000)); },
	exact => sub { return 50 * (1 + int($_[0] / 50_000)); },
);
for my $algorithm (sort keys %most) {
	my $burst = $algorithm eq 'gcra' ? ', burst => 25' : '';
	my $clock = 'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint';
	my $began = ask($clock, 'real');
	run_clients("$algorithm in time", 4000, "INSERT INTO granted SELECT '$algorithm', 1 FROM rate_limit('hot', 50, '50 ms', algorithm => '$algorithm'$burst) WHERE allowed;\n", 'real');
	my $elapsed = ask($clock, 'real') - $began;
	my $granted = ask("SELECT count(*) FROM granted WHERE what = '$algorithm'", 'real');
	note "$algorithm: $granted in $elapsed microseconds";
	cmp_ok($granted, '<=', $most{$algorithm}->($elapsed), "$algorithm: not one too many");
	cmp_ok($granted, '>=', $algorithm eq 'gcra' ? 25 : 50, "$algorithm: the first ones were allowed");
}

note 'transactions';

sub left {
	my ($key) = @_;
	return ask("SELECT remaining FROM rate_limit_peek('$key', 10, '1 hour')");
}

my ($one, $other) = (session(), session());
ask('CREATE TABLE row (id int, n int); INSERT INTO row VALUES (1, 0), (2, 0)');
for ([ 'REPEATABLE READ', 1, 1 ], [ 'SERIALIZABLE', 1, 2 ]) {
	my ($level, $first, $second) = @$_;
	my $key = lc $level;
	my $charge = "SELECT remaining FROM rate_limit('$key', 10, '1 hour')";
	$_->query_safe("BEGIN ISOLATION LEVEL $level; SELECT sum(n) FROM row") for ($one, $other);
	is($one->query_safe($charge), 9, "$level: one session takes");
	is($other->query_safe($charge), 8, "$level: the other sees it at once, whatever its snapshot");
	$one->query_safe("UPDATE row SET n = n + 1 WHERE id = $first; COMMIT");
	is(state_of($other, "UPDATE row SET n = n + 1 WHERE id = $second;\nCOMMIT;"), '40001', "$level: the second fails");
	is(left($key), 8, "$level: what it took stays taken");
	is($other->query_safe("BEGIN ISOLATION LEVEL $level; $charge; COMMIT"), 7, "$level: and another try counts again");
}
is(state_of($one, q{SELECT 1 / (remaining - 9) FROM rate_limit('statement', 10, '1 hour')}), '22012', 'an error in the statement that takes');
is(left('statement'), 9, 'gives nothing back');
$one->query_safe(q{BEGIN; SAVEPOINT s; SELECT rate_limit('savepoint', 10, '1 hour'); ROLLBACK TO s; SELECT rate_limit('savepoint', 10, '1 hour'); ROLLBACK});
is(left('savepoint'), 8, 'nor does ROLLBACK TO SAVEPOINT');
ask(q{DO $$ BEGIN PERFORM rate_limit('caught', 10, '1 hour'); RAISE 'no'; EXCEPTION WHEN OTHERS THEN PERFORM rate_limit('caught', 10, '1 hour'); END $$});
is(left('caught'), 8, 'nor does an exception that is caught');
$one->query_safe(q{BEGIN; SELECT rate_limit_block('undone', '1 hour'); SELECT rate_limit_reset('statement'); ROLLBACK});
is(ask(q{SELECT reason FROM rate_limit_peek('undone', 10, '1 hour')}) . left('statement'), 'blocked10', 'block and reset are not undone either');
is(ask(q{BEGIN READ ONLY; SELECT remaining FROM rate_limit('read only', 10, '1 hour'); COMMIT}), 9, 'a read-only transaction takes');

note 'cancelled, terminated';

# Each client runs this without end: all partitions, all that takes and gives places.
my $endless = q{DO $$
	DECLARE n bigint := 0;
	BEGIN
		LOOP
			n := n + 1;
			PERFORM rate_limit('loop ' || n % 97, 50, '1 hour', algorithm => (ARRAY['gcra', 'fixed', 'sliding', 'exact'])[n % 4 + 1], block => '1 hour'),
				rate_limit_refund('loop ' || n % 89, 50, '1 hour', 20, algorithm => 'exact'), rate_limit_block('loop ' || n % 83, '1 hour'),
				rate_limit_unblock('loop ' || n % 97), rate_limit_reset('loop ' || n % 79);
		END LOOP;
	END $$};
for my $round (1 .. 8) {
	my $how = $round % 2 ? 'pg_cancel_backend' : 'pg_terminate_backend';
	my $output = '';
	my @clients =
	  map { IPC::Run::start([ 'psql', '-X', '-q', '-d', $server->connstr('postgres') . ' application_name=endless', '-c', $endless ], '<', \'', '>&', \$output, $server->{timer} // ()) } 1 .. 3;
	my $calling = "FROM pg_stat_activity WHERE application_name = 'endless' AND state = 'active'";
	wait_until(sub { ask("SELECT count(*) $calling") == 3 }, 'all clients call');
	my $before = ask('SELECT allowed + denied FROM rate_limit_stats');
	wait_until(sub { ask('SELECT allowed + denied FROM rate_limit_stats') > $before + 1000 }, 'they get on');
	ask("SELECT count($how(pid)) $calling");
	my $ended = wait_until(sub { ask(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'endless'}) == 0 }, 'all clients end');
	ok($ended, "$how: ends them within a call");
	$ended ? $_->finish : $_->kill_kill for @clients;
	like($output, $how eq 'pg_cancel_backend' ? qr/canceling statement/ : qr/terminating connection/, "$how: that was it");
	is( ask(q{SET statement_timeout = '60s';
		SELECT count(*) FILTER (WHERE a.allowed) FROM generate_series(1, 1000) n, LATERAL rate_limit('after } . $round . q{ ' || n, 1, '1 hour', algorithm => 'exact') a}),
		1000, "$how: no lock is left, in no partition");
}
is( ask(q{SELECT sum(rate_limit_reset(k || n)) > 0 FROM generate_series(0, 1000) n, unnest(ARRAY['loop ', 'after 1 ', 'after 2 ', 'after 3 ', 'after 4 ', 'after 5 ', 'after 6 ', 'after 7 ', 'after 8 ']) k;
	SELECT count(rate_limit_reset(k)) FROM unnest('{hot,three,burst,both,back,block,repeatable read,serializable,statement,savepoint,caught,undone,read only}'::text[]) k}),
	"t\n13", 'all is reset');
ask(q{SELECT rate_limit_reset('hot')}, 'real');
is(ask('SELECT cells, log_entries FROM rate_limit_stats'), '0|0', 'and no place, no hit is left over');

note 'everything at once, on few keys';

run_clients(
	'everything', 12000, q{
	\set k random(1, 12)
	\set n random(1, 200)
	\set b random(1, 20)
	SELECT rate_limit('few ' || :k, 1000, '1 hour', :n, algorithm => 'exact');
	SELECT rate_limit('few ' || :k, 300, '1 minute', :n, burst => 1 + :n, block => '1 hour');
	SELECT rate_limit('few ' || :n % 12, 300, '1 hour', :n, algorithm => 'sliding');
	SELECT rate_limit_refund('few ' || :n % 12, 1000, '1 hour', :n, algorithm => 'exact');
	SELECT rate_limit_refund('few ' || :k, 300, '1 hour', :n, algorithm => 'sliding');
	SELECT rate_limit_peek('few ' || :k, 1000, '1 hour', :n, algorithm => 'exact');
	SELECT CASE WHEN :b = 1 THEN rate_limit_reset('few ' || :k) WHEN :b < 5 THEN rate_limit_unblock('few ' || :k)::int WHEN :b = 5 THEN length(rate_limit_block('few ' || :k, '1 hour')::text) END;
}, 'postgres');
ok( ask(q{SELECT bool_and(l.remaining BETWEEN 0 AND 1000 AND l.reset_after BETWEEN interval '0' AND interval '1 hour')
	FROM generate_series(0, 12) n, unnest('{exact,sliding,gcra}'::text[]) a, LATERAL rate_limit_peek('few ' || n, 1000, '1 hour', algorithm => a) l}) eq 't', 'all counts make sense');
is(ask(q{SELECT count(rate_limit_reset('few ' || n)) FROM generate_series(0, 12) n; SELECT cells, log_entries FROM rate_limit_stats}), "13\n0|0", 'and nothing is left over');

# Clocks some microseconds apart: who comes with an earlier time than the last charge's waits for nobody, and gets nothing twice.
run_clients("sessions' clocks apart", 1600, q{
	\set late random(1, 9)
	SELECT set_config('pgcache.test_clock', '2030-01-01 12:00:00.00000' || :late || '+00', false);
	INSERT INTO granted SELECT 'clocks', 1 FROM rate_limit('clocks', 100, '1 day', algorithm => 'exact') WHERE allowed;
	INSERT INTO granted SELECT 'clocks', 1 FROM rate_limit('clocks', 100, '1 day', algorithm => 'fixed') WHERE allowed;
});
is(ask(q{SELECT count(*) FROM granted WHERE what = 'clocks'}), 200, 'neither waits, nothing is given twice');

$_->quit for ($one, $other);
unlike(slurp_file($server->logfile), qr/PANIC|was terminated by signal|reinitializing/, 'nothing crashed');

done_testing();

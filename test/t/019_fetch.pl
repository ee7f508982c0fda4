# cache_fetch with many sessions: one run for all who miss, however it ends; no circle of waiting lasts; nothing that was
# overtaken is stored; roles, databases and transactions that must not share do not.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use IPC::Run;
use PgCache;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Who waits in vain fails a test.
my $patience = "pgcache.fetch_wait = '1h'\nstatement_timeout = '${PostgreSQL::Test::Utils::timeout_default}s'\n";
my $server = new_server('fetch', conf => "pgcache.memory = 256MB\nmax_connections = 250\n$patience");
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache; CREATE DATABASE other');
$server->safe_psql('other', 'CREATE EXTENSION pgcache');

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }

ask(q{
	CREATE TABLE t (id int PRIMARY KEY, value text);
	CREATE TABLE results (value text, pid int);
	CREATE TABLE failing (pid int);
	CREATE FUNCTION sessions(event text) RETURNS bigint LANGUAGE sql AS $$
		SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = event AND backend_type = 'client backend' $$;
	-- The sqlstate of what a fetch ends by, caught; then it waits at gate 2.
	CREATE FUNCTION caught(key text, query text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE state text;
	BEGIN
		BEGIN
			PERFORM cache_fetch(key, query);
		EXCEPTION WHEN query_canceled OR division_by_zero THEN
			state := SQLSTATE;
		END;
		PERFORM pg_advisory_xact_lock_shared(2);
		RETURN state || ' ' || current_setting('transaction_read_only');
	END $$;
	CREATE FUNCTION gated_count() RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock_shared(1);
		RETURN (SELECT count(*) FROM t);
	END $$;
	CREATE FUNCTION deep(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RETURN CASE n WHEN 0 THEN '0' ELSE cache_fetch('deep ' || n, format('SELECT deep(%s)::int + 1', n - 1)) END;
	END $$;
});

# ---- sessions

sub session {
	my $session = $server->background_psql($_[0] // 'postgres', on_error_stop => 0);
	$session->set_query_timer_restart;
	return $session;
}

# A session whose errors are sqlstates, and its process id.
sub new_session {
	my $session = session(@_);
	$session->query_safe('\set VERBOSITY sqlstate');
	return ($session, $session->query_safe('SELECT pg_backend_pid()'));
}

# Begins a statement; finish() waits for its end and gives its result, or its sqlstate.
sub begin {
	my ($session, $statement) = @_;
	$session->{stdin} .= "$statement;\n";
	$session->{run}->pump_nb;
	return;
}

sub finish {
	my ($session) = @_;
	my $result = $session->query('');
	my $error = $session->{stderr};
	$session->{stderr} = '';
	$result =~ s/\s+$//;
	return $error =~ /ERROR:\s+(\S+)/ ? $1 : $result;
}

sub end { $_->quit for @_; return; }

# Advisory locks at which queries are held.
my $gates = session();
sub close_gate { $gates->query_safe('SELECT pg_advisory_lock(' . ($_[0] // 1) . ')'); return; }
sub open_gate { $gates->query_safe('SELECT pg_advisory_unlock(' . ($_[0] // 1) . ')'); return; }

# Which process has run it.
my $held = 'SELECT pg_backend_pid() FROM pg_advisory_xact_lock_shared(1)';

sub fetch {
	my ($key, $query, $rest) = @_;
	return "SELECT cache_fetch('$key', \$query\$$query\$query\$" . ($rest // '') . ')';
}

sub await {
	my ($event, $count, $name) = @_;
	$server->poll_query_until('postgres', "SELECT sessions('$event') = $count") or die "waited in vain: $name";
	return;
}
sub await_held { await('advisory', @_); return; }
sub await_waiting { await('Extension', @_); return; }

# What a part has done, 'runs waits', since the last call.
my @before = (0, 0);

sub counts {
	my @now = split /\|/, ask(q{SELECT sum(fetch_runs), sum(fetch_waits) FROM cache_stats});
	my $since = ($now[0] - $before[0]) . ' ' . ($now[1] - $before[1]);
	@before = @now;
	return $since;
}

# Many sessions that run a script once each.
sub start_crowd {
	my ($clients, $script) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/script';
	append_to_file($file, $script);
	ask('TRUNCATE results');
	my ($input, $output) = ('', '');
	my $run = IPC::Run::start([ 'pgbench', '-n', '-M', 'extended', '-c', $clients, '-t', 1, '-f', $file, $server->connstr('postgres') ],
		'<', \$input, '>', \$output, '2>&1');
	return [ $run, \$output ];
}

sub is_finished {
	my ($run, $name) = @_;
	ok($run->[0]->finish, $name) or diag(${ $run->[1] });
	return;
}

my $keep_result = "INSERT INTO results VALUES (:value, pg_backend_pid());\n";

note '200 sessions and a cold key';

close_gate();
counts();
my $crowd = start_crowd(200, fetch('cold', $held) . " AS value \\gset\n$keep_result");
await_waiting(199, '199 wait');
await_held(1, 'one runs');
is(ask(q{SELECT count(*) FROM results}), 0, 'nobody has a result yet');
open_gate();
is_finished($crowd, 'all end');
is(counts(), '1 199', 'one has run it, 199 have waited');
is(ask(q{SELECT count(*), count(DISTINCT value), count(*) FILTER (WHERE value = pid::text) FROM results}), '200|1|1', 'all have the value of the one');
is(ask(q{SELECT cache_get('cold') #>> '{}' = (SELECT min(value) FROM results)}), 't', 'which is in the cache');

note '200 sessions and a key past its ttl';

set_clock($server, '2030-01-01 00:00:00');
ask(q{SELECT cache_fetch('stale', $$SELECT 'old'$$, '1 minute', stale_for => '1 hour')});
set_clock($server, '2030-01-01 00:02:00');
close_gate();
counts();
$crowd = start_crowd(200,
	fetch('stale', "SELECT 'new' FROM pg_advisory_xact_lock_shared(1)", q{, '1 minute', stale_for => '1 hour'}) . " #>> '{}' AS value \\gset\n$keep_result");
$server->poll_query_until('postgres', q{SELECT count(*) = 199 FROM results}) or die 'they do not get the old value';
is(ask(q{SELECT count(*) FROM results WHERE value = 'old'}), 199, 'all but one get the old value while one runs');
is(ask(q{SELECT cache_get('stale')}), '"old"', 'cache_get too');
open_gate();
is_finished($crowd, 'all end');
is(counts(), '1 0', 'one has run it, nobody has waited');
is(ask(q{SELECT string_agg(value, ' ') FROM results WHERE value <> 'old'}), 'new', 'the runner got the new value');
is(ask(fetch('stale', 'SELECT 0')), '"new"', 'as do all after it');

close_gate();
ask(q{SELECT cache_fetch('stale 2', $$SELECT 'old'$$, '1 minute', stale_for => '1 hour')});
set_clock($server, '2030-01-01 00:04:00');
counts();
{
	my ($runner, $pid) = new_session();
	begin($runner, fetch('stale 2', $held, q{, '1 minute', stale_for => '1 hour'}));
	await_held(1, 'it is refreshed');
	ask(q{SELECT cache_delete('stale 2')});
	my ($waiter) = new_session();
	begin($waiter, fetch('stale 2', q{SELECT 'own'}));
	await_waiting(1, 'what was invalidated is no value for anybody');
	is(ask("SELECT pg_cancel_backend($pid)"), 't', 'the refresh is cancelled');
	is(finish($runner), '57014', 'which ends it');
	is(finish($waiter), '"own"', 'and the one who has waited runs it');
	end($runner, $waiter);
}
open_gate();
is(counts(), '2 1', 'an invalidated old value is waited for');
$server->append_conf('postgresql.conf', "pgcache.test_clock = ''");
$server->reload;
$server->poll_query_until('postgres', q{SELECT current_setting('pgcache.test_clock') = ''}) or die;

note 'the runner ends early';

# One runs, two wait; `ends` makes an end of the runner, who then has `state`.
sub runner_ends {
	my ($name, %how) = @_;
	my ($runner, $pid) = new_session();
	my @waiters = map { [ new_session() ] } (1, 2);
	my $query = $how{query} // $held;
	close_gate();
	close_gate(2);
	ask("TRUNCATE failing; INSERT INTO failing VALUES ($pid)");
	$runner->query_safe($how{before}) if defined $how{before};
	counts();
	begin($runner, ($how{call} // \&fetch)->("end: $name", $query));
	await_held(1, 'the first runs');
	begin($_->[0], fetch("end: $name", $query)) for @waiters;
	await_waiting(2, 'the others wait');
	$how{ends}->($runner, $pid) if defined $how{ends};
	if ($how{opens}) {
		open_gate();
	} else {
		await_waiting(1, 'one is left waiting');
		await_held($how{call} ? 2 : 1, 'another has taken over');
		open_gate();
	}
	my @results = map { finish($_->[0]) } @waiters;
	is($results[0], $results[1], "$name: the others have the same value");
	ok((grep { $_->[1] eq $results[0] } @waiters), "$name: of one of them") or diag("results @results, pids " . join(' ', map { $_->[1] } @waiters));
	is(counts(), '2 2', "$name: another has run it, two have waited");
	open_gate(2);
	if (defined $how{state}) {
		is(finish($runner), $how{state}, "$name: how the first has ended");
		is($runner->query('SHOW transaction_read_only'), $how{aborted} ? '' : 'off', "$name: its session may write again");
		$runner->quit;
	} else {
		eval { $runner->quit };
	}
	is(ask("SELECT cache_get('end: $name')"), $results[0], "$name: it is in the cache");
	end(map { $_->[0] } @waiters);
	return;
}

sub caught { return "SELECT caught('$_[0]', '$_[1]')"; }
my $fails = 'SELECT pg_backend_pid() / (pg_backend_pid() <> (SELECT pid FROM failing))::int FROM pg_advisory_xact_lock_shared(1)';
my $cancel = sub { ask("SELECT pg_cancel_backend($_[1])"); };

runner_ends('cancelled', ends => $cancel, state => '57014');
runner_ends('terminated', ends => sub { ask("SELECT pg_terminate_backend($_[1])") });
runner_ends('statement_timeout', before => q{SET statement_timeout = '3s'}, state => '57014');
runner_ends('an error', query => $fails, opens => 1, state => '22012');
runner_ends('an error caught', query => $fails, call => \&caught, opens => 1, state => '22012 off');
runner_ends('a cancel caught', call => \&caught, ends => $cancel, state => '57014 off');
runner_ends('in a transaction', before => 'BEGIN', ends => $cancel, state => '57014', aborted => 1);

note 'a waiter ends early';

{
	my ($runner, $pid) = new_session();
	my ($cancelled, $cancelled_pid) = new_session();
	my ($terminated, $terminated_pid) = new_session();
	my ($timed_out) = new_session();
	my ($stays) = new_session();
	my ($caught, $caught_pid) = new_session();
	close_gate();
	close_gate(2);
	counts();
	begin($runner, fetch('waiter', $held));
	await_held(1, 'one runs');
	begin($_, fetch('waiter', $held)) for ($cancelled, $terminated, $stays);
	begin($caught, caught('waiter', $held));
	await_waiting(4, 'four wait');
	$timed_out->query_safe(q{SET statement_timeout = '100ms'});
	begin($timed_out, fetch('waiter', $held));
	is(finish($timed_out), '57014', 'a waiter ends by statement_timeout');
	ask("SELECT pg_cancel_backend($cancelled_pid), pg_cancel_backend($caught_pid)");
	is(ask("SELECT pg_terminate_backend($terminated_pid, 180000)"), 't', 'a waiter is terminated');
	is(finish($cancelled), '57014', 'a waiter is cancelled');
	await_waiting(1, 'the last waits');
	await_held(2, 'the runner runs, and one who has caught his cancellation goes on');
	open_gate();
	is(finish($runner), $pid, 'the runner is not disturbed');
	is(finish($stays), $pid, 'nor is another waiter');
	is(counts(), '1 5', 'one run');
	open_gate(2);
	is(finish($caught), '57014 off', 'one has caught it');
	$timed_out->query_safe('RESET statement_timeout');
	is($_->query_safe(fetch('waiter', $held)), $pid, 'their sessions go on') for ($cancelled, $timed_out, $caught);
	eval { $terminated->quit };
	end($runner, $cancelled, $timed_out, $stays, $caught);
}

note 'pgcache.fetch_wait';

for my $wait ([ '100ms', '2 1' ], [ '0', '2 0' ]) {
	my ($runner, $pid) = new_session();
	my ($other) = new_session();
	close_gate();
	counts();
	begin($runner, fetch("patience $wait->[0]", $held));
	await_held(1, 'one runs');
	$other->query_safe("SET pgcache.fetch_wait = '$wait->[0]'");
	is($other->query_safe(fetch("patience $wait->[0]", q{SELECT 'own'})), '"own"', "$wait->[0]: the other runs it himself");
	is(counts(), $wait->[1], "$wait->[0]: who has waited");
	is(ask("SELECT cache_get('patience $wait->[0]')"), '"own"', "$wait->[0]: and stores it");
	open_gate();
	is(finish($runner), $pid, "$wait->[0]: the first is not disturbed");
	end($runner, $other);
}

note 'circles';

# Sessions that fetch a key each, and in its query the key of the next one.
for my $size (2, 3) {
	my @ring = map { (new_session())[0] } (1 .. $size);
	close_gate();
	counts();
	for my $i (0 .. $#ring) {
		my $next = ($i + 1) % $size;
		$ring[$i]->query_safe(q{SET pgcache.fetch_wait = '500ms'});
		begin($ring[$i], fetch("ring $size $i", "SELECT cache_fetch('ring $size $next', 'SELECT $next') FROM pg_advisory_xact_lock_shared(1)"));
	}
	await_held($size, 'all run');
	open_gate();
	like(finish($ring[$_]), qr/^\d$/, "$size in a ring: $_ ends") for (0 .. $#ring);
	is(ask("SELECT count(*) FROM generate_series(0, $size - 1) i WHERE cache_exists('ring $size ' || i)"), $size, "$size in a ring: all is stored");
	end(@ring);
}

is(ask(fetch('self', q{SELECT cache_fetch('self', 'SELECT 1')::int + 1})), 2, 'a key in its own query');

# `first` runs and stops at gate 1; `second` then takes what the first will want, and waits for the first.
sub locks_cross {
	my ($name, %how) = @_;
	my ($first) = new_session();
	my ($second) = new_session();
	close_gate();
	$second->query_safe(q{SET pgcache.fetch_wait = '500ms'});
	begin($first, $how{first});
	await_held(1, 'the first runs');
	$second->query_safe('BEGIN');
	$second->query_safe($how{takes});
	counts();
	begin($second, $how{second});
	await_waiting(1, 'the second waits');
	open_gate();
	is(finish($second), $how{result}, "$name: the second ends");
	$second->query_safe('COMMIT');
	is(finish($first), $how{result}, "$name: the first ends");
	is(counts(), "$how{runs} 1", "$name: the second has waited and run it");
	end($first, $second);
	return;
}

my $two_locks = 'SELECT 7 FROM pg_advisory_xact_lock_shared(1), LATERAL pg_advisory_xact_lock(12)';
locks_cross('advisory locks', first => fetch('cross 1', $two_locks), takes => 'SELECT pg_advisory_xact_lock(12)',
	second => fetch('cross 1', 'SELECT 7 FROM pg_advisory_xact_lock(12)'), result => 7, runs => 1);
locks_cross('a table lock', first => fetch('cross 2', 'SELECT gated_count()'), takes => 'LOCK TABLE t IN ACCESS EXCLUSIVE MODE',
	second => fetch('cross 2', 'SELECT count(*) FROM t'), result => 0, runs => 1);
locks_cross('locks in another order', first => fetch('cross 3', $two_locks), takes => 'SELECT 1',
	second => fetch('cross 4', q{SELECT cache_fetch('cross 3', 'SELECT 7')  FROM pg_advisory_xact_lock(12)}), result => 7, runs => 2);

note 'exactness';

ask(q{INSERT INTO t VALUES (1, 'old')});
my $row = 'SELECT value FROM t, pg_advisory_xact_lock_shared(1) WHERE id = 1';

# A run while which `change` commits; then what is returned and what is in the cache.
sub overtaken {
	my ($change) = @_;
	my ($runner) = new_session();
	ask(q{UPDATE t SET value = 'old'; SELECT cache_clear()});
	close_gate();
	begin($runner, fetch('row', $row, q{, tags => '{a,b}'}));
	await_held(1, 'one runs');
	ask("BEGIN; UPDATE t SET value = 'new'; $change; COMMIT");
	open_gate();
	my $returned = finish($runner);
	end($runner);
	return $returned . ' ' . ask(q{SELECT coalesce(cache_get('row')::text, 'none')});
}

is(overtaken('SELECT 1'), '"old" "old"', 'a run that nothing overtakes is stored');
is(overtaken(q{SELECT cache_delete('row')}), '"old" none', 'a run that a delete of its key overtakes is not');
is(overtaken(q{SELECT cache_invalidate('{b}')}), '"old" none', 'nor one whose tag is invalidated');
is(overtaken(q{SELECT cache_delete_matching('ro_')}), '"old" none', 'nor one whose key matches a pattern');
is(overtaken(q{SELECT cache_clear()}), '"old" none', 'nor one of before a cache_clear');
is(overtaken(q{SELECT cache_delete('row'), cache_set('row', '"set"')}), '"old" "set"', 'nor in the place of what was set meanwhile');

# Who waits for a run that is overtaken.
{
	my ($runner) = new_session();
	my ($waiter) = new_session();
	ask(q{UPDATE t SET value = 'old'; SELECT cache_clear()});
	close_gate();
	begin($runner, fetch('row', $row, q{, tags => '{a}'}));
	await_held(1, 'one runs');
	begin($waiter, fetch('row', $row, q{, tags => '{a}'}));
	await_waiting(1, 'one waits');
	ask(q{BEGIN; UPDATE t SET value = 'new'; SELECT cache_invalidate('{a}'); COMMIT});
	open_gate();
	is(finish($runner), '"old"', 'a runner that is overtaken has the old row');
	is(finish($waiter), '"new"', 'who has waited for it does not get that');
	is(ask(q{SELECT cache_get('row')}), '"new"', 'and stores his own');
	end($runner, $waiter);
}

close_gate();
ask(q{UPDATE t SET value = 'old'; SELECT cache_clear()});
counts();
$crowd = start_crowd(40, fetch('row', $row, q{, tags => '{a}'}) . " #>> '{}' AS value \\gset\n$keep_result");
await_waiting(39, 'a crowd waits');
ask(q{BEGIN; UPDATE t SET value = 'new'; SELECT cache_invalidate('{a}'); COMMIT});
open_gate();
is_finished($crowd, 'a crowd whose run is overtaken ends');
is(ask(q{SELECT string_agg(value || ' ' || n, ' ' ORDER BY n) FROM (SELECT value, count(*) AS n FROM results GROUP BY 1) r}), 'old 1 new 39', 'one has the old row');
is(counts(), '2 39', 'one more has run it');

# The change is not committed when the run ends, but invalidates when it does.
{
	my ($writer) = new_session();
	ask(q{UPDATE t SET value = 'old'; SELECT cache_clear()});
	$writer->query_safe($_) for ('BEGIN', q{UPDATE t SET value = 'new'}, q{SELECT cache_delete('row')});
	is(ask(fetch('row', 'SELECT value FROM t WHERE id = 1')), '"old"', 'a run before the commit sees the old row');
	$writer->query_safe('COMMIT');
	is(ask(fetch('row', 'SELECT value FROM t WHERE id = 1')), '"new"', 'a fetch after it never the old one');
	end($writer);
}

# Waiters of whom the runner's commit is younger than the statement.
{
	my ($runner) = new_session();
	my ($waiter) = new_session();
	my ($repeatable) = new_session();
	my ($writer) = new_session();
	ask(q{UPDATE t SET value = 'old'; SELECT cache_clear()});
	close_gate();
	close_gate(2);
	$repeatable->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($repeatable->query_safe('SELECT value FROM t WHERE id = 1'), 'old', 'a snapshot of before the commit');
	begin($waiter, fetch('row', 'SELECT 0') . q{ #>> '{}' FROM pg_advisory_xact_lock_shared(2)});
	await_held(1, 'a statement has begun');
	ask(q{BEGIN; UPDATE t SET value = 'new'; SELECT cache_delete('row'); COMMIT});
	counts();
	begin($runner, fetch('row', $row));
	await_held(2, 'one runs');
	is($repeatable->query_safe(fetch('row', 'SELECT value FROM t WHERE id = 1')), '"old"', 'REPEATABLE READ gets its own');
	is(counts(), '2 0', 'and does not wait');
	$writer->query_safe('BEGIN');
	$writer->query_safe(q{INSERT INTO t VALUES (2, 'mine')});
	is($writer->query_safe(fetch('row', 'SELECT value FROM t WHERE id = 2')), '"mine"', 'a transaction that has written gets its own');
	is(counts(), '1 0', 'and does not wait either');
	$writer->query_safe('ROLLBACK');
	is(ask(q{SELECT cache_exists('row')}), 'f', 'both have stored nothing');
	open_gate(2);
	await_waiting(1, 'the older statement waits');
	open_gate();
	is(finish($runner), '"new"', 'the runner has the new row');
	is(finish($waiter), 'new', 'so has the waiter, although its statement is older');
	is(counts(), '0 1', 'by waiting');
	is(ask(q{SELECT cache_get('row')}), '"new"', 'it is stored');
	is($repeatable->query_safe(fetch('row', 'SELECT value FROM t WHERE id = 1')), '"old"', 'REPEATABLE READ does not get what is newer');
	is(ask(q{SELECT cache_get('row')}), '"new"', 'nor does it store what is older');
	end($runner, $waiter, $repeatable, $writer);
}
ask(q{DELETE FROM t WHERE id = 2});

# What the query itself has written is nobody else's.
{
	my ($session) = new_session();
	ask(q{SELECT cache_clear()});
	$session->query_safe('CREATE TEMP TABLE mine (x int)');
	$session->query_safe(q{CREATE FUNCTION pg_temp.write() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mine VALUES (1); RETURN (SELECT count(*) FROM mine); END $$});
	for ([ 'temporary', 'SELECT pg_temp.write()', 1 ], [ 'held', q{SELECT cache_set('h', '7') AND cache_get('h') = '7'}, 'true' ],
		[ 'deleted', q{SELECT cache_get('there') IS NULL FROM (SELECT cache_delete('there')) d}, 'true' ],
		[ 'named', 'SELECT pg_current_xact_id() IS NOT NULL', 'true' ]) {
		ask(q{SELECT cache_set('there', '1')});
		$session->query_safe('BEGIN');
		is($session->query_safe(fetch($_->[0], $_->[1])), $_->[2], "$_->[0]: a query that makes its transaction another one");
		$session->query_safe('ROLLBACK');
		is(ask("SELECT cache_exists('$_->[0]'), cache_exists('h')"), 'f|f', "$_->[0]: what it computed of its own is not stored");
	}
	end($session);
}

note 'two databases';

{
	my ($here, $pid) = new_session();
	my ($there, $other_pid) = new_session('other');
	close_gate();
	counts();
	begin($here, fetch('database', $held));
	await_held(1, 'one runs');
	is($there->query_safe(fetch('database', 'SELECT 1')), 1, 'the same key of another database does not wait');
	is(counts(), '2 0', 'and runs on its own');
	open_gate();
	is(finish($here), $pid, 'each has its own');
	is($there->query_safe(q{SELECT cache_get('database')}), 1, 'and keeps it');
	end($here, $there);
}

note 'roles and tenants';

ask(q{CREATE ROLE ann; CREATE ROLE bob; SELECT pgcache.grant_to(r) FROM unnest('{ann,bob}'::regrole[]) r;
	CREATE TABLE notes (tenant text, note text); INSERT INTO notes VALUES ('a', 'of a'), ('b', 'of b');
	ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON notes USING (tenant = current_setting('app.tenant'));
	GRANT SELECT ON notes TO ann, bob;
	CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO bob; GRANT SELECT ON t TO bob; GRANT SELECT, INSERT ON results TO bob;
	CREATE FUNCTION note() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT note FROM notes); END $$});
my ($ann, $ann_pid) = new_session();
my ($bob, $bob_pid) = new_session();
$ann->query_safe(q{SET ROLE ann});
$bob->query_safe(q{SET ROLE bob});

# As a role, its sqlstate or its result.
sub try {
	my ($session, $statement) = @_;
	begin($session, $statement);
	return finish($session);
}

close_gate();
counts();
begin($ann, fetch('roles', $held));
await_held(1, 'one role runs');
is(try($bob, fetch('roles', q{SELECT 'of bob'})), '"of bob"', 'another role does not wait for it');
is(counts(), '2 0', 'and runs its own');
open_gate();
is(finish($ann), $ann_pid, 'nor does it get the other one\'s');
is(try($bob, fetch('roles', q{SELECT 'of bob'})), '"of bob"', 'nor when there is one');

close_gate();
begin($ann, fetch('sharing', $held, ', shared => true'));
await_held(1, 'one runs it for all who share');
begin($bob, fetch('sharing', q{SELECT 'of bob'}, ', shared => true'));
await_waiting(1, 'who says shared waits');
my ($alone) = new_session();
is(try($alone, 'SET ROLE bob; ' . fetch('sharing', q{SELECT 'of bob'})), '"of bob"', 'who does not has no part in it');
end($alone);
open_gate();
is(finish($ann) . ' ' . finish($bob), "$ann_pid $ann_pid", 'both have the one result');
is(try($bob, fetch('sharing', q{SELECT 'of bob'})), '"of bob"', 'but without shared there is none');
is(try($ann, fetch('not shared', 'SELECT 1')) . try($bob, fetch('not shared', 'SELECT 2', ', shared => true')), '12', 'to say it alone gives nothing');

# A crowd of two roles that do not share.
close_gate();
counts();
$crowd = start_crowd(40,
	"SET ROLE bob;\n" . fetch('of two', $held) . " AS value \\gset\nRESET ROLE;\n" . fetch('of two', 'SELECT 0') . " AS mine \\gset\n" . $keep_result);
await_waiting(39, 'a crowd of one role waits');
is(try($ann, fetch('of two', 'SELECT 1')), 1, 'another role goes by');
open_gate();
is_finished($crowd, 'the crowd ends');
is(ask(q{SELECT count(*), count(DISTINCT value), count(*) FILTER (WHERE value = pid::text) FROM results}), '40|1|1', 'with a result of its own');

$ann->query_safe(q{SET app.tenant = 'a'});
is(try($ann, fetch('notes', 'SELECT note FROM notes')), '42501', 'row-level security without shared');
is(try($ann, fetch('notes:a', 'SELECT note FROM notes', ', shared => true')), '"of a"', 'with it');
is(try($ann, fetch('note', 'SELECT note()')), '42501', 'row-level security inside a function');

is(try($bob, $_->[1]), $_->[2], $_->[0]) for (
	[ 'SET ROLE to another', 'SET ROLE ann; ' . fetch('not shared', 'SELECT 2'), 1 ],
	[ 'and back', 'SET ROLE bob; ' . fetch('not shared', 'SELECT 2'), 2 ]);

$bob->query_safe($_) for (
	q{CREATE FUNCTION evil.jsonb_to_record(jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$},
	q{CREATE FUNCTION evil.concat(text, bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$},
	q{CREATE FUNCTION evil.jsonb_array_elements(jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$},
	q{CREATE FUNCTION evil.to_jsonb(anyelement) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$},
	q{CREATE FUNCTION evil.writes() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN INSERT INTO results VALUES ('written'); RETURN 1; END $$},
	q{CREATE FUNCTION evil.unlocks() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); INSERT INTO results VALUES ('written'); RETURN 1; END $$},
	q{CREATE FUNCTION evil.executes(command text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; RETURN 1; END $$},
	q{CREATE FUNCTION evil.catches(command text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN BEGIN EXECUTE command; EXCEPTION WHEN OTHERS THEN NULL; END; INSERT INTO results VALUES ('written'); RETURN 1; END $$},
	q{CREATE DOMAIN evil.int4 AS pg_catalog.text},
	q{CREATE DOMAIN evil.text AS pg_catalog.int4},
	q{CREATE SEQUENCE evil.numbers},
	q{SET search_path = evil, pg_catalog, public});
is(try($bob, $_->[1]), $_->[2], $_->[0]) for (
	[ 'own names before those of the system', fetch('sp 1', 'SELECT $1::pg_catalog.int4 + $2', q{, params => '[1, 2]'}), 3 ],
	[ 'in types too', fetch('sp 2', 'SELECT $1::int4 AS a, $2 AS b, $3::text AS c', q{, params => '["x", "y", 7]'}), '[{"a": "x", "b": "y", "c": 7}]' ]);
$bob->query_safe('SET search_path = public, evil');

is(try($bob, fetch("game: $_->[0]", $_->[1])), $_->[2] // '25006', $_->[0]) for (
	[ 'a function that writes and says that it is IMMUTABLE', 'SELECT evil.writes()', '0A000' ],
	[ 'one with SET transaction_read_only = off', 'SELECT evil.unlocks()', '25001' ],
	[ 'set_config of transaction_read_only', q{SELECT set_config('transaction_read_only', 'off', true)}, '25001' ],
	[ 'SET TRANSACTION READ WRITE', q{SELECT evil.executes('SET TRANSACTION READ WRITE')}, '25001' ],
	[ 'a write after RESET transaction_read_only', q{SELECT evil.executes('RESET transaction_read_only') + evil.catches('SELECT 1')}, $server->pg_version < 16 ? '25006' : '0A000' ],
	[ 'a write after what fails', q{SELECT evil.catches('SET transaction_read_only = off')} ],
	[ 'a write after what works', q{SELECT evil.catches('SELECT 1')} ],
	[ 'nextval', q{SELECT nextval('evil.numbers')} ],
	[ 'setval', q{SELECT setval('evil.numbers', 7)} ],
	[ 'a table', q{SELECT evil.executes('CREATE TABLE evil.made ()')} ],
	[ 'a temporary table', q{SELECT evil.executes('CREATE TEMP TABLE made ()')} ],
	[ 'a role', q{SELECT evil.executes('CREATE ROLE made')} ],
	[ 'COMMIT', q{SELECT evil.executes('COMMIT')}, '0A000' ],
	[ 'statements', 'SELECT 1; INSERT INTO results VALUES (1)', '42601' ],
	[ 'a statement after a comment', "SELECT 1 -- ;\n; DELETE FROM results", '42601' ],
	[ 'a psql command', '\dt', '42601' ],
	[ 'no query but blanks and semicolons', ' ;; ', '42601' ]);
is(ask(q{SELECT count(*) FROM results WHERE value = 'written'}), 0, 'nothing is written');
is($bob->query_safe('SHOW transaction_read_only'), 'off', 'the session may write');
is($bob->query_safe(fetch('text', "SELECT ';' /* ; -- */ AS \"a;b\" -- ;\n;")), '";"', 'semicolons and comments inside a query');
is(try($bob, "SELECT cache_fetch('param ' || number, 'SELECT \$1', params => jsonb_build_array(value)) #>> '{}' = value FROM unnest(ARRAY['''; DROP TABLE t; --', '\$1', '\\', '\"', '']) WITH ORDINALITY u (value, number)"),
	"t\nt\nt\nt\nt", 'params with SQL in them');

is(try($bob, q{SELECT cache_fetch('endless', 'SELECT 1', '1 minute', stale_for => 'infinity')}), $server->pg_version < 17 ? '22007' : '22023', 'an old value for ever is none');

# Even if the query has set the parameter itself.
begin($bob, 'BEGIN');
$bob->query_safe(fetch('game 2', q{SELECT set_config('transaction_read_only', 'on', false)}));
is($bob->query_safe('SHOW transaction_read_only'), 'off', 'a query that sets transaction_read_only on');
$bob->query_safe('ROLLBACK');
end($ann, $bob);

# What psql prints of a statement that may fail.
sub printed {
	my ($statement) = @_;
	$server->psql('postgres', $statement, stdout => \my $output, stderr => \my $error);
	diag($error) if $error ne '';
	return $output;
}

note 'params of types that have another length without a modifier';

is(printed(fetch("bare $_->[0]", "SELECT \$1::$_->[0]", ", params => '[\"$_->[1]\"]'")), "\"$_->[1]\"", $_->[0])
  for ([ 'bpchar', 'abc' ], [ 'varbit', '101' ], [ 'varchar', 'abc' ], [ 'interval', '01:02:03.5' ]);
ask(q{CREATE TABLE codes (code char(3), bits bit(4)); INSERT INTO codes VALUES ('abc', '1010')});
is(printed(fetch("column $_->[0]", "SELECT count(*) FROM codes WHERE $_->[0] = \$1", ", params => '[\"$_->[1]\"]'")), 1, "a column of type $_->[2]")
  for ([ 'code', 'abc', 'char(3)' ], [ 'bits', '1010', 'bit(4)' ]);

note 'deep nesting';

is(printed('SELECT deep(10)'), 10, 'ten fetches in each other');
is(printed('SELECT cache_clear() >= 0'), 't', 'and again');
is(printed('SELECT deep(30)'), 30, 'thirty');
{
	# Which hold another place of a backend than the one above.
	my ($session) = new_session();
	my ($second) = new_session();
	end($session);
	counts();
	$second->query_safe(q{SET pgcache.fetch_wait = '200ms'});
	is($second->query_safe(q{SELECT count(cache_fetch('deep ' || i, 'SELECT 1')) FROM generate_series(1, 30) i}), 30, 'all of them are free again');
	like(counts(), qr/ 0$/, 'nobody waits for what nobody runs');
	end($second);
}
$crowd = start_crowd(20, join("\n", map { fetch("key $_", 'SELECT 1 FROM pg_sleep(0.005)') . ';' } (1 .. 100)) . "\n");
is_finished($crowd, 'a crowd with many keys');
like(counts(), qr/^100 /, 'each is run once');

note 'fetches that fail';

{
	my ($session) = new_session();
	my $fail = q{DO $$ BEGIN FOR i IN 1 .. 10000 LOOP
		BEGIN PERFORM cache_fetch('fails ' || i % 3, CASE i % 4 WHEN 0 THEN 'SELECT 1 / 0' WHEN 1 THEN 'SELECT $1' WHEN 2 THEN 'SELECT 1 / ($1::int - 1)' ELSE 'DELETE FROM t' END,
			params => CASE i % 4 WHEN 2 THEN '[1]' END::jsonb); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$};
	my $memory = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts};
	$session->query_safe(q{DO $$ BEGIN BEGIN PERFORM cache_fetch('fails', 'SELECT 1 / 0'); EXCEPTION WHEN OTHERS THEN NULL; END; END $$});
	my $before = $session->query_safe($memory);
	$session->query_safe($fail);
	my $after = $session->query_safe($memory);
	cmp_ok($after - $before, '<', 1_000_000, 'ten thousand leave no memory behind');
	$session->{stdin} .= fetch('fails', 'SELECT 1 / 0') . ";\n" for (1 .. 2000);
	finish($session);
	cmp_ok($session->query_safe($memory) - $before, '<', 1_000_000, 'nor do statements that fail');
	counts();
	is($session->query_safe(fetch('fails 1', 'SELECT 1')), 1, 'and it works');
	is(counts(), '1 0', 'at once');
	end($session);
}

note 'early refreshes';

{
	my ($session) = new_session();
	my $keys = 20;
	my $all = "FROM generate_series(1, $keys) i";
	my $fill = "SELECT count(cache_fetch('early ' || i, 'SELECT 1 FROM pg_sleep(0.2)', '1 hour')) $all";
	my $refreshed = "SELECT count(*) FILTER (WHERE cache_fetch('early ' || i, 'SELECT 2', '1 hour') = '2') $all";
	$session->query_safe(q{SET pgcache.test_clock = '2031-01-01 00:00:00'});
	$session->query_safe($fill);
	$session->query_safe(q{SET pgcache.test_clock = '2031-01-01 00:59:50'});
	is($session->query_safe("SELECT count(*) FILTER (WHERE cache_fetch('early ' || i % $keys + 1, 'SELECT 2', '1 hour') = '2') FROM generate_series(1, 1000) i"), 0, 'ten seconds before the end: none');
	$session->query_safe(q{SET pgcache.test_clock = '2031-01-01 00:59:59.861'});
	my $half = $session->query_safe($refreshed);
	ok($half >= 2 && $half <= $keys - 1, '139 ms before the end, of a run of 200 ms: about half') or diag($half);
	$session->query_safe("SELECT count(cache_delete('early ' || i)) $all");
	$session->query_safe(q{SET pgcache.test_clock = '2031-01-01 00:00:00'});
	$session->query_safe($fill);
	$session->query_safe(q{SET pgcache.test_clock = '2031-01-01 00:59:59.999'});
	cmp_ok($session->query_safe($refreshed), '>=', $keys - 3, '1 ms before the end: nearly all');
	$session->query_safe(q{SET pgcache.test_clock = '2031-01-01 01:00:00.5'});
	is($session->query_safe($refreshed), $keys, 'after it: all');
	end($session);
}

note 'the runner is killed';

{
	my ($runner, $pid) = new_session();
	my ($waiter) = new_session();
	my $worker = wait_for_worker($server);
	close_gate();
	begin($runner, fetch('killed', $held));
	await_held(1, 'one runs');
	begin($waiter, fetch('killed', $held));
	await_waiting(1, 'one waits');
	kill 'KILL', $pid;
	$server->poll_query_until('postgres', "SELECT pgcache.worker_pid() <> $worker") or die 'the server does not come back';
	eval { $_->quit } for ($runner, $waiter, $gates);
	is(key_count($server), 0, 'the cache is empty');
	@before = (0, 0);
	is(ask(fetch('killed', 'SELECT 1')), 1, 'and works');
	is(counts(), '1 0', 'nobody is waited for');
}
$server->stop;

note 'a standby';

my $primary = new_server('primary', allows_streaming => 1, conf => <<"CONF");
$patience
pgcache.memory = 16MB
# Few, so that there are few places for fetches.
max_connections = 8
autovacuum_max_workers = 1
max_worker_processes = 2
max_wal_senders = 2
max_replication_slots = 2
CONF
$primary->start;
$primary->safe_psql('postgres', q{CREATE EXTENSION pgcache; CREATE TABLE t (id int PRIMARY KEY, value text); INSERT INTO t VALUES (1, 'old')});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $value = fetch('row', 'SELECT value FROM t');
is($standby->safe_psql('postgres', $value), '"old"', 'a fetch on a standby');
is($standby->safe_psql('postgres', q{SELECT cache_get('row')}), '"old"', 'is stored there');
$primary->safe_psql('postgres', q{UPDATE t SET value = 'new'});
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $value), '"old"', 'and stays for its time');
is($standby->safe_psql('postgres', q{SELECT cache_delete('row')}), 't', 'or until it is deleted there');
is($standby->safe_psql('postgres', $value), '"new"', 'then it is run again');
is($standby->safe_psql('postgres', q{SELECT fetch_runs, fetch_waits FROM cache_stats WHERE database = 'postgres'}), '2|0', 'two runs');
is($standby->safe_psql('postgres', 'SHOW transaction_read_only'), 'on', 'it is read-only there before and after');
{
	my $gate = $standby->background_psql('postgres');
	my $runner = $standby->background_psql('postgres');
	my $waiter = $standby->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	begin($runner, fetch('over', $held));
	$standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory'}) or die 'it does not run';
	begin($waiter, fetch('over', q{SELECT 'of the waiter'}));
	$standby->poll_query_until('postgres', q{SELECT fetch_waits = 1 FROM cache_stats WHERE database = 'postgres'}) or die 'it does not wait';
	$standby->promote;
	$standby->poll_query_until('postgres', q{SELECT exact FROM cache_stats WHERE database = 'postgres'}) or die 'it is not promoted';
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	like(finish($runner), qr/^\d+$/, 'a run that a promotion overtakes ends');
	is(finish($waiter), '"of the waiter"', 'and is not stored: who has waited runs it');
	$_->quit for ($runner, $waiter, $gate);
}
is($standby->safe_psql('postgres', q{SELECT cache_exists('row')}), 'f', 'a promotion empties the cache');
is($standby->safe_psql('postgres', "$value; UPDATE t SET value = 'newest'; SELECT cache_delete('row'); $value; SELECT cache_get('row')"),
	qq{"new"\nt\n"newest"\n"newest"}, 'and after it a fetch is as on a primary');

note 'over a restart';

$standby->safe_psql('postgres', q{CREATE ROLE ann; SELECT pgcache.grant_to('ann');
	SELECT cache_fetch('mine', 'SELECT 1', '1 hour'), cache_fetch('ours', 'SELECT 1', '1 hour', stale_for => '1 hour', shared => true)});
like(restart_and_load($standby, 'fast'), qr/^loaded \d+$/, 'what is fetched is saved and loaded');
is($standby->safe_psql('postgres', fetch('mine', 'SELECT 2')), 1, 'its role has it again');
is($standby->safe_psql('postgres', 'SET ROLE ann; ' . fetch('mine', 'SELECT 2')), 2, 'and no other one');
is($standby->safe_psql('postgres', 'SET ROLE ann; ' . fetch('ours', 'SELECT 2', ', shared => true')), 1, 'but what is shared');
is($standby->safe_psql('postgres', q{SELECT cache_ttl('ours') > '1 hour'}), 't', 'with its time');

note 'more fetches than there are places';

{
	# Ten levels deep in each of some sessions, all held at once.
	$primary->safe_psql('postgres', q{CREATE FUNCTION deep(name text, n int) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
		IF n = 0 THEN PERFORM pg_advisory_xact_lock_shared(1); RETURN '0'; END IF;
		RETURN cache_fetch(name || n, format('SELECT deep(%L, %s)::int + 1', name, n - 1)); END $$});
	my $gate = $primary->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my @sessions = map { $primary->background_psql('postgres', on_error_stop => 0) } (1 .. 6);
	begin($sessions[$_], "SELECT deep('deep $_ ', 14)") for (0 .. $#sessions);
	$primary->poll_query_until('postgres', q{SELECT count(*) = 6 FROM pg_stat_activity WHERE wait_event = 'advisory'}) or die 'they do not get deep';
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	is(finish($_), 14, 'fourteen levels in each of six sessions') for @sessions;
	$primary->safe_psql('postgres', 'SELECT cache_clear()');
	is($sessions[0]->query_safe(q{SELECT count(cache_fetch('deep ' || s || ' ' || i, 'SELECT 1')) FROM generate_series(0, 5) s, generate_series(1, 14) i}), 84, 'all are free again');
	is($primary->safe_psql('postgres', q{SELECT fetch_waits FROM cache_stats WHERE database = 'postgres'}), 0, 'nobody has waited');
	$_->quit for (@sessions, $gate);
}

done_testing();

# Schedules of materialized views outlive what ends a refresh: processes that are killed, restarts, a promotion; and are
# in nobody's way who wants the database for himself.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $primary = new_server('matviews_crash', allows_streaming => 1,
	conf => "pgcache.test_clock = '2030-01-01 00:00:00'\nmax_worker_processes = 16\nmax_prepared_transactions = 5\npgcache.memory = 16MB\nmax_connections = 30");
my $server = $primary;
$server->start;

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }
# Day and hour, so many hours after the start.
sub hour { return sprintf('%02d %02d', 1 + int($_[0] / 24), $_[0] % 24); }
sub at { return set_clock($server, "2030-01-$_[0]"); }

sub poll {
	my ($sql, $database) = @_;
	return $server->poll_query_until($database // 'postgres', $sql);
}

# The function pass() returns when nobody keeps the gate closed, and waits so long; each call sees what has committed.
# "gates" is a view that passes one, "v" counts the rows of the table "base".
sub prepare {
	my ($database) = @_;
	ask(q{
		SET client_min_messages = warning;
		CREATE EXTENSION IF NOT EXISTS pgcache;
		CREATE TABLE closed (gate text);
		CREATE FUNCTION pass(gate text) RETURNS text LANGUAGE plpgsql SET search_path = public AS $$
		BEGIN
			WHILE EXISTS (SELECT FROM closed c WHERE c.gate = pass.gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
			RETURN gate;
		END $$;
		CREATE TABLE base (x int);
		CREATE MATERIALIZED VIEW v AS SELECT count(*) AS rows FROM base;
		CREATE MATERIALIZED VIEW gates AS SELECT pass('g') AS gate, count(*) AS rows FROM base WITH NO DATA;
		SELECT matview_schedule('v', every => '1 hour'), matview_schedule('gates', every => '1 hour')}, $database);
	settle($database);
	return;
}

sub settle {
	my ($database) = @_;
	poll('SELECT NOT EXISTS (SELECT FROM pgcache.matview_states WHERE run IS NOT NULL OR next_run <= pgcache.clock())
			AND (SELECT count(*) FROM pgcache.matview_states) = (SELECT count(*) FROM pgcache.matview_schedules)', $database)
	  or diag('does not settle: ' . ask('SELECT * FROM matview_status; SELECT * FROM matview_history', $database));
	return;
}

# Leaves the database with a refresh of "gates" that goes on until the gate is opened; the worker's process id.
my $hour = 0;
my $clock;
sub get_going {
	my ($database) = @_;
	$database //= 'postgres';
	settle($database);
	ask(q{INSERT INTO closed VALUES ('g')}, $database);
	++$hour;
	$clock = '2030-01-' . hour($hour) . ':00:00';
	set_clock($server, $clock);
	my $working = "FROM pg_stat_activity WHERE application_name = 'pgcache: public.gates' AND datname = '$database'";
	poll("SELECT count(*) = 1 $working") or die "nothing runs in $database";
	return ask("SELECT pid $working");
}

# The gate is open: the run that was interrupted is told of, and the view is refreshed when it is tried again.
my $outcomes = q{SELECT string_agg(outcome || coalesce(' ' || error_code, ''), ', ' ORDER BY id) FROM matview_history WHERE view = 'public.gates' AND started_at >= '%s'};
sub recovers {
	my ($name, $expected, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask(q{DELETE FROM closed; INSERT INTO base VALUES (1)}, $database);
	settle($database);
	is(ask(sprintf($outcomes, $clock), $database), $expected, "$name: that run is $expected");
	is(ask(q{SELECT state, failures FROM matview_status WHERE view = 'public.gates'}, $database), 'failing|1', "$name: which counts as a failure");
	at(hour($hour) . ':00:10');
	settle($database);
	is(ask(sprintf($outcomes, $clock), $database), "$expected, refreshed", "$name: it is tried again, once");
	is(ask('SELECT rows = (SELECT count(*) FROM base) FROM gates', $database), 't', "$name: the view is fresh");
	return;
}

prepare('postgres');

note 'the refresh worker ends';

my $worker = get_going();
my $cache_worker = wait_for_worker($server);
kill 'KILL', $worker;
poll("SELECT pgcache.worker_pid() <> $cache_worker AND pgcache.scheduler_pid() IS NOT NULL") or die 'the server does not come back';
recovers('kill -9', 'interrupted');

$worker = get_going();
is(ask("SELECT pg_terminate_backend($worker, 60000)"), 't', 'pg_terminate_backend ends it');
recovers('pg_terminate_backend', 'interrupted');

$worker = get_going();
ask("SELECT pg_cancel_backend($worker)");
recovers('pg_cancel_backend', 'failed 57014');

# With somebody else's refresh going on beside it.
ask(q{CREATE MATERIALIZED VIEW beside AS SELECT pass('h') AS gate WITH NO DATA; SELECT matview_schedule('beside', every => '1 hour')});
settle();
ask(q{INSERT INTO closed VALUES ('h')});
$worker = get_going();
poll(q{SELECT state = 'running' FROM matview_status WHERE view = 'public.beside'});
ask("SELECT pg_terminate_backend($worker, 60000)");
poll(sprintf("SELECT ($outcomes) = 'interrupted'", $clock));
is(ask(q{SELECT state FROM matview_status WHERE view = 'public.beside'}), 'running', 'a worker that ends beside it ends nothing else');
recovers('one of two', 'interrupted');
is(ask("SELECT count(*), min(outcome) FROM matview_history WHERE view = 'public.beside' AND started_at >= '$clock'"), '1|refreshed', 'which is refreshed in its one run');
ask(q{SELECT matview_unschedule('beside')});

note 'the scheduler ends';

for my $how ('pg_terminate_backend', 'pg_cancel_backend') {
	$worker = get_going();
	my $scheduler = ask('SELECT pgcache.scheduler_pid()');
	ask("SELECT $how($scheduler)");
	ok(poll("SELECT pgcache.scheduler_pid() <> $scheduler"), "$how: there is another one") if $how eq 'pg_terminate_backend';
	poll('SELECT pgcache.scheduler_pid() IS NOT NULL');
	ask(q{DELETE FROM closed});
	settle();
	is(ask(sprintf($outcomes, $clock)), 'refreshed', "$how: the refresh goes on, and is not run twice");
	$worker = get_going();
	ask(q{DELETE FROM closed});
	settle();
	is(ask(sprintf($outcomes, $clock)), 'refreshed', "$how: nor is the next");
}
my $scheduler = ask('SELECT pgcache.scheduler_pid()');
kill 'KILL', $scheduler;
poll("SELECT pgcache.scheduler_pid() <> $scheduler") or die 'the server does not come back';
get_going();
ask(q{DELETE FROM closed});
settle();
is(ask(sprintf($outcomes, $clock)), 'refreshed', 'kill -9: it works on');

note 'restarts';

for my $mode ('fast', 'immediate') {
	get_going();
	my $started = time;
	$server->stop($mode);
	cmp_ok(time - $started, '<', 60, "$mode: a refresh does not hold it up");
	$server->start;
	recovers($mode, 'interrupted');
}

# Schedules that nobody has looked at since the start.
ask(q{UPDATE pgcache.matview_states SET next_run = pgcache.clock(); SELECT pgcache.notify_scheduler()});
settle();
$server->append_conf('postgresql.conf', 'pgcache.max_refresh_workers = 0');
$server->restart;
my $writer = $server->background_psql('postgres');
$writer->query_safe('INSERT INTO base VALUES (1)') for 1 .. 3;
++$hour;
at(hour($hour) . ':00:00');
$server->append_conf('postgresql.conf', 'pgcache.max_refresh_workers = 2');
$server->reload;
settle();
is(ask('SELECT rows = (SELECT count(*) FROM base) FROM v'), 't', 'what was written after a start, before the first look, is seen');
$writer->quit;

note 'prepared transactions';

ask(q{CREATE MATERIALIZED VIEW prepared AS SELECT 1 AS one WITH NO DATA});
ask(q{BEGIN; SELECT matview_schedule('prepared', every => '1 hour'); PREPARE TRANSACTION 'schedule'});
is(ask('SELECT count(*) FROM matview_status'), 2, 'a schedule in a prepared transaction is none yet');
ask(q{COMMIT PREPARED 'schedule'});
ok(poll(q{SELECT last_outcome = 'refreshed' FROM matview_status WHERE view = 'public.prepared'}), 'COMMIT PREPARED makes it one');
ask(q{BEGIN; SELECT matview_schedule('prepared', every => '30 minutes'); PREPARE TRANSACTION 'schedule'});
ask(q{ROLLBACK PREPARED 'schedule'});
is(ask(q{SELECT every FROM matview_status WHERE view = 'public.prepared'}), '01:00:00', 'ROLLBACK PREPARED: it stays as it is');
ask(q{SELECT matview_unschedule('prepared'); DROP MATERIALIZED VIEW prepared; CREATE MATERIALIZED VIEW prepared AS SELECT 1 AS one WITH NO DATA});
ask(q{BEGIN; SELECT matview_schedule('prepared', every => '1 hour'); PREPARE TRANSACTION 'schedule'});
$server->restart;
settle();
poll(q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker')});
ask(q{COMMIT PREPARED 'schedule'});
ok(poll(q{SELECT last_outcome = 'refreshed' FROM matview_status WHERE view = 'public.prepared'}), 'COMMIT PREPARED after a restart too');
ask(q{SELECT matview_unschedule('prepared')});

note 'who wants the database for himself';

sub takes_a_second {
	my ($name, $sql, $in, $limit) = @_;
	my $started = time;
	my ($status, undef, $error) = $server->psql($in // 'postgres', $sql);
	my $took = time - $started;
	is($status, 0, "$name: it works") or diag($error);
	# Without the workers' help it takes five seconds and fails, or as long as the refresh.
	cmp_ok($took, '<', 4, "$name: at once");
	return;
}

ask('CREATE DATABASE busy');
prepare('busy');
get_going('busy');
takes_a_second('CREATE DATABASE ... TEMPLATE', 'CREATE DATABASE copy TEMPLATE busy');
recovers('CREATE DATABASE ... TEMPLATE', 'interrupted', 'busy');
ask(q{DELETE FROM closed}, 'copy');
settle('copy');
at(hour($hour) . ':00:30');
settle('copy');
is(ask(sprintf($outcomes, $clock), 'copy'), 'interrupted, refreshed', 'the copy has schedules of its own, which run');
get_going('busy');
takes_a_second('ALTER DATABASE ... RENAME', 'ALTER DATABASE busy RENAME TO "Busy, too"');
recovers('ALTER DATABASE ... RENAME', 'interrupted', 'Busy, too');
ask('ALTER DATABASE "Busy, too" RENAME TO busy');
get_going('busy');
takes_a_second('DROP EXTENSION', 'DROP EXTENSION pgcache', 'busy', 'the refresh goes on');
ask('DELETE FROM closed', 'busy');
poll(q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker')});
ask(q{CREATE EXTENSION pgcache; SELECT matview_schedule('v', every => '1 hour'), matview_schedule('gates', every => '1 hour')}, 'busy');
settle('busy');
is(ask(q{SELECT string_agg(view || ' ' || outcome, ', ' ORDER BY view) FROM matview_history}, 'busy'), 'public.gates refreshed, public.v refreshed', 'a database that gains it again works');

# A refresh of before must not meddle with what has taken its schedule's number.
get_going('busy');
ask(q{DROP EXTENSION pgcache; CREATE EXTENSION pgcache; CREATE MATERIALIZED VIEW new1 AS SELECT 1; CREATE MATERIALIZED VIEW new2 AS SELECT 2;
	SELECT matview_schedule('new1', every => '1 hour'), matview_schedule('new2', every => '1 hour')}, 'busy');
ok(poll(q{SELECT count(*) = 2 FROM matview_history WHERE outcome = 'refreshed'}, 'busy'), 'made anew while a refresh of before runs: its own views are refreshed');
my $standing = q{SELECT string_agg(concat_ws(' ', view, rows, bytes > 0, last_run, next_run, note), E'\n' ORDER BY view) FROM matview_status};
my $before = ask($standing, 'busy');
ask('DELETE FROM closed', 'busy');
poll(q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker')});
is(ask($standing, 'busy'), $before, 'the end of that one changes nothing of them');
ask(q{SELECT matview_schedule('v', every => '1 hour'), matview_schedule('gates', every => '1 hour')}, 'busy');

# One that does not end by itself in time, and a command that is cancelled while it waits for it.
$worker = get_going('busy');
my $owner = $server->background_psql('postgres', on_error_stop => 0);
kill 'STOP', $worker;
$owner->query(q{SET statement_timeout = '300ms'});
$owner->query('DROP DATABASE busy');
kill 'CONT', $worker;
$owner->query('SET statement_timeout = 0');
ask('DELETE FROM closed', 'busy');
at(hour($hour) . ':00:40');
ok(poll("SELECT (" . sprintf($outcomes, $clock) . ") LIKE '%refreshed'", 'busy'), 'DROP DATABASE that is cancelled: the database is refreshed again');
eval { $owner->quit; 1 } or note('its session has timed out');
get_going('busy');
takes_a_second('DROP DATABASE', 'DROP DATABASE busy');

note 'databases that are left alone';

ask(q{ALTER DATABASE copy ALLOW_CONNECTIONS false});
at(hour(++$hour) . ':00:00');
settle();
my $position = log_position($server);
ask('SELECT pgcache.notify_scheduler()');
settle();
unlike(slurp_file($server->logfile, $position), qr/"copy" is not currently accepting/, 'nobody tries to connect where nobody may');
ask(q{ALTER DATABASE copy ALLOW_CONNECTIONS true});
$clock = '2030-01-' . hour($hour) . ':00:00';
ok(poll("SELECT (" . sprintf($outcomes, $clock) . ") = 'refreshed'", 'copy'), 'when one may, its views are refreshed');
ask(q{ALTER DATABASE copy IS_TEMPLATE true});
$clock = '2030-01-' . hour(++$hour) . ':00:00';
set_clock($server, $clock);
settle();
is(ask(sprintf($outcomes, $clock), 'copy'), '', 'a template is left as it is');

# What a template's view has missed is not made up for by copying it.
ask(q{ALTER DATABASE copy IS_TEMPLATE false; CREATE DATABASE plan});
ask(q{SET client_min_messages = warning; CREATE EXTENSION pgcache; CREATE TABLE base (x int); CREATE MATERIALIZED VIEW v AS SELECT count(*) AS rows FROM base; SELECT matview_schedule('v', every => '1 hour')}, 'plan');
settle('plan');
ask(q{INSERT INTO base VALUES (1)}, 'plan');
ask(q{ALTER DATABASE plan IS_TEMPLATE true});
ask(q{CREATE DATABASE made TEMPLATE plan});
$clock = '2030-01-' . hour(++$hour) . ':00:00';
set_clock($server, $clock);
settle('made');
is(ask(q{SELECT rows FROM v}, 'made'), 1, 'a database made from a template: what was written there is seen here');

note 'a dump';

my $dump = $server->basedir . '/dump';
$server->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $server->connstr('copy') ], 'pg_dump');
ask('CREATE DATABASE restored');
$server->command_ok([ 'pg_restore', '-d', $server->connstr('restored'), $dump ], 'pg_restore');
$clock = '2030-01-' . hour(++$hour) . ':00:00';
set_clock($server, $clock);
ask('DELETE FROM closed; INSERT INTO base VALUES (1)', 'restored');
settle('restored');
is(ask(q{SELECT string_agg(view || ' ' || every, ', ' ORDER BY view) FROM matview_status}, 'restored'), 'public.gates 01:00:00, public.v 01:00:00', 'the schedules are there');
ask(q{UPDATE pgcache.matview_states SET next_run = pgcache.clock(); SELECT pgcache.notify_scheduler()}, 'restored');
settle('restored');
is(ask('SELECT v.rows = (SELECT count(*) FROM base), gates.rows = v.rows FROM v, gates', 'restored'), 't|t', 'and are carried out');
ask(q{CREATE MATERIALIZED VIEW another AS SELECT 1; SELECT matview_schedule('another', every => '1 hour')}, 'restored');
is(ask('SELECT count(DISTINCT id) = count(*) FROM matview_status', 'restored'), 't', 'new ones get a number of their own');

note 'a standby';

ask('DROP DATABASE restored; ALTER DATABASE plan IS_TEMPLATE false; DROP DATABASE plan; DROP DATABASE made; DROP DATABASE copy');
$server->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('matviews_standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby_feedback = on');
$standby->start;
$clock = '2030-01-' . hour(++$hour) . ':00:00';
set_clock($standby, $clock);
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT pgcache.scheduler_pid() IS NULL'), 't', 'has no scheduler');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM matview_status WHERE next_run <= pgcache.clock()}), 2, 'what is due there waits');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pgcache %' AND backend_type LIKE '%refresh%' OR backend_type LIKE '%scheduler'}), 0, 'nothing runs');
isnt($standby->psql('postgres', q{SELECT matview_schedule('v', every => '1 hour')}), 0, 'nor can be scheduled');
isnt($standby->psql('postgres', q{SELECT matview_refresh('v')}), 0, 'or refreshed');

# Interrupted on the primary, as far as the standby will know.
get_going();
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
$server = $standby;
my $started = time;
$standby->promote;
ask('DELETE FROM closed');
ok(poll(sprintf("SELECT ($outcomes) LIKE 'interrupted%%'", $clock)), 'promotion: it finds what the old primary was about');
cmp_ok(time - $started, '<', 30, 'within seconds');
$clock = '2030-01-' . hour(++$hour) . ':00:00';
set_clock($server, $clock);
settle();
is(ask(sprintf($outcomes, $clock)), 'refreshed', 'and refreshes');
is(ask("SELECT count(*) > 0 FROM matview_history WHERE view = 'public.v' AND outcome = 'refreshed' AND started_at > timestamptz '$clock' - interval '90 minutes'"), 't', 'also what is refreshed only if it has changed: nobody knows here whether it has');
is(ask('SELECT v.rows = (SELECT count(*) FROM base), gates.rows = v.rows FROM v, gates'), 't|t', 'the views are fresh');
$clock = '2030-01-' . hour(++$hour) . ':00:00';
set_clock($server, $clock);
settle();
is(ask("SELECT outcome FROM matview_history WHERE view = 'public.v' AND started_at = '$clock'"), 'unchanged', 'from then on it knows');

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|signal 11|signal 6/, $_->name . ': nothing has crashed by itself') for ($primary, $standby);
$server->stop;
done_testing();

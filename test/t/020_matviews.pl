# Materialized views kept fresh on schedule: when, in which order, how many at a time, and what happens when they fail.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

# A minute of 2030 is set by at(); schedules go by it, so nothing here waits for time.
my $server = new_server('matviews', conf => "pgcache.test_clock = '2030-01-01 00:00:00'\nmax_worker_processes = 16\nmax_prepared_transactions = 5");
$server->start;

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }
sub at { return set_clock($server, "2030-01-$_[0]"); }

sub set {
	my ($name, $value) = @_;
	$server->append_conf('postgresql.conf', "$name = '$value'");
	$server->reload;
	$server->poll_query_until('postgres', "SELECT current_setting('$name') = '$value'") or die "$name was not set";
	return;
}

# The function pass() returns when nobody keeps the gate closed, and waits so long; each call sees what has committed.
sub prepare {
	my ($database) = @_;
	ask(q{
		CREATE EXTENSION pgcache;
		CREATE TABLE closed (gate text);
		CREATE FUNCTION pass(gate text) RETURNS text LANGUAGE plpgsql SET search_path = public AS $$
		BEGIN
			WHILE EXISTS (SELECT FROM closed c WHERE c.gate = pass.gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
			RETURN gate;
		END $$}, $database);
	return;
}

sub close_gates { return ask(join(';', map { "INSERT INTO closed VALUES ('$_')" } @_)); }
sub open_gates { return ask('DELETE FROM closed' . (@_ ? ' WHERE gate IN (' . join(',', map { "'$_'" } @_) . ')' : '')); }

# Waits until nothing is due or runs.
sub settle {
	my ($database) = @_;
	$server->poll_query_until($database // 'postgres', 'SELECT NOT EXISTS (SELECT FROM pgcache.matview_states WHERE run IS NOT NULL OR next_run <= pgcache.clock())
			AND (SELECT count(*) FROM pgcache.matview_states) = (SELECT count(*) FROM pgcache.matview_schedules)')
	  or diag('does not settle: ' . ask('SELECT * FROM matview_status; SELECT * FROM matview_history', $database));
	return;
}

# What has run since the last call, in the order in which it began.
my %seen;
sub runs {
	my ($database) = @_;
	$database //= 'postgres';
	settle($database);
	my $since = $seen{$database} // 0;
	$seen{$database} = ask('SELECT coalesce(max(id), 0) FROM matview_history', $database);
	return ask("SELECT string_agg(replace(view, 'public.', '') || ' ' || outcome, ', ' ORDER BY id) FROM matview_history WHERE id > $since AND id <= $seen{$database}", $database);
}

# How many views wait at a gate, or do else what is slow.
sub workers { return q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker' AND application_name LIKE 'pgcache: %'}; }
sub status { return ask("SELECT $_[0] FROM matview_status WHERE view = '$_[1]'"); }
sub forget { return ask('SELECT count(matview_unschedule(view)) FROM pgcache.matview_targets WHERE view IS NOT NULL'); }

prepare('postgres');
ask('CREATE DATABASE other');
prepare('other');

note 'two databases';

for my $database ('postgres', 'other') {
	ask("CREATE TABLE base (x int); CREATE MATERIALIZED VIEW v AS SELECT '$database' AS name, count(*) AS rows FROM base;
		INSERT INTO base VALUES (1); SELECT matview_schedule('v', every => '1 hour')", $database);
}
is(runs('postgres') . '|' . runs('other'), 'v refreshed|v refreshed', 'each refreshes its view at once');
is(ask('TABLE v') . ' ' . ask('TABLE v', 'other'), 'postgres|1 other|1', 'which shows what is below');
is(status('state, next_run, last_run, last_outcome, rows, failures, age', 'public.v'), 'scheduled|2030-01-01 01:00:00+00|2030-01-01 00:00:00+00|refreshed|1|0|00:00:00', 'its status');
at('01 00:59:59.999');
ask('INSERT INTO base VALUES (2)');
ask(q{SELECT pgcache.notify_scheduler()});
is(runs(), '', 'nothing comes before its time');
is(status('age', 'public.v'), '00:59:59.999', 'the data gets old');
at('01 01:00');
is(runs('postgres') . '|' . runs('other'), 'v refreshed|v unchanged', 'then the one that has changed is refreshed, the other is not');
is(ask('TABLE v'), 'postgres|2', 'it shows the change');
is(ask(q{SELECT age, refreshed_at, last_outcome FROM matview_status}, 'other'), '00:00:00|2030-01-01 00:00:00+00|unchanged', 'what is unchanged is as good as new');
ask(q{SELECT matview_unschedule('v')}, 'other');
at('01 02:00');
is(runs('postgres') . '|' . runs('other'), 'v unchanged|', 'and one that has no schedule any more stays');

note 'what has changed';

for my $change ('UPDATE base SET x = 9', 'DELETE FROM base WHERE false; DELETE FROM base', 'INSERT INTO base SELECT generate_series(1, 3)', 'TRUNCATE base', "BEGIN; INSERT INTO base VALUES (1); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'") {
	ask($change);
	ask(q{UPDATE pgcache.matview_states SET next_run = pgcache.clock(); SELECT pgcache.notify_scheduler()});
	is(runs(), 'v refreshed', "$change is seen");
}
for my $change ('BEGIN; INSERT INTO base VALUES (1); ROLLBACK', 'SELECT * FROM base', 'CREATE TABLE unrelated (x int); INSERT INTO unrelated VALUES (1)', 'VACUUM base') {
	ask($change);
	ask(q{UPDATE pgcache.matview_states SET next_run = pgcache.clock(); SELECT pgcache.notify_scheduler()});
	my $runs = runs();
	# Counts of what was rolled back may show, which is a refresh too many and no harm.
	like($runs, $change =~ /ROLLBACK/ ? qr/^v (un|re)/ : qr/^v unchanged$/, "$change is no change");
}

# Its transaction goes on, so it does not become idle.
my $chain = $server->background_psql('postgres');
$chain->query_safe($_) for ('BEGIN', 'INSERT INTO base VALUES (1)', 'COMMIT AND CHAIN');
at('01 03:00');
is(runs(), 'v refreshed', 'COMMIT AND CHAIN: what has committed is seen');
$chain->quit;
forget();

note 'views over views';

# In an order of creation and scheduling that is not the right one.
ask(q{
	CREATE TABLE broken (x int);
	CREATE MATERIALIZED VIEW lowest AS SELECT count(*) AS n FROM base;
	CREATE MATERIALIZED VIEW middle AS SELECT n * 10 / (SELECT 1 - count(*) FROM broken) AS n FROM lowest;
	CREATE VIEW between AS SELECT n FROM middle;
	CREATE MATERIALIZED VIEW top AS SELECT n + 1 AS n FROM between;
	CREATE MATERIALIZED VIEW aside AS SELECT 1 / (1 - count(*)) FROM broken;
	SELECT count(matview_schedule(v, every => '1 hour')) FROM unnest('{top,aside,middle,lowest}'::regclass[]) v});
like(runs(), qr/^(?=.*\baside refreshed)(?=.*lowest refreshed.*middle refreshed.*top refreshed)/, 'are refreshed from below');
ask('INSERT INTO base SELECT generate_series(1, 100)');
at('01 04:00');
like(runs(), qr/^(?=.*\baside unchanged)(?=.*lowest refreshed.*middle refreshed.*top refreshed)/, 'a change comes through in one round');
is(ask('SELECT n = (SELECT count(*) FROM base) * 10 + 1 FROM top'), 't', 'to the top');
at('01 05:00');
like(runs(), qr/^(?=.*aside unchanged)(?=.*lowest unchanged.*middle unchanged.*top unchanged)/, 'no change: nothing is done');

ask('INSERT INTO base VALUES (1); INSERT INTO broken VALUES (1)');
at('01 06:00');
like(runs(), qr/^(?=.*aside failed)(?=.*lowest refreshed.*middle failed.*top unchanged)/, 'views that fail stop no other');
is(status('state, failures, next_run, last_error_code, last_error', 'public.middle'), 'failing|1|2030-01-01 06:00:10+00|22012|division by zero', 'the status tells');
at('01 06:00:09');
is(runs(), '', 'they wait for ten seconds');
my @tries = ('06:00:10', '06:00:30', '06:01:10');
my @next = ('06:00:30', '06:01:10', '06:02:30');
for my $try (0 .. $#tries) {
	at("01 $tries[$try]");
	is(join(', ', sort split /, /, runs()), 'aside failed, middle failed', "$tries[$try]: tried again");
	is(status('failures, next_run', 'public.middle'), ($try + 2) . "|2030-01-01 $next[$try]+00", 'ever later');
}
is(ask(q{SELECT string_agg(outcome || coalesce(' ' || error_code, ''), ', ' ORDER BY id) FROM (SELECT * FROM matview_history WHERE view = 'public.aside' ORDER BY id DESC LIMIT 4) h}), 'failed 22012, failed 22012, failed 22012, failed 22012', 'each is in the history');
ask('TRUNCATE broken');
at('01 06:02:30');
like(runs(), qr/aside refreshed|middle refreshed/, 'when the cause is gone they work again');
is(status('state, failures, next_run, last_error', 'public.middle'), 'scheduled|0|2030-01-01 07:00:00+00|', 'and are what they were');
at('01 07:00');
like(runs(), qr/top refreshed/, 'and the view above gets it in the next round');
is(ask('SELECT n = (SELECT count(*) FROM base) * 10 + 1 FROM top'), 't', 'the change is there');

note 'views that are gone, or new';

ask('ALTER MATERIALIZED VIEW aside RENAME TO "It\'s, ""aside"""; INSERT INTO broken VALUES (5); DELETE FROM broken');
at('01 08:00');
like(runs(), qr/"It's, ""aside""" refreshed/, 'renamed: it goes on under the new name');
like(status('note', 'public."It\'\'s, ""aside"""'), qr/^renamed, from public\.aside;.*CREATE UNIQUE INDEX ON public\."It's, ""aside""" \("\?column\?"\);$/, 'which is noted');
ask('CREATE SCHEMA "S s"; ALTER MATERIALIZED VIEW "It\'s, ""aside""" SET SCHEMA "S s"; INSERT INTO broken VALUES (5); DELETE FROM broken');
at('01 09:00');
like(runs(), qr/"S s"."It's, ""aside""" refreshed/, 'in another schema too');
ask('DROP MATERIALIZED VIEW "S s"."It\'s, ""aside"""');
at('01 10:00');
like(runs(), qr/"S s"."It's, ""aside""" failed/, 'dropped: that is a failure');
is(ask(q{SELECT state, last_error_code, last_error FROM matview_status WHERE state <> 'scheduled'}), qq{missing|42P01|materialized view "S s"."It's, ""aside""" does not exist}, 'and says why');
ask('CREATE MATERIALIZED VIEW "S s"."It\'s, ""aside""" AS SELECT 5 AS five WITH NO DATA');
at('01 11:00');
like(runs(), qr/"S s"\."It's, ""aside""" refreshed/, 'created anew: it is refreshed when it is due');
is(ask('SELECT five FROM "S s"."It\'s, ""aside"""'), 5, 'and has content');
ask('DROP MATERIALIZED VIEW "S s"."It\'s, ""aside"""; CREATE VIEW "S s"."It\'s, ""aside""" AS SELECT 1');
at('01 11:30');
ask(q{UPDATE pgcache.matview_states SET next_run = pgcache.clock(); SELECT pgcache.notify_scheduler()});
like(runs(), qr/"S s"."It's, ""aside""" failed/, 'a view of another kind is none');
forget();
ask('DELETE FROM pgcache.matview_schedules');

# top has the lower number, and nobody knows the views of now.
ask(q{SELECT matview_schedule('top', every => '1 hour'); SELECT matview_schedule('lowest', every => '1 hour')});
runs();
ask(q{DROP MATERIALIZED VIEW lowest CASCADE;
	CREATE MATERIALIZED VIEW lowest AS SELECT count(*) AS n FROM base;
	CREATE MATERIALIZED VIEW top AS SELECT n + 1 AS n FROM lowest;
	INSERT INTO base VALUES (1)});
at('01 12:00');
is(runs(), 'lowest refreshed, top refreshed', 'both created anew: from below all the same');
is(ask('SELECT n = (SELECT count(*) FROM base) + 1 FROM top'), 't', 'the change is there');
ask(q{DROP MATERIALIZED VIEW top; CREATE MATERIALIZED VIEW top AS SELECT n + 2 AS n FROM lowest WITH NO DATA; INSERT INTO base VALUES (1)});
at('01 13:00');
is(runs(), 'lowest refreshed, top refreshed', 'the upper one created anew: the same');
forget();

note 'a schedule that cannot be read';

# As of a dump from a server with other time zones.
ask(q{SELECT matview_schedule('lowest', every => '1 hour'); SELECT matview_schedule('v', every => '1 hour', only_if_changed => false)});
runs();
ask(q{CREATE MATERIALIZED VIEW divided AS SELECT 1 / x FROM (VALUES (0)) zero (x) WITH NO DATA;
	SELECT matview_schedule('divided', every => '1 hour', jitter => '1 minute')});
runs();
ask(q{UPDATE pgcache.matview_schedules SET every = NULL, cron = '0 0 * * *', timezone = 'Atlantis/Capital' WHERE view_name IN ('lowest', 'divided')});
at('01 14:00');
ok($server->poll_query_until('postgres', q{SELECT last_run = '2030-01-01 14:00' FROM matview_status WHERE view = 'public.v'}), 'does not stop the others');
ok($server->poll_query_until('postgres', q{SELECT last_run = '2030-01-01 14:00' AND state = 'failing' FROM matview_status WHERE view = 'public.divided'}), 'one that fails, with a jitter');
is(ask(q{SELECT next_run - '2030-01-01 14:00' BETWEEN '1 second' AND '1 hour' FROM matview_status WHERE view = 'public.divided'}), 't', 'is tried again after a while');
ask(q{SELECT matview_unschedule('divided'); DROP MATERIALIZED VIEW divided});
ask(q{UPDATE pgcache.matview_schedules SET every = '1 hour', cron = NULL, timezone = 'UTC' WHERE view_name = 'lowest'});
runs();
forget();

note 'cron, jitter, history';

ask(q{SELECT matview_schedule('v', cron => '30 6 * * *', timezone => 'Europe/Berlin', only_if_changed => false)});
is(status('next_run, state', 'public.v'), '2030-01-02 05:30:00+00|scheduled', 'a cron expression in a time zone');
is(runs(), '', 'waits for its time');
at('02 05:30');
is(runs(), 'v refreshed', 'which comes');
is(status('next_run', 'public.v'), '2030-01-03 05:30:00+00', 'every day');
at('09 05:30');
is(runs(), 'v refreshed', 'times that were missed are made up for once');
is(status('next_run', 'public.v'), '2030-01-10 05:30:00+00', 'and it goes on from there');

is(ask(q{SELECT count(*) > 10, min(started_at) >= pgcache.clock() - interval '7 days' FROM matview_history WHERE schedule = (SELECT id FROM matview_status) OR started_at < '2030-01-02'}), 'f|t', 'runs are kept for seven days');
set('pgcache.history_retention', '1d');
ask('SELECT pgcache.notify_scheduler()');
ok($server->poll_query_until('postgres', 'SELECT count(*) = 1 FROM matview_history'), 'or as long as pgcache.history_retention says');
at('20 05:00');
set('pgcache.history_retention', '0');
ask(q{SELECT matview_schedule('v', cron => '0 0 1 2 *'); SELECT pgcache.notify_scheduler()});
settle();
is(ask('SELECT count(*) FROM matview_history'), 1, 'the last run of a schedule stays');
set('pgcache.history_retention', '7d');

ask(q{SELECT matview_schedule('v', every => '1 hour', jitter => '30 minutes', only_if_changed => false)});
my %minutes;
for my $hour (6 .. 10) {
	at("20 $hour:30");
	runs();
	my $next = status(q{extract(epoch FROM next_run - date_trunc('hour', next_run))}, 'public.v');
	cmp_ok($next, '<=', 1800, 'jitter is at most what was said') if $hour == 6;
	$minutes{$next} = 1;
}
cmp_ok(scalar keys %minutes, '>', 1, 'and is by chance');
forget();

note 'several at a time';

ask(q{CREATE MATERIALIZED VIEW "} . $_ . q{" AS SELECT pass('} . $_ . q{') AS gate WITH NO DATA}) for ('s1', 's2', 's3', 's4');
close_gates('s1', 's2', 's3', 's4');
my $scheduled = q{SELECT count(matview_schedule(v, every => '1 hour')) FROM unnest('{s1,s2,s3,s4}'::regclass[]) v};
ask($scheduled);
ok($server->poll_query_until('postgres', 'SELECT (' . workers() . ') = 2'), 'two run in one database');
is(ask(q{SELECT string_agg(concat_ws(', ', datname, application_name, state, query), '; ' ORDER BY application_name) FROM pg_stat_activity WHERE application_name LIKE 'pgcache: %'}),
	'postgres, pgcache: public.s1, active, refresh of materialized view public.s1; postgres, pgcache: public.s2, active, refresh of materialized view public.s2', 'pg_stat_activity tells which');
is(ask(q{SELECT string_agg(view || ' ' || state, ', ' ORDER BY view) FROM matview_status}), 'public.s1 running, public.s2 running, public.s3 scheduled, public.s4 scheduled', 'matview_status too');
is(ask(q{SELECT outcome, duration IS NULL FROM matview_history WHERE view = 'public.s1'}), 'running|t', 'and the history');
open_gates('s2');
ok($server->poll_query_until('postgres', q{SELECT (} . workers() . q{ AND application_name IN ('pgcache: public.s1', 'pgcache: public.s3')) = 2}), 'one is done: the next begins');
set('pgcache.max_refresh_workers', '4');
ok($server->poll_query_until('postgres', 'SELECT (' . workers() . ') = 3'), 'more may run: at once');
ask(q{SELECT matview_schedule('v', every => '1 hour', only_if_changed => false)}, 'other');
is(runs('other'), 'v refreshed', 'also in another database');
open_gates();
is(runs(), 's1 refreshed, s2 refreshed, s3 refreshed, s4 refreshed', 'all get their turn');

close_gates('s1', 's2', 's3', 's4');
set('pgcache.max_refresh_workers', '1');
at('20 11:00');
ok($server->poll_query_until('postgres', 'SELECT (' . workers() . ') = 1'), 'one at a time');
ask('INSERT INTO base VALUES (1)', 'other');
at('20 11:10');
open_gates('s1');
ok($server->poll_query_until('other', q{SELECT last_run >= '2030-01-20 11:00' FROM matview_status}), 'the other database need not wait for all of them');
set('pgcache.max_refresh_workers', '0');
open_gates();
ok($server->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker')}), 'none: what runs ends');
my $left = ask(q{SELECT count(*) FROM pgcache.matview_states WHERE next_run <= pgcache.clock()});
cmp_ok($left, '>=', 2, 'and what is due waits');
set('pgcache.max_refresh_workers', '2');
settle();
is(ask(q{SELECT count(*) FROM matview_history WHERE started_at >= '2030-01-20 11:00'}), 4, 'and is done when some may run again');
runs();
forget();

# The one above has to wait for the one below.
ask(q{CREATE MATERIALIZED VIEW over_s1 AS SELECT gate FROM s1; SELECT matview_schedule('over_s1', every => '1 hour'); SELECT matview_schedule('s1', every => '1 hour')});
runs();
close_gates('s1');
at('20 12:00');
$server->poll_query_until('postgres', 'SELECT (' . workers() . ') = 1');
ask(q{SELECT matview_schedule('v', every => '1 hour', only_if_changed => false)});
ok($server->poll_query_until('postgres', q{SELECT last_outcome = 'refreshed' FROM matview_status WHERE view = 'public.v'}), 'a slow view stops no other');
is(status('state, last_run', 'public.over_s1'), 'scheduled|2030-01-20 11:10:00+00', 'but the one above it waits');
set('pgcache.max_refresh_workers', '0');
open_gates();
$server->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker')});
is(status('last_run', 'public.over_s1'), '2030-01-20 11:10:00+00', 'none may run any more: not even what waited for one that did');
set('pgcache.max_refresh_workers', '2');
runs();
is(status('last_run, last_outcome', 'public.over_s1'), '2030-01-20 12:00:00+00|refreshed', 'then it comes');
forget();

note 'two workers of a database that end while the scheduler is busy';

ask(q{SELECT matview_schedule('s1', every => '1 hour'); SELECT matview_schedule('s2', every => '2 days')});
runs();
close_gates('s1', 's2');
ask(q{UPDATE pgcache.matview_states SET next_run = pgcache.clock(); SELECT pgcache.notify_scheduler()});
$server->poll_query_until('postgres', 'SELECT (' . workers() . ') = 2');
my $scheduler = ask('SELECT pgcache.scheduler_pid()');
kill 'STOP', $scheduler;
open_gates('s2');
$server->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker'});
open_gates('s1');
$server->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker'});
kill 'CONT', $scheduler;
settle();
runs();
at('20 13:00');
is(runs(), 's1 refreshed', 'it still knows what is due first');
forget();

note 'a refresh that takes too long';

ask(q{INSERT INTO closed VALUES ('s1'), ('s2');
	CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 3000 LOOP
			BEGIN PERFORM pg_sleep(0.1); EXCEPTION WHEN query_canceled THEN NULL; END;
		END LOOP;
		RETURN 1;
	END $$;
	CREATE MATERIALIZED VIEW stubborn AS SELECT stubborn() WITH NO DATA;
	SELECT matview_schedule('s1', every => '1 hour', timeout => '100 milliseconds')});
settle();
is(status('last_outcome, last_error_code, last_error, last_duration BETWEEN \'0.1 s\' AND \'60 s\', failures', 'public.s1'), 'failed|57014|it did not end within 100 ms|t|1', 'is cancelled at its timeout');
set('pgcache.refresh_timeout', '1s');
ask(q{SELECT matview_schedule('s2', every => '1 hour')});
settle();
is(status('last_outcome, last_error_code, last_error', 'public.s2'), 'failed|57014|it did not end within 1000 ms', 'or at pgcache.refresh_timeout');
ask(q{SELECT matview_schedule('stubborn', every => '1 hour', timeout => '1 second')});
ok($server->poll_query_until('postgres', q{SELECT count(*) = 1 FROM matview_history WHERE view = 'public.stubborn' AND outcome IN ('failed', 'interrupted')}), 'even if it ignores that it is cancelled');
ask(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgcache: public.stubborn'; SELECT matview_unschedule('stubborn')});
set('pgcache.refresh_timeout', '1h');
runs();
open_gates();
at('20 14:00');
is(join(', ', sort split /, /, runs()), 's1 refreshed, s2 refreshed', 'later both are refreshed');
forget();

note 'somebody holds a lock';

ask(q{SELECT matview_schedule('v', every => '1 hour', only_if_changed => false)});
runs();
my $holder = $server->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('SELECT * FROM v');
set('pgcache.refresh_lock_timeout', '200ms');
at('20 15:00');
settle();
is(status('last_outcome, last_error_code, failures, last_duration < \'30 s\'', 'public.v'), 'failed|55P03|1|t', 'a reader: the refresh gives up');
is(ask(q{SET statement_timeout = '20s'; SELECT count(*) FROM v}), 1, 'others can read');
$holder->query_safe('COMMIT');
at('20 15:00:10');
runs();
is(status('last_outcome, failures', 'public.v'), 'refreshed|0', 'and it is made up for');
$holder->query_safe('BEGIN; LOCK base');
at('20 16:00');
settle();
is(status('last_outcome, last_error_code', 'public.v'), 'failed|55P03', 'a lock on the table below: the same');
$holder->quit;
set('pgcache.refresh_lock_timeout', '1s');
forget();

note 'a schedule that somebody is changing';

ask(q{SELECT matview_schedule('v', every => '1 hour', only_if_changed => false); SELECT matview_schedule('lowest', every => '1 hour', only_if_changed => false)});
runs();
my $changer = $server->background_psql('postgres');
$changer->query_safe('SET client_min_messages = warning');
$changer->query_safe('BEGIN');
$changer->query_safe(q{SELECT matview_schedule('v', every => '2 hours', only_if_changed => false)});
at('20 17:00');
ok($server->poll_query_until('postgres', q{SELECT last_run = '2030-01-20 17:00' AND last_outcome = 'refreshed' FROM matview_status WHERE view = 'public.lowest'}), 'does not stop the others');
$changer->query_safe('COMMIT');
like(runs(), qr/v refreshed/, 'and runs when that has committed');
$changer->quit;
forget();

note 'one worker does what there is to do';

ask(q{SELECT matview_unschedule('v')}, 'other');

ask(q{SET client_min_messages = warning; DO $$ BEGIN FOR i IN 1 .. 30 LOOP EXECUTE format('CREATE MATERIALIZED VIEW few%s AS SELECT x FROM base WHERE x = %s', i, i); END LOOP; END $$;
	SELECT count(matview_schedule(format('few%s', i)::regclass, cron => '0 18 * * *')) FROM generate_series(1, 30) i});
settle();
my $registered = qr/registering background worker "pgcache refresh worker"/;
set('pgcache.max_refresh_workers', '1');
set('log_min_messages', 'debug1');
$server->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker')});
my $before = log_position($server);
at('20 18:00');
settle();
my $started = () = slurp_file($server->logfile, $before) =~ /$registered/g;
cmp_ok($started, '<=', 5, 'thirty views, one worker at a time: no process for each');
cmp_ok($started, '>=', 1, 'as the log tells');
set('log_min_messages', 'warning');
set('pgcache.max_refresh_workers', '2');
runs();
forget();

note 'a thousand views';

ask(q{SET client_min_messages = warning; DO $$ BEGIN FOR i IN 1 .. 1000 LOOP EXECUTE format('CREATE MATERIALIZED VIEW many%s AS SELECT x FROM base WHERE x = %s', i, i); END LOOP; END $$;
	SELECT count(matview_schedule(format('many%s', i)::regclass, cron => '0 3 * * *')) FROM generate_series(1, 1000) i});
at('21 03:00');
settle();
is(ask(q{SELECT count(*), count(DISTINCT view), count(*) FILTER (WHERE outcome = 'refreshed') FROM matview_history WHERE started_at = '2030-01-21 03:00'}), '1000|1000|1000', 'all are refreshed, each once');
my $took = ask(q{SELECT extract(epoch FROM now() - pg_postmaster_start_time())});
$server->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker')});
at('22 03:00');
settle();
is(ask(q{SELECT count(*), count(DISTINCT view), count(*) FILTER (WHERE outcome IN ('unchanged', 'refreshed')) FROM matview_history WHERE started_at = '2030-01-22 03:00'}), '1000|1000|1000', 'or found unchanged, but for those whose counts share a place');
note 'took ' . (ask(q{SELECT extract(epoch FROM now() - pg_postmaster_start_time())}) - $took);
$server->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker')});
my $position = log_position($server);
set('log_min_messages', 'debug1');
at('22 04:00');
ask('INSERT INTO base VALUES (1)') for 1 .. 20;
unlike(slurp_file($server->logfile, $position), $registered, 'then nothing is due and no worker starts');
set('log_min_messages', 'warning');

unlike(slurp_file($server->logfile), qr/PANIC|TRAP|server process .* was terminated/, 'nothing has crashed');
$server->stop;
done_testing();

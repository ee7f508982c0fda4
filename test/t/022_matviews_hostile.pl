# Owners of materialized views who want more than their due: a superuser's rights, the next owner's, the worker for
# themselves, what others' error messages say.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('hostile', conf => "max_worker_processes = 20\npgcache.max_refresh_workers = 6\npgcache.memory = 16MB");
$server->start;
my $superuser = $server->safe_psql('postgres', 'SELECT current_user');

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }

# The result, or the SQLSTATE of the first error.
sub outcome {
	my ($role, $sql, $database) = @_;
	my ($status, $output, $error) =
	  $server->psql($database // 'postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=sqlstate' ], on_error_stop => 1);
	return $error =~ /ERROR:  (\w+)/ ? $1 : $output;
}

# Everything is scheduled every hour, and the clock goes from hour to hour.
my $hour = 0;

sub tick {
	++$hour;
	set_clock($server, sprintf('2030-%02d-%02d %02d:00:00+00', 1, 1 + int($hour / 24), $hour % 24));
	return;
}

sub schedule {
	my ($role, $view, $database) = @_;
	return outcome($role, "SET client_min_messages = warning; SELECT matview_schedule('$view', every => '1 hour', only_if_changed => false) > 0", $database);
}

# What became of a scheduled refresh at this hour, once it has.
sub run_of {
	my ($view, $database) = @_;
	$view =~ s/'/''/g;
	my $result = '';
	wait_until(
		sub {
			$result = ask(qq{SELECT concat_ws(' ', outcome, error_code) FROM matview_history WHERE view = '$view'
				AND started_at = pgcache.clock() AND outcome <> 'running' AND NOT by_hand ORDER BY id DESC LIMIT 1}, $database);
			return $result ne '';
		},
		"the run of $view ends");
	return $result;
}

my $people = q{
	CREATE EXTENSION pgcache;
	CREATE SCHEMA mallory AUTHORIZATION mallory; CREATE SCHEMA alice AUTHORIZATION alice;
	REVOKE CREATE ON SCHEMA public FROM public;
	SELECT pgcache.grant_to('mallory'); SELECT pgcache.grant_to('alice');
	SET ROLE alice;
	CREATE TABLE alice.numbers (n int); INSERT INTO alice.numbers SELECT generate_series(1, 10);
	CREATE MATERIALIZED VIEW alice.v AS SELECT count(*) AS n FROM alice.numbers};

set_clock($server, '2030-01-01 00:00:00+00');
ask('CREATE ROLE mallory LOGIN CREATEDB; CREATE ROLE alice LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE auditor LOGIN IN ROLE pg_read_all_stats');
ask($people);
ask(q{SELECT pgcache.grant_to('auditor')});

# A database of its own for what may keep its worker.
sub new_database {
	my ($name) = @_;
	ask('CREATE DATABASE "' . $name =~ s/"/""/gr . '"');
	ask($people, $name);
	return $name;
}

note 'who may';

my @calls = (q{SELECT matview_schedule('alice.v', every => '1 hour')}, q{SELECT matview_unschedule('alice.v')}, q{SELECT matview_refresh('alice.v')});
is(outcome('stranger', $_), '42501', "without the grant: $_") for @calls, 'TABLE matview_status', 'TABLE matview_history', 'SELECT pgcache.clock()';
is(outcome('mallory', $_), '42501', "a view of somebody else: $_") for @calls;
is(outcome('mallory', $_), '42501', $_)
  for 'TABLE pgcache.matview_schedules', 'TABLE pgcache.matview_states', 'TABLE pgcache.matview_runs', 'TABLE pgcache.matview_targets',
  'DELETE FROM pgcache.matview_schedules', 'UPDATE pgcache.matview_states SET next_run = now()', 'TRUNCATE pgcache.matview_runs',
  q{SELECT nextval('pgcache.matview_schedule_id')}, 'SELECT pgcache.notify_scheduler()', 'SELECT pgcache.scheduler_pid()',
  'CREATE TRIGGER t AFTER INSERT ON pgcache.matview_runs EXECUTE FUNCTION pgcache.matview_schedules_changed()',
  q{SET pgcache.test_clock = '2040-01-01'};
is(outcome('mallory', 'SET pgcache.max_refresh_workers = 0'), '55P02', 'a setting of the server');
is(outcome('alice', $_), '22004', "null: $_") for 'SELECT matview_schedule(NULL, every => $$1 hour$$)', 'SELECT matview_unschedule(NULL)', 'SELECT matview_refresh(NULL)';
is(outcome('alice', "SELECT $_('alice.numbers')"), '42809', "a table: $_") for 'matview_unschedule', 'matview_refresh';
is(outcome('alice', "SELECT $_(999999)"), '42P01', "nothing: $_") for 'matview_unschedule', 'matview_refresh';
is(outcome('alice', 'SELECT pgcache.matview_schedules_changed()'), '42501', 'a function of triggers');

ask('CREATE ROLE deputy LOGIN IN ROLE alice; CREATE ROLE guest LOGIN NOINHERIT; GRANT alice TO guest');
ask(q{SELECT pgcache.grant_to('guest')});
is(outcome('deputy', q{SET client_min_messages = error; SELECT matview_schedule('alice.v', every => '1 hour') > 0; SELECT matview_refresh('alice.v'); SELECT matview_unschedule('alice.v')}), "t\n\nt", 'a member of the owner may');
is(outcome('guest', $_), '42501', "one that does not inherit may not: $_") for @calls;
is(outcome('guest', 'SET ROLE alice; ' . $calls[2]), '', 'until it becomes the owner');

SKIP: {
	skip 'MAINTAIN came with PostgreSQL 17', 4 if $server->pg_version < 17;
	ask('GRANT MAINTAIN ON alice.v TO mallory; GRANT USAGE ON SCHEMA alice TO mallory');
	is(outcome('mallory', $calls[2]), '', 'MAINTAIN is enough to refresh');
	is(outcome('mallory', $_), '42501', "but not: $_") for @calls[ 0, 1 ];
	ask('REVOKE MAINTAIN ON alice.v FROM mallory');
	is(outcome('mallory', $calls[2]), '42501', 'and without it nothing is');
	ask('REVOKE USAGE ON SCHEMA alice FROM mallory');
}

note 'becoming somebody else';

# Tries everything and writes down what came of it, and as whom.
ask(q{SET ROLE mallory;
	CREATE TABLE mallory.loot (what text, result text, who text);
	CREATE FUNCTION mallory.try(what text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE result text := 'done';
	BEGIN
		BEGIN
			EXECUTE what;
		EXCEPTION WHEN OTHERS THEN
			result := SQLSTATE;
		END;
		INSERT INTO mallory.loot VALUES (what, result, current_user);
		RETURN result;
	END $$;
	CREATE FUNCTION mallory.evil() RETURNS int LANGUAGE plpgsql AS $$
	DECLARE what text;
	BEGIN
		FOREACH what IN ARRAY ARRAY['SET ROLE ' || session_user, 'RESET ROLE', 'SET ROLE NONE', 'SET SESSION AUTHORIZATION alice', 'RESET SESSION AUTHORIZATION',
			'SET LOCAL ROLE ' || session_user, 'SELECT set_config(''role'', ''none'', false)', 'SELECT set_config(''session_authorization'', ''alice'', false)',
			'ALTER ROLE mallory SUPERUSER', 'CREATE ROLE mallory2 SUPERUSER',
			'GRANT alice TO mallory', 'SELECT FROM pgcache.matview_schedules', 'DELETE FROM pgcache.matview_runs', 'SELECT FROM alice.numbers',
			'CREATE TEMP TABLE matview_runs (id bigint)', 'CREATE TABLE pg_temp.matview_schedules (id bigint)', 'LISTEN x', 'UNLISTEN *', 'DISCARD ALL', 'COMMIT', 'ROLLBACK',
			'DECLARE c CURSOR WITH HOLD FOR SELECT mallory.try(''SELECT 1'')', 'ALTER SYSTEM SET work_mem = 64', 'COPY mallory.loot TO PROGRAM ''cat >/dev/null''',
			'SELECT pg_read_file(''postgresql.conf'')', 'SET session_replication_role = replica', 'SET pgcache.test_clock = ''''', 'LOAD ''pgcache''',
			'SELECT public.matview_refresh(''alice.v'')', 'SELECT public.matview_schedule(''alice.v'', every => ''1 s'')', 'SELECT public.matview_unschedule(''alice.v'')',
			'SELECT pgcache.notify_scheduler()', 'SELECT pg_terminate_backend(pg_backend_pid())', 'SELECT pg_cancel_backend(pg_backend_pid())', 'CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION mallory.t()',
			'CREATE TRIGGER t AFTER UPDATE ON pgcache.matview_runs EXECUTE FUNCTION mallory.t()', 'ALTER TABLE pgcache.matview_states OWNER TO mallory', 'CREATE OR REPLACE VIEW pgcache.matview_targets AS SELECT 1',
			'PREPARE TRANSACTION ''x''', 'DROP EXTENSION pgcache', 'ALTER FUNCTION pgcache.clock() OWNER TO mallory', 'CREATE FUNCTION pgcache.f() RETURNS int LANGUAGE sql AS ''SELECT 1''']
		LOOP
			PERFORM mallory.try(what);
		END LOOP;
		RETURN 1;
	END $$;
	CREATE FUNCTION mallory.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mallory.loot VALUES ('trigger', 'done', current_user); RETURN NEW; END $$;
	CREATE MATERIALIZED VIEW mallory.v AS SELECT mallory.evil() AS x WITH NO DATA});

sub loot { return ask('SELECT what, result FROM mallory.loot WHERE result = $$done$$ ORDER BY what'); }
my $who = q{SELECT string_agg(DISTINCT who, ', '), count(*) > 30 FROM mallory.loot};

is(schedule('mallory', 'mallory.v'), 't', 'a hostile view is scheduled');
is(run_of('mallory.v'), 'refreshed', 'and refreshed');
is(loot(), '', 'nothing that it tried worked');
is(ask($who), 'mallory|t', 'all of it ran as its owner');
ask('TRUNCATE mallory.loot; SELECT matview_refresh($$mallory.v$$)');
is(loot(), '', 'nothing when a superuser refreshes it by hand');
is(ask($who), 'mallory|t', 'all of it ran as its owner');
ask('TRUNCATE mallory.loot; CREATE UNIQUE INDEX ON mallory.v (x)');
tick();
is(run_of('mallory.v'), 'refreshed', 'concurrently');
is(ask(q{SELECT is_concurrent FROM matview_history WHERE view = 'mallory.v' ORDER BY id DESC LIMIT 1}), 't', 'it was');
is(loot(), '', 'nothing worked');
is(ask($who), 'mallory|t', 'all of it ran as its owner');
is(ask('SELECT count(*) FROM pg_roles WHERE rolsuper'), 1, 'nobody has become a superuser');
is(ask(q{SELECT matview_unschedule('mallory.v')}), 't', 'enough of it');

# His code wherever a refresh may come across it.
ask(q{SET ROLE mallory; TRUNCATE mallory.loot;
	CREATE FUNCTION mallory.seen(place text, x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN mallory.seen2(place, x); END $$;
	CREATE FUNCTION mallory.seen2(place text, x int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO mallory.loot VALUES (place, mallory.try('SELECT FROM pgcache.matview_runs'), current_user); RETURN x; END $$;
	CREATE DOMAIN mallory.d AS int CHECK (mallory.seen('domain', VALUE) IS NOT NULL);
	CREATE TYPE mallory.pair AS (x int);
	CREATE FUNCTION mallory.cast_it(mallory.pair) RETURNS int LANGUAGE sql AS $$ SELECT mallory.seen2('cast', 1) $$;
	CREATE CAST (mallory.pair AS int) WITH FUNCTION mallory.cast_it;
	CREATE FUNCTION mallory.op(int, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.seen2('operator', 1); RETURN true; END $$;
	CREATE OPERATOR mallory.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = mallory.op);
	CREATE FUNCTION mallory.definer(int) RETURNS int LANGUAGE sql SECURITY DEFINER AS $$ SELECT mallory.seen2('definer', $1) $$;
	CREATE TABLE mallory.t (x int); CREATE TRIGGER t AFTER INSERT ON mallory.t FOR EACH ROW EXECUTE FUNCTION mallory.t();
	CREATE FUNCTION mallory.write(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mallory.t VALUES ($1); RETURN $1; END $$;
	CREATE TABLE mallory.secured (x int); ALTER TABLE mallory.secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	CREATE POLICY p ON mallory.secured USING (mallory.seen('policy', x) > 0); INSERT INTO mallory.secured VALUES (1);
	CREATE MATERIALIZED VIEW mallory.places AS SELECT i, i::mallory.d AS d, ROW(i)::mallory.pair::int AS c, i OPERATOR(mallory.===) i AS o,
		mallory.definer(i) AS f, mallory.write(i) AS w, (SELECT x FROM mallory.secured) AS s FROM generate_series(1, 2) i WITH NO DATA;
	CREATE UNIQUE INDEX ON mallory.places (i); CREATE INDEX ON mallory.places (mallory.seen('index', i)) WHERE mallory.seen('predicate', i) > 0});
my $places = q{SELECT string_agg(DISTINCT what, ' ' ORDER BY what) FILTER (WHERE what !~ '^SELECT'), string_agg(DISTINCT who, ', '), string_agg(DISTINCT result, ', ' ORDER BY result) FROM mallory.loot};
is(schedule('mallory', 'mallory.places'), 't', 'a view with code in every place');
is(run_of('mallory.places'), 'refreshed', 'is refreshed');
like(ask($places), qr/^cast definer domain (index )?operator policy (predicate )?trigger\|mallory\|42501, done\z/, 'all of it runs as the owner');
ask('TRUNCATE mallory.loot');
tick();
is(run_of('mallory.places'), 'refreshed', 'concurrently too');
like(ask($places), qr/^cast definer domain (index )?operator policy (predicate )?trigger\|mallory\|42501, done\z/, 'all of it runs as the owner');
ask('TRUNCATE mallory.loot; SELECT matview_refresh($$mallory.places$$)');
like(ask($places), qr/^cast definer domain (index )?operator policy (predicate )?trigger\|mallory\|42501, done\z/, 'by a superuser by hand');
ask(q{SELECT matview_unschedule('mallory.places')});

# What is put off to the commit would run as the worker.
ask(q{SET ROLE mallory; TRUNCATE mallory.loot;
	CREATE TABLE mallory.later (x int); CREATE CONSTRAINT TRIGGER t AFTER INSERT ON mallory.later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.t();
	CREATE FUNCTION mallory.put_off() RETURNS int LANGUAGE plpgsql AS $$ BEGIN BEGIN INSERT INTO mallory.later VALUES (1); EXCEPTION WHEN OTHERS THEN NULL; END; INSERT INTO mallory.later VALUES (2); RETURN 1; END $$;
	CREATE MATERIALIZED VIEW mallory.deferred AS SELECT mallory.put_off() WITH NO DATA;
	CREATE FUNCTION mallory.open() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'left open'; BEGIN OPEN c FOR SELECT mallory.try('SELECT FROM pgcache.matview_runs') FROM generate_series(1, 3); RETURN c; END $$;
	CREATE MATERIALIZED VIEW mallory.cursor AS SELECT mallory.open()::text WITH NO DATA});
schedule('mallory', 'mallory.deferred');
schedule('mallory', 'mallory.cursor');
is(run_of('mallory.deferred'), 'failed 42501', 'a deferred trigger is refused');
is(run_of('mallory.cursor'), 'refreshed', 'a cursor is left open');
is(ask(q{SELECT string_agg(DISTINCT who, ', ') FROM mallory.loot WHERE who <> 'mallory'}), '', 'nothing ran as somebody else');
ask(q{SELECT matview_unschedule('mallory.deferred'), matview_unschedule('mallory.cursor')});

note 'staying in the session';

ask(q{SET ROLE mallory; TRUNCATE mallory.loot;
	GRANT USAGE ON SCHEMA mallory TO alice;
	CREATE FUNCTION mallory.trap(v text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO mallory.loot VALUES ('trap', 'done', current_user); RETURN true; END $$;
	GRANT INSERT ON mallory.loot TO alice; GRANT EXECUTE ON FUNCTION mallory.trap TO alice;
	CREATE FUNCTION mallory.stay() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		PERFORM mallory.try('CREATE DOMAIN pg_temp.status AS text CHECK (mallory.trap(VALUE))');
		PERFORM mallory.try('CREATE TYPE pg_temp.mood AS ENUM (''bad'')');
		PERFORM mallory.try('CREATE FUNCTION pg_temp.f() RETURNS boolean LANGUAGE sql AS ''SELECT mallory.trap($q$x$q$)''');
		PERFORM mallory.try('PREPARE fetch_status AS SELECT mallory.trap(''x'')');
		PERFORM mallory.try(format('SELECT set_config(%L, %L, false)', name, value)) FROM (VALUES ('search_path', 'mallory'), ('work_mem', '64kB'),
			('statement_timeout', '1'), ('lock_timeout', '12345'), ('DateStyle', 'German'), ('TimeZone', 'Asia/Tokyo'), ('row_security', 'off'), ('my.own', 'trap'),
			('default_transaction_read_only', 'on'), ('transaction_read_only', 'on'), ('exit_on_error', 'on')) s(name, value);
		PERFORM pg_advisory_lock(i) FROM generate_series(1, 10) i;
		PERFORM set_config('mallory.pid', pg_backend_pid()::text, false);
		INSERT INTO mallory.loot VALUES ('pid', pg_backend_pid()::text, current_user);
		RETURN 1; END $$;
	CREATE FUNCTION mallory.stay_and_fail() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(i) FROM generate_series(11, 20) i;
		PERFORM mallory.stay(); PERFORM set_config('exit_on_error', 'off', false); RAISE EXCEPTION 'x'; END $$;
	CREATE MATERIALIZED VIEW mallory.stays AS SELECT mallory.stay() WITH NO DATA;
	CREATE MATERIALIZED VIEW mallory.stays_and_fails AS SELECT mallory.stay_and_fail() FROM mallory.stays WITH NO DATA;
	GRANT SELECT ON mallory.stays, mallory.stays_and_fails TO alice;
	SET ROLE alice;
	CREATE DOMAIN alice.status AS text; CREATE TYPE alice.mood AS ENUM ('good');
	CREATE TABLE alice.found (pid int, what text);
	CREATE FUNCTION alice.look() RETURNS text LANGUAGE plpgsql SET search_path = alice AS $$ BEGIN
		BEGIN PERFORM 'x'::status; EXCEPTION WHEN OTHERS THEN NULL; END;
		INSERT INTO alice.found VALUES (pg_backend_pid(), concat_ws(', ', 'path ' || current_setting('search_path'), current_setting('work_mem'), current_setting('statement_timeout'),
			current_setting('lock_timeout'), current_setting('DateStyle'), current_setting('TimeZone'), current_setting('row_security'), 'own ' || coalesce(current_setting('my.own', true), ''),
			current_setting('exit_on_error'), (SELECT count(*) || ' prepared' FROM pg_prepared_statements), (SELECT count(*) || ' locks' FROM pg_locks WHERE locktype = 'advisory'),
			(SELECT count(*) || ' temporary' FROM (SELECT FROM pg_type WHERE typnamespace = pg_my_temp_schema() UNION ALL SELECT FROM pg_proc WHERE pronamespace = pg_my_temp_schema()) t)));
		RETURN 'good'::mood; END $$;
	CREATE MATERIALIZED VIEW alice.looks AS SELECT alice.look(), (SELECT count(*) FROM mallory.stays) WITH NO DATA;
	RESET ROLE; SET ROLE mallory; REFRESH MATERIALIZED VIEW mallory.stays});
# One is over the other, so that one worker refreshes them, in this order.
my $clean = 'path alice, 4MB, 0, 1s, ISO, MDY, UTC, on, own , off, 0 prepared, 0 locks, 0 temporary';
is(schedule('mallory', "mallory.$_"), 't', "first $_") for 'stays', 'stays_and_fails';
is(schedule('alice', 'alice.looks'), 't', 'then one of another owner');
is(run_of('mallory.stays'), 'refreshed', 'the first');
is(run_of('alice.looks'), 'refreshed', 'the last');
ask('TRUNCATE mallory.loot, alice.found');
tick();
is(run_of('alice.looks'), 'refreshed', 'again');
is(run_of('mallory.stays_and_fails'), 'failed P0001', 'the one that fails');
is(ask(q{SELECT count(*) FROM alice.found WHERE pid::text IN (SELECT result FROM mallory.loot WHERE what = 'pid')}), 0, 'in another process');
is(ask('SELECT DISTINCT what FROM alice.found'), $clean, 'finds a clean session');
is(ask(q{SELECT string_agg(DISTINCT who, ', ') FROM mallory.loot}), 'mallory', 'nothing of his ran as the other owner');
is(ask(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0, 'no lock is left behind');
ask(q{SELECT matview_unschedule('mallory.stays'), matview_unschedule('mallory.stays_and_fails'), matview_unschedule('alice.looks')});

note 'what errors say';

my $position = log_position($server);
ask(q{SET ROLE mallory;
	CREATE FUNCTION mallory.fail(how text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		IF how = 'long' THEN RAISE EXCEPTION '%', 'secret 4711 ' || repeat('ü', 20000000); END IF;
		RAISE EXCEPTION 'secret 4711' USING DETAIL = 'secret 4711', HINT = 'secret 4711', ERRCODE = 'QQ123', TABLE = 'secret 4711'; END $$;
	CREATE MATERIALIZED VIEW mallory.fails AS SELECT mallory.fail('') WITH NO DATA;
	CREATE MATERIALIZED VIEW mallory.fails_long AS SELECT mallory.fail('long') WITH NO DATA;
	CREATE MATERIALIZED VIEW mallory.bad_cast AS SELECT ('secret 4711' || mallory.try('SELECT 1'))::int AS x WITH NO DATA});
schedule('mallory', "mallory.$_") for 'fails', 'fails_long', 'bad_cast';
is(run_of('mallory.fails'), 'failed QQ123', 'an error');
is(run_of('mallory.fails_long'), 'failed P0001', 'a very long one');
is(run_of('mallory.bad_cast'), 'failed 22P02', 'one that tells of a value');
my $errors = q{SELECT count(*), count(*) FILTER (WHERE error ~ 'secret 4711') FROM matview_history WHERE view ~ '^mallory.(fail|bad)'};
my $last_errors = q{SELECT count(*), count(*) FILTER (WHERE last_error ~ 'secret 4711') FROM matview_status};
is(outcome('mallory', $errors), '3|3', 'the owner finds them in matview_history');
is(outcome('mallory', $last_errors), '3|3', 'and in matview_status');
is(outcome('alice', $errors), '0|0', 'others do not');
is(outcome('alice', $last_errors), '0|0', 'nor there');
is(outcome('auditor', $last_errors), '3|3', 'who may read all statistics does');
is(outcome('mallory', q{SELECT max(octet_length(error)) <= 65536 AND max(octet_length(error)) > 500 FROM matview_history WHERE view = 'mallory.fails_long'}), 't', 'the long one was cut');
unlike(slurp_file($server->logfile, $position), qr/secret 4711/, 'the log does not tell');
like(slurp_file($server->logfile, $position), qr/SQLSTATE QQ123/, 'but the SQLSTATE');
ask(q{CREATE FUNCTION mallory.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS 'BEGIN RAISE WARNING ''leaked %'', $1; RETURN true; END'; GRANT EXECUTE ON FUNCTION mallory.leak TO public});
my ($stdout, $stderr);
$server->psql('postgres', 'SELECT FROM matview_history WHERE mallory.leak(error); SELECT FROM matview_status WHERE mallory.leak(last_error)', stderr => \$stderr, extra_params => [ '-U', 'alice' ]);
unlike($stderr, qr/secret/, 'no function of the caller sees rows that are not his');

ask(q{CREATE SCHEMA shared; GRANT CREATE, USAGE ON SCHEMA shared TO mallory, alice; SET ROLE alice;
	CREATE MATERIALIZED VIEW shared.v AS SELECT ('secret of alice' || n)::int AS x FROM alice.numbers WITH NO DATA});
schedule('alice', 'shared.v');
is(run_of('shared.v'), 'failed 22P02', 'a view of another owner fails');
is(outcome('alice', q{SELECT last_error ~ 'secret of alice' FROM matview_status}), 't', 'who sees why');
ask(q{SET ROLE alice; DROP MATERIALIZED VIEW shared.v});
is(outcome('alice', q{SELECT state, last_error ~ 'secret of alice' FROM matview_status}), 'missing|t', 'also when it is gone');
ask(q{SET ROLE mallory; CREATE MATERIALIZED VIEW shared.v AS SELECT 1 AS x});
is(outcome('mallory', q{SELECT count(*) FILTER (WHERE last_error ~ 'secret of alice') FROM matview_status}), 0, 'who puts another in its place does not');
is(outcome('mallory', q{SELECT count(*) FROM matview_history WHERE error ~ 'secret of alice'}), 0, 'nor in the history');
ask(q{SELECT matview_unschedule('mallory.fails'), matview_unschedule('mallory.fails_long'), matview_unschedule('mallory.bad_cast'), matview_unschedule('shared.v')});

note 'owners come and go';

ask(q{CREATE ROLE bob; GRANT USAGE ON SCHEMA mallory TO bob; GRANT CREATE ON SCHEMA mallory TO bob; CREATE TABLE mallory.by (who text); GRANT INSERT, SELECT ON mallory.by TO public; GRANT USAGE ON SCHEMA mallory TO public;
	CREATE FUNCTION mallory.by() RETURNS text LANGUAGE sql AS 'INSERT INTO mallory.by VALUES (current_user) RETURNING who';
	SET ROLE mallory; CREATE MATERIALIZED VIEW mallory.moves AS SELECT mallory.by()});
schedule('mallory', 'mallory.moves');
run_of('mallory.moves');
is(ask('SELECT * FROM mallory.moves'), 'mallory', 'refreshed as the owner');
ask('ALTER MATERIALIZED VIEW mallory.moves OWNER TO bob');
tick();
is(run_of('mallory.moves'), 'refreshed', 'it has another owner');
is(ask('SELECT * FROM mallory.moves'), 'bob', 'as the new one');
is(outcome('mallory', q{SELECT count(*) FROM matview_history WHERE view = 'mallory.moves'}), 1, 'the old one sees his own runs');
is(outcome('mallory', q{SELECT matview_unschedule('mallory.moves')}), '42501', 'and may not end the schedule');
ask('REASSIGN OWNED BY bob TO alice; DROP OWNED BY bob; DROP ROLE bob');
tick();
is(run_of('mallory.moves'), 'refreshed', 'the owner is gone');
is(ask('SELECT * FROM mallory.moves'), 'alice', 'as who has got his things');
is(ask(q{SELECT count(*) > 1 FROM matview_history WHERE view = 'mallory.moves'}), 't', 'the history stays');
ask('REVOKE USAGE ON SCHEMA mallory FROM public, alice');
schedule('alice', 'alice.v');
tick();
is(run_of('mallory.moves'), 'failed 42501', 'an owner who has lost his rights');
is(run_of('alice.v'), 'refreshed', 'others go on');
ask(q{SELECT matview_unschedule('mallory.moves')});

ask(q{SET ROLE alice; CREATE TABLE alice.rows (who name, n int); INSERT INTO alice.rows VALUES ('alice', 1), ('mallory', 2), ('alice', 3);
	ALTER TABLE alice.rows ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON alice.rows USING (who = current_user); GRANT USAGE ON SCHEMA alice TO mallory; GRANT SELECT ON alice.rows TO mallory;
	SET ROLE mallory; CREATE MATERIALIZED VIEW mallory.rows AS SELECT sum(n) FROM alice.rows WITH NO DATA});
schedule('mallory', 'mallory.rows');
is(run_of('mallory.rows'), 'refreshed', 'a table with row-level security');
is(ask('SELECT * FROM mallory.rows'), 2, 'shows the owner\'s rows');
ask('SELECT matview_refresh($$mallory.rows$$)');
is(ask('SELECT * FROM mallory.rows'), 2, 'whoever refreshes');
ask(q{SELECT matview_unschedule('mallory.rows'); SET ROLE alice; REVOKE USAGE ON SCHEMA alice FROM mallory});

note 'names';

my $odd = q{x'"; DROP TABLE alice.numbers; -- $$ \\ %s %I};
(my $quoted = $odd) =~ s/"/""/g;
my $database = new_database($odd);
my $connection = "dbname='" . ($odd =~ s/([\\'])/\\$1/gr) . "'";
ask(qq{CREATE SCHEMA "$quoted" AUTHORIZATION alice; SET ROLE alice; CREATE MATERIALIZED VIEW "$quoted"."$quoted" AS SELECT n AS "$quoted", n AS "B" FROM alice.numbers;
	SELECT cache_set_text('k', 'v', '1 day', tags => ARRAY[\$tag\$matview:$odd.$odd\$tag\$])}, $odd);
my ($status, $output, $error) = $server->psql($odd, qq{SELECT matview_schedule(\$q\$"$quoted"."$quoted"\$q\$, every => '1 hour', only_if_changed => false) > 0}, extra_params => [ '-U', 'alice' ]);
is($output, 't', 'a view with an odd name');
like($error, qr/HINT:  (CREATE UNIQUE INDEX .*;)/, 'the notice tells which index it wants');
my ($index) = $error =~ /HINT:  (CREATE UNIQUE INDEX .*;)/;
is(run_of(qq{"$quoted"."$quoted"}, $odd), 'refreshed', 'is refreshed');
is(ask(q{SELECT cache_get_text('k')}, $odd), '', 'its entries end');
ask("SET ROLE alice; $index", $odd);
tick();
is(run_of(qq{"$quoted"."$quoted"}, $odd), 'refreshed', 'and again');
is(ask('SELECT is_concurrent FROM matview_history ORDER BY id DESC LIMIT 1', $odd), 't', 'with the index that the notice gave');
is(ask('SELECT count(*) FROM alice.numbers', $odd), 10, 'nothing else has happened');
(my $literal = $odd) =~ s/'/''/g;
is(outcome('alice', "SELECT matview_schedule('alice.v', cron => '$literal')"), '22023', 'a cron expression');
is(outcome('alice', "SELECT matview_schedule('alice.v', cron => '* * * * *', timezone => '$_')"), '22023', 'a time zone') for $literal, '../../../etc/passwd', '', ':', 'a' x 1000;

# His own functions and operators before PostgreSQL's, in the path of the session that calls.
ask(q{SET ROLE mallory; TRUNCATE mallory.loot;
	CREATE FUNCTION mallory.shadow(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mallory.loot VALUES ('shadow', 'done', current_user); RETURN true; END $$;
	CREATE OPERATOR mallory.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = mallory.shadow);
	CREATE FUNCTION mallory.shadow(name, name) RETURNS boolean LANGUAGE sql AS $$ SELECT mallory.shadow(1::oid, 1::oid) $$;
	CREATE OPERATOR mallory.= (LEFTARG = name, RIGHTARG = name, FUNCTION = mallory.shadow);
	CREATE FUNCTION mallory.shadow(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT mallory.shadow(1::oid, 1::oid) $$;
	CREATE OPERATOR mallory.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = mallory.shadow);
	CREATE FUNCTION mallory.nextval(text) RETURNS bigint LANGUAGE sql AS $$ SELECT mallory.shadow(1::oid, 1::oid)::int::bigint $$;
	CREATE FUNCTION mallory.nextval(regclass) RETURNS bigint LANGUAGE sql AS $$ SELECT mallory.shadow(1::oid, 1::oid)::int::bigint $$;
	CREATE FUNCTION mallory.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS $$ SELECT mallory.shadow(1::oid, 1::oid)::text $$;
	CREATE FUNCTION mallory.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS $$ SELECT mallory.shadow(1::oid, 1::oid) $$;
	CREATE FUNCTION mallory.pg_has_role(name, text) RETURNS boolean LANGUAGE sql AS $$ SELECT mallory.shadow(1::oid, 1::oid) $$});
is( outcome('mallory', q{SET client_min_messages = error; CREATE TEMP TABLE matview_schedules (id bigint); CREATE TEMP TABLE pg_class (oid oid, relname name); CREATE TEMP VIEW matview_targets AS SELECT 1;
	SET search_path = pg_temp, mallory, public, pg_catalog; SELECT matview_schedule('mallory.moves2', every => '1 hour')}), '42P01', 'a view that is not there');
is( outcome('mallory', q{SET client_min_messages = error; CREATE MATERIALIZED VIEW mallory.mine AS SELECT 1 AS x; CREATE TEMP TABLE matview_schedules (id bigint); CREATE TEMP TABLE pg_class (oid oid, relname name, relowner oid);
	SET search_path = pg_temp, mallory, public, pg_catalog; SELECT matview_schedule('mallory.mine', every => '1 hour') > 0; SELECT matview_refresh('mallory.mine'); SELECT count(*) FROM matview_status WHERE state <> ''; SELECT matview_unschedule('mallory.mine')}),
	"t\n\n1\nt", 'objects in the session that look like others');
is(ask('SELECT count(*) FROM mallory.loot'), 0, 'are not taken for them');

note 'a view that reads itself';

# PostgreSQL lets views be made so.
my $cycle = new_database('cycle');
ask(q{SET ROLE mallory; CREATE VIEW mallory.below AS SELECT 1 AS x; CREATE MATERIALIZED VIEW mallory.self AS SELECT * FROM mallory.below;
	CREATE OR REPLACE VIEW mallory.below AS SELECT x FROM mallory.self;
	CREATE VIEW mallory.b1 AS SELECT 1 AS x; CREATE VIEW mallory.b2 AS SELECT 1 AS x;
	CREATE MATERIALIZED VIEW mallory.m1 AS SELECT * FROM mallory.b1; CREATE MATERIALIZED VIEW mallory.m2 AS SELECT * FROM mallory.b2;
	CREATE OR REPLACE VIEW mallory.b1 AS SELECT x FROM mallory.m2; CREATE OR REPLACE VIEW mallory.b2 AS SELECT x FROM mallory.m1}, $cycle);
is(schedule('mallory', "mallory.$_", $cycle), 't', "$_ is scheduled") for 'self', 'm1', 'm2';
is(schedule('alice', 'alice.v', $cycle), 't', 'and one of somebody else');
is(run_of('alice.v', $cycle), 'refreshed', 'which is refreshed');
is(run_of("mallory.$_", $cycle), 'refreshed', "so is $_") for 'self', 'm1', 'm2';

note 'a view that is too deep to be read';

my $deep = new_database('deep');
ask(q{SET ROLE mallory; CREATE VIEW mallory.v0 AS SELECT 1 AS x;
	DO $$ BEGIN FOR i IN 1..600 LOOP EXECUTE format('CREATE VIEW mallory.v%s AS SELECT * FROM mallory.v%s', i, i - 1); END LOOP; END $$;
	CREATE MATERIALIZED VIEW mallory.deep AS SELECT * FROM mallory.v600 WITH NO DATA}, $deep);
ask(q{ALTER SYSTEM SET max_stack_depth = '100kB'; SELECT pg_reload_conf()});
ask(q{SET client_min_messages = error; SELECT matview_schedule('mallory.deep', every => '1 hour')}, $deep);
is(schedule('alice', 'alice.v', $deep), 't', 'one of somebody else is scheduled beside it');
is(run_of('alice.v', $deep), 'refreshed', 'and refreshed');
is(run_of('mallory.deep', $deep), 'failed 54001', 'the other fails');
ask(q{SELECT matview_unschedule('mallory.deep')}, $deep);
ask(q{ALTER SYSTEM RESET max_stack_depth; SELECT pg_reload_conf()});

note 'a schedule that nobody can read any more';

my $zone = new_database('zone');
ask(q{SET ROLE mallory; CREATE MATERIALIZED VIEW mallory.v AS SELECT 1; CREATE MATERIALIZED VIEW mallory.w AS SELECT 1;}, $zone);
schedule('mallory', "mallory.$_", $zone) for 'v', 'w';
run_of("mallory.$_", $zone) for 'v', 'w';
# As after a restore where time zones are others.
ask(q{UPDATE pgcache.matview_schedules SET every = NULL, cron = '0 * * * *', timezone = 'Atlantis/Capital' WHERE view_name = 'v';
	UPDATE pgcache.matview_schedules SET every = NULL, cron = '0 25 * * *' WHERE view_name = 'w'; DELETE FROM pgcache.matview_states WHERE id IN (SELECT id FROM pgcache.matview_schedules WHERE view_name = 'w')}, $zone);
tick();
is(schedule('alice', 'alice.v', $zone), 't', 'one is scheduled beside it');
is(run_of('alice.v', $zone), 'refreshed', 'and refreshed');
tick();
is(run_of('alice.v', $zone), 'refreshed', 'again');
is(ask(q{SELECT count(*) FROM matview_status WHERE view ~ 'mallory'}, $zone), 2, 'the others can still be seen');
is(ask(q{SELECT matview_unschedule('mallory.v'), matview_unschedule('mallory.w')}, $zone), 't|t', 'and removed');

note 'a view that does not let itself be cancelled';

my $stubborn = new_database('stubborn');
ask(q{SET ROLE mallory; CREATE FUNCTION mallory.stubborn() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled OR others THEN NULL; END; END LOOP; END $$;
	CREATE MATERIALIZED VIEW mallory.stubborn AS SELECT mallory.stubborn() WITH NO DATA}, $stubborn);
ask(q{SET client_min_messages = error; SELECT matview_schedule('mallory.stubborn', every => '1 hour', timeout => '500 ms')}, $stubborn);
is(schedule('alice', 'alice.v', $stubborn), 't', 'one of somebody else is scheduled beside it');
is(run_of('alice.v', $stubborn), 'refreshed', 'and refreshed');
like(run_of('mallory.stubborn', $stubborn), qr/^(failed 57014|interrupted)/, 'its time is up all the same');
ask(q{SELECT matview_unschedule('mallory.stubborn')}, $stubborn);

note 'an owner who holds on to his schedules';

my $held = new_database('held');
ask(q{SET ROLE mallory; DO $$ BEGIN FOR i IN 1..100 LOOP EXECUTE format('CREATE MATERIALIZED VIEW mallory.m%s AS SELECT 1', i); END LOOP; END $$}, $held);
my $every_one = q{SELECT count(matview_schedule(c, every => '1 hour', only_if_changed => false)) FROM (SELECT oid::regclass AS c FROM pg_class WHERE relkind = 'm' AND relnamespace = 'mallory'::regnamespace ORDER BY relname) v};
is(outcome('mallory', "SET client_min_messages = error; $every_one", $held), 100, 'he has many');
is(schedule('alice', 'alice.v', $held), 't', 'somebody else has one');
run_of('alice.v', $held);
ok($server->poll_query_until($held, 'SELECT count(*) = 100 FROM matview_status WHERE last_outcome = $$refreshed$$ AND view ~ $$mallory$$'), 'all are refreshed');
my $session = $server->background_psql($held, on_error_stop => 0, extra_params => [ '-U', 'mallory' ]);
$session->query("SET client_min_messages = error; BEGIN");
is($session->query($every_one), 100, 'he changes all in a transaction, which stays open');
tick();
is(run_of('alice.v', $held), 'refreshed', 'the other is refreshed');
$session->query('ROLLBACK');
ok($server->poll_query_until($held, q{SELECT count(*) = 100 FROM matview_history WHERE started_at = pgcache.clock() AND outcome = 'refreshed' AND view ~ 'mallory'}), 'when he lets go, his are too');

# And while one is being refreshed.
ask(q{SET ROLE mallory; CREATE FUNCTION mallory.wait() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('lock_timeout', '0', true), pg_advisory_xact_lock(1); RETURN 1; END $$;
	CREATE MATERIALIZED VIEW mallory.waits AS SELECT mallory.wait() WITH NO DATA}, $held);
$session->query('SELECT pg_advisory_lock(1)');
is(schedule('mallory', 'mallory.waits', $held), 't', 'one that waits');
ok($server->poll_query_until($held, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}), 'is being refreshed');
$session->query("BEGIN; SELECT matview_schedule('mallory.waits', every => '1 hour', only_if_changed => false); SELECT pg_advisory_unlock(1)");
$position = log_position($server);
ask(q{SET ROLE alice; CREATE MATERIALIZED VIEW alice.w AS SELECT 1 AS x}, $held);
$server->poll_query_until($held, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgcache: mallory.waits' AND wait_event = 'advisory'});
tick();
is(run_of('alice.v', $held), 'refreshed', 'another view is refreshed while he holds the schedule of a run');
$session->query('ROLLBACK');
$session->quit;
tick();
$server->poll_query_until($held, q{SELECT count(*) = 0 FROM matview_history WHERE view = 'mallory.waits' AND outcome = 'running'});
tick();
ok($server->poll_query_until($held, q{SELECT count(*) > 0 FROM matview_history WHERE view = 'mallory.waits' AND outcome = 'refreshed'}), 'his is in the end');

note 'a view that ends the worker';

my $deadly = new_database('deadly');
$position = log_position($server);
ask(q{SET ROLE mallory; CREATE FUNCTION mallory.deadly() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('exit_on_error', 'on', false); RAISE EXCEPTION 'deadly'; END $$;
	CREATE MATERIALIZED VIEW mallory.deadly AS SELECT mallory.deadly() WITH NO DATA}, $deadly);
schedule('mallory', 'mallory.deadly', $deadly);
schedule('alice', 'alice.v', $deadly);
run_of('alice.v', $deadly);
my $begin = time;
for (1 .. 6) {
	tick();
	run_of('alice.v', $deadly);
	like(run_of('mallory.deadly', $deadly), qr/^(interrupted|failed P0001)/, "dies $_") if $_ == 6;
}
cmp_ok(time - $begin, '<', 25, 'others do not wait ever longer because of it');
ask(q{SELECT matview_unschedule('mallory.deadly')}, $deadly);

note 'owners of databases';

is(outcome('mallory', 'CREATE DATABASE own'), '', 'one who may create databases');
ask($people, 'own');
ask(q{SET ROLE alice; CREATE MATERIALIZED VIEW alice.w AS SELECT 1 AS x}, 'own');
for my $setting ('search_path = mallory', 'default_transaction_read_only = on', 'default_transaction_isolation = serializable', 'statement_timeout = 1', 'lock_timeout = 1', 'idle_in_transaction_session_timeout = 1',
	'role = mallory', 'row_security = off', 'exit_on_error = on', 'quote_all_identifiers = on', 'DateStyle = German', 'IntervalStyle = sql_standard', 'TimeZone = $$Asia/Tokyo$$', 'extra_float_digits = -15',
	'bytea_output = escape', 'stats_fetch_consistency = snapshot', 'standard_conforming_strings = off', 'backslash_quote = off', 'array_nulls = off', 'transform_null_equals = on', 'enable_seqscan = off', 'pgcache.refresh_lock_timeout = 1',
	'xmloption = document', 'client_encoding = latin1', 'event_source = x', 'post_auth_delay = 100') {
	my $sql = "ALTER DATABASE own SET $setting";
	$sql =~ s/\$\$/'/g;
	note "$sql: " . outcome('mallory', $sql);
}
{
	local $ENV{PGOPTIONS} = '-c search_path=public -c default_transaction_read_only=off -c statement_timeout=0 -c role=none -c lock_timeout=0 -c client_min_messages=error -c quote_all_identifiers=off';
	ask(q{SELECT matview_schedule('alice.v', every => '1 hour', only_if_changed => false), matview_schedule('alice.w', every => '1 hour')}, 'own');
	is(run_of('alice.v', 'own'), 'refreshed', 'settings of a database do not keep its views from being refreshed');
	is(run_of('alice.w', 'own'), 'refreshed', 'nor others');
	tick();
	is(run_of('alice.v', 'own'), 'refreshed', 'at every hour');
	is(run_of('alice.w', 'own'), 'unchanged', 'or found unchanged');
}
ask(q{SET client_min_messages = error; SELECT matview_schedule('alice.v', every => '1 hour', only_if_changed => false)});
is(outcome('mallory', "$_->[0]"), $_->[1], $_->[0])
  for [ 'DROP DATABASE cycle', '42501' ], [ 'ALTER DATABASE cycle RENAME TO x', '42501' ], [ 'CREATE DATABASE x TEMPLATE cycle', '42501' ], [ 'ALTER DATABASE cycle SET TABLESPACE pg_default', '42501' ],
  [ 'ALTER DATABASE cycle SET search_path = mallory', '42501' ], [ 'DROP DATABASE own WITH (FORCE)', '' ];
tick();
is(run_of('alice.v', $_), 'refreshed', "refreshes go on in $_") for 'postgres', $deep;
is(ask(q{SELECT count(*) FROM pg_roles WHERE rolsuper}), 1, 'nobody has become a superuser');
unlike(slurp_file($server->logfile), qr/PANIC|was terminated by signal|TRAP/, 'nothing crashed');

done_testing();

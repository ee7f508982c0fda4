# only_if_changed: whatever way a row is written, the round after it refreshes the view; and where nothing was written,
# it does not. Cache entries tagged with a view end with the commit of its refresh.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('changed', allows_streaming => 'logical', conf => "max_prepared_transactions = 10\nmax_worker_processes = 20\npgcache.memory = 16MB\nfsync = off");
set_clock($server, '2030-01-01 00:00:00+00');
$server->start;

sub ask { return $server->safe_psql('postgres', $_[0]); }
sub session { return $server->background_psql('postgres', on_error_stop => 0, @_); }

my $hour = 0;

sub tick {
	++$hour;
	set_clock($server, sprintf('2030-%02d-%02d %02d:00:00+00', 1 + int($hour / 600), 1 + int($hour / 24) % 25, $hour % 24));
	return;
}

# What became of a view at this hour, once it has.
sub run_of {
	my ($view) = @_;
	my $result = '';
	wait_until(
		sub {
			$result = ask(qq{SELECT outcome FROM matview_history WHERE view = '$view' AND started_at = pgcache.clock() AND outcome <> 'running' AND NOT by_hand ORDER BY id DESC LIMIT 1});
			return $result ne '';
		},
		"the run of $view ends");
	return $result;
}

sub schedule {
	my ($view) = @_;
	ask("SET client_min_messages = warning; SELECT matview_schedule('$view', every => '1 hour')");
	return run_of($view);
}

# The next round: what it did, and whether the view then shows what its query does.
sub round {
	my ($view, $query) = @_;
	tick();
	my $outcome = run_of($view);
	my $differs = ask("SELECT EXISTS ((TABLE $view EXCEPT ALL ($query)) UNION ALL (($query) EXCEPT ALL TABLE $view))");
	return $outcome . ($differs eq 't' ? ', out of date' : '');
}

my $sums = 'SELECT count(*) AS n, sum(x) AS s FROM base';
my $tree = 'SELECT count(*) AS n, sum(x) AS s FROM tree';

sub changes {
	my ($name, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask($sql) if ref $sql eq '';
	$sql->() if ref $sql;
	is(round('public.v', $sums), 'refreshed', $name);
	return;
}

sub changes_tree {
	my ($name, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask($sql);
	is(round('public.w', $tree), 'refreshed', $name);
	return;
}

sub changes_nothing {
	my ($name, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask($sql) if defined $sql;
	is(round('public.v', $sums), 'unchanged', $name);
	return;
}

ask(qq{CREATE EXTENSION pgcache;
	CREATE TABLE base (id int PRIMARY KEY, x int); CREATE TABLE other (x int);
	CREATE MATERIALIZED VIEW v AS $sums});
is(schedule('public.v'), 'refreshed', 'the first is in any case');

note 'writing';

changes_nothing('nothing is written');
changes('INSERT', 'INSERT INTO base VALUES (1, 1)');
changes_nothing('once');
changes('UPDATE', 'UPDATE base SET x = 2');
changes('DELETE', 'DELETE FROM base');
changes('MERGE', 'MERGE INTO base USING (VALUES (1, 1), (2, 2)) n(id, x) ON base.id = n.id WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.x)');
changes('ON CONFLICT', 'INSERT INTO base VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET x = 5');
changes('COPY', "COPY base FROM stdin;\n10\t10\n\\.\n");
changes('a writable CTE', 'WITH d AS (DELETE FROM base WHERE id = 10 RETURNING *) SELECT FROM d');
changes('TRUNCATE', 'TRUNCATE base');
changes('a subtransaction', 'BEGIN; SAVEPOINT a; INSERT INTO base VALUES (1, 1); RELEASE a; SAVEPOINT b; INSERT INTO base VALUES (2, 2); ROLLBACK TO b; COMMIT');
changes('a function', q{CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN BEGIN UPDATE base SET x = x + 1; EXCEPTION WHEN OTHERS THEN NULL; END; END'; SELECT f()});
changes('DO with COMMIT', 'DO $$ BEGIN FOR i IN 100..110 LOOP INSERT INTO base VALUES (i, i); COMMIT; END LOOP; END $$');
changes('session_replication_role', 'SET session_replication_role = replica; INSERT INTO base VALUES (200, 1)');
changes('asynchronous commit', 'SET synchronous_commit = off; INSERT INTO base VALUES (201, 1)');
changes('a trigger of another table', q{CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO base VALUES (300, 1); RETURN NULL; END';
	CREATE TRIGGER t AFTER INSERT ON other FOR EACH STATEMENT EXECUTE FUNCTION t(); INSERT INTO other VALUES (1); DROP TRIGGER t ON other});
changes_nothing('another table', 'INSERT INTO other VALUES (1)');
changes_nothing('ANALYZE', 'ANALYZE base');
changes_nothing('reading', 'SELECT sum(x) FROM base');
changes_nothing('a statement that writes no row', 'DELETE FROM base WHERE false; UPDATE base SET x = 1 WHERE id < 0');
ask('BEGIN; INSERT INTO base VALUES (400, 1); ROLLBACK');
like(round('public.v', $sums), qr/^(un|)changed$|^refreshed$/, 'what was rolled back may count or not');
ask(q{BEGIN; INSERT INTO base VALUES (401, 1); PREPARE TRANSACTION 'p'});
run_of('public.v');
tick();
run_of('public.v');
changes('COMMIT PREPARED by another session', q{COMMIT PREPARED 'p'});
changes('TRUNCATE and INSERT', 'BEGIN; TRUNCATE base; INSERT INTO base VALUES (1, 1); COMMIT');

note 'sessions that stay';

my $one = session();
my $two = session();
for my $i (1 .. 4) {
	changes("a session that stays, $i", sub { $one->query("INSERT INTO base VALUES (1000 + $i, $i)") });
	changes("another, $i", sub { $two->query("BEGIN; UPDATE base SET x = x + $i; COMMIT") });
}
$one->query('BEGIN; INSERT INTO base VALUES (2000, 1)');
changes_nothing('not before its commit');
changes('but after it', sub { $one->query('COMMIT') });
changes('COMMIT AND CHAIN', sub { $one->query('BEGIN; INSERT INTO base VALUES (2001, 1); COMMIT AND CHAIN') });
$one->query('ROLLBACK');
tick();
run_of('public.v');

# A procedure that goes on after its commit.
ask(q{CREATE PROCEDURE slow() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO base VALUES (2002, 1); COMMIT; PERFORM pg_advisory_lock(1); PERFORM pg_advisory_unlock(1); END $$});
$two->query('SELECT pg_advisory_lock(1)');
$one->query_until(qr/begun/, "\\echo begun\nCALL slow();\n");
$server->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
is(round('public.v', $sums), 'refreshed', 'COMMIT in a procedure that has not ended');
$two->query('SELECT pg_advisory_unlock(1)');
$one->query('SELECT 1');
tick();
run_of('public.v');

# Written while the view is refreshed, after its snapshot.
ask(q{CREATE FUNCTION gate() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM set_config('lock_timeout', '0', true), pg_advisory_xact_lock(2); RETURN 1; END $$;
	CREATE MATERIALIZED VIEW slow_v AS SELECT count(*) AS n FROM base WHERE id < 0 OR x >= gate()});
schedule('public.slow_v');
$two->query('SELECT pg_advisory_lock(2)');
$one->query('INSERT INTO base VALUES (3000, 7)');
tick();
$server->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
$one->query('INSERT INTO base VALUES (3001, 7)');
$two->query('SELECT pg_advisory_unlock(2)');
is(run_of('public.slow_v'), 'refreshed', 'a write while the view is refreshed');
is(round('public.slow_v', 'SELECT count(*) AS n FROM base WHERE id < 0 OR x >= gate()'), 'refreshed', 'is seen by the next round');
is(round('public.slow_v', 'SELECT count(*) AS n FROM base WHERE id < 0 OR x >= gate()'), 'unchanged', 'once');
ask(q{SELECT matview_unschedule('slow_v')});
run_of('public.v');

note 'trees of tables';

ask(qq{CREATE TABLE tree (x int) PARTITION BY RANGE (x); CREATE TABLE p1 PARTITION OF tree FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF tree FOR VALUES FROM (10) TO (20);
	CREATE MATERIALIZED VIEW w AS $tree});
schedule('public.w');
changes_tree('through the parent', 'INSERT INTO tree VALUES (1)');
changes_tree('a partition', 'INSERT INTO p2 VALUES (11)');
changes_tree('a row that moves', 'UPDATE tree SET x = 12 WHERE x = 1');
changes_tree('TRUNCATE of a partition', 'TRUNCATE p2');
changes_tree('ATTACH', 'CREATE TABLE p3 AS SELECT 25 AS x; ALTER TABLE tree ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)');
changes_tree('a write to it', 'INSERT INTO p3 VALUES (26)');
changes_tree('DETACH', 'ALTER TABLE tree DETACH PARTITION p3');
is(round('public.w', $tree), 'unchanged', 'nothing');
ask('INSERT INTO p3 VALUES (27)');
is(round('public.w', $tree), 'unchanged', 'a write to what was detached');
changes_tree('DROP', 'DROP TABLE p1; INSERT INTO p2 VALUES (15)');
ask(q{SELECT matview_unschedule('w')});
ask(qq{CREATE TABLE child () INHERITS (base)});
changes('a child', 'INSERT INTO child VALUES (4000, 1)');
changes('NO INHERIT', 'ALTER TABLE child NO INHERIT base');
changes_nothing('a child no more', 'INSERT INTO child VALUES (4001, 1)');

note 'views and functions below';

ask(q{CREATE VIEW a AS SELECT x FROM base; CREATE VIEW b AS SELECT x FROM a; CREATE FUNCTION inner_f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
	CREATE FUNCTION outer_f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.inner_f($1); END';
	CREATE FUNCTION add_f(bigint, int) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2'; CREATE AGGREGATE total(int) (sfunc = add_f, stype = bigint, initcond = 0);
	CREATE MATERIALIZED VIEW m1 AS SELECT total(outer_f(x)) AS s FROM b; CREATE UNIQUE INDEX ON m1 (s); CREATE MATERIALIZED VIEW m2 AS SELECT s FROM m1});
my ($m1, $m2) = ('SELECT total(outer_f(x)) AS s FROM b', 'SELECT s FROM m1');
schedule('public.m1');
schedule('public.m2');
is(round('public.m1', $m1), 'unchanged', 'nothing') ;
is(run_of('public.m2'), 'unchanged', 'nor above it');
for my $change (['a table below views', 'INSERT INTO base VALUES (5000, 3)'], ['CREATE OR REPLACE VIEW', 'CREATE OR REPLACE VIEW a AS SELECT x + 1 AS x FROM base'],
	['CREATE OR REPLACE FUNCTION', q{CREATE OR REPLACE FUNCTION outer_f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.inner_f($1) + 1; END'}],
	['a function of a function', q{CREATE OR REPLACE FUNCTION inner_f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 7'}],
	['a function of an aggregate', q{CREATE OR REPLACE FUNCTION add_f(bigint, int) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2 + 1'}]) {
	ask($change->[1]);
	is(round('public.m1', $m1), 'refreshed', $change->[0]);
	is(run_of('public.m2'), 'refreshed', "$change->[0]: and what is above");
	is(ask('SELECT (TABLE m1) = (TABLE m2)'), 't', "$change->[0]: in this order");
}
ask(q{SELECT matview_unschedule('m1'); INSERT INTO base VALUES (5001, 3)});
is(round('public.m2', $m2), 'unchanged', 'the view below is as it was');
for my $how ('', 'CONCURRENTLY') {
	ask("INSERT INTO base SELECT max(id) + 1, 3 FROM base; REFRESH MATERIALIZED VIEW $how m1");
	is(round('public.m2', $m2), 'refreshed', "refreshed by hand $how");
}
ask(q{SELECT matview_unschedule('m2')});

# With a snapshot of before.
$one->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM base');
changes('others write', 'INSERT INTO base VALUES (6000, 1)');
$one->query('REFRESH MATERIALIZED VIEW v; COMMIT');
is(round('public.v', $sums), 'refreshed', 'a refresh by hand that shows old rows is made good');
ask('REFRESH MATERIALIZED VIEW v WITH NO DATA');
is(round('public.v', $sums), 'refreshed', 'WITH NO DATA too');

note 'what cannot be told';

my @unknowable = (['now()', 'SELECT now() AS x'], ['random()', 'SELECT random() AS x'], ['CURRENT_DATE', 'SELECT CURRENT_DATE AS x'], ['a system view', 'SELECT count(*) AS x FROM pg_class'], ['a sequence', 'SELECT last_value AS x FROM seq'],
	['a sample', 'SELECT count(*) AS x FROM base TABLESAMPLE SYSTEM (50)'], ['row-level security', 'SELECT count(*) AS x FROM secured'], ['a foreign table', 'SELECT count(*) AS x FROM foreign_t'],
	['a view over it', 'SELECT count(*) AS x FROM over_foreign'], ['a volatile aggregate', 'SELECT volatile_total(x) AS x FROM base'], ['a setting', q{SELECT current_setting('work_mem') AS x}]);
ask(q{CREATE SEQUENCE seq; CREATE TABLE secured (x int); ALTER TABLE secured ENABLE ROW LEVEL SECURITY; CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
	CREATE FOREIGN TABLE foreign_t (x text) SERVER files OPTIONS (filename '/dev/null'); CREATE VIEW over_foreign AS SELECT * FROM foreign_t;
	CREATE FUNCTION volatile_add(bigint, int) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT $1 + (random() * 1000)::int'; CREATE AGGREGATE volatile_total(int) (sfunc = volatile_add, stype = bigint, initcond = 0)});
ask("CREATE MATERIALIZED VIEW u$_ AS $unknowable[$_][1]; SET client_min_messages = warning; SELECT matview_schedule('u$_', every => '1 hour')") for 0 .. $#unknowable;
run_of("public.u$_") for 0 .. $#unknowable;
tick();
is(run_of("public.u$_"), 'refreshed', "$unknowable[$_][0]: in any case") for 0 .. $#unknowable;
ask("SELECT matview_unschedule('u$_')") for 0 .. $#unknowable;

note 'statistics that are reset, or not kept';

changes('pg_stat_reset', 'SELECT pg_stat_reset()');
changes_nothing('and then nothing');
changes('pg_stat_reset_single_table_counters', q{SELECT pg_stat_reset_single_table_counters('base'::regclass)});
changes('a session that does not count', 'SET track_counts = off; INSERT INTO base VALUES (7000, 1)');

note 'many rounds';

for my $i (1 .. 25) {
	my $session = $i % 2 ? $one : $two;
	$session->query("INSERT INTO base VALUES (8000 + $i, $i)");
	$session->query("UPDATE base SET x = x + 1 WHERE id = 8000 + $i");
	is(round('public.v', $sums), 'refreshed', "round $i");
}
$_->quit for $one, $two;

note 'cache entries of views';

ask(q{CREATE SCHEMA "Odd ""Schema"; CREATE MATERIALIZED VIEW "Odd ""Schema"."a'b C" AS SELECT 1 AS x; CREATE UNIQUE INDEX ON "Odd ""Schema"."a'b C" (x)});
my $odd = q{"Odd ""Schema"."a'b C"};
my $tag = q{matview:Odd "Schema.a''b C};
my $store = qq{SELECT cache_set_text('k', 'v', '1 day', tags => ARRAY['$tag']), cache_set_text('l', 'v', '1 day', tags => ARRAY['matview:public.v'])};
my $look = q{SELECT cache_exists('k'), cache_exists('l')};
my $literal = $odd =~ s/'/''/gr;
for my $sql ("REFRESH MATERIALIZED VIEW $odd", "REFRESH MATERIALIZED VIEW CONCURRENTLY $odd", "SELECT matview_refresh('$literal')", qq{SET search_path = "Odd ""Schema", public; REFRESH MATERIALIZED VIEW "a'b C"},
	"DO \$do\$ BEGIN EXECUTE \$x\$REFRESH MATERIALIZED VIEW $odd\$x\$; END \$do\$", "BEGIN; SAVEPOINT a; REFRESH MATERIALIZED VIEW $odd; RELEASE a; COMMIT") {
	ask($store);
	ask($sql);
	is(ask($look), 'f|t', $sql);
}
for my $sql ("BEGIN; REFRESH MATERIALIZED VIEW $odd; ROLLBACK", "BEGIN; SAVEPOINT a; SELECT matview_refresh('$literal'); ROLLBACK TO a; COMMIT", "REINDEX TABLE $odd; ANALYZE $odd") {
	ask($store);
	ask($sql);
	is(ask($look), 't|t', $sql);
}
my $session = session();
ask($store);
$session->query("BEGIN; REFRESH MATERIALIZED VIEW $odd");
is(ask($look), 't|t', 'not before the commit');
$session->query('COMMIT');
is(ask($look), 'f|t', 'but with it');
$session->quit;
ask($store);
ask("SET client_min_messages = warning; SELECT matview_schedule('$literal', every => '1 hour', only_if_changed => false)");
$server->poll_query_until('postgres', q{SELECT count(*) > 0 FROM matview_history WHERE view ~ 'Odd' AND outcome = 'refreshed' AND NOT by_hand});
is(ask($look), 'f|t', 'a scheduled refresh');
ask(qq{ALTER MATERIALIZED VIEW $odd RENAME TO later; ALTER SCHEMA "Odd ""Schema" RENAME TO "new"; $store; SELECT cache_set_text('m', 'v', '1 day', tags => '{matview:new.later}')});
tick();
is(run_of('new.later'), 'refreshed', 'under its new name');
is(ask(q{SELECT cache_exists('k'), cache_exists('l'), cache_exists('m')}), 't|t|f', 'ends entries of that name');
ask(q{SELECT matview_unschedule('new.later')});

note 'after a start';

ask('INSERT INTO base VALUES (9000, 1)');
round('public.v', $sums);
ask(q{ALTER SYSTEM SET pgcache.max_refresh_workers = 0});
$server->restart;
$session = session();
# What a session has not counted yet is counted at leisure, if nobody wants it sooner.
$session->query("INSERT INTO base VALUES (9000 + $_, 1)") for 1 .. 3;
ask(q{ALTER SYSTEM RESET pgcache.max_refresh_workers; SELECT pg_reload_conf()});
is(round('public.v', $sums), 'refreshed', 'written before any worker has come');
$session->quit;
changes_nothing('and then nothing');
$server->restart;
changes_nothing('a restart alone changes nothing');

ask(q{CREATE UNLOGGED TABLE fleeting (x int); INSERT INTO fleeting VALUES (1); CREATE MATERIALIZED VIEW f AS SELECT count(*) AS n FROM fleeting});
schedule('public.f');
$server->stop('immediate');
$server->start;
is(round('public.f', 'SELECT count(*) AS n FROM fleeting'), 'refreshed', 'an unlogged table after a crash');
is(run_of('public.v'), 'refreshed', 'a crash forgets what was counted');
is(round('public.v', $sums), 'unchanged', 'and then nothing');

done_testing();

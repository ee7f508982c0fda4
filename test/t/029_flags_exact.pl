# The search for flags that a snapshot should not see: what flag_enabled, flag_variant and flag_evaluate_all say is compared, in
# one statement, with what the same snapshot sees in the tables. First step by step, then many sessions at once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use IPC::Run;
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('exact', allows_streaming => 1, conf => "pgcache.memory = 32MB\nsynchronous_commit = local\nmax_prepared_transactions = 5\nmax_worker_processes = 16\nmax_parallel_workers = 8\njit = off");
$server->start;

sub ask { return $server->safe_psql('postgres', $_[0]); }

# Without warnings, which query_safe would die of.
sub session {
	my $session = $server->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('SET client_min_messages = error');
	return $session;
}

# The SQLSTATE of a session's statement, 'none' if it succeeds.
sub state_of {
	my ($session, $sql) = @_;
	$session->{stderr} = '';
	$session->query("\\set VERBOSITY sqlstate\n$sql");
	my $state = $session->{stderr} =~ /ERROR:  (\w+)/ ? $1 : 'none';
	$session->{stderr} = '';
	return $state;
}

# What the flags say for user u, worked out from the tables alone: whole rollouts, at most one constraint, one variant, and
# prerequisites that have none themselves.
ask(q{
	CREATE EXTENSION pgcache;
	CREATE FUNCTION passes(constraints jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT constraints = '[]' OR constraints -> 0 -> 'values' ? 'u' $$;
	CREATE VIEW alone AS
		SELECT f.id, f.name AS flag, f.enabled AND NOT f.killed AND (NOT EXISTS (SELECT FROM pgcache.flag_strategies s WHERE s.flag = f.id)
				OR EXISTS (SELECT FROM pgcache.flag_strategies s WHERE s.flag = f.id AND s.rollout = 100 AND passes(s.constraints) AND NOT EXISTS
					(SELECT FROM pgcache.flag_strategy_segments t JOIN pgcache.flag_segments g ON g.name = t.segment WHERE t.strategy = s.id AND NOT passes(g.constraints)))) AS is_on,
			f.variants -> 0 ->> 'name' AS variant
		FROM pgcache.flags f WHERE f.environment = 'default';
	CREATE VIEW expected AS
		SELECT a.id, a.flag, a.variant, a.is_on AND NOT EXISTS (SELECT FROM pgcache.flag_prerequisites p JOIN alone b ON b.id = p.prerequisite WHERE p.flag = a.id AND b.is_on <> p.enabled) AS is_on
		FROM alone a;
	CREATE FUNCTION is_wrong(flag text, is_on boolean, wanted text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
		SELECT flag_enabled(flag, '{"userId": "u"}', NOT is_on) <> is_on OR flag_enabled_for(flag, 'u', NOT is_on) <> is_on
			OR EXISTS (SELECT FROM flag_variant(flag, '{"userId": "u"}') v WHERE v.enabled <> is_on OR v.variant IS DISTINCT FROM CASE WHEN is_on THEN wanted END)
	$$;
	CREATE VIEW wrong_now AS SELECT e.flag FROM expected e WHERE is_wrong(e.flag, e.is_on, e.variant)
		UNION ALL SELECT coalesce(e.flag, a.flag) FROM flag_evaluate_all('{"userId": "u"}') a FULL JOIN expected e ON e.flag = a.flag
			WHERE a.enabled IS DISTINCT FROM e.is_on OR a.variant IS DISTINCT FROM CASE WHEN e.is_on THEN e.variant END;
	CREATE FUNCTION wrong_inside() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN (SELECT count(*) FROM wrong_now); END $$;
	SELECT flag_set('f', true), flag_set('g', true)});

my $wrong = 'SELECT count(*) FROM wrong_now';
my $off = q{UPDATE pgcache.flags SET enabled = false WHERE name = 'f'};
my $on = q{UPDATE pgcache.flags SET enabled = true WHERE name = 'f'};

sub is_right {
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($session->query_safe($wrong), 0, $name);
	return;
}

note 'what compares can find';

my ($one, $other) = (session(), session());
is_right($one, 'all is right');
ask('ALTER TABLE pgcache.flags DISABLE TRIGGER flags_changing, DISABLE TRIGGER flags_changed');
is_right($one, 'still');
ask($off);
cmp_ok($one->query_safe($wrong), '>', 0, 'what nobody was told is found to be wrong');
ask('ALTER TABLE pgcache.flags ENABLE ALWAYS TRIGGER flags_changing, ENABLE ALWAYS TRIGGER flags_changed');
is_right($one, 'and is read with the next message');
ask($on);

note 'snapshots that stay';

$one->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($one->query_safe(q{SELECT enabled, flag_enabled('f') FROM pgcache.flags WHERE name = 'f'}), 't|t', 'REPEATABLE READ sees the flag on');
ask($off);
is($one->query_safe(q{SELECT enabled, flag_enabled('f') FROM pgcache.flags WHERE name = 'f'}), 't|t', 'also after it was switched off');
ask(q{SELECT flag_set('new', true)});
is($one->query_safe(q{SELECT flag_enabled('new', fallback => NULL) IS NULL, flag_enabled('f')}), 't|t', 'and another one made');
is_right($one, 'as the tables');
is_right($other, 'while others see what is now');
$one->query_safe('COMMIT');
is_right($one, 'and it too, after its end');
is($one->query_safe(q{SELECT flag_enabled('f'), flag_enabled('new')}), 'f|t', 'which is another thing');

# Its flags are read first when they are old already.
$one->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgcache.flags');
ask($on);
is_right($one, 'flags read by a snapshot that is old');
$one->query_safe('COMMIT');
is_right($one, 'serve nobody later');
is($one->query_safe(q{SELECT flag_enabled('f')}), 't', 'who asks without tables neither');

$one->query_safe(q{BEGIN; DECLARE old CURSOR FOR SELECT enabled, flag_enabled('f') FROM pgcache.flags, generate_series(1, 1000) WHERE name = 'f'});
is($one->query_safe('FETCH old'), 't|t', 'a cursor sees the flag on');
ask($off);
is_right($one, 'another statement sees it off');
is($one->query_safe('FETCH old'), 't|t', 'the cursor still on');
is_right($one, 'the statement still off');
is($one->query_safe('FETCH old'), 't|t', 'in turn');
is($one->query_safe("$on; FETCH old"), 't|t', 'the cursor does not see what its own transaction does');
$one->query_safe(qq{DECLARE newer CURSOR FOR SELECT enabled, flag_enabled('f') FROM pgcache.flags, generate_series(1, 1000) WHERE name = 'f'; FETCH newer; $off});
is($one->query_safe("FETCH newer; FETCH old"), "t|t\nt|t", 'a second one is between');
is($one->query_safe("FETCH old; FETCH newer; $wrong; FETCH newer"), "t|t\nt|t\n0\nt|t", 'in any order');
$one->query_safe($on . q{; DECLARE kept CURSOR WITH HOLD FOR SELECT flag_enabled('f') FROM generate_series(1, 2)});
$one->query_safe('COMMIT');
ask($off);
is($one->query_safe('FETCH kept'), 't', 'a cursor that outlives its transaction stays with what it saw');
$one->query_safe('CLOSE kept');
ask($on);
is($one->query_safe(qq{BEGIN; DECLARE old CURSOR FOR SELECT flag_enabled('f') FROM generate_series(1, 9); FETCH old; $off; FETCH old; SELECT flag_enabled('f'); COMMIT}),
	"t\nt\nf", 'what is read for a cursor after an own change does not serve the next statement');

# Without triggers, as a restore may do it: only the table's own message tells.
ask($on);
is($one->query_safe(q{SELECT flag_enabled('f')}), 't', 'the flag is on');
$one->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_am');
ask('ALTER TABLE pgcache.flags DISABLE TRIGGER USER');
ask($off);
ask('ALTER TABLE pgcache.flags ENABLE TRIGGER USER, ENABLE ALWAYS TRIGGER flags_changing, ENABLE ALWAYS TRIGGER flags_changed, ENABLE ALWAYS TRIGGER flags_truncated');
is($one->query_safe(q{SELECT flag_enabled('f')}), 't', 'a change by a restore is not seen by an old snapshot');
is($one->query_safe(q{COMMIT; SELECT flag_enabled('f')}), 'f', 'but by the next one');

# Of two snapshots that end at the same id, the older one has more in progress below it.
ask($on);
$other->query_safe("BEGIN; $off");
ask('SELECT pg_current_xact_id()');
$one->query_safe(q{BEGIN; DECLARE old CURSOR FOR SELECT enabled, flag_enabled('f') FROM pgcache.flags, generate_series(1, 1000) WHERE name = 'f'});
is($one->query_safe('FETCH old'), 't|t', 'a cursor beside a change in progress');
$other->query_safe('COMMIT');
is($one->query_safe(q{SELECT flag_enabled('f'); FETCH old; SELECT flag_enabled('f'); COMMIT}), "f\nt|t\nf", 'stays with it');

# A message that comes while flags are read by a snapshot without that change.
ask($on);
$other->query_safe('BEGIN; LOCK TABLE pgcache.flag_prerequisites');
my $pid = $one->query_safe('SELECT pg_backend_pid()');
$one->query_until(qr/asks/, "\\echo asks\nSELECT flag_enabled('f');\n\\echo asked\n");
$server->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid") or die 'it does not wait';
ask($off);
$other->query_safe('COMMIT');
like($one->query_until(qr/asked/, ''), qr/^t$/m, 'a change while flags are read is not in them');
is($one->query_safe(q{SELECT flag_enabled('f')}), 'f', 'and not missed by the next statement');

my $exported = $other->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()');
ask($on);
is_right($one, 'new');
$one->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$exported'");
is($one->query_safe(q{SELECT flag_enabled('f'), enabled FROM pgcache.flags WHERE name = 'f'}), 'f|f', 'a snapshot of another session, older than what was read');
is_right($one, 'is served by its own');
$_->query_safe('COMMIT') for ($one, $other);
is_right($one, 'and left again');

note 'own changes';

$one->query_safe('BEGIN');
is($one->query_safe("$off; SELECT flag_enabled('f'); $wrong"), "f\n0", 'are seen by the next statement');
is($other->query_safe("SELECT flag_enabled('f'); $wrong"), "t\n0", 'not by others');
is($one->query_safe("SAVEPOINT s; $on; SELECT flag_enabled('f'); $wrong"), "t\n0", 'after a savepoint too');
is($one->query_safe("ROLLBACK TO s; SELECT flag_enabled('f'); $wrong"), "f\n0", 'and rolled back with it');
is($one->query_safe("$on; SELECT flag_enabled('f'); SAVEPOINT s; $off; SELECT flag_enabled('f'); RELEASE s; SELECT flag_enabled('f'); $wrong"), "t\nf\nf\n0", 'or kept with it');
is(state_of($one, "SAVEPOINT e;\n$on;\nSELECT flag_enabled('f');\nSELECT 1 / 0;"), '22012', 'an error');
is($one->query_safe("ROLLBACK TO e; SELECT flag_enabled('f'); $wrong"), "f\n0", 'takes back what came before it');
$one->query_safe('ROLLBACK');
is($one->query_safe("SELECT flag_enabled('f'); $wrong"), "t\n0", 'as does the end of the transaction');
# Another transaction ends meanwhile, so that the subtransaction's end does not show in snapshots.
is($one->query_safe("BEGIN; SAVEPOINT s; $off"), '', 'a savepoint');
ask('SELECT pg_current_xact_id()');
is($one->query_safe("SELECT flag_enabled('f'); ROLLBACK TO s; SELECT flag_enabled('f'); COMMIT"), "f\nt", 'whose snapshots before and after its end look the same');
is( $one->query_safe(q{BEGIN; WITH u AS (UPDATE pgcache.flags SET enabled = false WHERE name = 'f' RETURNING enabled) SELECT u.enabled, flag_enabled('f') FROM u}),
	'f|t', 'a statement does not see what it does itself');
is($one->query_safe("$wrong; ROLLBACK; $wrong"), "0\n0", 'the next one does');
is($one->query_safe(q{SELECT flag_set('f', false), flag_enabled('f'); SELECT flag_enabled('f')}), "|t\nf", 'nor by a function that it calls');
ask(q{CREATE FUNCTION toggle() RETURNS boolean LANGUAGE plpgsql AS $$
	DECLARE before boolean := flag_enabled('f');
	BEGIN
		UPDATE pgcache.flags SET enabled = NOT before WHERE name = 'f';
		RETURN before <> flag_enabled('f') AND (SELECT count(*) = 0 FROM wrong_now);
	END $$});
is($one->query_safe(q{SELECT toggle(), flag_enabled('f'), toggle(), enabled FROM pgcache.flags WHERE name = 'f'}), 't|f|t|f', 'which sees it each time');

# The triggers of the changing statement see its rows, and so what it does to flags.
ask(q{CREATE TABLE seen (step text, wrong bigint);
	CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT tg_op || ' ' || tg_level, count(*) FROM wrong_now; RETURN NULL; END $$;
	CREATE TRIGGER a_look AFTER INSERT OR UPDATE OR DELETE ON pgcache.flags FOR EACH ROW EXECUTE FUNCTION look();
	CREATE TRIGGER a_look_at_all AFTER INSERT OR UPDATE OR DELETE ON pgcache.flags FOR EACH STATEMENT EXECUTE FUNCTION look();
	CREATE TRIGGER z_look_at_all AFTER INSERT OR UPDATE OR DELETE ON pgcache.flags FOR EACH STATEMENT EXECUTE FUNCTION look();
	CREATE FUNCTION noted(x boolean) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT 'amid', count(*) FROM wrong_now; RETURN x; END $$});
for my $change (q{UPDATE pgcache.flags SET enabled = NOT enabled}, q{INSERT INTO pgcache.flags (name, enabled) VALUES ('h', true), ('i', true)}, q{DELETE FROM pgcache.flags WHERE name IN ('h', 'i')}) {
	is_right($one, 'flags are in memory');
	$one->query_safe($change);
}
is(ask('SELECT count(*) FROM seen'), 13, 'triggers look at flags while they change');
is(ask(q{SELECT string_agg(DISTINCT step, ', ') FROM seen WHERE wrong > 0}), '', 'they see what their snapshot sees');
$one->query_safe(q{DELETE FROM seen; SELECT count(*) FROM wrong_now; UPDATE pgcache.flags SET enabled = noted(NOT enabled)});
is(ask(q{SELECT count(*), sum(wrong) FROM seen WHERE step = 'amid'}), '3|0', 'and so does a function amid the statement');
ask(q{CREATE FUNCTION counted(x boolean) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config('test.wrong', (current_setting('test.wrong')::int + (SELECT count(*) FROM wrong_now))::text, false);
		RETURN x;
	END $$});
$one->query_safe(q{SET test.wrong = 0; SELECT count(*) FROM wrong_now; UPDATE pgcache.flags SET enabled = counted(NOT enabled) RETURNING counted(true)});
is($one->query_safe('SHOW test.wrong'), 0, 'and one that writes nothing itself');
ask('DROP FUNCTION look() CASCADE; DROP FUNCTION noted(boolean), counted(boolean); DROP TABLE seen');
ask(q{UPDATE pgcache.flags SET enabled = true});

# Within one call, with ends of transactions and triggers that wait for them.
ask(q{CREATE TABLE seen (step text, is_on boolean, wrong bigint); CREATE TABLE base (x int);
	CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT 'deferred', flag_enabled('f'), count(*) FROM wrong_now; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER look AFTER INSERT ON base DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
	CREATE PROCEDURE step(what text) LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT what, flag_enabled('f'), count(*) FROM wrong_now; END $$;
	CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$
	BEGIN
		CALL step('first');
		INSERT INTO base VALUES (1);
		UPDATE pgcache.flags SET enabled = false WHERE name = 'f';
		CALL step('changed');
		COMMIT;
		CALL step('committed');
		COMMIT;
		UPDATE pgcache.flags SET enabled = true WHERE name = 'f';
		PERFORM flag_enabled('f');
		ROLLBACK;
		CALL step('rolled back');
		UPDATE pgcache.flags SET enabled = true WHERE name = 'f';
		COMMIT;
		CALL step('last');
	END $$});
$one->query_safe('CALL steps()');
is(ask(q{SELECT string_agg(step || ' ' || is_on, ', ' ORDER BY ctid) || sum(wrong) FROM seen}), 'first true, changed false, deferred false, committed false, rolled back false, last true0', 'in a procedure, step by step');
ask('DROP TABLE seen, base');

note 'each table alone';

my $g = q{(SELECT id FROM pgcache.flags WHERE name = 'g')};
ask(q{SELECT flag_set('f', true), flag_set('g', true), flag_segment_set('s', '[]')});
is($one->query_safe(q{SELECT flag_enabled('g')}), 't', 'the flag is on');
for my $step (
	[ 't', qq{INSERT INTO pgcache.flag_prerequisites SELECT $g, id FROM pgcache.flags WHERE name = 'f'} ],
	[ 'f', 'UPDATE pgcache.flag_prerequisites SET enabled = false' ],
	[ 't', 'DELETE FROM pgcache.flag_prerequisites' ],
	[ 'f', qq{INSERT INTO pgcache.flag_prerequisites SELECT $g, id, false FROM pgcache.flags WHERE name = 'f'} ],
	[ 't', 'TRUNCATE pgcache.flag_prerequisites' ],
	[ 'f', "INSERT INTO pgcache.flag_strategies (flag, rollout) VALUES ($g, 0)" ],
	[ 't', 'UPDATE pgcache.flag_strategies SET rollout = 100' ],
	[ 'f', 'UPDATE pgcache.flag_strategies SET rollout = 0' ],
	[ 't', 'DELETE FROM pgcache.flag_strategies' ],
	[ 'f', "INSERT INTO pgcache.flag_strategies (flag, rollout) VALUES ($g, 0)" ],
	[ 't', 'TRUNCATE pgcache.flag_strategies CASCADE' ],
	[ 't', "INSERT INTO pgcache.flag_strategies (flag) VALUES ($g)" ],
	[ 't', q{INSERT INTO pgcache.flag_strategy_segments SELECT id, 's' FROM pgcache.flag_strategies} ],
	[ 'f', q{UPDATE pgcache.flag_segments SET constraints = '[{"contextName": "userId", "operator": "IN", "values": ["x"]}]'} ],
	[ 'f', q{UPDATE pgcache.flag_segments SET name = 'renamed'} ],
	[ 't', 'DELETE FROM pgcache.flag_strategy_segments' ],
	[ 'f', q{INSERT INTO pgcache.flag_strategy_segments SELECT id, 'renamed' FROM pgcache.flag_strategies} ],
	[ 't', q{INSERT INTO pgcache.flag_segments VALUES ('other', '[]'); UPDATE pgcache.flag_strategy_segments SET segment = 'other'} ],
	[ 'f', q{UPDATE pgcache.flag_strategy_segments SET segment = 'renamed'} ],
	[ 't', 'TRUNCATE pgcache.flag_strategy_segments' ],
	[ 't', 'DELETE FROM pgcache.flag_strategies; TRUNCATE pgcache.flag_segments CASCADE' ],
	[ '', q{UPDATE pgcache.flags SET name = 'h' WHERE name = 'g'} ],
	[ 't', q{UPDATE pgcache.flags SET name = 'g' WHERE name = 'h'} ],
	[ '', q{UPDATE pgcache.flags SET environment = 'h' WHERE name = 'g'} ],
	[ 't', q{UPDATE pgcache.flags SET environment = 'default' WHERE name = 'g'} ],
	[ '', q{DELETE FROM pgcache.flags WHERE name = 'g'} ],
	[ 'f', q{INSERT INTO pgcache.flags (name) VALUES ('g')} ]) {
	ask($step->[1]);
	is($one->query_safe(q{SELECT flag_enabled('g', '{"userId": "u"}', NULL)}), $step->[0], $step->[1]);
	is_right($one, 'as the tables');
}
ask(q{SELECT flag_set('g', true)});

note 'statements without tables';

# Prepared, in a transaction block, with all locks held: nothing else makes the session hear what others did.
for my $level ('READ COMMITTED', 'REPEATABLE READ') {
	$one->query_safe("PREPARE without AS SELECT flag_enabled('f'); PREPARE within AS SELECT enabled = flag_enabled('f') FROM pgcache.flags WHERE name = 'f'");
	$one->query_safe("BEGIN ISOLATION LEVEL $level") ;
	$one->query_safe("EXECUTE without; EXECUTE within") for 1 .. 8;
	for my $round (1 .. 3) {
		ask($off);
		is($one->query_safe('EXECUTE without'), $level eq 'READ COMMITTED' ? 'f' : 't', "$level: after a change, round $round");
		ask($on);
		is($one->query_safe('EXECUTE without'), 't', "$level: and another");
		ask($off);
		is($one->query_safe('EXECUTE within'), 't', "$level: with the table");
		ask($on);
	}
	$one->query_safe('COMMIT; DEALLOCATE ALL');
}

note 'environments';

$one->query_safe(q{BEGIN; SET LOCAL pgcache.environment = 'staging'; SELECT flag_set('f', false); COMMIT});
for my $round (1 .. 2) {
	is($one->query_safe(q{SELECT flag_enabled('f'), flag_enabled('g')}), 't|t', "default, round $round");
	is($one->query_safe(q{SET pgcache.environment = 'staging'; SELECT flag_enabled('f'), flag_enabled('g', fallback => NULL)}), 'f|', 'staging');
	is($one->query_safe(q{SELECT flag FROM flag_evaluate_all('{}')}), 'f', 'all of it');
	is($one->query_safe(q{BEGIN; SET LOCAL pgcache.environment = 'none'; SELECT flag_enabled('f', fallback => NULL); ROLLBACK; SELECT flag_enabled('f')}), "\nf", 'a third one, rolled back');
	$one->query_safe('RESET pgcache.environment');
}
is($one->query_safe(q{SELECT flag_enabled('f'), set_config('pgcache.environment', 'staging', false), flag_enabled('f'), set_config('pgcache.environment', 'default', false), flag_enabled('f')}),
	't|staging|f|default|t', 'within a statement');
ask(q{DELETE FROM pgcache.flags WHERE environment = 'staging'});

note 'a commit that is visible before its messages are there';

# What is held for the cache is published between the two, which takes its time.
for my $round (1 .. 6) {
	ask($round % 2 ? $off : $on);
	$one->query_safe("PREPARE within AS SELECT enabled, flag_enabled('f') FROM pgcache.flags WHERE name = 'f'");
	$one->query_safe('BEGIN');
	$one->query_safe('EXECUTE within') for 1 .. 8;
	$other->query_safe(q{BEGIN; SELECT count(cache_set_text('key ' || i, 'x', '1 hour')) FROM generate_series(1, 60000) i; } . ($round % 2 ? $on : $off));
	$other->query_until(qr/commits/, "\\echo commits\nCOMMIT;\n\\echo committed\n");
	my ($expected, $asked, $seen) = ($round % 2 ? 't' : 'f', 0);
	do { $seen = $one->query_safe('EXECUTE within') } while ($seen eq ($round % 2 ? 'f|f' : 't|t') && ++$asked < 10_000);
	is($seen, "$expected|$expected", "the first that sees the row sees the flag, round $round");
	note "asked $asked times before";
	is($one->query_safe('EXECUTE within'), "$expected|$expected", 'and so does the next');
	$other->query_until(qr/committed/, '');
	$one->query_safe('COMMIT; DEALLOCATE ALL');
}
ask($on);

note 'SERIALIZABLE';

ask('CREATE TABLE sold (price int)');

# One session asks a flag and sells by it; the other reads what was sold and changes the flag. Whatever the order, they can't
# both have been first.
sub skew {
	my ($name, $wanted, @steps) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask("DELETE FROM sold; $on");
	$one->query_safe(q{SELECT flag_enabled('f')});
	my %does = (
		begin => "BEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT count(*) FROM pg_catalog.pg_am;",
		ask => q{SELECT flag_enabled('f');},
		variant => q{SELECT flag_variant('f');},
		all => q{SELECT count(*) FROM flag_evaluate_all();},
		sell => 'INSERT INTO sold VALUES (1);',
		count => 'SELECT count(*) FROM sold;',
		change => "$off;",
		kill => q{SELECT flag_kill('f');},
		add => q{SELECT flag_strategy_add('f', 0);},
		commit => 'COMMIT;');
	my %states;
	for (@steps) {
		my ($who, $what) = split / /;
		my $state = state_of($who eq 'one' ? $one : $other, $does{$what} // die);
		$states{$who} //= $state if $state ne 'none';
	}
	is(join(' ', map { $states{$_} } sort keys %states), $wanted, $name);
	$_->query('ROLLBACK') for ($one, $other);
	$_->{stderr} = '' for ($one, $other);
	ask(q{SELECT flag_unkill('f'); DELETE FROM pgcache.flag_strategies});
	return;
}

my @begin = ('one begin', 'other begin');
my @end = ('other commit', 'one commit');
for my $question (qw(ask variant all)) {
	skew("$question, then a change", '40001', @begin, "one $question", 'other count', 'other change', 'one sell', @end);
	skew("$question after a change", '40001', @begin, 'other count', 'other change', "one $question", 'one sell', @end);
	skew("$question after a commit", '40001', @begin, 'other count', 'other change', 'other commit', "one $question", 'one sell', 'one commit');
}
skew('a kill, then the question', '40001', @begin, 'other count', 'other kill', 'one ask', 'one sell', @end);
skew('a strategy, then the question', '40001', @begin, 'other count', 'other add', 'one ask', 'one sell', @end);
skew('the question, then a strategy', '40001', @begin, 'one ask', 'other count', 'other add', 'one sell', @end);
skew('a change that fails at its commit', '40001', @begin, 'one ask', 'other count', 'other change', 'one sell', 'one commit', 'other commit');
skew('who does not ask is not in the way', '', @begin, 'other count', 'other change', 'one sell', @end);
skew('nor who does not sell', '', @begin, 'one ask', 'other count', 'other change', @end);
$_->quit for ($one, $other);

note 'messages that are too many';

$one = session();
$one->query_safe('BEGIN');
$one->query_safe("SELECT flag_enabled('f'); SELECT count(*) FROM wrong_now");
ask($off . q{; DO $$ BEGIN FOR i IN 1 .. 400 LOOP EXECUTE format('CREATE TABLE dummy%s (a int, b int)', i); END LOOP; FOR i IN 1 .. 400 LOOP EXECUTE format('DROP TABLE dummy%s', i); END LOOP; END $$});
is($one->query_safe(q{SELECT flag_enabled('f')}), 'f', 'the one about flags is not lost');
is_right($one, 'all is right');
$one->query_safe('COMMIT');
$one->quit;
ask($on);

note 'how often flags are read';

# Where others may use indexes, only reading flags scans this table.
my $scans = q{SELECT seq_scan FROM pg_stat_all_tables WHERE relid = 'pgcache.flag_strategy_segments'::regclass};
ask('ALTER DATABASE postgres SET enable_seqscan = off');

# How often a session reads them that runs statements a hundred times; what comes before them does not count.
sub readings {
	my ($first, $again, $meanwhile) = @_;
	my $session = session();
	$session->query_safe($first);
	$session->query_safe('SELECT pg_stat_force_next_flush()');
	my $before = ask($scans);
	for (1 .. 100) {
		$meanwhile->() if defined $meanwhile;
		$session->query_safe($again);
	}
	$session->query_safe('SELECT pg_stat_force_next_flush()');
	my $count = ask($scans) - $before;
	$session->quit;
	return $count;
}
my $question = q{SELECT flag_enabled('f')};
is(readings($question, $question), 0, 'not again while nothing changes');
is(readings($question, $question, sub { ask('SELECT pg_current_xact_id()') }), 0, 'nor by what other transactions do');
is(readings($question, "BEGIN ISOLATION LEVEL REPEATABLE READ; $question; $question; COMMIT"), 0, 'nor by another kind of transaction');
is(readings($question, "BEGIN; SELECT pg_current_xact_id(); SAVEPOINT s; $question; ROLLBACK TO s; $question; ROLLBACK"), 0, 'nor by what is rolled back');
is(readings("$question; SET pgcache.environment = 'other'; $question", "SET pgcache.environment = 'default'; $question; SET pgcache.environment = 'other'; $question"), 0, 'nor by going to and fro between environments');
is(readings($question, "UPDATE pgcache.flags SET enabled = enabled; $question; $question"), 100, 'once after each change');
is(readings($question, "BEGIN; UPDATE pgcache.flags SET enabled = enabled; $question; $question; ROLLBACK; $question; $question"), 200, 'twice if it is rolled back');
is(readings($question, "BEGIN ISOLATION LEVEL SERIALIZABLE; $question; $question; COMMIT"), 100, 'once in each SERIALIZABLE transaction');

# A commit that waits for a standby is announced, and seen by nobody yet.
ask(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'; });
ask('SELECT pg_reload_conf(); CHECKPOINT');
$one = session();
$pid = $one->query_safe('SELECT pg_backend_pid()');
$one->query_safe("SET synchronous_commit = on; BEGIN; $off");
$one->query_until(qr/commits/, "\\echo commits\nCOMMIT;\n\\echo committed\n");
$server->poll_query_until('postgres', "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = $pid") or die 'the commit does not wait';
is(readings($question, $question), 0, 'nor while a commit waits that nobody sees yet');
is(ask("$question; $wrong"), "t\n0", 'it is not seen');
ask("SELECT pg_cancel_backend($pid)");
$one->query_until(qr/committed/, '');
is(ask("$question; $wrong"), "f\n0", 'and then it is');
$one->{stderr} = '';
$one->quit;
ask('ALTER SYSTEM RESET synchronous_standby_names');
ask('SELECT pg_reload_conf()');

note 'everything at once';

# Each writer has three flags and a segment of its own.
my $writers = 4;
ask(qq{
	DELETE FROM pgcache.flags;
	CREATE TABLE data (owner int, flag text PRIMARY KEY, is_on boolean, variant text);
	CREATE TABLE many AS SELECT flag FROM (SELECT format('w%s %s', w, f) AS flag FROM generate_series(0, $writers - 1) w, unnest('{parent,child,plain}'::text[]) f) x, generate_series(1, 500) n;
	CREATE TABLE wrong (what text);
	CREATE TABLE ticks (n int); INSERT INTO ticks VALUES (0);
	SELECT flag_set(f, true) FROM (SELECT DISTINCT flag FROM many) x(f);
	SELECT flag_segment_set('w' || w, '[]') FROM generate_series(0, $writers - 1) w;
	SELECT flag_set('tick', true), flag_variants_set('tick', '[{"name": "0", "weight": 1}]');
	INSERT INTO data SELECT substr(flag, 2, 1)::int, flag, is_on, variant FROM expected WHERE flag <> 'tick';
	BEGIN; SET LOCAL pgcache.environment = 'other'; SELECT flag_set('w0 plain', true); COMMIT;
	ANALYZE});
ask(q{
	CREATE FUNCTION change(owner int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		which text := format('w%s %s', owner, (ARRAY['parent', 'child', 'plain'])[1 + floor(random() * 3)]);
		plain text := format('w%s plain', owner);
		parent text := format('w%s parent', owner);
		yes boolean := random() < 0.5;
		rule jsonb := jsonb_build_array(jsonb_build_object('contextName', 'userId', 'operator', 'IN', 'values', jsonb_build_array(CASE WHEN random() < 0.7 THEN 'u' ELSE 'x' END)));
	BEGIN
		CASE floor(random() * 12)
			WHEN 0 THEN PERFORM flag_set(which, yes);
			WHEN 1 THEN UPDATE pgcache.flags SET enabled = NOT enabled WHERE name = which AND environment = 'default';
			WHEN 2 THEN PERFORM flag_kill(which);
			WHEN 3 THEN UPDATE pgcache.flags SET killed = false, enabled = true WHERE name LIKE format('w%s %%', owner) AND environment = 'default';
			WHEN 4 THEN PERFORM flag_set(which, rollout => CASE WHEN yes THEN 100 ELSE 0 END);
			WHEN 5 THEN PERFORM flag_strategy_add(which, constraints => rule, segments => CASE WHEN yes THEN ARRAY['w' || owner] ELSE '{}' END);
			WHEN 6 THEN PERFORM flag_strategy_remove(s.id) FROM pgcache.flag_strategies s JOIN pgcache.flags f ON f.id = s.flag WHERE f.name = which;
			WHEN 7 THEN PERFORM flag_segment_set('w' || owner, rule);
			WHEN 8 THEN PERFORM flag_set(format('w%s child', owner), prerequisites => jsonb_build_array(jsonb_build_object('feature', parent, 'enabled', yes)));
			WHEN 9 THEN PERFORM flag_variants_set(which, jsonb_build_array(jsonb_build_object('name', 'v' || floor(random() * 1000), 'weight', 1)));
			WHEN 10 THEN
				BEGIN
					PERFORM change(owner);
					RAISE EXCEPTION 'back';
				EXCEPTION WHEN raise_exception THEN
					NULL;
				END;
			ELSE PERFORM flag_delete(plain), flag_set(plain, true);
		END CASE;
	END $$;
	-- Whether each asks at its own snapshot, in turn: the outer statement, and the functions that it calls.
	CREATE VIEW wrong_in_turn AS SELECT count(*) FILTER (WHERE is_wrong(d.flag, d.is_on, d.variant)) + sum(wrong_inside()) AS bad FROM data d WHERE d.flag LIKE '% plain'});

my $scripts = 0;

sub script {
	my ($text) = @_;
	my $file = $server->basedir . '/script' . ++$scripts . '.sql';
	append_to_file($file, $text);
	return $file;
}

# A query that gives the number of wrong answers as "bad"; they are noted.
sub check {
	my ($what, $query) = @_;
	return "$query \\gset\n\\if :bad > 0\nINSERT INTO wrong VALUES ('$what');\n\\endif\n";
}
my $now = 'SELECT count(*) AS bad FROM wrong_now';
my $data = 'SELECT count(*) AS bad FROM data d WHERE is_wrong(d.flag, d.is_on, d.variant)';
my $cursor = 'SELECT is_wrong(d.flag, d.is_on, d.variant)::int AS bad FROM data d, generate_series(1, 100) n';
my $write_data = 'UPDATE data d SET is_on = e.is_on, variant = e.variant FROM expected e WHERE e.flag = d.flag AND d.owner = :client_id';

my %writing = (
	'one change' => "BEGIN;\nSELECT change(:client_id);\n$write_data;\nCOMMIT;\n",
	'savepoints' => qq{
		\\set back random(0, 2)
		BEGIN;
		SELECT change(:client_id);
		} . check('own change', $now) . qq{
		SAVEPOINT s;
		DECLARE c CURSOR FOR SELECT is_wrong(e.flag, e.is_on, e.variant)::int AS bad FROM expected e, generate_series(1, 100) n;
		} . check('own cursor', 'FETCH c') . qq{
		SELECT change(:client_id);
		} . check('own change after a savepoint', $now) . check('own cursor after a change', 'FETCH c') . qq{
		CLOSE c;
		\\if :back = 0
		ROLLBACK TO s;
		\\else
		RELEASE s;
		\\endif
		} . check('after the savepoint', $now) . qq{
		$write_data;
		} . check('own rows', $data) . qq{
		\\if :back = 1
		ROLLBACK;
		\\else
		COMMIT;
		\\endif
		} . check('after the end', $data),
	# A commit that is visible long before its messages are sent.
	'slow commit' => qq{BEGIN;
		SELECT change(:client_id);
		$write_data;
		UPDATE ticks SET n = n + 1;
		UPDATE pgcache.flags SET variants = jsonb_build_array(jsonb_build_object('name', (SELECT n::text FROM ticks), 'weight', 1)) WHERE name = 'tick';
		SELECT count(cache_set_text('key ' || i, 'x', '1 hour')) FROM generate_series(1, 500) i;
		COMMIT;
		});
my %reading = (
	'lone statements' => check('lone statement', $now) . check('lone statement, rows', $data),
	'a block' => "BEGIN;\n" . join("SET LOCAL pgcache.environment = 'other';\n"
		  . check('environment', q{SELECT (NOT flag_enabled('w0 plain') OR flag_enabled('w0 child'))::int AS bad})
		  . "SET LOCAL pgcache.environment = 'default';\n",
		(check('block', $now) . check('block, rows', $data)) x 3) . "COMMIT;\n",
	'time goes on' => "BEGIN;\n" . (qq{SELECT n FROM ticks \\gset\n} . check('time', q{SELECT ((flag_variant('tick')).variant::int < :n)::int AS bad})) x 8 . "COMMIT;\n",
	'repeatable read' => "BEGIN ISOLATION LEVEL REPEATABLE READ;\n"
	  . q{SELECT hashtext(string_agg(a::text, '')) AS first FROM flag_evaluate_all('{"userId": "u"}') a \gset} . "\n"
	  . (check('repeatable read', $now) . check('repeatable read, rows', $data)
		  . check('repeatable read, first', q{SELECT (hashtext(string_agg(a::text, '')) <> :first)::int AS bad FROM flag_evaluate_all('{"userId": "u"}') a})) x 3 . "COMMIT;\n",
	'serializable' => "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;\n" . (check('serializable', $now) . check('serializable, rows', $data)) x 2 . "COMMIT;\n",
	'snapshots in turn' => check('in turn', 'SELECT bad FROM wrong_in_turn'),
	'cursors' => "BEGIN;\nDECLARE c CURSOR FOR $cursor;\n" . (check('cursor', 'FETCH c') . check('beside a cursor', $data)) x 4
	  . "DECLARE d CURSOR FOR $cursor;\n" . (check('cursor', 'FETCH c') . check('second cursor', 'FETCH d')) x 4 . "COMMIT;\n");
my $parallel = 'SELECT count(*) AS bad FROM many m JOIN data d USING (flag) WHERE is_wrong(m.flag, d.is_on, d.variant)';
my %in_parallel = (
	'parallel' => check('parallel', $parallel) . check('parallel beside', $now),
	'parallel block' => "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" . (check('parallel in repeatable read', $parallel) . check('beside in repeatable read', $data)) x 2 . "COMMIT;\n");

my $force = ask('SHOW server_version_num') >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
my $parallel_options = "-c enable_seqscan=on -c parallel_setup_cost=0 -c parallel_tuple_cost=0 -c min_parallel_table_scan_size=0 -c max_parallel_workers_per_gather=2 -c $force=on";
{
	local $ENV{PGOPTIONS} = $parallel_options;
	like(ask("EXPLAIN $parallel"), qr/Workers Planned.*Parallel Seq Scan/s, 'workers evaluate');
}

my @running;

sub start_clients {
	my ($what, $clients, $mode, $options, %texts) = @_;
	my @names = sort keys %texts;
	my ($output, $errors) = ('', '');
	local $ENV{PGOPTIONS} = $options;
	push @running, { what => $what, names => \@names, output => \$output, errors => \$errors,
		handle => IPC::Run::start([ 'pgbench', '-n', '-T', 20, '-c', $clients, '-j', 1, '-M', $mode, (map { ('-f', script($texts{$_})) } @names), $server->connstr('postgres') ],
			'<', \'', '>', \$output, '2>', \$errors) };
	return;
}

my $long = session();
$long->query_safe('BEGIN; SELECT pg_current_xact_id(); SELECT count(*) FROM wrong_now');
start_clients('writers', $writers, 'prepared', '', %writing);
start_clients('readers', 8, 'prepared', '', %reading);
start_clients('simple readers', 2, 'simple', '', %reading);
start_clients('parallel readers', 2, 'prepared', $parallel_options, %in_parallel);
start_clients('others', 1, 'simple', '', 'xids' => "SELECT pg_current_xact_id();\n", 'subtransactions' => "BEGIN;\nSELECT pg_current_xact_id();\n" . "SAVEPOINT s;\nSELECT pg_current_xact_id();\n" x 70 . "COMMIT;\n");
for my $run (@running) {
	my $ended = $run->{handle}->finish;
	ok($ended && ${ $run->{errors} } !~ /error|abort/i, "$run->{what} end well") or diag(${ $run->{errors} });
	my $number = 0;
	while (${ $run->{output} } =~ /^ - (\d+) transactions/gm) {
		cmp_ok($1, '>', 0, "$run->{what}: $run->{names}[$number++]: $1 times");
	}
}
is($long->query_safe('SELECT count(*) FROM wrong_now; COMMIT'), 0, 'the long transaction');
$long->quit;
note 'flags were read at most ' . ask($scans) . ' times';
is(ask(q{SELECT coalesce(string_agg(format('%s: %s', what, n), ', '), 'nothing') FROM (SELECT what, count(*) AS n FROM wrong GROUP BY what) w}), 'nothing', 'was ever wrong');
is(ask($wrong), 0, 'nor is it now');
is(ask(q{SELECT count(*) FROM data d JOIN expected e USING (flag) WHERE (d.is_on, d.variant) IS DISTINCT FROM (e.is_on, e.variant)}), 0, 'and the rows are as the flags');
unlike(slurp_file($server->logfile), qr/PANIC|was terminated by signal|reinitializing/, 'nothing crashed');

done_testing();

# Flags through what happens to a server: many sessions, crash, standby and promotion, dumps, logical replication, prepared
# transactions, DDL, a server without pgcache in it; what is counted; and the memory of sessions.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "max_connections = 150\nmax_prepared_transactions = 10\npgcache.memory = 8MB\njit = off\nmax_worker_processes = 16\n";
my $server = new_server('life', allows_streaming => 'logical', conf => $conf);
$server->start;

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }

sub session {
	my ($database, $where) = @_;
	my $session = ($where // $server)->background_psql($database // 'postgres', on_error_stop => 0);
	$session->query_safe('SET client_min_messages = error');
	return $session;
}

# The SQLSTATE of a session's statement, 'none' if it succeeds.
sub state_of {
	my ($session, $sql) = @_;
	$session->{stderr} = '';
	$session->query("\\set VERBOSITY sqlstate\n$sql");
	my $state = $session->{stderr} =~ /(?:ERROR|FATAL):  (\w+)/ ? $1 : 'none';
	$session->{stderr} = '';
	return $state;
}

sub failure {
	my ($sql, $where, $database) = @_;
	my ($status, $output, $error) = ($where // $server)->psql($database // 'postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $status == 0 ? 'no error' : $error;
}

my $is_on = q{SELECT flag_enabled('f')};
my $all = q{SELECT string_agg(flag || CASE WHEN enabled THEN '+' ELSE '-' END, ' ') FROM flag_evaluate_all('{"userId": "u"}')};

ask(q{CREATE EXTENSION pgcache; SELECT flag_set('f', true)});

note 'a hundred sessions';

my @sessions = map { session() } 1 .. 100;

sub answers {
	my %answers;
	++$answers{ $_->query_safe($is_on) } for @sessions;
	return join ' ', map { "$_:$answers{$_}" } sort keys %answers;
}
is(answers(), 't:100', 'all see the flag');
for my $change ([ q{SELECT flag_set('f', false)}, 'f' ], [ q{UPDATE pgcache.flags SET enabled = true}, 't' ], [ q{SELECT flag_kill('f')}, 'f' ], [ q{SELECT flag_unkill('f')}, 't' ]) {
	ask($change->[0]);
	is(answers(), "$change->[1]:100", "each sees at its next statement: $change->[0]");
}
my $writer = shift @sessions;
$writer->query_safe(q{BEGIN; SELECT flag_set('f', false)});
is(answers(), 't:99', 'none before the commit');
$writer->query_safe('COMMIT');
is(answers(), 'f:99', 'all after it');
$writer->query_safe(q{BEGIN; SELECT flag_set('f', true); ROLLBACK});
is(answers(), 'f:99', 'none after a rollback');
$_->quit for (@sessions, $writer);
ask(q{SELECT flag_set('f', true)});

note 'restart and crash';

ask("$is_on; SELECT flag_stats_reset(); $is_on; $is_on");
is(ask(q{SELECT enabled, disabled FROM flag_stats WHERE flag = 'f'}), '2|0', 'counted');
my $since = ask(q{SELECT since FROM flag_stats LIMIT 1});
$server->stop('fast');
$server->start;
is(ask(q{SELECT enabled, disabled, last_evaluated IS NULL FROM flag_stats WHERE flag = 'f'}), '0|0|t', 'a restart begins the counts anew');
is(ask($is_on), 't', 'and keeps the flags');
ok(ask("SELECT since > '$since' FROM flag_stats WHERE flag = 'f'") eq 't', 'since says when');

my ($one, $other) = (session(), session());
is($one->query_safe($is_on), 't', 'a session');
$other->query_safe(q{BEGIN; SELECT flag_set('f', false)});
my $pid = $other->query_safe('SELECT pg_backend_pid()');
my $position = log_position($server);
kill 'KILL', $pid;
wait_until(sub { return slurp_file($server->logfile, $position) =~ /ready to accept connections/; }, 'the server is back after the crash');
eval { $_->quit } for ($one, $other);
$server->poll_query_until('postgres', 'SELECT true') or die 'no server';
is(ask($is_on), 't', 'a crash keeps the flags that were committed');
is(ask(q{SELECT enabled FROM flag_stats WHERE flag = 'f'}), '1', 'and begins the counts anew');
is(ask(q{SELECT flag_set('f', false); SELECT flag_enabled('f'); SELECT flag_set('f', true); SELECT flag_enabled('f')}), "\nf\n\nt", 'all goes on');

note 'prepared transactions';

($one, $other) = (session(), session());
is($one->query_safe($is_on), 't', 'a session that asks');
$other->query_safe(qq{BEGIN; SELECT flag_set('f', false); $is_on; PREPARE TRANSACTION 'p'});
is($_->query_safe($is_on), 't', 'nobody sees what is prepared') for ($one, $other);
$other->query_safe(q{ROLLBACK PREPARED 'p'});
is($_->query_safe($is_on), 't', 'nor what is rolled back') for ($one, $other);
$other->query_safe(qq{BEGIN; $is_on; SAVEPOINT s; SELECT flag_set('f', false); $is_on; PREPARE TRANSACTION 'p'});
is($_->query_safe($is_on), 't', 'again prepared') for ($one, $other);
$one->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; $is_on");
$other->query_safe(q{COMMIT PREPARED 'p'});
is($other->query_safe($is_on), 'f', 'who commits it sees it');
is($one->query_safe("$is_on; COMMIT; $is_on"), "t\nf", 'and so does who takes the next snapshot');
$other->query_safe(qq{BEGIN; SELECT flag_set('f', true); PREPARE TRANSACTION 'p'});
$_->quit for ($one, $other);
$server->stop('fast');
$server->start;
$one = session();
is($one->query_safe($is_on), 'f', 'prepared over a restart');
ask(q{COMMIT PREPARED 'p'});
is($one->query_safe($is_on), 't', 'and committed after it');
$one->quit;

note 'tables that are altered';

ask(q{SELECT flag_set('g', true), flag_strategy_add('g', constraints => '[{"contextName": "userId", "operator": "IN", "values": ["u"]}]'), flag_segment_set('s', '[]'),
	flag_set('h', true, prerequisites => '["g"]'), flag_strategy_add('h', segments => '{s}')});
$one = session();
my @tables = map { "pgcache.$_" } qw(flags flag_strategies flag_segments flag_strategy_segments flag_prerequisites);
is($one->query_safe($all), 'f+ g+ h+', 'before');
for my $table (@tables) {
	my $key = ask("SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = '$table'::regclass AND i.indisprimary");
	for my $command ("VACUUM FULL $table", "CLUSTER $table USING $key", "REINDEX TABLE $table", "VACUUM (FREEZE, ANALYZE) $table", "ALTER TABLE $table ADD COLUMN own int NOT NULL DEFAULT 7",
		"ALTER TABLE $table ALTER COLUMN own TYPE bigint", "ALTER TABLE $table DROP COLUMN own", "ALTER TABLE $table SET (fillfactor = 50)", "ALTER TABLE $table RESET (fillfactor)") {
		ask($command);
		my $seen = $one->query_safe($all);
		is($seen, 'f+ g+ h+', $command) if $seen ne 'f+ g+ h+';
	}
	is($one->query_safe($all), 'f+ g+ h+', "after all kinds of DDL on $table");
	ask(q{SELECT flag_set('f', false)});
	is($one->query_safe($all), 'f- g+ h+', 'a change is still seen');
	ask(q{SELECT flag_set('f', true)});
}
$one->query_safe('BEGIN; TRUNCATE pgcache.flags CASCADE');
is($one->query_safe("$all; ROLLBACK; $all"), "\nf+ g+ h+", 'TRUNCATE, rolled back');
ask('BEGIN; CREATE TABLE kept AS TABLE pgcache.flag_strategy_segments; TRUNCATE pgcache.flag_strategy_segments; COMMIT');
ask(q{SELECT flag_segment_set('s', '[{"contextName": "userId", "operator": "IN", "values": ["x"]}]')});
is($one->query_safe($all), 'f+ g+ h+', 'TRUNCATE of the segments of strategies');
ask('INSERT INTO pgcache.flag_strategy_segments TABLE kept; DROP TABLE kept');
is($one->query_safe($all), 'f+ g+ h-', 'and back');
ask(q{SELECT flag_segment_set('s', '[]')});
is($one->query_safe($all), 'f+ g+ h+', 'as they were');
$one->quit;

note 'dump and restore';

my @contents = (map({ "SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM $_ t" } @tables), 'SELECT last_value, is_called FROM pgcache.flag_id; SELECT last_value, is_called FROM pgcache.flag_strategy_id', $all);
my $contents = join '; ', @contents;
ask(q{BEGIN; SET LOCAL pgcache.environment = 'staging'; SELECT flag_set('f', false, rollout => 12.345); COMMIT;
	SELECT flag_set('gone', true), flag_delete('gone'); SELECT flag_schedule('g', '2020-01-01'), flag_variants_set('g', '[{"name": "v", "weight": 3, "value": {"a": [1]}}]')});
my $before = ask($contents);
my $file = $server->basedir . '/dump';
$server->command_ok([ 'pg_dump', '-Fc', '-f', $file, $server->connstr('postgres') ], 'pg_dump');
ask('CREATE DATABASE copy');
$server->command_ok([ 'pg_restore', '--exit-on-error', '-d', $server->connstr('copy'), $file ], 'pg_restore into another database');
is(ask($contents, 'copy'), $before, 'brings everything, ids and sequences too');
my $last = ask('SELECT max(id) FROM pgcache.flags', 'copy');
cmp_ok(ask(q{SELECT flag_set('later'); SELECT id FROM pgcache.flags WHERE name = 'later'}, 'copy') =~ s/\n//r, '>', $last, 'a new flag gets a new id');
ask('CREATE DATABASE data_only; ', 'postgres');
ask('CREATE EXTENSION pgcache', 'data_only');
$one = session('data_only');
is($one->query_safe($all), '', 'a session without flags');
$server->command_ok([ 'pg_restore', '--exit-on-error', '--data-only', '--disable-triggers', '-d', $server->connstr('data_only'), $file ], 'a restore with triggers switched off');
is($one->query_safe($all), ask($all), 'is seen too');
$one->quit;
is(ask(q{SELECT count(*) FROM flag_stats WHERE flag IS NOT NULL AND enabled + disabled > 0}, 'copy') . ask(q{SELECT sum(enabled) FROM flag_stats WHERE flag = 'h'}, 'copy'), '31', 'counts are those of each database');

note 'a server without pgcache in it';

my $bare = new_server('bare', allows_streaming => 'logical', conf => $conf =~ s/pgcache.memory = 8MB\n//r);
preload($bare, '');
$bare->start;
$bare->command_ok([ 'pg_restore', '--exit-on-error', '-d', $bare->connstr('postgres'), $file ], 'pg_restore');
is($bare->safe_psql('postgres', join('; ', @contents[ 0 .. 5 ])), $before =~ s/\n[^\n]*\z//r, 'everything is there');
for my $question ($is_on, q{SELECT flag_enabled_for('f', 'u')}, q{SELECT flag_variant('f')}, q{SELECT flag_evaluate_all()}, q{SELECT flag_explain('f')}, q{SELECT * FROM flag_stats}, q{SELECT flag_stats_reset()}) {
	like(failure($question, $bare), qr/ERROR:  55000: pgcache .*\n(?:.*\n)?HINT: .*shared_preload_libraries/, $question);
}
is($bare->safe_psql('postgres', q{SELECT flag_set('new', true, 50), flag_kill('f'), flag_unkill('f'), flag_schedule('f', '2020-01-01'), flag_variants_set('f', '[{"name": "v", "weight": 1}]'),
		flag_strategy_add('new', constraints => '[{"contextName": "userId", "operator": "REGEX", "value": "^u"}]') > 0, flag_segment_set('t', '[]'), flag_segment_delete('t'), flag_delete('new');
	SELECT count(*) FROM flags; SELECT count(*) FROM flag_segments; SELECT pgcache.environment()}), "|||||t||t|t\n4\n1\ndefault", 'what configures works');
like(failure(q{SELECT flag_set('new', rollout => 101)}, $bare), qr/ERROR:  22023/, 'and checks');
like(failure(q{SET pgcache.environment = 'staging'; SELECT flag_set('there', true); SELECT flag FROM flags WHERE environment = 'staging' ORDER BY flag; SELECT 1 / 0}, $bare), qr/22012/, 'in another environment too');
is($bare->safe_psql('postgres', q{SELECT environment FROM flags WHERE flag = 'there'}), 'staging', 'where it belongs');
is($bare->safe_psql('postgres', q{BEGIN; SELECT flag_set('two', true); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'; SELECT state FROM flags WHERE flag = 'two'; DROP EXTENSION pgcache CASCADE; CREATE EXTENSION pgcache; SELECT count(*) FROM flags}), "\nenabled\n0", 'it can be dropped and made');
unlike(slurp_file($bare->logfile), qr/PANIC|was terminated by signal/, 'nothing crashed');

note 'a standby';

$server->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($server, 'base', has_streaming => 1);
$standby->start;
my @there = (session('postgres', $standby), session('postgres', $standby));

# Whole statement lists on the standby, each after its change is replayed.
sub change {
	my ($sql) = @_;
	ask($sql);
	$server->wait_for_catchup($standby);
	return;
}
is($_->query_safe($all), 'f+ g+ h+', 'evaluates what is replicated') for @there;
$there[1]->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; $is_on");
for my $change (
	[ q{SELECT flag_set('f', false)}, 'f- g+ h+' ],
	[ q{UPDATE pgcache.flags SET enabled = true}, 'f+ g+ h+' ],
	[ q{SELECT flag_segment_set('s', '[{"contextName": "userId", "operator": "IN", "values": ["x"]}]')}, 'f+ g+ h-' ],
	[ q{SELECT flag_kill('g')}, 'f+ g- h-' ],
	[ q{BEGIN; SAVEPOINT s; SELECT flag_unkill('g'); ROLLBACK TO s; SELECT flag_set('i', true); COMMIT}, 'f+ g- h- i+' ],
	[ q{BEGIN; SELECT flag_delete('i'); PREPARE TRANSACTION 'p'}, 'f+ g- h- i+' ],
	[ q{COMMIT PREPARED 'p'}, 'f+ g- h-' ],
	[ q{SELECT flag_unkill('g'), flag_segment_set('s', '[]')}, 'f+ g+ h+' ]) {
	change($change->[0]);
	is($there[0]->query_safe($all), $change->[1], "sees after replay: $change->[0]");
	is($there[1]->query_safe("$is_on; SELECT enabled FROM pgcache.flags WHERE environment = 'default' AND name = 'f'"), "t\nt", 'REPEATABLE READ stays');
}
$there[1]->query_safe('COMMIT');
is($there[1]->query_safe($all), 'f+ g+ h+', 'to its end');
change("VACUUM FULL $_") for @tables;
is($_->query_safe($all), 'f+ g+ h+', 'after VACUUM FULL') for @there;
$there[1]->query_safe("BEGIN; $is_on; $is_on");
change(q{SELECT flag_set('f', false)});
is($there[1]->query_safe("$is_on; COMMIT"), 'f', 'within a block too');
is(state_of($there[0], q{SELECT flag_set('f', true);}), '25006', 'it changes nothing itself');
is($there[0]->query_safe(q{SELECT flag_stats_reset(); SELECT flag_enabled('f'); SELECT disabled FROM flag_stats WHERE flag = 'f' AND environment = 'default'}), "\nf\n1", 'it counts for itself');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
is($there[0]->query_safe($all), 'f- g+ h+', 'promoted: the same flags');
is($there[0]->query_safe(qq{SELECT flag_set('f', true); $all}), "\nf+ g+ h+", 'it changes them now');
is($there[1]->query_safe($all), 'f+ g+ h+', 'for all of its sessions');
is(ask($is_on), 'f', 'not for the old primary');
$_->quit for @there;
$standby->stop('fast');
ask(q{SELECT flag_set('f', true)});

note 'logical replication';

my $list = join ', ', @tables;
ask('CREATE DATABASE source');
ask("CREATE EXTENSION pgcache; CREATE PUBLICATION flags FOR TABLE $list; CREATE TABLE kept AS SELECT 1; SELECT flag_set('f', true), flag_set('g', true)", 'source');
my $subscriber = new_server('subscriber', conf => "max_prepared_transactions = 10\npgcache.memory = 8MB\nmax_logical_replication_workers = 8\nmax_worker_processes = 16");
$subscriber->start;
$subscriber->safe_psql('postgres', 'CREATE EXTENSION pgcache');
for my $two_phase ('off', 'on') {
	my $name = "sub_$two_phase";
	my $reader = session('postgres', $subscriber);
	my $block = session('postgres', $subscriber);
	is($reader->query_safe($all), '', "two_phase = $two_phase: no flags yet");
	$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION $name CONNECTION '" . $server->connstr . " dbname=source' PUBLICATION flags WITH (two_phase = $two_phase)");
	$subscriber->wait_for_subscription_sync($server, $name);
	is($reader->query_safe($all), 'f+ g+', 'the first copy');
	$block->query_safe("BEGIN; $is_on; $is_on");
	for my $change (
		[ q{SELECT flag_set('f', false)}, 'f- g+' ],
		[ q{UPDATE pgcache.flags SET enabled = NOT enabled}, 'f+ g-' ],
		[ q{SELECT flag_set('g', true), flag_set('h', true, prerequisites => '["f"]')}, 'f+ g+ h+' ],
		[ q{SELECT flag_kill('f')}, 'f- g+ h-' ],
		[ q{SELECT flag_unkill('f'), flag_set('f', rollout => 0)}, 'f- g+ h-' ],
		[ q{UPDATE pgcache.flag_strategies SET rollout = 100}, 'f+ g+ h+' ],
		[ q{SELECT flag_segment_set('s', '[]'), flag_strategy_add('g', segments => '{s}')}, 'f+ g+ h+' ],
		[ q{UPDATE pgcache.flag_segments SET constraints = '[{"contextName": "userId", "operator": "IN", "values": ["x"]}]'}, 'f+ g- h+' ],
		[ q{DELETE FROM pgcache.flag_strategy_segments}, 'f+ g+ h+' ],
		[ q{DELETE FROM pgcache.flag_strategies; SELECT flag_set('h', prerequisites => '[]'), flag_set('f', false)}, 'f- g+ h+' ],
		[ q{BEGIN; SELECT flag_set('f', true); PREPARE TRANSACTION 'p'}, 'f- g+ h+' ],
		[ q{COMMIT PREPARED 'p'}, 'f+ g+ h+' ],
		[ q{BEGIN; SELECT flag_set('f', false); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'; SELECT flag_delete('h'), flag_segment_delete('s')}, 'f+ g+' ],
		[ q{TRUNCATE pgcache.flags CASCADE}, '' ],
		[ q{SELECT flag_set('f', true), flag_set('g', true)}, 'f+ g+' ]) {
		ask($change->[0], 'source');
		$server->wait_for_catchup($name);
		is($reader->query_safe($all), $change->[1], "two_phase = $two_phase: $change->[0]");
		is($block->query_safe("$is_on"), $change->[1] =~ /f\+/ ? 't' : 'f', 'in a block too');
	}
	$_->quit for ($reader, $block);
	$subscriber->safe_psql('postgres', "DROP SUBSCRIPTION $name; TRUNCATE pgcache.flags CASCADE; TRUNCATE pgcache.flag_segments CASCADE");
}
unlike(slurp_file($subscriber->logfile), qr/PANIC|was terminated by signal/, 'nothing crashed');
$_->stop('fast') for ($subscriber, $bare);

note 'DROP EXTENSION, CREATE EXTENSION';

ask('CREATE DATABASE dropping');
ask(q{CREATE EXTENSION pgcache; SELECT flag_set('f', true)}, 'dropping');
($one, $other) = (session('dropping'), session('dropping'));
$_->query_safe("PREPARE on_now AS $is_on; $is_on; EXECUTE on_now") for ($one, $other);
$one->query_safe('BEGIN; DROP EXTENSION pgcache');
is(state_of($one, 'EXECUTE on_now;'), '42883', 'in the middle of its end');
is($one->query_safe('ROLLBACK; EXECUTE on_now'), 't', 'rolled back');
is($one->query_safe("BEGIN; DROP EXTENSION pgcache; CREATE EXTENSION pgcache; SELECT flag_enabled('f', fallback => NULL); SELECT flag_set('f', false); $is_on; ROLLBACK; EXECUTE on_now"), "\n\nf\nt", 'made anew and rolled back');
is($other->query_safe('EXECUTE on_now'), 't', 'others see nothing of it');
$one->query_safe('DROP EXTENSION pgcache');
is(state_of($other, 'EXECUTE on_now;'), '42883', 'dropped');
$one->query_safe('CREATE EXTENSION pgcache');
is($_->query_safe(q{SELECT flag_enabled('f', fallback => NULL)}), '', 'made anew without flags') for ($one, $other);
$one->query_safe(q{SELECT flag_set('f', false)});
is($_->query_safe($is_on), 'f', 'with another one of the name') for ($one, $other);
is($other->query_safe(q{SELECT enabled, disabled > 0 FROM flag_stats WHERE flag = 'f'}), '0|t', 'which counts from its own beginning');
$other->query_safe(q{SELECT flag_set('f', true)});
is($_->query_safe($is_on), 't', 'and changes') for ($one, $other);
$_->quit for ($one, $other);

note 'databases';

ask('CREATE DATABASE twin TEMPLATE dropping');
is(ask($is_on, 'twin'), 't', 'a database made of another has its flags');
ask(q{SELECT flag_set('f', false)}, 'twin');
is(ask($is_on, 'twin') . ask($is_on, 'dropping'), 'ft', 'and changes them for itself');
is(ask(q{SELECT enabled, disabled FROM flag_stats WHERE flag = 'f'}, 'twin'), '1|1', 'with counts of its own');
ask('DROP DATABASE dropping');
ask('CREATE DATABASE dropping');
ask(q{CREATE EXTENSION pgcache; SELECT flag_set('f', true)}, 'dropping');
is(ask(q{SELECT enabled FROM flag_stats}, 'dropping') . ask($is_on, 'dropping'), '0t', 'a new database of the same name begins anew');

note 'environments';

ask(q{CREATE ROLE tester LOGIN; SELECT pgcache.grant_to('tester'); BEGIN; SET LOCAL pgcache.environment = 'roles'; SELECT flag_set('f', false); COMMIT;
	BEGIN; SET LOCAL pgcache.environment = 'databases'; SELECT flag_set('here', true); COMMIT});
ask(q{ALTER ROLE tester SET pgcache.environment = 'roles'; ALTER DATABASE postgres SET pgcache.environment = 'databases'});
is($server->safe_psql('postgres', q{SELECT string_agg(flag, ' ') FROM flag_evaluate_all()}, extra_params => [ '-U', 'tester' ]), 'f', "a role's");
is(ask(q{SELECT string_agg(flag, ' ') FROM flag_evaluate_all()}), 'here', "a database's");
$one = session();
my $which = q{SELECT string_agg(flag, ' ') FROM flag_evaluate_all()};
is($one->query_safe(qq{BEGIN; SET LOCAL pgcache.environment = 'roles'; $which; SAVEPOINT s; SET LOCAL pgcache.environment = 'default'; $which; ROLLBACK TO s; $which; ROLLBACK; $which}), "f\nf g h\nf\nhere", "a transaction's");
is($one->query_safe(qq{BEGIN; SET pgcache.environment = 'roles'; $which; ROLLBACK; $which; BEGIN; SET pgcache.environment = 'roles'; COMMIT; $which; DISCARD ALL; $which}), "f\nhere\nf\nhere", "a session's");
ask(q{CREATE FUNCTION elsewhere() RETURNS boolean LANGUAGE sql STABLE SET pgcache.environment = 'roles' AS $$ SELECT flag_enabled('f', fallback => true) $$});
is($one->query_safe(q{SELECT flag_enabled('here'), elsewhere(), flag_enabled('here')}), 't|f|t', "a function's");
is(state_of($one, q{SET pgcache.environment = '';}), '22023', 'an empty one is refused');
is($one->query_safe($which), 'here', 'and changes nothing');
ask('ALTER DATABASE postgres RESET pgcache.environment');
$one->quit;

note 'statements that are cancelled';

ask(q{CREATE DATABASE large});
ask(q{CREATE EXTENSION pgcache; INSERT INTO pgcache.flags (name, enabled) SELECT 'flag ' || i, i % 2 = 0 FROM generate_series(1, 20000) i; VACUUM ANALYZE pgcache.flags}, 'large');
($one, $other) = (session('large'), session('large'));
is($one->query_safe(q{SELECT count(*) FILTER (WHERE enabled), count(*) FROM flag_evaluate_all()}), '10000|20000', '20,000 flags');
$one->query_safe(q{SET statement_timeout = '20ms'});
is(state_of($one, q{SELECT count(*) FROM generate_series(1, 1000000000) n WHERE flag_enabled_for('flag 2', n::text);}), '57014', 'in the middle of evaluation');
is($one->query_safe(q{SELECT flag_enabled('flag 2'), flag_enabled('flag 3')}), 't|f', 'the next is right');
$other->query_safe('BEGIN; LOCK TABLE pgcache.flag_prerequisites; UPDATE pgcache.flags SET enabled = NOT enabled WHERE name = \'flag 3\'');
$one->query_safe(q{SET pgcache.environment = 'other'});
is(state_of($one, q{SELECT flag_enabled('flag 2');}), '57014', 'in the middle of reading') for 1 .. 3;
$one->query_safe('RESET pgcache.environment');
$other->query_safe('COMMIT');
$one->query_safe('SET statement_timeout = 0');
is($one->query_safe(q{SELECT flag_enabled('flag 2'), flag_enabled('flag 3')}), 't|t', 'the next is right');
my %states;
for my $round (1 .. 60) {
	$other->query_safe(q{UPDATE pgcache.flags SET enabled = NOT enabled WHERE name = 'flag 3'});
	++$states{ state_of($one, 'SET statement_timeout = ' . (1 + $round % 10) . ";\nSELECT count(*) FROM flag_evaluate_all();\nSET statement_timeout = 0;") };
}
note join ', ', map { "$_: $states{$_}" } sort keys %states;
cmp_ok($states{'57014'} // 0, '>', 0, 'at any time');
is($one->query_safe(q{SELECT flag_enabled('flag 2'), flag_enabled('flag 3'), (SELECT count(*) FILTER (WHERE enabled) FROM flag_evaluate_all())}), 't|t|10001', 'all is right');
is($one->query_safe(q{SELECT count(*) <= 2 FROM pg_backend_memory_contexts WHERE name = 'pgcache flags'}), 't', 'and nothing is left over');
$_->quit for ($one, $other);

note 'more flags than there are places for their counts';

my $evaluated = q{SELECT count(*) FROM flag_stats WHERE enabled + disabled > 0};
ask('SELECT flag_stats_reset()', 'large');
for my $step ([ '12:00', 1, 9000 ], [ '13:00', 9001, 18000 ], [ '14:00', 18001, 20000 ]) {
	my ($time, $first, $end) = @$step;
	is(ask("SET pgcache.test_clock = '2030-01-01 $time+00'; SELECT count(*) FILTER (WHERE flag_enabled('flag ' || n)) FROM generate_series($first, $end) n", 'large'), ($end - $first + 1) / 2 + ($first == 1 ? 1 : 0), "$first to $end are evaluated");
}
my ($oldest, $middle, $newest) = split /\|/, ask(q{SELECT count(*) FILTER (WHERE n <= 9000), count(*) FILTER (WHERE n BETWEEN 9001 AND 18000), count(*) FILTER (WHERE n > 18000)
	FROM (SELECT substr(flag, 6)::int AS n FROM flag_stats WHERE enabled + disabled > 0) x}, 'large');
note "kept: $oldest of the first, $middle of the second, $newest of the last";
cmp_ok($oldest + $middle + $newest, '<=', 16384, 'there is room for 16,384');
cmp_ok($oldest + $middle + $newest, '>', 13000, 'which are used');
cmp_ok($newest, '>=', 1998, 'the last are kept');
cmp_ok(9000 - $oldest, '>', 2 * (9000 - $middle), 'the least recently seen gave way');
is(ask(q{SELECT sum(enabled + disabled) FROM flag_stats WHERE enabled + disabled > 1}, 'large'), '', 'nobody has the counts of another');
ask('DROP DATABASE large');

note 'counts of many sessions';

ask('CREATE DATABASE counts');
ask(q{CREATE EXTENSION pgcache; SELECT flag_set('on', true), flag_set('off'), flag_set('sticky', true, 50, 'company'), flag_set('varied', true), flag_set('touched', true);
	SELECT flag_variants_set('varied', '[{"name": "a", "weight": 1, "overrides": [{"contextName": "userId", "values": ["a"]}]}, {"name": "b", "weight": 0, "overrides": [{"contextName": "userId", "values": ["b"]}]}]');
	CREATE TABLE rows AS SELECT n FROM generate_series(1, 10000) n; ANALYZE; SELECT flag_stats_reset()}, 'counts');
my $script = $server->basedir . '/counts.sql';
append_to_file($script, q{
	SELECT flag_enabled('on'), flag_enabled('off'), flag_enabled('sticky'), flag_enabled('nothing'), flag_enabled_for('on', NULL);
	BEGIN;
	SELECT flag_variant('varied', '{"userId": "a"}');
	SAVEPOINT s;
	SELECT flag_enabled('on') FROM generate_series(1, 3);
	ROLLBACK TO s;
	SELECT flag_variant('varied', '{"userId": "b"}');
	ROLLBACK;
	BEGIN;
	SELECT flag_enabled('on');
	DO $$ BEGIN PERFORM flag_enabled('off'); RAISE EXCEPTION 'back'; EXCEPTION WHEN raise_exception THEN NULL; END $$;
	UPDATE pgcache.flags SET changed_at = now() WHERE name = 'touched';
	SELECT flag_enabled('on');
	COMMIT;
});
$server->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 100, '-f', $script, $server->connstr('counts') ], 'eight sessions');
my $counts = q{SELECT flag, enabled, disabled, fallback, variants FROM flag_stats ORDER BY flag};
is(ask($counts, 'counts'), qq{off|0|1600|0|{}\non|4800|0|800|{}\nsticky|0|0|800|{}\ntouched|0|0|0|{}\nvaried|1600|0|0|{"a": 800, "b": 800}\n|0|0|800|{}}, 'add up, whatever became of the transactions');
ask('SELECT flag_stats_reset()', 'counts');
my $force = ask('SHOW server_version_num') >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
is(ask("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET $force = on; SELECT count(*) FROM rows WHERE flag_enabled_for('on', n::text)", 'counts'), 10000, 'workers evaluate');
is(ask(q{SELECT enabled FROM flag_stats WHERE flag = 'on'}, 'counts'), 10000, 'and count');
ask('SELECT flag_stats_reset()', 'counts');
for my $end ('exit', 'terminate', 'error', 'disconnect') {
	$one = session('counts');
	$one->query_safe(q{BEGIN; SELECT count(*) FROM generate_series(1, 1000) n WHERE flag_enabled_for('on', n::text)});
	my $process = $one->query_safe('SELECT pg_backend_pid()');
	if ($end eq 'terminate') { ask("SELECT pg_terminate_backend($process)"); }
	elsif ($end eq 'error') { is(state_of($one, 'SELECT 1 / 0;'), '22012', 'an error'); }
	elsif ($end eq 'disconnect') { $one->{run}->kill_kill; }
	eval { $one->quit } if $end ne 'disconnect';
	$server->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $process") or die 'it does not end';
	is(ask(q{SELECT enabled FROM flag_stats WHERE flag = 'on'; SELECT flag_stats_reset()}, 'counts'), "1000\n", "$end: nothing is lost");
}
is(ask(q{SELECT flag_enabled('on'); SELECT flag_delete('on'); SELECT flag_set('on', true); SELECT enabled FROM flag_stats WHERE flag = 'on'}, 'counts'), "t\nt\n\n0", 'a flag that is deleted takes its counts along');

note 'the memory of a session';

ask('CREATE DATABASE memory');
ask(q{CREATE EXTENSION pgcache; SELECT flag_segment_set('s', '[{"contextName": "userId", "operator": "REGEX", "value": "^(a|b)+[c-z]*$", "caseInsensitive": true}]');
	INSERT INTO pgcache.flags (name, enabled, variants) SELECT 'flag ' || i, true, '[{"name": "a", "weight": 1, "value": {"x": "some text"}}, {"name": "b", "weight": 1}]' FROM generate_series(1, 1000) i;
	INSERT INTO pgcache.flag_strategies (flag, constraints) SELECT f.id, replace($$[{"contextName": "plan", "operator": "NOT_IN", "values": ["pro 1", "team 1", "one more"]},
		{"contextName": "plan", "operator": "IN", "values": ["pro 1", "team 1", "one more"], "inverted": true},
		{"contextName": "plan", "operator": "STR_STARTS_WITH", "values": ["pro", "team"]}, {"contextName": "plan", "operator": "STR_ENDS_WITH", "values": ["pro"], "caseInsensitive": true},
		{"contextName": "n", "operator": "NUM_GTE", "value": "1"}, {"contextName": "n", "operator": "NUM_LT", "value": "1e3"},
		{"contextName": "x", "operator": "DATE_AFTER", "value": "2020-01-01T00:00:00Z"}, {"contextName": "v", "operator": "SEMVER_GT", "value": "1.2.3-rc.1"},
		{"contextName": "plan", "operator": "REGEX", "value": "^p(r|s)*o? [0-9]{1,3}x*$"}, {"contextName": "ip", "operator": "IN_CIDR", "values": ["10.0.0.0/8", "fe80::/10"]}]$$, '1"', f.id || '"')::jsonb
		FROM pgcache.flags f;
	INSERT INTO pgcache.flag_strategy_segments SELECT s.id, 's' FROM pgcache.flag_strategies s WHERE s.id % 10 = 0; VACUUM ANALYZE}, 'memory');
$one = session('memory');
$pid = $one->query_safe('SELECT pg_backend_pid()');
my $touch = q{UPDATE pgcache.flags SET changed_at = now() WHERE name = 'flag 7'};
my $evaluate = q{SELECT count(*) FROM flag_evaluate_all('{"userId": "abcd", "plan": "pro 1", "n": 17, "v": "2.0.0", "ip": "10.2.3.4", "properties": {"more": "x"}}')};

# What belongs to the process alone, in kB.
sub resident {
	my (undef, $all_pages, $shared) = split / /, slurp_file("/proc/$pid/statm");
	return ($all_pages - $shared) * 4;
}
my $held = q{SELECT count(*), sum(total_bytes) FROM pg_backend_memory_contexts WHERE name = 'pgcache flags'};
my $everything = 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';
$one->query_safe("$touch; $evaluate" . "; $touch; $evaluate" x 49);
my ($held_before, $everything_before, $resident_before) = ($one->query_safe($held), $one->query_safe($everything), resident());
$one->query_safe("$touch; $evaluate" . "; $touch; $evaluate" x 49) for 1 .. 9;
note "$held_before in flags, $everything_before in all contexts, $resident_before kB before; " . $one->query_safe($held) . ', ' . $one->query_safe($everything) . ', ' . resident() . ' after 450 readings';
like($held_before, qr/^[12]\|/, 'at most two sets of flags');
is($one->query_safe($held), $held_before, 'they take what they took');
cmp_ok($one->query_safe($everything) - $everything_before, '<', 500_000, 'nothing else grows');
cmp_ok(resident() - $resident_before, '<', 4096, 'nor does the process');
$one->quit;

unlike(slurp_file($server->logfile, $position) =~ s/.*?ready to accept connections//sr, qr/PANIC|was terminated by signal/, 'nothing crashed');

done_testing();

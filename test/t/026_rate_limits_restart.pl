# The counts of rate limits over a restart, a crash, on a standby, in other databases, in dumps: where they last and where not.
use strict;
use warnings;

use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use IPC::Run;
use PgCache;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('restart', allows_streaming => 1,
	conf => "max_connections = 20\nmax_prepared_transactions = 5\npgcache.memory = 4MB\npgcache.rate_limit_memory = 4MB\npgcache.test_clock = '2030-01-01 12:00:00+00'");
my $file = $server->data_dir . '/pg_stat/pgcache.limits';
my $position;
$server->start;

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }

sub log_since { return slurp_file($server->logfile, $position); }

ask('CREATE EXTENSION pgcache; CREATE TABLE t (x int)');

# Counts of each algorithm in several states, blocks, statistics, a list of the denied.
my $algorithms = q{unnest('{gcra,fixed,sliding,exact,calendar}'::text[]) a, generate_series(1, 40) i};

sub fill {
	ask(qq{
		SELECT rate_limit_reset(a || i), rate_limit_unblock('blocked ' || i) FROM $algorithms;
		SELECT rate_limit_stats_reset();
		SELECT rate_limit(a || i, 100, '1 hour', i * 3, algorithm => a), rate_limit(a || i, 100, '1 hour', 40, algorithm => a) FROM $algorithms;
		SELECT rate_limit_block('blocked ' || i, i * interval '1 day') FROM generate_series(1, 40) i;
		SELECT rate_limit('denied', 0, '1 hour') FROM generate_series(1, 7)});
	return;
}

# All of that.
sub state {
	return ask(qq{
		SELECT a, i, l FROM $algorithms, LATERAL rate_limit_peek(a || i, 100, '1 hour', 10, algorithm => a) l ORDER BY a, i;
		SELECT i, l FROM generate_series(1, 40) i, LATERAL rate_limit_peek('blocked ' || i, 1, '1 hour') l ORDER BY i;
		SELECT * FROM rate_limit_stats;
		SELECT * FROM rate_limit_top(1000) ORDER BY key});
}

sub restart {
	my ($node) = @_;
	$node->stop('fast');
	$node->start;
	return;
}

sub is_fresh {
	my ($name) = @_;
	is( ask(qq{
		SELECT count(*) FILTER (WHERE l.remaining = 100 AND l.reset_after = interval '0') FROM $algorithms, LATERAL rate_limit_peek(a || i, 100, '1 hour', 10, algorithm => a) l;
		SELECT count(*) FILTER (WHERE l.allowed) FROM generate_series(1, 40) i, LATERAL rate_limit_peek('blocked ' || i, 1, '1 hour') l;
		SELECT cells, log_entries, allowed, denied, no_room FROM rate_limit_stats;
		SELECT count(*) FROM rate_limit_top()}), "200\n40\n0|0|0|0|0\n0", "$name: all keys are as if never used");
	is(ask(q{SELECT remaining FROM rate_limit('works', 5, '1 hour', algorithm => 'exact'); SELECT rate_limit_reset('works')}), "4\n1", "$name: and it works");
	return;
}

note 'a clean restart';

for my $mode (qw(fast smart)) {
	fill();
	my $before = state();
	$server->stop($mode);
	cmp_ok(-s $file // 0, '>', 4 * 1024 * 1024, "$mode: the file is there");
	$position = log_position($server);
	$server->start;
	ok(!-e $file, "$mode: it is gone once it is read");
	ok($before eq state(), "$mode: counts, blocks, statistics and list are the same") or diag($before, "\n\n", state());
	unlike(log_since(), qr/rate limit/, "$mode: nothing to tell");
}
is(ask(q{SELECT allowed, remaining FROM rate_limit('exact10', 100, '1 hour', 31, algorithm => 'exact'); SELECT allowed, remaining FROM rate_limit('exact10', 100, '1 hour', 30, algorithm => 'exact')}), "f|30\nt|0", 'they go on');
fill();
my $over_two = state();
restart($server) for 1 .. 2;
ok($over_two eq state(), 'over two restarts too');

# In the middle of calls, which a fast shutdown ends.
my $output = '';
my @busy = map {
	IPC::Run::start([ 'psql', '-XAtq', '-d', $server->connstr('postgres') . ' application_name=busy', '-c', q{DO $$ DECLARE n int := 0; BEGIN LOOP
			n := n + 1;
			PERFORM rate_limit('busy ' || n % 50, 500, '1 hour', n % 9, algorithm => 'exact'), rate_limit_refund('busy ' || n % 47, 500, '1 hour', 20, algorithm => 'exact'), rate_limit_reset('busy ' || n % 43);
		END LOOP; END $$} ], '<', \'', '>&', \$output);
} 1 .. 2;
wait_until(sub { ask('SELECT allowed FROM rate_limit_stats') > 5000 }, 'two sessions are busy');
restart($server);
$_->finish for @busy;
cmp_ok(ask('SELECT allowed FROM rate_limit_stats'), '>', 5000, 'a fast shutdown ends busy sessions, and their counts are there');
is(ask(qq{SELECT count(rate_limit_reset('busy ' || i)) FROM generate_series(0, 49) i; SELECT count(rate_limit_reset(a || i)), count(rate_limit_unblock('blocked ' || i)) FROM $algorithms;
	SELECT cells, log_entries FROM rate_limit_stats}), "50\n200|200\n0|0", 'whole: nothing is left over');

note 'a start that fails, and one that does';

fill();
my $kept = state();
$server->stop('fast');
my $hba = $server->data_dir . '/pg_hba.conf';
copy($hba, "$hba.good") or die;
append_to_file($hba, "nonsense\n");
ok(!$server->start(fail_ok => 1), 'a typo in pg_hba.conf keeps the server from starting');
copy("$hba.good", $hba) or die;
$server->start;
ok($kept eq state(), 'mended, it starts with all counts');

fill();
$server->stop('fast');
preload($server, '');
$server->start;
my @calls = (
	q{SELECT * FROM rate_limit('k', 5, '1 hour')}, q{SELECT rate_limit_allowed('k', 5, '1 hour')}, q{SELECT * FROM rate_limit_peek('k', 5, '1 hour')}, q{SELECT * FROM rate_limit_refund('k', 5, '1 hour')},
	q{SELECT rate_limit_block('k', '1 hour')}, q{SELECT rate_limit_unblock('k')}, q{SELECT rate_limit_reset('k')}, q{SELECT * FROM rate_limit_top()}, 'SELECT * FROM rate_limit_stats', 'SELECT rate_limit_stats_reset()');
is( join(', ', grep { ($server->psql('postgres', $_, extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2] !~ /ERROR:  55000: pgcache must be loaded at server start\nHINT:  Run: ALTER SYSTEM SET shared_preload_libraries = / } @calls),
	'', 'not preloaded, all functions raise 55000 with the statement to run');
preload($server, 'pgcache');
$position = log_position($server);
restart($server);
like(log_since(), qr/discarding the saved rate limits\n.*DETAIL:  The server has run without them/, 'the counts of before a start without pgcache are discarded');
is_fresh('a start without pgcache in between');

note 'crashes';

fill();
$server->stop('immediate');
ok(!-e $file, 'an immediate stop leaves no file');
$server->start;
is_fresh('immediate stop');

fill();
my @pids = process_ids($server);
$server->kill9;
wait_until(sub { !grep { kill 0, $_ } @pids }, 'all processes are gone');
$server->start;
is_fresh('the server killed');

fill();
my $victim = $server->background_psql('postgres', on_error_stop => 0);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
$position = log_position($server);
kill 'KILL', $pid;
wait_until(sub { log_since() =~ /all server processes terminated; reinitializing.*database system is ready to accept connections/s }, 'the server comes back') or die;
eval { $victim->quit };
is_fresh('a backend killed');
unlike(log_since(), qr/the saved rate limits/, 'a backend killed: the log tells of no file');

# The file that was read must not come back.
fill();
restart($server);
$server->stop('immediate');
$server->start;
is_fresh('a restart, then an immediate stop');

note 'files that are not good';

# Leaves the server stopped, with a good file of this moment.
sub save {
	fill();
	$server->stop('fast');
	$position = log_position($server);
	return;
}

sub bytes { return slurp_file($file); }

sub flipped {
	my ($place) = @_;
	my $bytes = bytes();
	substr($bytes, $place, 1) = chr(ord(substr($bytes, $place, 1)) ^ 1);
	return $bytes;
}

my $table = 4 * 1024 * 1024;
my @bad = (
	[ 'empty', sub { '' } ],
	[ 'one byte', sub { 'x' } ],
	[ 'without what follows the table', sub { substr(bytes(), 0, $table) } ],
	[ 'truncated by a byte', sub { substr(bytes(), 0, -1) } ],
	[ 'halved', sub { substr(bytes(), 0, $table / 2) } ],
	[ 'a byte longer', sub { bytes() . "\0" } ],
	[ 'twice', sub { bytes() . bytes() } ],
	[ 'damaged at the front', sub { flipped(0) } ],
	[ 'damaged in the middle', sub { flipped($table / 2) } ],
	[ 'damaged at the end of the table', sub { flipped($table - 1) } ],
	[ 'damaged behind the table', sub { flipped($table) } ],
	[ 'zeros', sub { "\0" x -s $file } ],
	[ 'something else', sub { 'nonsense' x ((-s $file) / 8) } ],
);
for (@bad) {
	my ($name, $make) = @$_;
	save();
	my $bytes = $make->();
	unlink $file;
	append_to_file($file, $bytes);
	ok($server->start(fail_ok => 1), "$name: the server starts") or next;
	like(log_since(), qr/LOG:  discarding the saved rate limits\n.*DETAIL:  The file is damaged, or of another version or pgcache\.rate_limit_memory\./, "$name: the log tells");
	ok(!-e $file, "$name: the file is gone");
	is_fresh($name);
}
for my $memory ('5MB', '8MB', '4MB') {
	save();
	$server->append_conf('postgresql.conf', "pgcache.rate_limit_memory = $memory");
	$server->start;
	like(log_since(), qr/discarding the saved rate limits/, "$memory of memory: the log tells");
	is_fresh("$memory of memory");
	fill();
	my $state = state();
	restart($server);
	ok($state eq state(), "$memory of memory: keeps its own");
}

# A good one, but of another time.
save();
copy($file, "$file.old") or die;
$server->start;
$server->stop('immediate');
copy("$file.old", $file) or die;
$position = log_position($server);
$server->start;
like(log_since(), qr/discarding the saved rate limits/, 'the file of before a crash: the log tells');
is_fresh('the file of before a crash');
save();
copy("$file.old", $file) or die;
$server->start;
like(log_since(), qr/discarding the saved rate limits/, 'the file of an earlier shutdown: the log tells');
is_fresh('the file of an earlier shutdown');

save();
chmod 0000, $file or die;
$server->start;
like(log_since(), qr/LOG:  could not open[^\n]*pgcache\.limits[^\n]*Permission denied/, 'a file that cannot be read: the log tells');
is_fresh('a file that cannot be read');
ok(!-e $file, 'a file that cannot be read: it is gone');

save();
unlink $file;
mkdir $file or die;
$server->start;
like(log_since(), qr/LOG:  could not remove "pg_stat\/pgcache\.limits"/, 'a folder in its place: the log tells');
is_fresh('a folder in its place');
save();
like(slurp_file($server->logfile), qr/LOG:  could not save the rate limits in "pg_stat\/pgcache\.limits": .*database system is shut down/s, 'a folder in its place: nothing is saved, the server stops');
rmdir $file or die;
$server->start;

save();
chmod 0500, $server->data_dir . '/pg_stat' or die;
$server->start;
like(log_since(), qr/LOG:  could not remove "pg_stat\/pgcache\.limits": Permission denied/, 'a file that cannot be removed: the log tells');
is_fresh('a file that cannot be removed');
chmod 0700, $server->data_dir . '/pg_stat' or die;
fill();
$kept = state();
restart($server);
ok($kept eq state(), 'and all is well once it can be');

note 'prepared transactions';

ask(q{SELECT rate_limit_reset('prepared');
	BEGIN; INSERT INTO t VALUES (1); SELECT rate_limit('prepared', 5, '1 hour'); SELECT rate_limit_block('prepared too', '1 hour'); PREPARE TRANSACTION 'one';
	BEGIN; INSERT INTO t VALUES (1); SELECT rate_limit('prepared', 5, '1 hour', algorithm => 'exact'); PREPARE TRANSACTION 'two'});
my $left = q{SELECT a.remaining, b.remaining, c.reason FROM rate_limit_peek('prepared', 5, '1 hour') a, rate_limit_peek('prepared', 5, '1 hour', algorithm => 'exact') b, rate_limit_peek('prepared too', 5, '1 hour') c};
is(ask($left), '4|4|blocked', 'take at once');
ask(q{ROLLBACK PREPARED 'one'});
is(ask($left), '4|4|blocked', 'ROLLBACK PREPARED gives nothing back');
restart($server);
ask(q{ROLLBACK PREPARED 'two'});
is(ask($left), '4|4|blocked', 'after a restart neither');

note 'parallel query';

my $parallel = ask(q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});
ask(q{CREATE TABLE many AS SELECT i FROM generate_series(1, 2000) i; ALTER TABLE many SET (parallel_workers = 2); ANALYZE many;
	CREATE FUNCTION in_worker(key text) RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$ BEGIN RETURN rate_limit_allowed(key, 100, '1 hour'); END $$});
for my $settings ("SET $parallel = on;", 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;') {
	is( ask(qq{SELECT rate_limit_reset('parallel'), rate_limit_reset('worker'); $settings
		SELECT allowed, remaining FROM rate_limit('parallel', 5, '1 hour');
		SELECT count(*) FILTER (WHERE l.allowed) FROM many, LATERAL rate_limit('parallel', 5, '1 hour', sign(i)::bigint) l;
		SELECT count(*) FILTER (WHERE in_worker('worker')) FROM many;
		SELECT remaining FROM rate_limit_peek('worker', 100, '1 hour')}) =~ s/^.*\n//r, "t|4\n4\n100\n0", "$settings exactly the quota");
}

note 'databases';

ask(q{CREATE DATABASE other; CREATE DATABASE pattern});
ask('CREATE EXTENSION pgcache', $_) for qw(other pattern);
my $take = q{SELECT remaining FROM rate_limit('shared', 5, '1 hour')};
is(join(' ', map { ask($take, $_) } qw(postgres other pattern postgres)), '4 4 4 3', 'each has counts of its own for the same key');
is(ask(q{SELECT rate_limit_block('shared', '1 day') IS NOT NULL; SELECT allowed FROM rate_limit_peek('shared', 5, '1 hour')}, 'other'), "t\nf", 'and blocks');
is(ask(q{SELECT allowed FROM rate_limit_peek('shared', 5, '1 hour'); SELECT rate_limit_unblock('shared')}), "t\nf", 'that another does not see');
is(ask(q{SELECT rate_limit_reset('shared')}), 1, 'nor reset');
is(ask($take, 'pattern'), 3, 'anything');
ask(q{SELECT rate_limit('secret of other', 0, '1 hour')}, 'other');
is(ask(q{SELECT count(*) FROM rate_limit_top(1000) WHERE key = 'secret of other'}), 0, 'rate_limit_top lists the keys of its own database');
is(ask(q{SELECT key, denied FROM rate_limit_top(1000)}, 'other'), 'secret of other|1', 'to that database');
ask(q{CREATE DATABASE copied TEMPLATE pattern});
is(ask($take, 'copied'), 4, 'a copy of a database begins anew');
is(ask('DROP EXTENSION pgcache; CREATE EXTENSION pgcache; ' . $take, 'pattern'), 2, 'DROP EXTENSION and CREATE EXTENSION forget nothing');
ask('DROP DATABASE other');
is(ask('SELECT sum(allowed) > 0 FROM rate_limit_stats') . ask($take), 't4', 'DROP DATABASE disturbs nobody');
ask('CREATE DATABASE other');
ask('CREATE EXTENSION pgcache', 'other');
is(ask("$take; SELECT count(*) FROM rate_limit_top()", 'other'), "4\n0", 'a database of the same name begins anew');

note 'dumps';

ask(q{SELECT rate_limit('not in the dump', 0, '1 hour'), rate_limit_block('not in the dump', '1 day')});
my ($dump) = run_command([ 'pg_dumpall', '-d', $server->connstr('postgres') ]);
like($dump, qr/CREATE EXTENSION IF NOT EXISTS pgcache/, 'a dump has the extension');
unlike($dump, qr/not in the dump|(?:FUNCTION|VIEW|TABLE) \S*rate_limit/, 'and nothing of the limits');

note 'a standby';

$server->backup('base');
ok(!-e $server->backup_dir . '/base/pg_stat/pgcache.limits', 'a base backup has no counts');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($server, 'base', has_streaming => 1);
$standby->start;
$server->wait_for_catchup($standby);

sub ask_standby { return $standby->safe_psql('postgres', $_[0]); }

ask(q{SELECT rate_limit_reset('replicated'); SELECT rate_limit('replicated', 10, '1 hour', 6)});
is(ask_standby(q{SELECT pg_is_in_recovery(), remaining FROM rate_limit('replicated', 10, '1 hour')}), 't|9', 'it counts, and knows nothing of its primary');
is(ask(q{SELECT remaining FROM rate_limit_peek('replicated', 10, '1 hour')}), 4, 'nor the primary of it');
is( ask_standby(q{
	SELECT rate_limit_allowed('replicated', 10, '1 hour'), remaining FROM rate_limit_peek('replicated', 10, '1 hour');
	SELECT remaining FROM rate_limit_refund('replicated', 10, '1 hour');
	SELECT rate_limit_block('blocked', '1 day'), rate_limit_block('unblocked', '1 day'); SELECT rate_limit_unblock('unblocked'), rate_limit_reset('nothing');
	SELECT allowed, reason FROM rate_limit('blocked', 10, '1 hour');
	SELECT key, denied FROM rate_limit_top(); SELECT cells, allowed, denied FROM rate_limit_stats;
	SELECT remaining FROM rate_limit('exact', 10, '1 hour', algorithm => 'exact');
	BEGIN READ ONLY; SELECT remaining FROM rate_limit('replicated', 10, '1 hour'); ROLLBACK}),
	"t|9\n9\n2030-01-02 12:00:00+00|2030-01-02 12:00:00+00\nt|0\nf|blocked\nblocked|1\n2|2|1\n9\n8", 'all functions work');
my $of_standby = q{SELECT l.remaining, e.remaining, b.reason FROM rate_limit_peek('replicated', 10, '1 hour') l, rate_limit_peek('exact', 10, '1 hour', algorithm => 'exact') e, rate_limit_peek('blocked', 10, '1 hour') b; SELECT * FROM rate_limit_stats};
my $as_standby = ask_standby($of_standby);
restart($standby);
is(ask_standby($of_standby), $as_standby, 'a clean restart keeps its counts');
is(ask_standby(q{SELECT count(*) FROM pgcache.check() WHERE item = 'rate_limits' AND ok}), 1, 'pgcache.check() is content');
my $session = $standby->background_psql('postgres');
is($session->query_safe(q{SELECT remaining FROM rate_limit('replicated', 10, '1 hour')}), 7, 'a session takes');
$standby->promote;
is($session->query_safe(q{SELECT remaining, pg_is_in_recovery() FROM rate_limit('replicated', 10, '1 hour')}), '6|f', 'and goes on over a promotion');
$session->quit;
is(ask_standby(q{SELECT reason FROM rate_limit_peek('blocked', 10, '1 hour')}), 'blocked', 'so do blocks');
restart($standby);
is(ask_standby(q{SELECT remaining FROM rate_limit_peek('replicated', 10, '1 hour')}), 6, 'and a restart after it');
$standby->stop('immediate');
$standby->start;
is(ask_standby(q{SELECT remaining FROM rate_limit_peek('replicated', 10, '1 hour')}), 10, 'an immediate stop forgets');

done_testing();

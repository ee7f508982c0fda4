# Parallel workers read the cache under the snapshot of their leader. They can't change it, and they don't know what their
# leader's transaction has done to it, so then they miss.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('parallel', conf => <<'CONF');
pgcache.memory = 16MB
max_worker_processes = 8
max_parallel_workers = 4
max_parallel_workers_per_gather = 2
parallel_leader_participation = off
parallel_setup_cost = 0
parallel_tuple_cost = 0
min_parallel_table_scan_size = 0
jit = off
CONF
$server->start;
$server->safe_psql('postgres', q{
	CREATE EXTENSION pgcache;
	CREATE TABLE t (id int PRIMARY KEY, value text);
	INSERT INTO t SELECT i, 'old' FROM generate_series(1, 5000) i;
	ANALYZE t;
	-- What a user may declare wrongly.
	CREATE FUNCTION in_worker(statement text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
	DECLARE
		result text;
	BEGIN
		EXECUTE 'SELECT ' || statement INTO result;
		RETURN result;
	END $$});

sub ask { return $server->safe_psql('postgres', $_[0]); }

my $session = $server->background_psql('postgres', on_error_stop => 0);
sub in_session { return $session->query_safe($_[0]); }

# What the workers read under the key: how often, who read, and whether it was the leader.
my $read = q{SELECT count(cache_get_text('key')), min(cache_get_text('key')), count(*) FILTER (WHERE in_worker('pg_backend_pid()') = '%d') FROM t};
my $leader = in_session('SELECT pg_backend_pid()');
sub read_in_workers { return in_session(sprintf $read, $leader); }

note 'reading';

my $plan = in_session('EXPLAIN (COSTS OFF) ' . sprintf $read, $leader);
like($plan, qr/Gather.*Partial Aggregate.*Parallel Seq Scan/s, 'the workers call the function');
is(in_session(q{SELECT proparallel FROM pg_proc WHERE proname = 'cache_get_text'}), 's', 'which is parallel safe');

ask(q{SELECT cache_set_text('key', 'old', tags => ARRAY['tag']), cache_set('json', '{"a": 1}'), cache_set_bytes('bytes', '\x01')});
is(read_in_workers(), '5000|old|0', 'hits');
like( in_session('EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' . sprintf $read, $leader), qr/Workers Launched: [12]/, 'in workers');
is( in_session(q{SELECT count(cache_get('json')), count(cache_get_bytes('bytes')), count(*) FILTER (WHERE cache_exists('key')),
	count(cache_ttl('key')), count(cache_get('nothing')) FROM t}), '5000|5000|5000|5000|0', 'other reading functions');
is(in_session(q{SELECT count(*) FILTER (WHERE (cache_entry('key')).found) FROM t}), 5000, 'and cache_entry');
cmp_ok(in_session(q{SELECT hits FROM cache_stats WHERE database = 'postgres'}), '>=', 20000, 'they are counted');

note 'writing';

$session->query_safe('\set VERBOSITY verbose');
for my $statement (
	q{cache_set(''key'', ''1'')}, q{cache_set_text(''key'', ''x'', immediate => true)}, q{cache_set_bytes(''key'', '''')},
	q{cache_set_many(''{"key": 1}'')}, q{cache_set_many_text(''{key}'', ''{x}'')}, q{cache_delete(''key'')},
	q{cache_delete_many(''{key}'')}, q{cache_delete_matching(''key'')}, q{cache_clear()}, q{cache_invalidate(''{tag}'')},
	q{cache_take_text(''key'')}, q{cache_incr(''counter'')}, q{cache_touch(''key'')}) {
	$session->query("SELECT count(in_worker('$statement')) FROM t");
	like($session->{stderr}, qr/ERROR:  25000: cannot change the cache in a parallel worker\nHINT:/, "$statement is an error");
	$session->{stderr} = '';
	is(in_session("SELECT in_worker('true')"), 'true', 'the session goes on');
}
$session->query_safe('\set VERBOSITY default');
is(read_in_workers(), '5000|old|0', 'nothing has changed');
is(in_session(q{SELECT count(cache_set_text('key ' || id, value)) FROM t WHERE id <= 100}), 100, 'without a wrapper the leader does it');

note 'own events of the leader';

my %events = (
	'a set' => [ q{SELECT cache_set_text('key', 'own')}, 'own' ],
	'a set of another key' => [ q{SELECT cache_set_text('another key', 'own')}, 'old' ],
	'a deletion' => [ q{SELECT cache_delete('key')}, '' ],
	'a tag' => [ q{SELECT cache_invalidate('{tag}')}, '' ],
	'a pattern' => [ q{SELECT cache_delete_matching('ke_')}, '' ],
	'everything' => [ q{SELECT cache_clear()}, '' ]);
for my $name (sort keys %events) {
	my ($statement, $expected) = @{ $events{$name} };
	in_session('BEGIN');
	is(read_in_workers(), '5000|old|0', "$name: hits before it");
	in_session($statement);
	is(read_in_workers(), '0||0', "$name: the workers miss");
	is(in_session(q{SELECT cache_get_text('key')}), $expected, "$name: the leader knows");
	in_session('ROLLBACK');
	is(read_in_workers(), '5000|old|0', "$name: hits after the transaction");
}
in_session('BEGIN');
in_session('SAVEPOINT s');
in_session(q{SELECT cache_delete('key')});
in_session('ROLLBACK TO s');
like(read_in_workers(), qr/^(?:5000\|old|0\|)\|0$/, 'after a rollback to a savepoint they read what is right, or nothing');
in_session('COMMIT');

note 'snapshots';

in_session('BEGIN ISOLATION LEVEL REPEATABLE READ');
is(read_in_workers(), '5000|old|0', 'REPEATABLE READ: hits');
ask(q{UPDATE t SET value = 'new' WHERE id = 1; SELECT cache_delete('key'), cache_set_text('key', 'new', tags => ARRAY['tag'])});
is(read_in_workers(), '0||0', 'REPEATABLE READ: nothing newer');
in_session('COMMIT');
is(read_in_workers(), '5000|new|0', 'REPEATABLE READ: and after it');

in_session('BEGIN ISOLATION LEVEL SERIALIZABLE');
is(read_in_workers(), '0||0', 'SERIALIZABLE: misses');
in_session('COMMIT');
in_session('BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY');
# PostgreSQL does not tell workers that the transaction is READ ONLY.
like(read_in_workers(), qr/^(?:5000\|new|0\|)\|0$/, 'SERIALIZABLE READ ONLY: hits or misses');
in_session('COMMIT');
in_session('SET pgcache.serializable_reads = on');
in_session('BEGIN ISOLATION LEVEL SERIALIZABLE');
is(read_in_workers(), '5000|new|0', 'the setting reaches them');
in_session('COMMIT');

# A transaction with an id, whose rows the cache does not know.
in_session('BEGIN');
in_session(q{UPDATE t SET value = 'own' WHERE id = 2});
is(read_in_workers(), '5000|new|0', 'a transaction that has written rows and nothing in the cache');
in_session('COMMIT');

note 'a pending transaction that was prepared';

$session->quit;
$server->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$server->restart;
ask(q{SELECT cache_set_text('key', 'old', tags => ARRAY['tag'])});
$session = $server->background_psql('postgres');
$leader = in_session('SELECT pg_backend_pid()');
ask(q{BEGIN; SELECT cache_invalidate('{tag}'); INSERT INTO t VALUES (0, 'new'); PREPARE TRANSACTION 'p'});
is(read_in_workers(), '5000|old|0', 'hits while it is prepared');
ask(q{COMMIT PREPARED 'p'});
is(read_in_workers(), '0||0', 'none after it, with a worker as the first to come');
ask(q{SELECT cache_set_text('key', 'new', tags => ARRAY['tag'])});
is(read_in_workers(), '5001|new|0', 'and hits again');
$session->quit;

done_testing();

# Transactions that outlive the server or that it ends: prepared ones over a restart and a crash, killed backends, and what
# is invalidated while the server shuts down.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('transactions', conf => "pgcache.memory = 32MB\nmax_prepared_transactions = 10");
$server->start;
$server->safe_psql('postgres', q{CREATE EXTENSION pgcache; CREATE DATABASE other;
	CREATE TABLE t (id int PRIMARY KEY, value text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 6) i});
$server->safe_psql('other', 'CREATE EXTENSION pgcache');

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }

# Row and cached value under one snapshot.
sub seen { return ask("SELECT value, cache_get_text('row $_[0]') FROM t WHERE id = $_[0]"); }

# Nothing but what the snapshot computes, or a miss.
sub is_exact {
	my ($name) = @_;
	is(ask(q{SELECT count(*) FROM t WHERE cache_get_text('row ' || id) <> value}), 0, "$name: nothing else than the rows is read");
	return;
}

sub fill {
	ask(q{UPDATE t SET value = 'old'; SELECT cache_clear();
		SELECT count(cache_set_text('row ' || id, value, '1 day', tags => ARRAY['rows', 'row ' || id])) FROM t;
		SELECT cache_set_text('untagged', 'stays', '1 day')});
	ask(q{SELECT cache_clear(), cache_set_text('row 1', 'of the other', '1 day', tags => ARRAY['rows'])}, 'other');
	return;
}

# Changes a row, invalidates in the given way and leaves the transaction prepared.
sub prepare {
	my ($id, $invalidate) = @_;
	ask("BEGIN; UPDATE t SET value = 'new' WHERE id = $id; SELECT $invalidate; PREPARE TRANSACTION 'row $id'");
	return;
}

note 'prepared transactions over a clean restart';

fill();
prepare(1, q{cache_invalidate('{row 1}')});
ask(q{BEGIN; UPDATE t SET value = 'new' WHERE id = 2; SELECT cache_set_text('row 2', 'new'); PREPARE TRANSACTION 'row 2'});
like(restart_and_load($server, 'fast'), qr/^loaded \d+$/, 'the cache is saved and loaded');
is_exact('while they are prepared');
is(seen(4), 'old|old', 'hits go on');
is(ask(q{SELECT count(*) FROM t WHERE cache_set_text('row ' || id, value)}), 6, 'fills do too');
is(ask(q{SELECT count(*) FROM t WHERE cache_get_text('row ' || id) = value}), 6, 'and are hit');

my $earlier = $server->background_psql('postgres');
$earlier->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($earlier->query_safe(q{SELECT value FROM t WHERE id = 1}), 'old', 'a snapshot of before the commit');

ask(q{COMMIT PREPARED 'row 1'});
is(seen(1), 'new|', 'COMMIT PREPARED: nothing old is read');
is(seen(4), 'old|', 'what it invalidated is known no more, so all of the database is');
is(ask(q{SELECT cache_get_text('row 1')}, 'other'), 'of the other', 'but not that of another one');
is(ask(q{SELECT count(*) FROM t WHERE cache_set_text('row ' || id, value)}), 6, 'fills after it are taken');
is(seen(1), 'new|new', 'and read');
is($earlier->query_safe(q{SELECT value, cache_get_text('row 1') FROM t WHERE id = 1}), 'old|', 'but not under the older snapshot');
$earlier->query_safe('COMMIT');
is($earlier->query_safe(q{SELECT value, cache_get_text('row 1') FROM t WHERE id = 1}), 'new|new', 'and after it');
$earlier->quit;

ask(q{ROLLBACK PREPARED 'row 2'});
is(ask(q{SELECT count(*) FROM t WHERE cache_get_text('row ' || id) = value}), 6, 'ROLLBACK PREPARED ends nothing');

fill();
ask(q{BEGIN; UPDATE t SET value = 'new' WHERE id = 2; SELECT cache_set_text('row 2', 'new'); PREPARE TRANSACTION 'row 2'});
$server->restart;
ask(q{COMMIT PREPARED 'row 2'});
is(seen(2), 'new|', 'the key of a set that went with PREPARE is invalidated, and the set is not there');
is_exact('after all of them');

note 'the first to come after the commit is a fill that was computed before';

fill();
prepare(1, q{cache_delete('row 1')});
$server->restart;
my $filler = $server->background_psql('postgres');
$filler->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$filler->query_safe('SELECT 1');
ask(q{COMMIT PREPARED 'row 1'});
$filler->query_safe(q{SELECT cache_set_text('row 1', value) FROM t WHERE id = 1});
$filler->query_safe('COMMIT');
$filler->quit;
is(seen(1), 'new|', 'it does not stay');

note 'prepared transactions over a crash';

fill();
prepare(1, q{cache_invalidate('{row 1}')});
prepare(2, q{cache_delete('row 2')});
$server->stop('immediate');
$server->start;
is(key_count($server), 0, 'the cache is empty');
is(ask(q{SELECT count(*) FROM pg_prepared_xacts}), 2, 'the transactions are there');
is(ask(q{SELECT count(*) FROM t WHERE cache_set_text('row ' || id, value)}), 6, 'it is filled with what is committed');
is(ask(q{SELECT count(*) FROM t WHERE cache_get_text('row ' || id) = value}), 6, 'and hit, while they are prepared');
ask(q{COMMIT PREPARED 'row 2'});
is(seen(2), 'new|', 'COMMIT PREPARED: nothing old is read');
is_exact('after the commit');
ask(q{ROLLBACK PREPARED 'row 1'});
is_exact('after the rollback');
is(ask(q{SELECT count(*) FROM t WHERE cache_set_text('row ' || id, value)}), 6, 'it is filled again');
is(ask(q{SELECT count(*) FROM t WHERE cache_get_text('row ' || id) = value}), 6, 'and hit');

note 'more of them than a slot of memory lists';

for my $stop ('fast', 'immediate') {
	fill();
	prepare($_, q{cache_invalidate('{rows}')}) for (1 .. 5);
	$server->stop($stop);
	$server->start;
	is_exact("$stop: five prepared");
	ask(q{SELECT count(cache_set_text('row ' || id, value)) FROM t});
	is_exact("$stop: filled while they are");
	for my $id (3, 1, 5) {
		ask("COMMIT PREPARED 'row $id'");
		is(ask("SELECT value FROM t WHERE id = $id"), 'new', "$stop: row $id is committed");
		is_exact("$stop: row $id");
		ask(q{SELECT count(cache_set_text('row ' || id, value)) FROM t});
		is_exact("$stop: filled after row $id");
	}
	ask("ROLLBACK PREPARED 'row $_'") for (2, 4);
	is_exact("$stop: the others are rolled back");
	is(ask(q{SELECT count(*) FROM t WHERE cache_set_text('row ' || id, value)}), 6, "$stop: it is filled again");
	is(ask(q{SELECT count(*) FROM t WHERE cache_get_text('row ' || id) = value}), 6, "$stop: and hit");
}

note 'killed backends';

sub invalidating_session {
	my $session = $server->background_psql('postgres', on_error_stop => 0);
	$session->query_safe($_)
	  for ('BEGIN', q{UPDATE t SET value = 'new'}, q{SELECT cache_delete('row 1'), cache_invalidate('{rows}')},
		q{SELECT cache_set_text('row 2', 'new')});
	return ($session, $session->query_safe('SELECT pg_backend_pid()'));
}

fill();
{
	my ($session, $pid) = invalidating_session();
	is(ask("SELECT pg_terminate_backend($pid, 180000)"), 't', 'a backend is told to end between invalidation and commit');
	is(seen($_), 'old|old', "row $_: its transaction has invalidated nothing") for (1 .. 3);
	eval { $session->quit };
}
{
	my ($session, $pid) = invalidating_session();
	my $worker = wait_for_worker($server);
	kill 'KILL', $pid;
	$server->poll_query_until('postgres', "SELECT pgcache.worker_pid() <> $worker") or die 'the server does not come back';
	is(key_count($server), 0, 'a killed one takes the cache with it');
	is(ask(q{SELECT count(*) FROM t WHERE cache_set_text('row ' || id, value)}), 6, 'which works');
	is(seen($_), 'old|old', "row $_: filled with what is committed") for (1 .. 3);
	eval { $session->quit };
}

note 'a warm restart keeps tags';

my $names;    # what the tags of this part begin with

sub fill_many {
	fill();
	ask(qq{SELECT count(cache_set('many ' || i, to_jsonb(i), '1 day', tags => ARRAY['$names many', '$names mod ' || i % 10])) FROM generate_series(1, 1000) i;
		SELECT cache_set_text('large', repeat('large', 300000), '1 day', tags => ARRAY['$names many']);
		SELECT cache_set('most tags', '1', '1 day', tags => (SELECT array_agg('$names tag ' || i) FROM generate_series(1, 64) i))});
	return;
}

sub many_with { return ask("SELECT count(*) FROM generate_series(1, 1000) i WHERE i % 10 IN ($_[0]) AND cache_exists('many ' || i)"); }
sub others { return ask(q{SELECT cache_exists('large'), cache_exists('most tags'), cache_exists('untagged'), cache_exists('row 1')}); }

# Two tags in some thousands share a slot of memory and end together. The hash stays the same over warm restarts, so names
# that don't here won't below.
sub tags_apart {
	fill_many();
	ask(qq{SELECT cache_invalidate('{$names mod 3, $names mod 4, $names mod 5}')});
	return 0 if many_with('0, 1, 2, 6, 7, 8, 9') != 700 || others() ne 't|t|t|t';
	ask(qq{SELECT cache_invalidate('{$names many}')});
	return others() eq 'f|t|t|t';
}

for ('a' .. 'j') {
	$names = $_;
	last if tags_apart();
}

fill_many();
ask(qq{SELECT cache_invalidate('{$names mod 3}')});
like(restart_and_load($server, 'fast'), qr/^loaded \d+$/, 'entries with tags are saved and loaded');

is(many_with('3'), 0, 'what was invalidated before is not among them');
is(many_with('0, 1, 2, 4, 5, 6, 7, 8, 9'), 900, 'the others are');
is(ask(qq{SELECT cache_invalidate('{$names mod 4, $names mod 5}')}), 2, 'tags are invalidated after the restart');
is(many_with('4, 5'), 0, 'which ends the entries that were loaded with them');
is(many_with('0, 1, 2, 6, 7, 8, 9'), 700, 'and no others');
is(others(), 't|t|t|t', 'those with other tags and with none are there');
is(ask(qq{SELECT cache_invalidate('{$names tag 64}'), cache_exists('most tags')}), '1|f', 'the last of 64 tags');
restart_and_load($server, 'fast');
is(ask(qq{SELECT cache_invalidate('{$names many}')}), 1, 'tags are saved again after they were loaded');
is(many_with('0, 1, 2, 3, 4, 5, 6, 7, 8, 9'), 0, 'and end their entries');
is(ask(q{SELECT cache_exists('large'), cache_exists('untagged'), cache_exists('row 1')}), 'f|t|t', 'long ones too');
is(ask(q{SELECT cache_get_text('row 1')}, 'other'), 'of the other', 'those of another database are another matter');
is(ask(q{SELECT cache_invalidate('{rows}'), cache_exists('row 1')}, 'other'), '1|f', 'its own tags work there');
is(ask(q{SELECT cache_exists('row 1')}), 't', 'and not here');

note 'invalidated while the server shuts down, after the cache was saved';

# Runs statements in a session after the worker has saved; `before` runs before that in the same session.
sub shut_down_during {
	my ($name, $before, @statements) = @_;
	my $position = log_position($server);
	my $session = $server->background_psql('postgres');
	$session->query_safe($_) for @$before;
	my $saved = stop_worker($server, sub { $session->query_safe($_) for @statements; });
	ok($saved, "$name: the worker has saved");
	$server->stop('fast');
	eval { $session->quit };
	$server->start;
	like(outcome_of_load($server, $position), qr/^loaded \d+$/, "$name: the file is good");
	return;
}

fill();
shut_down_during('a lone statement', [], q{UPDATE t SET value = 'new' WHERE id = 1}, q{SELECT cache_invalidate('{row 1}')});
is(seen(1), 'new|', 'a lone statement: it is not resurrected');
is(seen(2), 'old|old', 'a lone statement: others are there');

fill();
shut_down_during('a transaction', [], 'BEGIN', q{UPDATE t SET value = 'new' WHERE id = 1},
	q{SELECT cache_invalidate('{row 1}')}, q{SELECT cache_delete('row 2')}, 'COMMIT');
is(seen(1), 'new|', 'a transaction: it is not resurrected');
is(seen(2), 'old|', 'a transaction: nor is what it deleted');
is(seen(3), 'old|old', 'a transaction: others are there');

fill();
shut_down_during('a commit', ['BEGIN', q{UPDATE t SET value = 'new' WHERE id = 1}, q{SELECT cache_delete('row 1')}], 'COMMIT');
is(seen(1), 'new|', 'a commit: it is not resurrected');
is(seen(2), 'old|old', 'a commit: others are there');

fill();
shut_down_during('a set', [], 'BEGIN', q{UPDATE t SET value = 'new' WHERE id = 1},
	q{SELECT cache_set_text('row 1', 'new', tags => ARRAY['rows'])}, 'COMMIT');
like(seen(1), qr/^new\|(new)?$/, 'a set: the old one is not resurrected');

fill();
shut_down_during('everything', [], 'BEGIN', q{UPDATE t SET value = 'new'}, 'SELECT cache_clear()', 'COMMIT');
is(seen($_), 'new|', "everything: row $_ is not resurrected") for (1 .. 3);

fill();
shut_down_during('a pattern', [], 'BEGIN', q{UPDATE t SET value = 'new'}, q{SELECT cache_delete_matching('row _')}, 'COMMIT');
is(seen($_), 'new|', "a pattern: row $_ is not resurrected") for (1 .. 3);

fill();
shut_down_during('a rollback', [], 'BEGIN', q{UPDATE t SET value = 'new'}, q{SELECT cache_invalidate('{rows}')}, 'ROLLBACK');
is_exact('a rollback');

fill();
shut_down_during('an open transaction', [], 'BEGIN', q{UPDATE t SET value = 'new'}, q{SELECT cache_invalidate('{rows}')});
is_exact('an open transaction');

fill();
prepare(1, q{cache_invalidate('{row 1}')});
shut_down_during('COMMIT PREPARED', [], q{COMMIT PREPARED 'row 1'});
is(seen(1), 'new|', 'COMMIT PREPARED: it is not resurrected');
is_exact('COMMIT PREPARED');

fill();
prepare(1, q{cache_clear()});
shut_down_during('COMMIT PREPARED of a clear', [], q{COMMIT PREPARED 'row 1'});
is(seen(1), 'new|', 'COMMIT PREPARED of a clear: it is not resurrected');
is_exact('COMMIT PREPARED of a clear');

fill();
prepare(1, q{cache_invalidate('{row 1}')});
ask(q{COMMIT PREPARED 'row 1'});
restart_and_load($server, 'fast');
is(seen(1), 'new|', 'COMMIT PREPARED that nobody has met before the shutdown');
is_exact('COMMIT PREPARED that nobody has met');

fill();
shut_down_during('PREPARE', [], 'BEGIN', q{UPDATE t SET value = 'new' WHERE id = 1}, q{SELECT cache_delete('row 1')},
	q{PREPARE TRANSACTION 'late'});
is_exact('PREPARE');
ask(q{COMMIT PREPARED 'late'});
is(seen(1), 'new|', 'PREPARE: committed after the restart');
is_exact('PREPARE: committed');

done_testing();

# What a transaction has done to the cache takes bounded memory until it ends: sets up to a limit, invalidations without
# one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

# Of the backend, in MB; what an empty transaction has is little.
my $bound = 100;
my $memory = q{SELECT sum(total_bytes) / (1024 * 1024) FROM pg_backend_memory_contexts};

my $server = new_server('memory');
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache; CREATE DATABASE other; CREATE TABLE t (x int)');
$server->safe_psql('other', 'CREATE EXTENSION pgcache');
my $observer = $server->background_psql('postgres');

sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }

sub fill {
	ask(q{SELECT cache_clear(); SELECT count(cache_set_text('key ' || i, 'old', tags => ARRAY['tag ' || i])) FROM generate_series(1, 10000) i});
	return;
}

my $left = q{SELECT count(*) FROM generate_series(1, 10000) i WHERE cache_exists('key ' || i)};

# A new session whose transaction has an id.
sub transaction {
	my $session = $server->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("\\set VERBOSITY sqlstate");
	$session->query_safe($_) for ('BEGIN', 'INSERT INTO t VALUES (1)');
	return $session;
}

# The SQLSTATE of a statement that fails.
sub sqlstate {
	my ($session, $statement) = @_;
	$session->query($statement);
	my ($state) = $session->{stderr} =~ /ERROR:\s+(\w{5})/;
	$session->{stderr} = '';
	return $state // 'none';
}

sub stays_bounded {
	my ($session, $name) = @_;
	my $used = $session->query_safe($memory);
	cmp_ok($used, '<', $bound, sprintf('%s: %.0f MB', $name, $used));
	return;
}

sub sets_again {
	my ($session, $name) = @_;
	$session->query_safe($_) for ('BEGIN', q{SELECT cache_delete('after')}, q{SELECT cache_set_text('after', 'works')}, 'COMMIT');
	is($observer->query_safe(q{SELECT cache_get_text('after')}), 'works', "$name: the session goes on");
	$session->quit;
	return;
}

note 'a million invalidations';

my %invalidations = (
	'cache_delete' => q{SELECT count(cache_delete('key ' || i)) FROM generate_series(1, 1000000) i},
	'cache_delete_many' => q{SELECT cache_delete_many(array_agg('key ' || i)) >= 0 FROM generate_series(1, 1000000) i GROUP BY i / 1000},
	'cache_invalidate' => q{SELECT sum(cache_invalidate(ARRAY['tag ' || i])) FROM generate_series(1, 1000000) i},
	'cache_delete_matching' => q{SELECT count(cache_delete_matching('key ' || i || '%')) FROM generate_series(1, 1000) i},
	'cache_clear' => q{SELECT count(cache_clear()) FROM generate_series(1, 100) i});

for my $name (sort keys %invalidations) {
	fill();
	ask(q{SELECT cache_set('of the other', '1')}, 'other');
	my $deletes_all = $name ne 'cache_delete_matching';
	my $expected = $deletes_all ? 0 : ask(q{SELECT count(*) FROM generate_series(1, 10000) i
		WHERE NOT EXISTS (SELECT FROM generate_series(1, 1000) p WHERE 'key ' || i LIKE 'key ' || p || '%')});
	my $session = transaction();
	$session->query_safe($invalidations{$name});
	stays_bounded($session, $name);
	is($session->query_safe($left), $expected, "$name: the transaction misses what it has invalidated") if $deletes_all;
	is($observer->query_safe($left), 10000, "$name: the others hit");
	$session->query_safe('ROLLBACK');
	is($observer->query_safe($left), 10000, "$name: and after a rollback all do");
	stays_bounded($session, "$name, after the rollback");

	$session->query_safe($_) for ('BEGIN', 'INSERT INTO t VALUES (1)', $invalidations{$name});
	is($session->query_safe('COMMIT; SELECT 1'), 1, "$name: commits");
	cmp_ok($observer->query_safe($left), '<=', $expected, "$name: then nothing of it is there");
	stays_bounded($session, "$name, after the commit");
	sets_again($session, $name);
	# Slots of memory are shared, so very many keys and tags may take neighbours in other databases along.
	is(ask(q{SELECT cache_get('of the other')}, 'other'), 1, "$name: another database is not touched") if $name =~ /clear|matching/;
	is(ask(q{SELECT count(*) FROM generate_series(1, 100) i WHERE cache_set_text('key ' || i, 'new')}), 100, "$name: fills are taken");
	is(ask(q{SELECT count(*) FROM generate_series(1, 100) i WHERE cache_get_text('key ' || i) = 'new'}), 100, "$name: and hit");
}

note 'a million sets';

fill();
is(ask('SHOW pgcache.transaction_memory'), '64MB', 'the limit');
my $many = q{SELECT count(cache_set_text('key ' || i, repeat('new ', 250))) FROM generate_series(1, 1000000) i};
{
	my $session = transaction();
	is(sqlstate($session, $many), '54000', 'more than the limit is an error at the call');
	$session->query_safe('ROLLBACK');
	stays_bounded($session, 'after the error');
	is($observer->query_safe($left), 10000, 'nothing was published or invalidated');
	is($observer->query_safe(q{SELECT cache_get_text('key 1')}), 'old', 'what was there before is');
	sets_again($session, 'after the error');
}
{
	my $session = $server->background_psql('postgres', on_error_stop => 0);
	$session->query_safe($_)
	  for ("\\set VERBOSITY sqlstate", 'BEGIN', q{SELECT count(cache_set_text('few ' || i, 'few')) FROM generate_series(1, 1000) i}, 'SAVEPOINT s');
	is(sqlstate($session, $many), '54000', 'after a savepoint too');
	$session->query_safe('ROLLBACK TO s');
	stays_bounded($session, 'back at the savepoint');
	is($session->query_safe(q{SELECT count(*) FROM generate_series(1, 1000) i WHERE cache_get_text('few ' || i) = 'few'}), 1000, 'what was held before is');
	$session->query_safe(q{SELECT cache_set_text('few 1', 'one more')});
	$session->query_safe('COMMIT');
	is($observer->query_safe(q{SELECT count(*) FROM generate_series(1, 1000) i WHERE cache_exists('few ' || i)}), 1000, 'and is published');
	is($observer->query_safe(q{SELECT cache_get_text('few 1')}), 'one more', 'there is room again after the rollback');
	sets_again($session, 'after the savepoint');
}
{
	# Small ones: what is kept beside key and value counts too.
	my $session = transaction();
	is(sqlstate($session, q{SELECT count(cache_set('k' || i, '1')) FROM generate_series(1, 3000000) i}), '54000', 'many small ones');
	$session->query_safe('ROLLBACK; BEGIN');
	my ($low, $high) = (0, 3000000);
	while ($high - $low > 100000) {
		my $middle = int(($low + $high) / 2);
		my $state = sqlstate($session, "SELECT count(cache_set('k' || i, '1')) FROM generate_series(1, $middle) i");
		if ($state eq 'none') { $low = $middle; }
		else { $high = $middle; }
		$session->query_safe('ROLLBACK; BEGIN');
	}
	$session->query_safe("SELECT count(cache_set('k' || i, '1')) FROM generate_series(1, $low) i");
	stays_bounded($session, "$low small sets");
	$session->query_safe('COMMIT');
	sets_again($session, 'many small ones');
}
{
	my $session = transaction();
	$session->query_safe(q{SET pgcache.transaction_memory = '1GB'});
	is($session->query_safe(q{SELECT count(cache_set_text('million ' || i, i::text)) FROM generate_series(1, 1000000) i}), 1000000, 'a million, with the limit raised');
	is($session->query_safe(q{SELECT cache_get_text('million 1'), cache_get_text('million 1000000')}), '1|1000000', 'the transaction reads them');
	$session->query_safe('COMMIT');
	is( $observer->query_safe(q{SELECT count(*) > 300000, count(*) FILTER (WHERE cache_get_text('million ' || i) <> i::text)
		FROM generate_series(1, 1000000) i WHERE cache_exists('million ' || i)}), 't|0', 'and others what has room in the cache');
	stays_bounded($session, 'after the commit of a million');
	sets_again($session, 'a million');
}
{
	my $session = transaction();
	is($session->query_safe(q{SELECT count(cache_set_text('same', repeat(i::text, 100))) FROM generate_series(1, 1000000) i}), 1000000, 'one key a million times has room');
	stays_bounded($session, 'one key a million times');
	$session->query_safe('COMMIT');
	is($observer->query_safe(q{SELECT cache_get_text('same') = repeat('1000000', 100)}), 't', 'the last one is published');
	sets_again($session, 'one key');
}
{
	my $session = transaction();
	is($session->query_safe(q{SELECT count(cache_set_text('now ' || i, repeat('new ', 250), immediate => true)) FROM generate_series(1, 200000) i}), 200000, 'immediate => true needs no room');
	stays_bounded($session, 'immediate => true');
	$session->query_safe('ROLLBACK');
	sets_again($session, 'immediate => true');
}
{
	my $session = transaction();
	$session->query_safe(q{SET LOCAL pgcache.transaction_memory = '1MB'});
	is(sqlstate($session, q{SELECT cache_set_text('large', repeat('x', 1100000))}), '54000', 'a value over the limit alone');
	$session->query_safe('ROLLBACK; BEGIN');
	is($session->query_safe(q{SELECT cache_set_text('large', repeat('x', 5000000))}), 't', 'and under it');
	$session->query_safe('COMMIT');
	is($observer->query_safe(q{SELECT length(cache_get_text('large'))}), 5000000, 'is published');
	is($session->query_safe(q{SET pgcache.transaction_memory = '1MB'; SELECT cache_set_text('large', repeat('x', 5000001))}), 't', 'a lone set holds nothing');
	sets_again($session, 'a large value');
}

note 'a thousand savepoints';

# Each sets or deletes a key of its own and sets one that is the same for all.
sub nested {
	my ($session, $from, $to) = @_;
	my $script = '';
	for my $i ($from .. $to) {
		$script .= "SAVEPOINT s$i; " . ($i % 2 ? "SELECT cache_set_text('nested $i', 'new')" : "SELECT cache_delete('nested $i')") . ";\n";
		$script .= "SELECT cache_set_text('level', '$i');\n";
	}
	$session->query_safe($script);
	return;
}

sub nested_is { return $observer->query_safe(q{SELECT cache_get_text('level'),
	count(*) FILTER (WHERE cache_get_text('nested ' || i) = 'new'), count(*) FILTER (WHERE cache_get_text('nested ' || i) = 'old')
	FROM generate_series(1, 1000) i}); }

sub begin_nested {
	ask(q{SELECT cache_clear(); SELECT count(cache_set_text('nested ' || i, 'old')), count(cache_set_text('level', '0')) FROM generate_series(1, 1000) i});
	my $session = $server->background_psql('postgres');
	$session->query_safe('BEGIN');
	nested($session, 1, 1000);
	return $session;
}

{
	my $session = begin_nested();
	is($session->query_safe(q{SELECT cache_get_text('level')}), 1000, 'the innermost');
	is(nested_is(), '0|0|1000', 'nobody else sees any');
	stays_bounded($session, 'a thousand savepoints');
	$session->query_safe('ROLLBACK TO s501');
	is($session->query_safe(q{SELECT cache_get_text('level'), cache_get_text('nested 499'), cache_get_text('nested 500'), cache_get_text('nested 501')}), '500|new||old', 'half of them rolled back');
	nested($session, 600, 700);
	$session->query_safe('RELEASE s600');
	is($session->query_safe(q{SELECT cache_get_text('level')}), 700, 'more, and released');
	$session->query_safe('ROLLBACK TO s400');
	is($session->query_safe(q{SELECT cache_get_text('level')}), 399, 'and rolled back from without');
	$session->query_safe('COMMIT');
	is(nested_is(), '399|200|601', 'what is left of them is published');
	sets_again($session, 'savepoints');
}
{
	my $session = begin_nested();
	$session->query_safe('ROLLBACK');
	is(nested_is(), '0|0|1000', 'all rolled back');
	sets_again($session, 'savepoints');
}
{
	my $session = begin_nested();
	$session->query_safe('RELEASE s1');
	is($session->query_safe(q{SELECT cache_get_text('level')}), 1000, 'all released');
	$session->query_safe('COMMIT');
	is(nested_is(), '1000|500|0', 'all published');
	sets_again($session, 'savepoints');
}
{
	my $session = transaction();
	$session->query_safe(q{DO $$ BEGIN
		FOR i IN 1 .. 10000 LOOP
			BEGIN
				PERFORM cache_set_text('loop', i::text), cache_delete('nested ' || i % 1000);
				IF i % 3 = 0 THEN RAISE EXCEPTION 'undo'; END IF;
			EXCEPTION WHEN raise_exception THEN
				NULL;
			END;
		END LOOP;
	END $$});
	stays_bounded($session, 'ten thousand exception blocks');
	is($session->query_safe(q{SELECT cache_get_text('loop')}), 10000, 'the last that was kept');
	$session->query_safe('COMMIT');
	is($observer->query_safe(q{SELECT cache_get_text('loop')}), 10000, 'is published');
	sets_again($session, 'exception blocks');
}
$observer->quit;

is(ask(q{SELECT count(*) FROM pgcache.check() WHERE NOT ok}), 0, 'pgcache.check() finds nothing');

done_testing();

# Keys belong to the database that wrote them, and go with it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('databases', conf => 'pgcache.memory = 16MB');
$server->start;
$server->safe_psql($_, 'CREATE EXTENSION pgcache') for ('template1', 'postgres');

sub ask { return $server->safe_psql($_[0], $_[1]); }
my $statistics = q{SELECT string_agg(database || ' ' || items, ', ' ORDER BY database) FROM cache_stats};

sub fill {
	my ($database) = @_;
	return ask($database, qq{SELECT count(cache_set('key ' || i, '"$database"', '0')) FROM generate_series(1, 1000) i;
		SELECT cache_set_text('large', repeat('$database', 400000), '0')});
}

ask('postgres', "CREATE DATABASE $_") for ('one', 'two', 'three');
fill($_) for ('one', 'two', 'three');

note 'keys of databases are apart';

is(ask($_, q{SELECT cache_get('key 1'), length(cache_get_text('large'))}), '"' . $_ . '"|' . 400000 * length, "$_ has its own") for ('one', 'two', 'three');
is(ask('postgres', q{SELECT cache_get('key 1'), (SELECT count(*) FROM cache_keys())}), '|0', 'others see nothing of it');
is(ask('one', q{SELECT cache_delete('key 1'), cache_delete_matching('key 2%'), cache_take_text('large') IS NULL}), 't|111|f', 'one deletes its keys');
is(ask('two', q{SELECT count(*) FROM cache_keys('%', 10000)}), 1001, 'two keeps its keys');
is(ask('one', q{SELECT cache_clear()}), 888, 'one clears the rest');
is(ask('postgres', $statistics), 'one 0, postgres 0, three 1001, two 1001', 'cache_stats has a row for each');
is(ask('three', q{SELECT cache_stats_reset(); SELECT hits, misses, sets FROM cache_stats WHERE database = 'three'}), "\n0|0|0", 'a reset is for one database');
is(ask('three', q{SELECT hits, misses, sets FROM cache_stats WHERE database = 'two'}), '2|0|1001', 'others keep their counts');
is(ask('postgres', q{SELECT count(DISTINCT bytes_allowed) FROM cache_stats}), 1, 'the memory is shared by all');

note 'a database that is renamed keeps its cache';

ask('postgres', 'ALTER DATABASE two RENAME TO "Zwei, ""2"""');
is(ask('postgres', $statistics), 'Zwei, "2" 1001, one 0, postgres 0, three 1001', 'cache_stats has the new name');
ask('postgres', 'ALTER DATABASE "Zwei, ""2""" RENAME TO two');
is(ask('two', q{SELECT cache_get('key 1')}), '"two"', 'the keys are there');

note 'a copy of a database has a cache of its own';

ask('postgres', 'CREATE DATABASE copy TEMPLATE two');
is(ask('copy', q{SELECT count(*) FROM cache_keys()}), 0, 'it starts empty');

note 'DROP DATABASE that fails';

my $session = $server->background_psql('two');
my ($status, $output, $error) = $server->psql('postgres', 'SET statement_timeout = 1000; DROP DATABASE two');
isnt($status, 0, 'fails while someone is connected');
is($session->query_safe(q{SELECT cache_get('key 1'), count(*) FROM cache_keys('%', 10000)}), '"two"|1001', 'the entries stay');
isnt($server->psql('postgres', 'BEGIN; DROP DATABASE two; COMMIT'), 0, 'fails in a transaction block');
isnt($server->psql('two', 'DROP DATABASE two'), 0, 'fails in the database itself');
ask('postgres', 'CREATE ROLE stranger LOGIN');
isnt($server->psql('postgres', 'DROP DATABASE two', extra_params => [ '-U', 'stranger' ]), 0, 'fails for a role without the right');
isnt($server->psql('postgres', 'DROP DATABASE none'), 0, 'fails where there is none');
is($session->query_safe('SELECT count(*) FROM cache_keys(max => 10000)'), 1001, 'the entries stay after all that');
is(ask('postgres', q{SELECT items, sets > 0 FROM cache_stats WHERE database = 'two'}), '1001|t', 'the statistics too');

note 'DROP DATABASE';

my $used = 'SELECT sum(bytes_used) FROM cache_stats';
my $one_of_three = ask('postgres', q{SELECT bytes_used FROM cache_stats WHERE database = 'three'});
my $position = log_position($server);
$server->psql('postgres', 'DROP DATABASE two WITH (FORCE)');
is(ask('postgres', $statistics), 'copy 0, one 0, postgres 0, three 1001', 'FORCE: the row is gone');
is(ask('postgres', $used), $one_of_three, 'FORCE: nothing is left in memory');
eval { $session->quit };
ask('postgres', 'DROP DATABASE three');
is(ask('postgres', $statistics), 'copy 0, one 0, postgres 0', 'the row is gone');
is(ask('postgres', $used), 0, 'nothing is left in memory');
unlike(slurp_file($server->logfile, $position), qr/PANIC|WARNING/, 'no warning');

# What a dropped database has left would be in nobody's statistics, but in the way: the memory must be free to its end.
sub all_memory_is_free {
	my ($name) = @_;
	my $filled = ask('postgres', q{SELECT cache_stats_reset();
		SELECT count(cache_set_text('fill ' || i, repeat('x', 950), '0')) FROM cache_stats,
			generate_series(1, (bytes_allowed * 0.95)::bigint / 1000) i WHERE database = 'postgres';
		SELECT evictions, bytes_used > bytes_allowed * 0.9 FROM cache_stats WHERE database = 'postgres'});
	like($filled, qr/\n0\|t$/, $name);
	ask('postgres', 'SELECT cache_clear()');
	return;
}
ask('one', 'SELECT cache_clear()');
ask('copy', 'SELECT cache_clear()');
all_memory_is_free('another database can use what they had');

note 'a new database of the same name, or with the same number';

ask('postgres', 'CREATE DATABASE two');
is(ask('two', q{SELECT cache_get('key 1'), count(*) FROM cache_keys()}), '|0', 'begins empty');
is(ask('two', q{SELECT items, hits, misses, sets, evictions, expirations FROM cache_stats WHERE database = 'two'}), '0|0|1|0|0|0', 'and its statistics too');

for my $round (1 .. 5) {
	ask('postgres', "CREATE DATABASE round$round STRATEGY file_copy");
	fill("round$round");
	is(key_count($server, "round$round"), 1001, "round $round") if $round == 5;
	ask('postgres', "DROP DATABASE round$round");
}
all_memory_is_free('nothing piles up');

note 'DROP DATABASE and the saved cache';

# Much to load, so that it takes its time.
$server->append_conf('postgresql.conf', 'pgcache.memory = 64MB');
$server->restart;
ask('two', q{SELECT count(cache_set('key ' || i, '1', '0')) FROM generate_series(1, 400000) i});
fill('one');
$position = log_position($server);
$server->restart;
ask('postgres', 'DROP DATABASE two');
ask('postgres', 'CREATE DATABASE two');
is(key_count($server, 'two'), 0, 'dropped while the cache is loaded: a new one begins empty');
outcome_of_load($server, $position);
is(key_count($server, 'two'), 0, 'and stays empty');
ask('one', 'SELECT cache_clear()');
all_memory_is_free('nothing is left in memory');

ask('one', 'SELECT cache_clear()');
fill('one');
fill('two');
ok(stop_worker($server, sub { }), 'the worker has saved');
ask('postgres', 'DROP DATABASE two');
ask('postgres', 'CREATE DATABASE two');
$position = log_position($server);
$server->restart;
outcome_of_load($server, $position);
is(key_count($server, 'two'), 0, 'dropped after the worker saved: nothing comes back');
is(key_count($server, 'one'), 1001, 'the others do');

note 'DROP EXTENSION';

ask('one', 'DROP EXTENSION pgcache');
ask('one', 'CREATE SCHEMA elsewhere; CREATE EXTENSION pgcache SCHEMA elsewhere');
is(ask('one', q{SELECT elsewhere.cache_set('a', '1'); SELECT elsewhere.cache_get('a')}), "t\n1", 'the extension made anew works');

done_testing();

# On a streaming standby the cache works in memory of its own; a promotion empties it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_server('primary', allows_streaming => 1, conf => "max_connections = 20\npgcache.memory = 16MB\npgcache.test_clock = '2030-01-01 00:00:00+00'");
$primary->start;
$primary->safe_psql('postgres', q{CREATE EXTENSION pgcache; CREATE DATABASE other; CREATE TABLE t (x int);
	CREATE ROLE app LOGIN; SELECT pgcache.grant_to('app')});
$primary->safe_psql('other', 'CREATE EXTENSION pgcache');
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

sub ask { return $standby->safe_psql($_[1] // 'postgres', $_[0]); }

note 'reads and writes';

is(ask('SELECT pg_is_in_recovery()'), 't', 'it is a standby');
$primary->safe_psql('postgres', q{SELECT cache_set('key', '"of the primary"', '1 day')});
is(ask(q{SELECT cache_get('key')}), '', 'it has a cache of its own');
is( ask(q{
	SELECT cache_set('key', '"of the standby"', '1 day'), cache_set_text('text', 'x', '1 hour'), cache_set_bytes('bytes', '\x00', '10 minutes');
	SELECT cache_set_text('large', repeat('large', 300000), '2 hours');
	SELECT cache_get('key'), cache_get_text('text'), cache_get_bytes('bytes'), length(cache_get_text('large'));
	SELECT cache_incr('counter', ttl => '1 day'), cache_incr('counter', 41);
	SELECT cache_set('taken', '1'); SELECT cache_take('taken'), cache_exists('taken');
	SELECT cache_set_many('{"m1": 1, "m2": 2}'), cache_delete_many('{m1}'), cache_delete('m2'), cache_touch('counter', '1 day');
	SELECT cache_set('key', '"late"', if_version => 1), found FROM cache_entry('key');
	SELECT count(*) FROM cache_keys()}),
	qq{t|t|t\nt\n"of the standby"|x|\\x00|1500000\n1|42\nt\n1|f\n2|1|t|t\nf|t\n5}, 'all functions work');
is(ask(q{SELECT cache_set('key', '"of the other"', '1 day')}, 'other'), 't', 'in another database too');
is(ask(q{SELECT string_agg(database || ' ' || items, ', ' ORDER BY database) FROM cache_stats}), 'other 1, postgres 5', 'cache_stats');
is(ask(q{SELECT cache_stats_reset(); SELECT hits, sets FROM cache_stats WHERE database = 'postgres'}), "\n0|0", 'its reset');
is( $standby->safe_psql('postgres', q{SELECT cache_get_text('text')}, extra_params => [ '-U', 'app' ]), 'x', 'for a role with the grant');
is( ask(q{BEGIN READ ONLY; SELECT cache_set('key', '"in a transaction"', '1 day'); COMMIT; SELECT cache_get('key')}), qq{t\n"in a transaction"}, 'in a read-only transaction');
is(ask(q{SELECT count(*) FROM pgcache.check() WHERE NOT ok}), 0, 'pgcache.check() finds nothing');
isnt($standby->psql('postgres', q{SELECT pgcache.grant_to('app')}), 0, 'a grant needs the primary');
is($primary->safe_psql('postgres', q{SELECT cache_get('key')}), '"of the primary"', 'the primary knows nothing of it');

note 'time to live';

is(ask(q{SELECT cache_ttl('bytes')}), '00:10:00', 'it is the one that was asked for');
set_clock($standby, '2030-01-01 00:10:00+00');
is(ask(q{SELECT cache_exists('bytes'), cache_exists('text')}), 'f|t', 'entries end by it');
wait_for_worker($standby);
set_clock($standby, '2030-01-01 03:00:00+00');
ok( $standby->poll_query_until('postgres', q{SELECT items = 2 AND bytes_used < 1000 FROM cache_stats WHERE database = 'postgres'}), 'the worker gives the memory back')
  or diag(ask('SELECT * FROM cache_stats; SELECT * FROM cache_keys(); SELECT * FROM pgcache.check()'));

note 'a restart of the standby';

$standby->restart;
is(key_count($standby), 0, 'empties its cache');
ok(!has_saved_file($standby), 'nothing is saved');

note 'promotion';

ask(q{SELECT cache_set('key', '"of the standby"', '0'), cache_set_text('large', repeat('large', 300000), '0')});
ask(q{SELECT cache_set('key', '"of the other"', '0')}, 'other');
my $hit = ask(q{SELECT version FROM cache_entry('key')});
my $miss = ask(q{SELECT version FROM cache_entry('miss')});
my $session = $standby->background_psql('postgres');
is($session->query_safe(q{SELECT cache_get('key')}), '"of the standby"', 'a session has used the cache before');
my $prepared = $standby->background_psql('postgres');
$prepared->query_safe('BEGIN');
$prepared->query_safe(q{SELECT cache_get('key')});

$standby->promote;
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 'f', 'it is a primary now');
is($session->query_safe(q{SELECT cache_get('key'), cache_exists('large')}), '|f', 'the session of before finds nothing');
is($prepared->query_safe(q{SELECT cache_get('key')}), '', 'nor does one that is in a transaction');
is(ask(q{SELECT count(*) FROM cache_keys()}), 0, 'the cache is empty');
is(ask(q{SELECT cache_get('key')}, 'other'), '', 'for other databases too');
is(ask("SELECT cache_set('key', '\"late\"', if_version => $hit), cache_set('miss', '\"late\"', if_version => $miss)"), 'f|f', 'versions of the standby fit no more');
ok($standby->poll_query_until('postgres', 'SELECT sum(bytes_used) = 0 FROM cache_stats'), 'the memory comes back');
is( ask(q{SELECT cache_set('key', '"new"'); SELECT cache_get('key'); INSERT INTO t VALUES (1);
	SELECT cache_set('miss', '1', if_version => (SELECT version FROM cache_entry('miss')))}), qq{t\n"new"\nt}, 'everything works after it');
is($session->query_safe(q{SELECT cache_get('key')}), '"new"', 'in the session of before too');
$_->quit for ($session, $prepared);

like(restart_and_load($standby, 'fast'), qr/^loaded \d$/, 'and a clean restart keeps the cache');
is(ask(q{SELECT cache_get('key')}), '"new"', 'of the new primary');

done_testing();

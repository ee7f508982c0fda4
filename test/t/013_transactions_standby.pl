# On a standby nobody knows what the primary invalidates: entries end by their time to live, and cache_stats says so. The
# rest works as on a primary, in memory. A promotion empties the cache, whatever goes on meanwhile.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_server('primary', allows_streaming => 1, conf => "max_connections = 20\npgcache.memory = 16MB\nmax_prepared_transactions = 5");
$primary->start;
$primary->safe_psql('postgres', q{CREATE EXTENSION pgcache; CREATE TABLE t (id int PRIMARY KEY, value text);
	INSERT INTO t VALUES (1, 'old'), (2, 'old')});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

sub ask { return $standby->safe_psql('postgres', $_[0]); }
sub session { return $standby->background_psql('postgres'); }

sub change {
	my ($statement) = @_;
	$primary->safe_psql('postgres', $statement);
	$primary->wait_for_catchup($standby);
	return;
}

note 'what a standby can and cannot do';

is($primary->safe_psql('postgres', q{SELECT cache_set('key', '1'); SELECT exact FROM cache_stats WHERE database = 'postgres'}), "t\nt", 'a primary is exact');
is(ask(q{SELECT cache_set_text('row', value, tags => ARRAY['rows']) FROM t WHERE id = 1}), 't', 'a lone set');
is(ask(q{SELECT exact FROM cache_stats WHERE database = 'postgres'}), 'f', 'a standby is not');
change(q{UPDATE t SET value = 'new' WHERE id = 1; SELECT cache_delete('row'), cache_invalidate('{rows}')});
is(ask(q{SELECT value, cache_get_text('row') FROM t WHERE id = 1}), 'new|old', 'what the primary invalidates stays until its time is over');
is(ask(q{SELECT cache_invalidate('{rows}'); SELECT value, cache_get_text('row') FROM t WHERE id = 1}), "1\nnew|", 'its own invalidation works');
is(ask(q{SELECT cache_set_text('row', value, tags => ARRAY['rows']) FROM t WHERE id = 1; SELECT cache_get_text('row')}), "t\nnew", 'and a fill after it');

note 'transactions';

my $first = session();
my $second = session();
$first->query_safe('BEGIN');
is( $first->query_safe(q{SELECT cache_set_text('held', 'first', tags => ARRAY['held']), cache_get_text('held'), cache_delete('row'), cache_get_text('row')}),
	't|first|t|', 'a transaction sees what it has done');
is($second->query_safe(q{SELECT cache_get_text('held'), cache_get_text('row')}), '|new', 'the others do not');
$first->query_safe('COMMIT');
is($second->query_safe(q{SELECT cache_get_text('held'), cache_get_text('row')}), 'first|', 'until it commits');

$first->query_safe('BEGIN');
$first->query_safe(q{SELECT cache_set_text('held', 'second')});
$first->query_safe('SAVEPOINT s');
is($first->query_safe(q{SELECT cache_set_text('held', 'third'), cache_get_text('held')}), 't|third', 'after a savepoint');
$first->query_safe('ROLLBACK TO s');
is($first->query_safe(q{SELECT cache_get_text('held')}), 'second', 'and back');
$first->query_safe('ROLLBACK');
is($second->query_safe(q{SELECT cache_get_text('held')}), 'first', 'a rollback changes nothing');

$first->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($first->query_safe(q{SELECT value, cache_get_text('held') FROM t WHERE id = 1}), 'new|first', 'REPEATABLE READ reads');
is($first->query_safe(q{SELECT cache_set_text('held', 'fourth')}), 't', 'and sets');
$first->query_safe('COMMIT');
is($second->query_safe(q{SELECT cache_get_text('held')}), 'fourth', 'and publishes');

$first->query_safe('BEGIN');
is($first->query_safe(q{SELECT cache_set_text('held', 'x', mode => 'if_absent')}), 'f', 'a condition at the call');
is($first->query_safe(q{SELECT cache_set_text('once', 'first', mode => 'if_absent')}), 't', 'and one at the commit');
$second->query_safe(q{SELECT cache_set_text('once', 'second')});
$first->query_safe('COMMIT');
is($second->query_safe(q{SELECT cache_get_text('once')}), 'second', 'which is too late');

is($first->query_safe(q{SELECT found FROM cache_entry('missed')}), 'f', 'a miss');
$second->query_safe(q{SELECT cache_delete('missed')});
is($first->query_safe(q{SELECT cache_set_text('missed', 'old')}), 'f', 'after which somebody has deleted');
is( ask(q{BEGIN; SELECT cache_clear() > 0; SELECT count(*) FROM cache_get_many_text('{held, once}'); COMMIT; SELECT count(*) FROM cache_keys()}),
	"t\n0\n0", 'everything');
is( ask(q{SELECT cache_set_text('a', '1'), cache_set_text('b', '1'); BEGIN; SELECT cache_delete_matching('a%'); COMMIT; SELECT cache_get_text('a'), cache_get_text('b')}),
	"t|t\n1\n|1", 'a pattern');

note 'promotion while transactions run';

ask(q{SELECT cache_clear(); SELECT cache_set_text('row', value, tags => ARRAY['rows']) FROM t WHERE id = 1;
	SELECT cache_set_text('plain', 'of the standby')});
my $version = ask(q{SELECT version FROM cache_entry('missed again')});
my $snapshot = session();
$snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($snapshot->query_safe(q{SELECT value, cache_get_text('row') FROM t WHERE id = 1}), 'new|new', 'a snapshot of before the promotion');
my $holder = session();
$holder->query_safe('BEGIN');
$holder->query_safe(q{SELECT cache_set_text('row', value) FROM t WHERE id = 1});
$holder->query_safe(q{SELECT cache_set_text('held', value) FROM t WHERE id = 2});
my $misser = session();
$misser->query_safe(q{SELECT cache_get_text('missed')});
my $deleter = session();
$deleter->query_safe('BEGIN');
$deleter->query_safe(q{SELECT cache_delete('plain'), cache_invalidate('{rows}')});

$standby->promote;
is(ask('SELECT pg_is_in_recovery()'), 'f', 'it is a primary now');
is(ask(q{SELECT count(*) FROM cache_keys()}), 0, 'the cache is empty');
is(ask(q{SELECT exact FROM cache_stats WHERE database = 'postgres'}), 't', 'and exact');
is(ask(q{UPDATE t SET value = 'newer' WHERE id = 1; SELECT cache_delete('row');
	SELECT cache_set_text('row', value, tags => ARRAY['rows']) FROM t WHERE id = 1}), "f\nt", 'a change, and a fill after it');
is(ask(q{SELECT cache_set_text('plain', 'of the primary')}), 't', 'and another one');
is($snapshot->query_safe(q{SELECT value, cache_get_text('row'), cache_get_text('plain') FROM t WHERE id = 1}), 'new||', 'the snapshot of before reads nothing newer');
is($snapshot->query_safe(q{SELECT cache_set_text('row', value) FROM t WHERE id = 1}), 'f', 'and cannot be filled from');
$snapshot->query_safe('COMMIT');
is($snapshot->query_safe(q{SELECT value, cache_get_text('row') FROM t WHERE id = 1}), 'newer|newer', 'the next one reads it');
is($misser->query_safe(q{SELECT cache_set_text('missed', 'old')}), 'f', 'a miss of before gives no set');
is(ask("SELECT cache_set_text('missed again', 'old', if_version => $version)"), 'f', 'nor does its version');
$holder->query_safe('COMMIT');
is(ask(q{SELECT value, cache_get_text('row'), cache_get_text('held') FROM t WHERE id = 1}), 'newer||', 'what was held before is not published, and ends what stands there');
$deleter->query_safe('COMMIT');
is(ask(q{SELECT cache_get_text('plain'), cache_get_text('row')}), '|', 'a deletion of before takes effect');

note 'after it';

is(ask(q{SELECT cache_set_text('row', value, tags => ARRAY['rows']) FROM t WHERE id = 1}), 't', 'a fill');
$first->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($first->query_safe(q{SELECT value, cache_get_text('row') FROM t WHERE id = 1}), 'newer|newer', 'a snapshot of after the promotion');
ask(q{BEGIN; UPDATE t SET value = 'newest' WHERE id = 1; SELECT cache_invalidate('{rows}'); COMMIT});
is(ask(q{SELECT value, cache_get_text('row') FROM t WHERE id = 1}), 'newest|', 'invalidations are exact');
is($first->query_safe(q{SELECT cache_set_text('row', value, tags => ARRAY['rows']) FROM t WHERE id = 1}), 'f', 'and refuse what is older');
$first->query_safe('COMMIT');
ask(q{BEGIN; UPDATE t SET value = 'prepared' WHERE id = 1; SELECT cache_delete('row'); PREPARE TRANSACTION 'p'});
is(ask(q{SELECT cache_set_text('row', value) FROM t WHERE id = 1; SELECT cache_get_text('row')}), "t\nnewest", 'prepared transactions work');
ask(q{COMMIT PREPARED 'p'});
is(ask(q{SELECT value, cache_get_text('row') FROM t WHERE id = 1}), 'prepared|', 'and are exact');
$_->quit for ($first, $second, $snapshot, $holder, $misser, $deleter);

note 'a transaction that was prepared on the primary before the promotion';

$primary->stop;
my $copy = PostgreSQL::Test::Cluster->new('second_standby');
$standby->backup('base');
$copy->init_from_backup($standby, 'base', has_streaming => 1);
$copy->start;
$standby->safe_psql('postgres', q{BEGIN; UPDATE t SET value = 'over the promotion' WHERE id = 1; SELECT cache_delete('row'); PREPARE TRANSACTION 'p'});
$standby->wait_for_catchup($copy);
$copy->safe_psql('postgres', q{SELECT cache_set_text('row', value) FROM t WHERE id = 1});
$copy->promote;
is($copy->safe_psql('postgres', q{SELECT value, cache_get_text('row') FROM t WHERE id = 1}), 'prepared|', 'the cache is empty');
$copy->safe_psql('postgres', q{SELECT cache_set_text('row', value) FROM t WHERE id = 1});
$copy->safe_psql('postgres', q{COMMIT PREPARED 'p'});
is($copy->safe_psql('postgres', q{SELECT value, cache_get_text('row') FROM t WHERE id = 1}), 'over the promotion|', 'its COMMIT PREPARED ends what was filled before');
is($copy->safe_psql('postgres', q{SELECT cache_set_text('row', value) FROM t WHERE id = 1; SELECT value, cache_get_text('row') FROM t WHERE id = 1}), "t\nover the promotion|over the promotion", 'and fills are hit after it');

done_testing();

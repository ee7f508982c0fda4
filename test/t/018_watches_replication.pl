# Watches where rows come from another server: the subscriber of a logical replication; a standby and its promotion.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = new_server('publisher', allows_streaming => 'logical', conf => "max_prepared_transactions = 10\nlogical_decoding_work_mem = '64kB'");
my $subscriber = new_server('subscriber', conf => "pgcache.memory = 1GB\nmax_prepared_transactions = 10\nmax_logical_replication_workers = 8\nmax_worker_processes = 16");
preload($publisher, '');
$_->start for ($publisher, $subscriber);

sub ask { return $subscriber->safe_psql('postgres', $_[0]); }
sub publish { return $publisher->safe_psql('postgres', $_[0]); }

# The subscriber's tables have their columns at other places, and more of them; "parted" is a table there and a tree here,
# "leaves" a tree there and a table here.
publish(q{
	CREATE TABLE items (id int PRIMARY KEY, kind text, name text);
	CREATE TABLE whole (id int, kind text, name text); ALTER TABLE whole REPLICA IDENTITY FULL;
	CREATE TABLE parted (id int, kind text, name text, PRIMARY KEY (id, kind));
	CREATE TABLE leaves (id int, kind text, name text, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
	CREATE TABLE leaves_a PARTITION OF leaves FOR VALUES IN ('a'); CREATE TABLE leaves_rest PARTITION OF leaves DEFAULT;
	CREATE TABLE base (id int PRIMARY KEY, kind text, name text);
	INSERT INTO items VALUES (1, 'a'), (2, 'b'); INSERT INTO whole VALUES (1, 'a'); INSERT INTO parted VALUES (1, 'a'), (2, 'b'); INSERT INTO leaves VALUES (1, 'a');
	CREATE PUBLICATION pub FOR TABLE items, whole, parted, base;
	CREATE PUBLICATION roots FOR TABLE leaves WITH (publish_via_partition_root)});
ask(q{
	CREATE EXTENSION pgcache;
	CREATE TABLE items (junk int, name text, own timestamptz DEFAULT now(), kind text, junk2 int, id int PRIMARY KEY); ALTER TABLE items DROP COLUMN junk, DROP COLUMN junk2;
	CREATE TABLE whole (kind text, name text, id int);
	CREATE TABLE parted (junk int, id int, kind text, name text) PARTITION BY LIST (kind); ALTER TABLE parted DROP COLUMN junk;
	CREATE TABLE parted_a (name text, kind text NOT NULL, x int, id int NOT NULL); ALTER TABLE parted_a DROP COLUMN x; ALTER TABLE parted ATTACH PARTITION parted_a FOR VALUES IN ('a');
	CREATE TABLE parted_rest PARTITION OF parted DEFAULT PARTITION BY RANGE (id);
	CREATE TABLE parted_low PARTITION OF parted_rest FOR VALUES FROM (1) TO (10); CREATE TABLE parted_high PARTITION OF parted_rest DEFAULT;
	ALTER TABLE parted ADD PRIMARY KEY (id, kind);
	CREATE TABLE leaves (name text, kind text, id int, PRIMARY KEY (id, kind));
	CREATE TABLE mother (id int, kind text); CREATE TABLE base (name text, PRIMARY KEY (id)) INHERITS (mother);
	SELECT cache_watch('items', 'items:{id}:{kind}', ARRAY['items/{kind}']), cache_watch('whole', 'whole:{id}:{kind}', ARRAY['whole/{kind}']),
		cache_watch('parted', 'parted:{id}:{kind}', ARRAY['parted/{kind}']), cache_watch('leaves', 'leaves:{id}:{kind}', ARRAY['leaves/{kind}']),
		cache_watch('mother', 'base:{id}:{kind}', ARRAY['base/{kind}']);
	CREATE FUNCTION fill(prefix text) RETURNS void LANGUAGE sql AS $$
		SELECT cache_set_text(format('%s:%s:%s', prefix, id, kind), 'x', '1 day', immediate => true) FROM generate_series(1, 20) id, unnest('{a,b,c,d}'::text[]) kind;
		SELECT cache_set_text(format('%s with %s', prefix, kind), 'x', '1 day', tags => ARRAY[format('%s/%s', prefix, kind)], immediate => true) FROM unnest('{a,b,c,d}'::text[]) kind;
		SELECT cache_set_text('unrelated', 'x', '1 day', immediate => true);
	$$;
	CREATE FUNCTION gone(prefix text) RETURNS text LANGUAGE sql AS $$
		WITH gone AS MATERIALIZED (SELECT id, kind FROM generate_series(1, 20) id, unnest('{a,b,c,d}'::text[]) kind WHERE NOT cache_exists(format('%s:%s:%s', prefix, id, kind)))
		SELECT CASE WHEN (SELECT count(*) FROM gone) = 80 AND NOT cache_exists('unrelated') THEN 'everything'
			ELSE concat_ws(' ', (SELECT string_agg(id || kind, ' ' ORDER BY id, kind) FROM gone),
				(SELECT string_agg('tag ' || kind || ' stays', ' ') FROM (SELECT DISTINCT kind FROM gone) g WHERE cache_exists(format('%s with %s', prefix, kind))),
				CASE WHEN NOT cache_exists('unrelated') THEN 'unrelated' END) END
	$$});

# What a change on the publisher ends on the subscriber.
sub changes {
	my ($name, $prefix, $sql, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask("SELECT fill('$prefix')");
	publish($sql);
	$publisher->wait_for_catchup('sub');
	is(ask("SELECT gone('$prefix')"), $expected, $name);
	return;
}

note 'the initial copy';

my $tables = 'items, whole, parted, leaves, base';
ask("SELECT fill('$_')") for split /, /, $tables;
my $connection = $publisher->connstr . ' dbname=postgres';
ask("CREATE SUBSCRIPTION sub CONNECTION '$connection' PUBLICATION pub, roots");
$subscriber->wait_for_subscription_sync($publisher, 'sub');
is(ask('SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM whole), (SELECT count(*) FROM parted), (SELECT count(*) FROM leaves)'), '2|1|2|1', 'brings the rows');
is(ask(q{SELECT gone('items'), gone('whole'), gone('parted'), gone('leaves'), gone('base')}), '1a 2b|1a|1a 2b|1a|', 'and invalidates what they name, nothing else');

note 'rows';

for my $table (qw(items whole leaves base)) {
	publish("TRUNCATE $table");
	$publisher->wait_for_catchup('sub');
	changes("$table: insert", $table, "INSERT INTO $table VALUES (1, 'a'), (2, 'b'), (3, 'c')", '1a 2b 3c');
	changes("$table: update", $table, "UPDATE $table SET name = 'x' WHERE id = 1", '1a');
	changes("$table: update of what the templates name", $table, "UPDATE $table SET kind = 'd' WHERE id = 2", '2b 2d');
	changes("$table: update of the key", $table, "UPDATE $table SET id = 9 WHERE id = 3", '3c 9c');
	changes("$table: delete", $table, "DELETE FROM $table WHERE id = 1", '1a');
	changes("$table: several statements in a transaction", $table, "BEGIN; INSERT INTO $table VALUES (4, 'a'); UPDATE $table SET kind = 'b' WHERE id = 4; DELETE FROM $table WHERE id = 4; INSERT INTO $table VALUES (5, 'd'); COMMIT", '4a 4b 5d');
	changes("$table: rolled back", $table, "BEGIN; INSERT INTO $table VALUES (6, 'a'); TRUNCATE $table; ROLLBACK", '');
	changes("$table: a savepoint rolled back", $table, "BEGIN; INSERT INTO $table VALUES (6, 'a'); SAVEPOINT s; INSERT INTO $table VALUES (7, 'b'); ROLLBACK TO s; COMMIT", '6a');
	changes("$table: COPY", $table, "COPY $table (id, kind) FROM stdin (DELIMITER ',');\n10,a\n11,b\n\\.\n", '10a 11b');
	changes("$table: TRUNCATE", $table, "TRUNCATE $table", 'everything');
}
changes('a tree: insert', 'parted', q{INSERT INTO parted VALUES (3, 'a'), (4, 'c'), (14, 'd')}, '3a 4c 14d');
changes('a tree: update', 'parted', q{UPDATE parted SET name = 'x' WHERE id IN (3, 4)}, '3a 4c');
changes('a tree: a row moves', 'parted', q{UPDATE parted SET kind = 'b' WHERE id = 3}, '3a 3b');
changes('a tree: a row moves within a partition', 'parted', q{UPDATE parted SET id = 15 WHERE id = 3}, '3b 15b');
changes('a tree: delete', 'parted', q{DELETE FROM parted WHERE id IN (4, 15)}, '4c 15b');
changes('a tree: TRUNCATE', 'parted', q{TRUNCATE parted}, 'everything');
ask(q{CREATE TABLE parted_c (id int NOT NULL, name text, kind text NOT NULL, PRIMARY KEY (id, kind)); ALTER TABLE parted ATTACH PARTITION parted_c FOR VALUES IN ('c')});
changes('a tree: a partition attached later', 'parted', q{INSERT INTO parted VALUES (5, 'c'), (5, 'a')}, '5a 5c');
ask(q{CREATE TABLE parted_e PARTITION OF parted_rest FOR VALUES FROM (18) TO (20)});
changes('a tree: a partition created later', 'parted', q{INSERT INTO parted VALUES (18, 'd'); UPDATE parted SET id = 19 WHERE id = 18; UPDATE parted SET kind = 'c' WHERE id = 19}, '18d 19c 19d');
ask(q{ALTER TABLE items RENAME COLUMN own TO owned});
changes('after DDL on the subscriber', 'items', q{INSERT INTO items VALUES (7, 'a')}, '7a');

note 'exactly at the commit';

# What is cached is what the rows are, or nothing.
my $seen = q{SELECT string_agg(kind, '' ORDER BY kind), cache_get_text('items:1:') FROM items WHERE id = 1};

sub exact_until {
	my ($name, $prepare, $apply, $expected) = @_;
	publish(q{DELETE FROM items; INSERT INTO items VALUES (1, 'b')});
	$publisher->wait_for_catchup('sub');
	ask(q{SELECT cache_unwatch(id) FROM cache_watches WHERE key = 'items:{id}:'; SELECT cache_watch('items', 'items:{id}:')});
	is(ask(q{SELECT cache_set_text('items:1:', kind, '1 day') FROM items WHERE id = 1}), 't', "$name: filled");
	my $reader = $subscriber->background_psql('postgres');
	$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($reader->query_safe($seen), 'b|b', "$name: a snapshot of before");
	# Who holds a row keeps the apply worker in the middle of its transaction.
	my $holder = $subscriber->background_psql('postgres');
	$holder->query_safe('BEGIN');
	$holder->query_safe(q{INSERT INTO items (id, kind) VALUES (2, 'z')});
	publish("$prepare; UPDATE items SET kind = 'c' WHERE id = 1; INSERT INTO items VALUES (2, 'c'); $apply");
	$subscriber->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type ~ '^logical replication (apply )?worker$' AND wait_event_type = 'Lock'}) or die 'the apply worker does not wait';
	is(ask($seen), 'b|b', "$name: until the commit the old entry stands beside the old row");
	$holder->query_safe('ROLLBACK');
	$publisher->wait_for_catchup('sub');
	is(ask($seen), $expected, "$name: after it nothing old is read");
	like($reader->query_safe($seen), qr/^b\|b?$/, "$name: nor anything new under the old snapshot");
	$reader->query_safe('COMMIT');
	$_->quit for ($reader, $holder);
	return;
}
exact_until('COMMIT', 'BEGIN', 'COMMIT', 'c|');
exact_until('a large transaction', q{BEGIN; INSERT INTO whole SELECT i, repeat('x', 100) FROM generate_series(1000, 3000) i}, 'COMMIT', 'c|');

note 'streamed, and in two phases';

ask('ALTER SUBSCRIPTION sub DISABLE');
$subscriber->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type ~ '^logical replication (apply )?worker$'}) or die;
ask('DROP SUBSCRIPTION sub');
ask("TRUNCATE $tables");
publish("TRUNCATE $tables");
ask("CREATE SUBSCRIPTION sub CONNECTION '$connection' PUBLICATION pub, roots WITH (streaming = on, two_phase = on)");
$subscriber->wait_for_subscription_sync($publisher, 'sub');
$subscriber->poll_query_until('postgres', q{SELECT subtwophasestate = 'e' FROM pg_subscription}) or die;
exact_until('streamed', q{BEGIN; INSERT INTO whole SELECT i, repeat('x', 100) FROM generate_series(1000, 3000) i}, 'COMMIT', 'c|');
changes('streamed, with what is rolled back', 'parted', q{BEGIN; INSERT INTO whole SELECT i, repeat('x', 100) FROM generate_series(5000, 6000) i; INSERT INTO parted VALUES (1, 'a'); SAVEPOINT s;
	INSERT INTO parted VALUES (1, 'b'); INSERT INTO whole SELECT i, repeat('x', 100) FROM generate_series(7000, 8000) i; ROLLBACK TO s; INSERT INTO parted VALUES (1, 'c'); COMMIT}, '1a 1c');
changes('prepared', 'parted', q{BEGIN; INSERT INTO parted VALUES (2, 'a'); UPDATE parted SET kind = 'd' WHERE id = 1 AND kind = 'a'; PREPARE TRANSACTION 'two'}, '');
is(ask('SELECT count(*) FROM pg_prepared_xacts'), 1, 'it is prepared on the subscriber');
# It ends whatever shares a slot of memory with what it has changed.
ask(q{SELECT fill('parted')});
publish(q{COMMIT PREPARED 'two'});
$publisher->wait_for_catchup('sub');
like(ask(q{SELECT gone('parted')}), qr/\b1a\b.*\b1d\b.*\b2a\b/, 'COMMIT PREPARED');
changes('prepared again', 'parted', q{BEGIN; INSERT INTO parted VALUES (3, 'a'); PREPARE TRANSACTION 'two'}, '');
changes('ROLLBACK PREPARED', 'parted', q{ROLLBACK PREPARED 'two'}, '');

note 'materialized views over replicated tables';

# The outcome of a round of the subscriber's view, and whether it has the table's rows then.
sub round_of_view {
	my $done = q{SELECT count(*) FROM matview_history WHERE outcome <> 'running'};
	my $before = ask($done);
	ask(q{UPDATE pgcache.matview_states SET next_run = now(); SELECT pgcache.notify_scheduler()});
	$subscriber->poll_query_until('postgres', "SELECT ($done) > $before") or die 'no round';
	return ask(q{SELECT (SELECT outcome FROM matview_history ORDER BY id DESC LIMIT 1), (SELECT count FROM counted) = (SELECT count(*) FROM parted)});
}
ask(q{SET client_min_messages = error; CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM parted; SELECT matview_schedule('counted', every => '10000 days')});
$subscriber->poll_query_until('postgres', q{SELECT count(*) = 1 FROM matview_history WHERE outcome = 'refreshed'}) or die;
is(round_of_view(), 'unchanged|t', 'nothing has come');
publish(q{INSERT INTO parted VALUES (50, 'a')});
$publisher->wait_for_catchup('sub');
is(round_of_view(), 'refreshed|t', 'a row has come');
is(round_of_view(), 'unchanged|t', 'and no more');
publish(q{BEGIN; INSERT INTO parted VALUES (51, 'a'); PREPARE TRANSACTION 'three'});
$publisher->wait_for_catchup('sub');
is(ask('SELECT count(*) FROM pg_prepared_xacts'), 1, 'one is prepared');
is(round_of_view(), 'refreshed|t', 'as long as it is, nobody can tell');
publish(q{COMMIT PREPARED 'three'});
$publisher->wait_for_catchup('sub');
is(ask('SELECT count(*) FROM pg_prepared_xacts'), 0, 'it is committed');
is(round_of_view(), 'refreshed|t', 'its row has come');
is(round_of_view(), 'unchanged|t', 'and no more');
publish(q{BEGIN; INSERT INTO parted VALUES (52, 'a'); PREPARE TRANSACTION 'four'});
$publisher->wait_for_catchup('sub');
publish(q{COMMIT PREPARED 'four'});
$publisher->wait_for_catchup('sub');
is(round_of_view(), 'refreshed|t', 'prepared and committed between two rounds');
publish(q{BEGIN; INSERT INTO parted VALUES (4, 'a'); PREPARE TRANSACTION 'two'});
$publisher->wait_for_catchup('sub');
$subscriber->restart;
changes('COMMIT PREPARED after a restart of the subscriber', 'parted', q{COMMIT PREPARED 'two'}, 'everything');

note 'the subscriber\'s own writes, and none';

ask("SELECT fill('items')");
ask(q{INSERT INTO items (id, kind) VALUES (15, 'a')});
is(ask(q{SELECT gone('items')}), '15a', 'a write of a session there');
ask('ALTER TABLE items DISABLE TRIGGER ALL');
changes('a table whose triggers are off', 'items', q{INSERT INTO items VALUES (16, 'a')}, '');
like(ask(q{SELECT detail FROM pgcache.check() WHERE item = 'watches' AND NOT ok}), qr/disabled/, 'which the check tells');
ask('SELECT pgcache.repair_watches()');
changes('and on again', 'items', q{INSERT INTO items VALUES (17, 'a')}, '17a');
preload($subscriber, '');
$subscriber->restart;
publish(q{INSERT INTO items VALUES (18, 'a'); INSERT INTO parted VALUES (18, 'a'); TRUNCATE leaves; DELETE FROM items WHERE id = 17});
$publisher->wait_for_catchup('sub');
is(ask(q{SELECT (SELECT count(*) FROM items WHERE id = 18), (SELECT count(*) FROM parted WHERE id = 18 AND kind = 'a'), (SELECT count(*) FROM items WHERE id = 17)}), '1|1|0', 'without pgcache in memory rows come all the same');
preload($subscriber, 'pgcache');
$subscriber->restart;
changes('with it again', 'items', q{INSERT INTO items VALUES (19, 'a')}, '19a');
is(ask('SELECT count(*) FROM pgcache.watch_problems()'), 0, 'every watch is whole');
ask('DROP SUBSCRIPTION sub');
$_->stop for ($publisher, $subscriber);

note 'a standby';

my $primary = new_server('primary', allows_streaming => 1, conf => "max_connections = 20\npgcache.memory = 1GB\nmax_prepared_transactions = 10");
$primary->start;
$primary->safe_psql('postgres', q{CREATE EXTENSION pgcache; CREATE ROLE app LOGIN; SELECT pgcache.grant_to('app');
	CREATE TABLE t (id int PRIMARY KEY, value text); CREATE TABLE tree (id int, value text) PARTITION BY RANGE (id); CREATE TABLE tree_1 PARTITION OF tree FOR VALUES FROM (1) TO (10);
	INSERT INTO t VALUES (1, 'old'); INSERT INTO tree VALUES (1, 'old'); SELECT cache_watch('t', 't:{id}', ARRAY['ts']), cache_watch('tree', 'tree:{id}')});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

sub there { return $standby->safe_psql('postgres', $_[0]); }
sub error_there {
	my ($status, $output, $error) = $standby->psql('postgres', $_[0], extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	return $error =~ /ERROR:  (\w+)/ ? $1 : $output;
}
my $watches = q{SELECT id, relation, key, tags, problem FROM cache_watches ORDER BY id};
is(there($watches), $primary->safe_psql('postgres', $watches), 'the watches are there');
is(there('SELECT count(*) FROM pgcache.check() WHERE NOT ok'), 0, 'the check finds nothing');
like(error_there(q{SELECT cache_watch('t', 'x:{id}')}), qr{^(?:25006|55000)$}, 'none can be made');
like(error_there('SELECT cache_unwatch(id) FROM cache_watches LIMIT 1'), qr/^(?:25006|55000)$/, 'or ended');
like(error_there('SELECT pgcache.repair_watches()'), qr{^(?:25006|55000)$}, 'nor repaired');
is(there(q{SELECT cache_set_text('t:1', value, '1 day', tags => '{ts}') FROM t WHERE id = 1; SELECT cache_get_text('t:1')}), "t\nold", 'an entry of the standby');
$primary->safe_psql('postgres', q{UPDATE t SET value = 'new'; DELETE FROM tree; TRUNCATE tree; CREATE TABLE tree_2 PARTITION OF tree FOR VALUES FROM (10) TO (20); INSERT INTO tree VALUES (11, 'new');
	BEGIN; INSERT INTO t VALUES (2, 'prepared'); PREPARE TRANSACTION 'over'});
$primary->wait_for_catchup($standby);
is(there(q{SELECT value, cache_get_text('t:1') FROM t WHERE id = 1}), 'new|old', 'a change on the primary ends nothing there, as is documented');
is(there(q{SELECT count(*) FROM pgcache.watch_triggers() WHERE relation = 'tree_2'::regclass}), 5, 'a partition made on the primary has its triggers there');
my $session = $standby->background_psql('postgres');
is($session->query_safe(q{SELECT cache_get_text('t:1')}), 'old', 'a session of before the promotion');

$primary->stop;
$standby->promote;
is($session->query_safe(q{SELECT value, cache_get_text('t:1') FROM t WHERE id = 1}), 'new|', 'the promotion empties the cache');
is(there(q{SELECT cache_set_text('t:1', value, '1 day', tags => '{ts}') FROM t WHERE id = 1; SELECT cache_set_text('tree:11', 'x', '1 day'), cache_set_text('t:2', 'x', '1 day'), cache_set_text('unrelated', 'x', '1 day')}), "t\nt|t|t", 'it is filled');
is($session->query_safe(q{UPDATE t SET value = 'newer' WHERE id = 1; SELECT cache_get_text('t:1')}), '', 'a write of that session invalidates');
is(there(q{SELECT cache_exists('tree:11'), cache_exists('unrelated')}), 't|t', 'exactly');
is(there(q{UPDATE tree_2 SET value = 'newest'; SELECT cache_exists('tree:11'), cache_exists('unrelated')}), 'f|t', 'one to a partition too');
ok(there(q{COMMIT PREPARED 'over'; SELECT NOT cache_exists('t:2')}) eq 't', 'what was prepared on the primary and is committed here leaves nothing old');
is(there(q{SELECT cache_watch('t', 't:{id}', ARRAY['ts']) = (SELECT id FROM cache_watches WHERE relation = 't'::regclass)}), 't', 'the same watch is the one that is there');
is(there(q{SELECT cache_watch('t', 'other:{id}') > (SELECT max(id) FROM cache_watches WHERE key <> 'other:{id}')}), 't', 'a new one has a new id');
is(there(q{CREATE TABLE tree_3 PARTITION OF tree FOR VALUES FROM (20) TO (30); SELECT count(*) FROM pgcache.watch_problems()}), 0, 'partitions are watched');
is(there(q{SELECT bool_and(cache_unwatch(id)) FROM (SELECT id FROM cache_watches) w}), 't', 'and all can be ended');
$session->quit;

done_testing();

# Watched tables in a server: trees of partitions and of tables that inherit, foreign keys, sessions beside each other,
# who may do what, names that want to be quoted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

# So much memory, so many slots: two tags seldom share one, and end together.
my $server = new_server('watches', conf => "pgcache.memory = 1GB\nmax_prepared_transactions = 10");
$server->start;

sub ask { return $server->safe_psql('postgres', $_[0]); }
sub session { return $server->background_psql('postgres', on_error_stop => 0); }

# The result, or the SQLSTATE of the first error.
sub outcome {
	my ($role, $sql) = @_;
	my ($status, $output, $error) =
	  $server->psql('postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=sqlstate' ], on_error_stop => 1);
	return $error =~ /ERROR:  (\w+)/ ? $1 : $output;
}

my $superuser = $server->safe_psql('postgres', 'SELECT current_user');

# fill() stores an entry for each id and kind, one for each kind's tag, and one that no watch names. gone() lists those
# of them that are gone; a tagged entry that stays where its key went is listed as well.
ask(q{
	CREATE EXTENSION pgcache;
	CREATE FUNCTION fill(prefix text) RETURNS void LANGUAGE sql AS $$
		SELECT cache_set_text(format('%s:%s:%s', prefix, id, kind), 'x', '1 day', immediate => true)
		FROM generate_series(1, 20) id, unnest('{a,b,c,d}'::text[]) kind;
		SELECT cache_set_text(format('%s with %s', prefix, kind), 'x', '1 day', tags => ARRAY[format('%s/%s', prefix, kind)], immediate => true)
		FROM unnest('{a,b,c,d}'::text[]) kind;
		SELECT cache_set_text('unrelated', 'x', '1 day', immediate => true);
	$$;
	CREATE FUNCTION gone(prefix text) RETURNS text LANGUAGE sql AS $$
		WITH gone AS MATERIALIZED (
			SELECT id, kind FROM generate_series(1, 20) id, unnest('{a,b,c,d}'::text[]) kind
			WHERE NOT cache_exists(format('%s:%s:%s', prefix, id, kind)))
		SELECT CASE WHEN (SELECT count(*) FROM gone) = 80 AND NOT cache_exists('unrelated') THEN 'everything'
			ELSE concat_ws(' ', (SELECT string_agg(id || kind, ' ' ORDER BY id, kind) FROM gone),
				(SELECT string_agg('tag ' || kind || ' stays', ' ') FROM (SELECT DISTINCT kind FROM gone) g WHERE cache_exists(format('%s with %s', prefix, kind))),
				CASE WHEN NOT cache_exists('unrelated') THEN 'unrelated' END) END
	$$;
	CREATE FUNCTION triggers_of(relation regclass) RETURNS bigint LANGUAGE sql AS
		'SELECT count(*) FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal'});

sub problems { return ask(q{SELECT string_agg(problem, '; ' ORDER BY problem) FROM pgcache.watch_problems()}); }

# What statements of their own session end, and that each watch is complete after them.
sub changes {
	my ($name, $prefix, $sql, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask("SELECT fill('$prefix')");
	ask($sql);
	is(ask("SELECT gone('$prefix')"), $expected, $name);
	is(problems(), '', "$name: every watch is whole");
	return;
}

sub watch {
	my ($relation, $prefix) = @_;
	return ask("SELECT cache_watch('$relation', '$prefix:{id}:{kind}', ARRAY['$prefix/{kind}'])");
}

# Sends statements to a session and returns when they wait for a lock.
sub send_blocked {
	my ($session, $sql) = @_;
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/begun/, "\\echo begun\n$sql;\n\\echo ended\n");
	$server->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid") or die "does not wait: $sql";
	return;
}

# Waits for what was sent; its errors.
sub wait_for_sent {
	my ($session) = @_;
	eval { $session->query_until(qr/ended/, '') };
	my $error = $session->{stderr};
	$session->{stderr} = '';
	$error =~ s/^.*NOTICE:  .*\n//mg;
	$server->poll_query_until('postgres', 'SELECT true') if $error =~ /connection to server was lost/;
	return $error;
}

note 'partitions';

ask(q{
	CREATE TABLE items (junk int, id int, junk2 text, kind text, name text) PARTITION BY RANGE (id);
	ALTER TABLE items DROP COLUMN junk, DROP COLUMN junk2;
	CREATE TABLE low (name text, kind text, was int, id int);
	ALTER TABLE low DROP COLUMN was;
	ALTER TABLE items ATTACH PARTITION low FOR VALUES FROM (1) TO (5);
	CREATE TABLE mid (a int, b int, c int, kind text, name text, id int) PARTITION BY LIST (kind);
	ALTER TABLE mid DROP COLUMN a, DROP COLUMN b, DROP COLUMN c;
	CREATE TABLE mid_a (id int, name text, x int, kind text);
	ALTER TABLE mid_a DROP COLUMN x;
	ALTER TABLE mid ATTACH PARTITION mid_a FOR VALUES IN ('a');
	CREATE TABLE mid_rest PARTITION OF mid DEFAULT;
	ALTER TABLE items ATTACH PARTITION mid FOR VALUES FROM (5) TO (9);
	CREATE TABLE rest PARTITION OF items DEFAULT});
my $items = watch('items', 'i');
is(ask(q{SELECT string_agg(c || ' ' || triggers_of(c), ', ') FROM unnest('{items,low,mid,mid_a,mid_rest,rest}'::regclass[]) c}),
	'items 4, low 5, mid 4, mid_a 5, mid_rest 5, rest 5', 'each table of the tree has the triggers');
is(ask(q{SELECT count(*) FROM cache_watches}), 1, 'which are one watch');

changes('insert through the parent', 'i', q{INSERT INTO items VALUES (1, 'a'), (5, 'a'), (6, 'b'), (20, 'c')}, '1a 5a 6b 20c');
changes('update through the parent', 'i', q{UPDATE items SET name = 'x'}, '1a 5a 6b 20c');
changes('update of one', 'i', q{UPDATE items SET name = 'y' WHERE id = 6}, '6b');
changes('delete through the parent', 'i', q{DELETE FROM items WHERE id IN (5, 20)}, '5a 20c');
changes('insert into a partition', 'i', q{INSERT INTO low (id, kind) VALUES (2, 'b'), (3, 'c')}, '2b 3c');
changes('update of a partition', 'i', q{UPDATE low SET kind = 'd' WHERE id = 2}, '2b 2d');
changes('delete from a partition', 'i', q{DELETE FROM low WHERE id = 3}, '3c');
changes('insert into a partition that is partitioned', 'i', q{INSERT INTO mid (id, kind) VALUES (5, 'a'), (7, 'd')}, '5a 7d');
changes('insert into a partition of a partition', 'i', q{INSERT INTO mid_a (id, kind) VALUES (8, 'a')}, '8a');
changes('update of it', 'i', q{UPDATE mid_a SET id = 6 WHERE id = 8}, '6a 8a');
changes('delete from it', 'i', q{DELETE FROM mid_a WHERE id = 6}, '6a');
changes('the default partition', 'i', q{INSERT INTO rest (id, kind) VALUES (19, 'c'); UPDATE rest SET id = 18; DELETE FROM rest}, '18c 19c');
changes('the default partition of a partition', 'i', q{INSERT INTO mid_rest (id, kind) VALUES (8, 'c')}, '8c');
changes('a row moves to another partition', 'i', q{UPDATE items SET id = 20 WHERE id = 1}, '1a 20a');
changes('a row moves to a partition below another', 'i', q{UPDATE items SET id = 8 WHERE id = 20}, '8a 20a');
changes('a row moves within a partition', 'i', q{UPDATE mid SET kind = 'b' WHERE id = 8 AND kind = 'a'}, '8a 8b');
changes('rows move both ways, others stay', 'i', q{UPDATE items SET id = 10 - id WHERE id IN (2, 8)}, '2b 2c 2d 8b 8c 8d');
changes('nothing changes', 'i', q{UPDATE items SET id = 1 WHERE id = 99; DELETE FROM low WHERE false; INSERT INTO mid SELECT * FROM mid WHERE false}, '');
changes('COPY to the parent', 'i', qq{COPY items (id, kind) FROM stdin (DELIMITER ',');\n1,a\n7,a\n17,d\n\\.\n}, '1a 7a 17d');
changes('COPY to a partition', 'i', qq{COPY mid_a (id, kind) FROM stdin (DELIMITER ',');\n6,a\n\\.\n}, '6a');
changes('INSERT SELECT', 'i', q{INSERT INTO items (id, kind) SELECT i, 'd' FROM generate_series(3, 6) i}, '3d 4d 5d 6d');
changes('writable CTEs', 'i', q{WITH d AS (DELETE FROM items WHERE id = 3 RETURNING *), u AS (UPDATE items SET kind = 'c' WHERE id = 4 RETURNING *),
	i AS (INSERT INTO low (id, kind) SELECT 1, kind FROM d RETURNING *) SELECT FROM d, u, i}, '1d 3d 4c 4d');
changes('TRUNCATE of the parent', 'i', q{TRUNCATE items}, 'everything');

note 'ON CONFLICT, MERGE through the parent';

# A unique index of the whole tree must have the partition keys of all levels.
ask(q{ALTER TABLE items ADD UNIQUE (id, kind); INSERT INTO items VALUES (1, 'a'), (5, 'a'), (6, 'b')});
changes('ON CONFLICT DO UPDATE', 'i', q{INSERT INTO items VALUES (1, 'a', 'n'), (2, 'a', 'n'), (5, 'a', 'n'), (8, 'd', 'n') ON CONFLICT (id, kind) DO UPDATE SET name = 'again'}, '1a 2a 5a 8d');
is(ask(q{SELECT string_agg(id || kind || name, ' ' ORDER BY id) FROM items WHERE name IS NOT NULL}), '1aagain 2an 5aagain 8dn', 'some were inserted, some updated');
changes('ON CONFLICT DO NOTHING', 'i', q{INSERT INTO items VALUES (1, 'a'), (3, 'a'), (5, 'a') ON CONFLICT DO NOTHING}, '3a');
changes('MERGE', 'i', q{MERGE INTO items t USING (VALUES (1, 'a', 'delete'), (5, 'a', 'move'), (6, 'b', 'update'), (7, 'c', 'insert'), (2, 'a', 'nothing'), (15, 'd', 'insert')) v(id, kind, what)
	ON t.id = v.id AND t.kind = v.kind
	WHEN MATCHED AND what = 'delete' THEN DELETE
	WHEN MATCHED AND what = 'move' THEN UPDATE SET id = 4
	WHEN MATCHED AND what = 'update' THEN UPDATE SET name = 'merged'
	WHEN MATCHED THEN DO NOTHING
	WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.kind, 'merged')}, 'everything');
is(ask(q{SELECT string_agg(id || kind, ' ' ORDER BY id) FROM items}), '2a 3a 4a 6b 7c 8d 15d', 'as it should');
{
	changes('MERGE into a partition', 'i', q{MERGE INTO mid t USING (VALUES (6), (8)) v(id) ON t.id = v.id
		WHEN MATCHED AND v.id = 6 THEN UPDATE SET kind = 'a' WHEN MATCHED THEN DELETE}, 'everything');
	changes('MERGE that does nothing else than move a row', 'i', q{MERGE INTO items t USING (VALUES (7)) v(id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET kind = 'a'}, 'everything');
}

note 'the partitions change';

changes('a partition created later', 'i', q{CREATE TABLE high PARTITION OF items FOR VALUES FROM (9) TO (12)}, 'everything');
is(ask(q{SELECT triggers_of('high')}), 5, 'it has the triggers');
changes('and is watched', 'i', q{INSERT INTO high VALUES (9, 'a'); INSERT INTO items VALUES (10, 'b')}, '9a 10b');
changes('a partition attached later', 'i', q{CREATE TABLE higher (name text, x int, y int, kind text, id int);
	ALTER TABLE higher DROP COLUMN y; INSERT INTO higher (id, kind) VALUES (12, 'a');
	ALTER TABLE higher DROP COLUMN x; ALTER TABLE items ATTACH PARTITION higher FOR VALUES FROM (12) TO (14)}, 'everything');
changes('is watched', 'i', q{UPDATE higher SET id = 13; INSERT INTO items (id, kind) VALUES (12, 'c')}, '12a 12c 13a');
changes('one with partitions of its own', 'i', q{DELETE FROM rest; CREATE TABLE tree (kind text, id int, name text) PARTITION BY LIST (kind);
	CREATE TABLE tree_ab (x int, id int, name text, kind text); ALTER TABLE tree_ab DROP COLUMN x;
	ALTER TABLE tree ATTACH PARTITION tree_ab FOR VALUES IN ('a', 'b'); CREATE TABLE tree_c PARTITION OF tree FOR VALUES IN ('c') PARTITION BY RANGE (id);
	CREATE TABLE tree_c_15 PARTITION OF tree_c FOR VALUES FROM (15) TO (16); ALTER TABLE items ATTACH PARTITION tree FOR VALUES FROM (14) TO (17)}, 'everything');
is(ask(q{SELECT string_agg(c || ' ' || triggers_of(c), ', ') FROM unnest('{tree,tree_ab,tree_c,tree_c_15}'::regclass[]) c}), 'tree 4, tree_ab 5, tree_c 4, tree_c_15 5', 'all of it');
changes('is watched, on each level', 'i', q{INSERT INTO tree_ab (id, kind) VALUES (14, 'a'); INSERT INTO tree (id, kind) VALUES (16, 'b');
	INSERT INTO tree_c (id, kind) VALUES (15, 'c'); UPDATE tree_c_15 SET name = 'x'; UPDATE items SET id = 1 WHERE id = 14}, '1a 14a 15c 16b');
changes('a partition created on a lower level', 'i', q{CREATE TABLE tree_c_16 PARTITION OF tree_c FOR VALUES FROM (16) TO (17)}, 'everything');
changes('is watched', 'i', q{INSERT INTO tree_c_16 (id, kind) VALUES (16, 'c')}, '16c');
changes('a partition made with its schema', 'i', q{CREATE SCHEMA later CREATE TABLE part PARTITION OF public.items FOR VALUES FROM (17) TO (18)}, 'everything');
changes('and with one that has its owner\'s name', 'i', q{CREATE SCHEMA AUTHORIZATION CURRENT_USER CREATE TABLE part PARTITION OF public.items FOR VALUES FROM (1000) TO (1001)}, 'everything');
ask(q{SET client_min_messages = warning; DO $$ BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', current_user); END $$});
changes('is watched', 'i', q{INSERT INTO later.part (id, kind) VALUES (17, 'a')}, '17a');
changes('a partition made in a function', 'i', q{DO $$ BEGIN EXECUTE 'CREATE TABLE eighteen PARTITION OF items FOR VALUES FROM (18) TO (19)'; END $$}, 'everything');
changes('is watched', 'i', q{INSERT INTO eighteen (id, kind) VALUES (18, 'a')}, '18a');
ask(q{BEGIN; CREATE TABLE undone PARTITION OF items FOR VALUES FROM (19) TO (20); ROLLBACK});
changes('one that is rolled back', 'i', q{BEGIN; CREATE TABLE undone PARTITION OF items FOR VALUES FROM (19) TO (20); ROLLBACK; INSERT INTO items VALUES (19, 'd')}, '19d');
changes('TRUNCATE of a partition', 'i', q{TRUNCATE later.part}, 'everything');
changes('TRUNCATE of a partition of a partition', 'i', q{TRUNCATE mid_a}, 'everything');
changes('DETACH', 'i', q{ALTER TABLE items DETACH PARTITION higher}, 'everything');
is(ask(q{SELECT triggers_of('higher')}), 0, 'takes the triggers away');
changes('what was detached is watched no more', 'i', q{UPDATE higher SET name = 'x'; DELETE FROM higher WHERE id = 13; TRUNCATE higher}, '');
changes('attached again', 'i', q{ALTER TABLE items ATTACH PARTITION higher FOR VALUES FROM (12) TO (14)}, 'everything');
changes('it is', 'i', q{INSERT INTO higher (id, kind) VALUES (13, 'b')}, '13b');
changes('DETACH of a tree', 'i', q{ALTER TABLE items DETACH PARTITION tree}, 'everything');
is(ask(q{SELECT sum(triggers_of(c)) FROM unnest('{tree,tree_ab,tree_c,tree_c_15,tree_c_16}'::regclass[]) c}), 0, 'takes the triggers of all of it');
changes('DETACH on a lower level', 'i', q{ALTER TABLE mid DETACH PARTITION mid_rest}, 'everything');
is(ask(q{SELECT triggers_of('mid_rest')}), 0, 'takes the triggers');
changes('DROP of a partition', 'i', q{DROP TABLE higher}, 'everything');
changes('DROP of the default partition', 'i', q{DROP TABLE rest}, 'everything');
changes('DETACH CONCURRENTLY', 'i', q{ALTER TABLE items DETACH PARTITION high CONCURRENTLY}, 'everything');
is(ask(q{SELECT triggers_of('high')}), 0, 'takes the triggers away');
changes('renamed, moved to another schema', 'i', q{ALTER TABLE low SET SCHEMA later; ALTER TABLE later.low RENAME TO lower}, 'everything');
changes('a partition is watched', 'i', q{INSERT INTO later.lower (id, kind) VALUES (1, 'b')}, '1b');
changes('columns renamed', 'i', q{ALTER TABLE items RENAME COLUMN kind TO sort; ALTER TABLE items RENAME COLUMN id TO number}, 'everything');
is(ask(q{SELECT key, tags FROM cache_watches}), 'i:{number}:{sort}|{"i/{sort}"}', 'are shown by their new names');
changes('and followed in each partition', 'i', q{INSERT INTO items (number, sort) VALUES (2, 'd'), (5, 'a'); UPDATE later.lower SET sort = 'c' WHERE number = 2 AND sort = 'd'; UPDATE mid_a SET number = 6}, '2c 2d 5a 6a');
changes('and in those that come later', 'i', q{CREATE TABLE high2 (sort text, name text, number int); ALTER TABLE items ATTACH PARTITION high2 FOR VALUES FROM (9) TO (12)}, 'everything');
changes('too', 'i', q{INSERT INTO high2 (number, sort) VALUES (9, 'd')}, '9d');
is(outcome($superuser, 'ALTER TABLE items ADD COLUMN extra int; ALTER TABLE items DROP COLUMN extra'), '', 'others may be dropped');
changes('a watch of a column that can go', 'i', q{ALTER TABLE items ADD COLUMN extra int; SELECT cache_watch('items', 'extra:{extra}')}, 'everything');
is(outcome($superuser, 'ALTER TABLE items DROP COLUMN extra'), '2BP01', 'which is refused');
is(outcome($superuser, 'ALTER TABLE items ALTER COLUMN extra TYPE bigint'), '0A000', 'as is another type');
changes('but CASCADE', 'i', 'ALTER TABLE items DROP COLUMN extra CASCADE', 'everything');
is(ask(q{SELECT count(*), count(DISTINCT id) FROM pgcache.watch_triggers()}),
	ask(q{SELECT 4 * (SELECT count(*) FROM pg_partition_tree('items')) + (SELECT count(*) FROM pg_partition_tree('items') WHERE isleaf)}) . '|1', 'leaves no trigger on any of the tables');
changes('and the other watch', 'i', q{INSERT INTO high2 (number, sort) VALUES (10, 'd')}, '10d');
changes('DROP of the tree', 'i', q{DROP TABLE items}, 'everything');
is(ask(q{SELECT count(*) FROM pgcache.watch_triggers()}), 0, 'nothing is left');
changes('a detached one', 'i', q{INSERT INTO high VALUES (9, 'b')}, '');

note 'DETACH CONCURRENTLY that waits for an older reader';

ask(q{CREATE TABLE wide (id int, kind text) PARTITION BY RANGE (id); CREATE TABLE wide_1 PARTITION OF wide FOR VALUES FROM (1) TO (10);
	CREATE TABLE wide_2 PARTITION OF wide FOR VALUES FROM (10) TO (20); INSERT INTO wide VALUES (1, 'a'), (11, 'a')});
watch('wide', 'w');
{
	my $older = session();
	$older->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($older->query_safe('SELECT count(*) FROM wide'), 2, 'a reader holds the table');
	is(ask(q{SELECT cache_set_text('count', count(*)::text) FROM wide}), 't', 'an entry is computed');
	my $detacher = session();
	send_blocked($detacher, 'ALTER TABLE wide DETACH PARTITION wide_2 CONCURRENTLY');
	is(ask(q{SELECT count(*) FROM wide}), 1, 'who comes now sees the rows no more');
	{
		is(ask(q{SELECT coalesce(cache_get_text('count'), count(*)::text) = count(*)::text FROM wide}), 't', 'nor what was computed from them');
	}
	is($older->query_safe(q{SELECT count(*), coalesce(cache_get_text('count'), count(*)::text) = count(*)::text FROM wide}), '2|t', 'the older reader sees both');
	is(ask(q{SELECT cache_set_text('after', count(*)::text) FROM wide}), 't', 'an entry is computed meanwhile');
	is(problems(), '', 'no problem while it waits');
	$older->query_safe('COMMIT');
	is(wait_for_sent($detacher), '', 'it is detached');
	is(ask(q{SELECT coalesce(cache_get_text('count'), '1'), coalesce(cache_get_text('after'), '1'), triggers_of('wide_2')}), '1|1|0', 'nothing old is read after it');
	ask(q{ALTER TABLE wide ATTACH PARTITION wide_2 FOR VALUES FROM (10) TO (20)});

	$older->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$older->query_safe('SELECT count(*) FROM wide');
	my ($status, $output, $error) = $server->psql('postgres', q{SET lock_timeout = 10; ALTER TABLE wide DETACH PARTITION wide_2 CONCURRENTLY});
	like($error, qr/lock timeout/, 'one that is cancelled while it waits');
	is(ask(q{SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = 'wide_2'::regclass}), 't', 'leaves the partition half detached');
	is(problems(), '', 'which is no problem of the watch');
	{
		is(outcome($superuser, q{SET lock_timeout = '1s'; CREATE TABLE elsewhere (id int); CREATE TABLE beside_it () INHERITS (elsewhere); DROP TABLE elsewhere, beside_it}), '', 'a child made elsewhere waits for nobody');
		is(outcome($superuser, q{SET lock_timeout = '1s'; SELECT pgcache.repair_watches()}), '', 'nor a repair');
	}
	is(problems(), '', 'after which there is no problem either');
	$older->query_safe('COMMIT');
	changes('FINALIZE', 'w', 'ALTER TABLE wide DETACH PARTITION wide_2 FINALIZE', 'everything');
	is(ask(q{SELECT triggers_of('wide_2')}), 0, 'takes the triggers away');
	$_->quit for ($older, $detacher);
}
ask('DROP TABLE wide, wide_2');

note 'a watch of a partition, or of a child';

ask(q{CREATE TABLE whole (id int, kind text) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF whole FOR VALUES FROM (1) TO (10);
	CREATE TABLE other_part PARTITION OF whole FOR VALUES FROM (10) TO (21);
	CREATE TABLE mother (id int, kind text); CREATE TABLE daughter () INHERITS (mother)});
for my $tree (['whole', 'part', 'wp'], ['mother', 'daughter', 'md']) {
	my ($parent, $child, $prefix) = @$tree;
	my $refused = outcome($superuser, "SELECT cache_watch('$child', '$prefix:{id}:{kind}', ARRAY['$prefix/{kind}']) > 0");
	is($refused, 't', "$child: it can be watched");
	changes("$child: written itself", $prefix, "INSERT INTO $child VALUES (1, 'a'), (2, 'b')", '1a 2b');
	changes("$child: inserted through its parent", $prefix, "INSERT INTO $parent VALUES (3, 'a')", '3a') if $parent eq 'whole';
	changes("$child: updated through its parent", $prefix, "UPDATE $parent SET kind = 'd' WHERE id = 2", '2b 2d');
	changes("$child: deleted through its parent", $prefix, "DELETE FROM $parent WHERE id = 1", '1a');
	changes("$child: a row moves out of it and into it", $prefix, "UPDATE whole SET id = 12 WHERE id = 2; UPDATE whole SET id = 4 WHERE id = 12", '2d 4d 12d') if $parent eq 'whole';
	changes("$child: truncated through its parent", $prefix, "TRUNCATE $parent", 'everything');
}
ask('DROP TABLE whole; DROP TABLE mother CASCADE');

note 'inheritance';

ask(q{CREATE TABLE base (x int, id int, kind text); ALTER TABLE base DROP COLUMN x;
	CREATE TABLE child (own int) INHERITS (base); CREATE TABLE grandchild (more text) INHERITS (child)});
my $base = watch('base', 'b');
is(ask(q{SELECT triggers_of('base'), triggers_of('child'), triggers_of('grandchild')}), '5|5|5', 'those that are there have the triggers');
changes('writes to the table', 'b', q{INSERT INTO base VALUES (1, 'a')}, '1a');
changes('writes to a child', 'b', q{INSERT INTO child VALUES (2, 'b', 7)}, '2b');
changes('writes to its child', 'b', q{INSERT INTO grandchild VALUES (3, 'c', 7, 'x'), (4, 'c', 7, 'y')}, '3c 4c');
changes('update through the table', 'b', q{UPDATE base SET kind = 'd' WHERE id < 4}, '1a 1d 2b 2d 3c 3d');
changes('update of the middle', 'b', q{UPDATE child SET kind = 'a' WHERE id IN (2, 4)}, '2a 2d 4a 4c');
changes('delete through the table', 'b', q{DELETE FROM base WHERE id = 3}, '3d');
changes('ONLY', 'b', q{UPDATE ONLY base SET kind = 'b'}, '1b 1d');
changes('delete from ONLY', 'b', q{DELETE FROM ONLY base}, '1b');
changes('MERGE', 'b', q{MERGE INTO child t USING (VALUES (2), (9)) v(id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET kind = 'c' WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'd')}, '2a 2c 9d');
changes('a child created later', 'b', q{CREATE TABLE second (kind text, more int, id int) INHERITS (base)}, 'everything');
changes('is watched', 'b', q{INSERT INTO second (id, kind) VALUES (5, 'a'); UPDATE base SET id = 6 WHERE id = 5}, '5a 6a');
changes('INHERIT', 'b', q{CREATE TABLE third (kind text, z int, id int); ALTER TABLE third DROP COLUMN z; INSERT INTO third VALUES ('a', 7);
	CREATE TABLE below_third (kind text, id int); ALTER TABLE below_third INHERIT third; ALTER TABLE third INHERIT base}, 'everything');
changes('is watched, with what is below', 'b', q{UPDATE third SET kind = 'b'; INSERT INTO below_third (kind, id) VALUES ('c', 8); DELETE FROM base WHERE id = 8}, '7a 7b 8c');
changes('NO INHERIT', 'b', q{ALTER TABLE third NO INHERIT base}, 'everything');
is(ask(q{SELECT triggers_of('third'), triggers_of('below_third')}), '0|0', 'takes the triggers away, with those below');
changes('and is watched no more', 'b', q{UPDATE third SET kind = 'c'; INSERT INTO below_third VALUES ('a', 9)}, '');

ask(q{CREATE TABLE aunt (id int, kind text, a int)});
my $aunt = watch('aunt', 'a');
ask(q{CREATE TABLE niece (kind text, b int, id int) INHERITS (base, aunt)});
is(ask(q{SELECT triggers_of('niece')}), 10, 'a child of two has the triggers of both');
changes('and is watched for one', 'b', q{INSERT INTO niece (id, kind) VALUES (10, 'a')}, '10a');
changes('and for the other', 'a', q{UPDATE niece SET kind = 'b' WHERE id = 10}, '10a 10b');
changes('through one parent, for itself', 'b', q{UPDATE base SET kind = 'c' WHERE id = 10}, '10b 10c');
{
	changes('and for the other parent', 'a', q{UPDATE base SET kind = 'd' WHERE id = 10}, '10c 10d');
}
changes('NO INHERIT of one', 'b', q{ALTER TABLE niece NO INHERIT base}, 'everything');
is(ask(q{SELECT triggers_of('niece'), (SELECT string_agg(DISTINCT id::text, ',') FROM pgcache.watch_triggers() WHERE relation = 'niece'::regclass)}), "5|$aunt", 'takes the triggers of that one');
changes('it is watched for the other', 'a', q{DELETE FROM niece WHERE id = 10}, '10d');
changes('both ways in one statement', 'b', q{ALTER TABLE niece NO INHERIT aunt, INHERIT base}, 'everything');
is(ask(q{SELECT string_agg(DISTINCT id::text, ',') FROM pgcache.watch_triggers() WHERE relation = 'niece'::regclass}), $base, 'changes the triggers');
# A diamond: by two ways below the same table.
ask(q{CREATE TABLE left_side () INHERITS (base); CREATE TABLE right_side () INHERITS (base)});
ask(q{SET client_min_messages = warning; CREATE TABLE bottom () INHERITS (left_side, right_side)});
is(ask(q{SELECT triggers_of('bottom')}), 5, 'by two ways below one table: one set of triggers');
ask(q{ALTER TABLE bottom NO INHERIT left_side});
changes('which stay as long as one of them is there', 'b', q{INSERT INTO bottom VALUES (11, 'a')}, '11a');
ask(q{ALTER TABLE bottom NO INHERIT right_side});
is(ask(q{SELECT triggers_of('bottom')}), 0, 'and no longer');
changes('a watch of its own beside', 'b', q{SELECT cache_watch('child', 'own:{own}')}, 'everything');
changes('no parent any more', 'b', q{ALTER TABLE child NO INHERIT base}, 'everything');
is(ask(q{SELECT triggers_of('child'), triggers_of('grandchild'), (SELECT count(*) FROM cache_watches WHERE relation = 'child'::regclass)}), '5|5|1', 'its own watch stays');
is(ask("SELECT cache_unwatch($base), cache_unwatch($base), cache_unwatch($aunt)"), 't|f|t', 'ended');
is(ask(q{SELECT sum(triggers_of(c)) FROM unnest('{base,second,niece,aunt,left_side,right_side}'::regclass[]) c}), 0, 'on all tables');
changes('DROP CASCADE', 'b', q{SET client_min_messages = warning; DROP TABLE base, child, aunt CASCADE; DROP TABLE third, below_third, bottom}, 'everything');

note 'foreign keys';

for my $kind ('plain', 'partitioned') {
	my $by = $kind eq 'plain' ? '' : 'PARTITION BY LIST (kind)';
	ask(qq{CREATE TABLE owners (id int PRIMARY KEY);
		CREATE TABLE cascaded (id int REFERENCES owners ON DELETE CASCADE ON UPDATE CASCADE, kind text) $by;
		CREATE TABLE nulled (id int, kind text REFERENCES kinds ON DELETE SET NULL ON UPDATE SET DEFAULT) $by;
		CREATE TABLE deferred (id int REFERENCES owners ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, kind text) $by} =~ s/CREATE TABLE nulled/CREATE TABLE kinds (kind text PRIMARY KEY);\nCREATE TABLE nulled/r);
	if ($kind eq 'partitioned') {
		ask(qq{CREATE TABLE ${_}_a (kind text, x int, id int); ALTER TABLE ${_}_a DROP COLUMN x; ALTER TABLE $_ ATTACH PARTITION ${_}_a FOR VALUES IN ('a');
			CREATE TABLE ${_}_rest PARTITION OF $_ DEFAULT}) for ('cascaded', 'nulled', 'deferred');
	}
	watch($_, substr($_, 0, 1)) for ('cascaded', 'nulled', 'deferred');
	ask(q{INSERT INTO owners SELECT generate_series(1, 12); INSERT INTO kinds VALUES ('a'), ('b'), ('c');
		INSERT INTO cascaded VALUES (1, 'a'), (1, 'b'), (2, 'a'), (3, 'c'); INSERT INTO nulled VALUES (1, 'a'), (2, 'b'), (3, 'a'), (4, 'c');
		INSERT INTO deferred VALUES (7, 'a'), (7, 'b'), (8, 'c')});
	changes("$kind: ON DELETE CASCADE", 'c', q{DELETE FROM owners WHERE id = 1}, '1a 1b');
	changes("$kind: ON UPDATE CASCADE", 'c', q{UPDATE owners SET id = 13 WHERE id = 2}, '2a 13a');
	changes("$kind: no child", 'c', q{DELETE FROM owners WHERE id = 4}, '');
	changes("$kind: ON DELETE SET NULL", 'n', q{DELETE FROM kinds WHERE kind = 'a'}, '1a 3a');
	is(ask(q{SELECT count(*) FROM nulled WHERE kind IS NULL}), 2, "$kind: it is null");
	changes("$kind: ON UPDATE SET DEFAULT", 'n', q{UPDATE kinds SET kind = 'd' WHERE kind = 'b'}, '2b');
	changes("$kind: several statements in a transaction", 'c', q{BEGIN; DELETE FROM owners WHERE id = 3; ROLLBACK}, '');
	# A constraint that is deferred cascades at the DELETE all the same; what is checked at the commit are its rows.
	changes("$kind: deferrable", 'd', q{BEGIN; DELETE FROM owners WHERE id = 7; COMMIT}, '7a 7b');
	changes("$kind: TRUNCATE CASCADE", 'd', q{SET client_min_messages = warning; TRUNCATE owners CASCADE}, 'everything');
	ask(q{DROP TABLE cascaded, nulled, deferred, owners, kinds});
}

# A change that is made while the commit is under way, by a deferred constraint trigger.
ask(q{CREATE TABLE late (id int, kind text); CREATE TABLE early (id int);
	CREATE FUNCTION write_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO late VALUES (NEW.id, 'a'); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON early DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION write_late()});
watch('late', 'l');
changes('written by a deferred trigger at the commit', 'l', 'INSERT INTO early VALUES (1), (2)', '1a 2a');
changes('after a set in the same transaction', 'l', q{BEGIN; INSERT INTO early VALUES (3); SELECT cache_set_text('l:3:a', 'too early'); COMMIT}, '3a');
changes('by one that is prepared', 'l', q{BEGIN; INSERT INTO early VALUES (4); PREPARE TRANSACTION 'late'; COMMIT PREPARED 'late'}, '4a');

note 'triggers off and on';

my $replica = q{SET session_replication_role = replica};
changes('replica: insert', 'l', "$replica; INSERT INTO late VALUES (5, 'b'), (6, 'c')", '5b 6c');
changes('replica: update', 'l', "$replica; UPDATE late SET kind = 'd' WHERE id = 5", '5b 5d');
changes('replica: delete', 'l', "$replica; DELETE FROM late WHERE id = 6", '6c');
changes('replica: COPY', 'l', "$replica; COPY late FROM stdin (DELIMITER ',');\n9,c\n\\.\n", '9c');
changes('replica: TRUNCATE', 'l', "$replica; TRUNCATE late", 'everything');
changes('local', 'l', q{SET session_replication_role = local; INSERT INTO late VALUES (5, 'b')}, '5b');
ask(q{CREATE TABLE parted (id int, kind text) PARTITION BY LIST (kind); CREATE TABLE parted_a (kind text, id int);
	ALTER TABLE parted ATTACH PARTITION parted_a FOR VALUES IN ('a'); CREATE TABLE parted_b PARTITION OF parted FOR VALUES IN ('b')});
watch('parted', 'p');
changes('replica: through a parent', 'p', "$replica; INSERT INTO parted VALUES (1, 'a'), (2, 'b'); UPDATE parted SET kind = 'b' WHERE id = 1", '1a 1b 2b');
changes('replica: to a partition', 'p', "$replica; INSERT INTO parted_a VALUES ('a', 3)", '3a');
changes('replica: DDL', 'p', "$replica; CREATE TABLE parted_c PARTITION OF parted FOR VALUES IN ('c')", 'everything');
changes('replica: partition created so', 'p', "INSERT INTO parted_c VALUES (4, 'c')", '4c');

sub switch {
	my ($name, $sql, $problem) = @_;
	ask(q{SELECT fill('l')});
	ask($sql);
	is(ask(q{SELECT gone('l')}), 'everything', "$name ends everything");
	like(problems(), $problem, "$name: the problem is told");
	return;
}
switch('DISABLE TRIGGER USER', 'ALTER TABLE late DISABLE TRIGGER USER', qr/late is disabled/);
switch('ENABLE TRIGGER ALL', 'ALTER TABLE late ENABLE TRIGGER ALL', qr/late is not fired on replicas/);
changes('repaired', 'l', 'SELECT pgcache.repair_watches(); INSERT INTO late VALUES (7, \'a\')', 'everything');
changes('after it', 'l', "$replica; INSERT INTO late VALUES (7, 'a')", '7a');
ask(q{DO $$ DECLARE name text; BEGIN FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'late'::regclass AND tgname LIKE '%insert' LOOP
	EXECUTE format('DROP TRIGGER %I ON late', name); END LOOP; END $$});
like(problems(), qr/late is missing/, 'a trigger that is dropped');
ask('SELECT pgcache.repair_watches()');
changes('is repaired', 'l', q{INSERT INTO late VALUES (8, 'a')}, '8a');

note 'transactions';

changes('a savepoint rolled back', 'l', q{BEGIN; INSERT INTO late VALUES (10, 'a'); SAVEPOINT s; INSERT INTO late VALUES (10, 'b'); TRUNCATE late; ROLLBACK TO s; INSERT INTO late VALUES (10, 'c'); COMMIT}, '10a 10c');
changes('an EXCEPTION block', 'l', q{DO $$ BEGIN
	INSERT INTO late VALUES (11, 'a');
	BEGIN INSERT INTO late VALUES (11, 'b'); UPDATE late SET kind = 'd'; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
	BEGIN INSERT INTO late VALUES (11, 'c'); EXCEPTION WHEN division_by_zero THEN NULL; END; END $$}, '11a 11c');
changes('ROLLBACK', 'l', q{BEGIN; INSERT INTO late VALUES (12, 'a'); UPDATE late SET kind = 'd'; TRUNCATE late; ALTER TABLE late ADD COLUMN x int; ROLLBACK}, '');
changes('ROLLBACK PREPARED', 'l', q{BEGIN; INSERT INTO late VALUES (12, 'a'); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'}, '');
changes('a procedure that commits in between', 'l', q{CREATE PROCEDURE in_parts() LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO late VALUES (13, 'a'); COMMIT; INSERT INTO late VALUES (13, 'b'); ROLLBACK; INSERT INTO late VALUES (13, 'c'); END $$; CALL in_parts()}, '13a 13c');
changes('more rows than memory for them', 'l', q{SET work_mem = '64kB'; SELECT cache_watch('late', 'second:{id}'); SELECT fill('l');
	INSERT INTO late SELECT CASE WHEN i IN (1, 250, 499) THEN 1 + i / 100 ELSE 1000 + i END, CASE WHEN i IN (1, 250, 499) THEN 'b' ELSE repeat('x', 2000) END
	FROM generate_series(1, 500) i}, '1b 3b 5b');

{
	my $writer = session();
	my $reader = session();
	my $value = q{(SELECT string_agg(kind, '' ORDER BY kind) FROM parted WHERE id = 1)};
	my $seen = "SELECT $value, cache_get_text('p:1:b')";
	my %ends = (
		'COMMIT' => ['COMMIT'],
		'COMMIT PREPARED' => [ q{PREPARE TRANSACTION 'exact'}, q{COMMIT PREPARED 'exact'} ],
		'ROLLBACK' => ['ROLLBACK'],
		'ROLLBACK PREPARED' => [ q{PREPARE TRANSACTION 'exact'}, q{ROLLBACK PREPARED 'exact'} ],
	);
	for my $end (sort keys %ends) {
		ask(q{DELETE FROM parted; INSERT INTO parted VALUES (1, 'b')});
		ask("SELECT cache_set_text('p:1:b', $value, '1 day')");
		$writer->query_safe('BEGIN');
		$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
		is($reader->query_safe($seen), 'b|b', "$end: a snapshot of before");
		$writer->query_safe(q{UPDATE parted SET kind = 'c' WHERE id = 1});
		is(ask($seen), 'b|b', "$end: the old entry stands beside the old row until then");
		is($writer->query_safe($seen), 'c|', "$end: the writer misses it");
		my @statements = @{ $ends{$end} };
		while (@statements > 1) {
			$writer->query_safe(shift @statements);
			is(ask($seen), 'b|b', "$end: also once it is prepared");
		}
		$writer->query_safe($statements[0]);
		is(ask($seen), $end =~ /COMMIT/ ? 'c|' : 'b|b', "$end: exactly with it the entry goes or stays");
		my $repeated = $reader->query_safe($seen);
		ok($repeated eq 'b|b' || $repeated eq 'b|' && $end =~ /COMMIT/, "$end: under the old snapshot never anything else than the old row") or diag($repeated);
		$reader->query_safe('COMMIT');
	}
	# A fill that was computed before the change, stored after it.
	ask(q{DELETE FROM parted; INSERT INTO parted VALUES (1, 'b')});
	$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($reader->query_safe($seen), 'b|', 'a miss');
	ask(q{UPDATE parted_b SET id = 2; UPDATE parted_b SET id = 1; UPDATE parted SET kind = 'c' WHERE id = 1});
	is($reader->query_safe("SELECT cache_set_text('p:1:b', $value)"), 'f', 'what was computed before the change is not stored after it');
	$reader->query_safe('COMMIT');
	is(ask($seen), 'c|', 'nothing old is read');
	$_->quit for ($writer, $reader);
}

note 'triggers of one\'s own beside those of the watch';

ask(q{CREATE TABLE triggered (id int, kind text); CREATE TABLE seen (who text, cached text);
	CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen SELECT tg_name, cache_get_text('t:' || id || ':' || kind) FROM triggered; RETURN NULL; END $$;
	CREATE FUNCTION write_more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() = 1 THEN UPDATE triggered SET kind = 'd' WHERE id = 1; END IF; RETURN NULL; END $$;
	CREATE TRIGGER a AFTER UPDATE ON triggered FOR EACH STATEMENT EXECUTE FUNCTION look(); CREATE TRIGGER z AFTER UPDATE ON triggered FOR EACH STATEMENT EXECUTE FUNCTION look()});
watch('triggered', 't');
changes('before any row', 't', q{INSERT INTO triggered VALUES (1, 'a')}, '1a');
changes('one that looks', 't', q{UPDATE triggered SET id = id}, '1a');
is(ask(q{SELECT cached IS NULL FROM seen WHERE who = 'z'}), 't', 'a trigger for statements that comes after those of the watch sees no old entry');
ask(q{DROP TRIGGER a ON triggered; DROP TRIGGER z ON triggered; CREATE TRIGGER a AFTER UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION write_more()});
changes('one for rows that writes more', 't', q{UPDATE triggered SET kind = 'b'}, '1a 1b 1d');
ask(q{DROP TRIGGER a ON triggered; CREATE TRIGGER a AFTER UPDATE ON triggered FOR EACH STATEMENT EXECUTE FUNCTION write_more()});
changes('one for statements that writes more', 't', q{UPDATE triggered SET kind = 'c'}, '1c 1d');
ask(q{CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 5 THEN RETURN NULL; END IF; NEW.kind := 'a'; RETURN NEW; END $$;
	CREATE TRIGGER b BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION skip()});
changes('one that skips and changes rows', 't', q{INSERT INTO triggered VALUES (5, 'b'), (6, 'b')}, '6a');
ask('DROP TABLE triggered, seen');

note 'cache_watch beside a transaction that has written';

for my $relation ('busy', 'busy_a') {
	ask(q{CREATE TABLE busy (id int, kind text) PARTITION BY LIST (kind); CREATE TABLE busy_a PARTITION OF busy FOR VALUES IN ('a');
		INSERT INTO busy VALUES (1, 'a'); SELECT fill('y')});
	my ($writer, $watcher) = (session(), session());
	$writer->query_safe('BEGIN');
	$writer->query_safe(qq{INSERT INTO $relation VALUES (2, 'a')});
	send_blocked($watcher, q{SELECT cache_watch('busy', 'y:{id}:{kind}', ARRAY['y/{kind}'])});
	is(ask(q{SELECT gone('y')}), '', "$relation: it waits for the writer");
	is(ask(q{SELECT cache_set_text('count', count(*)::text) FROM busy}), 't', "$relation: what is stored meanwhile");
	$writer->query_safe('COMMIT');
	is(wait_for_sent($watcher), '', "$relation: is watched then");
	is(ask(q{SELECT gone('y'), cache_get_text('count')}), 'everything|', "$relation: the entries from before are gone");
	changes("$relation: from then on it works", 'y', q{INSERT INTO busy VALUES (3, 'a')}, '3a');
	changes("$relation: in a session of before too", 'y', q{SELECT}, '');
	ask(q{SELECT fill('y')});
	$writer->query_safe(qq{INSERT INTO $relation VALUES (4, 'a')});
	is(ask(q{SELECT gone('y')}), '4a', "$relation: for sessions of before too");

	# The other order: who writes waits for the watch.
	ask(q{SELECT count(cache_unwatch(id)) FROM cache_watches WHERE relation = 'busy'::regclass; SELECT fill('y')});
	$writer->query_safe("PREPARE write AS INSERT INTO $relation VALUES (\$1, 'a')");
	$watcher->query_safe('BEGIN');
	$watcher->query_safe(q{SELECT cache_watch('busy', 'y:{id}:{kind}', ARRAY['y/{kind}'])});
	send_blocked($writer, 'EXECUTE write(5)');
	$watcher->query_safe('COMMIT');
	is(wait_for_sent($writer), '', "$relation: a writer that waits for the watch");
	ask(q{SELECT fill('y')});
	$writer->query_safe('EXECUTE write(6)');
	is(ask(q{SELECT gone('y')}), '6a', "$relation: a prepared statement of before is watched");
	$_->quit for ($writer, $watcher);
	ask('DROP TABLE busy');
}
{
	ask(q{CREATE TABLE busy (id int, kind text)});
	my ($writer, $watcher) = (session(), session());
	ask(q{SELECT fill('y')});
	$writer->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$writer->query_safe('SELECT count(*) FROM late');
	watch('busy', 'y');
	ask(q{SELECT fill('y')});
	$writer->query_safe(q{INSERT INTO busy VALUES (1, 'a')});
	is(ask(q{SELECT gone('y')}), '', 'a transaction older than the watch: nothing before its commit');
	$writer->query_safe('COMMIT');
	is(ask(q{SELECT gone('y')}), '1a', 'and its changes at it');
	ask('SELECT count(cache_unwatch(id)) FROM cache_watches WHERE relation = \'busy\'::regclass');
	changes('a watch that is rolled back', 'y', q{BEGIN; SELECT cache_watch('busy', 'y:{id}:{kind}'); INSERT INTO busy VALUES (2, 'a'); ROLLBACK; INSERT INTO busy VALUES (3, 'a')}, '');
	changes('a watch that is prepared', 'y', q{BEGIN; INSERT INTO busy VALUES (2, 'a'); SELECT cache_watch('busy', 'y:{id}:{kind}', ARRAY['y/{kind}']); PREPARE TRANSACTION 'watch'; COMMIT PREPARED 'watch'}, 'everything');
	changes('works', 'y', q{INSERT INTO busy VALUES (3, 'a')}, '3a');
	my $first = session();
	$first->query_safe('BEGIN');
	$first->query_safe(q{SELECT cache_watch('busy', 'twice:{id}')});
	send_blocked($watcher, q{SELECT cache_watch('busy', 'twice:{id}')});
	$first->query_safe('COMMIT');
	is(wait_for_sent($watcher), '', 'the same watch in two sessions at once');
	is(ask(q{SELECT count(*) FROM cache_watches WHERE key = 'twice:{id}'}), 1, 'is one');
	$_->quit for ($writer, $watcher, $first);
	ask('DROP TABLE busy');
}

note 'DDL beside DDL';

# One session does the first and commits when the second, of another session, waits for it, or has gone through.
sub beside {
	my ($name, $first, $second, $waits) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($one, $two) = (session(), session());
	$one->query_safe('BEGIN');
	$one->query_safe($first);
	if ($waits) { send_blocked($two, $second); }
	else { $two->query_safe($second); }
	$one->query_safe('COMMIT');
	is(wait_for_sent($two), '', "$name: no error") if $waits;
	is(problems(), '', "$name: no partition without triggers, no triggers left over");
	for ($one, $two) { eval { $_->quit } }
	return;
}

# What goes wrong today.
my $outlived = 'cache_unwatch knows only the triggers of before it waited';
my $crash = 'the server crashes: a table that is gone has no name';
my $orphan = 'cache_watch takes for a child what was one before it waited';
my %wrong = (
	q{unwatch second, CREATE TABLE made PARTITION OF below FOR VALUES IN ('b')} => $outlived,
	'unwatch second, ALTER TABLE lone INHERIT child' => $outlived,
	'unwatch second, CREATE TABLE made () INHERITS (child)' => $outlived,
	'unwatch second, DROP TABLE below_a' => $crash,
	'unwatch second, DROP TABLE grandchild' => $crash,
	'watch second, ALTER TABLE child NO INHERIT base' => $orphan,
	'watch second, ALTER TABLE grandchild NO INHERIT child' => $orphan);

my $tree = q{CREATE TABLE top (id int, kind text) PARTITION BY RANGE (id); CREATE TABLE below PARTITION OF top FOR VALUES FROM (1) TO (10) PARTITION BY LIST (kind);
	CREATE TABLE below_a PARTITION OF below FOR VALUES IN ('a'); CREATE TABLE loose (kind text, x int, id int); ALTER TABLE loose DROP COLUMN x;
	CREATE TABLE loose_a (kind text, id int)};
my $watch = q{SELECT cache_watch('top', 't:{id}:{kind}', ARRAY['t/{kind}'])};
my $unwatch = q{SELECT cache_unwatch(id) FROM cache_watches WHERE relation = 'top'::regclass};
my @joins = (
	'ALTER TABLE top ATTACH PARTITION loose FOR VALUES FROM (10) TO (20)',
	'CREATE TABLE made PARTITION OF top FOR VALUES FROM (10) TO (20)',
	q{ALTER TABLE below ATTACH PARTITION loose_a FOR VALUES IN ('b')},
	q{CREATE TABLE made PARTITION OF below FOR VALUES IN ('b')},
	'ALTER TABLE top DETACH PARTITION below',
	'ALTER TABLE below DETACH PARTITION below_a',
	'DROP TABLE below_a',
	'DROP TABLE below');
for my $join (@joins) {
	for my $order ('watch first', 'watch second', 'unwatch first', 'unwatch second') {
		ask($tree);
		ask($watch) if $order =~ /unwatch/;
		my $other = $order =~ /unwatch/ ? $unwatch : $watch;
		beside("$order, $join", $order =~ /first/ ? ($other, $join) : ($join, $other), 1);
		my $wanted = $order =~ /unwatch/ ? 0 : 1;
		is(ask(q{SELECT count(*) FROM cache_watches}), ask('SELECT count(*) FROM cache_watches WHERE relation <> \'top\'::regclass') + $wanted, "$order, $join: the watch is there or not");
		is(ask(q{SELECT count(DISTINCT relation) FROM pgcache.watch_triggers() WHERE id = (SELECT max(id) FROM cache_watches WHERE relation = 'top'::regclass)}),
			$wanted * ask(q{SELECT count(*) FROM pg_partition_tree('top')}), "$order, $join: on the tables that belong to it");
		ask('DROP TABLE IF EXISTS top, below, below_a, loose, loose_a, made');
		ask('SELECT pgcache.repair_watches()');
	}
}

for my $join ('ALTER TABLE child NO INHERIT base', 'ALTER TABLE lone INHERIT base', 'CREATE TABLE made () INHERITS (base)', 'ALTER TABLE lone INHERIT child',
	'CREATE TABLE made () INHERITS (child)', 'ALTER TABLE grandchild NO INHERIT child', 'DROP TABLE grandchild') {
	for my $order ('watch first', 'watch second', 'unwatch first', 'unwatch second') {
		ask(q{CREATE TABLE base (id int, kind text); CREATE TABLE child () INHERITS (base); CREATE TABLE grandchild () INHERITS (child); CREATE TABLE lone (kind text, id int)});
		my $watch = $watch =~ s/top/base/r;
		my $other = $order =~ /unwatch/ ? $unwatch =~ s/top/base/r : $watch;
		ask($watch) if $order =~ /unwatch/;
		beside("$order, $join", $order =~ /first/ ? ($other, $join) : ($join, $other), 1);
		ask('SET client_min_messages = warning; DROP TABLE IF EXISTS grandchild, made, lone, child, base CASCADE');
		ask('SELECT pgcache.repair_watches()');
	}
}

# Trees that have nothing to do with each other.
ask(q{CREATE TABLE one (id int, kind text) PARTITION BY RANGE (id); CREATE TABLE two (id int, kind text) PARTITION BY RANGE (id);
	SELECT cache_watch('one', 'one:{id}'), cache_watch('two', 'two:{id}')});
beside('partitions of two trees', 'CREATE TABLE one_1 PARTITION OF one FOR VALUES FROM (1) TO (2)', 'CREATE TABLE two_1 PARTITION OF two FOR VALUES FROM (1) TO (2)', 0);
beside('a partition beside a DROP', 'DROP TABLE one_1', 'CREATE TABLE two_2 PARTITION OF two FOR VALUES FROM (2) TO (3)', 0);
beside('a partition beside a DETACH', 'ALTER TABLE two DETACH PARTITION two_1', 'CREATE TABLE one_2 PARTITION OF one FOR VALUES FROM (2) TO (3)', 0);
ask('DROP TABLE one, two, two_1');

# Each client makes and drops tables below a table of its own.
{
	ask(qq{CREATE TABLE tree_of_$_ (id int, kind text) PARTITION BY RANGE (id); CREATE TABLE heirs_of_$_ (id int); CREATE TABLE plain_$_ (id int);
		SELECT cache_watch('tree_of_$_', 'tree:{id}'), cache_watch('heirs_of_$_', 'heirs:{id}')}) for (0 .. 3);
	my $script = $server->basedir . '/ddl.sql';
	append_to_file($script, $_ . ";\n") for (
		'CREATE TABLE part_of_:client_id PARTITION OF tree_of_:client_id FOR VALUES FROM (1) TO (2)', 'CREATE TABLE heir_of_:client_id () INHERITS (heirs_of_:client_id)',
		'ALTER TABLE tree_of_:client_id DETACH PARTITION part_of_:client_id', 'ALTER TABLE heir_of_:client_id NO INHERIT heirs_of_:client_id',
		'DROP TABLE part_of_:client_id, heir_of_:client_id', q{CREATE TABLE new_of_:client_id (id int)}, q{SELECT cache_watch('new_of_:client_id', 'new:{id}')}, 'DROP TABLE new_of_:client_id');
	$server->command_ok([ 'pgbench', '-n', '-c', 4, '-t', 50, '-f', $script, $server->connstr('postgres') ], 'DDL in trees that have nothing to do with each other');
	$server->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
	is(problems(), '', 'leaves every watch whole');
	ask(join ';', 'SET client_min_messages = warning', map { "DROP TABLE IF EXISTS tree_of_$_, heirs_of_$_, plain_$_, part_of_$_, heir_of_$_, new_of_$_ CASCADE" } (0 .. 3));
	ask('SELECT pgcache.repair_watches()');
}

note 'who may do what';

ask(q{CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE writer LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE other_owner LOGIN; CREATE ROLE hostile LOGIN;
	SELECT pgcache.grant_to('owner'), pgcache.grant_to('app'); GRANT CREATE ON SCHEMA public TO owner, other_owner, hostile, stranger;
	CREATE TABLE owned (id int, kind text) PARTITION BY LIST (kind); CREATE TABLE owned_a PARTITION OF owned FOR VALUES IN ('a'); CREATE TABLE owned_b PARTITION OF owned FOR VALUES IN ('b');
	ALTER TABLE owned OWNER TO owner; ALTER TABLE owned_a OWNER TO owner; ALTER TABLE owned_b OWNER TO other_owner; GRANT ALL ON owned, owned_a, owned_b TO writer});
my $watch_owned = q{SELECT cache_watch('owned', 'o:{id}:{kind}', ARRAY['o/{kind}']) > 0};
my $unwatch_owned = q{SELECT cache_unwatch((SELECT max(id) FROM pgcache.watch_triggers() WHERE is_watched AND key LIKE 'o:%'))};
is(outcome('app', $watch_owned), '42501', 'a role with the grant that does not own the table');
is(outcome('writer', $watch_owned), '42501', 'one without the grant, that may write it');
is(outcome('other_owner', $watch_owned), '42501', 'the owner of a partition, without the grant');
ask(q{SELECT pgcache.grant_to('other_owner')});
is(outcome('other_owner', $watch_owned), '42501', 'and with the grant');
is(outcome('app', q{SELECT cache_watch('pg_authid', 'x')}), '42501', 'a catalog');
is(outcome('owner', $watch_owned), 't', 'the owner, also where a partition is somebody else\'s');
is(ask(q{SELECT triggers_of('owned'), triggers_of('owned_a'), triggers_of('owned_b')}), '4|5|5', 'whose triggers are there');
is(outcome('owner', 'SELECT current_user, session_user'), 'owner|owner', 'and the owner is the owner');
is(outcome('app', $unwatch_owned), '42501', 'others can\'t end it');
is(outcome('other_owner', $unwatch_owned), '42501', 'nor the owner of a partition');
is(outcome('writer', $unwatch_owned), '42501', 'nor who writes');
is(outcome('app', q{SELECT count(*) FROM cache_watches WHERE key LIKE 'o:%'}), '1', 'who has the grant sees it');
is(outcome('writer', q{SELECT count(*) FROM cache_watches}), '42501', 'others do not');

sub writes {
	my ($name, $role, $sql, $expected) = @_;
	ask(q{SELECT fill('o')});
	is(outcome($role, $sql), '', "$name: no error");
	is(ask(q{SELECT gone('o')}), $expected, $name);
	return;
}
writes('a writer without any grant on pgcache', 'writer', q{INSERT INTO owned VALUES (1, 'a'), (2, 'b'); UPDATE owned SET id = 3 WHERE id = 1; DELETE FROM owned_b; INSERT INTO owned_b VALUES (5, 'b')}, '1a 2b 3a 5b');
writes('with a search_path of nothing', 'writer', q{SET search_path = ''; INSERT INTO public.owned VALUES (4, 'a')}, '4a');
writes('TRUNCATE', 'writer', 'TRUNCATE owned', 'everything');
writes('the owner without the grant creates a partition', 'owner', q{CREATE TABLE owned_c PARTITION OF owned FOR VALUES IN ('c')}, 'everything');
ask(q{SELECT pgcache.revoke_from('owner')});
is(outcome('owner', $watch_owned), '42501', 'the owner, once the grant is taken back');
writes('attaches one', 'owner', q{CREATE TABLE owned_d (kind text, id int); ALTER TABLE owned ATTACH PARTITION owned_d FOR VALUES IN ('d')}, 'everything');
writes('which works', 'writer', q{INSERT INTO owned VALUES (6, 'd'), (7, 'c')}, '6d 7c');
writes('detaches one', 'owner', 'ALTER TABLE owned DETACH PARTITION owned_c', 'everything');
is(problems(), '', 'every watch is whole');
is(outcome('stranger', q{CREATE TRIGGER mine AFTER TRUNCATE ON owned EXECUTE FUNCTION pgcache.watch_changed('1')}), '42501', 'nobody else makes such a trigger');
is(outcome('stranger', q{CREATE TABLE his (id int); CREATE TRIGGER mine AFTER TRUNCATE ON his EXECUTE FUNCTION pgcache.watch_changed('1', 'watched', 'key=x')}), '42501', 'also not on a table of his own');
is(outcome('stranger', 'SELECT pgcache.repair_watches()'), '42501', 'or repairs');
is(outcome('stranger', q{SELECT nextval('pgcache.watch_id')}), '42501', 'or takes ids');
is(outcome('stranger', 'CREATE EVENT TRIGGER his ON ddl_command_end EXECUTE FUNCTION pgcache.watch_members()'), '42501', 'or makes event triggers');
is(outcome('owner', 'DROP EVENT TRIGGER pgcache_watch_members'), '42501', 'or drops ours');
is(outcome($superuser, 'DROP EVENT TRIGGER pgcache_watch_members'), '2BP01', 'which belongs to the extension');
ask(q{SELECT pgcache.grant_to('owner')});
is(outcome('owner', $unwatch_owned), 't', 'the owner ends the watch');
is(ask(q{SELECT sum(triggers_of(c)) FROM unnest('{owned,owned_a,owned_b,owned_c,owned_d}'::regclass[]) c}), 0, 'on all tables');
is(outcome('owner', q{SELECT cache_watch('owned_b', 'x')}), '42501', 'a partition that is somebody else\'s can\'t be watched itself');

note 'a hostile role';

# What it makes would run with the rights of who calls it, if our statements found it.
is(outcome('hostile', q{
	CREATE TABLE public.caught (who text); GRANT ALL ON public.caught TO PUBLIC;
	CREATE FUNCTION public.trap() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN 1; END $$;
	CREATE FUNCTION public.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT public.trap()';
	CREATE FUNCTION public.nextval(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT public.trap()';
	CREATE FUNCTION public.watch_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN NULL; END $$;
	CREATE FUNCTION public.equals(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap() = 1';
	CREATE OPERATOR public.= (FUNCTION = public.equals, LEFTARG = oid, RIGHTARG = oid);
	CREATE FUNCTION public.string_agg_trap(text, text) RETURNS text LANGUAGE sql AS 'SELECT public.trap()::text';
	CREATE FUNCTION public.text_equals(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap() = 1';
	CREATE OPERATOR public.= (FUNCTION = public.text_equals, LEFTARG = text, RIGHTARG = text);
	CREATE OPERATOR public.<> (FUNCTION = public.text_equals, LEFTARG = text, RIGHTARG = text);
	CREATE TYPE public.regclass AS (x int)}), '', 'puts functions, operators and types into public');
my $trapped = q{SET search_path = public, pg_catalog};
is(outcome($superuser, qq{$trapped; SELECT cache_watch('owned'::pg_catalog.regclass, 'o:{id}:{kind}', ARRAY['o/{kind}']) > 0;
	SELECT count(*) FROM cache_watches WHERE problem IS NOT NULL; SELECT item, ok FROM pgcache.check() WHERE item OPERATOR(pg_catalog.=) 'watches';
	CREATE TABLE owned_e PARTITION OF owned FOR VALUES IN ('e'); INSERT INTO owned VALUES (1, 'a'), (2, 'e');
	SELECT pgcache.repair_watches(); ALTER TABLE owned DETACH PARTITION owned_e}), "t\n0\nwatches|t\n", 'who has public in front of pg_catalog');
is(outcome('owner', "$trapped; INSERT INTO owned VALUES (2, 'a')"), '', 'or writes so');
is(ask('SELECT count(*) FROM public.caught'), 0, 'is not caught');
ask('DROP OWNED BY hostile; SELECT count(cache_unwatch(id)) FROM cache_watches WHERE relation = \'owned\'::regclass');

note 'odd names';

my @odd = (q{a'b}, q{a"b}, q{a;b}, q{a\\b}, q{a$b$c}, q{$$}, q{a b}, q{A.B}, q{a%sb}, q{a\'b''c}, q{é–世}, q{--x}, q{/*x*/}, q{select}, 'n' x 63);
for my $odd (@odd) {
	my $literal = "E'" . ($odd =~ s/([\\'])/\\$1/gr) . "'";
	my $name = '"' . ($odd =~ s/"/""/gr) . '"';
	ask(qq{CREATE SCHEMA $name; CREATE TABLE $name.$name ($name text, id int, kind text) PARTITION BY LIST (kind)});
	is(ask(qq{SELECT cache_watch(format('%I.%I', $literal, $literal)::regclass, 'k:' || $literal || ':{' || $literal || '}', ARRAY[$literal || '{id}', $literal]) > 0}), 't', "$odd: watched");
	ask(qq{SET standard_conforming_strings = off; CREATE TABLE $name.p PARTITION OF $name.$name FOR VALUES IN ('a')});
	is(ask(q{SELECT key, tags FROM cache_watches WHERE key LIKE 'k:%'}), ask("SELECT 'k:' || $literal || ':{' || $literal || '}', ARRAY[$literal || '{id}', $literal]"), "$odd: shown as it was given");
	ask(qq{SELECT cache_set('k:' || $literal || ':' || cache_quote($literal), '1'), cache_set('k:other', '1'), cache_set('tagged', '1', tags => ARRAY[$literal || '7']), cache_set('all', '1', tags => ARRAY[$literal])});
	ask("INSERT INTO $name.p VALUES ($literal, 7, 'a')");
	is(ask(qq{SELECT cache_exists('k:' || $literal || ':' || cache_quote($literal)), cache_exists('k:other'), cache_exists('tagged'), cache_exists('all')}), 'f|t|f|f', "$odd: works");
	is(problems(), '', "$odd: whole");
	is(outcome($superuser, qq{SET standard_conforming_strings = off; SET quote_all_identifiers = on; ALTER TABLE $name.$name DETACH PARTITION $name.p; SELECT cache_unwatch(id) FROM cache_watches WHERE key LIKE 'k:%'}), 't', "$odd: ended");
	ask("DROP SCHEMA $name CASCADE");
}

note 'types of one\'s own';

if ($server->pg_version >= 18) {
	ask(q{CREATE TABLE computed (id int, doubled int GENERATED ALWAYS AS (id * 2) VIRTUAL, tripled int GENERATED ALWAYS AS (id * 3) STORED)});
	is(outcome($superuser, q{SELECT cache_watch('computed', 'c:{doubled}')}), '0A000', 'a virtual generated column can\'t be named');
	is(outcome($superuser, q{SELECT cache_watch('computed', 'c:{tripled}') > 0; SELECT cache_set('c:6', '1'); INSERT INTO computed VALUES (2); SELECT cache_exists('c:6')}), "t\nt\nf", 'a stored one can');
	ask('DROP TABLE computed');
}

ask(q{CREATE TYPE pair AS (a int, b int);
	CREATE FUNCTION pair_text(pair, int, boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN $1.a || '-' || $1.b || coalesce($2, 0) || $3; END $$;
	CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair, int, boolean);
	CREATE TYPE solo AS (a int); CREATE FUNCTION solo_text(solo, int) RETURNS text LANGUAGE sql AS 'SELECT $1.a || '':'' || $2'; CREATE CAST (solo AS text) WITH FUNCTION solo_text(solo, int);
	CREATE TABLE typed (id int, p pair, s solo); SELECT cache_watch('typed', 'pair:{p}', ARRAY['solo:{s}'])});
{
	is(outcome($superuser, q{SELECT cache_set('pair:' || cache_quote((1, 2)::pair::text), '1'), cache_set('s', '1', tags => ARRAY['solo:' || cache_quote(ROW(3)::solo::text)]);
		INSERT INTO typed VALUES (1, (1, 2), ROW(3)); SELECT cache_exists('pair:' || cache_quote((1, 2)::pair::text)), cache_exists('s')}), "t|t\nf|f", 'a cast to text that takes a type modifier');
}
ask('DROP TABLE typed; DROP TYPE pair, solo CASCADE');

ask(q{CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE moods (id int, kind text, mood mood); INSERT INTO moods VALUES (1, 'a', 'good')});
watch('moods', 'm');
ask(q{SELECT cache_watch('moods', 'mood:{mood}')});
{
	changes('a type dropped with the column that a template names', 'm', q{SET client_min_messages = warning; DROP TYPE mood CASCADE}, 'everything');
	is(ask(q{SELECT triggers_of('moods')}), 5, 'ends that watch alone');
	changes('the other one works', 'm', q{INSERT INTO moods VALUES (2, 'b')}, '2b');
}
ask('DROP TABLE moods; SELECT pgcache.repair_watches()');

note 'triggers made by hand';

ask(q{CREATE TABLE by_hand (id int, kind text); CREATE VIEW view_by_hand AS SELECT * FROM by_hand});
my @arguments = (
	q[], q[''], q['0'], q['-1'], q['x'], q['99999999999999999999'], q['1', 'watched'], q['800', 'watched', 'key='], q['801', 'watched', 'key={1}'],
	q['802', 'watched', 'key={'], q['803', 'watched', 'tag=}'], q['804', 'watched', 'key={}'], q['805', 'watched', 'key={99999999999999999999}'],
	q['806', 'inherited', 'key={0}{2}'], q['807', 'watched', 'nonsense'], q['808', '', 'key=x', 'key=y', 'tag=z', 'tag={1}'],
	q['809', 'watched', 'key=] . ('k' x 5000) . q['], q[800, 801, 802], q['810'], q[E'811\n'], q['812', 'watched', 'key={1']);
my @kinds = (
	'AFTER TRUNCATE ON by_hand', 'AFTER TRUNCATE OR UPDATE OF id ON by_hand', 'AFTER TRUNCATE OR INSERT OR UPDATE OR DELETE ON by_hand', 'AFTER INSERT OR UPDATE OR DELETE ON by_hand',
	'AFTER INSERT ON by_hand REFERENCING NEW TABLE AS n', 'AFTER UPDATE ON by_hand REFERENCING OLD TABLE AS o', 'AFTER DELETE ON by_hand REFERENCING OLD TABLE AS o',
	'AFTER INSERT OR UPDATE OR DELETE ON by_hand FOR EACH ROW', 'AFTER UPDATE ON by_hand REFERENCING NEW TABLE AS n FOR EACH ROW', 'BEFORE INSERT OR UPDATE OR DELETE ON by_hand',
	'BEFORE TRUNCATE ON by_hand');
my $writes = q{INSERT INTO by_hand VALUES (1, 'a'), (2, 'b'); UPDATE by_hand SET id = id + 10; SELECT count(*) FROM by_hand; DELETE FROM by_hand WHERE id = 11; SELECT id FROM by_hand; TRUNCATE by_hand};
for my $kind (@kinds) {
	for my $arguments ($kind eq $kinds[1] ? @arguments : $arguments[8]) {
		my ($status, $output, $error) = $server->psql('postgres', qq{BEGIN; CREATE TRIGGER hand $kind EXECUTE FUNCTION pgcache.watch_changed($arguments); COMMIT; $writes;
			SELECT count(*) >= 0 FROM cache_watches; SELECT count(*) >= 0 FROM pgcache.check(); CREATE TABLE heir () INHERITS (by_hand); INSERT INTO heir VALUES (3, 'c');
			DROP TABLE heir; SELECT pgcache.repair_watches(); $writes; DROP TRIGGER IF EXISTS hand ON by_hand}, on_error_stop => 1);
		$error =~ s/^.*NOTICE:  .*\n?//mg;
		is("$output$error", "2\n12\nt\nt\n\n2\n12", substr("$kind: ($arguments)", 0, 120)) or ask('DROP TABLE IF EXISTS heir');
		ask(q{DO $$ DECLARE name text; BEGIN FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'by_hand'::regclass LOOP EXECUTE format('DROP TRIGGER %I ON by_hand', name); END LOOP; END $$});
	}
}
{
	is(outcome($superuser, qq{CREATE TRIGGER hand BEFORE INSERT OR UPDATE OR DELETE ON by_hand FOR EACH ROW EXECUTE FUNCTION pgcache.watch_changed('1'); $writes}), "2\n12", 'before each row: the rows are written');
}
ask('DROP TABLE by_hand CASCADE');
is(problems(), '', 'nothing is left of them');

note 'the extension goes';

my $before = ask('SELECT count(*) FROM cache_watches');
cmp_ok($before, '>', 0, 'there are watches');
is(outcome($superuser, 'DROP EXTENSION pgcache'), '2BP01', 'DROP EXTENSION is refused while there are');
is(ask('SELECT count(*) FROM cache_watches'), $before, 'and ends none');
is(outcome($superuser, 'SET client_min_messages = error; DROP FUNCTION gone; DROP FUNCTION fill; DROP EXTENSION pgcache CASCADE'), '', 'with CASCADE it goes');
is(ask(q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgcache%'}), 0, 'with all triggers');
is(ask(q{SELECT count(*) FROM pg_event_trigger}), 0, 'and the event trigger');
is(outcome($superuser, q{INSERT INTO late VALUES (1, 'a'); TRUNCATE late; CREATE TABLE parted_d PARTITION OF parted FOR VALUES IN ('d'); DROP TABLE parted}), '', 'the tables are as before');
is(outcome($superuser, q{CREATE EXTENSION pgcache; SELECT cache_watch('late', 'l:{id}') > 0; SELECT cache_set('l:1', '1'); INSERT INTO late VALUES (1, 'a'); SELECT cache_exists('l:1')}), "t\nt\nf", 'made again, it works');

done_testing();

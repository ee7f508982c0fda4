# Watches in dumps: restored, they are the same and they work. In a server without pgcache their tables are tables.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;


my $server = new_server('dump', conf => 'pgcache.memory = 1GB');
$server->start;
my $dumps = $server->basedir;

sub ask { return $server->safe_psql($_[1] // 'target', $_[0]); }

# An entry for each id and kind, and which of them are gone.
my $functions = q{
	CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
		SELECT cache_set_text(format('i:%s:%s', id, kind), 'x', immediate => true) FROM generate_series(1, 20) id, unnest('{a,b,c,d}'::text[]) kind;
		SELECT cache_set_text('with ' || kind, 'x', tags => ARRAY['i/' || kind], immediate => true) FROM unnest('{a,b,c,d}'::text[]) kind;
		SELECT cache_set_text('unrelated', 'x', immediate => true);
	$$;
	CREATE FUNCTION gone() RETURNS text LANGUAGE sql AS $$
		SELECT concat_ws(' ', (SELECT string_agg(id || kind, ' ' ORDER BY id, kind) FROM generate_series(1, 20) id, unnest('{a,b,c,d}'::text[]) kind
			WHERE NOT cache_exists(format('i:%s:%s', id, kind))), CASE WHEN NOT cache_exists('unrelated') THEN 'unrelated' END)
	$$};

# A tree whose columns stand at different places, dropped ones among them, which no restore brings back; a table with
# children; one with odd names; two watches on one table; ids with gaps.
$server->safe_psql('postgres', qq{
	CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN;
	CREATE DATABASE source;
	\\c source
	CREATE EXTENSION pgcache;
	SELECT pgcache.grant_to('app');
	$functions;
	CREATE TABLE items (junk int, id int, junk2 text, kind text, name text) PARTITION BY RANGE (id);
	ALTER TABLE items DROP COLUMN junk, DROP COLUMN junk2;
	CREATE TABLE low (name text, kind text, was int, id int); ALTER TABLE low DROP COLUMN was;
	ALTER TABLE items ATTACH PARTITION low FOR VALUES FROM (1) TO (10);
	CREATE TABLE high (x int, kind text, name text, id int) PARTITION BY LIST (kind); ALTER TABLE high DROP COLUMN x;
	ALTER TABLE items ATTACH PARTITION high FOR VALUES FROM (10) TO (20);
	CREATE TABLE high_a (id int, y int, kind text, name text); ALTER TABLE high_a DROP COLUMN y;
	ALTER TABLE high ATTACH PARTITION high_a FOR VALUES IN ('a');
	CREATE TABLE high_rest PARTITION OF high DEFAULT;
	INSERT INTO items VALUES (1, 'a'), (11, 'a'), (12, 'b');
	CREATE TABLE base (was int, id int PRIMARY KEY, kind text); ALTER TABLE base DROP COLUMN was;
	CREATE TABLE child (own int) INHERITS (base);
	CREATE TABLE referring (id int REFERENCES base ON DELETE CASCADE, kind text);
	CREATE SCHEMA "o'dd; \\"schema";
	CREATE TABLE "o'dd; \\"schema"."ta\\ble" (gone int, "co'l\\"umn" text, id int); ALTER TABLE "o'dd; \\"schema"."ta\\ble" DROP COLUMN gone;
	INSERT INTO base SELECT i, 'a' FROM generate_series(1, 3) i; INSERT INTO referring VALUES (1, 'b');
	ALTER TABLE items OWNER TO owner; ALTER TABLE low OWNER TO owner;
	SELECT cache_unwatch(cache_watch('base', 'ended:{id}'));
	SELECT cache_watch('items', 'i:{id}:{kind}', ARRAY['i/{kind}']);
	SELECT cache_watch('base', 'i:{id}:{kind}', ARRAY['i/{kind}']), cache_watch('base', tags => ARRAY['bases']), cache_watch('child', 'own:{id}'), cache_watch('referring', 'i:{id}:{kind}');
	SELECT cache_watch('"o''dd; ""schema"."ta\\ble"', E'i:{id}:{co''l"umn}', ARRAY[E'\\\\''"\$\$; {{%s}}{id}']);
	SELECT cache_unwatch(cache_watch('base', 'ended too:{id}'));} =~ s/\\"/""/gr);

my $watches = q{SELECT id, relation, key, tags, problem FROM cache_watches ORDER BY id};
my $triggers = q{SELECT id, relation, part, enabled, is_watched, key, tags FROM pgcache.watch_triggers() ORDER BY 1, relation::text, 3};
my $of_source = ask($watches, 'source');
my $triggers_of_source = ask($triggers, 'source');
is(ask('SELECT count(*), count(problem) FROM cache_watches', 'source'), '6|0', 'six watches');

sub dump_of {
	my ($name, @options) = @_;
	my $path = "$dumps/$name";
	$server->command_ok([ 'pg_dump', '-d', $server->connstr('source'), '-f', $path, @options ], "pg_dump $name");
	return $path;
}

sub begin_anew {
	$server->safe_psql('postgres', 'DROP DATABASE IF EXISTS target');
	$server->safe_psql('postgres', 'CREATE DATABASE target');
	return;
}

sub run_script {
	my ($name, @paths) = @_;
	for my $path (@paths) {
		my ($status, $output, $error) = $server->psql('target', slurp_file($path), on_error_stop => 1);
		is($status, 0, "$name: the script runs");
		is($error, '', "$name: and says nothing");
	}
	return;
}

sub changes {
	my ($name, $sql, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ask('SELECT fill()');
	ask($sql);
	is(ask('SELECT gone()'), $expected, $name);
	return;
}

sub everything { return join ' ', (map { my $id = $_; map { "$id$_" } qw(a b c d) } 1 .. 20), 'unrelated'; }

# The watches are those of the source, and each of them works.
sub is_restored {
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(ask($watches), $of_source, "$name: the watches are there, with their ids and without problems");
	is(ask($triggers), $triggers_of_source, "$name: and each of their triggers");
	is(ask('SELECT string_agg(problem, chr(10)) FROM pgcache.watch_problems()'), '', "$name: nothing is missing or left over");
	is(ask('SELECT ok FROM pgcache.check() WHERE item = \'watches\''), 't', "$name: the check says so");
	ask('TRUNCATE items, base CASCADE; INSERT INTO base SELECT i, \'a\' FROM generate_series(1, 3) i; INSERT INTO referring VALUES (1, \'b\')');
	changes("$name: insert", q{INSERT INTO items (id, kind) VALUES (2, 'a'), (13, 'a'), (14, 'd')}, '2a 13a 14d');
	changes("$name: into a partition", q{INSERT INTO low (id, kind) VALUES (3, 'b'); INSERT INTO high_a (id, kind) VALUES (15, 'a'); INSERT INTO high (id, kind) VALUES (16, 'c')}, '3b 15a 16c');
	changes("$name: a row moves", q{UPDATE items SET id = 17 WHERE id = 3; UPDATE high SET kind = 'a' WHERE id = 16}, '3b 16a 16c 17b');
	changes("$name: delete", q{DELETE FROM items WHERE id = 17}, '17b');
	changes("$name: children", q{INSERT INTO child (id, kind, own) VALUES (7, 'd', 1); UPDATE base SET kind = 'c' WHERE id IN (2, 7)}, '2a 2c 7c 7d');
	changes("$name: a foreign key", q{DELETE FROM base WHERE id = 1}, '1a 1b');
	changes("$name: odd names", q{INSERT INTO "o'dd; ""schema"."ta\\ble" ("co'l""umn", id) VALUES ('b', 5)}, '5b');
	is(ask(q{SELECT cache_set('odd', '1', tags => ARRAY[E'\\\\''"$$; {%s}5']), cache_set('even', '1', tags => ARRAY[E'\\\\''"$$; {%s}6']);
		INSERT INTO "o'dd; ""schema"."ta\\ble" (id) VALUES (5); SELECT cache_exists('odd')}), "t|t\nf", "$name: odd tags");
	changes("$name: a replica session", q{SET session_replication_role = replica; INSERT INTO items (id, kind) VALUES (4, 'd')}, '4d');
	changes("$name: a new partition", q{CREATE TABLE more PARTITION OF items FOR VALUES FROM (20) TO (21)}, everything());
	changes("$name: is watched", q{INSERT INTO more (id, kind) VALUES (20, 'd')}, '20d');
	changes("$name: a column renamed", q{ALTER TABLE items RENAME COLUMN kind TO sort}, everything());
	changes("$name: is followed", q{INSERT INTO items (id, sort) VALUES (20, 'c'); INSERT INTO high_a (id, sort) VALUES (18, 'a')}, '18a 20c');
	cmp_ok(ask(q{SELECT cache_watch('base', 'new:{id}')}), '>', ask('SELECT max(id) FROM cache_watches', 'source'), "$name: a new watch gets a new id");
	is(ask('SELECT count(*), count(DISTINCT id), count(problem) FROM cache_watches'), '7|7|0', "$name: and is one more");
	is(ask(q{SELECT cache_watch('base', tags => ARRAY['bases']) = (SELECT id FROM cache_watches WHERE tags = '{bases}')}), 't', "$name: the same watch again is the one that is there");
	is(ask('SELECT bool_and(cache_unwatch(id)) FROM (SELECT id FROM cache_watches ORDER BY id) w; SELECT count(*) FROM pgcache.watch_triggers()'), "t\n0", "$name: they can be ended");
	return;
}

note 'pg_dump and psql';

begin_anew();
my $script = dump_of('script.sql');
run_script('script', $script);
is_restored('script');

note 'pg_dump and pg_restore';

my $archive = dump_of('archive', '-Fc');
for my $options ([], [ '--single-transaction' ], [ '-j', 2 ], [ '-j', 4 ], [ '--no-owner', '--no-privileges' ]) {
	my $name = join ' ', 'pg_restore', @$options;
	begin_anew();
	$server->command_ok([ 'pg_restore', '--exit-on-error', @$options, '-d', $server->connstr('target'), $archive ], $name);
	is_restored($name);
}
begin_anew();
$server->command_ok([ 'pg_restore', '--exit-on-error', '-d', $server->connstr('target'), $archive ], 'pg_restore');
$server->command_ok([ 'pg_restore', '--exit-on-error', '--clean', '--if-exists', '-d', $server->connstr('target'), $archive ], 'pg_restore --clean over it');
is_restored('--clean');

note 'in sections';

begin_anew();
run_script('sections', map { dump_of("$_.sql", "--section=$_") } qw(pre-data data post-data));
is_restored('sections');

note 'what was restored is dumped again';

begin_anew();
$server->command_ok([ 'pg_restore', '--exit-on-error', '-d', $server->connstr('target'), $archive ], 'pg_restore');
my $again = "$dumps/again";
$server->command_ok([ 'pg_dump', '-Fc', '-d', $server->connstr('target'), '-f', $again ], 'pg_dump of it');
begin_anew();
$server->command_ok([ 'pg_restore', '--exit-on-error', '-d', $server->connstr('target'), $again ], 'pg_restore of that');
is_restored('again');

note 'schema and data apart';

my $schema = dump_of('schema.sql', '--schema-only');
my $data = dump_of('data.sql', '--data-only', '--disable-triggers');
my $data_with_triggers = dump_of('data_with_triggers.sql', '--data-only');
begin_anew();
run_script('--schema-only', $schema);
is(ask('SELECT count(*) FROM items'), 0, '--schema-only: no rows');
is(ask($watches), $of_source, '--schema-only: the watches');
# Nothing restores the sequence of the ids here.
{
	ask(qq{CREATE TABLE fresh_$_ (id int); SELECT cache_watch('fresh_$_', 'fresh:{id}')}) for (1 .. 3);
	is(ask('SELECT count(DISTINCT id) FROM cache_watches'), 9, '--schema-only: new watches get ids of their own');
	is(ask('SELECT string_agg(problem, chr(10)) FROM pgcache.watch_problems()'), '', '--schema-only: all watches are whole');
	ask('CREATE TABLE fresh_child () INHERITS (fresh_1)');
	is(ask(q{SELECT count(*) FROM cache_watches WHERE problem IS NULL}), 9, '--schema-only: also after a table is made');
	changes('--schema-only: insert', q{INSERT INTO items (id, kind) VALUES (2, 'a'); INSERT INTO base (id, kind) VALUES (3, 'b')}, '2a 3b');
	ask(q{SELECT cache_unwatch(id) FROM cache_watches WHERE key = 'fresh:{id}' ORDER BY id});
	is(ask($watches), $of_source, '--schema-only: ended, they take no other with them');
}

begin_anew();
run_script('--schema-only', $schema);
run_script('--data-only', $data_with_triggers);
is_restored('--schema-only, then --data-only');

begin_anew();
run_script('--schema-only', $schema);
ask(q{SELECT fill()});
run_script('--data-only', $data_with_triggers);
is(ask(q{SELECT count(*) FROM unnest('{i:1:a,i:11:a,i:12:b}'::text[]) k WHERE cache_exists(k)}), 0, '--data-only: what it writes is invalidated');

begin_anew();
run_script('--schema-only', $schema);
ask(q{SELECT fill()});
run_script('--data-only --disable-triggers', $data);
is(ask('SELECT gone()'), everything(), '--disable-triggers: everything is gone');
like(ask(q{SELECT detail FROM pgcache.check() WHERE item = 'watches' AND NOT ok}), qr/is not fired on replicas/, 'the check tells what it left');
ask('SELECT pgcache.repair_watches()');
is(ask(q{SELECT ok FROM pgcache.check() WHERE item = 'watches'}), 't', 'the repair mends it');
is_restored('--disable-triggers, repaired');

note 'a single table';

begin_anew();
ask('CREATE EXTENSION pgcache');
my $table = dump_of('table.sql', '-t', 'base');
run_script('a single table', $table);
ask($functions);
changes('a single table', q{INSERT INTO base VALUES (9, 'a')}, '9a');
is(ask(q{SELECT count(*), count(problem) FROM cache_watches}), '2|0', 'its watches are whole');
{
	ask(qq{CREATE TABLE unlike_$_ (id int); SELECT cache_watch('unlike_$_', 'unlike:{id}')}) for (1 .. 4);
	is(ask(q{SELECT count(DISTINCT id) FROM cache_watches}), 6, 'new watches have ids of their own');
	# What the table had for a watch of its child.
	like(ask('SELECT string_agg(problem, chr(10)) FROM pgcache.watch_problems()'), qr/left over/, 'triggers of a watch that was not restored');
	is(ask('SELECT pgcache.repair_watches(); SELECT string_agg(problem, chr(10)) FROM pgcache.watch_problems()'), "\n", 'are taken away by the repair');
	ask('CREATE TABLE unlike_child () INHERITS (unlike_1)');
	changes('the first one works', q{INSERT INTO base VALUES (10, 'a')}, '10a');
}

note 'a server without pgcache';

begin_anew();
$server->command_ok([ 'pg_restore', '--exit-on-error', '-d', $server->connstr('target'), $archive ], 'pg_restore');
is(ask(q{SELECT cache_set('i:1:a', '"old"', '1 day')}), 't', 'an entry');
preload($server, '');
$server->restart;
sub sqlstate {
	my ($sql) = @_;
	my ($status, $output, $error) = $server->psql('target', $sql, extra_params => [ '-v', 'VERBOSITY=sqlstate' ], on_error_stop => 1);
	return $error =~ /ERROR:  (\w+)/ ? $1 : $output;
}
is(sqlstate(q{INSERT INTO items (id, kind) VALUES (2, 'a'), (13, 'a'); UPDATE items SET kind = 'b' WHERE id = 1; DELETE FROM items WHERE id = 2; TRUNCATE high_rest;
	INSERT INTO low (id, kind) VALUES (3, 'a'); DELETE FROM base WHERE id = 1; SET session_replication_role = replica; INSERT INTO items (id, kind) VALUES (4, 'a')}), '', 'writes go on');
is(sqlstate(q{COPY items (id, kind) FROM stdin (DELIMITER ',');
5,a
\.
}), '', 'COPY too');
is(ask(q{SELECT string_agg(id || kind, ' ' ORDER BY id) FROM items}), '1b 3a 4a 5a 11a 13a', 'they are done');
is(ask(q{SELECT count(*) FROM referring}), 0, 'with their cascades');
is(ask(q{SELECT ok, detail FROM pgcache.check() WHERE item = 'watches'}), 'f|6 watches, which do nothing until pgcache is loaded at server start', 'the check says so');
is(ask($watches), $of_source, 'the watches are there');
is(sqlstate(q{SELECT cache_watch('base', 'x')}), '55000', 'none can be made');
is(sqlstate(q{ALTER TABLE items RENAME COLUMN kind TO sort}), '', 'a column is renamed');
is(sqlstate(q{CREATE TABLE made PARTITION OF items FOR VALUES FROM (20) TO (21)}), '', 'a partition is made');
is(sqlstate(q{CREATE TABLE joined (sort text, x int, name text, id int); ALTER TABLE joined DROP COLUMN x; ALTER TABLE items ATTACH PARTITION joined FOR VALUES FROM (21) TO (22)}), '', 'a partition is attached');
is(sqlstate(q{ALTER TABLE high DETACH PARTITION high_rest}), '', 'one is detached');
is(sqlstate(q{CREATE TABLE later () INHERITS (child)}), '', 'a child is made');
is(sqlstate(q{ALTER TABLE referring DROP COLUMN kind}), '2BP01', 'a column that a template names stays');
is(ask(q{SELECT string_agg(c || ' ' || (SELECT count(*) FROM pg_trigger WHERE tgrelid = c AND tgname LIKE 'pgcache%'), ', ') FROM unnest('{made,joined,high_rest,later}'::regclass[]) c}),
	'made 5, joined 5, high_rest 0, later 15', 'the triggers follow');
is(ask('SELECT count(*) FROM pgcache.watch_problems()'), 0, 'nothing is missing or left over');
is(sqlstate(q{SELECT pgcache.repair_watches()}), '', 'a repair');
is(sqlstate(q{SELECT cache_unwatch(id) FROM cache_watches WHERE tags = '{bases}'}), 't', 'a watch can be ended');
my $without = "$dumps/without";
$server->command_ok([ 'pg_dump', '-Fc', '-d', $server->connstr('target'), '-f', $without ], 'pg_dump without pgcache in memory');
$server->safe_psql('postgres', 'CREATE DATABASE second');
$server->command_ok([ 'pg_restore', '--exit-on-error', '-j', 2, '-d', $server->connstr('second'), $without ], 'pg_restore without it');
is($server->safe_psql('second', $triggers), ask($triggers), 'the watches are the same');
$server->safe_psql('postgres', 'DROP DATABASE target');
$server->safe_psql('postgres', 'ALTER DATABASE second RENAME TO target');

preload($server, 'pgcache');
$server->restart;
is(ask(q{SELECT cache_get('i:1:a')}), '', 'with pgcache again: nothing old is there');
is(ask(q{SELECT ok, detail FROM pgcache.check() WHERE item = 'watches'}), 't|5 watches', 'the watches work');
changes('writes', q{INSERT INTO items (id, sort) VALUES (6, 'a'); INSERT INTO made (id, sort) VALUES (20, 'b'); INSERT INTO high_a (id, sort) VALUES (12, 'a')}, '6a 12a 20b');
changes('writes to what was made meanwhile', q{INSERT INTO later (id, kind) VALUES (8, 'c')}, '8c');
changes('and detached', q{INSERT INTO high_rest (id, sort) VALUES (12, 'd')}, '');
is(ask(q{SELECT cache_set('21', '1', tags => '{i/e}'); INSERT INTO joined (id, sort) VALUES (21, 'e'); SELECT cache_exists('21')}), "t\nf", 'and attached');

note 'a restart while the database that was in the server before is another one';

# The same keys in a database that is restored under the name of another: nothing of the other is read.
begin_anew();
ask('CREATE EXTENSION pgcache');
ask(q{SELECT cache_set('i:11:a', '"of another database"', '1 day')});
begin_anew();
$server->command_ok([ 'pg_restore', '--exit-on-error', '-d', $server->connstr('target'), $archive ], 'pg_restore');
is(ask(q{SELECT cache_get('i:11:a')}), '', 'a database of the same name has a cache of its own');
my $position = log_position($server);
ask(q{SELECT cache_set('i:11:a', '"kept"', '1 day'), cache_set('i:12:b', '"changed"', '1 day')});
$server->restart;
outcome_of_load($server, $position);
is(ask(q{SELECT cache_get('i:11:a')}), '"kept"', 'entries of watched tables outlive a restart');
is(ask(q{UPDATE items SET name = 'x' WHERE id = 12; SELECT cache_get('i:12:b'), cache_get('i:11:a')}), '|"kept"', 'and are watched over after it');

done_testing();

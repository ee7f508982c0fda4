# pg_dump and restore of a database that uses pgcache, into a server without it too.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('dump');
my $plain = new_server('plain');
preload($plain, '');
$_->start for ($server, $plain);
my $dumps = $server->basedir;

for my $node ($server, $plain) {
	$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE "Ad min" LOGIN; CREATE ROLE nobody LOGIN; CREATE DATABASE target');
}
$server->safe_psql('postgres', q{
	CREATE DATABASE source;
	\c source
	CREATE SCHEMA caching;
	CREATE EXTENSION pgcache SCHEMA caching;
	SELECT pgcache.grant_to('app');
	SELECT pgcache.grant_to('"Ad min"', 'admin');
	SELECT caching.cache_set('not for the dump', '"secret"', '0');
	CREATE TABLE products (id int PRIMARY KEY, name text);
	INSERT INTO products VALUES (1, 'tea');
	CREATE FUNCTION product(id int) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE found jsonb := caching.cache_get('product:' || id);
	BEGIN
		IF found IS NULL THEN
			SELECT to_jsonb(p) INTO found FROM products p WHERE p.id = product.id;
			PERFORM caching.cache_set('product:' || product.id, found, '5 minutes');
		END IF;
		RETURN found;
	END $$;
	CREATE VIEW cached AS SELECT caching.cache_get('product:1') AS value;
	ALTER DATABASE source SET pgcache.default_ttl = '5min'});

sub dump_of {
	my ($name, @options) = @_;
	my $path = "$dumps/$name";
	$server->command_ok([ 'pg_dump', '-d', $server->connstr('source'), '-f', $path, @options ], "pg_dump $name");
	return $path;
}

sub as {
	my ($node, $role, $sql) = @_;
	my ($status, $output, $error) = $node->psql('target', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=sqlstate' ]);
	return $error =~ /ERROR:  (\w+)/ ? $1 : $output;
}

note 'what a dump holds';

my $script = dump_of('script.sql');
my $text = slurp_file($script);
like($text, qr/^CREATE EXTENSION IF NOT EXISTS pgcache WITH SCHEMA caching;$/m, 'the extension');
unlike($text, qr/CREATE (?:FUNCTION|VIEW|TABLE) (?:caching|pgcache)\./, 'none of its objects');
unlike($text, qr/CREATE SCHEMA pgcache\b/, 'nor its schema');
unlike($text, qr/not for the dump|secret/, 'nothing cached');
unlike($text, qr/^COPY (?:caching|pgcache)\.(?!matview_schedules |flags |flag_)/m, 'none of its tables but the schedules and flags');
like($text, qr/^GRANT ALL ON FUNCTION caching\.cache_get\(key text\) TO app;$/m, 'what was granted');
unlike($text, qr/TO PUBLIC/, 'nothing for everybody');

my $archive = dump_of('archive', '-Fc');

note 'restore';

sub is_restored {
	my ($name, $node) = @_;
	is($node->safe_psql('target', 'SELECT product(1)'), q({"id": 1, "name": "tea"}), "$name: the functions work") if $node == $server;
	is($node->safe_psql('target', 'SELECT count(*) FROM products'), 1, "$name: the data is there");
	my $works = $node == $server;
	is(as($node, 'app', q{SELECT caching.cache_set('a', '1')}), $works ? 't' : '55000', "$name: the application may use the cache");
	is(as($node, 'app', 'SELECT caching.cache_clear()'), '42501', "$name: but is no administrator");
	is(as($node, 'app', 'SELECT count(*) FROM caching.cache_stats'), '42501', "$name: and does not see the statistics");
	like(as($node, 'Ad min', 'SELECT caching.cache_clear()'), $works ? qr/^\d+$/ : qr/^55000$/, "$name: the administrator is");
	is(as($node, 'Ad min', 'SELECT count(*) > 0 FROM caching.cache_stats'), $works ? 't' : '55000', "$name: and sees the statistics");
	is(as($node, 'nobody', q{SELECT caching.cache_get('a')}), '42501', "$name: others may nothing");
	is( $node->safe_psql('target', q{SELECT count(*) FROM pgcache.privilege p WHERE has_function_privilege('app',
		CASE WHEN object LIKE 'pgcache.%' THEN object ELSE 'caching.' || object END, 'EXECUTE') <> (level = 'app') AND object LIKE '%(%'}), 0, "$name: every privilege is as granted");
	return;
}

sub begin_anew {
	my ($node) = @_;
	$node->safe_psql('postgres', 'DROP DATABASE target');
	$node->safe_psql('postgres', 'CREATE DATABASE target');
	return;
}

for my $node ($server, $plain) {
	my $name = $node->name;
	my ($status, $output, $error) = $node->psql('target', $text, on_error_stop => 1);
	is($status, 0, "$name: the script runs");
	if ($node == $plain) {
		like($error, qr/WARNING:  pgcache is installed, but/, "$name: with a warning");
		like($error, qr/HINT:  Run: ALTER SYSTEM SET shared_preload_libraries = 'pgcache'; Then restart the server\./, "$name: that says what to do");
		$error =~ s/^.*(?:WARNING|HINT):  .*\n?//mg;
	}
	is($error, '', "$name: and nothing else");
	is_restored("$name, script", $node);

	begin_anew($node);
	$node->command_ok([ 'pg_restore', '--exit-on-error', '--single-transaction', '-d', $node->connstr('target'), $archive ], "$name: pg_restore");
	is_restored("$name, archive", $node);
	$node->command_ok([ 'pg_restore', '--exit-on-error', '--clean', '--if-exists', '-d', $node->connstr('target'), $archive ], "$name: pg_restore over it");
	is_restored("$name, over it", $node);
	begin_anew($node);
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', 2, '-d', $node->connstr('target'), $archive ], "$name: pg_restore with two jobs");
	is_restored("$name, two jobs", $node);
}

note 'a dump of a server without pgcache';

my $from_plain = "$dumps/from_plain.sql";
$plain->command_ok([ 'pg_dump', '-d', $plain->connstr('target'), '-f', $from_plain ], 'pg_dump without pgcache in memory');
begin_anew($server);
is($server->psql('target', slurp_file($from_plain), on_error_stop => 1), 0, 'can be restored');
is_restored('from a server without pgcache', $server);

note 'pg_dumpall keeps settings of a database, where pgcache is not loaded too';

my $all = "$dumps/all.sql";
$server->command_ok([ 'pg_dumpall', '-d', $server->connstr('postgres'), '-f', $all ], 'pg_dumpall');
like(slurp_file($all), qr/ALTER DATABASE source SET "pgcache\.default_ttl" TO '5min';/, 'the setting is in it');
$plain->safe_psql('postgres', 'ALTER DATABASE target SET "pgcache.default_ttl" TO \'5min\'');
is($plain->safe_psql('target', 'SHOW pgcache.default_ttl'), '5min', 'and restores');

done_testing();

# The largest values, the smallest memory.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('limits', conf => "pgcache.memory = 64MB\npgcache.max_value_size = 16MB");
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache');

sub ask { return $server->safe_psql('postgres', $_[0]); }

note 'values of 16 MB';

ask(q{
	CREATE TABLE outcome (client int, found int, missed int);
	-- Writes its own large value, and reads its own and another's back: whole, or not at all.
	CREATE FUNCTION round_of(client int, rounds int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		values bytea[] := ARRAY[]::bytea[];
		found bytea;
		hits int := 0;
		misses int := 0;
	BEGIN
		FOR c IN 0 .. 7 LOOP
			values[c] := convert_to(repeat(md5(c::text), 16 * 1024 * 1024 / 32), 'UTF8');
		END LOOP;
		FOR i IN 1 .. rounds LOOP
			IF NOT cache_set_bytes('large ' || client, values[client], '1 hour') THEN RAISE EXCEPTION 'not stored'; END IF;
			FOR c IN 0 .. 7 LOOP
				found := cache_get_bytes('large ' || c);
				IF found IS NULL THEN misses := misses + 1;
				ELSIF found = values[c] THEN hits := hits + 1;
				ELSE RAISE EXCEPTION 'client % read something else under %', client, c;
				END IF;
			END LOOP;
			IF NOT cache_set('small ' || client, to_jsonb(i)) THEN RAISE EXCEPTION 'not stored'; END IF;
		END LOOP;
		INSERT INTO outcome VALUES (client, hits, misses);
	END $$});
my $script = $server->basedir . '/large.sql';
append_to_file($script, 'SELECT round_of(:client_id, 3);');
$server->command_ok([ 'pgbench', '-n', '-c', 8, '-t', 1, '-f', $script, $server->connstr('postgres') ], 'eight clients at once');
is(ask('SELECT count(*), sum(found + missed), sum(found) > 0 FROM outcome'), '8|192|t', 'all went through, and found something');
is(ask('SELECT bytes_used <= bytes_allowed FROM cache_stats'), 't', 'within the memory');
is(ask(q{SELECT cache_set_bytes('alone', convert_to(repeat('x', 16 * 1024 * 1024), 'UTF8')); SELECT length(cache_get_bytes('alone'))}), "t\n16777216", 'the last one is there');
my ($status, $output, $error) = $server->psql('postgres', q{SELECT cache_set_bytes('alone', convert_to(repeat('x', 16 * 1024 * 1024 + 1), 'UTF8'))},
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($error, qr/ERROR:  54000: .*16777217.*16777216/, 'a byte more is an error with both sizes');
is(ask(q{SELECT length(cache_get_bytes('alone'))}), 16777216, 'that leaves the old value');
is(ask(q{SELECT cache_clear() > 0; SELECT items, bytes_used FROM cache_stats; SELECT cache_stats_reset()}), "t\n0|0\n", 'all memory comes back');
is( ask(q{SELECT count(cache_set_text('fill ' || i, repeat('x', 1000), '0')) FROM generate_series(1, 50000) i; SELECT items, evictions FROM cache_stats}), "50000\n50000|0", 'and can be used');

note 'a memory of 4 MB';

$server->append_conf('postgresql.conf', "pgcache.memory = '4MB'");
restart_and_load($server, 'fast');
is(ask(q{SELECT cache_clear() > 0; SELECT bytes_allowed BETWEEN 3 * 1024 * 1024 AND 4 * 1024 * 1024 FROM cache_stats}), "t\nt", 'is used for entries, most of it');
is( ask(q{
	SELECT count(*) FROM generate_series(1, 20000) i WHERE cache_set_text('key ' || i, repeat(md5(i::text), i % 200), '1 hour');
	SELECT count(*) FROM generate_series(1, 20000) i WHERE cache_get_text('key ' || i) <> repeat(md5(i::text), i % 200);
	SELECT count(*) > 500, max(key) IS NOT NULL FROM cache_keys('%', 100000)}), "20000\n0\nt|t", 'takes everything, evicting');
is( ask(q{SELECT cache_set_text('quarter', repeat('x', 1024 * 1024)); SELECT length(cache_get_text('quarter'))}), "t\n1048576", 'a value of a quarter of it');
like(($server->psql('postgres', q{SELECT cache_set_text('more', repeat('x', 1024 * 1024 + 1))}))[2], qr/value is 1048577 bytes long, the limit is 1048576/, 'is the largest');
unlink $script;
append_to_file($script, q{
	\set n random(1, 20)
	\set size random(1, 1048576)
	SELECT cache_set_text('large ' || :n, repeat('x', :size));
	SELECT length(cache_get_text('large ' || :n)), cache_incr('counter ' || :n);
	});
$server->command_ok([ 'pgbench', '-n', '-c', 8, '-t', 50, '-f', $script, $server->connstr('postgres') ], 'eight clients at once');
is(ask('SELECT bytes_used <= bytes_allowed FROM cache_stats'), 't', 'within the memory');

note 'less than 4 MB';

$server->append_conf('postgresql.conf', "pgcache.memory = '3MB'");
my $position = log_position($server);
$server->restart;
like(slurp_file($server->logfile, $position), qr/3 MB is outside the valid range for parameter "pgcache\.memory"/, 'is warned of');
is(ask(q{SHOW pgcache.memory; SELECT cache_set('a', '1')}), "64MB\nt", 'the default is taken, as PostgreSQL does it');

done_testing();

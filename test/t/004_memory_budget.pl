# A day of churn in steps of ten minutes: the cache stays within its memory, and gives all of it back in the end.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $start = '2030-01-01 00:00:00+00';
my $server = new_server('budget', conf => "pgcache.memory = 8MB\npgcache.test_clock = '$start'");
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache; CREATE DATABASE other');
$server->safe_psql('other', 'CREATE EXTENSION pgcache');

my $session = $server->background_psql('postgres');
my $other = $server->background_psql('other');
$session->query_safe(q{
	CREATE TABLE over_budget AS SELECT now() AS at, * FROM cache_stats WITH NO DATA;
	-- What the entry holds, so that a reader can tell.
	CREATE FUNCTION value_of(key text, size int) RETURNS text LANGUAGE sql AS
		$$SELECT left(repeat(md5(key), size / 32 + 1), size)$$;
	CREATE FUNCTION churn(step int) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		sizes int[] := '{1, 20, 100, 500, 2000, 5000, 10000, 16000, 20000, 70000}';
		ttls interval[] := '{1 second, 90 seconds, 5 minutes, 9 minutes, 20 minutes, 1 hour, 2 hours, 6 hours, 12 hours}';
		wrong int := 0;
		size int;
		found text;
	BEGIN
		FOR i IN 1 .. 300 LOOP
			size := sizes[1 + (i * 7 + step) % array_length(sizes, 1)];
			PERFORM cache_set_text(format('%s %s %s', size, step, i), value_of(format('%s %s', step, i), size),
				ttls[1 + (i * 5 + step) % array_length(ttls, 1)]);
			INSERT INTO over_budget SELECT now(), * FROM cache_stats WHERE (SELECT sum(bytes_used) FROM cache_stats) > bytes_allowed;
			-- Entries of steps before are whole, or gone.
			size := sizes[1 + (i * 7 + step / 2) % array_length(sizes, 1)];
			found := cache_get_text(format('%s %s %s', size, step / 2, i));
			IF found <> value_of(format('%s %s', step / 2, i), size) THEN wrong := wrong + 1; END IF;
			PERFORM cache_touch(format('%s %s %s', size, step - 1, i), '30 minutes') WHERE i % 10 = 0;
			PERFORM cache_delete(format('%s %s %s', size, step - 1, i)) WHERE i % 10 = 1;
		END LOOP;
		PERFORM cache_set_text('large', repeat('x', 100000 + step * 13000), '15 minutes') WHERE step % 3 = 0;
		PERFORM cache_incr('counter ' || step % 50, 1, '40 minutes');
		RETURN wrong;
	END $$});

my $steps = 144;
my $wrong = 0;
for my $step (1 .. $steps) {
	my $clock = "('$start'::timestamptz + $step * '10 minutes'::interval)::text";
	my $now = $session->query_safe("SELECT $clock");
	$session->query_safe("ALTER SYSTEM SET pgcache.test_clock = '$now'");
	$session->query_safe("SELECT pg_reload_conf(); SET pgcache.test_clock = '$now'");
	$wrong += $session->query_safe("SELECT churn($step)");
	if ($step % 12 == 0) {
		$other->query_safe("SET pgcache.test_clock = '$now'");
		$other->query_safe(q{SELECT count(cache_set_text('key ' || i, repeat('x', i), '3 hours')) FROM generate_series(1, 1000) i});
	}
}
is($wrong, 0, 'every value that was read was whole and the right one');
is($session->query_safe('SELECT count(*) FROM over_budget'), 0, 'the cache never held more than it may');
my $statistics = $session->query_safe(q{SELECT evictions > 1000, expirations > 1000, bytes_used > 0, bytes_allowed <= 8 * 1024 * 1024
	FROM cache_stats WHERE database = 'postgres'});
is($statistics, 't|t|t|t', 'it was more than the memory could hold, and much expired');
is( $session->query_safe(q{SELECT s.items >= k.items AND s.bytes_used >= k.bytes FROM (SELECT count(*) AS items, sum(size_bytes) AS bytes
	FROM cache_keys('%', 1000000)) k, cache_stats s WHERE s.database = 'postgres'}), 't', 'the statistics count all entries');

note 'the end of the day';

my $end = '2030-01-03 00:00:00+00';
$session->query_safe("ALTER SYSTEM SET pgcache.test_clock = '$end'");
$session->query_safe('SELECT pg_reload_conf()');
ok( $server->poll_query_until('postgres', 'SELECT sum(items) = 0 AND sum(bytes_used) = 0 FROM cache_stats'), 'the worker gives all memory back') or diag($server->safe_psql('postgres', 'SELECT * FROM cache_stats'));
is($server->safe_psql('postgres', 'SELECT count(*) FROM over_budget'), 0, 'and never held more meanwhile');
is($server->safe_psql('postgres', 'SELECT count(*) FROM cache_keys()'), 0, 'no entry is left');

# Free is what can be used: new entries of three quarters of the memory need nobody else's.
is( $server->safe_psql('postgres', q{
	SELECT cache_stats_reset();
	SELECT count(cache_set_text('fill ' || i, repeat(i::text, 1000 / length(i::text)), '1 hour')) FROM generate_series(1, 5000) i;
	SELECT items, evictions, expirations FROM cache_stats WHERE database = 'postgres'}), "\n5000\n5000|0|0", 'the memory is free for new entries');

note 'entries that never expire are the only ones to stay';

$server->safe_psql('postgres', q{SELECT cache_clear();
	SELECT count(cache_set('never ' || i, '1', '0')), count(cache_set('soon ' || i, '1', '1 minute')) FROM generate_series(1, 1000) i});
$session->query_safe("ALTER SYSTEM SET pgcache.test_clock = '2030-01-03 00:02:00+00'");
$session->query_safe('SELECT pg_reload_conf()');
ok($server->poll_query_until('postgres', q{SELECT items = 1000 FROM cache_stats WHERE database = 'postgres'}), 'what expired is given back, mixed as it was');
is($server->safe_psql('postgres', q{SELECT count(*) FROM cache_keys('never %', 10000)}), 1000, 'what does not expire is there');

$session->quit;
$other->quit;
done_testing();

# The memory of rate limits: how many keys it holds, what a new key is answered where it is full, and that nothing in use ever
# gives way.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $clock = "pgcache.test_clock = '2030-01-01 12:00:00+00'";
my $server = new_server('large', conf => "pgcache.memory = 4MB\n$clock");
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache');

sub ask { return $server->safe_psql('postgres', $_[0]); }

# The same at another time of the same day.
sub ask_at {
	my ($time, $sql) = @_;
	return ask("SET pgcache.test_clock = '2030-01-01 $time+00'; $sql");
}

sub failure {
	my ($sql) = @_;
	my ($status, $output, $error) = $server->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $status == 0 ? 'no error' : $error;
}

note 'the default memory';

is(ask('SHOW pgcache.rate_limit_memory'), '16MB', 'is 16 MB');
is(ask('SELECT cells, cells_max > 290000, bytes_per_cell BETWEEN 48 AND 64 FROM rate_limit_stats'), '0|t|t', 'for some 290,000 counts');
is(ask(q{SELECT count(*) FROM generate_series(1, 200000) i, LATERAL rate_limit('key ' || i, 5, '1 day', 1 + i % 3) l WHERE l.allowed AND l.remaining = 4 - i % 3}), 200000, '200,000 keys are counted');
is(ask('SELECT cells, allowed, denied, forgotten, no_room FROM rate_limit_stats'), '200000|200000|0|0|0', 'each in a place of its own');
is(ask(q{SELECT count(*) FROM generate_series(1, 200000) i, LATERAL rate_limit_peek('key ' || i, 5, '1 day') l WHERE l.remaining = 4 - i % 3}), 200000, 'and all are still there');
ask(q{SELECT rate_limit_stats_reset(); SET pgcache.test_clock = '2030-01-03 12:00+00'; SELECT count(l) FROM generate_series(1, 1000000) i, LATERAL rate_limit('other ' || i, 1, '1 hour') l});
is(ask('SELECT cells = cells_max, allowed = cells_max, forgotten, no_room = 1000000 - cells_max FROM rate_limit_stats'), 't|t|200000|t', 'what has run off gives way, to the last place')
  or diag(ask('SELECT * FROM rate_limit_stats'));
$server->stop('immediate');

note '4 MB: what is in use before the flood';

$server = new_server('small', conf => "pgcache.memory = 4MB\npgcache.rate_limit_memory = 4MB\n$clock");
$server->start;
ask('CREATE EXTENSION pgcache');

# Of each kind 100 keys: denied, half used, blocked by hand, blocked by a denial, and one whose limit was lowered.
my $kinds = q{generate_series(1, 100) i, unnest('{gcra,fixed,sliding,exact,calendar}'::text[]) a};
my $kept = qq{
	SELECT count(*) FILTER (WHERE l.reason = 'limit_exceeded') FROM $kinds, LATERAL rate_limit_peek('denied ' || i, 3, '1 day', algorithm => a) l;
	SELECT count(*) FILTER (WHERE l.remaining = 2 AND l.allowed) FROM $kinds, LATERAL rate_limit_peek('half ' || i, 4, '1 day', algorithm => a) l;
	SELECT count(*) FILTER (WHERE l.blocked_until = timestamptz '2030-01-05 12:00+00') FROM generate_series(1, 100) i, LATERAL rate_limit_peek('blocked ' || i, 3, '1 day') l;
	SELECT count(*) FILTER (WHERE l.blocked_until = timestamptz '2030-01-06 12:00+00') FROM generate_series(1, 100) i, LATERAL rate_limit_peek('guessed ' || i, 3, '1 day') l;};
ask(qq{
	SELECT rate_limit('denied ' || i, 3, '1 day', 3, algorithm => a), rate_limit('denied ' || i, 3, '1 day', algorithm => a) FROM $kinds;
	SELECT rate_limit('half ' || i, 4, '1 day', 2, algorithm => a) FROM $kinds;
	SELECT rate_limit_block('blocked ' || i, '4 days') FROM generate_series(1, 100) i;
	SELECT rate_limit('guessed ' || i, 1, '1 minute', block => '5 days'), rate_limit('guessed ' || i, 1, '1 minute', block => '5 days') FROM generate_series(1, 100) i});
is(ask($kept), "500\n500\n100\n100", 'keys are denied, half used, blocked');
# Until 12:48 they are in use, for a lower limit too.
ask(q{SELECT rate_limit('lowered ' || i, 100, '1 hour', 80) FROM generate_series(1, 100) i});
my $lowered = q{SELECT count(*) FILTER (WHERE l.reason = 'limit_exceeded' AND l.retry_after = interval '8 minutes') FROM generate_series(1, 100) i, LATERAL rate_limit('lowered ' || i, 1, '1 hour') l};
is(ask_at('12:40', $lowered), 100, 'keys are denied because the quota was lowered');

note 'the flood';

my $position = log_position($server);
my $flood = q{FROM generate_series(1, 1000000) i, LATERAL rate_limit('flood ' || i, 1, i % 50 * interval '1 minute' + interval '5 hours') l};
my ($allowed, $full, $others) = split /\|/, ask_at('12:40', qq{SELECT count(*) FILTER (WHERE l.allowed), count(*) FILTER (WHERE l.reason = 'memory_full' AND NOT l.allowed AND l.remaining = 0 AND l.retry_after > interval '0'),
	count(*) FILTER (WHERE NOT l.allowed AND l.reason IS DISTINCT FROM 'memory_full') $flood});
cmp_ok($allowed, '>', 60000, 'most of the places are taken by the first');
is($allowed + $full, 1000000, 'all others are told that there is no room');
is($others, 0, 'and nothing else');
is(ask('SELECT cells = cells_max, no_room FROM rate_limit_stats'), "t|$full", 'the memory is full, and the calls are counted');
is(ask($kept), "500\n500\n100\n100", 'nothing in use gave way');
is(ask_at('12:40', $lowered), 100, 'nor did who is denied by a limit that was lowered');
is(ask(q{SELECT count(*) FROM rate_limit_top(1000) WHERE key LIKE 'flood%'}), 0, 'who finds no room is not listed among the denied');

note 'the log';

sub complaints {
	my $log = slurp_file($server->logfile, $position);
	my @lines = $log =~ /LOG:  there is no room for another rate limit/g;
	return scalar @lines;
}
is(complaints(), 1, 'tells once');
my $one = q{SELECT reason FROM rate_limit('flood one', 1, '1 day')};
ask_at('12:40', $one) for 1 .. 3;
is(complaints(), 1, 'not again at once');
is(ask_at('12:40:59.999999', $one), 'memory_full', 'nor with a microsecond to the minute');
is(complaints(), 1, 'does it tell');
ask_at('12:41', $one);
is(complaints(), 2, 'but then');
ask_at('12:10', $one);
is(complaints(), 3, 'and when the clock was set back');
my $full_log = slurp_file($server->logfile, $position);
like($full_log, qr/DETAIL:  pgcache.rate_limit_when_full says what the key is answered: deny\.\n.*HINT:  Raise pgcache.rate_limit_memory, which is 4 MB/, 'it says what to do');
ask_at('12:20', q{DO $$ BEGIN PERFORM rate_limit('flood secret', 1, '1 day'); EXECUTE 'SELECT rate_limit(''flood secret'', 1, ''1 day'')'; END $$});
is(complaints(), 4, 'from PL/pgSQL too');
unlike(slurp_file($server->logfile, $position), qr/flood|SELECT|STATEMENT/, 'it tells neither keys nor statements');

note 'full: allow';

is( ask_at('12:21', q{SET pgcache.rate_limit_when_full = allow; SELECT allowed, remaining, retry_after, reason FROM generate_series(1, 3) n, LATERAL rate_limit('flood allowed', 5, '1 day', cost => sign(n)::bigint) l;
	SELECT rate_limit_allowed('flood allowed', 5, '1 day'); SELECT allowed, reason FROM rate_limit('flood allowed', 5, '1 day', 6)}),
	"t|4|00:00:00|memory_full\n" x 3 . "t\nf|cost_exceeds_limit", 'is allowed, as far as the limit alone would');
is(ask_at('12:21', $kept), "500\n500\n100\n100", 'those in use are denied all the same');
like(slurp_file($server->logfile, $position), qr/DETAIL: .*: allow\./, 'the log says so');
is(ask(q{SELECT rate_limit_allowed('flood allowed', 5, '1 day')}), 'f', 'without the setting it is denied');

note 'full: blocks';

my $no_room = ask('SELECT no_room FROM rate_limit_stats');
like(failure(q{SELECT rate_limit_block('flood blocked', '1 day')}), qr/ERROR:  53200: there is no room for another block\nHINT:  Raise pgcache.rate_limit_memory, which is 4 MB/, 'a new one is an error');
is(ask(q{SELECT rate_limit_block('blocked 1', '4 days')}), '2030-01-05 12:00:00+00', 'one in place of another is none');
is( ask(q{SELECT allowed, reason, blocked_until, retry_after > interval '0' FROM rate_limit('denied 1', 3, '1 day', block => '1 day')}), 'f|limit_exceeded||t', 'a denial that should block denies');
is(ask('SELECT no_room FROM rate_limit_stats') - $no_room, 2, 'both are counted');
is(ask(q{SELECT rate_limit_unblock('flood blocked')}), 'f', 'there is no such block');

note 'retry_after of a key without a place';

# For each key: denied, and at the end of its wait, allowed. The place is given back, and the next has the same start. Each place
# that was found stays free, so not all are denied.
ask(q{CREATE FUNCTION waits(OUT keys bigint, OUT denied bigint, OUT in_vain bigint) LANGUAGE plpgsql AS $$
	DECLARE
		started timestamptz := '2030-01-01 12:45+00';
		answer record;
	BEGIN
		keys := 0; denied := 0; in_vain := 0;
		FOR i IN 1 .. 300 LOOP
			PERFORM set_config('pgcache.test_clock', started::text, false);
			SELECT * INTO answer FROM rate_limit('waiting ' || i, 1, '1 day', algorithm => (ARRAY['gcra', 'fixed', 'exact'])[i % 3 + 1]);
			keys := keys + 1;
			IF answer.reason = 'memory_full' THEN
				denied := denied + 1;
				PERFORM set_config('pgcache.test_clock', (started + answer.retry_after)::text, false);
				IF NOT (SELECT l.allowed FROM rate_limit('waiting ' || i, 1, '1 day', algorithm => (ARRAY['gcra', 'fixed', 'exact'])[i % 3 + 1]) l) THEN in_vain := in_vain + 1; END IF;
			END IF;
			PERFORM rate_limit_reset('waiting ' || i);
		END LOOP;
	END $$});
is(ask('SELECT keys, denied > 100, in_vain FROM waits()'), '300|t|0', 'who waits so long finds one');

note 'pgcache.check()';

my ($ok, $detail, $fix) = split /\|/, ask(q{SELECT ok, detail, fix FROM pgcache.check() WHERE item = 'rate_limits'});
is($ok, 'f', 'tells');
like($detail, qr/^\d+ of \d+ places and \d+ of \d+ hits taken; \d+ calls found none$/, 'how many');
like($fix, qr/^ALTER SYSTEM SET pgcache\.rate_limit_memory = '8 MB';/, 'and what mends it');
ask($fix);
$position = log_position($server);
$server->restart;
is(ask(q{SELECT ok, fix FROM pgcache.check() WHERE item = 'rate_limits'}), 't|', 'it does');
is(ask('SELECT cells, cells_max > 130000 FROM rate_limit_stats'), '0|t', 'there is more memory now');
like(slurp_file($server->logfile, $position), qr/LOG:  discarding the saved rate limits\n.*pgcache\.rate_limit_memory/, 'and the old counts did not fit');
ask('ALTER SYSTEM RESET ALL');
$server->restart;
is(ask(q{SELECT allowed, reason FROM generate_series(1, 17) n, LATERAL rate_limit('many', 5, n * interval '1 day') l ORDER BY 1 LIMIT 1}), 'f|memory_full', "a key's 17th count finds no place");
is(ask(q{SELECT no_room FROM rate_limit_stats; SELECT rate_limit_stats_reset(); SELECT ok FROM pgcache.check() WHERE item = 'rate_limits'}), "1\n\nt", 'rate_limit_stats_reset begins that anew');
is(ask(q{SELECT rate_limit_reset('many'); SELECT cells FROM rate_limit_stats}), "16\n0", 'the others are counted');

note 'the logs of exact';

my $logs = q{generate_series(1, 1000) i, LATERAL rate_limit('log ' || i, 1000, '1 hour', 500, algorithm => 'exact') l};
my ($fit, $unfit) = split /\|/, ask("SELECT count(*) FILTER (WHERE l.allowed), count(*) FILTER (WHERE l.reason = 'memory_full') FROM $logs");
is("$fit $unfit", '96 904', 'some find room, others not: three in each of 32 partitions');
is(ask("SELECT log_entries, log_entries <= log_entries_max, cells FROM rate_limit_stats"), 504 * $fit . "|t|$fit", 'whole blocks of seven');
is( ask(q{SELECT count(*) FROM generate_series(1, 1000) i, LATERAL rate_limit('gcra ' || i, 1, '1 hour') l WHERE l.allowed}), 1000, 'the other algorithms have places');
is( ask(q{SELECT count(*) FILTER (WHERE l.remaining = 500), count(*) FILTER (WHERE l.remaining = 1000) FROM generate_series(1, 1000) i, LATERAL rate_limit_peek('log ' || i, 1000, '1 hour', algorithm => 'exact') l}),
	"$fit|$unfit", 'who was denied has taken nothing');
is( ask_at('12:30', q{SELECT count(*) > 0, bool_and(l.reset_after = interval '30 minutes') FROM generate_series(1, 1000) i, LATERAL rate_limit_peek('log ' || i, 1000, '1 hour', algorithm => 'exact') p,
	LATERAL rate_limit('log ' || i, 1000, '1 hour', 499, algorithm => 'exact') l WHERE p.remaining = 500 AND l.reason = 'memory_full'}), 't|t', 'a denial for lack of room tells when the hits of before have run off');
is(ask_at('12:59:59.999999', q{SELECT l.reason, l.retry_after, l.retry_after_ms FROM generate_series(1, 1000) i, LATERAL rate_limit('late ' || i, 1000, '1 hour', 1000, algorithm => 'exact') l WHERE NOT l.allowed LIMIT 1}),
	'memory_full|00:00:00.000001|1', 'a wait to the end of the first log');
is(ask_at('13:00', q{SELECT count(*) FROM generate_series(1, 32) i, LATERAL rate_limit('later ' || i, 1000, '1 hour', 100, algorithm => 'exact') l WHERE l.allowed}), 32, 'and then there is room');
ask_at('14:00', q{SELECT rate_limit_reset(k || i) FROM generate_series(1, 1000) i, unnest(ARRAY['log ', 'gcra ', 'late ', 'later ']) k});
is(ask('SELECT cells, log_entries FROM rate_limit_stats'), '0|0', 'all of it comes back');
is(ask_at('15:00', "SELECT count(*) FILTER (WHERE l.allowed) FROM $logs"), $fit, 'and holds as much again');

note 'many sessions in a full memory';

my $script = $server->basedir . '/full.sql';
append_to_file($script, q{
	\set k random(1, 2000)
	\set n random(1, 300)
	SELECT set_config('pgcache.test_clock', '2030-01-02 12:' || (:n / 6) || ':00+00', false);
	SELECT count(l) FROM generate_series(:k, :k + 200) i, LATERAL rate_limit('full ' || i, 1, i % 60 * interval '1 minute' + interval '1 minute') l;
	SELECT rate_limit('full exact ' || :k, 1000, '10 minutes', :n, algorithm => 'exact');
	SELECT rate_limit_refund('full exact ' || :n, 1000, '10 minutes', 50, algorithm => 'exact');
	SELECT rate_limit_reset('full exact ' || :k % 300), rate_limit_peek('full ' || :n, 1, '1 minute');
});
ask(q{SET pgcache.test_clock = '2030-01-02 12:00+00'; SELECT count(l) FROM generate_series(1, 200000) i, LATERAL rate_limit('fill ' || i, 1, i % 30 * interval '1 minute' + interval '1 minute') l});
$server->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 200, '-f', $script, $server->connstr('postgres') ], 'eight clients at once');
is(ask('SELECT cells <= cells_max AND log_entries <= log_entries_max AND no_room > 0 AND forgotten > 0 FROM rate_limit_stats'), 't', 'stay within the memory');
ask(q{SELECT count(rate_limit_reset(k || i)) FROM generate_series(1, 200000) i, unnest(ARRAY['fill ', 'full ', 'full exact ']) k WHERE k = 'fill ' OR i <= 2200;
	SELECT count(rate_limit_reset('log ' || i)) FROM generate_series(1, 1000) i});
is(ask('SELECT cells, log_entries FROM rate_limit_stats'), '0|0', 'and nothing is left over');
is(ask_at('23:00', "SELECT count(*) FILTER (WHERE l.allowed) FROM $logs"), $fit, 'of the logs neither');
unlike(slurp_file($server->logfile), qr/PANIC|was terminated by signal/, 'nothing crashed');

done_testing();

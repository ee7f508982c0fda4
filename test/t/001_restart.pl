# A clean restart keeps the entries, and nothing that was replaced or deleted comes back.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('restart', conf => "pgcache.test_clock = '2030-01-01 00:00:00+00'");
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache');
$server->safe_psql('postgres', 'CREATE DATABASE other');
$server->safe_psql('other', 'CREATE EXTENSION pgcache');

# is() would print all of a long list.
sub same { return ok($_[0] eq $_[1], $_[2]); }
sub ask { return $server->safe_psql($_[1] // 'postgres', $_[0]); }

note 'what comes back';

$server->safe_psql('postgres', q{
	SELECT cache_set('json', '{"a": [1, null, "ü"], "b": {}}', '1 day');
	SELECT cache_set('json null', 'null', '1 day');
	SELECT cache_set_text('text', E'tab\t, newline\n, quote'' and ünicode', '1 day');
	SELECT cache_set_text('empty', '', '1 day');
	SELECT cache_set_bytes('bytes', (SELECT string_agg(set_byte('\x00', 0, b), NULL ORDER BY b)
		FROM generate_series(0, 255) b), '1 day');
	SELECT cache_incr('counter', 9223372036854775807, '1 day');
	SELECT cache_set_text('large text', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 163840) i), '1 day');
	SELECT cache_set_bytes('large bytes', (SELECT string_agg(sha256(i::text::bytea), NULL ORDER BY i)
		FROM generate_series(1, 163841) i), '1 day');
	SELECT cache_set(E'key ünd \t \n '' " % _ \\\\', '1', '1 day');
	SELECT cache_set_text(repeat('k', 1024), 'longest key', '1 day');
	SELECT cache_set('ten minutes', '10', '10 minutes');
	SELECT cache_set('one hour', '60', '1 hour');
	SELECT cache_set('milliseconds', '60', '1.234 seconds');
	SELECT cache_set('for ever', '0', '0');
	SELECT count(cache_set('small ' || i, to_jsonb(i), '2 hours')) FROM generate_series(1, 2000) i});
$server->safe_psql('other', q{SELECT cache_set('json', '"of the other"', '1 day')});

my $before = contents($server);
my $before_in_other = contents($server, 'other');
is(ask(q{SELECT length(cache_get_text('large text'))}), 5242880, 'there is a value of 5 MB');
my $version = ask(q{SELECT version FROM cache_entry('json')});

is(restart_and_load($server, 'fast'), 'loaded 2015', 'a fast stop saves all');
same(contents($server), $before, 'all entries of all kinds are as they were, with their expiry');
same(contents($server, 'other'), $before_in_other, 'those of another database too');
ok(!has_saved_file($server), 'the file is gone once it is loaded');
is(ask(q{SELECT count(*) FROM cache_keys('%', 100000) k, cache_entry(k.key) e WHERE NOT e.found}), 0, 'each is found by its key');

is(restart_and_load($server, 'smart'), 'loaded 2015', 'a smart stop saves all');
same(contents($server), $before, 'all entries are there after the second restart in a row');
is(ask(q{SELECT cache_set('json', '0', if_version => } . $version . ')'), 'f', 'a version of before the restart fits no more');

ask(q{SELECT cache_incr('counter', -1); SELECT cache_set('small 1', '"new"', keep_ttl => true)});
$before = contents($server);
is(restart_and_load($server, 'fast'), 'loaded 2015', 'entries that were loaded are saved again');
same(contents($server), $before, 'with what was done to them since');

note 'time goes on';

set_clock($server, '2030-01-01 00:00:01+00');
is(ask(q{SELECT cache_ttl('ten minutes'), cache_ttl('for ever'), cache_ttl('milliseconds')}), '00:09:59|00:00:00|00:00:00.234', 'the time to live runs');
my $position = log_position($server);
$server->stop('fast');
set_clock($server, '2030-01-01 00:09:59.999+00');
$server->start;
is(outcome_of_load($server, $position), 'loaded 2014', 'what expired while the server was down stays away');
is( ask(q{SELECT cache_ttl('ten minutes'), cache_ttl('one hour'), cache_ttl('for ever'), cache_exists('milliseconds')}), '00:00:00.001|00:50:00.001|00:00:00|f', 'the time to live went on');
$position = log_position($server);
$server->stop('fast');
set_clock($server, '2030-01-01 00:10:00+00');
$server->start;
is(outcome_of_load($server, $position), 'loaded 2013', 'expiry is exact');
is(ask(q{SELECT cache_exists('ten minutes')}), 'f', 'what expired is gone');
set_clock($server, '2030-01-01 01:00:00+00');
is(ask(q{SELECT cache_exists('one hour'), cache_exists('small 7')}), 'f|t', 'loaded entries expire later as they must');
set_clock($server, '2030-01-01 03:00:00+00');
ok($server->poll_query_until('postgres', q{SELECT items = 11 FROM cache_stats WHERE database = 'postgres'}), 'the worker gives the memory of loaded entries back');

note 'another size of memory';

ask(q{SELECT count(cache_set_text('filler ' || i, repeat(md5(i::text), 100), '1 day')) FROM generate_series(1, 5000) i});
my $full = contents($server);
$server->append_conf('postgresql.conf', "pgcache.memory = '16MB'");
like(restart_and_load($server, 'fast'), qr/^loaded \d+$/, 'less memory than there is to load');
my %saved = map { $_ => 1 } split /\n/, $full;
is(scalar(grep { !$saved{$_} } split /\n/, contents($server)), 0, 'nothing is there that was not saved');
cmp_ok(key_count($server), '>', 2000, 'much of it is there');
is(ask(q{SELECT cache_exists('large text'), cache_set('works', '1')}), 'f|t', 'what can never fit is left out');
my $small = contents($server);
my $small_count = key_count($server) + key_count($server, 'other');
$server->append_conf('postgresql.conf', "pgcache.memory = '128MB'");
is(restart_and_load($server, 'fast'), "loaded $small_count", 'more memory');
same(contents($server), $small, 'everything is there');

note 'changes after the worker has saved';

sub changes_after_saving {
	my ($name, $change, $mode) = @_;
	ask('SELECT cache_clear()');
	ask('SELECT cache_clear()', 'other');
	ask(q{SELECT cache_set('gone', '"old"', '1 day'), cache_set('overwritten', '"old"', '1 day'), cache_set('same size', '"old"', '1 day'),
		cache_set('taken', '"old"', '1 day'), cache_incr('counted', 1, '1 day'), cache_set('touched', '"old"', '1 day'),
		cache_set_text('large', repeat('old', 1000000), '1 day'),
		cache_set('many', '"old"', '1 day')});
	ask(q{SELECT count(cache_set('untouched ' || i, '"old"', '1 day')) FROM generate_series(1, 1000) i});
	ask(q{SELECT cache_set('of the other', '"old"', '1 day')}, 'other');
	my $start = log_position($server);
	my $other = $server->background_psql('other');
	ok(stop_worker($server, sub { $change->($_[0], $other); $other->quit; }), "$name: the worker has saved");
	$server->stop($mode);
	$server->start;
	like(outcome_of_load($server, $start), qr/^loaded \d+$/, "$name: the file is good");
	return;
}

changes_after_saving(
	'entries',
	sub {
		my ($session) = @_;
		$session->query_safe($_) for (
			q{SELECT cache_delete('gone')}, q{SELECT cache_set('overwritten', '"very much longer"', '1 day')},
			q{SELECT cache_set('same size', '"new"', '1 day')}, q{SELECT cache_take('taken')}, q{SELECT cache_incr('counted')},
			q{SELECT cache_touch('touched', '2 days')}, q{SELECT cache_set_text('large', repeat('new', 1000000), '1 day')},
			q{SELECT cache_delete_many('{many}')},
			q{SELECT cache_set('fresh', '"new"')});
	},
	'fast');
is( ask(q{SELECT count(*) FROM cache_keys('%', 100000) WHERE key NOT LIKE 'untouched %' AND
		(cache_get_text(key) IS NULL OR left(cache_get_text(key), 3) <> 'new') AND kind = 'text'}), 0, 'no old text');
is( ask(q{SELECT string_agg(k.key || ' ' || (cache_entry(k.key)).value::text, ', ') FROM cache_keys('%', 100000) k
		WHERE key NOT LIKE 'untouched %' AND kind <> 'text' AND (cache_entry(k.key)).value::text NOT LIKE '%new%'}), '', 'nothing of before a change');
is(ask(q{SELECT cache_get('of the other')}, 'other'), '"old"', 'another database is not touched by it');
cmp_ok(ask(q{SELECT count(*) FROM cache_keys('untouched %', 100000)}), '>', 900, 'what nobody changed is there');

for my $statement ('SELECT cache_clear()', q{SELECT cache_delete_matching('of%')}) {
	changes_after_saving("in another database, $statement", sub {
		my $other = $_[1];
		$other->query_safe($statement);
	}, 'fast');
	is(key_count($server, 'other'), 0, 'what was deleted there stays away');
	cmp_ok(key_count($server), '>', 1000, 'nothing else does');
}

note 'changes during a smart shutdown';

ask('SELECT cache_clear()');
ask(q{SELECT cache_set('deleted late', '1', '1 day'), cache_set('changed late', '"old"', '1 day'), cache_set('kept', '1', '1 day')});
my $session = $server->background_psql('postgres');
$position = log_position($server);
kill 'TERM', server_pid($server);
ok(wait_until(sub { slurp_file($server->logfile, $position) =~ /received smart shutdown request/ }, 'smart shutdown'), 'a smart shutdown waits for a session');
$session->query_safe(q{SELECT cache_delete('deleted late'), cache_set('changed late', '"new"', '1 day')});
$session->quit;
ok(wait_until_stopped($server), 'the server stops after it');
$server->start;
is(outcome_of_load($server, $position), 'loaded 2', 'what the session left is saved');
is(ask(q{SELECT cache_exists('deleted late'), cache_get('changed late'), cache_get('kept')}), 'f|"new"|1', 'as it left it');

note 'changes while the cache is loaded';

for my $change ('cache_clear()', q{cache_delete_matching('%')}) {
	ask(q{SELECT count(cache_set('much ' || i, '1', '1 day')) FROM generate_series(1, 300000) i});
	$position = log_position($server);
	$server->restart;
	ask("SELECT $change");
	outcome_of_load($server, $position);
	is(key_count($server), 0, "$change: nothing comes back after it");
}

note 'a session that is busy when a fast shutdown ends it';

ask('SELECT cache_clear()');
my ($in, $out, $error) = ('', '', '');
my $busy = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $server->connstr('postgres'), '-c', <<'SQL' ], '<', \$in, '>', \$out, '2>', \$error);
DO $$ BEGIN
	FOR i IN 1 .. 100000000 LOOP
		PERFORM cache_set_text('busy ' || i % 500, (i / 500)::text || '.', '1 day');
		PERFORM cache_set('round', to_jsonb(i / 500), '1 day');
		RAISE NOTICE '%', i / 500;
	END LOOP;
END $$
SQL
ok($server->poll_query_until('postgres', q{SELECT (cache_get('round'))::int > 3}), 'it is busy');
$position = log_position($server);
$server->stop('fast');
$busy->finish;
my ($last_round) = $error =~ /.*NOTICE:  (\d+)\n/s;
$server->start;
like(outcome_of_load($server, $position), qr/^loaded \d+$/, 'the file is good');
is( ask(qq{SELECT count(*) FROM cache_keys('busy %') WHERE rtrim(cache_get_text(key), '.')::int < $last_round - 1}), 0, 'no entry is older than what the session last wrote');

done_testing();

# Processes killed in the middle of their work: the cache comes back empty and working, and what the last life handed
# out fits nothing in the next one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('crash', conf => 'pgcache.memory = 16MB');
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache');

sub ask { return $server->safe_psql('postgres', $_[0]); }

my $script = $server->basedir . '/writes.sql';
append_to_file($script, <<'SQL');
\set n random(1, 200)
\set large random(20000, 1000000)
SELECT cache_set_text('small ' || :n, repeat('x', :n));
SELECT cache_set_text('large ' || :n % 8, repeat('y', :large));
SELECT cache_incr('counter ' || :n);
SELECT cache_take_text('small ' || (:n + 1));
SELECT length(cache_get_text('large ' || (:n + 1) % 8));
SQL

# Writers until the server crashes under them.
sub start_writers {
	my $output = '';
	my $writers = IPC::Run::start(
		[ 'pgbench', '-n', '-c', 4, '-t', 1000000, '-f', $script, $server->connstr('postgres') . ' application_name=writer' ],
		'<', \'', '>', \$output, '2>&1');
	$server->poll_query_until('postgres', q{SELECT cache_exists('counter 7')}) or die 'the writers do not write';
	return $writers;
}

my %versions;

sub hand_out_versions {
	ask(q{SELECT cache_set('hit', '1', '0'), cache_delete('deleted')});
	$versions{$_} = ask("SELECT version FROM cache_entry('$_')") for ('hit', 'miss', 'deleted');
	return;
}

sub no_version_fits {
	my ($name) = @_;
	for my $key (sort keys %versions) {
		is( ask("SELECT cache_set('$key', '\"late\"', if_version => $versions{$key}), cache_delete('$key', if_version => $versions{$key})"), 'f|f', "$name: the version of the $key fits nothing");
	}
	is( ask("SELECT cache_set('hit', '2', '0'); SELECT cache_set('hit', '\"late\"', if_version => $versions{hit}), cache_delete('hit', if_version => $versions{hit})"), "t\nf|f", "$name: not the key written anew");
	is( ask("SELECT cache_set_text('miss', 'x', if_version => (SELECT version FROM cache_entry('miss')))"), 't', "$name: a version of now fits");
	return;
}

# After a kill: waits for the server's next life and looks at it.
sub comes_back {
	my ($name, $worker, $position) = @_;
	$server->poll_query_until('postgres', "SELECT pgcache.worker_pid() <> $worker") or die 'the server does not come back';
	like(slurp_file($server->logfile, $position), qr/all server processes terminated; reinitializing/, "$name: the server began anew");
	is(key_count($server), 0, "$name: the cache is empty");
	is(ask(q{SELECT coalesce(sum(items), 0), coalesce(sum(bytes_used), 0), coalesce(sum(evictions), 0) FROM cache_stats}), '0|0|0', "$name: all memory is free");
	is( ask(q{SELECT cache_set('key', '1'); SELECT cache_incr('counter 7'); SELECT cache_get('key')}), "t\n1\n1", "$name: it works");
	return;
}

# Nothing of a crash shows later: all of the memory can be used, by every key.
sub all_memory_works {
	my ($name) = @_;
	is( ask(q{
		SELECT count(cache_set_text('fill ' || i, repeat(md5(i::text), 100), '0')) FROM generate_series(1, 4000) i;
		SELECT count(*) FROM generate_series(1, 4000) i WHERE cache_get_text('fill ' || i) IS NOT NULL AND cache_get_text('fill ' || i) <> repeat(md5(i::text), 100);
		SELECT cache_clear() > 2000}), "4000\n0\nt", "$name: all of the memory can be used");
	return;
}

for my $round (1 .. 3) {
	for my $victim ('backend', 'worker') {
		my $name = "round $round, $victim";
		hand_out_versions();
		my $worker = wait_for_worker($server);
		my $writers = start_writers();
		my $position = log_position($server);
		my $pid = $victim eq 'worker' ? $worker
		  : ask(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'writer' ORDER BY state, random() LIMIT 1});
		is(kill('KILL', $pid), 1, "$name: killed");
		$writers->finish;
		comes_back($name, $worker, $position);
		no_version_fits($name);
		all_memory_works($name);
	}
}

note 'crashes right after the start, and after very many writes in no time';

for my $round (1 .. 3) {
	hand_out_versions();
	my $worker = wait_for_worker($server);
	kill 'KILL', $worker;
	$server->poll_query_until('postgres', "SELECT pgcache.worker_pid() <> $worker") or die;
	no_version_fits("crash $round in a row");
}
ask(q{SELECT count(cache_incr('much written')) FROM generate_series(1, 1000000)});
hand_out_versions();
my $worker = wait_for_worker($server);
kill 'KILL', $worker;
$server->poll_query_until('postgres', "SELECT pgcache.worker_pid() <> $worker") or die;
no_version_fits('a million writes');
ask(q{SELECT count(cache_incr('much written')) FROM generate_series(1, 1000000)});
no_version_fits('a million writes later');

note 'an immediate stop';

ask(q{SELECT cache_set('key', '1', '0')});
hand_out_versions();
$server->stop('immediate');
ok(!has_saved_file($server), 'nothing is saved');
$server->start;
is(key_count($server), 0, 'the cache is empty');
no_version_fits('an immediate stop');

note 'a clean restart';

hand_out_versions();
ask(q{SELECT cache_delete('miss')});
restart_and_load($server, 'fast');
no_version_fits('a clean restart');

note 'a process that ends with an error, or is told to, leaves the cache as it is';

ask(q{SELECT cache_set('stays', '1', '0')});
my $writers = start_writers();
ask(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'writer'});
$writers->finish;
$worker = wait_for_worker($server);
kill 'TERM', $worker;
$server->poll_query_until('postgres', "SELECT pgcache.worker_pid() <> $worker") or die;
is(ask(q{SELECT cache_get('stays')}), 1, 'entries are there');

done_testing();

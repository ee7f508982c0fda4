# The saved cache is worthless unless it is of exactly the moment at which the server starts: it is discarded then, the
# server starts with an empty cache and works.
use strict;
use warnings;

use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('refused', allows_streaming => 1, conf => "max_connections = 20\npgcache.memory = 32MB");
my $file = saved_file($server);
my $position;
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache; CREATE TABLE t (x int)');

sub fill {
	$server->safe_psql('postgres', q{
		SELECT cache_set('key', '"old"', '0'), cache_set_text('large', repeat('old', 1000000), '0');
		SELECT count(cache_set('key ' || i, to_jsonb(i))) FROM generate_series(1, 1000) i});
	return;
}

# Leaves the server stopped, with a good file.
sub save {
	fill();
	$server->stop('fast');
	$position = log_position($server);
	return;
}

# Of a server that has started on a file that it must not believe.
sub is_empty_and_works {
	my ($name, $node) = @_;
	$node //= $server;
	wait_for_worker($node);
	is($node->safe_psql('postgres', q{SELECT cache_get('key'), count(*) FROM cache_keys('%', 10000)}), '|0', "$name: the cache is empty");
	ok(!has_saved_file($node), "$name: the file is gone");
	is( $node->safe_psql('postgres', q{SELECT cache_set('key', '"new"'); SELECT cache_get('key')}), qq{t\n"new"}, "$name: it works");
	return;
}

sub is_refused {
	my ($name) = @_;
	$position = log_position($server);
	ok($server->start(fail_ok => 1), "$name: the server starts") or return;
	is(outcome_of_load($server, $position), 'discarded', "$name: the log tells why the cache is empty");
	is_empty_and_works($name);
	unlike(slurp_file($server->logfile, $position), qr/ (?:ERROR|FATAL|PANIC|WARNING):  /, "$name: no error");
	return;
}

note 'the file is good where nothing happened';

save();
ok(has_saved_file($server), 'a clean stop leaves a file');
copy($file, "$file.good") or die;
$server->start;
is(outcome_of_load($server, $position), 'loaded 1002', 'it is loaded');

note 'starts without pgcache';

save();
preload($server, '');
$server->start;
$server->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
$server->stop;
preload($server, 'pgcache');
is_refused('a write without pgcache');

save();
preload($server, '');
$server->start;
$server->stop;
preload($server, 'pgcache');
is_refused('a start without pgcache');

save();
preload($server, '');
$server->start;
$server->stop('immediate');
preload($server, 'pgcache');
is_refused('a crash without pgcache');

save();
{
	my $data = $server->data_dir;
	my $single = "postgres --single -c shared_preload_libraries= -D '$data' postgres";
	is(system("echo 'INSERT INTO t VALUES (2)' | $single >/dev/null 2>&1"), 0, 'single-user mode');
	is_refused('single-user mode without pgcache');
	save();
	$single = "postgres --single -D '$data' postgres";
	is(system("echo 'INSERT INTO t VALUES (3)' | $single >/dev/null 2>&1"), 0, 'single-user mode');
	is_refused('single-user mode with pgcache');
}

note 'files of another time or server';

$server->stop;
copy("$file.good", $file) or die;
is_refused('an older file of the same server');

my $stranger = new_server('stranger');
$stranger->start;
$stranger->safe_psql('postgres', q{CREATE EXTENSION pgcache; SELECT cache_set('key', '"old"', '0')});
$stranger->stop;
$server->stop;
copy(saved_file($stranger), $file) or die;
is_refused('a file of another server');

save();
$server->command_ok([ 'pg_resetwal', '-f', '-D', $server->data_dir ], 'pg_resetwal');
is_refused('after pg_resetwal');

note 'backups';

fill();
copy("$file.good", $file) or die;
$server->backup('base');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($server, 'base');
$restored->start;
is_empty_and_works('a base backup', $restored);
$restored->stop;

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($server, 'base', has_streaming => 1);
copy("$file.good", saved_file($standby)) or die;
$standby->start;
is_empty_and_works('a standby', $standby);
ok($standby->safe_psql('postgres', q{SELECT cache_set('key', '"old"', '0')}), 'the standby caches something');
$standby->stop('fast');
ok(!has_saved_file($standby), 'a standby saves nothing');
unlink $standby->data_dir . '/standby.signal' or die;
$standby->start;
is_empty_and_works('a standby that starts as a primary', $standby);
$standby->stop;

unlink $file;
save();
$server->backup_fs_cold('cold');
for my $signal ('standby.signal', 'recovery.signal') {
	my $copy = PostgreSQL::Test::Cluster->new("cold $signal" =~ s/\W/_/gr);
	$copy->init_from_backup($server, 'cold', $signal eq 'standby.signal' ? (has_streaming => 1) : (has_restoring => 1, standby => 0));
	ok(-e $copy->data_dir . "/$signal", "the copy has $signal");
	$copy->append_conf('postgresql.conf', "restore_command = 'false'") if $signal eq 'recovery.signal';
	ok(has_saved_file($copy), 'and the saved cache');
	$copy->start;
	is_empty_and_works("a copy of the stopped server with $signal", $copy);
	if ($signal eq 'standby.signal') {
		$copy->promote;
		is($copy->safe_psql('postgres', q{SELECT cache_get('key')}), '', 'and after its promotion');
	}
	$copy->stop;
}
$server->start;
is(outcome_of_load($server, $position), 'loaded 1002', 'the server that was copied loads its own');
$server->safe_psql('postgres', 'SELECT cache_clear()');

note 'stops cut short';

fill();
stop_worker($server);
ok(has_saved_file($server), 'the worker has saved');
$server->stop('immediate');
ok(!has_saved_file($server), 'an immediate stop removes what the worker saved');
$server->start;
is_empty_and_works('after an immediate stop');

fill();
my @pids = process_ids($server);
stop_worker($server, sub { kill 'STOP', server_pid($server) });
$server->kill9;
ok(wait_until(sub { !grep { kill 0, $_ } @pids }, 'all processes are gone'), 'the postmaster is killed after the worker saved');
is_refused('a killed postmaster');

# A crash of another process after the worker has saved: the server goes on in a new life.
fill();
my $victim;
stop_worker($server, sub { $victim = $_[0]->query_safe('SELECT pg_backend_pid()'); kill 'KILL', $victim; });
$server->poll_query_until('postgres', 'SELECT true') or die;
is_empty_and_works('a crash after the worker saved');
$server->stop;
$server->start;

note 'a crash after the load, and while it runs';

save();
$server->start;
is(outcome_of_load($server, $position), 'loaded 1002', 'loaded');
ok(!has_saved_file($server), 'the file is gone');
$server->stop('immediate');
$server->start;
is_empty_and_works('a crash after the load');

$server->safe_psql('postgres', q{SELECT count(cache_set_text('filler ' || i, repeat(md5(i::text), 30))) FROM generate_series(1, 20000) i});
save();
$server->start;
kill 'KILL', wait_for_worker($server);
$server->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM cache_keys())}) or die;
is_empty_and_works('the worker is killed while it loads');

$server->safe_psql('postgres', q{SELECT count(cache_set_text('filler ' || i, repeat(md5(i::text), 30))) FROM generate_series(1, 20000) i});
save();
$server->start;
$server->stop;
$server->start;
like(outcome_of_load($server, $position), qr/^loaded 2\d{4}$/, 'a stop while the worker loads');
$server->poll_query_until('postgres', q{SELECT count(*) = 21002 FROM cache_keys('%', 100000)});
is(key_count($server), 21002, 'loses nothing');
$server->safe_psql('postgres', 'SELECT cache_clear()');

note 'damage';

sub flip {
	my ($at) = @_;
	open my $handle, '+<:raw', $file or die;
	my $offset = $at < 0 ? (-s $file) + $at : $at;
	seek $handle, $offset, 0;
	read $handle, my $byte, 1;
	seek $handle, $offset, 0;
	print $handle chr(ord($byte) ^ 0x10);
	close $handle;
	return;
}

my $entries = 3_000_000;    # the large value alone takes more
my @damages = (
	[ 'a flipped bit in the first byte', sub { flip(0) } ],
	[ 'a flipped bit in the sequence', sub { flip(9) } ],
	[ 'a flipped bit in an entry', sub { flip($entries / 2) } ],
	[ 'a flipped bit in a small entry', sub { flip(100) } ],
	[ 'a flipped bit in the seal', sub { flip(-5000) } ],
	[ 'a flipped bit in the checksum', sub { flip(-10) } ],
	[ 'a flipped bit in the last byte', sub { flip(-1) } ],
	[ 'a flipped bit in the size of the seal', sub { flip(-8) } ],
	[ 'the last byte cut off', sub { truncate $file, (-s $file) - 1 } ],
	[ 'half of it cut off', sub { truncate $file, (-s $file) / 2 } ],
	[ 'nothing left', sub { truncate $file, 0 } ],
	[ 'seven bytes left', sub { truncate $file, 7 } ],
	[ 'a byte more', sub { append_to_file($file, 'x') } ],
	[ 'the seal twice', sub { append_to_file($file, substr(slurp_file($file), -1000)) } ],
	[ 'text', sub { unlink $file; append_to_file($file, "hello, world\n" x 1000) } ],
	[ 'zeros', sub { my $size = -s $file; unlink $file; append_to_file($file, "\0" x $size) } ],
	[ 'bytes of value 255', sub { my $size = -s $file; unlink $file; append_to_file($file, "\xff" x $size) } ],
	[
		'a byte missing in the middle',
		sub { my $all = slurp_file($file); unlink $file; append_to_file($file, substr($all, 0, 5000) . substr($all, 5001)); }
	]);
for (@damages) {
	my ($name, $damage) = @$_;
	save();
	$damage->();
	is_refused($name);
}

note 'a file that cannot be written or read';

sub saves_nothing {
	my ($name) = @_;
	$server->stop;
	$position = log_position($server);
	ok($server->start(fail_ok => 1), "$name: the server starts") or return;
	wait_for_worker($server);
	is(key_count($server), 0, "$name: the cache is empty");
	unlike(slurp_file($server->logfile, $position), qr/ (?:ERROR|FATAL|PANIC|WARNING):  /, "$name: no error");
	return;
}

unlink $file;
mkdir $file or die;
fill();
saves_nothing('a directory in its place');
rmdir $file or die;

append_to_file($file, 'read only');
chmod 0400, $file;
fill();
saves_nothing('a file that is read only');
ok(!has_saved_file($server), 'it is removed at the next start');

append_to_file($file, 'closed');
chmod 0, $file;
fill();
saves_nothing('a file that is closed to the server');
chmod 0600, $file;
unlink $file;

SKIP: {
	skip 'no /dev/full', 4 unless -w '/dev/full';
	symlink '/dev/full', $file or die;
	fill();
	saves_nothing('a full disk');
	ok(!has_saved_file($server), 'nothing is left of the file');
}

fill();
is(restart_and_load($server, 'fast'), 'loaded 1002', 'after all this, a clean restart keeps the cache');

done_testing();

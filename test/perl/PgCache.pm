# What the TAP tests share: servers with pgcache in them, their clock, their restarts.
package PgCache;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  new_server preload set_clock log_position saved_file has_saved_file outcome_of_load restart_and_load
  contents key_count wait_for_worker stop_worker server_pid process_ids wait_until wait_until_stopped
);

# A server that is not started yet; `conf` is added to its settings, other options are those of init().
sub new_server {
	my ($name, %options) = @_;
	my $conf = delete $options{conf};
	my $server = PostgreSQL::Test::Cluster->new($name);
	$server->init(extra => [ '--encoding=UTF8', '--no-locale' ], %options);
	$server->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pgcache'
restart_after_crash = on
log_statement = none
log_replication_commands = off
autovacuum = off
timezone = 'UTC'
max_connections = 50
CONF
	$server->append_conf('postgresql.conf', $conf) if defined $conf;
	return $server;
}

# Whether the next start loads pgcache.
sub preload {
	my ($server, $libraries) = @_;
	$server->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'");
	return;
}

# Sets the clock of a server, running or not. New sessions go by it when this returns, the worker soon.
sub set_clock {
	my ($server, $timestamp) = @_;
	$server->append_conf('postgresql.conf', "pgcache.test_clock = '$timestamp'");
	return unless defined server_pid($server);
	$server->reload;
	$server->poll_query_until('postgres', "SELECT current_setting('pgcache.test_clock') = '$timestamp'")
	  or die "the clock was not set";
	return;
}

sub log_position {
	my ($server) = @_;
	return -s $server->logfile || 0;
}

sub saved_file {
	my ($server) = @_;
	return $server->data_dir . '/pg_stat/pgcache.saved';
}

sub has_saved_file {
	my ($server) = @_;
	return -e saved_file($server) || -l saved_file($server) ? 1 : 0;
}

# What a start did with the saved cache: waits until the log, read from a position before the start, says it.
# 'loaded N' or 'discarded'.
sub outcome_of_load {
	my ($server, $position) = @_;
	my $outcome = qr/LOG:  (?:(loaded \d+) cache entries|(discarding) the saved cache)/;
	my $log;
	wait_until(
		sub {
			$log = slurp_file($server->logfile, $position);
			return $log =~ $outcome;
		},
		'the log tells what became of the saved cache') or return 'nothing';
	$log =~ $outcome;
	return defined $1 ? $1 : 'discarded';
}

sub restart_and_load {
	my ($server, $mode) = @_;
	my $position = log_position($server);
	$server->stop($mode);
	$server->start;
	return outcome_of_load($server, $position);
}

# Every entry of a database, with a checksum of its value.
sub contents {
	my ($server, $database) = @_;
	return $server->safe_psql(
		$database // 'postgres', q{
		SELECT k.key, k.kind, k.expires_at, md5(CASE k.kind
				WHEN 'text' THEN cache_get_text(k.key)
				WHEN 'bytes' THEN encode(cache_get_bytes(k.key), 'hex')
				ELSE cache_get(k.key)::text END)
		FROM cache_keys('%', 1000000) k ORDER BY k.key COLLATE "C"});
}

sub key_count {
	my ($server, $database) = @_;
	return $server->safe_psql($database // 'postgres', q{SELECT count(*) FROM cache_keys('%', 1000000)});
}

# The process id of the background worker, once it runs.
sub wait_for_worker {
	my ($server) = @_;
	$server->poll_query_until('postgres', 'SELECT pgcache.worker_pid() IS NOT NULL') or die "no worker";
	return $server->safe_psql('postgres', 'SELECT pgcache.worker_pid()');
}

# Ends the worker as the postmaster does at a shutdown, so that it saves the cache, and runs `then` before a new one can
# start: the postmaster is held meanwhile, so nobody can connect either. `then` gets a session of before.
sub stop_worker {
	my ($server, $then) = @_;
	my $worker = wait_for_worker($server);
	my $session = $server->background_psql('postgres');
	kill 'STOP', server_pid($server);
	kill 'TERM', $worker;
	my $ended = wait_until(sub { $session->query('SELECT pgcache.worker_pid() IS NULL') eq 't' }, 'the worker ended');
	$then->($session) if $ended && defined $then;
	$session->quit;
	kill 'CONT', server_pid($server);
	return $ended;
}

# The postmaster's process id, if there is one.
sub server_pid {
	my ($server) = @_;
	open my $file, '<', $server->data_dir . '/postmaster.pid' or return;
	my $pid = <$file>;
	close $file;
	chomp $pid if defined $pid;
	return $pid;
}

# All processes of the server.
sub process_ids {
	my ($server) = @_;
	my $pids = $server->safe_psql('postgres',
		'SELECT pid FROM pg_stat_activity UNION SELECT pgcache.worker_pid() WHERE pgcache.worker_pid() IS NOT NULL');
	return (server_pid($server), split /\n/, $pids);
}

# Waits until a condition of this program holds; false, with a diagnostic, if it takes too long.
sub wait_until {
	my ($condition, $name) = @_;
	my $attempts = 100 * $PostgreSQL::Test::Utils::timeout_default;
	for (1 .. $attempts) {
		return 1 if $condition->();
		usleep(10_000);
	}
	diag("waited in vain: $name");
	return 0;
}

# For a server that was told to stop by other means than stop().
sub wait_until_stopped {
	my ($server) = @_;
	my $stopped = wait_until(sub { !defined server_pid($server) }, 'the server stops');
	$server->{_pid} = undef if $stopped;    # as stop() and kill9() do
	return $stopped;
}

1;

# Who has nothing to do costs nothing: each database is looked at once, and again only when a commit says so or something is due.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = new_server('idle', conf => "log_min_messages = debug1\npgcache.test_clock = '2030-01-01 00:00:00'");
$server->start;
$server->safe_psql('postgres', "CREATE DATABASE $_") for 'one', 'two';
$server->safe_psql('postgres', 'CREATE DATABASE closed ALLOW_CONNECTIONS false');
$server->safe_psql('postgres', 'CREATE DATABASE pattern IS_TEMPLATE true');
$server->stop;
my $start = log_position($server);
$server->start;

# How many workers were started since.
sub looks {
	my $log = slurp_file($server->logfile, $start);
	return scalar(() = $log =~ /starting background worker process "pgcache refresh worker"/g);
}

sub settled {
	return $server->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgcache refresh worker'}) eq '0';
}

sub looks_are {
	my ($wanted, $title) = @_;
	wait_until(sub { return looks() >= $wanted && settled(); }, $title);
	return is(looks(), $wanted, $title);
}

looks_are(3, 'each database that allows connections and is no template is looked at');

# Whatever wakes the scheduler.
set_clock($server, "2030-01-01 0$_:00:00") for 1 .. 3;
$server->safe_psql('postgres', 'ALTER DATABASE two CONNECTION LIMIT 10');
looks_are(3, 'and that once');

$server->safe_psql('one', 'CREATE EXTENSION pgcache');
looks_are(4, 'one that gains the extension is noticed at the commit');
$server->safe_psql('two', 'BEGIN; CREATE EXTENSION pgcache; ROLLBACK');
set_clock($server, '2030-01-01 04:00:00');
looks_are(4, 'a rollback tells nobody');

$server->safe_psql('one', q{SET client_min_messages = error; CREATE TABLE base (x int); CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM base;
	SELECT matview_schedule('v', every => '1 day')});
$server->poll_query_until('one', q{SELECT last_outcome = 'refreshed' FROM matview_status});
looks_are(5, 'a schedule is run at its commit');
set_clock($server, "2030-01-01 0$_:00:00") for 5 .. 9;
looks_are(5, 'and no worker comes before it is due');
set_clock($server, '2030-01-02 00:00:00');
looks_are(6, 'but then');

$server->safe_psql('postgres', 'CREATE DATABASE three');
looks_are(7, 'a new database is looked at');
$server->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS true');
looks_are(8, 'and one that begins to allow connections');
$server->safe_psql('one', 'DROP EXTENSION pgcache');
set_clock($server, '2030-01-03 00:00:00');
looks_are(9, 'one that has lost the extension is looked at when a refresh would be due');
set_clock($server, "2030-01-0$_ 00:00:00") for 4 .. 6;
looks_are(9, 'and not again');

$server->stop;
done_testing();

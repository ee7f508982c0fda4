# A commit stands in the transaction log before snapshots see it, and the cache hears of it after that. Waiting for a
# synchronous standby that never answers makes a writer stay between the first and the second as long as we like: then the
# log says that it has committed, and everybody still sees the old rows.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

# Only sessions that ask for it wait.
my $server = new_server(
	'gap',
	allows_streaming => 1,
	conf => "pgcache.memory = 16MB\nmax_prepared_transactions = 10\nsynchronous_standby_names = 'nobody'\nsynchronous_commit = local");
$server->start;
$server->safe_psql('postgres', q{CREATE EXTENSION pgcache; CREATE TABLE t (id int PRIMARY KEY, value text);
	CREATE TABLE elsewhere (x int)});
# From then on the checkpointer has told everybody that there should be a standby.
$server->safe_psql('postgres', 'CHECKPOINT');

sub ask { return $server->safe_psql('postgres', $_[0]); }
sub session { return $server->background_psql('postgres'); }

my $all = q{(SELECT string_agg(value, ' ' ORDER BY id) FROM t)};

sub fill {
	ask(q{TRUNCATE t; INSERT INTO t SELECT i, 'old' FROM generate_series(1, 5) i; SELECT cache_clear()});
	is(ask("SELECT cache_set_text('all', $all, tags => ARRAY['tag'])"), 't', 'filled');
	return;
}

sub seen { return ask("SELECT $all, cache_get_text('all')"); }

# What is cached is what the rows are, or nothing.
sub is_exact {
	my ($name, $rows, $session) = @_;
	my $question = "SELECT $all, coalesce(cache_get_text('all'), $all) = $all";
	is(defined $session ? $session->query_safe($question) : ask($question), "$rows|t", "$name: exact");
	return;
}

sub hits_again {
	my ($name, $rows) = @_;
	is(seen(), "$rows|", "$name: nothing old is read");
	is(ask("SELECT cache_set_text('all', $all, tags => ARRAY['tag'])"), 't', "$name: it is filled");
	is(seen(), "$rows|$rows", "$name: and hit");
	return;
}

# Commits what `statements` do, and returns when the commit waits, with the session and its process id.
sub writer_in_gap {
	my (@statements) = @_;
	my $end = $statements[-1] =~ /PREPARED/ ? pop @statements : 'COMMIT';
	my $session = session();
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe('SET synchronous_commit = on');
	$session->query_safe('BEGIN') if $end eq 'COMMIT';
	$session->query_safe($_) for @statements;
	$session->query_until(qr/commits/, "\\echo commits\n$end;\n\\echo committed\n");
	$server->poll_query_until('postgres', "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = $pid")
	  or die 'the commit does not wait';
	return { session => $session, pid => $pid };
}

# Makes new snapshots end above the ids of those that are in the gap.
sub commit_elsewhere { ask('INSERT INTO elsewhere VALUES (1)'); return; }

# Lets the commit go on.
sub release {
	my ($writer) = @_;
	is(ask("SELECT pg_cancel_backend($writer->{pid})"), 't', 'the commit goes on');
	$writer->{session}->query_until(qr/committed/, '');
	$writer->{session}->{stderr} = '';    # the warning about the standby
	$writer->{session}->quit;
	return;
}

my $change = q{UPDATE t SET value = 'new' WHERE id = 1};
my %ways = (
	'a key' => q{SELECT cache_delete('all')},
	'a tag' => q{SELECT cache_invalidate('{tag}')},
	'a pattern' => q{SELECT cache_delete_matching('al_')},
	'everything' => q{SELECT cache_clear()});

for my $name (sort keys %ways) {
	note $name;
	fill();
	my $before = session();
	$before->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$before->query_safe('SELECT 1');

	my $writer = writer_in_gap($change, $ways{$name});
	is_exact("$name, in the gap", 'old old old old old');
	# Who has looked has met a transaction that has committed and runs on. It must not count as seen from now on: what is
	# computed now is still old.
	commit_elsewhere();
	is_exact("$name, after another commit", 'old old old old old');

	my $in_gap = session();
	$in_gap->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($in_gap->query_safe("SELECT $all"), 'old old old old old', "$name: a snapshot of the gap");
	my $by_version = ask(q{SELECT version FROM cache_entry('all')});
	my $later = session();
	$later->query_safe(q{SELECT cache_get_text('all')});
	my $held = session();
	$held->query_safe($_)
	  for ('BEGIN', q{UPDATE t SET value = 'held' WHERE id = 4}, "SELECT cache_set_text('all', $all, tags => ARRAY['tag'])");

	my $stored = ask("SELECT cache_set_text('all', $all, tags => ARRAY['tag'])");
	note "a fill in the gap: $stored";
	is_exact("$name, filled in the gap", 'old old old old old');
	is_exact("$name, under the snapshot of before", 'old old old old old', $before);

	release($writer);
	is(seen(), 'new old old old old|', "$name: after the commit nothing old is read");
	is($in_gap->query_safe("SELECT cache_set_text('all', $all, tags => ARRAY['tag'])"), 'f', "$name: a fill under the snapshot of the gap is refused");
	is(ask("SELECT cache_set_text('all', 'old old old old old', tags => ARRAY['tag'], if_version => $by_version)"), 'f', "$name: and one with the version of a miss in the gap");
	is($later->query_safe(q{SELECT cache_set_text('all', 'old old old old old', tags => ARRAY['tag'])}), 'f', "$name: and one after a miss in the gap");
	is(seen(), 'new old old old old|', "$name: still nothing old");
	$held->query_safe('COMMIT');
	is(seen(), 'new old old held old|', "$name: nor what another transaction held");
	hits_again($name, 'new old old held old');
	is_exact("$name, under the snapshot of the gap", 'old old old old old', $in_gap);
	is_exact("$name, still under the snapshot of before", 'old old old old old', $before);
	$_->quit for ($before, $in_gap, $later, $held);
}

note 'a held set is published after the commit and not in the gap';

fill();
{
	my $writer = writer_in_gap($change, "SELECT cache_set_text('all', $all, tags => ARRAY['tag'])");
	is_exact('a held set, in the gap', 'old old old old old');
	commit_elsewhere();
	is_exact('a held set, after another commit', 'old old old old old');
	release($writer);
	is_exact('a held set, after the commit', 'new old old old old');
}
fill();
{
	my $writer = writer_in_gap($change, "SELECT cache_set_text('all', $all, tags => ARRAY['tag'])");
	release($writer);
	is(seen(), 'new old old old old|new old old old old', 'a held set is published');
}

note 'a writer that is told to end in the gap has committed';

fill();
{
	my $writer = writer_in_gap($change, $ways{'a key'});
	is(ask("SELECT pg_terminate_backend($writer->{pid}, 180000)"), 't', 'it ends');
	eval { $writer->{session}->quit };
	hits_again('terminated', 'new old old old old');
}

note 'one that is killed has too, and takes the cache with it';

fill();
{
	my $writer = writer_in_gap($change, $ways{'a tag'});
	my $worker = wait_for_worker($server);
	kill 'KILL', $writer->{pid};
	$server->poll_query_until('postgres', "SELECT pgcache.worker_pid() <> $worker") or die 'the server does not come back';
	eval { $writer->{session}->quit };
	ask('CHECKPOINT');
	hits_again('killed', 'new old old old old');
}

note 'many at once: more than a slot of memory lists';

fill();
{
	my @writers = map { writer_in_gap("UPDATE t SET value = 'new' WHERE id = $_", $ways{'a tag'}) } (1 .. 4);
	is_exact('four in the gap', 'old old old old old');
	ask("SELECT cache_set_text('all', $all, tags => ARRAY['tag'])");
	is_exact('filled meanwhile', 'old old old old old');
	commit_elsewhere();
	my @rows = qw(old old old old old);
	for my $i (2, 0, 3, 1) {
		release($writers[$i]);
		$rows[$i] = 'new';
		is(seen(), "@rows|", 'writer ' . ($i + 1) . ': nothing old is read');
		ask("SELECT cache_set_text('all', $all, tags => ARRAY['tag'])");
		is_exact('writer ' . ($i + 1) . ', filled', "@rows");
	}
	ask(q{SELECT cache_delete('all')});
	hits_again('all of them', 'new new new new old');
}

note 'COMMIT PREPARED in the gap';

for my $name ('a key', 'a tag', 'everything') {
	fill();
	ask("BEGIN; $change; $ways{$name}; PREPARE TRANSACTION 'gap'");
	my $writer = writer_in_gap(q{COMMIT PREPARED 'gap'});
	is_exact("prepared, $name, in the gap", 'old old old old old');
	commit_elsewhere();
	my $in_gap = session();
	$in_gap->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($in_gap->query_safe("SELECT $all"), 'old old old old old', "prepared, $name: a snapshot of the gap");
	ask("SELECT cache_set_text('all', $all, tags => ARRAY['tag'])");
	is_exact("prepared, $name, filled in the gap", 'old old old old old');
	release($writer);
	is(seen(), 'new old old old old|', "prepared, $name: nothing old is read");
	$in_gap->query_safe("SELECT cache_set_text('all', $all, tags => ARRAY['tag'])");
	$in_gap->query_safe('COMMIT');
	hits_again("prepared, $name", 'new old old old old');
	$in_gap->quit;
}

done_testing();

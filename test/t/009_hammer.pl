# Many processes, few keys: no torn value, none under a foreign key, no lost update, one winner for each value.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgCache;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 12;
my $server = new_server('hammer', conf => 'pgcache.memory = 32MB');
$server->start;
$server->safe_psql('postgres', 'CREATE EXTENSION pgcache');

sub ask { return $server->safe_psql('postgres', $_[0]); }

ask(q{
	-- A value that says where it belongs and who wrote it, and cannot be torn without showing: key|writer|number|body|md5.
	CREATE FUNCTION make_value(key text, writer int, number bigint, size int) RETURNS text LANGUAGE sql AS $$
		SELECT head || md5(head) FROM (SELECT format('%s|%s|%s|%s|', key, writer, number,
			left(repeat(md5(writer || ' ' || number), size / 32 + 1), size))) AS v (head) $$;
	CREATE FUNCTION check_value(wanted_key text, value text) RETURNS boolean LANGUAGE plpgsql AS $$
	DECLARE
		head text := left(value, -32);
		parts text[];
	BEGIN
		IF value IS NULL THEN RETURN false; END IF;
		IF md5(head) <> right(value, 32) THEN RAISE EXCEPTION 'checker: torn value under %', wanted_key; END IF;
		parts := string_to_array(left(head, 200), '|');
		IF parts[1] <> wanted_key THEN RAISE EXCEPTION 'checker: value of % under %', parts[1], wanted_key; END IF;
		IF value <> make_value(parts[1], parts[2]::int, parts[3]::bigint, length(head) - length(parts[1]) - length(parts[2]) - length(parts[3]) - 4) THEN
			RAISE EXCEPTION 'checker: not what % wrote under %', parts[2], wanted_key;
		END IF;
		RETURN true;
	END $$;
	-- Sizes that take one record, several to a segment, a segment, and many.
	CREATE FUNCTION write_and_read(writer int, number bigint, n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		small text := 'small ' || n % 5;
		medium text := 'medium ' || n % 40;
		many record;
	BEGIN
		PERFORM cache_set_text(small, make_value(small, writer, number, n % 3 * 20), '1 hour');
		PERFORM check_value(small, cache_get_text(small));
		PERFORM cache_set_text(medium, make_value(medium, writer, number, 1000 + n * 97 % 50000), '1 hour');
		FOR many IN SELECT * FROM cache_get_many_text(ARRAY[small, medium, 'medium ' || (n + 1) % 40, 'medium 0', 'none']) LOOP
			PERFORM check_value(many.key, many.value);
		END LOOP;
		IF n % 7 = 0 THEN PERFORM check_value(small, cache_take_text(small)); END IF;
		IF n % 11 = 0 THEN PERFORM cache_delete(medium); END IF;
		IF n % 13 = 0 THEN PERFORM cache_touch(medium, '2 hours'); END IF;
	END $$;
	-- Large values repeat 64 bytes that belong to key and writer, so that a check takes little longer than the read.
	CREATE FUNCTION make_large(key text, writer int, number bigint, size int) RETURNS bytea LANGUAGE sql AS $$
		SELECT convert_to(repeat(md5(key) || md5(writer || ' ' || number), size / 64), 'UTF8') $$;
	CREATE FUNCTION check_large(wanted_key text, value bytea) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF value IS NULL THEN RETURN false; END IF;
		IF substr(value, 65) <> substr(value, 1, length(value) - 64) OR length(value) % 64 <> 0 THEN
			RAISE EXCEPTION 'checker: torn large value under %', wanted_key;
		END IF;
		IF substr(value, 1, 32) <> convert_to(md5(wanted_key), 'UTF8') THEN
			RAISE EXCEPTION 'checker: large value of another key under %', wanted_key;
		END IF;
		RETURN true;
	END $$;
	CREATE FUNCTION write_large(writer int, number bigint, n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE key text := 'large ' || n % 2;
	BEGIN
		PERFORM cache_set_bytes(key, make_large(key, writer, number, 1000000 + n * 7919 % 3000000), '1 hour');
	END $$;
	CREATE FUNCTION read_large(n int) RETURNS boolean LANGUAGE sql AS $$
		SELECT check_large('large ' || n % 2, cache_get_bytes('large ' || n % 2)) $$;

	CREATE FUNCTION add_by_version(key text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE entry record;
	BEGIN
		LOOP
			SELECT * INTO entry FROM cache_entry(key);
			IF cache_set(key, to_jsonb(coalesce((entry.value)::bigint, 0) + 1), '0', if_version => entry.version) THEN
				RETURN coalesce((entry.value)::bigint, 0) + 1;
			END IF;
		END LOOP;
	END $$;
	CREATE TABLE taken (key text, value bigint);
	CREATE TABLE won (token bigint PRIMARY KEY);

	CREATE SEQUENCE attempts_cancelled;
	-- Runs a statement until it is done or cancelled.
	CREATE FUNCTION attempt(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE statement;
		RETURN true;
	EXCEPTION WHEN query_canceled THEN
		PERFORM nextval('attempts_cancelled');
		RETURN false;
	END $$});

# Runs scripts of pgbench, each a name => SQL, with a weight after an @; so many transactions for each client.
sub hammer {
	my ($transactions, $scripts, %options) = @_;
	my @files;
	for my $name (sort keys %$scripts) {
		my ($file, $weight) = split /@/, $name;
		my $path = $server->basedir . "/$file.sql";
		unlink $path;
		append_to_file($path, $scripts->{$name});
		push @files, '-f', $path . (defined $weight ? "\@$weight" : '');
	}
	my $output = '';
	local $ENV{PGOPTIONS} = $options{settings} // '';
	my $ok = IPC::Run::run(
		[ 'pgbench', '-n', '-M', $options{mode} // 'prepared', '-c', $options{clients} // $clients, '-t', $transactions, @files, $server->connstr('postgres') . ' application_name=hammer' ],
		'<', \'', '>', \$output, '2>&1');
	unlike($output, qr/checker:|duplicate key|PANIC|XX000|invalid memory/, "$options{name}: nothing wrong is seen") or diag($output);
	if ($options{may_die}) {
		unlike($output, qr/ERROR:  (?!canceling statement)/, "$options{name}: and no error");
	}
	else {
		ok($ok, "$options{name}: no error") or diag($output);
	}
	return;
}

note 'the checker finds faults';

for my $fault (
	[ 'torn', q{overlay(v PLACING 'x' FROM length(v) / 2)} ],
	[ 'torn', q{left(v, length(v) / 2) || right(make_value('key', 2, 2, 5000), length(v) / 2)} ],
	[ 'torn', q{left(v, -1)} ],
	[ 'value of other', q{make_value('other', 1, 1, 5000)} ],
	[ 'not what', q{(SELECT h || md5(h) FROM (SELECT left(v, 100) || make_value('key', 2, 2, 100)) x (h))} ]) {
	my ($message, $value) = @$fault;
	my ($status, $output, $error) = $server->psql('postgres', qq{
		SELECT cache_set_text('key', (SELECT $value FROM make_value('key', 1, 1, 5000) v));
		SELECT check_value('key', cache_get_text('key'))});
	like($error, qr/checker: $message/, "a value that is wrong: $value");
}
is(ask(q{SELECT check_value('key', make_value('key', 1, 2, size)) FROM generate_series(0, 100, 33) size}), "t\nt\nt\nt", 'and passes good ones');
for my $fault (
	[ 'torn large', q{overlay(v PLACING '\x00'::bytea FROM length(v) / 2)} ],
	[ 'torn large', q{substr(v, 1, 16384) || substr(make_large('key', 2, 2, 50000), 16385)} ],
	[ 'torn large', q{substr(v, 2)} ],
	[ 'large value of another', q{make_large('other', 1, 1, 50000)} ]) {
	my ($message, $value) = @$fault;
	my $error = ($server->psql('postgres', qq{SELECT check_large('key', (SELECT $value FROM make_large('key', 1, 1, 50000) v))}))[2];
	like($error, qr/checker: $message/, "a large value that is wrong: $value");
}
is(ask(q{SELECT check_large('key', make_large('key', 1, 2, size)) FROM generate_series(64, 100000, 70000) size}), "t\nt", 'and passes good ones');
is(ask('SELECT cache_clear()'), 1, 'begin');

note 'counters';

my $rounds = 400;
hammer($rounds, { incr => q{
	\set n random(1, 3)
	SELECT cache_incr('count ' || :n), cache_incr('all', 2), cache_incr('json'), cache_incr('down', -1);
	} }, name => 'cache_incr');
is(ask(q{SELECT sum(cache_get('count ' || n)::bigint) FROM generate_series(1, 3) n}), $clients * $rounds, 'every increment counts');
is(ask(q{SELECT cache_get('all'), cache_get('down')}), join('|', 2 * $clients * $rounds, -$clients * $rounds), 'each of them');

hammer(20, { incr => q{SELECT count(cache_incr('fast')), count(cache_incr('faster', 3)) FROM generate_series(1, 5000);} }, name => 'very many increments');
is(ask(q{SELECT cache_get('fast'), cache_get('faster')}), join('|', 20 * $clients * 5000, 3 * 20 * $clients * 5000), 'each of very many counts');

ask(q{SELECT cache_set('json counter', '0', '0')});
hammer($rounds, {
	'incr@3' => q{SELECT cache_incr('kept'), cache_incr('json counter');},
	'take@1' => q{INSERT INTO taken SELECT key, cache_take(key)::bigint FROM (VALUES ('kept'), ('json counter')) k (key);},
	}, name => 'cache_incr and cache_take');
my $increments = ask(q{SELECT count(*) FROM taken WHERE key = 'kept'});
my ($kept, $json) = split /\|/, ask(q{SELECT coalesce(sum(value) FILTER (WHERE key = 'kept'), 0) + coalesce(cache_get('kept')::bigint, 0),
	coalesce(sum(value) FILTER (WHERE key = 'json counter'), 0) + coalesce(cache_get('json counter')::bigint, 0) FROM taken});
is($kept, $clients * $rounds - $increments, 'what was taken and what is left is what was added');
is($json, $kept, 'to a JSON number too');

note 'compare and set';

hammer(200, { 'cas' => q{SELECT add_by_version('cas'), add_by_version('other cas');} }, name => 'if_version');
is(ask(q{SELECT cache_get('cas'), cache_get('other cas')}), join('|', (200 * $clients) x 2), 'no update is lost');

ask('TRUNCATE taken');
hammer(200, {
	'cas@4' => q{SELECT add_by_version('cas taken');},
	'take@1' => q{INSERT INTO taken SELECT 'cas', cache_take('cas taken')::bigint;} }, name => 'if_version and cache_take');
is( ask(q{SELECT (SELECT coalesce(sum(value), 0) FROM taken) + coalesce(cache_get('cas taken')::bigint, 0) + (SELECT count(*) FROM taken)}),
	200 * $clients, 'no update is lost, nor comes one back');

note 'one winner';

ask(q{CREATE SEQUENCE token; CREATE TABLE offered (token bigint)});
hammer(200, {
	'offer@1' => q{INSERT INTO offered SELECT t FROM nextval('token') t WHERE cache_set('prize', to_jsonb(t), '0', 'if_absent', immediate => true);},
	'take@2' => q{INSERT INTO won SELECT p::bigint FROM cache_take('prize') p WHERE p IS NOT NULL;} }, name => 'cache_take');
is( ask(q{SELECT count(*) FROM (SELECT token FROM offered EXCEPT ALL (SELECT token FROM won UNION ALL SELECT cache_get('prize')::bigint WHERE cache_exists('prize'))) x}), 0, 'every value that was stored is won');
is(ask(q{SELECT count(*) FROM won WHERE token NOT IN (SELECT token FROM offered)}), 0, 'and no other');
cmp_ok(ask('SELECT count(*) FROM won'), '>', 50, 'there were many');

my $works = q{
	\set n random(1, 100000)
	SELECT write_and_read(:client_id, :n * 1000 + :client_id, :n);
	};
my $large = q{
	\set n random(1, 100000)
	SELECT write_large(:client_id, :n, :n);
	};
my $reads = q{
	\set n random(1, 100000)
	SELECT read_large(:n), read_large(:n + 1);
	};

note 'values, with too little memory';

ask(q{SELECT cache_clear(), cache_stats_reset()});
hammer(100, { 'works@8' => $works, 'large@2' => $large, 'reads@3' => $reads,
	'filler@1' => q{
	\set n random(1, 20000)
	SELECT count(cache_set_text('filler ' || i, repeat('x', 5000), '1 hour')) FROM generate_series(:n, :n + 300) i;
	} }, name => 'replaced while they are read');
is( ask(q{SELECT hits > 1000, evictions > 1000, bytes_used <= bytes_allowed FROM cache_stats}), 't|t|t', 'values were found, others evicted');

hammer(150, { 'large@1' => $large, 'reads@2' => $reads }, name => 'large values replaced while they are read');

note 'cancelled statements';

my %attempts = map { $_->[0] => $_->[1] =~ s/SELECT (.*);/SELECT attempt('SELECT $1');/r } (
	[ 'works@4', $works ], [ 'large@1', $large ], [ 'reads@1', $reads ]);
$attempts{$_} =~ s/:(\w+)/' || :$1 || '/g for keys %attempts;
hammer(100, \%attempts, name => 'cancelled', mode => 'simple', settings => '-c statement_timeout=4ms', may_die => 1);
cmp_ok(ask(q{SELECT nextval('attempts_cancelled')}), '>', 10, 'many were cancelled');
hammer(200, { 'incr' => q{SELECT attempt('SELECT cache_incr(''cancelled'', 1, ''1 day''), pg_sleep(0)');} }, name => 'cancelled cache_incr', mode => 'simple', settings => '-c statement_timeout=1ms', may_die => 1);
cmp_ok(ask(q{SELECT coalesce(cache_get('cancelled')::bigint, 0)}), '<=', 200 * $clients, 'no increment counts twice');

note 'terminated sessions';

hammer(100, { 'works@20' => $works, 'large@2' => $large, 'reads@3' => $reads,
	'kill@1' => q{SELECT pg_terminate_backend(pid) FROM (SELECT pid, count(*) OVER () AS clients FROM pg_stat_activity
		WHERE application_name = 'hammer' AND pid <> pg_backend_pid()) x WHERE clients > 3 ORDER BY random() LIMIT 1;} },
	name => 'terminated', clients => 16, may_die => 1, settings => '-c client_min_messages=error');

note 'afterwards';

is(ask(q{SELECT count(*) FROM cache_keys('%', 100000) WHERE (key ~ '^(small|medium)' AND check_value(key, cache_get_text(key)) IS NULL)
		OR (key ~ '^large' AND check_large(key, cache_get_bytes(key)) IS NULL)}), 0, 'every value that is left is good');
is(ask(q{SELECT s.items >= k.items, bytes_used <= bytes_allowed FROM cache_stats s, (SELECT count(*) AS items FROM cache_keys('%', 1000000)) k}), 't|t', 'the counts agree');
ask('SELECT cache_clear()');
is(ask('SELECT items, bytes_used FROM cache_stats'), '0|0', 'cleared, it is empty');
ask('SELECT cache_stats_reset()');
is( ask(q{SELECT count(cache_set_text('fill ' || i, repeat('x', 1000), '1 hour')) FROM generate_series(1, 25000) i; SELECT items, evictions FROM cache_stats}), "25000\n25000|0", 'no memory was lost');
unlike(slurp_file($server->logfile), qr/PANIC|was terminated by signal|reinitializing/, 'nothing crashed');

done_testing();

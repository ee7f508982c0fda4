-- What the cache's functions do in transactions: held until the commit, exact with it, gone with a rollback; or at once.
-- cache_keys shows what is shared, so it tells what others could see.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET intervalstyle = 'postgres';
SET pgcache.test_clock = '2040-01-01 00:00:00+00';
CREATE TABLE tx (id integer PRIMARY KEY);
CREATE FUNCTION pg_temp.shared(pattern text = '%') RETURNS text LANGUAGE sql AS $$ SELECT string_agg(key, ' ' ORDER BY key COLLATE "C") FROM cache_keys(pattern) $$;
CREATE FUNCTION pg_temp.tidy() RETURNS bigint LANGUAGE sql AS $$ SELECT cache_delete_many(coalesce(array_agg(key), '{}')) FROM cache_keys(max => 100000) $$;
CREATE VIEW pg_temp.counts AS SELECT sets, refused, dropped FROM cache_stats WHERE database = current_database();

-- A set in a transaction block is held: every function that reads sees it, others see nothing, and the commit publishes it.
BEGIN;
SELECT cache_set('j', '{"a": 1}', '1 hour'), cache_set_text('t', 'text', '0'), cache_set_bytes('b', '\x00ff');
SELECT cache_get('j'), cache_get_text('t'), cache_get_bytes('b'), cache_exists('j'), cache_exists('t'), cache_ttl('j'), cache_ttl('t');
SELECT key, value FROM cache_get_many('{nobody,j}');
SELECT key, value FROM cache_get_many_text('{t,nobody}');
SELECT key, value FROM cache_get_many_bytes('{b}');
SELECT found, kind, value, version > 0 AS has_version, expires_at = '2040-01-01 01:00:00+00' AS in_an_hour, size_bytes > 0 AS has_size FROM cache_entry('j');
SELECT found, kind, value, expires_at FROM cache_entry('t');
SELECT found, kind, value FROM cache_entry('b');
SELECT pg_temp.shared();
COMMIT;
SELECT pg_temp.shared(), cache_get('j'), cache_get_text('t'), cache_get_bytes('b'), cache_ttl('j'), cache_ttl('t');
-- Its kind is that of what is held.
BEGIN;
SELECT cache_set_text('j', 'now a text'), cache_get_text('j');
SAVEPOINT s;
SELECT cache_get('j');
ROLLBACK TO s;
SELECT cache_get_bytes('j');
ROLLBACK;
SELECT cache_get('j');
-- Many at once, and a large one.
BEGIN;
SELECT cache_set_many('{"m1": 1, "m2": 2}'), cache_set_many_text('{m3,m4}', '{3,4}'), cache_set_many_bytes('{m5}', '{5}'), cache_set_text('m6', repeat('x', 1000000));
SELECT count(*) FROM cache_get_many('{m1,m2}');
SELECT cache_get('m1'), cache_get_text('m4'), cache_get_bytes('m5'), length(cache_get_text('m6')), pg_temp.shared('m%');
COMMIT;
SELECT cache_get('m1'), cache_get_text('m4'), cache_get_bytes('m5'), length(cache_get_text('m6')), pg_temp.shared('m%');
SELECT pg_temp.tidy();

-- Rolled back, all is as it was.
SELECT cache_set('k', '1', '1 hour');
BEGIN;
SELECT cache_set('k', '2', '2 hours'), cache_set('new', '2'), cache_get('k'), cache_get('new'), cache_ttl('k');
ROLLBACK;
SELECT cache_get('k'), cache_get('new'), cache_ttl('k'), pg_temp.shared();
-- So it is if the transaction fails, at a statement or at its end.
BEGIN;
SELECT cache_set('k', '2'), cache_delete('k'), cache_set('k', '3');
SELECT cache_get('');
COMMIT;
SELECT cache_get('k');
CREATE TABLE tx_deferred (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO tx_deferred VALUES (1), (1);
SELECT cache_set('k', '2'), cache_get('k');
COMMIT;
SELECT cache_get('k');
DROP TABLE tx_deferred;

-- Setting again, and options: they ask for what the transaction itself sees.
BEGIN;
SELECT cache_set('k', '2', '10 minutes'), cache_set('k', '3', keep_ttl => true), cache_get('k'), cache_ttl('k');
SELECT cache_set('k', '4', mode => 'if_absent'), cache_set('k', '5', mode => 'if_present'), cache_get('k'), cache_ttl('k');
SELECT cache_set('fresh', '1', mode => 'if_present'), cache_set('fresh', '2', mode => 'if_absent'), cache_set('fresh', '3', mode => 'if_absent'), cache_get('fresh');
SELECT version AS seen FROM cache_entry('k') \gset
SELECT cache_set('k', '6', if_version => :seen), cache_set('k', '7', if_version => :seen), cache_get('k');
COMMIT;
SELECT cache_get('k'), cache_get('fresh'), cache_delete('fresh');
-- keep_ttl keeps the end of the shared one where nothing is held.
SELECT cache_set('k', '1', '10 minutes');
BEGIN;
SELECT cache_set('k', '2', keep_ttl => true), cache_ttl('k');
SET LOCAL pgcache.test_clock = '2040-01-01 00:05:00+00';
SELECT cache_ttl('k');
COMMIT;
SELECT cache_get('k'), cache_ttl('k');
-- if_version of a shared entry holds until the commit.
SELECT version AS seen FROM cache_entry('k') \gset
BEGIN;
SELECT cache_set('k', '3', if_version => :seen), cache_get('k');
COMMIT;
SELECT cache_get('k'), cache_set('k', '4', if_version => :seen);
-- What a held entry's version was inside fits nothing after the commit.
BEGIN;
SELECT cache_set('k', '5');
SELECT version AS seen FROM cache_entry('k') \gset
COMMIT;
SELECT cache_set('k', '6', if_version => :seen), cache_get('k');
-- What is held expires, too.
BEGIN;
SELECT cache_set('k', '7', '1 second'), cache_get('k');
SET LOCAL pgcache.test_clock = '2040-01-01 00:00:01+00';
SELECT cache_get('k'), cache_exists('k'), cache_ttl('k'), cache_set('k', '8', mode => 'if_present'), cache_delete('k');
COMMIT;

-- Deleting takes effect at the commit; until then only the transaction itself misses.
SELECT pg_temp.tidy();
SELECT cache_set_many('{"k": 1, "l": 2, "m": 3, "n": 4}'), cache_set('o', '5', tags => '{a}'), cache_set('p', '6', tags => '{a,b}');
BEGIN;
SELECT cache_delete('k'), cache_delete('k'), cache_delete('nobody'), cache_delete_many('{l,k,nobody}'), cache_delete_matching('m%'), cache_delete_matching('m%'), cache_invalidate('{a,b,c}');
SELECT cache_get('k'), cache_get('l'), cache_get('m'), cache_get('n'), cache_get('o'), cache_get('p'), cache_exists('k'), cache_ttl('l'), (cache_entry('m')).found;
SELECT count(*) FROM cache_get_many('{k,l,m,n,o,p}');
SELECT cache_delete_many('{k,l,m,o}'), cache_set('k', '1', mode => 'if_present');
SELECT pg_temp.shared();
ROLLBACK;
SELECT cache_get('k'), cache_get('l'), cache_get('m'), cache_get('n'), cache_get('o'), cache_get('p');
BEGIN;
SELECT cache_delete('k'), cache_delete_many('{l}'), cache_delete_matching('m'), cache_invalidate('{a}'), pg_temp.shared();
COMMIT;
SELECT pg_temp.shared();
BEGIN;
SELECT cache_set('held', '1'), cache_clear(), cache_get('n'), cache_get('held'), cache_clear(), pg_temp.shared();
ROLLBACK;
SELECT cache_get('n');
BEGIN;
SELECT cache_clear();
COMMIT;
SELECT pg_temp.shared();
-- With a version: that of the shared entry, or of the held one.
SELECT cache_set('k', '1');
SELECT version AS seen FROM cache_entry('k') \gset
BEGIN;
SELECT cache_delete('k', if_version => 1), cache_get('k'), cache_delete('k', if_version => :seen), cache_get('k');
ROLLBACK;
BEGIN;
SELECT cache_set('k', '2'), cache_delete('k', if_version => :seen), cache_get('k');
SELECT version AS held FROM cache_entry('k') \gset
SELECT cache_delete('k', if_version => :held), cache_get('k');
COMMIT;
SELECT cache_exists('k');

-- Of a transaction's own doings the later wins, as it sees itself and as all see it after the commit; whether it has
-- changed rows, and has an id for that, or not.
SELECT pg_temp.tidy();
CREATE PROCEDURE pg_temp.doings() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cache_set('set, delete', '1'), cache_delete('set, delete');
    PERFORM cache_delete('delete, set'), cache_set('delete, set', '1');
    PERFORM cache_set('set, delete, set', '1'), cache_delete('set, delete, set'), cache_set('set, delete, set', '2');
    PERFORM cache_set('set, delete many', '1'), cache_delete_many('{"set, delete many"}');
    PERFORM cache_delete_many('{"delete many, set"}'), cache_set('delete many, set', '1');
    PERFORM cache_set('set, matching', '1'), cache_delete_matching('set, match%');
    PERFORM cache_delete_matching('matching%'), cache_set('matching, set', '1');
    PERFORM cache_set('set a, invalidate a', '1', tags => '{a}'), cache_invalidate('{a}');
    PERFORM cache_invalidate('{b}'), cache_set('invalidate b, set b', '1', tags => '{b}');
    PERFORM cache_set('set c, set, invalidate c', '1', tags => '{c}'), cache_set('set c, set, invalidate c', '2'), cache_invalidate('{c}');
    PERFORM cache_set('set d, invalidate d, set d', '1', tags => '{d}'), cache_invalidate('{d}'), cache_set('set d, invalidate d, set d', '2', tags => '{d}');
    PERFORM cache_set_many('{"set many e, invalidate e": 1, "set many e, delete": 2}', tags => '{e}'), cache_delete('set many e, delete'), cache_invalidate('{e}');
END
$$;
CREATE FUNCTION pg_temp.seen() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(key || ': ' || value, '; ' ORDER BY key COLLATE "C") FROM cache_get_many('{"set, delete","delete, set","set, delete, set","set, delete many","delete many, set","set, matching","matching, set",
        "set a, invalidate a","invalidate b, set b","set c, set, invalidate c","set d, invalidate d, set d","set many e, invalidate e","set many e, delete"}')
$$;
BEGIN;
CALL pg_temp.doings();
SELECT pg_temp.seen();
COMMIT;
SELECT pg_temp.seen(), pg_temp.shared() = 'delete many, set delete, set invalidate b, set b matching, set set c, set, invalidate c set d, invalidate d, set d set, delete, set' AS all_of_it;
SELECT pg_temp.tidy();
BEGIN;
INSERT INTO tx VALUES (1);
CALL pg_temp.doings();
SELECT pg_temp.seen();
COMMIT;
SELECT pg_temp.seen();
BEGIN;
SELECT cache_set('set, clear', '1'), cache_clear(), cache_set('clear, set', '1', tags => '{a}'), cache_get('set, clear'), cache_get('clear, set');
COMMIT;
SELECT pg_temp.shared();

-- Savepoints: what came after one goes with it, and what it had taken the place of is back.
SELECT pg_temp.tidy(), cache_set('sk', '"old"', tags => '{t}');
BEGIN;
SELECT cache_set('sk', '1', '1 minute'), cache_set('st', '1', tags => '{a}');
SAVEPOINT one;
SELECT cache_set('sk', '2', '2 minutes'), cache_set('sl', '2'), cache_get('sk');
SAVEPOINT two;
SELECT cache_delete('sk'), cache_delete('sl'), cache_invalidate('{a}'), cache_get('sk'), cache_get('sl'), cache_get('st');
ROLLBACK TO two;
SELECT cache_get('sk'), cache_get('sl'), cache_get('st');
SELECT cache_clear(), cache_get('sk'), cache_get('st');
ROLLBACK TO two;
SELECT cache_delete_matching('%'), cache_get('sk'), cache_get('st');
ROLLBACK TO two;
SELECT cache_touch('sk', '3 minutes'), cache_ttl('sk');
ROLLBACK TO two;
SELECT cache_get('sk'), cache_ttl('sk'), cache_get('st');
RELEASE two;
ROLLBACK TO one;
SELECT cache_get('sk'), cache_ttl('sk'), cache_get('sl'), cache_get('st');
SAVEPOINT three;
SELECT cache_set('sl', '3'), cache_delete('st');
RELEASE three;
COMMIT;
SELECT cache_get('sk'), cache_ttl('sk'), cache_get('sl'), cache_get('st');
-- Nothing is invalidated by what was rolled back.
SELECT pg_temp.tidy(), cache_set_many('{"sk": 1, "sl": 2}', tags => '{a}');
BEGIN;
SELECT cache_delete('sk');
SAVEPOINT s;
SELECT cache_invalidate('{a}'), cache_clear(), cache_delete_matching('%'), cache_delete('sl'), cache_set('sl', '3');
ROLLBACK TO s;
COMMIT;
SELECT cache_get('sk'), cache_get('sl');
-- A thousand of them, one in the other.
\set ECHO none
BEGIN;
SELECT format('SAVEPOINT s%s', n), format('DO $do$ BEGIN PERFORM cache_set_text(''deep'', ''%s''), cache_set_text(''level:%s'', ''x''); END $do$', n, n) FROM generate_series(1, 1000) n \gexec
\set ECHO all
SELECT cache_get_text('deep'), (SELECT count(*) FROM cache_get_many_text((SELECT array_agg('level:' || n) FROM generate_series(1, 1000) n)));
ROLLBACK TO s999;
SELECT cache_get_text('deep'), cache_exists('level:999');
ROLLBACK TO s500;
SELECT cache_get_text('deep'), (SELECT count(*) FROM cache_get_many_text((SELECT array_agg('level:' || n) FROM generate_series(1, 1000) n)));
COMMIT;
SELECT cache_get_text('deep'), cache_exists('level:499'), cache_exists('level:500');

-- Exception blocks are savepoints.
SELECT pg_temp.tidy() > 0 AS tidy, cache_set('xk', '"old"');
BEGIN;
DO $$
BEGIN
    PERFORM cache_set('xk', '1'), cache_set('xl', '1');
    BEGIN
        PERFORM cache_set('xk', '2'), cache_delete('xl'), cache_set('xm', '2');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        PERFORM cache_set('seen', jsonb_build_array(cache_get('xk'), cache_get('xl'), cache_get('xm')));
    END;
    BEGIN
        PERFORM cache_set('xn', '3');
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
END
$$;
SELECT cache_get('xk'), cache_get('xl'), cache_get('xm'), cache_get('xn'), cache_get('seen');
COMMIT;
SELECT pg_temp.shared();

-- immediate: at once, for all, and no rollback takes it back.
SELECT pg_temp.tidy();
BEGIN;
SELECT cache_set('ik', '1', immediate => true), cache_set_text('it', 'x', immediate => true), cache_set_bytes('ib', 'x', immediate => true), cache_set_many('{"im": 1}', immediate => true), cache_set_many_text('{in}', '{x}', immediate => true), cache_set_many_bytes('{io}', '{x}', immediate => true);
SELECT pg_temp.shared(), cache_get('ik'), cache_get_text('it'), cache_get_bytes('ib');
SELECT cache_set('lock', '1', mode => 'if_absent', immediate => true), cache_set('lock', '2', mode => 'if_absent', immediate => true), cache_get('lock');
ROLLBACK;
SELECT pg_temp.shared(), cache_get('ik'), cache_get('lock');
-- immediate => false and NULL are as if it were not given.
BEGIN;
SELECT cache_set('ik', '2', immediate => false), cache_set('lock', '2', immediate => NULL), cache_set_many('{"im": 2}', immediate => NULL), cache_get('ik'), cache_get('lock'), cache_get('im');
ROLLBACK;
SELECT cache_get('ik'), cache_get('lock'), cache_get('im');
-- What the transaction itself holds it goes on seeing, and publishes.
BEGIN;
SELECT cache_set('ik', '3'), cache_set('ik', '4', immediate => true), cache_get('ik');
COMMIT;
SELECT cache_get('ik');
-- Unless a condition of the held set no longer holds: somebody else was first.
SELECT cache_delete('ik'), cache_stats_reset();
BEGIN;
SELECT cache_set('ik', '5', mode => 'if_absent'), cache_set('ik', '6', mode => 'if_absent', immediate => true), cache_get('ik');
COMMIT;
SELECT cache_get('ik'), dropped FROM pg_temp.counts;
SELECT version AS seen FROM cache_entry('ik') \gset
BEGIN;
SELECT cache_set('ik', '7', if_version => :seen), cache_set('ik', '8', immediate => true);
COMMIT;
SELECT cache_get('ik'), dropped FROM pg_temp.counts;
-- A transaction that has changed rows leaves nothing older behind then.
BEGIN;
DELETE FROM tx;
SELECT cache_delete('ik') AS was_there;
ROLLBACK;
BEGIN;
DELETE FROM tx;
SELECT version AS seen FROM cache_entry('ik') \gset
SELECT cache_set('ik', '9', if_version => :seen), cache_set('ik', '10', immediate => true);
COMMIT;
SELECT cache_get('ik'), dropped FROM pg_temp.counts;

-- Counting, taking and renewing happen at once to the shared entry, and stay after a rollback.
SELECT pg_temp.tidy() > 0 AS tidy, cache_set('ck', '1', '1 hour'), cache_set('taken', '1');
BEGIN;
SELECT cache_incr('cn', 5), cache_incr('cn'), cache_take('taken'), cache_take('taken'), cache_touch('ck', '2 hours');
ROLLBACK;
SELECT cache_get('cn'), cache_get('taken'), cache_ttl('ck');
-- Also where the transaction holds another value, which it goes on seeing; only touch means that one.
BEGIN;
SELECT cache_set('cn', '100'), cache_incr('cn'), cache_get('cn');
SELECT cache_set('ck', '2'), cache_touch('ck', '3 hours'), cache_ttl('ck');
ROLLBACK;
SELECT cache_get('cn'), cache_get('ck'), cache_ttl('ck');
BEGIN;
SELECT cache_set('ck', '3'), cache_take('ck'), cache_take('ck'), cache_get('ck');
COMMIT;
SELECT cache_get('ck'), cache_ttl('ck');
BEGIN;
SELECT cache_delete('ck'), cache_take('ck'), cache_take('ck');
SELECT cache_delete('cn'), cache_incr('cn'), cache_get('cn');
COMMIT;
SELECT cache_get('ck'), cache_get('cn');

-- A lone statement stores at once, whatever becomes of it.
SELECT pg_temp.tidy() >= 0 AS tidy;
CREATE FUNCTION pg_temp.store_and_fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM cache_set('lone', '1'); RAISE EXCEPTION 'failure'; END $$;
\set VERBOSITY sqlstate
SELECT pg_temp.store_and_fail();
SELECT pg_temp.shared(), cache_delete('lone');
-- One that changes rows holds it until it has committed: here in a trigger.
CREATE FUNCTION pg_temp.tx_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cache_set('row:' || NEW.id, to_jsonb(NEW.id), tags => ARRAY['rows']), cache_delete('rows'), cache_incr('changes');
    PERFORM cache_set('shared', to_jsonb(coalesce(pg_temp.shared('row:%'), 'none')), immediate => true);
    IF NEW.id < 0 THEN RAISE EXCEPTION 'negative'; END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tx_changed AFTER INSERT OR UPDATE ON tx FOR EACH ROW EXECUTE FUNCTION pg_temp.tx_changed();
SELECT cache_set('rows', '"before"');
INSERT INTO tx VALUES (10);
SELECT cache_get('row:10'), cache_get('shared'), cache_get('rows'), cache_get('changes');
SELECT cache_set('rows', '"before"');
INSERT INTO tx VALUES (11), (12), (-1);
SELECT pg_temp.shared('row:%'), cache_get('changes');
INSERT INTO tx VALUES (11), (12), (10);
SELECT pg_temp.shared('row:%');
WITH inserted AS (INSERT INTO tx VALUES (13) RETURNING id) SELECT id FROM inserted;
SELECT pg_temp.shared('row:%');
\set VERBOSITY default
DROP TRIGGER tx_changed ON tx;
-- Deferred to the commit.
CREATE CONSTRAINT TRIGGER tx_changed AFTER INSERT ON tx DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.tx_changed();
BEGIN;
INSERT INTO tx VALUES (14);
SELECT cache_get('row:14'), cache_set('row:14', '"mine"'), cache_set('rows', '"mine"');
COMMIT;
SELECT cache_get('row:14'), cache_get('rows');
BEGIN;
INSERT INTO tx VALUES (15), (-2);
\set VERBOSITY sqlstate
COMMIT;
\set VERBOSITY default
SELECT cache_get('row:15');
DROP TRIGGER tx_changed ON tx;

-- Several statements in one message are a transaction, until its end or a COMMIT among them.
SELECT pg_temp.tidy() > 0 AS tidy;
SELECT cache_set('message', '1') \; SELECT cache_get('message'), pg_temp.shared();
SELECT pg_temp.shared();
\set VERBOSITY sqlstate
SELECT cache_set('message', '2'), cache_delete('message'), cache_set('other', '2') \; SELECT cache_get('');
\set VERBOSITY default
SELECT cache_get('message'), cache_get('other');
SELECT cache_set('message', '3') \; COMMIT \; SELECT pg_temp.shared(), cache_get('message') \; SELECT cache_set('message', '4') \; ROLLBACK;
SELECT cache_get('message');
-- COMMIT AND CHAIN, ROLLBACK AND CHAIN.
BEGIN;
SELECT cache_set('message', '5');
COMMIT AND CHAIN;
SELECT cache_get('message'), pg_temp.shared(), cache_set('message', '6'), cache_delete('other');
ROLLBACK AND CHAIN;
SELECT cache_get('message'), cache_set('message', '7');
COMMIT;
SELECT cache_get('message');

-- COMMIT and ROLLBACK inside of procedures and DO blocks: without an id at once, with one held.
SELECT pg_temp.tidy();
CREATE PROCEDURE pg_temp.steps() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cache_set('no id', '1'), cache_set('shared:1', to_jsonb(coalesce(pg_temp.shared('no id'), '-')));
    ROLLBACK;
    INSERT INTO tx VALUES (20);
    PERFORM cache_set('committed', '1');
    PERFORM cache_set('shared:2', to_jsonb(coalesce(pg_temp.shared('committed'), '-')), immediate => true);
    COMMIT;
    PERFORM cache_set('shared:3', to_jsonb(coalesce(pg_temp.shared('committed'), '-')));
    INSERT INTO tx VALUES (21);
    PERFORM cache_set('rolled back', '1'), cache_delete('committed');
    ROLLBACK;
    INSERT INTO tx VALUES (22);
    PERFORM cache_set('at the end', '1');
END
$$;
CALL pg_temp.steps();
SELECT cache_get('no id'), cache_get('committed'), cache_get('rolled back'), cache_get('at the end'), cache_get('shared:1'), cache_get('shared:2'), cache_get('shared:3');
DO $$
BEGIN
    FOR n IN 1..6 LOOP
        INSERT INTO tx VALUES (30 + n);
        PERFORM cache_set('loop:' || n, to_jsonb(n));
        IF n % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
    END LOOP;
END
$$;
SELECT pg_temp.shared('loop%');

-- Cursors. One that outlives its transaction is run to its end by the commit, and what it sets is published.
SELECT pg_temp.tidy() > 0 AS tidy, cache_set('cursor', '1');
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT n, cache_set('row:' || n, to_jsonb(n)), cache_get('cursor') FROM generate_series(1, 3) n;
FETCH 1 FROM held;
SELECT cache_exists('row:1'), cache_exists('row:2'), cache_set('cursor', '2'), pg_temp.shared();
COMMIT;
SELECT pg_temp.shared();
FETCH 1 FROM held;
CLOSE held;
-- A transaction's own doings are seen by a cursor of an older snapshot, too.
BEGIN;
DECLARE c CURSOR FOR SELECT n, cache_get('cursor') FROM generate_series(1, 4) n;
FETCH 1 FROM c;
SELECT cache_set('cursor', '3');
FETCH 1 FROM c;
SELECT cache_delete('cursor');
FETCH 1 FROM c;
ROLLBACK;
SELECT cache_get('cursor');

-- PREPARE TRANSACTION keeps what is invalidated and drops what is held; until COMMIT PREPARED all read the old.
SELECT pg_temp.tidy() > 0 AS tidy, cache_set_many('{"pk": 1, "pl": 1, "pm": 1, "pn": 1}'), cache_set('po', '1', tags => '{a}'), cache_stats_reset();
BEGIN;
INSERT INTO tx VALUES (40);
SELECT cache_delete('pk'), cache_set('pl', '2'), cache_delete_many('{pm}'), cache_invalidate('{a}'), cache_set('pnew', '2');
PREPARE TRANSACTION 'regress_pgcache_1';
SELECT cache_get('pk'), cache_get('pl'), cache_get('pm'), cache_get('pn'), cache_get('po'), cache_get('pnew'), dropped FROM pg_temp.counts;
COMMIT PREPARED 'regress_pgcache_1';
SELECT cache_get('pk'), cache_get('pl'), cache_get('pm'), cache_get('pn'), cache_get('po'), cache_get('pnew'), dropped FROM pg_temp.counts;
-- Filled anew, it stays.
SELECT cache_set_many('{"pk": 3, "pl": 3, "pm": 3}'), cache_set('po', '3', tags => '{a}');
SELECT cache_get('pk'), cache_get('pl'), cache_get('pm'), cache_get('po');
-- ROLLBACK PREPARED invalidates nothing.
BEGIN;
INSERT INTO tx VALUES (41);
SELECT cache_delete('pk'), cache_set('pl', '4'), cache_invalidate('{a}'), cache_clear();
PREPARE TRANSACTION 'regress_pgcache_2';
SELECT cache_get('pk'), cache_get('pl'), cache_get('po');
ROLLBACK PREPARED 'regress_pgcache_2';
SELECT cache_get('pk'), cache_get('pl'), cache_get('po'), dropped FROM pg_temp.counts;
-- Everything, and by pattern; without any row changed.
BEGIN;
SELECT cache_clear();
PREPARE TRANSACTION 'regress_pgcache_3';
SELECT cache_get('pk'), cache_get('pl');
COMMIT PREPARED 'regress_pgcache_3';
SELECT cache_get('pk'), cache_get('pl');
SELECT cache_set('pk', '4');
BEGIN;
SELECT cache_delete_matching('p_');
PREPARE TRANSACTION 'regress_pgcache_4';
SELECT cache_get('pk');
COMMIT PREPARED 'regress_pgcache_4';
SELECT cache_get('pk');
-- What is stored after COMMIT PREPARED stays, though nobody has looked in between.
BEGIN;
SELECT cache_delete('pk'), cache_invalidate('{a}'), cache_clear();
PREPARE TRANSACTION 'regress_pgcache_5';
COMMIT PREPARED 'regress_pgcache_5';
SELECT cache_set('pk', '6', immediate => true), cache_set('po', '6', tags => '{a}', immediate => true), cache_incr('count', 2);
SELECT cache_get('pk'), cache_get('po'), cache_get('count');
-- Immediate ones are there already.
BEGIN;
SELECT cache_set('pk', '7', immediate => true), cache_incr('prepared');
PREPARE TRANSACTION 'regress_pgcache_6';
SELECT cache_get('pk'), cache_get('prepared');
ROLLBACK PREPARED 'regress_pgcache_6';
SELECT cache_get('pk'), cache_get('prepared');

-- What is held takes memory of this process: a limit, above which a set is an error and what was held before stays.
SELECT pg_temp.tidy() > 0 AS tidy;
SET pgcache.transaction_memory = '1MB';
BEGIN;
SELECT cache_set_text('big:k', repeat('a', 600000));
SAVEPOINT s;
\set VERBOSITY sqlstate
SELECT cache_set_text('big:l', repeat('b', 600000));
ROLLBACK TO s;
SELECT cache_set_many_text('{big:l,big:m}', ARRAY[repeat('b', 300000), repeat('c', 300000)]);
ROLLBACK TO s;
RELEASE s;
\set VERBOSITY default
SELECT length(cache_get_text('big:k')), cache_exists('big:l');
-- Not if it is stored at once; a delete gives memory back, and so does setting anew.
SELECT cache_set_text('big:l', repeat('b', 600000), immediate => true);
SELECT cache_set_text('big:k', repeat('c', 900000)), cache_delete('big:k'), cache_set_text('big:m', repeat('d', 900000));
COMMIT;
SELECT pg_temp.shared(), length(cache_get_text('big:m'));
-- A lone statement holds nothing.
SELECT cache_set_text('big:n', repeat('e', 3000000));
DO $$
DECLARE
    message text;
    hint text;
BEGIN
    INSERT INTO tx VALUES (50);
    PERFORM cache_set_text('big:o', repeat('f', 2000000));
EXCEPTION WHEN program_limit_exceeded THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    PERFORM cache_set_text('message', regexp_replace(message, 'take [0-9]+', 'take SIZE') || ' ' || hint, immediate => true);
END
$$;
SELECT cache_get_text('message');
-- It can be raised for one transaction.
BEGIN;
SET LOCAL pgcache.transaction_memory = '10MB';
SELECT cache_set_text('big:o', repeat('f', 2000000)), cache_set_text('big:p', repeat('g', 2000000));
COMMIT;
SELECT length(cache_get_text('big:o')), length(cache_get_text('big:p'));
-- Invalidations never fail, however many; so do not deletes of what is held.
SELECT pg_temp.tidy();
SELECT count(*) > 69000 AS stored FROM generate_series(1, 70000) n WHERE cache_set_text('many:' || n, 'x', tags => ARRAY['tag:' || n % 7]);
BEGIN;
SELECT count(*) FILTER (WHERE deleted) BETWEEN 65536 AND 70000 AS deleted FROM (SELECT cache_delete('many:' || n) AS deleted FROM generate_series(1, 70000) n) each_one;
SELECT cache_exists('many:1'), cache_exists('many:70000');
ROLLBACK;
SELECT count(*) > 69000 AS all_but_evicted FROM cache_get_many_text((SELECT array_agg('many:' || n) FROM generate_series(1, 70000) n));
BEGIN;
INSERT INTO tx VALUES (51);
SELECT count(*) FILTER (WHERE deleted) BETWEEN 65536 AND 70000 AS deleted FROM (SELECT cache_delete('many:' || n) AS deleted FROM generate_series(1, 70000) n) each_one;
SELECT cache_set_text('many:70000', 'anew');
COMMIT;
SELECT key, value FROM cache_get_many_text((SELECT array_agg('many:' || n) FROM generate_series(1, 70000) n));
RESET pgcache.transaction_memory;
-- As many sets.
BEGIN;
SELECT count(*) FILTER (WHERE stored) > 69000 AS stored FROM (SELECT cache_set_text('more:' || n, n::text) AS stored FROM generate_series(1, 70000) n) each_one;
COMMIT;
SELECT count(*) FILTER (WHERE key = 'more:' || value) > 69000 AS all_but_evicted FROM cache_get_many_text((SELECT array_agg('more:' || n) FROM generate_series(1, 70000) n));

-- Read-only transactions hold as well.
SELECT pg_temp.tidy() > 69000 AS tidy;
BEGIN READ ONLY;
SELECT cache_set('iso', '1'), cache_get('iso'), pg_temp.shared(), cache_invalidate('{a}');
COMMIT;
SELECT pg_temp.shared();
-- REPEATABLE READ reads what is there, as long as nothing has changed since its snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cache_get('iso'), cache_set('iso', '2'), cache_get('iso'), cache_set('own', '2'), cache_delete('own'), cache_get('own');
COMMIT;
SELECT cache_get('iso'), cache_get('own');
-- SERIALIZABLE that may write misses what is shared, unless a setting allows it, and sees what it holds itself.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cache_get('iso'), cache_exists('iso'), cache_ttl('iso'), (cache_entry('iso')).found, (SELECT count(*) FROM cache_get_many('{iso}')), cache_delete('iso');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cache_set('iso', '3'), cache_get('iso');
SELECT cache_set('own', '3'), cache_delete('own'), cache_get('own');
COMMIT;
SELECT cache_get('iso');
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY;
SELECT cache_get('iso');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;
SELECT cache_get('iso'), cache_exists('iso');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SET LOCAL pgcache.serializable_reads = on;
SELECT cache_get('iso'), cache_exists('iso'), cache_delete('iso'), cache_get('iso');
COMMIT;
SELECT cache_get('iso');
-- It deletes what it does not see, too.
SELECT cache_set('iso', '4');
SET default_transaction_isolation = serializable;
SELECT cache_get('iso'), cache_exists('iso');
BEGIN;
SELECT cache_delete('iso');
COMMIT;
SET default_transaction_isolation = 'read committed';
SELECT cache_exists('iso');

-- Parallel workers read; where their transaction has doings of its own, they miss.
SELECT pg_temp.tidy() >= 0 AS tidy;
INSERT INTO tx SELECT n FROM generate_series(1000, 20000) n;
ANALYZE tx;
SELECT cache_set('wk', '1');
SET max_parallel_workers_per_gather = 2;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
SELECT count(cache_get('wk')) FROM tx WHERE id > 1000;
BEGIN;
SELECT cache_set('wl', '1');
SELECT count(cache_get('wk')), count(cache_get('wl')) FROM tx WHERE id > 1000;
SELECT cache_get('wk'), cache_get('wl');
ROLLBACK;
SELECT count(cache_get('wk')), count(cache_get('wl')) FROM tx WHERE id > 1000;
-- They can't write, though somebody says that a function of his own may.
CREATE FUNCTION pg_temp.claims_to_be_safe(call text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
DECLARE
    result text;
BEGIN
    EXECUTE call INTO result;
    RETURN result;
END
$$;
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || SQLERRM || ' ' || hint;
END
$$;
SELECT call, pg_temp.refusal(format('SELECT count(pg_temp.claims_to_be_safe(%L)) FROM tx WHERE id > 1000', 'SELECT ' || call)) FROM (VALUES
    ($$cache_set('wk', '2')$$), ($$cache_set_text('wk', '2', immediate => true)$$), ($$cache_set_many('{"wk": 2}')$$), ($$cache_delete('wk')$$), ($$cache_delete_many('{wk}')$$), ($$cache_delete_matching('wk')$$),
    ($$cache_clear()$$), ($$cache_invalidate('{a}')$$), ($$cache_take('wk')$$), ($$cache_touch('wk')$$), ($$cache_incr('n')$$)) AS calls (call);
SELECT cache_get('wk'), cache_get('n');
RESET max_parallel_workers_per_gather;
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET parallel_leader_participation;

DROP TABLE tx;
DROP VIEW pg_temp.counts;
RESET pgcache.test_clock;
SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

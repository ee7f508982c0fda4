-- What cache_set's options do: mode, ttl, keep_ttl, if_version. The clock stands still, so times are exact.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET intervalstyle = 'postgres';
SET pgcache.test_clock = '2040-01-01 00:00:00+00';
SHOW pgcache.default_ttl;

-- mode
SELECT cache_set('k', '1', mode => 'if_present'), cache_get('k');
SELECT cache_set('k', '2', mode => 'if_absent'), cache_get('k');
SELECT cache_set('k', '3', mode => 'if_absent'), cache_get('k');
SELECT cache_set('k', '4', mode => 'if_present'), cache_get('k');
SELECT cache_set('k', '5', mode => 'always'), cache_get('k');
-- Refused, nothing of the entry changes.
SELECT cache_set('k', '6', '9 hours', mode => 'if_absent'), cache_get('k'), cache_ttl('k');
-- An entry of another kind is present; a deleted or expired one is absent.
SELECT cache_set_text('k', '7', mode => 'if_absent'), cache_set_text('k', '8', '1 second', mode => 'if_present'), cache_get_text('k');
SET pgcache.test_clock = '2040-01-01 00:00:01+00';
SELECT cache_set('k', '9', mode => 'if_present'), cache_set('k', '10', mode => 'if_absent'), cache_get('k');
SELECT cache_delete('k'), cache_set('k', '11', mode => 'if_present'), cache_set('k', '12', mode => 'if_absent');
-- The same for text and bytes.
SELECT cache_set_text('t', 'a', mode => 'if_present'), cache_set_text('t', 'b', mode => 'if_absent'), cache_set_text('t', 'c', mode => 'if_absent'), cache_get_text('t');
SELECT cache_set_bytes('b', 'a', mode => 'if_present'), cache_set_bytes('b', 'b', mode => 'if_absent'), cache_set_bytes('b', 'c', mode => 'if_absent'), cache_get_bytes('b') = 'b' AS first;

-- ttl: the default, none, and any interval.
SELECT cache_set('k', '1'), cache_ttl('k');
SELECT cache_set('k', '1', NULL), cache_ttl('k');
SELECT cache_set('k', '1', '15 minutes'), cache_ttl('k');
SELECT cache_set('k', '1', '0'), cache_ttl('k') AS no_expiry, cache_ttl('nobody') AS no_entry;
SELECT cache_set('k', '1', '1 hour') AND cache_ttl('k') > '0' AS expires_again;
-- Milliseconds count; less than one is one; more is rounded up.
SELECT cache_set('k', '1', '1 millisecond'), cache_ttl('k');
SELECT cache_set('k', '1', '1 microsecond'), cache_ttl('k');
SELECT cache_set('k', '1', '1234.001 milliseconds'), cache_ttl('k');
-- A month is 30 days, a year 12 months, a day 24 hours; they may cancel out.
SELECT cache_set('k', '1', '1 month'), cache_ttl('k') = '720 hours' AS thirty_days;
SELECT cache_set('k', '1', '1 year 2 months 3 days 4 hours'), cache_ttl('k') = '1 hour'::interval * ((14 * 30 + 3) * 24 + 4) AS exact;
SELECT cache_set('k', '1', '-1 month 40 days'), cache_ttl('k') = '240 hours' AS ten_days;
SELECT cache_set('k', '1', '1 month -30 days'), cache_ttl('k') AS no_expiry;
SELECT cache_set('k', '1', '1 day -23 hours'), cache_ttl('k');

-- keep_ttl: the entry keeps its end, or has none; a new one gets the default.
SELECT cache_set('k', '1', '10 minutes'), cache_set('k', '2', keep_ttl => true), cache_get('k'), cache_ttl('k');
SET pgcache.test_clock = '2040-01-01 00:05:00+00';
SELECT cache_set('k', '3', keep_ttl => true), cache_get('k'), cache_ttl('k');
SELECT cache_set('k', '3', keep_ttl => false), cache_ttl('k');
SELECT cache_set('k', '3', keep_ttl => NULL), cache_ttl('k');
SELECT cache_set('k', '4', '0'), cache_set('k', '5', keep_ttl => true), cache_get('k'), cache_ttl('k') AS no_expiry;
SELECT cache_set('new', '1', keep_ttl => true), cache_ttl('new');
-- Also with a value of another kind and size, and with modes.
SELECT cache_set('k', '1', '10 minutes'), cache_set_text('k', repeat('x', 100000), keep_ttl => true), length(cache_get_text('k')), cache_ttl('k');
SELECT cache_set_bytes('k', 'x', keep_ttl => true, mode => 'if_present'), cache_ttl('k'), cache_set_bytes('nobody', 'x', keep_ttl => true, mode => 'if_present');

-- if_version: stored only over the entry that was looked at.
SELECT cache_set('k', '1');
SELECT version AS seen FROM cache_entry('k') \gset
SELECT cache_set('k', '2', if_version => :seen), cache_get('k');
SELECT cache_set('k', '3', if_version => :seen), cache_get('k');
SELECT cache_set_text('k', '3', if_version => :seen), cache_set_bytes('k', '3', if_version => :seen), cache_delete('k', :seen), cache_get('k');
SELECT version > :seen AS grows, version AS seen FROM cache_entry('k') \gset
SELECT :'grows' AS grows, cache_delete('k', :seen), cache_delete('k', :seen), cache_exists('k');
-- Writing the same value again is a change, deleting is one, counting is one, changing the ttl is none.
SELECT cache_set('k', '1');
SELECT version AS seen FROM cache_entry('k') \gset
SELECT cache_set('k', '1'), cache_set('k', '2', if_version => :seen);
SELECT version AS seen FROM cache_entry('k') \gset
SELECT cache_delete('k'), cache_set('k', '2', if_version => :seen), cache_exists('k');
SELECT cache_set('k', '1');
SELECT version AS seen FROM cache_entry('k') \gset
SELECT cache_incr('k'), cache_set('k', '5', if_version => :seen), cache_get('k');
-- Nor does reading change it.
SELECT version AS seen FROM cache_entry('k') \gset
SELECT cache_get('k'), cache_exists('k'), cache_ttl('k'), cache_set('k', '6', if_version => :seen), cache_get('k');

-- A miss has a version too: a fill is refused if anyone wrote or deleted the key in between.
SELECT cache_delete('fill');
SELECT found, version AS seen FROM cache_entry('fill') \gset
SELECT :'found' AS found, cache_set('fill', '"fresh"', if_version => :seen), cache_get('fill');
SELECT cache_delete('fill');
SELECT version AS seen FROM cache_entry('fill') \gset
SELECT cache_set('fill', '"other"'), cache_delete('fill'), cache_set('fill', '"stale"', if_version => :seen), cache_exists('fill');
SELECT version AS seen FROM cache_entry('fill') \gset
SELECT cache_set('fill', '"other"'), cache_set('fill', '"stale"', if_version => :seen), cache_get('fill');
SELECT cache_delete('fill');
-- Deleted although it wasn't there: whoever computes from the row before must not store.
SELECT version AS seen FROM cache_entry('fill') \gset
SELECT cache_delete('fill') AS was_there, cache_set('fill', '"stale"', if_version => :seen), cache_exists('fill');
SELECT version AS seen FROM cache_entry('fill') \gset
SELECT cache_delete_many('{fill}') AS deleted, cache_set('fill', '"stale"', if_version => :seen), cache_exists('fill');
SELECT version AS seen FROM cache_entry('fill') \gset
SELECT cache_delete_matching('f%') AS deleted, cache_set('fill', '"stale"', if_version => :seen), cache_exists('fill');
SELECT version AS seen FROM cache_entry('fill') \gset
SELECT cache_clear() > 0 AS cleared, cache_set('fill', '"stale"', if_version => :seen), cache_exists('fill');
SELECT version AS seen FROM cache_entry('fill') \gset
SELECT cache_incr('fill'), cache_take('fill'), cache_set('fill', '"stale"', if_version => :seen), cache_exists('fill');
SELECT version AS seen FROM cache_entry('fill') \gset
SELECT cache_set_many('{"fill": "other"}'), cache_set('fill', '"stale"', if_version => :seen), cache_get('fill');
SELECT cache_delete('fill');
-- Other keys' changes don't refuse it, but by a rare chance: keys share the places that remember changes of what is missing.
SELECT count(*) BETWEEN 18 AND 20 AS filled FROM generate_series(1, 20) n, cache_entry('fill:' || n) seen
WHERE cache_set('other:' || n, '1') AND cache_delete('other:' || n) AND cache_set('fill:' || n, '"fresh"', if_version => seen.version);
-- To expire is neither to be written nor to be deleted: who looked before may still fill, but there is nothing to delete.
SELECT cache_set('k', '1', '1 second');
SELECT version AS seen FROM cache_entry('k') \gset
SET pgcache.test_clock = '2040-01-01 00:05:01+00';
SELECT cache_delete('k', :seen), cache_exists('k');
SELECT cache_set('k', '1', '1 second');
SELECT version AS seen FROM cache_entry('k') \gset
SET pgcache.test_clock = '2040-01-01 00:05:02+00';
SELECT cache_set('k', '2', if_version => :seen), cache_get('k');
-- Versions that nobody handed out fit nothing.
SELECT cache_set('k', '1');
SELECT cache_set('k', '2', if_version => 0), cache_set('k', '2', if_version => -1), cache_set('k', '2', if_version => 9223372036854775807),
       cache_set('k', '2', if_version => -9223372036854775808), cache_delete('k', 0), cache_get('k');
-- Together with mode, both must agree.
SELECT version AS seen FROM cache_entry('k') \gset
SELECT cache_set('k', '2', mode => 'if_absent', if_version => :seen), cache_set('k', '3', mode => 'if_present', if_version => :seen), cache_get('k');

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

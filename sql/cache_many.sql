-- Many entries in one call.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;
SET intervalstyle = 'postgres';
SET pgcache.test_clock = '2040-01-01 00:00:00+00';

SELECT cache_set_many('{"a": 1, "b": [2], "c": {"d": null}, "e": null, "f": "text", "g": true}', '5 minutes');
SELECT * FROM cache_get_many('{a,b,c,e,f,g}');
SELECT cache_ttl('a'), cache_ttl('g');
-- One row a hit, in the order of the keys, also if one is asked for twice; misses and NULLs give none.
SELECT * FROM cache_get_many('{f,nobody,a,NULL,f}');
SELECT count(*) FROM cache_get_many('{}');
SELECT count(*) FROM cache_get_many('{NULL}');
SELECT count(*) FROM cache_get_many('{nobody}');
-- In a select list, in FROM with more columns, with ordinality, under LIMIT, in a join.
SELECT cache_get_many('{a,b}');
SELECT (cache_get_many('{a,b}')).value;
SELECT key, value, number FROM cache_get_many('{b,a}') WITH ORDINALITY AS hits (key, value, number);
SELECT key FROM cache_get_many('{a,b,c}') LIMIT 1;
SELECT wanted, value FROM unnest('{a,nobody,b}'::text[]) wanted LEFT JOIN cache_get_many('{a,nobody,b}') ON key = wanted ORDER BY wanted;
SELECT users.id, hits.value FROM (VALUES (1, ARRAY['a', 'b']), (2, ARRAY['nobody']), (3, ARRAY['c'])) AS users (id, keys), cache_get_many(users.keys) hits ORDER BY 1;
-- An array of arrays is all its elements; bounds don't matter.
SELECT key FROM cache_get_many('{{a,b},{nobody,c}}');
SELECT key FROM cache_get_many('[5:6]={a,b}');

-- Writing: the number stored; a name given twice in the arrays has the last value.
SELECT cache_set_many('{}'), cache_set_many_text('{}', '{}'), cache_set_many_bytes('{}', '{}');
SELECT cache_set_many_text('{t,u,t}', '{1,2,3}', '1 minute'), cache_get_text('t'), cache_ttl('t'), cache_get_text('u');
SELECT cache_set_many_text('{empty,quoted}', '{"","a \"b\" c"}');
SELECT * FROM cache_get_many_text('{empty,quoted,nobody,t}');
SELECT cache_set_many_bytes('{x,y,z}', '{"\\x00","\\x00ff00",""}');
SELECT * FROM cache_get_many_bytes('{x,y,z,nobody}');
SELECT cache_set_many_text('{{1,2},{3,4}}', '{{a,b},{c,d}}'), cache_get_text('4');
-- Over what was there, of any kind.
SELECT cache_set_many('{"t": 1, "x": 2}'), cache_get('t'), cache_get('x');
SELECT cache_set_many('{"t": 1}', '0'), cache_ttl('t') AS no_expiry;
-- Keys as JSON writes them.
SELECT cache_set_many('{"key with \"quotes\"": 1, "\u043a\u043b\u044e\u0447": 2, "{a,b}": 3}'), cache_get('key with "quotes"'), cache_get('ключ'), cache_get('{a,b}');

-- What is wrong with one stops all: nothing is stored or deleted.
\set VERBOSITY sqlstate
SELECT cache_set_many('{"good": 1, "": 2}');
SELECT cache_set_many(jsonb_build_object('good', 1, repeat('x', 1025), 2));
SELECT cache_set_many_text('{good,NULL}', '{1,2}');
SELECT cache_set_many_text('{good,bad}', '{1,NULL}');
SELECT cache_set_many_text('{good,""}', '{1,2}');
SELECT cache_set_many_bytes('{good,bad}', '{1}');
SELECT cache_set_many('{"good": 1}', '-1 second');
SELECT cache_delete_many('{a,NULL}');
SELECT cache_delete_many('{a,""}');
\set VERBOSITY default
SELECT cache_exists('good'), cache_exists('a');

-- Deleting: the number that were there.
SELECT cache_delete_many('{a,nobody,b,a}'), cache_exists('a'), cache_exists('c');
SELECT cache_delete_many('{}'), cache_delete_many('{nobody}'), cache_delete_many('{{c},{e}}');

-- Thousands in one call.
SELECT cache_set_many((SELECT jsonb_object_agg('many:' || n, n) FROM generate_series(1, 5000) n));
SELECT count(*), sum(value::integer), bool_and(key = 'many:' || value::text) AS right_ones
FROM cache_get_many((SELECT array_agg('many:' || n) FROM generate_series(1, 10000) n));
SELECT cache_set_many_text(array_agg('text:' || n), array_agg(repeat(n::text, n % 50))) FROM generate_series(1, 5000) n;
SELECT count(*), bool_and(value = repeat(substr(key, 6), substr(key, 6)::integer % 50)) AS right_ones
FROM cache_get_many_text((SELECT array_agg('text:' || n) FROM generate_series(1, 5000) n));
SELECT cache_delete_many((SELECT array_agg('many:' || n) FROM generate_series(1, 10000) n));

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

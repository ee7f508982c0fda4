-- Values of the three kinds go in and come out, under any key.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;

SELECT cache_set('user:123:profile', '{"name":"John"}', '15 minutes');
SELECT cache_get('user:123:profile');
SELECT cache_get('user:124:profile') IS NULL AS miss;

-- JSON of every shape, numbers with their scale.
CREATE TEMP TABLE documents (id serial, document jsonb);
INSERT INTO documents (document) VALUES
    ('null'), ('true'), ('false'), ('0'), ('-1'), ('1.10'), ('1e-20'), ('123456789012345678901234567890.5'),
    ('""'), ('"text"'), ('"quote \" backslash \\ tab \t e-acute \u00e9 key \ud83d\udd11"'),
    ('[]'), ('{}'), ('[null]'), ('{"": ""}'), ('[[[[[]]]]]'), ('{"a": {"b": [1, {"c": null}]}, "d": "e"}');
SELECT count(*) AS stored FROM documents WHERE cache_set('doc:' || id, document);
SELECT id, document, cache_get('doc:' || id) AS cached FROM documents ORDER BY id;
SELECT count(*) AS differ FROM documents WHERE cache_get('doc:' || id)::text IS DISTINCT FROM document::text;
-- A JSON null is a value, not a miss.
SELECT cache_get('doc:1') IS NULL AS is_miss, cache_get('doc:1') = 'null' AS is_json_null, cache_exists('doc:1');

-- Text: also empty, also with what JSON would have to escape.
CREATE TEMP TABLE texts (id serial, content text);
INSERT INTO texts (content) VALUES (''), (' '), ('plain'), (E'two\nlines\twith \\ and "'), (E'\x01\x7f'), ('Grüße'), ('日本語'), ('🔑🔒'), ('null');
SELECT count(*) AS stored FROM texts WHERE cache_set_text('text:' || id, content);
SELECT id, cache_get_text('text:' || id) = content AS same, length(cache_get_text('text:' || id)) FROM texts ORDER BY id;

-- Bytes: none, zeros, all 256.
SELECT cache_set_bytes('none', ''), cache_get_bytes('none') = '' AS same;
SELECT cache_set_bytes('zeros', '\x000000'), cache_get_bytes('zeros');
SELECT cache_set_bytes('all', string_agg(set_byte('\x00', 0, n), '' ORDER BY n)) FROM generate_series(0, 255) n;
SELECT cache_get_bytes('all') = (SELECT string_agg(set_byte('\x00', 0, n), '' ORDER BY n) FROM generate_series(0, 255) n) AS same,
       length(cache_get_bytes('all'));

-- Any key: spaces, quotes, control characters, every script, and nothing is folded or trimmed.
CREATE TEMP TABLE names (id serial, name text);
INSERT INTO names (name) VALUES ('k'), ('K'), (' k'), ('k '), ('  '), (E'line\nbreak'), (E'tab\t'), ('"quoted"'), ('it''s'), ('back\slash'),
    ('%'), ('_'), ('{a,b}'), ('ключ'), ('鍵'), ('مفتاح'), ('🔑'), (U&'\00e9'), (U&'e\0301'), (E'\x01'), (E'\x7f'), ('user:1:' || repeat('x', 1000));
SELECT count(*) AS stored FROM names WHERE cache_set(name, to_jsonb(id));
SELECT count(*) AS found FROM names WHERE cache_get(name) = to_jsonb(id);
SELECT count(*) AS deleted FROM names WHERE cache_delete(name);
-- Every length that a key may have, in bytes: 1 to 1,024.
SELECT count(*) AS stored FROM generate_series(1, 1024) n WHERE cache_set_text(repeat('k', n), n::text);
SELECT count(*) AS found FROM generate_series(1, 1024) n WHERE cache_get_text(repeat('k', n)) = n::text;
SELECT cache_set(repeat('é', 512), '2'), cache_set(repeat('鍵', 341) || 'k', '3'), cache_set(repeat('🔑', 256), '4');
SELECT cache_get(repeat('é', 512)), cache_get(repeat('鍵', 341) || 'k'), cache_get(repeat('🔑', 256));

-- Writing again replaces the value, also by one of another length and kind.
SELECT cache_set('k', '"short"'), cache_set('k', to_jsonb(repeat('long', 100))), length(cache_get('k') #>> '{}');
SELECT cache_set_text('k', 'text'), cache_get_text('k'), cache_set_bytes('k', 'bytes'), cache_get_bytes('k'), cache_set('k', '[]'), cache_get('k');

-- exists, delete, take: one winner.
SELECT cache_exists('k'), cache_exists('nobody');
SELECT cache_delete('k'), cache_delete('k'), cache_exists('k');
SELECT cache_set('k', '{"once": true}'), cache_take('k'), cache_take('k');
SELECT cache_set_text('k', 'once'), cache_take_text('k'), cache_take_text('k');
SELECT cache_set_bytes('k', '\x00ff'), cache_take_bytes('k'), cache_take_bytes('k');
-- One of another kind is refused by take and stays.
SELECT cache_set_text('k', 'text');
\set VERBOSITY sqlstate
SELECT cache_take('k');
SELECT cache_take_bytes('k');
\set VERBOSITY default
SELECT cache_take_text('k');

-- An entry knows its kind; reading it as another names both.
SELECT cache_set('json', '1'), cache_set_text('text', '1'), cache_set_bytes('bytes', '1'), cache_incr('counter');
SELECT cache_get_text('json');
SELECT cache_get_bytes('json');
SELECT cache_get('text');
SELECT cache_get_bytes('text');
SELECT cache_get('bytes');
SELECT cache_get_text('bytes');
SELECT cache_get_text('counter');
SELECT cache_get_bytes('counter');
SELECT * FROM cache_get_many('{json,text}');
SELECT * FROM cache_get_many_text('{text,bytes}');
SELECT * FROM cache_get_many_bytes('{bytes,counter}');
SELECT cache_get('counter');

-- Values as tables hold them: short, compressed, stored out of line, compressed and out of line.
CREATE TEMP TABLE stored (id serial, key text, document jsonb, content text, picture bytea);
ALTER TABLE stored ALTER content SET STORAGE EXTENDED, ALTER picture SET STORAGE EXTERNAL;
INSERT INTO stored (key, document, content, picture) VALUES
    ('short', '[1]', 'short', '\x00'),
    (repeat('compressed key ', 60), to_jsonb(repeat('x', 5000)), repeat('x', 5000), decode(repeat('00', 5000), 'hex')),
    ('out of line', (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 1000) n), (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n),
     (SELECT string_agg(decode(md5(n::text), 'hex'), '') FROM generate_series(1, 1000) n));
SELECT count(*) AS stored FROM stored
WHERE cache_set(key || 'd', document) AND cache_set_text(key || 't', content) AND cache_set_bytes(key || 'p', picture) AND cache_set(key, '0');
SELECT cache_get(key || 'd') = document AS document, cache_get_text(key || 't') = content AS content,
       cache_get_bytes(key || 'p') = picture AS picture, cache_get(key) AS key, length(key) AS key_length
FROM stored ORDER BY id;
-- What was read from the cache is a value like any other.
UPDATE stored SET document = cache_get(key || 'd'), content = cache_get_text(key || 't'), picture = cache_get_bytes(key || 'p');
SELECT id, jsonb_typeof(document), length(content), length(picture) FROM stored ORDER BY id;

-- Types that become text and jsonb by themselves.
CREATE DOMAIN pg_temp.cache_key AS text CHECK (VALUE <> '');
CREATE DOMAIN pg_temp.document AS jsonb;
SELECT cache_set('domain'::pg_temp.cache_key, '[1]'::pg_temp.document), cache_get('domain'), cache_get('domain'::pg_temp.cache_key);
SELECT cache_set('varchar'::varchar(20), '1'), cache_set('name'::name, '2'), cache_set('char'::char(10), '3');
SELECT cache_get('varchar'), cache_get('name'), cache_get('char');
SELECT * FROM cache_get_many(ARRAY['varchar', 'name']::varchar[]);
SELECT * FROM cache_get_many(ARRAY['varchar', 'domain']::pg_temp.cache_key[]);
SELECT cache_set('row', to_jsonb(r)), cache_get('row') FROM (SELECT 1 AS id, 'John' AS name) r;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

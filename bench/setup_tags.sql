-- Entries without tags, with one and with four; then as many as `items` with one tag in common, and ten with another.
-- Prints the bytes that an entry takes. psql variables: items.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

CREATE TEMPORARY VIEW entry_bytes AS SELECT bytes_used::numeric / items AS bytes FROM cache_stats WHERE database = current_database();
SELECT cache_clear() >= 0 AS cleared \gset
SELECT count(*) AS stored FROM generate_series(1, 100000) AS n WHERE cache_set_text('key:' || n, 'value') \gset
SELECT bytes FROM entry_bytes;
SELECT cache_clear() >= 0 AS cleared \gset
SELECT count(*) AS stored FROM generate_series(1, 100000) AS n WHERE cache_set_text('key:' || n, 'value', tags => '{a}') \gset
SELECT bytes FROM entry_bytes;
SELECT cache_clear() >= 0 AS cleared \gset
SELECT count(*) AS stored FROM generate_series(1, 100000) AS n WHERE cache_set_text('key:' || n, 'value', tags => '{a,b,c,d}') \gset
SELECT bytes FROM entry_bytes;
SELECT cache_clear() >= 0 AS cleared \gset
SELECT count(*) AS stored FROM generate_series(1, 10) AS n WHERE cache_set_text('few:' || n, 'value', tags => '{few}') \gset
SELECT count(*) AS stored FROM generate_series(1, :items) AS n WHERE cache_set_text('many:' || n, 'value', tags => '{many}') \gset
SELECT count(*) FROM generate_series(1, :items) AS n WHERE cache_exists('many:' || n);

-- The functions inside queries: joins, prepared statements, functions, exception blocks, parallel workers, transactions.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgcache;
RESET client_min_messages;
SELECT cache_clear() >= 0 AS ready;

CREATE TABLE products (id integer PRIMARY KEY, name text, price integer);
INSERT INTO products SELECT n, 'product ' || n, n * 10 FROM generate_series(1, 10000) n;
ANALYZE products;

-- A row a product: filled from a query, read in a query.
SELECT count(*) AS stored FROM products WHERE cache_set('product:' || id, to_jsonb(products));
SELECT count(*) AS hits, sum((cache_get('product:' || id) ->> 'price')::integer) AS total FROM products;
SELECT id, cache_get('product:' || id) ->> 'name' AS cached FROM products WHERE id <= 3 ORDER BY id;
SELECT count(*) FROM products WHERE cache_get('product:' || id) ->> 'name' = name;
SELECT count(*) AS differ FROM products p JOIN LATERAL cache_get('product:' || p.id) c (value) ON true WHERE c.value IS DISTINCT FROM to_jsonb(p);
SELECT count(*) FROM cache_get_many((SELECT array_agg('product:' || id) FROM products WHERE id % 100 = 0)) h JOIN products p ON h.key = 'product:' || p.id AND h.value = to_jsonb(p);
-- Evaluated for each row, however often the same one.
SELECT count(DISTINCT cache_incr('each')) FROM products WHERE id <= 100;
SELECT id FROM products WHERE cache_incr('filter') <= 3 ORDER BY id LIMIT 3;
-- What is not needed is not called.
SELECT coalesce(cache_get('product:1') ->> 'name', cache_incr('unneeded')::text), cache_exists('unneeded');
SELECT CASE WHEN id = 0 THEN cache_incr('unneeded') END FROM products LIMIT 1;
SELECT cache_exists('unneeded');

-- The usual pattern, cache aside: compute on a miss.
CREATE FUNCTION product_report(product integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    report jsonb := cache_get('report:' || product);
BEGIN
    IF report IS NULL THEN
        PERFORM cache_incr('computed');
        SELECT jsonb_build_object('name', name, 'price', price) INTO report FROM products WHERE id = product;
        PERFORM cache_set('report:' || product, report, '5 minutes');
    END IF;
    RETURN report;
END
$$;
SELECT product_report(7), product_report(7), product_report(7), cache_get('computed');
-- And in SQL, also where the function is inlined.
CREATE FUNCTION product_name(product integer) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(cache_get_text('name:' || product), (SELECT name FROM products WHERE id = product))
$$;
SELECT product_name(1), cache_set_text('name:1', 'cached name'), product_name(1);
-- Invalidation from a trigger.
CREATE FUNCTION forget_product() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cache_delete('report:' || NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER forget AFTER UPDATE ON products FOR EACH ROW EXECUTE FUNCTION forget_product();
UPDATE products SET price = 75 WHERE id = 7;
SELECT product_report(7);

-- Prepared statements, by custom and generic plan; parameters of unknown type.
PREPARE store (text, jsonb) AS SELECT cache_set($1, $2, '1 hour');
PREPARE read_one (text) AS SELECT cache_get($1);
PREPARE untyped AS SELECT cache_set($1, $2), cache_get($1), cache_incr('untyped', $3);
EXECUTE store('p', '1');
EXECUTE read_one('p');
SET plan_cache_mode = force_generic_plan;
EXECUTE store('p', '2');
EXECUTE read_one('p');
EXECUTE read_one('nobody');
EXECUTE read_one(NULL);
EXECUTE untyped('p', '{"n": 3}', 4);
RESET plan_cache_mode;
DEALLOCATE ALL;

-- A refusal in an exception block leaves the transaction usable.
DO $$
DECLARE
    state text;
BEGIN
    BEGIN
        PERFORM cache_get('');
    EXCEPTION WHEN invalid_parameter_value THEN
        state := SQLSTATE;
    END;
    PERFORM cache_set_text('state', state);
    BEGIN
        PERFORM cache_get('state');
    EXCEPTION WHEN datatype_mismatch THEN
        PERFORM cache_set_text('state', state || ' ' || SQLSTATE);
    END;
    BEGIN
        PERFORM cache_incr('full', 9223372036854775807), cache_incr('full');
    EXCEPTION WHEN numeric_value_out_of_range THEN
        PERFORM cache_set_text('state', cache_get_text('state') || ' ' || SQLSTATE);
    END;
END
$$;
SELECT cache_get_text('state');

-- In a transaction: what it has set it sees, and at the end everybody does.
BEGIN;
SELECT cache_set('tx', '1'), cache_get('tx');
SAVEPOINT s;
SELECT cache_set('tx', '2'), cache_get('tx'), cache_delete('p'), cache_exists('p');
RELEASE s;
COMMIT;
SELECT cache_get('tx'), cache_exists('p');
-- A read-only transaction may use the cache: it is no table.
BEGIN READ ONLY;
SELECT cache_set('tx', '3'), cache_get('tx'), cache_incr('ro'), cache_delete('ro');
COMMIT;
-- A cursor over a set of rows.
BEGIN;
DECLARE c CURSOR FOR SELECT key, value ->> 'id' AS id FROM cache_get_many('{product:3,product:1,product:2}');
FETCH 2 FROM c;
FETCH ALL FROM c;
COMMIT;

-- Parallel workers read the same cache as their leader.
SET max_parallel_workers_per_gather = 2;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
EXPLAIN (COSTS OFF) SELECT sum((cache_get('product:' || id) ->> 'id')::integer) FROM products;
SELECT count(cache_get('product:' || id)), sum((cache_get('product:' || id) ->> 'id')::integer), bool_and(cache_exists('product:' || id)) FROM products;
-- Errors come through, settings go along.
\set VERBOSITY sqlstate
SELECT count(cache_get_text('product:' || id)) FROM products;
\set VERBOSITY default
SET pgcache.test_clock = '2045-01-01';
SELECT count(cache_get('product:' || id)) FROM products;
RESET pgcache.test_clock;
-- What writes keeps a query from going parallel.
EXPLAIN (COSTS OFF) SELECT count(cache_delete('product:' || id)) FROM products;
SELECT count(*) FROM products WHERE cache_delete('product:' || id);
RESET max_parallel_workers_per_gather;
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET parallel_leader_participation;

DROP TABLE products;
DROP FUNCTION product_report, product_name, forget_product;

SELECT cache_clear() >= 0 AS cleared;
DROP EXTENSION pgcache;

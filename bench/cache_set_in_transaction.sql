\set key random(:first, :last)
\set account random(1, 1000)
BEGIN;
UPDATE account SET balance = balance + 1 WHERE id = :account;
SELECT cache_set(:key, :value, :ttl);
COMMIT;

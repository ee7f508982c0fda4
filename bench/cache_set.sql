\set key random(:first, :last)
SELECT cache_set(:key, :value, :ttl);

\set key random(:first, :last)
SELECT floor_set(:key, :value, :ttl);

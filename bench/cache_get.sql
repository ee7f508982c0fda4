\set key random(:first, :last)
SELECT cache_get(:key);

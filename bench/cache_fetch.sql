\set key random(:first, :last)
SELECT cache_fetch(:key, 'SELECT 1');

\set key random(:first, :last)
SELECT floor_get(:key);

\set key random(:first, :last)
SELECT allowed FROM floor_rate_limit(:key, :quota, :period);

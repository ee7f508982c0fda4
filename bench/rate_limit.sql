\set key random(:first, :last)
SELECT allowed FROM rate_limit(:key, :quota, :period);

\set key random(:first, :last)
SELECT floor_rate_limit_allowed(:key, :quota, :period);

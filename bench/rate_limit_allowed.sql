\set key random(:first, :last)
SELECT rate_limit_allowed(:key, :quota, :period);

\set key random(:first, :last)
INSERT INTO cache (key, value, expires_at) VALUES (:key, :value, now() + interval '15 minutes') ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, expires_at = EXCLUDED.expires_at;

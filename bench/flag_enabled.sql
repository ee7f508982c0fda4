\set user random(:first, :last)
SELECT flag_enabled('rollout', jsonb_build_object('userId', (:user)::text));

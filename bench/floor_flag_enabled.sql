\set user random(:first, :last)
SELECT floor_flag_enabled('rollout', jsonb_build_object('userId', (:user)::text));

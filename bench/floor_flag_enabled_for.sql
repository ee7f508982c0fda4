\set user random(:first, :last)
SELECT floor_flag_enabled_for('rollout', :user);

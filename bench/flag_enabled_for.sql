\set user random(:first, :last)
SELECT flag_enabled_for('rollout', :user);

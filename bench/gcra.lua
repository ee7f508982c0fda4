-- The generic cell rate algorithm as rate_limit computes it, but for the fractions of a microsecond.
-- KEYS: the key. ARGV: quota, period in microseconds, cost. Answers allowed, remaining, retry_after, reset_after.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local quota, period, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local next_arrival = arrival + cost * period / quota
local too_early = next_arrival - period - now
if too_early > 0 then
  return {0, math.floor((now + period - arrival) * quota / period), math.ceil(too_early), math.ceil(arrival - now)}
end
local reset = next_arrival - now
redis.call('SET', KEYS[1], string.format('%.3f', next_arrival), 'PX', math.ceil(reset / 1000))
return {1, math.floor((period - reset) * quota / period), 0, math.ceil(reset)}

-- Counts requests of a client (GCRA) and returns 0, or for how many microseconds it is refused.
--
-- KEYS: all buckets, a sorted set. ARGV: the interval times the number of requests, and the period, in microseconds; the
-- client; the most clients.
--
-- A bucket is one number: the moment, by Redis' clock, at which it is full again. Each request moves it on by one
-- interval; requests that would move it further ahead than the whole period are refused. A moment that is more than the
-- period ahead is from before the clock was set back, and counts as none. Buckets that are full again go, and beyond the
-- bound those that are full soonest: many addresses cannot fill Redis, and to have a used-up bucket forgotten takes using
-- up as many others.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[3]) or 0)
if full_at - now > tonumber(ARGV[2]) then
  full_at = now
end
full_at = math.max(full_at, now) + ARGV[1]
if full_at - now > tonumber(ARGV[2]) then
  return full_at - now - ARGV[2]
end
redis.call('ZADD', KEYS[1], string.format('%d', full_at), ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now))
local surplus = redis.call('ZCARD', KEYS[1]) - ARGV[4]
if surplus > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, surplus - 1)
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) / 1000))
return 0

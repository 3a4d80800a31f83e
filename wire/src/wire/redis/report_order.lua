-- Keeps how far the running order is; returns 0 where the lease is not the caller's.
--
-- KEYS: the lease, the running order. ARGV: the caller; the progress.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2])
return 1

-- Ends the lease of the trainer where it is the caller's.
--
-- KEYS: the lease. ARGV: the caller.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0

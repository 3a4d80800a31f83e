-- Keeps what came of an order, and forgets the oldest orders with an outcome beyond a number of them.
--
-- Returns 0 where the lease is not the caller's: another trainer has taken the order up again.
-- KEYS: the lease, the orders, what came of them, the running order. ARGV: the caller; the entry of the order; what
-- came of it; how many are kept.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('DEL', KEYS[4])
local surplus = redis.call('HLEN', KEYS[3]) - tonumber(ARGV[4])
if surplus > 0 then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+')) do
    if surplus > 0 and redis.call('HDEL', KEYS[3], entry[1]) == 1 then
      redis.call('XDEL', KEYS[2], entry[1])
      surplus = surplus - 1
    end
  end
end
return 1

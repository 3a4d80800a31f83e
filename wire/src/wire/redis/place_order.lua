-- Adds an order and returns its entry; nothing where too many wait already.
--
-- KEYS: the orders, what came of them. ARGV: how many may wait or run; the order.
if redis.call('XLEN', KEYS[1]) - redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[1]) then
  return false
end
return redis.call('XADD', KEYS[1], '*', 'order', ARGV[2])

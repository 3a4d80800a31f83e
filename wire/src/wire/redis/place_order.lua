-- Adds an order; returns its entry, and 1: 0 where it has come under its key before, -1 where another order has.
-- Returns nothing where too many wait already.
--
-- KEYS: the orders, what came of them. ARGV: how many may wait or run; the order; its key; a digest of its content.
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  if entry[2][4] == ARGV[3] then
    return {entry[1], entry[2][6] == ARGV[4] and 0 or -1}
  end
end
if redis.call('XLEN', KEYS[1]) - redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[1]) then
  return false
end
return {redis.call('XADD', KEYS[1], '*', 'order', ARGV[2], 'key', ARGV[3], 'content', ARGV[4]), 1}

-- Replaces the list of images to review.
--
-- KEYS: the list. ARGV: the image and the entry of each.
redis.call('DEL', KEYS[1])
for at = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
end
return #ARGV / 2

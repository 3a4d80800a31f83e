-- Admits a job that no one waits for, within both bounds in one step, and returns the depth, its entry and its place in
-- the job index. A refusal is the depth alone, or the number of jobs in the index and no entry. The reply
-- stream is made here, empty, and the worker adds to a stream that exists only: what is cancelled while a worker has it
-- leaves no reply behind.
--
-- KEYS 1 to 5 and ARGV 1 to 11: see admit.lua. KEYS: the job index, the reply stream, the periods. ARGV: the most jobs in the
-- index; for how many seconds this one stays there; the job's id, its owner, its image. The periods are a sorted set of
-- all such numbers of seconds, each until the last job of that period may go: a shorter one must not remove others' jobs.
local time, period = redis.call('TIME'), tonumber(ARGV[13])
redis.call('ZREMRANGEBYSCORE', KEYS[8], '-inf', time[1])
local longest = period
for _, other in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1)) do
  longest = math.max(longest, tonumber(other))
end
redis.call('XTRIM', KEYS[6], 'MINID', (time[1] - longest) * 1000)
local kept = redis.call('XLEN', KEYS[6])
if kept >= tonumber(ARGV[12]) then
  return {kept, false}
end
local depth, entry = admit()
if not entry or entry == 0 then
  return {depth}
end
redis.call('XADD', KEYS[7], 'MAXLEN', '0', '*', 'job', '')
redis.call('EXPIRE', KEYS[7], period)
redis.call('ZADD', KEYS[8], time[1] + period + 1, period)
redis.call('EXPIRE', KEYS[8], longest + 1)
local row = {'id', ARGV[14], 'entry', entry, 'stream', KEYS[1], 'owner', ARGV[15], 'image', ARGV[16]}
return {depth, entry, redis.call('XADD', KEYS[6], '*', unpack(row))}

-- Admits a job that nobody waits for, within both bounds in one step, and returns the depth, its entry and its place in
-- the job index. A refusal is the depth alone, or the number of jobs in the index and no entry. The reply
-- stream is made here, empty, and the worker adds to a stream that exists only: what is cancelled while a worker has it
-- leaves no reply behind.
--
-- KEYS and ARGV 1 to 7: see admit.lua. KEYS: the job index, the reply stream. ARGV: the most jobs in the index; for how
-- many seconds they stay there; the job's id, its owner, its image.
local time = redis.call('TIME')
redis.call('XTRIM', KEYS[5], 'MINID', (time[1] - ARGV[9]) * 1000)
local kept = redis.call('XLEN', KEYS[5])
if kept >= tonumber(ARGV[8]) then
  return {kept, false}
end
local depth, entry = admit()
if not entry then
  return {depth}
end
redis.call('XADD', KEYS[6], 'MAXLEN', '0', '*', 'job', '')
redis.call('EXPIRE', KEYS[6], ARGV[9])
local row = {'id', ARGV[10], 'entry', entry, 'stream', KEYS[1], 'owner', ARGV[11], 'image', ARGV[12]}
return {depth, entry, redis.call('XADD', KEYS[5], '*', unpack(row))}

-- Defines admit(): adds a job to its stream if there is room, and returns the depth and the job's entry, or the depth
-- alone where there is none. Without a job it adds nothing and returns the depth.
--
-- KEYS: a job stream, its weights, the other job stream, what is owed, whose the entries of the stream are. ARGV: the
-- largest depth at which the job is admitted; the same while the other stream holds jobs; the job's weight; the job; the share, in photographs a
-- millisecond, or 0; below how many entries the stream takes a burst, and the largest depth for that; how many
-- photographs a weight of 1 counts for; whose job it is, or empty; how much of the stream a client may hold while others
-- have jobs there; the largest depth at which a client that holds little is admitted.
--
-- Refuses a client that holds its share with an entry of 0. Whose the entries are is a sorted set of "client:entry", all
-- of one score, so that those of a client stand together. As with weights, what is gone is removed where it would refuse
-- a job, and from the whole set once it holds more than twice what the stream does.
--
-- The depth is XLEN, which counts what waits and what is in progress (an answer deletes its entry), and the weights of
-- the heavier entries. A weight is a time, not a number of photographs, which would be those of the rate at which the
-- job was admitted: what waits and what comes are counted at the rate of this moment. Weights of entries that are gone
-- are removed where the sum would refuse a job: code that deletes an entry needs no weights, and no sum can drift.
-- "Owed" is when a share's past and present work is done at the rate of that share; it counts only while the other
-- stream has work. A job that costs more than the whole bound still enters an empty stream, else it could never be sent
-- it.
local function weights(is_checked)
  local sum, found = 0, redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
  for at = 1, #found, 2 do
    if is_checked and #redis.call('XRANGE', KEYS[1], found[at], found[at]) == 0 then
      redis.call('ZREM', KEYS[2], found[at])
    else
      sum = sum + found[at + 1]
    end
  end
  return sum * ARGV[8]
end

local function held(is_checked)
  local found = redis.call('ZRANGE', KEYS[5], '[' .. ARGV[9] .. ':', '(' .. ARGV[9] .. ';', 'BYLEX')
  local count = #found
  for _, member in ipairs(is_checked and found or {}) do
    local entry = string.sub(member, #ARGV[9] + 2)
    if #redis.call('XRANGE', KEYS[1], entry, entry) == 0 then
      redis.call('ZREM', KEYS[5], member)
      count = count - 1
    end
  end
  return count
end

local function remove_clients_of_gone_entries()
  for _, member in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1)) do
    local entry = string.match(member, '[^:]*$')
    if #redis.call('XRANGE', KEYS[1], entry, entry) == 0 then
      redis.call('ZREM', KEYS[5], member)
    end
  end
end

local function admit()
  local count, share, now, owed = redis.call('XLEN', KEYS[1]), tonumber(ARGV[5]), 0, 0
  local is_beside = redis.call('XLEN', KEYS[3]) > 0
  local room = tonumber(is_beside and ARGV[2] or ARGV[1])
  if count < tonumber(ARGV[6]) and not is_beside then
    room = math.max(room, tonumber(ARGV[7]))
  end
  if ARGV[9] ~= '' and count > 0 then
    local cost, share = 1 + ARGV[3] * ARGV[8], tonumber(ARGV[10])
    local own = held(false)
    if own * cost >= share and own ~= count then
      own = held(true)
      if own * cost >= share and own < count then
        return count, 0
      end
    end
    if own * cost * 4 < share and not is_beside then
      room = math.max(room, tonumber(ARGV[11]))
    end
  end
  if share > 0 then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
    owed = is_beside and ((tonumber(redis.call('GET', KEYS[4])) or 0) - now) * share or 0
  end
  local depth = math.max(count + weights(false), owed)
  if depth > room then
    depth = math.max(count + weights(true), owed)
    if depth > room and depth > 0 then
      return math.ceil(depth)
    end
  end
  if ARGV[4] == '' then
    return math.ceil(depth)
  end
  local entry = redis.call('XADD', KEYS[1], '*', 'job', ARGV[4])
  if tonumber(ARGV[3]) > 0 then
    redis.call('ZADD', KEYS[2], ARGV[3], entry)
  end
  if count == 0 then
    redis.call('DEL', KEYS[5])
  end
  if ARGV[9] ~= '' then
    redis.call('ZADD', KEYS[5], 0, ARGV[9] .. ':' .. entry)
    if redis.call('ZCARD', KEYS[5]) > 2 * count + 64 then
      remove_clients_of_gone_entries()
    end
  end
  if share > 0 then
    local done = math.ceil(now + (depth + 1 + ARGV[3] * ARGV[8]) / share)
    redis.call('SET', KEYS[4], string.format('%.0f', done), 'PX', math.max(done - now, 1))
  end
  return math.ceil(depth), entry
end


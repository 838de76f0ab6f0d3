-- Looks whether tasks of a queue are where their state says, and mends those
-- that are not. KEYS: active, pending, lease, scheduled, retry, archived,
-- completed, then the tasks. ARGV: what the tasks' keys begin with, now (s),
-- 'mend' or 'look', 'deep' to search the pending tasks however many they are.
-- Returns for each task what is, or was, wrong with it: '' for nothing.
local active, pending, lease = KEYS[1], KEYS[2], KEYS[3]
local sets = {scheduled = KEYS[4], retry = KEYS[5], archived = KEYS[6], completed = KEYS[7]}
local now, mend = ARGV[2], ARGV[3] == 'mend'
local deep = ARGV[4] == 'deep' or redis.call('LLEN', pending) <= 1000

local function listed(list, id) return redis.call('LPOS', list, id) end

-- named says whether anything names the id of a task that is not there.
local function named(id)
  for i = 3, 7 do
    if redis.call('ZSCORE', KEYS[i], id) then return true end
  end
  return listed(active, id) or deep and listed(pending, id)
end

-- forget removes an id everywhere. With many pending tasks it may stay among
-- those: it is then found among the active ones when its turn has come.
local function forget(id, key)
  for i = 3, 7 do redis.call('ZREM', KEYS[i], id) end
  redis.call('LREM', active, 0, id)
  if deep then redis.call('LREM', pending, 0, id) end
  redis.call('DEL', key)
end

local function look(id, key)
  local state = redis.pcall('HGET', key, 'state')
  if type(state) == 'table' then return '' end -- no hash: nobody's task
  if redis.call('HEXISTS', key, 'msg') == 0 then
    if redis.call('EXISTS', key) == 0 and not named(id) then return '' end
    if mend then forget(id, key) end
    return 'empty'
  end
  if sets[state] then
    if redis.call('ZSCORE', sets[state], id) then return '' end
    if state == 'archived' or state == 'completed' then
      if mend then redis.call('DEL', key) end
      return 'ghost'
    end
    if mend then redis.call('ZADD', sets[state], now, id) end
    return 'unlisted'
  end
  if state == 'pending' then
    if not deep or listed(pending, id) then return '' end
    if mend then redis.call('LPUSH', pending, id) end
    return 'unlisted'
  end
  if state ~= 'active' then return '' end
  -- asynq recovers a listed task itself when its lease has ended for 30 s, once
  -- a minute.
  local ends = redis.call('ZSCORE', lease, id)
  if ends and tonumber(ends) > tonumber(now) - 120 then return '' end
  if not listed(active, id) then
    if mend then
      redis.call('ZREM', lease, id)
      redis.call('RPUSH', pending, id)
      redis.call('HSET', key, 'state', 'pending')
    end
    return 'stranded'
  end
  if ends then return '' end
  if mend then redis.call('ZADD', lease, 'NX', now, id) end
  return 'lease'
end

local out = {}
for i = 8, #KEYS do out[#out + 1] = look(string.sub(KEYS[i], #ARGV[1] + 1), KEYS[i]) end
return out

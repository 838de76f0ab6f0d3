-- Deletes the tasks of one run from a page of a queue's pending ones. One that
-- was fetched meanwhile stays. KEYS: pending, then the tasks of the page. ARGV: how
-- far from the list's end the page began, how many ids there were on it, what the
-- run's messages hold, then the tasks' ids.
-- Returns the messages of those deleted.
local own, out = {}, {}
for i = 2, #KEYS do
  local task = redis.pcall('HMGET', KEYS[i], 'state', 'msg')
  if task[1] == 'pending' and task[2] and string.find(task[2], ARGV[3], 1, true) then
    own[ARGV[i + 2]] = {KEYS[i], task[2]}
  end
end
if next(own) == nil then return out end
-- Tasks have been fetched since the page was read, so that it is nearer to the end.
-- The ids are blanked where they stand, and the blanks removed at once, from the end
-- of the list that is nearer: to remove id by id is to search the list for each.
local length = redis.call('LLEN', KEYS[1])
local at, blanks = math.max(length - tonumber(ARGV[1]), 0), 0
for i, id in ipairs(redis.call('LRANGE', KEYS[1], at, at + 2 * tonumber(ARGV[2]))) do
  local task = own[id]
  if task then
    redis.call('LSET', KEYS[1], at + i - 1, '')
    blanks = blanks + 1
    if redis.call('DEL', task[1]) == 1 then out[#out + 1] = task[2] end
  end
end
if blanks > 0 then redis.call('LREM', KEYS[1], 2 * at < length and blanks or -blanks, '') end
return out

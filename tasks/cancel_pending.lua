-- Deletes the tasks of one run from a page of a queue's pending ones. One that
-- was fetched meanwhile stays. KEYS: pending, then the tasks of the page. ARGV:
-- where the page began, what the run's messages hold, then the tasks' ids.
-- Returns the messages of those deleted.
local at, own, out = tonumber(ARGV[1]), {}, {}
for i = 2, #KEYS do
  local task = redis.pcall('HMGET', KEYS[i], 'state', 'msg')
  if task[1] == 'pending' and task[2] and string.find(task[2], ARGV[2], 1, true) then
    own[ARGV[i + 1]] = {KEYS[i], task[2]}
  end
end
if next(own) == nil then return out end
-- The list has moved on since the page was read. The ids are blanked where they
-- stand, and the blanks removed at once: to remove id by id is to search the
-- list for each.
local blanks = 0
for i, id in ipairs(redis.call('LRANGE', KEYS[1], at, at + 2 * #KEYS)) do
  local task = own[id]
  if task then
    redis.call('LSET', KEYS[1], at + i - 1, '')
    blanks = blanks + 1
    if redis.call('DEL', task[1]) == 1 then out[#out + 1] = task[2] end
  end
end
if blanks > 0 then redis.call('LREM', KEYS[1], blanks, '') end
return out

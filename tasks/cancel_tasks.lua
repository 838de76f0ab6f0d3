-- Deletes the tasks of rows, unless somebody is at work on them, until it has
-- searched enough. KEYS: pending, scheduled, retry, archived, then the tasks. ARGV:
-- how many ids of pending tasks may be searched through, then two for each task: its
-- id, and what its message holds if it is the row's.
-- Returns two for each of the first tasks, at least one: 'dropped' and its message,
-- 'busy', 'other' for the task of another row, or 'none'.
local most, sets = tonumber(ARGV[1]), {scheduled = KEYS[2], retry = KEYS[3], archived = KEYS[4]}
local length, searched = redis.call('LLEN', KEYS[1]), 0
local out, blanks, first, last = {}, 0, length, 0
for i = 5, #KEYS do
  local id, holds = ARGV[2 * i - 8], ARGV[2 * i - 7]
  local task = redis.pcall('HMGET', KEYS[i], 'state', 'msg')
  local state, message = task[1], task[2]
  local answer = 'busy' -- active, or completed and about to be told of
  if not state or not message then
    answer, message = 'none', nil
  elseif not string.find(message, holds, 1, true) then
    answer = 'other'
  elseif sets[state] then
    answer = 'dropped'
    redis.call('ZREM', sets[state], id)
    redis.call('DEL', KEYS[i])
  elseif state == 'pending' then
    if searched > 0 and searched + length > most then break end
    answer = 'dropped'
    local at = redis.call('LPOS', KEYS[1], id)
    if at then -- blanked for now: the others stay where they are
      redis.call('LSET', KEYS[1], at, '')
      blanks, first, last = blanks + 1, math.min(first, at), math.max(last, at)
    end
    searched = searched + (at or length) + 1
    redis.call('DEL', KEYS[i])
  end
  out[#out + 1] = answer
  out[#out + 1] = answer == 'dropped' and message or ''
end
-- From the end that is nearer.
if blanks > 0 then redis.call('LREM', KEYS[1], last < length - first and blanks or -blanks, '') end
return out

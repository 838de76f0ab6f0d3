-- Deletes the tasks of rows, unless somebody is at work on them. KEYS: pending,
-- scheduled, retry, archived, then the tasks. ARGV: two for each: its id, and
-- what its message holds if it is the row's.
-- Returns two for each: 'dropped' and its message, 'busy', 'other' for the task of
-- another row, or 'none'.
local sets = {scheduled = KEYS[2], retry = KEYS[3], archived = KEYS[4]}
local out = {}
for i = 5, #KEYS do
  local id, holds = ARGV[2 * i - 9], ARGV[2 * i - 8]
  local task = redis.pcall('HMGET', KEYS[i], 'state', 'msg')
  local state, message = task[1], task[2]
  local answer = 'busy' -- active, or completed and about to be told of
  if not state or not message then
    answer, message = 'none', nil
  elseif not string.find(message, holds, 1, true) then
    answer = 'other'
  elseif sets[state] or state == 'pending' then
    answer = 'dropped'
    if state == 'pending' then
      redis.call('LREM', KEYS[1], 1, id)
    else
      redis.call('ZREM', sets[state], id)
    end
    redis.call('DEL', KEYS[i])
  end
  out[#out + 1] = answer
  out[#out + 1] = answer == 'dropped' and message or ''
end
return out

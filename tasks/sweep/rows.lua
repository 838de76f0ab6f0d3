-- Finds the tasks that are not alive, or not those of the rows asked for.
-- KEYS: tasks. ARGV: for each what its message holds if it is the row's.
-- Returns the indexes, from 1, of those to be looked at more closely.
local alive = {pending = true, active = true, scheduled = true, retry = true}
local out = {}
for i, key in ipairs(KEYS) do
  local task = redis.pcall('HMGET', key, 'state', 'msg')
  if not (task[1] and alive[task[1]] and task[2] and string.find(task[2], ARGV[i], 1, true)) then
    out[#out + 1] = i
  end
end
return out

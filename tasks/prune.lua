-- Deletes archived tasks, but for those that have been run again meanwhile.
-- KEYS: archived, then the tasks. ARGV: their ids. Returns how many it deleted.
local n = 0
for i = 2, #KEYS do
  if redis.call('ZREM', KEYS[1], ARGV[i - 1]) == 1 then
    n = n + 1
    if redis.pcall('HGET', KEYS[i], 'state') == 'archived' then redis.call('DEL', KEYS[i]) end
  end
end
return n

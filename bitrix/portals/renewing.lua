-- Counts the trades of a pair of tokens whose end nobody knows.
-- KEYS: records, renewals (id → generation, space, count)
-- ARGV: id, generation, 1 or -1 to add. Answers -1: no such portal; -2: another
-- generation; else the count before.
local id, generation = ARGV[1], ARGV[2]
local raw = redis.call('HGET', KEYS[1], id)
if not raw then return -1 end
if string.format('%.0f', cjson.decode(raw).generation or 1) ~= generation then return -2 end
local of, noted = string.match(redis.call('HGET', KEYS[2], id) or '', '^(%d+) (%d+)$')
local count = 0
if of == generation then count = tonumber(noted) end
local now = count + tonumber(ARGV[3])
if now > 0 then
  redis.call('HSET', KEYS[2], id, string.format('%s %.0f', generation, now))
else
  redis.call('HDEL', KEYS[2], id)
end
return count

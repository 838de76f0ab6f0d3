-- Counts the trades of a pair of tokens whose end nobody knows.
-- KEYS: records, renewals (id → generation, space, count, space, mark)
-- ARGV: id, generation, 1 or -1 to add, a mark of this call. Answers -1: no such
-- portal; -2: another generation; else the count before.
local id, generation = ARGV[1], ARGV[2]
local raw = redis.call('HGET', KEYS[1], id)
if not raw then return -1 end
if string.format('%.0f', cjson.decode(raw).generation or 1) ~= generation then return -2 end
local of, noted, mark = string.match(redis.call('HGET', KEYS[2], id) or '', '^(%d+) (%d+) ?(%w*)$')
local count = 0
if of == generation then
  count = tonumber(noted)
  -- A client repeats a script whose answer was lost: it counts once.
  if mark == ARGV[4] then return count - tonumber(ARGV[3]) end
end
local now = count + tonumber(ARGV[3])
if now >= 0 then
  redis.call('HSET', KEYS[2], id, string.format('%s %.0f %s', generation, now, ARGV[4]))
end
return count

-- Forgets a portal.
-- KEYS: records, names, members, holds, renewals, its handlers, version, changes, marks
-- ARGV: where versions begin, how many changes are listed, id. Answers 1, or 0
-- when there is none.
local id = ARGV[3]
local raw = redis.call('HGET', KEYS[1], id)
if not raw then return 0 end
local function unlead(key, field)
  if type(field) == 'string' and redis.call('HGET', key, field) == id then redis.call('HDEL', key, field) end
end
local readable, record = pcall(cjson.decode, raw)
if readable and type(record) == 'table' then
  unlead(KEYS[2], record.name)
  unlead(KEYS[2], record.origin)
  unlead(KEYS[3], record.member_id)
end
for _, key in ipairs({KEYS[1], KEYS[4], KEYS[5]}) do redis.call('HDEL', key, id) end
redis.call('DEL', KEYS[6])
announce(KEYS[7], KEYS[8], KEYS[9], ARGV[1], ARGV[2], {id}, true)
return 1

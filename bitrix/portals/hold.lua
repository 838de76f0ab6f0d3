-- Holds a portal, or releases it.
-- KEYS: records, holds, version
-- ARGV: where versions begin, id, credential ('' for any), unix milliseconds,
-- reason ('' to release). Answers -1: no such portal; 0: nothing to do, or
-- other credentials by now; 1: done.
local record = redis.call('HGET', KEYS[1], ARGV[2])
if not record then return -1 end
local old = redis.call('HGET', KEYS[2], ARGV[2])
if ARGV[5] == '' then
  if not old then return 0 end
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  if ARGV[3] ~= '' and cjson.decode(record).credential ~= ARGV[3] then return 0 end
  -- A hold that stands keeps its time, or its end would never come.
  local since = old and string.match(old, '^%d+') or ARGV[4]
  local new = since .. ' ' .. ARGV[5]
  if new == old then return 1 end
  redis.call('HSET', KEYS[2], ARGV[2], new)
end
redis.call('SET', KEYS[3], ARGV[1], 'NX')
redis.call('INCR', KEYS[3])
return 1

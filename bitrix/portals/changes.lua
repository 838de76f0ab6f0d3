-- Whose portals were changed since a version.
-- KEYS: version, changes, marks
-- ARGV: the version. Answers the present version; 1 if there was more than new
-- pairs of tokens; 1 if all changes are known; and the ids.
local since = tonumber(ARGV[1])
local now = redis.call('GET', KEYS[1]) or '0'
local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local whole, loud = redis.call('HGET', KEYS[3], 'whole'), redis.call('HGET', KEYS[3], 'loud')
if not (newest and whole and loud) or tonumber(newest) ~= tonumber(now)
  or since > tonumber(now) or since < 0 then
  return {now, '1', '0'} -- nothing is known of what was before
end
local out = {now, since < tonumber(loud) and '1' or '0', '0'}
if since < tonumber(whole) then return out end
out[3] = '1'
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf')) do out[#out + 1] = id end
return out

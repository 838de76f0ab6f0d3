-- Notes when rows in a portal's line are to ask again.
--
-- KEYS[1] is the line, KEYS[2] when its rows ask again, in microseconds. ARGV[1]
-- is for how long both must stand, in milliseconds, ARGV[2] and on the rows:
-- code, time, code, time, …

local asking = {}
for i = 2, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then -- it may have gone meanwhile
    asking[#asking + 1] = ARGV[i + 1]
    asking[#asking + 1] = ARGV[i]
  end
end
if #asking == 0 then
  return 0
end
redis.call('ZADD', KEYS[2], unpack(asking))
for _, name in ipairs(KEYS) do
  if redis.call('PTTL', name) < tonumber(ARGV[1]) then
    redis.call('PEXPIRE', name, ARGV[1])
  end
end
return #asking / 2

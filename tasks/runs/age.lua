-- Tells since when the rows of one hash of a run wait. A hash of which none waits
-- is noted no more. KEYS: row hash, hashes by their oldest waiting row. ARGV:
-- number of the hash. Returns the times as the rows' JSON has them.
local out = {}
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
  if string.sub(value, 1, 1) == 'w' then
    out[#out + 1] = string.match(value, '"queued_at":"([^"]*)"') or ''
  end
end
if #out == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return out

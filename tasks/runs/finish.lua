-- Ends a run when nothing of it waits and nobody adds to it any more: all its
-- keys get one time to live. KEYS: meta, out, photos, waiting rows by portal,
-- hashes by their oldest waiting row, of which none is left.
-- ARGV: now (ms), time to live (ms), prefix of the row hashes, rows per hash.
-- Returns 1 when it ended now.
local meta = redis.call('HMGET', KEYS[1], 'created', 'waiting', 'open_until', 'ended', 'max_row')
if not meta[1] or meta[4] then return 0 end
if (tonumber(meta[2]) or 0) > 0 then return 0 end
if meta[3] and tonumber(meta[3]) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'ended', ARGV[1])
for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
redis.call('DEL', KEYS[5])
local last = (tonumber(meta[5]) or 0) - 1
if last >= 0 then
  for c = 0, math.floor(last / tonumber(ARGV[4])) do
    redis.call('PEXPIRE', ARGV[3] .. string.format('%.0f', c), ARGV[2])
  end
end
return 1

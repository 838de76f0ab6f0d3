-- Finds the waiting rows of one hash of a run. KEYS: row hash.
-- Returns five values for each: row number, generation, identity, portal id,
-- and when it was queued, as its JSON has it.
local out = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local gen, ident = string.match(all[i + 1], '^w(%d+)|([^|]*)|')
  if gen then
    out[#out + 1] = all[i]
    out[#out + 1] = gen
    out[#out + 1] = ident
    out[#out + 1] = string.match(all[i + 1], '"pid":"([^"]*)"') or ''
    out[#out + 1] = string.match(all[i + 1], '"queued_at":"([^"]*)"') or ''
  end
end
return out

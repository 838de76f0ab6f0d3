-- Ends waiting rows of one hash of a run as dead. KEYS: meta, row hash, out,
-- waiting rows by portal. ARGV: stream length, then three for each row: number,
-- identity, and what its JSON gets: the members, without braces.
-- Returns how many rows ended, and how many of the run still wait.
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, -1} end
local ended, portals = 0, {}
for i = 2, #ARGV, 3 do
  local row, cur = ARGV[i], redis.call('HGET', KEYS[2], ARGV[i])
  local s, g, ident, at
  if cur then s, g, ident, at = head(cur) end
  -- What does not begin as JSON is left to its handler, which tells of it.
  if s == 'w' and ident == ARGV[i + 1] and string.sub(cur, at, at) == '{' then
    local note = retried(cur, at)
    local rest = string.sub(cur, at + (note and #note + #'{"retried":,' or 1))
    local value = 'd' .. string.format('%.0f', g) .. '|' .. ident .. '|' .. noted('{' .. ARGV[i + 2] .. ',' .. rest, note)
    redis.call('HSET', KEYS[2], row, value)
    bury(KEYS[1], value)
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[1], '*', row, value)
    local id = string.match(cur, '"pid":"([^"]*)"')
    if id and id ~= '' then portals[id] = (portals[id] or 0) + 1 end
    ended = ended + 1
  end
end
if ended == 0 then return {0, tonumber(redis.call('HGET', KEYS[1], 'waiting')) or 0} end
local function less(n) return string.format('%.0f', -n) end
for id, n in pairs(portals) do
  if redis.call('HINCRBY', KEYS[4], id, less(n)) <= 0 then redis.call('HDEL', KEYS[4], id) end
end
redis.call('HINCRBY', KEYS[1], 'dead', string.format('%.0f', ended))
return {ended, redis.call('HINCRBY', KEYS[1], 'waiting', less(ended))}

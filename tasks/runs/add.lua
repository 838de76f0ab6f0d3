-- Adds rows to one hash of a run. KEYS: meta, row hash, out, photos, waiting
-- rows by portal, hashes by their oldest waiting row. ARGV: now (ms), largest row
-- number, prefix of the row hashes, rows per hash, stream length, note for dead
-- rows that come to wait anew ('': none), number of the hash, when the oldest of
-- these rows was queued (ms), then four for each row: number, state letter,
-- identity, JSON.
-- Returns for each row a letter and its generation: n new, w waiting already,
-- r registered already, x another bot stands in this row.
local meta = redis.call('HMGET', KEYS[1], 'ended', 'max_row', 'lease')
if meta[1] then
  redis.call('HDEL', KEYS[1], 'ended', 'released')
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[3])
  redis.call('PERSIST', KEYS[4])
  redis.call('PERSIST', KEYS[5])
  local last = (tonumber(meta[2]) or 0) - 1
  if last >= 0 then
    for c = 0, math.floor(last / tonumber(ARGV[4])) do
      redis.call('PERSIST', ARGV[3] .. string.format('%.0f', c))
    end
  end
end
if meta[3] then
  redis.call('HSET', KEYS[1], 'open_until', string.format('%.0f', tonumber(ARGV[1]) + tonumber(meta[3])))
end
if tonumber(ARGV[2]) > (tonumber(meta[2]) or 0) then redis.call('HSET', KEYS[1], 'max_row', ARGV[2]) end

local out, delta, portals, comes = {}, {}, {}, false
local function count(what, by) delta[what] = (delta[what] or 0) + by end
-- A waiting row counts for the portal that its own value names, both when it
-- comes and when it goes.
local function wait(value, by)
  local id = string.match(value, '"pid":"([^"]*)"')
  if id and id ~= '' then portals[id] = (portals[id] or 0) + by end
end
-- The note of a row that is queued anew: with a retry its own, counted on.
local function note(was, old, state)
  if was ~= 'd' or state ~= 'w' or ARGV[6] == '' then return old end
  local times = tonumber(old and string.match(old, '"times":(%d+)') or '') or 0
  return (string.gsub(ARGV[6], '"times":1', '"times":' .. string.format('%.0f', times + 1), 1))
end
for i = 9, #ARGV, 4 do
  local row, state, ident, json = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local cur = redis.call('HGET', KEYS[2], row)
  local gen, answer = 0, 'n'
  if cur then
    local s, g, id, at = head(cur)
    gen = g or 0
    -- A refused or dead row may be mended into any other; every other row keeps
    -- its bot, and what is no row stays for a person to look at.
    if not s or s ~= 'f' and s ~= 'd' and id ~= ident then
      answer = 'x'
    elseif s == 'w' and state == 'w' or s == 'r' then
      answer = s
    else
      gen = gen + 1
      count(name[s], -1)
      if s == 'w' then wait(cur, -1) end
      if s == 'd' then exhume(KEYS[1], cur) end
      json = noted(json, note(s, retried(cur, at), state))
    end
  else
    count('queued', 1)
  end
  local g = string.format('%.0f', gen)
  if answer == 'n' then
    local value = state .. g .. '|' .. ident .. '|' .. json
    redis.call('HSET', KEYS[2], row, value)
    count(name[state], 1)
    if state == 'w' then
      wait(value, 1)
      comes = true
    else
      if state == 'd' then bury(KEYS[1], value) end
      redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', row, value)
    end
  end
  out[#out + 1] = answer .. g
end
-- From its first row on, a run has every hash with waiting rows noted.
if not meta[2] then redis.call('HSET', KEYS[1], 'ages', 1) end
if comes then redis.call('ZADD', KEYS[6], 'LT', ARGV[8], ARGV[7]) end
for what, by in pairs(delta) do
  if by ~= 0 then redis.call('HINCRBY', KEYS[1], what, string.format('%.0f', by)) end
end
for id, by in pairs(portals) do
  if by ~= 0 and redis.call('HINCRBY', KEYS[5], id, string.format('%.0f', by)) <= 0 then
    redis.call('HDEL', KEYS[5], id)
  end
end
return out

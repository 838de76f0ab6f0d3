-- What add.lua and record.lua share. A row's value is state letter, generation,
-- '|', identity, '|', JSON.

local name = {w = 'waiting', r = 'registered', d = 'dead', f = 'refused', u = 'duplicate'}

-- head takes a value's head apart, and says where its JSON begins; nil: it is no
-- row. A generation of ten digits was never counted up to.
local function head(value)
  local s, g, ident, at = string.match(value, '^(%a)(%d+)|([^|]*)|()')
  if not s or not name[s] or #g > 9 then return nil end
  return s, tonumber(g), ident, at
end

-- retried finds the note of a row's having been queued again: the first key of
-- the JSON that begins at a place. The note holds no braces of its own.
local function retried(value, at) return string.match(value, '^{"retried":(%b{})', at) end

-- noted puts a note into a row's JSON that has none.
local function noted(json, note)
  if not note or retried(json, 1) then return json end
  return '{"retried":' .. note .. ',' .. string.sub(json, 2)
end

-- The pairs of class and code that a run counts its dead rows by, at most; with
-- the one for the rest there is one more. Each is a field of meta.
local most_pairs = 32
local rest = 'dead:|OTHER'

-- cause is the field that a dead row's value belongs to: by what Outcome writes
-- before the bot that was asked for. What is no code, or too long, has none.
local function cause(value)
  value = string.sub(value, 1, string.find(value, '"bot":', 1, true))
  local class = string.match(value, '"class":"([^"]*)"') or ''
  local code = string.match(value, '"error":{"code":"([^"]*)"')
  if not code or string.find(class, '[^%w_]') or not string.find(code, '^[%w_%.%-]+$') then return rest end
  if #class > 16 or #code > 48 then return rest end
  return 'dead:' .. class .. '|' .. code
end

-- bury counts a dead row by its cause. A pair that comes when there are enough
-- goes to the rest.
local function bury(meta, value)
  local field = cause(value)
  if redis.call('HINCRBY', meta, field, 1) > 1 or field == rest then return end
  if redis.call('HINCRBY', meta, 'dead_pairs', 1) > most_pairs then
    redis.call('HINCRBY', meta, 'dead_pairs', -1)
    redis.call('HDEL', meta, field)
    redis.call('HINCRBY', meta, rest, 1)
  end
end

-- exhume takes a dead row out of the count again. One whose own pair is not
-- there was counted with the rest, or by an earlier version: then nowhere.
local function exhume(meta, value)
  local field = cause(value)
  local n = redis.call('HGET', meta, field)
  if not n then
    field = rest
    n = redis.call('HGET', meta, field)
  end
  if not n then return end
  if tonumber(n) > 1 then
    redis.call('HINCRBY', meta, field, -1)
    return
  end
  redis.call('HDEL', meta, field)
  if field ~= rest then redis.call('HINCRBY', meta, 'dead_pairs', -1) end
end

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

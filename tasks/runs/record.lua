-- Gives one row its outcome. KEYS: meta, row hash, out, waiting rows by portal.
-- ARGV: row number, generation, state letter, JSON, stream length.
-- Returns 'gone' (no such row or run), 'broken' (what stands there is no row),
-- 'late' (a later generation stands there), 'same' (the row was registered
-- before), or 'ok', with '!' behind it when no row of the run waits any more.
local cur = redis.call('HGET', KEYS[2], ARGV[1])
if not cur or redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local s, g, ident, at = head(cur)
if not s then return 'broken' end
if g > tonumber(ARGV[2]) then return 'late' end
if s == 'r' then return 'same' end
local value = ARGV[3] .. ARGV[2] .. '|' .. ident .. '|' .. noted(ARGV[4], retried(cur, at))
if cur == value then return 'same' end
redis.call('HSET', KEYS[2], ARGV[1], value)
local left = redis.call('HINCRBY', KEYS[1], name[s], -1)
redis.call('HINCRBY', KEYS[1], name[ARGV[3]], 1)
if s == 'd' then exhume(KEYS[1], cur) end
if ARGV[3] == 'd' then bury(KEYS[1], value) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', ARGV[1], value)
if s == 'w' then
  local portal = string.match(cur, '"pid":"([^"]*)"')
  if portal and portal ~= '' and redis.call('HINCRBY', KEYS[4], portal, -1) <= 0 then redis.call('HDEL', KEYS[4], portal) end
else
  left = tonumber(redis.call('HGET', KEYS[1], 'waiting')) or 0
end
if left == 0 then return 'ok!' end
return 'ok'

-- Counts a change of portals, and lists whose it was: in front of every script
-- that makes one. ids is a list; loud is false when nothing but a pair of tokens
-- is new. At most keep ids are listed; marks.whole is the version since which
-- none is missing, marks.loud that of the last loud change.
local function announce(version, changes, marks, begin, keep, ids, loud)
  local before = redis.call('GET', version)
  if not before then
    redis.call('SET', version, begin)
    before = begin
  end
  local newest = redis.call('ZREVRANGE', changes, 0, 0, 'WITHSCORES')[2]
  if not newest or tonumber(newest) ~= tonumber(before) then
    -- The first change; or the list was lost, or one was counted without it.
    redis.call('DEL', changes)
    redis.call('HSET', marks, 'whole', before, 'loud', before)
  end
  local now = string.format('%.0f', redis.call('INCR', version))
  for _, id in ipairs(ids) do redis.call('ZADD', changes, now, id) end
  if loud then redis.call('HSET', marks, 'loud', now) end
  local excess = redis.call('ZCARD', changes) - tonumber(keep)
  if excess > 0 then
    local last = redis.call('ZRANGE', changes, excess - 1, excess - 1, 'WITHSCORES')[2]
    last = string.format('%.0f', tonumber(last))
    redis.call('ZREMRANGEBYSCORE', changes, '-inf', last)
    redis.call('HSET', marks, 'whole', last)
  end
end

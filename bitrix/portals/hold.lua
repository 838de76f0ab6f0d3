-- Holds a portal, or releases it.
-- KEYS: records, holds, version, changes, marks
-- ARGV: where versions begin, how many changes are listed, id, credential (''
-- for any), unix milliseconds, '! ' for a person's hold or ' ', reason ('' to
-- release). Answers -1: no such portal; 0: nothing to do, or other credentials
-- by now; 1: done.
local id, credential, at, mark, reason = unpack(ARGV, 3, 7)
local record = redis.call('HGET', KEYS[1], id)
if not record then return -1 end
local old = redis.call('HGET', KEYS[2], id)
if reason == '' then
  if not old then return 0 end
  redis.call('HDEL', KEYS[2], id)
else
  if credential ~= '' and cjson.decode(record).credential ~= credential then return 0 end
  -- A person's hold stands until a person ends it, and keeps its reason.
  if mark == ' ' and old and string.find(old, '^%d+! ') then return 1 end
  -- A refusal with the code that the portal is held for already, of a call that
  -- was on its way, tells nothing new: the first words stay.
  local code = string.match(reason, '^([%w_]+):')
  local first = old and string.match(old, '^%d+ ([%w_]+):')
  if mark == ' ' and code and first and string.lower(code) == string.lower(first) then return 1 end
  -- A hold that stands keeps its time, or its end would never come.
  local new = (old and string.match(old, '^%d+') or at) .. mark .. reason
  if new == old then return 1 end
  redis.call('HSET', KEYS[2], id, new)
end
announce(KEYS[3], KEYS[4], KEYS[5], ARGV[1], ARGV[2], {id}, true)
return 1

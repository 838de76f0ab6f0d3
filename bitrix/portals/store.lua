-- Stores portals that nobody has changed since they were read, so that the
-- records, the names and member_ids that lead to them, and holds always agree.
-- KEYS: records, names, members, holds, queues, version, changes, marks
-- ARGV: where versions begin, how many changes are listed; then for each portal:
-- id; old record ('' when new); new record; 'all' to end its hold, 'own' to end
-- it unless a person made it; '' for a change that nobody needs to hear of,
-- 'pair' for new tokens, 'all' for any other; id and record of a portal whose
-- claim to the host has lapsed ('' for none). Answers for each '0' (changed
-- meanwhile), or '1' followed by its hold.
local records, names, members, holds = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local out, ids, loud = {}, {}, false

local function decode(raw) return raw == '' and {} or cjson.decode(raw) end

-- taken says whether a host or member_id leads to another portal that there is.
local function taken(key, field, id, lapsed)
  local owner = redis.call('HGET', key, field)
  if not owner or owner == id or owner == lapsed then return false end
  return redis.call('HEXISTS', records, owner) == 1
end

-- claim leads a host to a portal, unless it leads to another one.
local function claim(host, id, lapsed)
  if not taken(names, host, id, lapsed) then redis.call('HSET', names, host, id) end
end

-- free says whether the portal may have the host and member_id of its new record.
local function free(id, new, lapsed)
  -- One that is gone does not insist on its host.
  if not new.gone and taken(names, new.name, id, lapsed) then return false end
  return not new.member_id or not taken(members, new.member_id, id, '')
end

local function index(id, old, new, lapsed)
  for _, host in pairs({old.name or '', old.origin or ''}) do
    if host ~= new.name and host ~= new.origin and redis.call('HGET', names, host) == id then
      redis.call('HDEL', names, host)
    end
  end
  -- What it has lost to another portal it does not take back without a reason.
  if not new.gone or new.name ~= old.name then claim(new.name, id, lapsed) end
  if new.origin and new.origin ~= old.origin then claim(new.origin, id, '') end
  if old.member_id and old.member_id ~= new.member_id then redis.call('HDEL', members, old.member_id) end
  if new.member_id then redis.call('HSET', members, new.member_id, id) end
  redis.call('SADD', KEYS[5], new.queue)
end

for i = 3, #ARGV, 7 do
  local id, oldraw, newraw, ends, tell, lapsed, lapsedraw = unpack(ARGV, i, i + 6)
  local same = (redis.call('HGET', records, id) or '') == oldraw
    and (lapsed == '' or redis.call('HGET', records, lapsed) == lapsedraw)
  local old, new = decode(oldraw), decode(newraw)
  if same and free(id, new, lapsed) then
    redis.call('HSET', records, id, newraw)
    index(id, old, new, lapsed)
    local hold = redis.call('HGET', holds, id) or ''
    local ended = hold ~= '' and (ends == 'all' or ends == 'own' and not string.find(hold, '^%d+! '))
    if ended then
      redis.call('HDEL', holds, id)
      hold = ''
    end
    if tell ~= '' then
      ids[#ids + 1] = id
      loud = loud or tell == 'all' or ended or old.name ~= new.name or old.member_id ~= new.member_id
    end
    out[#out + 1] = '1' .. hold
  else
    out[#out + 1] = '0'
  end
end
if #ids > 0 then announce(KEYS[6], KEYS[7], KEYS[8], ARGV[1], ARGV[2], ids, loud) end
return out

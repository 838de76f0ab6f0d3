-- Stores portals that nobody has changed since they were read.
-- KEYS: records, names, members, holds, queues, version
-- ARGV: where versions begin; then for each portal: id, old record ('' when
-- new), new record, name, old name, member_id, old member_id, queue, 1 to
-- release its hold. Answers 1 (stored) or 0 (changed meanwhile) for each.
local out, changed = {}, false
for i = 2, #ARGV, 9 do
  local id, old, new, name, oldname, member, oldmember, queue, release = unpack(ARGV, i, i + 8)
  local free = (redis.call('HGET', KEYS[1], id) or '') == old
  local owner = redis.call('HGET', KEYS[2], name)
  if owner and owner ~= id then free = false end
  if member ~= '' then
    owner = redis.call('HGET', KEYS[3], member)
    if owner and owner ~= id then free = false end
  end
  if free then
    changed = true
    redis.call('HSET', KEYS[1], id, new)
    if oldname ~= '' and oldname ~= name then redis.call('HDEL', KEYS[2], oldname) end
    redis.call('HSET', KEYS[2], name, id)
    if oldmember ~= '' and oldmember ~= member then redis.call('HDEL', KEYS[3], oldmember) end
    if member ~= '' then redis.call('HSET', KEYS[3], member, id) end
    redis.call('SADD', KEYS[5], queue)
    if release == '1' then redis.call('HDEL', KEYS[4], id) end
  end
  out[#out + 1] = free and 1 or 0
end
if changed then
  redis.call('SET', KEYS[6], ARGV[1], 'NX')
  redis.call('INCR', KEYS[6])
end
return out

-- One portal as a whole: portal.go. Reading it from its hash, bringing it to
-- now, and writing what has changed.

-- land takes a request off its way, and returns it and its budget, if it has one.
function P.land(i)
  local f = P.flight(table.remove(P.flights, i))
  P.flights.dirty = true
  if P.silence and P.silence.probe == f.id then
    P.silence.probe = 0
    P.put_silence()
  end
  local b = f.field ~= '' and P.stored_budget(f.field) or nil
  if b and b.probe == f.id then
    b.probe, b.dirty = 0, true
  end
  return f, b
end

-- load reads what every request needs, and one budget, and brings it to now.
function P.load(field)
  local f = call('HMGET', key, 'seen', 'ahead', 'kept', 'plan', 'flights', 'silence', 'hold', 'releases', 'took',
    'line', 'bucket:' .. egress, 'pace:' .. egress, field)
  P.read_clock(f[1], f[2])
  P.kept = P.number(f[3]) or 0
  P.plan = f[4] ~= ARGV[4] and P.read_plan(f[4]) or P.read_plan(ARGV[4])
  P.read_flights(f[5])
  if f[6] then
    P.read_silence(f[6])
  end
  if f[7] then
    P.read_hold(f[7])
  end
  P.releases, P.took = P.number(f[8]) or 0, max(0, min(P.number(f[9]) or 0, FAR))
  P.line = f[10]
  P.pace = f[12] and P.read_pace(f[12]) or {share = WHOLE, rise = 0, till = 0, failures = 0, count = 0}
  P.read_bucket(f[11])
  P.budgets[field] = f[13] and P.read_budget(f[13]) or false
  P.known = f[4]
  if P.pace.share < WHOLE then
    P.rise()
  end
  local first = P.flights[1]
  if first and first.at + ttl <= P.now then
    P.expire()
  end
  if P.silence then
    P.forget_silence()
  end
end

-- limit sets the portal's plan to the one given.
function P.limit()
  if P.known ~= ARGV[4] then
    P.plan = P.read_plan(ARGV[4])
    P.put('plan', ARGV[4])
  end
  if P.bucket.burst ~= P.plan.burst or P.bucket.rate ~= P.plan.rate then
    P.set_limits()
  end
end

-- save writes what has changed. The state goes when it can no longer matter,
-- but for a hold, which stays until somebody ends it. The time at which it goes is
-- set anew when half of it has passed.
function P.save()
  for field, b in pairs(P.budgets) do
    if b and b.dirty then
      P.put_budget(field, b)
    end
  end
  if P.flights.dirty then
    P.put_flights()
  end
  P.put_rate()
  local expires = not P.hold and (P.kept > P.now or P.now - P.kept >= P.plan.keep)
  if expires then
    P.put('kept', P.round(P.now))
  end
  local written, removed = {'seen', P.round(P.now)}, {}
  for field, value in pairs(P.changes) do
    if value then
      written[#written + 1] = field
      written[#written + 1] = value
    else
      removed[#removed + 1] = field
    end
  end
  if #removed > 0 then
    call('HDEL', key, unpack(removed))
  end
  call('HSET', key, unpack(written))
  if expires then
    call('PEXPIRE', key, P.round(2 * P.plan.keep / 1000))
  end
end

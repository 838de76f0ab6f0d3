-- Which rows of a request may go now: Acquire in local.go, look in portal.go,
-- marking.go.
--
-- KEYS[2] is the portal's line, KEYS[3] when its rows ask again, KEYS[4] and on
-- the sending marks, one a row, none where nothing is registered. ARGV[5] is the
-- ticket's id, ARGV[6] the field of the budget, ARGV[7] how many rows there are,
-- ARGV[8] the marks' owner, ARGV[9] how long they stand, ARGV[10] and on the
-- CODEs.
--
-- The answer: {reason, until, {row that goes, …}, {marked row, until, …}, {since,
-- probes, why, when others ask}}; the last is empty without a hold or a silence.
-- Rows are counted from 1.

local id, field, rows = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local owner, mark_for = ARGV[8], tonumber(ARGV[9])

P.part(function()
  -- away is when rows of a portal come back that has been closed since a time.
  function P.away(since)
    return P.now + max(10 * SECOND, min(P.now - since, 15 * MINUTE))
  end

  -- parked is when rows come back of which none will be the next probe.
  function P.parked()
    return max(P.silence.till, P.away(P.silence.since))
  end

  -- closed says why and until when the portal is shut for the request, or why the
  -- request would be a probe.
  function P.closed(b)
    local now, s, probe = P.now, P.silence, nil
    if P.hold then
      return 'held', P.away(P.hold.since)
    end
    if P.silent() then
      if s.probe ~= 0 then
        return 'silent', P.parked()
      elseif s.till > now then
        return 'silent', s.till
      end
      probe = 'silent'
    end
    if P.pace.till > now then
      return 'refused', P.pace.till
    end
    if b and b.closed > 0 then
      if b.probe ~= 0 then
        local f = P.flights[P.find(b.probe)]
        return 'refused', min(now + max(SECOND, now - f.at), max(f.at + ttl, now))
      elseif b.closed > now then
        return 'refused', b.closed
      end
      probe = probe or 'refused'
    end
    return nil, nil, probe
  end

  -- budgeted asks the operating budget.
  function P.budgeted(b, n)
    local fit, at, lands = P.room(field, b, n)
    if fit == n then
      return fit, ''
    elseif fit > 0 then
      return fit, 'operating'
    elseif not lands then
      return 0, 'operating', at
    end
    for _, f in ipairs(P.flights) do
      if f.field == field then
        local back = P.lands_at(f)
        return 0, 'in flight', min(at or back, back)
      end
    end
  end

  -- call_off undoes start.
  function P.call_off(i)
    P.land(i)
    P.fill(P.now, TOKEN)
  end

  -- book tells the first row that comes to a silent portal before its next probe
  -- to be that probe, and the others to come later.
  function P.book(till)
    local s = P.silence
    if s.probe == 0 and s.booked then
      return P.parked()
    elseif s.probe == 0 then
      s.booked = true
      P.put_silence()
    end
    return till
  end

  -- tidy removes budgets that nobody remembers, and what is known of egresses that
  -- nobody uses, once there are many fields. Twice as many as were left the last
  -- time are many.
  function P.tidy()
    local fields = call('HLEN', key)
    if fields < 64 or fields < 2 * (P.number(call('HGET', key, 'tidied')) or 0) then
      return
    end
    for _, name in ipairs(call('HKEYS', key)) do
      local kind, rest = match(name, '^(%l+):(.*)$')
      if kind == 'budget' and not P.budget(name) then
        P.put(name, false)
        fields = fields - 1
      elseif kind == 'bucket' and rest ~= egress then
        local at = tonumber(match(call('HGET', key, name), '^%-?%d+ (%d+) '))
        if not at or P.now - at > P.plan.keep then
          P.put(name, false)
          P.put('pace:' .. rest, false)
          fields = fields - 1
        end
      end
    end
    P.put('tidied', P.round(fields))
  end
end)

-- lands_at is when a request on its way is expected to return.
function P.lands_at(f)
  local wait = max(10000, min(floor((P.now - f.at) / 4), SECOND))
  return min(max(f.at + P.took, P.now + wait), max(f.at + ttl, P.now))
end

-- look says how many of n rows may go, why not all, until when if none, and
-- whether the request is a probe. It takes nothing.
function P.look(n)
  local b = P.budgets[field] and P.budget(field)
  local why, at, probe
  if b or P.hold or P.silence or P.pace.till > P.now then
    why, at, probe = P.closed(b)
    if at then
      return 0, why, at
    end
  end
  if probe then
    n = 1
  end
  local fit, reason, till = n, '', nil
  if P.plan.work > 0 then
    if b then
      fit, reason, till = P.budgeted(b, n)
    else
      fit, reason = min(n, UNKNOWN_ROWS), 'operating'
    end
  end
  local spent = fit == 0 and reason == 'operating'
  local opens = P.opens_at()
  if opens > P.now then
    if spent and till > opens then
      return 0, reason, till
    end
    return 0, 'rate', opens
  end
  if #P.flights >= P.plan.parallel and not spent then
    return 0, 'in flight', P.lands_at(P.flights[1])
  end
  if probe and fit > 0 then
    return fit, probe, nil, true
  end
  return fit, reason, till
end

-- start takes what a request of n rows needs, and returns it.
function P.start(n, probe)
  P.fill(P.now, -TOKEN)
  local f = {
    id = id, at = P.now, rows = n, refusals = P.pace.count, releases = P.releases,
    reserved = 0, grown = 0, known = false, sum = 0, field = '',
  }
  local b = P.budgets[field] and P.budget(field)
  if b or P.plan.work > 0 then
    b = P.use_budget(field, b)
    f.field, f.reserved = field, n * (P.per_row(b) or 0)
    f.grown, f.known, f.sum = b.grown, b.known, b.sum
    if probe and b.closed > 0 then
      b.probe = id
    end
  end
  if probe and P.silence and P.silent() then
    P.silence.probe = id
    P.put_silence()
  end
  P.flights[#P.flights + 1] = f
  return f
end

-- mark sets one sending mark. If another owner's stands, it returns its end.
-- The end is in the value as well: the clock may be another than Redis' own.
function P.mark(name, value, ms)
  if call('SET', name, value, 'NX', 'PX', ms) then
    return nil
  end
  local old = call('GET', name) or ''
  local whose, till = match(old, '^(%S+) (%d+)$')
  till = tonumber(till)
  if not till then -- by another version: Redis alone knows the end
    whose = old
    local left = call('PTTL', name)
    if left < 0 then -- none, but it must end as well
      call('PEXPIRE', name, ms)
      left = tonumber(ms)
    end
    till = P.clock + max(1, left) * 1000
  end
  if till <= P.clock then
    call('SET', name, value, 'PX', ms)
    return nil
  end
  if whose ~= owner then
    return till
  end
end

-- mark_rows marks as many rows as may go, in order, passing over those that
-- bear another's mark. One CODE goes once, within a request as well.
function P.mark_rows(most)
  local go, marked, ends, first = {}, {}, {}, nil
  local own_end = P.clock + mark_for
  local value, ms = owner .. ' ' .. P.round(own_end), P.round(ceil(mark_for / 1000))
  for row = 1, rows do
    if #go == most then
      break
    end
    local name = KEYS[3 + row]
    local till = ends[name] or P.mark(name, value, ms)
    ends[name] = till or own_end
    if till then
      marked[#marked + 1], marked[#marked + 2] = row, till
      first = min(first or till, till)
    else
      go[#go + 1] = row
    end
  end
  return go, marked, first
end

-- leave_line takes the rows that go out of the line, if there is one.
function P.leave_line(go)
  local codes = {}
  for i, row in ipairs(go) do
    codes[i] = ARGV[9 + row]
  end
  call('ZREM', KEYS[2], unpack(codes))
  call('ZREM', KEYS[3], unpack(codes))
  if call('EXISTS', KEYS[2]) == 0 then
    P.put('line', false)
  end
end

-- answer saves the state and says what was decided.
function P.answer(reason, till, go, marked)
  P.save()
  local shut = {}
  if reason == 'held' then
    shut = {P.hold.since - P.ahead, P.hold.probes, P.hold.reason, 0}
  elseif reason == 'silent' then
    shut = {P.silence.since - P.ahead, P.silence.probes, '', P.parked() - P.ahead}
  end
  return {reason, till, go, marked, shut}
end

-- acquire decides.
function P.acquire()
  local n, reason, till, probe = P.look(rows)
  if n == 0 then
    if reason == 'silent' then
      till = P.book(till)
    end
    return P.answer(reason, till - P.ahead, {}, {})
  end
  local f = P.start(n, probe)
  if n < rows then
    local more, why, at = P.look(rows - n)
    if more == 0 then
      reason, till = why, at
    else
      till = P.now -- in another request, at once
    end
  else
    reason, till = '', P.now
  end
  local go, marked, first = {}, {}, nil
  if #KEYS == 3 then
    for row = 1, n do
      go[row] = row
    end
  else
    go, marked, first = P.mark_rows(n)
    if #go == 0 then
      P.call_off(P.find(id))
      return P.answer('sending', first, go, marked)
    end
    f.reserved, f.rows = floor(f.reserved / n) * #go, #go
    if P.line then
      P.leave_line(go)
    end
  end
  P.write_flight(f)
  if first and #go + #marked / 2 == rows then
    return P.answer('sending', first, go, marked)
  elseif #go + #marked / 2 == rows then
    reason = ''
  end
  return P.answer(reason, till - P.ahead, go, marked)
end

P.load(field)
P.limit()
if P.known and (P.bucket.fresh or P.plan.work > 0 and not P.budgets[field]) then
  P.tidy() -- there will be one field more
end
local again = P.find(id)
if again then -- the answer was lost on its way
  P.call_off(again)
end
return P.acquire()

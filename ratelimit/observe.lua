-- What is learned from a request's end: outcome.go.
--
-- KEYS[2] and on are the sending marks to clear. ARGV[5] is the ticket's id,
-- ARGV[6] the field of the budget, ARGV[7] the outcome, ARGV[8] how many rows
-- ran, ARGV[9] the operating time told, empty when none was, ARGV[10] when it is
-- reset, ARGV[11] what a hold would say, ARGV[12] the marks' owner.

local id, field, outcome, ran = tonumber(ARGV[5]), ARGV[6], ARGV[7], tonumber(ARGV[8])
local operating, reset_at = tonumber(ARGV[9]), tonumber(ARGV[10])

-- clear_marks removes those of the marks that are the ticket's own.
function P.clear_marks()
  if #KEYS == 1 then
    return
  end
  local own, prefix = {}, ARGV[12] .. ' '
  for i, value in ipairs(call('MGET', unpack(KEYS, 2))) do
    if value and string.sub(value, 1, #prefix) == prefix then
      own[#own + 1] = KEYS[1 + i]
    end
  end
  if #own > 0 then
    call('DEL', unpack(own))
  end
end

P.part(function()
  -- miss counts a request without an answer.
  function P.miss(probe)
    local now = P.now
    local s = P.silence or {misses = 0, last = 0, since = 0, till = 0, probes = 0, probe = 0, booked = false}
    P.silence = s
    if not P.silent() then
      s.misses, s.last = s.misses + 1, now
      if s.misses >= 3 then
        s.since, s.till, s.booked = now, now + 5 * SECOND, false
      end
    elseif probe then
      s.probes, s.booked = s.probes + 1, false
      s.till = now + min(5 * MINUTE, 5 * SECOND * 2 ^ min(10, s.probes))
    end
    P.put_silence()
  end

  -- tell hands what an answer says of operating time to the budget.
  function P.tell(f, b)
    b = P.use_budget(field, b)
    if operating then
      P.told_reset(b, reset_at + P.ahead)
      b.absent = 0
      P.tell_budget(b, operating, f.known and max(0, min(ran, f.rows)) or 0, f.grown)
    elseif outcome == 'answered' and not b.known then
      b.absent = b.absent + 1
    end
    return b
  end
end)

-- lasted takes in how long a request took.
function P.lasted(span)
  local took = P.took
  local more = (span - took) / 8
  took = took == 0 and span or took + (more < 0 and ceil(more) or floor(more))
  P.put('took', P.round(took))
end

-- answered takes in an answer of the portal's.
function P.answered(f, b, probe)
  if P.silence then
    P.silence = false
    P.put_silence()
  end
  if P.plan.work > 0 then
    b = P.tell(f, b)
  end
  local current = f.releases == P.releases -- nobody has opened the portal since
  if outcome == 'rate refused' then
    if current and f.refusals == P.pace.count then
      P.refuse_rate()
    end
  elseif outcome == 'work refused' then
    if current then
      b = P.use_budget(field, b)
      if b.closed == 0 or probe then
        P.refuse_work(b, f.sum)
      end
    end
  elseif outcome == 'blocked' then
    if current and not P.hold then
      P.hold = {since = P.now, probes = 0, reason = ARGV[11]}
      P.put_hold()
      P.put('kept', false)
      call('PERSIST', key)
    end
  else
    if f.refusals == P.pace.count and P.pace.failures ~= 0 then
      P.pace.failures, P.pace.dirty = 0, true
    end
    if probe then
      b.closed, b.dirty = 0, true
    end
  end
end

-- observe takes in the end of the request with an index.
function P.observe(i)
  local f = P.flight(P.flights[i])
  local silence_probe = P.silence and P.silence.probe == f.id
  local b = f.field ~= '' and P.stored_budget(f.field)
  local work_probe = b and b.probe == f.id
  f, b = P.land(i)
  if outcome == 'not sent' then
    P.fill(P.now, TOKEN)
    return
  end
  if P.plan.single then
    P.drain()
  end
  P.lasted(P.now - f.at)
  if outcome ~= 'no answer' then
    P.answered(f, b, work_probe)
    return
  end
  if b then
    P.add(b, f.reserved, P.now)
  end
  if f.releases == P.releases then
    P.miss(silence_probe)
  end
end

P.load(field)
local i = P.find(id)
if i then
  P.observe(i)
end
if i or P.flights.dirty then
  P.save()
end
P.clear_marks()
return i and 1 or 0

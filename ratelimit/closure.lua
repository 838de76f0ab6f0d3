-- What is seldom: a portal that does not answer, is held, or has refused for its
-- rate; and a ticket that was not given back. closure.go, pace in bucket.go.

P.part(function()
  -- read_silence reads "misses last since until probes probe booked".
  function P.read_silence(text)
    local misses, last, since, till, probes, probe, booked =
      match(text or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ([01])$')
    misses, last, since, till = tonumber(misses), tonumber(last), tonumber(since), tonumber(till)
    if not misses or misses < 1 or last > P.now or since > P.now or till > P.now + FAR then
      return
    end
    P.silence = {
      misses = misses, last = last, since = since, till = till,
      probes = min(tonumber(probes), 1e9), probe = tonumber(probe), booked = booked == '1',
    }
    if P.silence.probe ~= 0 and not P.find(P.silence.probe) then
      P.silence.probe = 0
    end
  end

  function P.put_silence()
    local s = P.silence
    P.put('silence', s and format('%.0f %.0f %.0f %.0f %.0f %.0f %s', s.misses, s.last, s.since, s.till, s.probes,
      s.probe, s.booked and '1' or '0'))
  end

  -- forget_silence ends a silence that is too long ago.
  function P.forget_silence()
    local s = P.silence
    if s and s.probe == 0 and P.now - max(s.last, s.till) >= HOUR then
      P.silence = false
      P.put_silence()
    end
  end

  function P.silent()
    return P.silence and P.silence.since > 0
  end

  -- read_hold reads "since probes reason". A hold is no limit: whatever it says, a
  -- person must end it.
  function P.read_hold(text)
    local since, probes, reason = match(text or '', '^(%d+) (%d+) (.*)$')
    if since then
      P.hold = {since = min(tonumber(since), P.now + YEAR), probes = min(tonumber(probes), 1e9), reason = reason}
    elseif text then
      P.hold = {since = P.now, probes = 0, reason = text}
    end
  end

  function P.put_hold()
    local h = P.hold
    P.put('hold', format('%.0f %.0f ', h.since, h.probes) .. h.reason)
  end

  -- read_pace reads "share rise until failures count": the part of the planned rate
  -- that is used, when it next rises, and the refusals.
  function P.read_pace(text)
    local share, rise, till, failures, count = match(text or '', '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    share, rise, till = tonumber(share), tonumber(rise), tonumber(till)
    if share and share >= LEAST_SHARE and share <= WHOLE and rise <= P.now + FAR and till <= P.now + FAR then
      return {share = share, rise = rise, till = till, failures = tonumber(failures), count = tonumber(count)}
    end
  end

  function P.drain()
    P.fill(P.now, 0)
    P.bucket.tokens = min(0, P.bucket.tokens)
  end

  -- rise raises the share for every minute of peace.
  function P.rise()
    local p = P.pace
    while p.share < WHOLE and p.rise <= P.now do
      P.fill(p.rise, 0)
      p.share, p.rise, p.dirty = min(WHOLE, p.share + RISE), p.rise + MINUTE, true
    end
  end

  -- set_limits takes over a plan that has changed.
  function P.set_limits()
    local b, plan = P.bucket, P.plan
    P.fill(P.now, 0)
    if b.tokens >= b.burst * TOKEN - ROUNDING then
      b.tokens = plan.burst * TOKEN
    elseif plan.burst ~= b.burst then
      b.tokens = max(min(0, b.tokens), b.tokens - max(0, b.burst - plan.burst) * TOKEN)
    end
    b.burst, b.rate = plan.burst, plan.rate
  end

  -- refuse_rate closes the portal once more, and lowers its rate.
  function P.refuse_rate()
    local p = P.pace
    if p.share >= WHOLE then
      p.failures = 0
    end
    p.till = P.now + min(30 * SECOND, SECOND * 2 ^ min(10, p.failures))
    p.failures, p.count = p.failures + 1, p.count + 1
    P.drain()
    p.share, p.rise, p.dirty = max(LEAST_SHARE, floor(p.share * 7 / 10)), P.now + MINUTE, true
  end

  -- expire lands the requests whose tickets were not given back. The portal may
  -- have done their work.
  function P.expire()
    while P.flights[1] and P.flights[1].at + ttl <= P.now do
      local f, b = P.land(1)
      if b then
        P.add(b, f.reserved, f.at + ttl)
      end
    end
  end
end)

-- The request rate: bucket.go and the refusals of closure.go.

local TOKEN = 1000000000
local ROUNDING = 50 -- billionths of a token that rounding may lose
local OWED = 1000 -- requests that a bucket may owe: MostOwed in gate.go

local WHOLE, LEAST_SHARE, RISE = 1000, 100, 50 -- thousandths of the planned rate

-- read_bucket reads "tokens at burst rate". Tokens below zero are owed.
function P.read_bucket(text)
  local tokens, at, burst, rate = match(text or '', '^(%-?%d+) (%d+) (%d+) (%d+)$')
  tokens, at, burst, rate = tonumber(tokens), tonumber(at), tonumber(burst), tonumber(rate)
  if tokens and at <= P.now and burst >= 1 and rate >= 1 and tokens >= -OWED * TOKEN and tokens <= burst * TOKEN then
    P.bucket = {tokens = tokens, at = at, burst = burst, rate = rate}
  else
    local plan = P.plan
    P.bucket = {tokens = plan.burst * TOKEN, at = P.now, burst = plan.burst, rate = plan.rate, fresh = true}
  end
end

function P.put_rate()
  local b, p = P.bucket, P.pace
  if b.dirty then
    P.put('bucket:' .. egress, format('%.0f %.0f %.0f %.0f', b.tokens, b.at, b.burst, b.rate))
  end
  if p.dirty then
    P.put('pace:' .. egress, format('%.0f %.0f %.0f %.0f %.0f', p.share, p.rise, p.till, p.failures, p.count))
  end
end

-- tokens are what the bucket holds at a time.
function P.tokens(t)
  local b = P.bucket
  return min(b.burst * TOKEN, b.tokens + max(0, t - b.at) * b.rate * P.pace.share / 1000000)
end

-- fill brings the bucket to a time, and adds tokens, or takes them.
function P.fill(t, more)
  local b = P.bucket
  b.tokens, b.at, b.dirty = min(b.burst * TOKEN, P.tokens(t) + more), t, true
end

-- opens_at is when the rate allows the next request; it may rise meanwhile.
function P.opens_at()
  local held, t, rate = P.tokens(P.now), P.now, P.plan.rate
  local share, rise = P.pace.share, P.pace.rise
  while true do
    local at = t
    if TOKEN - held > ROUNDING then
      at = t + ceil((TOKEN - held) * 1000000 / (rate * share))
    end
    if share >= WHOLE or at <= rise then
      return at
    end
    held = held + (rise - t) * rate * share / 1000000
    t, share, rise = rise, min(WHOLE, share + RISE), rise + MINUTE
  end
end

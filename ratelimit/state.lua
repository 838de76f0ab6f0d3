-- The state of one portal: what every script begins with.
--
-- KEYS[1] is the portal's hash. ARGV[1] is the time in microseconds, empty for
-- Redis' own clock; ARGV[2] how long a ticket lives; ARGV[3] the egress, the
-- source address that the portal sees; ARGV[4] the plan.
--
-- Times and durations are whole microseconds, tokens billionths of a request,
-- rates millionths of a request a second. A field that is missing, broken or
-- impossible counts as missing: it must never shut a portal. local.go and the
-- files beside it say what everything means; here it is only done.
--
-- Redis makes all functions anew for every call, and each variable that a function
-- takes from outside costs time. So all state and all functions are fields of P,
-- and what is seldom needed stands in parts that are made at their first use.

local P = {
  changes = {}, -- what save will write: by field; false = remove it
  budgets = {}, -- by field; false = there is none
  silence = false, hold = false,
}

local parts, made = {}, 0

-- part keeps functions for later; make makes the next parts until there is a
-- function of that name.
function P.part(functions)
  parts[#parts + 1] = functions
end

function P.make(_, name)
  while made < #parts and rawget(P, name) == nil do
    made = made + 1
    parts[made]()
  end
  return rawget(P, name)
end

setmetatable(P, {__index = P.make})

local floor, ceil, min, max, format, match = math.floor, math.ceil, math.min, math.max, string.format, string.match
local call = redis.call

local SECOND, MINUTE, HOUR = 1000000, 60000000, 3600000000
local FAR = 27 * HOUR -- from now; nothing ends later: a window of a day, and its tenth
local YEAR = 365 * 24 * HOUR

local key, ttl, egress = KEYS[1], tonumber(ARGV[2]), ARGV[3]

-- number is the whole number that a text says, or nil.
function P.number(text)
  return tonumber(text and match(text, '^%-?%d+$'))
end

-- round says a number as it is stored.
function P.round(x)
  return format('%.0f', x)
end

function P.put(field, value)
  P.changes[field] = value
end

-- read_clock finds the present. clock is what the clock shows; now is that and
-- ahead, which grows when the clock is set back: so now never goes back. All times
-- that are stored are times of now.
function P.read_clock(seen, ahead)
  local clock = tonumber(ARGV[1])
  if not clock then
    local t = call('TIME')
    clock = tonumber(t[1]) * SECOND + tonumber(t[2])
  end
  ahead, seen = P.number(ahead) or 0, P.number(seen) or 0
  if ahead < 0 or ahead > YEAR then
    ahead = 0
  end
  local now = clock + ahead
  if seen > now and seen - now < YEAR then
    ahead, now = ahead + seen - now, seen
    P.put('ahead', P.round(ahead))
  end
  P.clock, P.now, P.ahead = clock, now, ahead
end

-- read_plan reads "rate burst parallel single work full window keep".
function P.read_plan(text)
  local rate, burst, parallel, single, work, full, window, keep =
    match(text or '', '^(%d+) (%d+) (%d+) ([01]) (%d+) (%d+) (%d+) (%d+)$')
  rate, burst, parallel = tonumber(rate), tonumber(burst), tonumber(parallel)
  window, keep = tonumber(window), tonumber(keep)
  if rate and rate > 0 and burst > 0 and parallel > 0 and window >= 10 and keep < YEAR then
    return {
      text = text, rate = rate, burst = burst, parallel = parallel, single = single == '1',
      work = tonumber(work), full = tonumber(full), window = window, step = floor(window / 10), keep = keep,
    }
  end
end

-- read_flights reads the requests on their way, oldest first, as "id at …;…".
-- What else is known of one is read when it is asked for.
function P.read_flights(text)
  local flights = {}
  P.flights = flights
  if text and text ~= '' then
    for entry, id, at in string.gmatch(text, '((%d+) (%d+) [^;]*);') do
      at = tonumber(at)
      if at <= P.now then
        flights[#flights + 1] = {entry = entry, id = tonumber(id), at = at}
      end
    end
  end
end

-- flight fills in what is known of a request: "id at rows refusals releases", and
-- where an operating budget is counted " reserved grown known sum budget".
function P.flight(f)
  if f.rows then
    return f
  end
  local rows, refusals, releases, rest = match(f.entry, '^%d+ %d+ (%d+) (%d+) (%d+)(.*)$')
  local reserved, grown, known, sum, field = match(rest or '', '^ (%d+) (%d+) ([01]) (%d+) (%S+)$')
  f.rows, f.refusals, f.releases = tonumber(rows) or 1, tonumber(refusals) or 0, tonumber(releases) or 0
  f.reserved, f.grown, f.sum = tonumber(reserved) or 0, tonumber(grown) or 0, tonumber(sum) or 0
  f.known, f.field = known == '1', field or ''
  return f
end

-- write_flight notes what is known of a request.
function P.write_flight(f)
  f.entry = format('%.0f %.0f %.0f %.0f %.0f', f.id, f.at, f.rows, f.refusals, f.releases)
  if f.field ~= '' then
    f.entry = f.entry .. format(' %.0f %.0f %s %.0f ', f.reserved, f.grown, f.known and '1' or '0', f.sum) .. f.field
  end
  P.flights.dirty = true
end

function P.put_flights()
  local text = ''
  for _, f in ipairs(P.flights) do
    text = text .. f.entry .. ';'
  end
  P.put('flights', text)
end

-- find is a request's index, or nil.
function P.find(id)
  for i, f in ipairs(P.flights) do
    if f.id == id then
      return i
    end
  end
end

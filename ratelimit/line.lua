-- Places in a portal's line: line.go. When the rows go is forecast by who asks,
-- from the state that this answers with.
--
-- KEYS[2] is the line, KEYS[3] when its rows ask again. ARGV[5] and ARGV[6] are
-- the fields of the budget of the calls by which the rows go and of the other
-- kind of calls, ARGV[7] and on the rows: code, order, code, order, …
--
-- The answer: {time, {field, value, …}, {rows before each row, …}}. The last is
-- empty while the portal is held or silent: then there is no line.

local line, asks = KEYS[2], KEYS[3]

-- tidy_line takes out the rows that have not asked when they were to, so many
-- at a time: they were cancelled, or their worker died.
function P.tidy_line()
  local late = '(' .. P.round(P.now - 2 * MINUTE)
  local gone = call('ZRANGEBYSCORE', asks, '-inf', late, 'LIMIT', 0, 1000)
  if gone[1] then
    call('ZREM', line, unpack(gone))
    call('ZREM', asks, unpack(gone))
  end
end

-- join gives the rows their places and returns how many stand before each. Until
-- they are told when to ask again (ask.lua), that is now.
function P.join()
  local before, asking, at = {}, {}, P.round(P.now)
  for i = 7, #ARGV, 2 do
    local code, order = ARGV[i], ARGV[i + 1]
    call('ZADD', line, order, code)
    before[#before + 1] = call('ZRANK', line, code)
    asking[#asking + 1] = at
    asking[#asking + 1] = code
  end
  if #asking > 0 then
    call('ZADD', asks, unpack(asking))
    P.put('line', '1')
  end
  return before
end

P.load(ARGV[5])
P.limit()
local before = {}
if not P.hold and not P.silent() then
  P.tidy_line()
  before = P.join()
end
P.save()
local names = {'seen', 'ahead', 'plan', 'flights', 'silence', 'hold', 'releases', 'took',
  'bucket:' .. egress, 'pace:' .. egress, ARGV[5], ARGV[6]}
local fields = {}
for i, value in ipairs(call('HMGET', key, unpack(names))) do
  if value then
    fields[#fields + 1] = names[i]
    fields[#fields + 1] = value
  end
end
return {P.clock, fields, before}

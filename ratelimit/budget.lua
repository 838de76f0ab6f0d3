-- The operating budget: budget.go.

local UNKNOWN_ROWS, UNCOUNTED_AFTER, REMEMBERED = 5, 3, 6
local MOST_OPERATING = 24 * HOUR
local ENOUGH_ANSWERS, LOW_RISE = 8, 32
local CELLS, NUMBERS = 12, 17 -- at most, and the numbers before them

P.part(function()
  -- read_budget reads "used known sum left absent work rows top grown distrusted
  -- learned learnedAt resetAt closedUntil probe low answers", and for each cell
  -- "till leaves work".
  function P.read_budget(text)
    local n, size = {}, 0
    for word in string.gmatch(text or '', '%S+') do
      local x = tonumber(word)
      if not x or not (x >= 0 and x < 2 ^ 53) then -- nor what is no number at all
        return nil
      end
      size = size + 1
      n[size] = x
    end
    if size < NUMBERS or (size - NUMBERS) % 3 ~= 0 or size > NUMBERS + 3 * CELLS or n[1] > P.now then
      return nil
    end
    local b = {
      used = n[1], known = n[2] == 1, sum = 0, left = n[4], absent = n[5], work = n[6], rows = n[7], top = n[8],
      grown = n[9], distrusted = n[10] == 1, learned = n[11], learned_at = n[12], reset_at = n[13], closed = n[14],
      probe = n[15], low = n[16], answers = n[17], cells = {},
    }
    for i = NUMBERS + 1, size, 3 do
      local c = {till = n[i], leaves = min(n[i + 1], P.now + FAR), work = n[i + 2]}
      b.cells[#b.cells + 1], b.sum = c, b.sum + c.work
    end
    if b.closed > P.now + FAR then
      b.closed, b.probe = 0, 0
    elseif b.probe ~= 0 and not P.find(b.probe) then
      b.probe = 0
    end
    return b
  end

  function P.put_budget(field, b)
    local list = {format('%.0f %s %.0f %.0f %.0f %.0f %.0f %.0f %.0f %s %.0f %.0f %.0f %.0f %.0f %.0f %.0f',
      b.used, b.known and '1' or '0', b.sum, b.left, b.absent, b.work, b.rows, b.top, b.grown,
      b.distrusted and '1' or '0', b.learned, b.learned_at, b.reset_at, b.closed, b.probe,
      b.low, b.answers)}
    for i, c in ipairs(b.cells) do
      list[i + 1] = format('%.0f %.0f %.0f', c.till, c.leaves, c.work)
    end
    P.put(field, table.concat(list, ' '))
  end

  -- reserved is the work reserved by requests on their way, and how many they are.
  function P.reserved(field)
    local work, n = 0, 0
    for _, f in ipairs(P.flights) do
      if P.flight(f).field == field then
        work, n = work + f.reserved, n + 1
      end
    end
    return work, n
  end

  -- stored_budget is a budget as it was left, nil if there is none.
  function P.stored_budget(field)
    local b = P.budgets[field]
    if b == nil then
      b = P.read_budget(call('HGET', key, field)) or false
      P.budgets[field] = b
    end
    return b or nil
  end

  -- budget is a budget, nil if there is none or it is no longer remembered.
  function P.budget(field)
    local b = P.stored_budget(field)
    if b and P.now - b.used > REMEMBERED * P.plan.window then
      local _, flying = P.reserved(field)
      if flying == 0 then
        P.budgets[field], b = false, nil
        P.put(field, false)
      end
    end
    return b
  end

  -- use_budget is a budget that is used now, made if need be.
  function P.use_budget(field, b)
    b = b or P.budget(field)
    if not b then
      b = {
        known = false, sum = 0, left = 0, absent = 0, work = 0, rows = 0, low = 0, answers = 0,
        top = 0, grown = 0, distrusted = false,
        learned = 0, learned_at = 0, reset_at = 0, closed = 0, probe = 0, cells = {},
      }
      P.budgets[field] = b
    end
    b.used, b.dirty = P.now, true
    return b
  end

  -- settle drops the cells that have left the window.
  function P.settle(b)
    local cells, far = b.cells, P.now + P.plan.window
    for i = #cells, 1, -1 do
      if cells[i].leaves <= far then
        break
      end
      cells[i].leaves, b.dirty = far, true
    end
    while cells[1] and cells[1].leaves <= P.now do
      local gone = table.remove(cells, 1)
      b.sum, b.dirty = b.sum - gone.work, true
      if not b.distrusted then
        b.left = b.left + gone.work
      end
    end
    b.left = min(b.left, MOST_OPERATING)
  end

  -- add puts work done until a time into the bucket of that time.
  function P.add(b, work, at)
    if work <= 0 then
      return
    end
    local leaves, step = at + P.plan.window, P.plan.step
    local start = at - (at - P.ahead) % step -- a portal's buckets are minutes of the clock
    if not b.distrusted then
      leaves = min(leaves, start + P.plan.window + min(SECOND, floor(step / 4)))
    end
    b.sum, b.dirty = b.sum + work, true
    local last = b.cells[#b.cells]
    if last and (at < last.till or #b.cells >= CELLS) then
      last.work, last.leaves = last.work + work, max(last.leaves, leaves)
      return
    end
    b.cells[#b.cells + 1] = {till = start + step, leaves = leaves, work = work}
  end

  -- spread puts work done before anything was known into the window.
  function P.spread(b, work)
    local now, step, window = P.now, P.plan.step, P.plan.window
    b.cells, b.sum, b.left = {}, 0, 0
    local n = 1
    if b.reset_at > 0 then
      n = n + floor((now + window - b.reset_at) / step)
    end
    n = max(1, min(n, 10))
    local part = floor(work / n)
    for i = n - 1, 1, -1 do
      local leaves = now + window - i * step
      b.cells[#b.cells + 1] = {till = leaves + step - window, leaves = leaves, work = part}
      b.sum = b.sum + part
    end
    P.add(b, work - b.sum, now)
  end

  -- shrink takes work away, oldest first.
  function P.shrink(b, work)
    while b.cells[1] and work > 0 do
      local c = b.cells[1]
      local part = min(work, c.work)
      c.work, b.sum, work = c.work - part, b.sum - part, work - part
      if c.work == 0 then
        table.remove(b.cells, 1)
      end
    end
  end

  -- learn takes in what rows have cost; the sums fade by an eighth an answer.
  function P.learn(b, growth, rows)
    if rows > 0 then
      b.work = b.work - floor(b.work / 8) + growth
      b.rows = b.rows - floor(b.rows / 8) + rows * 1000
      local mean = floor(b.work * 1000 / b.rows)
      if b.answers == 0 then
        b.low = mean
      end
      b.answers = min(b.answers + 1, ENOUGH_ANSWERS)
      b.low = min(mean, b.low + floor(b.low / LOW_RISE) + 1)
    end
  end

  -- per_row is what a row costs, nil while nobody knows.
  function P.per_row(b)
    if b.rows > 0 then
      return floor(b.work * 1000 / b.rows)
    end
  end

  -- tell_budget takes in the operating time of an answer.
  function P.tell_budget(b, operating, rows, grown_before)
    P.settle(b)
    if not b.known then
      b.known, b.top, b.grown = true, operating, operating
      P.spread(b, operating)
      return
    end
    local most = operating + b.grown - grown_before
    if most < b.top then
      b.top = operating
    else
      local growth = max(0, operating - b.top)
      P.learn(b, growth, rows)
      b.top, b.grown = b.top + growth, b.grown + growth
    end
    if operating > b.sum then
      P.add(b, operating - b.sum, P.now)
    elseif b.sum > most then
      P.shrink(b, b.sum - most)
    elseif most > operating then
      return
    end
    b.left = 0
  end

  function P.less_margin(limit)
    return limit - floor(limit / 50)
  end

  -- limit_of is the portal's limit, or a lower one that was learned and rises.
  function P.limit_of(b)
    local plan = P.plan
    if b.learned == 0 then
      return plan.full
    end
    return min(plan.full, b.learned + floor(plan.full / 100 * max(0, P.now - b.learned_at) / plan.window))
  end

  -- rows_for is how many of rows there is room for.
  function P.rows_for(free, cost, rows)
    if free <= 0 then
      return 0
    elseif not cost then
      return min(rows, UNKNOWN_ROWS)
    elseif cost <= 0 then
      return rows
    end
    return min(rows, floor(free / cost))
  end

  -- leaves_at is when no more than most is left in the window, or nothing at all;
  -- nil when that is so already.
  function P.leaves_at(b, most)
    local sum, at = b.sum, nil
    for _, c in ipairs(b.cells) do
      if sum <= max(0, most) then
        break
      end
      sum, at = sum - c.work, c.leaves
    end
    return at
  end

  -- room is how many of rows a budget has room for. When none: until when, nil if
  -- nothing but a request on its way makes room, and whether one may.
  function P.room(field, b, rows)
    P.settle(b)
    local cost = P.per_row(b)
    if not cost and b.absent >= UNCOUNTED_AFTER then
      return rows
    end
    local allowed = P.less_margin(P.limit_of(b))
    local kept, flying = P.reserved(field)
    local n = P.rows_for(allowed - b.sum - kept, cost, rows)
    if n == 0 and b.sum == 0 and flying == 0 then
      n = 1
    end
    local sure = allowed
    if b.learned > 0 then
      sure = min(allowed, P.less_margin(b.learned))
    end
    if n > 0 and b.sum + b.left + kept + n * (cost or 0) > sure then
      n = P.rows_for(sure - b.sum - b.left - kept, (cost or 0) > 0 and cost or nil, n)
      if n == 0 and flying > 0 then
        return 0, nil, true
      end
      n = max(1, n)
    end
    if n > 0 then
      return n
    end
    local at = P.leaves_at(b, allowed - kept - max(1, cost or 0))
    local waits = not at or P.rows_for(allowed - b.sum, cost, rows) > 0
    return 0, at, flying > 0 and waits
  end

  -- refuse_work closes a budget after a refusal all the same, and learns why. sum
  -- is what was known to be done when the request was sent.
  function P.refuse_work(b, sum)
    local now, plan = P.now, P.plan
    P.settle(b)
    b.closed = now + plan.step
    if b.reset_at > now then
      b.closed = b.reset_at
    end
    if b.left > 0 then -- what was thought to have left has not
      b.distrusted, b.left = true, 0
      for _, c in ipairs(b.cells) do
        c.leaves = max(c.leaves, min(c.till, now) + plan.window)
      end
    elseif b.known and sum >= floor(plan.full / 10) then
      local at = min(sum, P.limit_of(b))
      b.learned, b.learned_at = at - floor(at / 20), now
    end
  end

  -- told_reset keeps a reset that can be true.
  function P.told_reset(b, reset_at)
    local far = P.now + P.plan.window
    if reset_at > P.now and reset_at <= far + P.plan.step then
      b.reset_at = min(reset_at, far)
    end
  end
end)

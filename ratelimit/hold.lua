-- A portal is closed until somebody acts, or opened again: Hold and Release in
-- local.go.
--
-- ARGV[5] is "hold" or "release", ARGV[6] since when it is held, 0 for now or
-- for as long as it has been, ARGV[7] the failed probes, ARGV[8] the reason.

function P.close()
  local since = tonumber(ARGV[6])
  since = since ~= 0 and since + P.ahead or P.hold and P.hold.since or P.now
  P.hold = {since = since, probes = tonumber(ARGV[7]), reason = ARGV[8]}
  P.put_hold()
  P.put('kept', false)
  P.save()
  call('PERSIST', key)
end

-- release ends what closes the portal, for all egresses and budgets. What was
-- sent before closes nothing any more.
function P.release()
  P.hold, P.silence = false, false
  P.put('hold', false)
  P.put_silence()
  for _, name in ipairs(call('HKEYS', key)) do
    local kind, rest = match(name, '^(%l+):(.*)$')
    if kind == 'budget' then
      local b = P.stored_budget(name)
      if b then
        b.closed, b.probe, b.dirty = 0, 0, true
      end
    elseif kind == 'pace' and rest ~= egress then
      local share, rise, count = match(call('HGET', key, name), '^(%d+) (%d+) %d+ %d+ (%d+)$')
      P.put(name, share and share .. ' ' .. rise .. ' 0 0 ' .. count)
    end
  end
  P.pace.till, P.pace.failures, P.pace.dirty = 0, 0, true
  P.releases = P.releases + 1
  P.put('releases', P.round(P.releases))
  P.save()
end

local known = call('EXISTS', key) == 1
P.load('')
if ARGV[5] == 'hold' then
  P.close()
elseif known then
  P.release()
end
return 1

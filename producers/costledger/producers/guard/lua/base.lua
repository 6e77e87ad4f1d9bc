-- Give a state its floor. ARGV from 10: the generation that it is for, the month's total in the ledger (1e-12 USD), how
-- long it is a floor even beside the stream's own total (microseconds), when this Redis was first met (Unix
-- microseconds). A new user's window of recovery then ends with that of the Redis; where a loss is certain, it stays.
-- Returns '1', or '0' where the state is another one by now.
if not is_known() or state.generation ~= ARGV[10] then return {'0'} end
put('base_month', label)
put('base', ARGV[11])
put('base_until', number(now + tonumber(ARGV[12])))
if state.lost == '0' then
  -- A clock that was set back since must not make it a time that is yet to come.
  local met = math.min(tonumber(ARGV[13]), now)
  if type(info) == 'string' and string.find(info, 'redis_mode:cluster') then
    -- The key that says so may be on another node than the user, which may have been started later.
    met = math.max(met, now - tonumber(string.match(info, 'uptime_in_seconds:(%d+)')) * 1000000)
  end
  put('until', number(met + recovery_us))
end
save()
return {'1'}

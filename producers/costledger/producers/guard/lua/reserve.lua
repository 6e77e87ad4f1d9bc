-- Decide, and hold the estimate if it fits. ARGV from 10: id, key or '-', estimate, budget, whether to hold ('1', '0'),
-- lease in microseconds, most items of a user.
-- Returns status, generation, month-to-date, reserved, total and offset as seen ('' and -1: not), and of what is held:
-- id, amount, when it ends.
local id, key, estimate, budget, hold = ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14]
if not is_known() then return {'unknown'} end
if not state.base_month then return {'unbased', state.generation} end
local spent, offset, seen_total, seen_offset = month_to_date()
sweep(offset)
local reserved = plus(counted_in('-'), counted_in(label))

local function answer(status, held_id, amount)
  save()
  local expires = held_id and redis.call('ZSCORE', EXPIRY, held_id)
  return {status, state.generation, text_of(spent), text_of(reserved), seen_total, seen_offset, held_id or '',
    amount or '', expires and number(tonumber(expires)) or ''}
end

if now < tonumber(state['until']) then return answer('recovering') end
local known_id = key ~= '-' and redis.call('HGET', ITEMS, 'k:' .. key) or id
local item = item_of(known_id)
if item and item.kind == 'H' then
  reserved = minus(reserved, amount_of(item.amount))
  return answer('held', known_id, item.amount)
end
if item and (item.kind == 'S' or item.amount == 's') then return answer('done', known_id) end
if hold ~= '1' or exceeds(plus(plus(spent, reserved), amount_of(estimate)), amount_of(budget)) then
  return answer('refused')
end
if redis.call('HLEN', ITEMS) >= tonumber(ARGV[16]) then return answer('full') end
count(id, 'H', estimate, '-', key, now + tonumber(ARGV[15]))
return answer('held', id, estimate)

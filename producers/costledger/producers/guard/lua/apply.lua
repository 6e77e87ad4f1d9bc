-- Settle, release, confirm, renew, and say again after a loss: one step, idempotent by id.
-- ARGV from 10, seven for each item: id, kind (H held, S settled, R released), amount, month of its events or '-',
-- key or '-', offset of its last event or '', end of its time (absolute, or '+' and microseconds from now).
-- Returns generation, total and offset as seen, then the ids that are no longer counted.
if not is_known() then open('1') end
local _, seen, seen_total, seen_offset = month_to_date()

local function hold(id, amount, key, expires)
  local item = item_of(id)
  if not item or item.amount == 'x' then
    if expires > now then count(id, 'H', amount, '-', key, expires) end
  elseif item.kind == 'H' then
    redis.call('ZADD', EXPIRY, 'GT', number(expires), id)
  end
end

local function settle(id, amount, month, key, offset, expires)
  local item = item_of(id)
  if item and item.kind == 'D' and item.amount == 's' then return end
  if not item or item.kind ~= 'S' then
    if item and item.kind == 'H' then uncount(id, item) end
    if item and item.key ~= '-' then key = item.key end
    if amount == '0' or expires <= now then
      finish(id, 's', key)
      return
    end
    count(id, 'S', amount, month, key, expires)
  end
  if offset ~= '' then redis.call('ZADD', OFFSETS, offset, id) end
end

local function release(id)
  local item = item_of(id)
  if item and item.kind ~= 'H' and item.amount ~= 'x' then return end
  if item and item.kind == 'H' then uncount(id, item) end
  finish(id, 'r', item and item.key or '-')
end

for i = 10, #ARGV, 7 do
  local id, kind, amount, month, key, offset, ends = unpack(ARGV, i, i + 6)
  local after = string.match(ends, '^%+(%d+)$')
  local expires = after and now + tonumber(after) or tonumber(ends)
  if kind == 'H' then
    hold(id, amount, key, expires)
  elseif kind == 'S' then
    settle(id, amount, month, key, offset, expires)
  else
    release(id)
  end
end
sweep(seen)
save()
local reply = {state.generation, seen_total, seen_offset}
for i = 10, #ARGV, 7 do
  local item = item_of(ARGV[i])
  -- A hold that another process has settled is no longer the caller's to renew.
  if not item or item.kind ~= ARGV[i + 1] then table.insert(reply, ARGV[i]) end
end
return reply

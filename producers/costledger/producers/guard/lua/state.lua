-- What every step shares: a user's state in Redis, its loss, its sums, and what has ended.
--
-- guard    hash: generation, run_id, until, lost, sums (held, settled:<month>), base_*, seen_*, size, live
-- items    hash: id -> 'H <estimate> - <key>' (held), 'S <actual> <month> <key>' (settled, not yet seen in the totals;
--          month '-': any) or 'D <s|r|x> - <key>' (done: settled, released or expired); 'k:<key>' -> id
-- expiry   sorted set: id of H and S -> when it ends by itself; done: id of D -> when it is forgotten
-- offsets  sorted set, one a month: id of S -> offset of its last event
local GUARD, ITEMS, EXPIRY, DONE, OFFSETS, TOTAL = unpack(KEYS)
local label, nonce = ARGV[1], ARGV[2]
local recovery_us, keep_us, done_us = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- So many ended items are cleared away in one step: what is left counts a little longer, which is the careful side.
local SWEEP_MAX = 200
local DONE_MAX = 10000

local function number(value) return string.format('%.0f', value) end

local time = redis.call('TIME')
local now = ARGV[9] ~= '' and tonumber(ARGV[9]) or time[1] * 1000000 + time[2]
-- A server that forbids INFO tells no restart apart: then a loss is found by what is missing alone.
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or '-'

local state = {}
local fields = redis.call('HGETALL', GUARD)
for i = 1, #fields, 2 do state[fields[i]] = fields[i + 1] end

local function put(field, value)
  if state[field] ~= value then
    state[field] = value
    redis.call('HSET', GUARD, field, value)
  end
end

local function remove(field)
  if state[field] then
    state[field] = nil
    redis.call('HDEL', GUARD, field)
  end
end

-- Begin a state anew. Until the window is over, whoever still holds something says so again.
local function open(lost)
  redis.call('DEL', GUARD, ITEMS, EXPIRY, DONE, OFFSETS)
  state = {}
  put('generation', nonce)
  put('run_id', run_id)
  put('lost', lost)
  put('until', number(now + recovery_us))
  put('held', '0')
  put('size', '0')
  put('live', '0')
end

-- Whether the state is there, and whole.
local function is_known()
  if not state.generation then return false end
  if redis.call('HLEN', ITEMS) ~= tonumber(state.size) or redis.call('ZCARD', EXPIRY) ~= tonumber(state.live) then
    return false
  end
  if state.run_id ~= run_id then
    -- The server was restarted, or a replica took over: what it has may be older than what it had acknowledged.
    put('run_id', run_id)
    put('generation', nonce)
    put('lost', '1')
    put('until', number(now + recovery_us))
    remove('base_month')
  end
  return true
end

local function item_of(id)
  local text = redis.call('HGET', ITEMS, id)
  if not text then return nil end
  local kind, amount, month, key = string.match(text, '^(%a) (%S+) (%S+) (%S+)$')
  return {kind = kind, amount = amount, month = month, key = key}
end

local function sum_field(month) return month == '-' and 'held' or 'settled:' .. month end

local function counted_in(month) return amount_of(state[sum_field(month)] or '0') end

local function set_sum(month, amount)
  local text = text_of(amount)
  if text == '0' and month ~= '-' then remove(sum_field(month)) else put(sum_field(month), text) end
end

local function count(id, kind, amount, month, key, expires)
  redis.call('HSET', ITEMS, id, kind .. ' ' .. amount .. ' ' .. month .. ' ' .. key)
  if key ~= '-' then redis.call('HSET', ITEMS, 'k:' .. key, id) end
  redis.call('ZREM', DONE, id)
  redis.call('ZADD', EXPIRY, number(expires), id)
  set_sum(month, plus(counted_in(month), amount_of(amount)))
end

local function uncount(id, item)
  redis.call('ZREM', EXPIRY, id)
  set_sum(item.month, minus(counted_in(item.month), amount_of(item.amount)))
end

local function forget(id, item)
  redis.call('HDEL', ITEMS, id)
  if item.key ~= '-' and redis.call('HGET', ITEMS, 'k:' .. item.key) == id then
    redis.call('HDEL', ITEMS, 'k:' .. item.key)
  end
end

local function finish(id, how, key)
  redis.call('HSET', ITEMS, id, 'D ' .. how .. ' - ' .. key)
  redis.call('ZADD', DONE, number(now + done_us), id)
end

-- Clear away what has ended: by time, and by having been seen in the totals up to `offset`.
local function sweep(offset)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', number(now), 'LIMIT', 0, SWEEP_MAX)) do
    local item = item_of(id)
    uncount(id, item)
    finish(id, item.kind == 'S' and 's' or 'x', item.key)
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', OFFSETS, '-inf', number(offset), 'LIMIT', 0, SWEEP_MAX)) do
    local item = item_of(id)
    redis.call('ZREM', OFFSETS, id)
    if item and item.kind == 'S' and item.month == label then
      uncount(id, item)
      finish(id, 's', item.key)
    end
  end
  local old = redis.call('ZRANGEBYSCORE', DONE, '-inf', number(now), 'LIMIT', 0, SWEEP_MAX)
  local excess = math.min(redis.call('ZCARD', DONE) - DONE_MAX, SWEEP_MAX)
  if #old == 0 and excess > 0 then old = redis.call('ZRANGE', DONE, 0, excess - 1) end
  for _, id in ipairs(old) do
    redis.call('ZREM', DONE, id)
    forget(id, item_of(id))
  end
end

local function remember(month, total, offset)
  if not state.seen_month or month > state.seen_month
    or (month == state.seen_month and offset >= tonumber(state.seen_offset)) then
    put('seen_month', month)
    put('seen_total', total)
    put('seen_offset', number(offset))
  end
end

-- The month's total with its offset, and both as they stand in the stream's own hash ('' where that is missing or
-- behind what was seen of it before: a view that was lost is never taken for nothing spent).
local function month_to_date()
  if ARGV[6] ~= '' then remember(ARGV[6], ARGV[7], tonumber(ARGV[8])) end
  local found = redis.call('HMGET', TOTAL, 'total', 'offset')
  local total, offset = found[1], tonumber(found[2] or '-1')
  local fresh = total and not (state.seen_month == label and offset < tonumber(state.seen_offset))
  if fresh then
    remember(label, total, offset)
  elseif state.seen_month == label then
    total, offset = state.seen_total, tonumber(state.seen_offset)
  else
    total, offset = '0', -1
  end
  local amount = amount_of(total)
  if state.base_month == label and (not fresh or now < tonumber(state.base_until)) then
    local base = amount_of(state.base)
    if exceeds(base, amount) then amount = base end
  end
  if fresh then return amount, offset, total, number(offset) end
  return amount, offset, '', '-1'
end

local function save()
  put('size', number(redis.call('HLEN', ITEMS)))
  put('live', number(redis.call('ZCARD', EXPIRY)))
  -- Never sooner than another guard wants it, which may have longer times.
  for i = 1, 5 do
    redis.call('PEXPIRE', KEYS[i], number(math.max(keep_us / 1000, redis.call('PTTL', KEYS[i]))))
  end
end

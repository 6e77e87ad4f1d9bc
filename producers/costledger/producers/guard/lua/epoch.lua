-- Since when this Redis has been the one it is: a key that is lost with everything else, and begun again; so it is where the
-- clock was set back behind it.
-- KEYS: the key. ARGV: the time in Unix microseconds, '' for the server's.
-- Returns that time, the time now (both Unix microseconds), and the eviction policy where memory is limited.
local time = redis.call('TIME')
local now = ARGV[1] ~= '' and tonumber(ARGV[1]) or time[1] * 1000000 + time[2]
local server = redis.pcall('INFO', 'server')
local run_id = type(server) == 'string' and string.match(server, 'run_id:(%x+)') or '-'
local memory = redis.pcall('INFO', 'memory')
local policy = type(memory) == 'string' and not string.find(memory, 'maxmemory:0\r')
  and string.match(memory, 'maxmemory_policy:(%S+)') or ''
local held = redis.call('HMGET', KEYS[1], 'run_id', 'since')
if held[1] ~= run_id or tonumber(held[2]) > now then
  held[2] = string.format('%.0f', now)
  redis.call('HSET', KEYS[1], 'run_id', run_id, 'since', held[2])
end
return {held[2], string.format('%.0f', now), policy}

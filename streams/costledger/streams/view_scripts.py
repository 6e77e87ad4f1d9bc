"""What Redis does for the view in one step: scripts, each on the keys of one slot of a cluster."""

from __future__ import annotations

from typing import Final

#: Gives out an epoch: the server's time in microseconds, or one more than the last.
TAKE_EPOCH: Final = """
local now = redis.call('TIME')
local epoch = now[1] * 1000000 + now[2]
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
if epoch <= last then epoch = last + 1 end
redis.call('SET', KEYS[1], string.format('%.0f', epoch))
return string.format('%.0f', epoch)
"""

#: Replaces the hashes of one user's periods, but none that a later owner has written. ARGV: epoch, seconds to live, and a
#: MessagePack array with, for each key, an array of field, value, ... (empty: the period is gone): one argument, since the
#: client encodes each for itself, and all values as text, since a number in Lua is a double. What is no hash was put there
#: by somebody else, and makes way: HGET gives an error then, a table.
WRITE_PERIODS: Final = """
local epoch, hashes = tonumber(ARGV[1]), cmsgpack.unpack(ARGV[3])
for n, key in ipairs(KEYS) do
  local last, fields = redis.pcall('HGET', key, 'epoch'), hashes[n]
  if type(last) ~= 'string' or (tonumber(last) or 0) <= epoch then
    redis.call('DEL', key)
    for i = 1, #fields, 1000 do redis.call('HSET', key, unpack(fields, i, math.min(i + 999, #fields))) end
    redis.call('EXPIRE', key, ARGV[2])
  end
end
return #KEYS
"""

#: Sets the number of a round where the one before it is there; 0 where Redis has lost it. ARGV: epoch, seconds to live,
#: round. A repeat of a round whose reply was lost is no loss, and under a later epoch another owner writes.
WRITE_ROUND: Final = """
local held = {}
if redis.call('TYPE', KEYS[1]).ok == 'hash' then held = redis.call('HMGET', KEYS[1], 'epoch', 'round') end
local epoch, round = tonumber(held[1] or ''), tonumber(held[2] or '')
if epoch and epoch > tonumber(ARGV[1]) then return 1 end
if epoch ~= tonumber(ARGV[1]) or not round or round < tonumber(ARGV[3]) - 1 then return 0 end
redis.call('HSET', KEYS[1], 'round', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""

"""What Redis does in one step, in Lua. Each script is atomic; all its keys are on one slot.

Every loop is bounded by what it is given or by a constant here. Redis 6.2 is enough.
"""

from __future__ import annotations

from typing import Final

#: The result, or the lease on making it, or how long somebody else's lease still runs (milliseconds). A lease without
#: an expiry, or that is no string, is none that a cache has taken: it is nobody's, and taken over.
#: KEYS: entry, lease. ARGV: token, milliseconds of the lease.
CLAIM: Final = """
local found = redis.call('HMGET', KEYS[1], 'value', 'cost')
if found[1] then return {'hit', found[1], found[2] or ''} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'mine'} end
local left = redis.call('PTTL', KEYS[2])
if left >= 0 and redis.call('TYPE', KEYS[2]).ok == 'string' then return {'busy', left} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {'mine'}
"""

#: Puts a result in, ends the lease of the one who brings it, makes room. Whoever comes after the lease was lost does
#: not replace what another has brought. Returns 1 when it was put in.
#: KEYS: entry, lease, entries, then the bands. ARGV: token, digest, value, cost, namespace, signature, milliseconds
#: to live, entries at most, prefix of entries, digests in a band at most.
COMPLETE: Final = """
local mine = redis.call('GET', KEYS[2]) == ARGV[1]
if mine then redis.call('DEL', KEYS[2]) end
if not mine and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[7])
local function listed(key, most)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  redis.call('ZADD', key, string.format('%.0f', now + ttl), ARGV[2])
  if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ARGV[7]) end
  return redis.call('ZCARD', key) - most
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'value', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'cost', ARGV[4]) end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'namespace', ARGV[5], 'signature', ARGV[6]) end
redis.call('PEXPIRE', KEYS[1], ARGV[7])
local over = listed(KEYS[3], tonumber(ARGV[8]))
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[3], math.min(over, 100))
  for i = 1, #oldest, 2 do redis.call('DEL', ARGV[9] .. oldest[i]) end
end
for i = 4, #KEYS do
  over = listed(KEYS[i], tonumber(ARGV[10]))
  if over > 0 then redis.call('ZPOPMIN', KEYS[i], over) end
end
return 1
"""

#: Ends the lease of this token. KEYS: lease. ARGV: token.
RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

#: Digests and signatures of what may be similar, newest first in each band; forgets what the cache no longer has.
#: KEYS: bands. ARGV: prefix of entries, namespace, digests of a band at most, digests in all at most.
CANDIDATES: Final = """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local seen, found, most = {}, {}, tonumber(ARGV[4]) * 2
for _, band in ipairs(KEYS) do
  for _, digest in ipairs(redis.call('ZREVRANGEBYSCORE', band, '+inf', now, 'LIMIT', 0, ARGV[3])) do
    if seen[digest] == nil then
      local entry = redis.call('HMGET', ARGV[1] .. digest, 'namespace', 'signature')
      seen[digest] = entry[2] ~= false
      if entry[2] and entry[1] == ARGV[2] then
        found[#found + 1] = digest
        found[#found + 1] = entry[2]
        if #found >= most then return found end
      end
    end
    if not seen[digest] then redis.call('ZREM', band, digest) end
  end
end
return found
"""

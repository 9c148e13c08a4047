--[[ Take the next slot of a rate limit, if it comes soon enough.

  KEYS[1] rate  STRING  the next free slot, in microseconds since 1970
  ARGV[1] distance between two slots, in microseconds   ARGV[2] longest wait, in microseconds
  Returns the microseconds to wait for the slot taken, or -1 when it is too far away (none is taken then).

  This is the generic cell rate algorithm (ITU-T I.371, annex A, virtual scheduling) without a burst.
]]
local now = now_us()
local slot = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
if slot - now > tonumber(ARGV[2]) then
  return -1
end
local next_slot = slot + tonumber(ARGV[1])
redis.call('SET', KEYS[1], next_slot, 'PX', math.ceil((next_slot - now) / 1000) + 1000)
return slot - now

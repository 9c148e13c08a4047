--[[ Take one request out of a caller's allowance, if it has one left.

  KEYS[1] rate  STRING  when the allowance is full again, in microseconds since 1970
  ARGV[1] time in which one request grows back, in microseconds   ARGV[2] requests that may come at once
  Returns the requests left after this one, or -1 (none is taken then); and the microseconds until it is full again,
  or, when none was taken, until the next one may come.

  This is the generic cell rate algorithm (ITU-T I.371, annex A, virtual scheduling) with a burst: a token bucket.
]]
local now = now_us()
local step, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0)) + step
local over = full - now - step * burst
if over > 0 then
  return {-1, over}
end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
return {math.floor(-over / step), full - now}

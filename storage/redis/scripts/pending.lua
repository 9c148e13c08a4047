--[[ Reservations that nobody settled within a time, oldest first.

  KEYS[1..9] as in reserve.lua; used: [1] state, [4] reservations, [5] leases
  ARGV[1] age in microseconds
  Returns { now in microseconds, "lead:attempt", packed answer, "lead:attempt", packed answer, ... }.
  Error COLD when there is no generation, or the server is not the one that was loaded.
]]
if redis.call('HGET', KEYS[1], 'run_id') ~= run_id() then
  return redis.error_reply('COLD the turnstile is not the one that was loaded')
end
local now = now_us()
local found = { now }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now - tonumber(ARGV[1]))) do
  found[#found + 1], found[#found + 2] = id, redis.call('HGET', KEYS[4], id)
end
return found

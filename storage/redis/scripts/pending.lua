--[[ Reservations that nobody settled within a time.

  KEYS[1..9] as in reserve.lua; used: [1] state, [4] reservations
  ARGV[1] age in microseconds
  Returns { now in microseconds, lead and attempt, record, lead and attempt, record, ... }.
  Error COLD when there is no generation, or the server is not the one that was loaded.
]]
if redis.call('HGET', KEYS[1], 'run_id') ~= run_id() then
  return redis.error_reply('COLD the turnstile is not the one that was loaded')
end
local now = now_us()
local found, all = { now }, redis.call('HGETALL', KEYS[4])
for i = 1, #all, 2 do
  local at = select(11, struct.unpack(RECORD, all[i + 1]))
  if at <= now - tonumber(ARGV[1]) then
    found[#found + 1], found[#found + 2] = all[i], all[i + 1]
  end
end
return found

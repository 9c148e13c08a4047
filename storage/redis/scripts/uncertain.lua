--[[ Corrections that nobody settled within a time.

  KEYS[1..9] as in reserve.lua; used: [1] state
  KEYS[10] corrections, as in correct.lua
  ARGV[1] age in microseconds
  Returns { generation, correction, number, correction, number, ... }.
  Error COLD when there is no generation, or the server is not the one that was loaded.
]]
local state = redis.call('HMGET', KEYS[1], 'generation', 'run_id')
if state[2] ~= run_id() then
  return redis.error_reply('COLD the turnstile is not the one that was loaded')
end
local found, all, now = { state[1] }, redis.call('HGETALL', KEYS[10]), now_us()
for i = 1, #all, 2 do
  local number, at = struct.unpack('<dd', all[i + 1])
  if at <= now - tonumber(ARGV[1]) then
    found[#found + 1], found[#found + 2] = all[i], string.format('%.0f', number)
  end
end
return found

--[[ Give slots to members that have none.

  KEYS[1..9] as in reserve.lua; used: [1] state, [5] order
  ARGV[1] generation   ARGV[2] the token `slots` under which they have none   ARGV[3] the token from now on
  ARGV[4] members, i4 each, in the order of their slots
  Error COLD when the generation differs, SLOTS when the token does; nothing is changed then.
]]
local state = redis.call('HMGET', KEYS[1], 'generation', 'slots')
if state[1] ~= ARGV[1] then
  return redis.error_reply('COLD the turnstile has generation ' .. (state[1] or 'none'))
end
if state[2] ~= ARGV[2] then
  return redis.error_reply('SLOTS have changed')
end
redis.call('APPEND', KEYS[5], ARGV[4])
redis.call('HSET', KEYS[1], 'slots', ARGV[3])
return 1

--[[ Move standings by corrections, in order, each of them once; all of it or nothing.

  KEYS[1..9] as in reserve.lua; used: [1] state, [6] ticks, [8] stem of the standings
  KEYS[10] corrections  HASH  correction (32 hex digits) -> what was moved, little-endian (settle_corrections.lua reads
           it too): f8 seq, f8 at_us, i4 how many members; then i4 slot of each, f8 micro-turns of each, the rotation's name
  ARGV[1] generation   ARGV[2] the token `slots` under which the slots are meant
  ARGV[3..] four each: correction (32 hex digits), rotation, slots (i4 each), micro-turns to add (f8 each)
  Returns two each, in order: its number, and its time in microseconds.
  Error COLD when the generation or the server differs, SLOTS when the token does; nothing is changed then.

  A correction that was carried out before, and not settled since, gets its number and time of then.
]]
local state = redis.call('HMGET', KEYS[1], 'generation', 'seq', 'at_us', 'slots', 'run_id')
if state[1] ~= ARGV[1] then
  return redis.error_reply('COLD the turnstile has generation ' .. (state[1] or 'none'))
end
if state[5] ~= run_id() then
  return redis.error_reply('COLD the server is not the one that was loaded')
end
if state[4] ~= ARGV[2] then
  return redis.error_reply('SLOTS have changed')
end
local seq, at, now = tonumber(state[2]), tonumber(state[3]), now_us()
local reply = {}

for i = 3, #ARGV, 4 do
  local id, rotation, slots, deltas = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local stored = redis.call('HGET', KEYS[10], id)
  local number, time
  if stored then
    number, time = struct.unpack('<dd', stored)
  else
    seq, at = seq + 1, math.max(now, at + 1)
    number, time = seq, at
    redis.call('HSETNX', KEYS[6], rotation, 0)
    add_numbers(KEYS[8] .. rotation, slots, deltas, 1)
    redis.call('HSET', KEYS[10], id, struct.pack('<ddi4', seq, at, #slots / 4) .. slots .. deltas .. rotation)
  end
  reply[#reply + 1], reply[#reply + 2] = string.format('%.0f', number), string.format('%.0f', time)
end
redis.call('HSET', KEYS[1], 'seq', seq, 'at_us', at)
return reply

--[[ Put the staged keys in the place of everything the market holds, at once.

  KEYS[1..9]   live, as in reserve.lua; the old ones are gone afterwards, reservations included
  KEYS[10..18] staged, in the same order; used: [11] offers, [12] open, [14] order, [15] ticks, [16] cursors, and the
               stems [17] and [18]
  KEYS[19]     corrections, gone as well: the ledger asks again for those it owes
  KEYS[20]     uses of limits, live   KEYS[21] staged
  ARGV[1] generation   ARGV[2] seq   ARGV[3] number of offers staged   ARGV[4] number of rotations staged
  ARGV[5] number of members in order   ARGV[6] number of open pages   ARGV[7] the token of the slots
  ARGV[8] number of counters staged   ARGV[9..] rotations staged with accounts: name, number of pages (pairs)
  Error COLD when a staged key is incomplete (the server lost it half way); nothing is changed then,
  nor when the live generation is as high or higher.
]]
local function all_staged()
  if redis.call('HLEN', KEYS[11]) ~= tonumber(ARGV[3]) then return false end
  if redis.call('HLEN', KEYS[15]) ~= tonumber(ARGV[4]) then return false end
  if redis.call('STRLEN', KEYS[14]) ~= 4 * tonumber(ARGV[5]) then return false end
  if redis.call('HLEN', KEYS[12]) ~= tonumber(ARGV[6]) then return false end
  if redis.call('HLEN', KEYS[21]) ~= tonumber(ARGV[8]) then return false end
  for i = 9, #ARGV, 2 do
    local pages = tonumber(ARGV[i + 1])
    if redis.call('HLEN', KEYS[17] .. ARGV[i]) ~= pages then return false end
    if redis.call('HLEN', KEYS[18] .. ARGV[i]) ~= pages then return false end
  end
  return true
end

local function put(staged, live)
  if redis.call('EXISTS', staged) == 1 then
    redis.call('RENAME', staged, live)
    redis.call('PERSIST', live)
  end
end

-- Who was frozen while it loaded the turnstile must not undo what somebody else loaded meanwhile.
local live = redis.call('HGET', KEYS[1], 'generation')
if live and tonumber(live) >= tonumber(ARGV[1]) then
  return redis.error_reply('COLD the turnstile has generation ' .. live .. ' by now')
end
if not all_staged() then
  return redis.error_reply('COLD the rebuild was lost half way')
end
for _, rotation in ipairs(redis.call('HKEYS', KEYS[6])) do
  redis.call('UNLINK', KEYS[8] .. rotation, KEYS[9] .. rotation)
end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[19], KEYS[20])
put(KEYS[21], KEYS[20])
for _, i in ipairs({ 2, 3, 5, 6, 7 }) do
  put(KEYS[i + 9], KEYS[i])
end
for i = 9, #ARGV, 2 do
  put(KEYS[17] .. ARGV[i], KEYS[8] .. ARGV[i])
  put(KEYS[18] .. ARGV[i], KEYS[9] .. ARGV[i])
end
-- at_us stays: the clock never goes back, not even over a rebuild.
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'seq', ARGV[2], 'slots', ARGV[7], 'run_id', run_id())
redis.call('HSETNX', KEYS[1], 'at_us', '0')
return 1

--[[ Forget corrections: kept ones as they are, undone ones moved back. Unknown ones are left alone.

  KEYS[1..9] as in reserve.lua; used: [8] stem of the standings
  KEYS[10] corrections, as in correct.lua
  ARGV[1] to keep: correction (32 hex digits) and its number (f8) of each   ARGV[2] to undo, likewise
  Returns how many were undone.

  One that has another number was carried out anew since, and is left alone.
]]
local function each(blob, settle)
  for from = 1, #blob, 40 do
    local id = string.sub(blob, from, from + 31)
    local stored = redis.call('HGET', KEYS[10], id)
    if stored and struct.unpack('<d', stored) == struct.unpack('<d', blob, from + 32) then
      settle(stored)
      redis.call('HDEL', KEYS[10], id)
    end
  end
end

local undone = 0
each(ARGV[1], function() end)
each(ARGV[2], function(stored)
  local count = struct.unpack('<i4', stored, 17)
  local slots, deltas = string.sub(stored, 21, 20 + 4 * count), string.sub(stored, 21 + 4 * count, 20 + 12 * count)
  add_numbers(KEYS[8] .. string.sub(stored, 21 + 12 * count), slots, deltas, -1)
  undone = undone + 1
end)
return undone

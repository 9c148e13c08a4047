--[[ Forget the accounts of rotations that nobody needs any more.

  KEYS[1..9] as in reserve.lua; used: [6] ticks, [7] cursors, stems [8] standing and [9] served
  ARGV[1..] names of the rotations
  Returns how many of them there were.
]]
local found = 0
for _, rotation in ipairs(ARGV) do
  found = found + redis.call('HDEL', KEYS[6], rotation)
  redis.call('HDEL', KEYS[7], rotation)
  redis.call('DEL', KEYS[8] .. rotation, KEYS[9] .. rotation)
end
return found

--[[ Mend what the ledger says is wrong, all at once.

  KEYS[1..10] as in reserve.lua: state, offers, open, reservations, order, ticks, cursors, stems standing and served,
              uses
  ARGV[1] generation   ARGV[2] the token `slots` under which the slots are meant
  ARGV[3] offers that hold a place and are over, 32 hex digits each
  ARGV[4] offers that hold none and are open: 32 hex digits, member (i4), slot (i4), units (i4) each
  ARGV[5] 1 when the counts of offers are to be made again from the offers
  ARGV[6..] five each: what (standing, served, tick, cursor), rotation, slot, seen, right; for a standing: slot, lacks, 0;
            for the use of a limit: counter, bucket, lacks, 0
  Returns 1, or 0 when the generation or the token differs; nothing is changed then.

  Standings and limits are corrected by what they lack; ticks and cursors only while they are as they were seen.
]]
local state = redis.call('HMGET', KEYS[1], 'generation', 'slots')
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] then return 0 end

local function number_at(key, slot)
  local page = redis.call('HGET', key, floor(slot / PAGE)) or NO_NUMBERS
  return (struct.unpack('<d', page, slot % PAGE * 8 + 1))
end

local function set_number(key, slot, number)
  local name, at = floor(slot / PAGE), slot % PAGE * 8
  local page = redis.call('HGET', key, name) or NO_NUMBERS
  redis.call('HSET', key, name, string.sub(page, 1, at) .. struct.pack('<d', number) .. string.sub(page, at + 9))
end

for from = 1, #ARGV[3], 32 do
  free(KEYS[2], KEYS[3], string.sub(ARGV[3], from, from + 31))
end
for from = 1, #ARGV[4], 44 do
  local place, units = string.sub(ARGV[4], from + 32, from + 39), struct.unpack('<i4', ARGV[4], from + 40)
  if units > 1 then place = string.sub(ARGV[4], from + 32, from + 43) end
  if redis.call('HSETNX', KEYS[2], string.sub(ARGV[4], from, from + 31), place) == 1 then
    local _, slot = struct.unpack('<i4i4', place)
    add_to_count(KEYS[3], slot, units)
  end
end
if ARGV[5] == '1' then
  local counts, pages = {}, {}
  for _, place in ipairs(redis.call('HVALS', KEYS[2])) do
    local _, slot = struct.unpack('<i4i4', place)
    counts[slot], pages[floor(slot / PAGE)] = (counts[slot] or 0) + units_of(place), true
  end
  redis.call('DEL', KEYS[3])
  for page in pairs(pages) do
    local parts = {}
    for i = 0, PAGE - 1 do parts[i + 1] = struct.pack('<i4', counts[page * PAGE + i] or 0) end
    redis.call('HSET', KEYS[3], page, table.concat(parts))
  end
end
for i = 6, #ARGV, 5 do
  local what, rotation, slot = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local seen, right = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  if what == 'standing' then
    local key = KEYS[8] .. rotation
    set_number(key, slot, number_at(key, slot) + seen)
  elseif what == 'use' then
    add_to_counter(KEYS[10], rotation, slot, seen)
  elseif what == 'served' then
    local key = KEYS[9] .. rotation
    if number_at(key, slot) == seen then set_number(key, slot, right) end
  else
    local key = what == 'tick' and KEYS[6] or KEYS[7]
    if tonumber(redis.call('HGET', key, rotation) or 0) == seen then redis.call('HSET', key, rotation, right) end
  end
end
return 1

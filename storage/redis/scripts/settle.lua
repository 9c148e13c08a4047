--[[ Forget reservations: kept ones as they are, cancelled ones undone whole. Unknown ones are left alone.

  KEYS[1..10] as in reserve.lua: state, offers, open, reservations, order, ticks, cursors, stems standing and served,
              uses
  ARGV[1] to keep: lead (i8) and attempt (i4) of each   ARGV[2] to cancel, likewise
  ARGV[3] nothing, or the offer (32 hex digits) of each of both: one that was reserved for another offer is left alone
  Returns how many were cancelled.

  Shares, payment, place and limits are undone exactly; the tick of the member's last turn, the rotation's tick and its cursor
  go back unless a later turn has passed over them.
]]
local function fields_of(blob)
  local fields = {}
  for from = 1, #blob, 12 do fields[#fields + 1] = string.sub(blob, from, from + 11) end
  return fields
end

local function forget(fields)
  for from = 1, #fields, CHUNK do
    redis.call('HDEL', KEYS[4], unpack(fields, from, math.min(from + CHUNK - 1, #fields)))
  end
end

local function number_at(key, slot)
  local page = redis.call('HGET', key, floor(slot / PAGE)) or NO_NUMBERS
  return (struct.unpack('<d', page, slot % PAGE * 8 + 1))
end

local function set_numbers(key, by_slot)
  local pages = {}
  for slot, number in pairs(by_slot) do
    local name, at = floor(slot / PAGE), slot % PAGE * 8
    local page = pages[name] or redis.call('HGET', key, name) or NO_NUMBERS
    pages[name] = string.sub(page, 1, at) .. struct.pack('<d', number) .. string.sub(page, at + 9)
  end
  for name, page in pairs(pages) do redis.call('HSET', key, name, page) end
end

local function move_back(record, member_slot, count, without, sum, turn, standing)
  local slots = numbers(string.sub(record, RECORD_BYTES + 1, RECORD_BYTES + 4 * count), 'i4', 4)
  local weights = numbers(string.sub(record, RECORD_BYTES + 4 * count + 1, RECORD_BYTES + 8 * count), 'i4', 4)
  local missing = numbers(string.sub(record, RECORD_BYTES + 8 * count + 1, RECORD_BYTES + 8 * count + 4 * without), 'i4', 4)
  local left_out, after, payment = {}, {}, 0
  for i = 1, without do left_out[missing[i]] = true end
  for i = 1, count do
    if not left_out[i] then
      local share = floor(weights[i] * turn / sum)
      after[slots[i]], payment = number_at(standing, slots[i]) - share, payment + share
    end
  end
  after[member_slot] = after[member_slot] + payment
  set_numbers(standing, after)
end

local function undo(record)
  local _, slot, _, moved, count, without, name, sum, turn, _, _, tick, cursor, served_before, offer =
    struct.unpack(RECORD, record)
  local behind = RECORD_BYTES + (moved == 1 and 8 * count + 4 * without or 0)
  local rotation = string.sub(record, behind + 1, behind + name)
  local served = KEYS[9] .. rotation
  free(KEYS[2], KEYS[3], offer)
  give_back(KEYS[10], string.sub(record, behind + name + 1))
  if moved == 1 then move_back(record, slot, count, without, sum, turn, KEYS[8] .. rotation) end
  if number_at(served, slot) == tick then
    set_numbers(served, { [slot] = served_before })
  end
  if tonumber(redis.call('HGET', KEYS[6], rotation)) == tick then
    redis.call('HSET', KEYS[6], rotation, tick - 1)
    redis.call('HSET', KEYS[7], rotation, cursor)
  end
end

-- Whether the record is of the offer that is meant: who was frozen may have reserved anew since.
local function is_meant(record, number)
  if #ARGV[3] == 0 then return true end
  local offer = select(15, struct.unpack(RECORD, record))
  return offer == string.sub(ARGV[3], number * 32 - 31, number * 32)
end

local keep, cancelled, cancel = fields_of(ARGV[1]), 0, fields_of(ARGV[2])
if #ARGV[3] == 0 then
  forget(keep)
else
  for number, field in ipairs(keep) do
    local record = redis.call('HGET', KEYS[4], field)
    if record and is_meant(record, number) then forget({ field }) end
  end
end
for number, field in ipairs(cancel) do
  local record = redis.call('HGET', KEYS[4], field)
  if record and is_meant(record, #keep + number) then
    undo(record)
    cancelled = cancelled + 1
    redis.call('HDEL', KEYS[4], field)
  end
end
return cancelled

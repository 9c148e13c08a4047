--[[ Forget reservations: kept ones as they are, cancelled ones undone whole. Unknown ones are left alone.

  KEYS[1..9] as in reserve.lua: state, offers, open, reservations, leases, ticks, cursors, stems standing and served
  ARGV[1] number of "lead:attempt" to keep   then those   then the "lead:attempt" to cancel
  Returns how many were cancelled.

  Shares, payment and place are undone exactly; the tick of the member's last turn, the rotation's tick and its cursor
  go back unless a later turn has passed over them.
]]
local function forget(id)
  redis.call('HDEL', KEYS[4], id)
  redis.call('ZREM', KEYS[5], id)
end

local function move_back(record, count, member, standing)
  local payment = 0
  for i = 0, count - 1 do
    local one, share = struct.unpack('<i4i4', record, ANSWER_BYTES + 1 + i * SIGHT_BYTES)
    if share >= 0 then
      redis.call('HINCRBY', standing, one, -share)
      payment = payment + share
    end
  end
  redis.call('HINCRBY', standing, member, payment)
end

local function served_before(record, count, member)
  -- From the end: a member of two groups is seen twice, and the last group looked at is the one that decided.
  for i = count - 1, 0, -1 do
    local one, _, _, _, served = struct.unpack('<' .. SIGHT, record, ANSWER_BYTES + 1 + i * SIGHT_BYTES)
    if one == member then return served end
  end
end

local function undo(record)
  local member, _, moved, cursor, count, _, _, tick, offer = struct.unpack(ANSWER, record)
  local rotation = string.sub(record, ANSWER_BYTES + 1 + count * SIGHT_BYTES)
  local served = KEYS[9] .. rotation
  free(KEYS[2], KEYS[3], offer)
  if moved == 1 then move_back(record, count, member, KEYS[8] .. rotation) end
  if tonumber(redis.call('HGET', served, member)) == tick then
    redis.call('HSET', served, member, served_before(record, count, member))
  end
  if tonumber(redis.call('HGET', KEYS[6], rotation)) == tick then
    redis.call('HSET', KEYS[6], rotation, tick - 1)
    redis.call('HSET', KEYS[7], rotation, cursor)
  end
end

local kept = tonumber(ARGV[1])
for i = 2, kept + 1 do
  forget(ARGV[i])
end
local cancelled = 0
for i = kept + 2, #ARGV do
  local record = redis.call('HGET', KEYS[4], ARGV[i])
  if record then
    undo(record)
    forget(ARGV[i])
    cancelled = cancelled + 1
  end
end
return cancelled

--[[ In front of every script of the turnstile: what they share.

  Members stand in slots, 16 slots a page. A page is one packed field, so that neighbours are read and written together:
    open              HASH  page -> 16 x i4, units held
    standing, served  HASH  page -> 16 x f8, whole numbers: micro-turns; tick of the last turn
  The STRING `order` names the member of each slot (i4), and the token `slots` in the state changes with it.

  A reservation, little-endian (records.py reads it too):
    i4 member   i4 slot   i4 group   i4 moved (1: standings were moved)   i4 number of candidates   i4 of them not eligible
    i4 bytes of the rotation's name   f8 weights of those eligible   f8 micro-turns   f8 seq   f8 at_us   f8 tick
    f8 cursor before   f8 served before   32 characters offer
    then i4 slot of each candidate, i4 weight of each, i4 position (from 1) of each not eligible, the rotation's name
    and what limits it counts in, each: i4 bucket, i4 units, i4 bytes of the counter's name, that name
  An offer: i4 member, i4 slot, and i4 units when it takes more than one of the member's capacity.
  A counter of a limit: i4 bucket, i4 units used, of each bucket that matters.
]]
local RECORD = '<i4i4i4i4i4i4i4dddddddc32'
local RECORD_BYTES = 116
local PAGE = 16
local LAYOUT = ':2' -- who finds what another layout wrote takes it for the work of another server
local CHUNK = 6000 -- values on Lua's stack, which holds some 8000
local NO_COUNTS, NO_NUMBERS = string.rep('\0', 4 * PAGE), string.rep('\0', 8 * PAGE)
local floor = math.floor

-- Numbers go to Redis as they are: whole ones below 2^53 arrive as all their digits.

local function chunk_format(piece, count)
  local whole = floor(count / 64)
  return '<' .. string.rep(string.rep(piece, 64), whole) .. string.rep(piece, count - 64 * whole)
end

-- All numbers of a blob as one table.
local function numbers(blob, piece, size)
  local count = #blob / size
  if count <= CHUNK then
    return { struct.unpack(chunk_format(piece, count), blob) } -- and, last, the position behind the blob
  end
  local all, format = {}, chunk_format(piece, CHUNK)
  for from = 0, count - 1, CHUNK do
    local n = math.min(CHUNK, count - from)
    local part = { struct.unpack(n == CHUNK and format or chunk_format(piece, n), blob, from * size + 1) }
    for i = 1, n do all[from + i] = part[i] end
  end
  return all
end

local function add_to_count(open, slot, by)
  local page, at = floor(slot / PAGE), slot % PAGE * 4
  local counts = redis.call('HGET', open, page) or NO_COUNTS
  local count = math.max(0, struct.unpack('<i4', counts, at + 1) + by)
  redis.call('HSET', open, page, string.sub(counts, 1, at) .. struct.pack('<i4', count) .. string.sub(counts, at + 5))
end

-- Add to numbers of slots, in the pages of one hash; slots are i4, what is added f8, `sign` is 1 or -1.
local function add_numbers(key, slots, deltas, sign)
  local pages = {}
  for n = 0, #slots / 4 - 1 do
    local slot, delta = struct.unpack('<i4', slots, n * 4 + 1), struct.unpack('<d', deltas, n * 8 + 1)
    local name, at = floor(slot / PAGE), slot % PAGE * 8
    local page = pages[name] or redis.call('HGET', key, name) or NO_NUMBERS
    local sum = struct.unpack('<d', page, at + 1) + sign * delta
    pages[name] = string.sub(page, 1, at) .. struct.pack('<d', sum) .. string.sub(page, at + 9)
  end
  for name, page in pairs(pages) do redis.call('HSET', key, name, page) end
end

local function units_of(held)
  if #held == 8 then return 1 end
  return (struct.unpack('<i4', held, 9))
end

-- Free the place an offer holds; nothing happens when it holds none.
local function free(offers, open, offer)
  local held = redis.call('HGET', offers, offer)
  if held and redis.call('HDEL', offers, offer) == 1 then
    local _, slot = struct.unpack('<i4i4', held)
    add_to_count(open, slot, -units_of(held))
    return true
  end
end

-- Bucket -> units, of what the HASH holds of a counter.
local function read_counter(text)
  local held = {}
  for at = 1, text and #text or 0, 8 do
    local bucket, units = struct.unpack('<i4i4', text, at)
    held[bucket] = units
  end
  return held
end

-- Write a counter without the buckets before `first`, which no window reaches any more.
local function write_counter(uses, counter, held, first)
  local parts = {}
  for bucket, units in pairs(held) do
    if bucket >= first and units > 0 then parts[#parts + 1] = struct.pack('<i4i4', bucket, units) end
  end
  if #parts > 0 then
    redis.call('HSET', uses, counter, table.concat(parts))
  else
    redis.call('HDEL', uses, counter)
  end
end

local function add_to_counter(uses, counter, bucket, units)
  local held = read_counter(redis.call('HGET', uses, counter))
  held[bucket] = (held[bucket] or 0) + units
  write_counter(uses, counter, held, 0)
end

-- Take out what an offer counted in; a bucket that is forgotten by now stays so.
local function give_back(uses, packed)
  local at = 1
  while at <= #packed do
    local bucket, units, length = struct.unpack('<i4i4i4', packed, at)
    local counter = string.sub(packed, at + 12, at + 11 + length)
    if read_counter(redis.call('HGET', uses, counter))[bucket] then add_to_counter(uses, counter, bucket, -units) end
    at = at + 12 + length
  end
end

-- Which run of which server this is: another one than wrote the state has lost its last writes, or is a replica that
-- never saw them.
local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. LAYOUT
end

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

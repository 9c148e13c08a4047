--[[ Free the released offers, then give each ask a member with room, in order; all of it or nothing.

  KEYS[1] state         HASH  generation, seq, at_us
  KEYS[2] offers        HASH  offer -> member
  KEYS[3] open          HASH  member -> offers held
  KEYS[4] reservations  HASH  "lead:attempt" -> packed answer (see shared.lua)
  KEYS[5] leases        ZSET  "lead:attempt" by at_us
  KEYS[6] ticks         HASH  rotation -> turns given
  KEYS[7] cursors       HASH  rotation -> member served last
  KEYS[8] standing      stem of a HASH per rotation: member -> micro-turns
  KEYS[9] served        stem of a HASH per rotation: member -> tick of its last turn
  The names built from the two stems carry the same hash tag, so on a cluster they are in the same slot.

  ARGV[1] generation   ARGV[2] number of offers to release   ARGV[3] number of asks   then those offers   then per ask:
    "lead:attempt", offer (32 hex digits), mode, number of groups, and per group: rotation,
    its candidates packed as little-endian i4: member, weight, capacity, distance in decimetres

  Returns { packed answers in the order of the asks, positions (from 1) of those given before }.
  Error COLD when the generation differs; nothing is changed then.

  An ask whose (lead, attempt) is reserved gets the stored answer. An answer with nobody reserves nothing and is not
  stored. Exact while the weights of a group add up to less than 2^33: then the floor of a quotient of doubles is the
  floor of the quotient. The rule is that of routing/fairness.py.
]]
local TURN = 1000000

local state = redis.call('HMGET', KEYS[1], 'generation', 'seq', 'at_us')
if state[1] ~= ARGV[1] then
  return redis.error_reply('COLD the turnstile has generation ' .. (state[1] or 'none'))
end
local seq, last_at = tonumber(state[2]), tonumber(state[3])
local now = now_us()

local at = 4
for _ = 1, tonumber(ARGV[2]) do
  free(KEYS[2], KEYS[3], ARGV[at])
  at = at + 1
end

-- What is read is kept, what is changed is written once at the end: members recur within a batch.
local open, open_changed, books = {}, {}, {}

local function book_of(rotation)
  local book = books[rotation]
  if not book then
    book = {
      standing = {}, served = {}, standing_changed = {}, served_changed = {}, turned = false,
      tick = tonumber(redis.call('HGET', KEYS[6], rotation) or 0),
      cursor = tonumber(redis.call('HGET', KEYS[7], rotation) or 0),
    }
    books[rotation] = book
  end
  return book
end

local function read(key, cache, members)
  for from = 1, #members, CHUNK do
    local to = math.min(from + CHUNK - 1, #members)
    local values = redis.call('HMGET', key, unpack(members, from, to))
    for i = from, to do
      cache[members[i]] = tonumber(values[i - from + 1] or 0)
    end
  end
end

local function look(rotation, book, candidates)
  local no_open, no_account = {}, {}
  local standing = book.standing
  for i = 1, #candidates - 3, 4 do
    local member = candidates[i]
    if not open[member] then no_open[#no_open + 1] = member end
    if not standing[member] then no_account[#no_account + 1] = member end
  end
  if #no_open > 0 then read(KEYS[3], open, no_open) end
  if #no_account > 0 then
    read(KEYS[8] .. rotation, standing, no_account)
    read(KEYS[9] .. rotation, book.served, no_account)
  end
end

local formats = {}
local function format(piece, count)
  local key = piece .. count
  local text = formats[key]
  if not text then
    text = '<' .. string.rep(piece, count)
    formats[key] = text
  end
  return text
end

local function integers(blob)
  local count = #blob / 4
  if count <= CHUNK then
    return { struct.unpack(format('i4', count), blob) } -- and, last, the position behind the blob
  end
  local all = {}
  for from = 0, count - 1, CHUNK do
    local n = math.min(CHUNK, count - from)
    local part = { struct.unpack(format('i4', n), blob, from * 4 + 1) }
    for i = 1, n do all[from + i] = part[i] end
  end
  return all
end

local function pack_sights(sights)
  local parts, values = {}, CHUNK -- a multiple of the 5 values of a sight
  for from = 1, #sights, values do
    local to = math.min(from + values - 1, #sights)
    parts[#parts + 1] = struct.pack(format(SIGHT, (to - from + 1) / 5), unpack(sights, from, to))
  end
  return table.concat(parts)
end

-- Each mode answers: is the candidate at i better than the best so far? Ties go on to the longest unserved, then id.
local better = {}

local function by_turn(candidates, i, best, book)
  local mine, theirs = book.served[candidates[i]], book.served[candidates[best]]
  if mine ~= theirs then return mine < theirs end
  return candidates[i] < candidates[best]
end

function better.fair(candidates, i, best, book, share)
  local mine = book.standing[candidates[i]] + share[i]
  local theirs = book.standing[candidates[best]] + share[best]
  if mine ~= theirs then return mine > theirs end
  return by_turn(candidates, i, best, book)
end

function better.cursor(candidates, i, best, book)
  local mine, theirs = candidates[i], candidates[best]
  local wraps, their_wraps = mine <= book.cursor, theirs <= book.cursor
  if wraps ~= their_wraps then return their_wraps end
  return mine < theirs
end

better.least_recent = by_turn

function better.least_loaded(candidates, i, best, book)
  local mine = open[candidates[i]] * candidates[best + 2]
  local theirs = open[candidates[best]] * candidates[i + 2]
  if mine ~= theirs then return mine < theirs end
  return by_turn(candidates, i, best, book)
end

function better.nearest(candidates, i, best, book)
  local mine, theirs = candidates[i + 3], candidates[best + 3]
  if mine ~= theirs then return mine < theirs end
  return by_turn(candidates, i, best, book)
end

-- The position of the chosen candidate, nil when nobody has room; appends what was seen to `sights`.
local function choose(mode, candidates, book, sights)
  local weights, share, best = 0, {}, nil
  local last = #candidates - 3
  for i = 1, last, 4 do
    if open[candidates[i]] < candidates[i + 2] then weights = weights + candidates[i + 1] end
  end
  local standing, served, is_better = book.standing, book.served, better[mode]
  weights = math.max(weights, 1)
  local n = #sights
  for i = 1, last, 4 do
    local member = candidates[i]
    local part = -1
    if open[member] < candidates[i + 2] then
      part = math.floor(candidates[i + 1] * TURN / weights)
      share[i] = part
      if not best or is_better(candidates, i, best, book, share) then best = i end
    end
    sights[n + 1], sights[n + 2], sights[n + 3] = member, part, open[member]
    sights[n + 4], sights[n + 5] = standing[member], served[member]
    n = n + 5
  end
  return best, share
end

local function move_standings(candidates, share, member, book)
  local standing, changed, payment = book.standing, book.standing_changed, 0
  for i, part in pairs(share) do
    local one = candidates[i]
    payment = payment + part
    standing[one] = standing[one] + part
    changed[one] = true
  end
  standing[member] = standing[member] - payment
end

local stored, stored_order, leases = {}, {}, {}

local function give(id, offer, mode, rotation, book, candidates, share, best)
  local member = candidates[best]
  if mode == 'fair' then move_standings(candidates, share, member, book) end
  book.tick, book.cursor, book.turned = book.tick + 1, member, true
  book.served[member], book.served_changed[member] = book.tick, true
  if redis.call('HSETNX', KEYS[2], offer, member) == 1 then
    open[member], open_changed[member] = open[member] + 1, true
  end
end

local function decide(id, offer, mode, groups)
  local sights = {}
  seq, last_at = seq + 1, math.max(now, last_at + 1)
  for number, group in ipairs(groups) do
    local rotation, candidates = group[1], integers(group[2])
    local book = book_of(rotation)
    look(rotation, book, candidates)
    local best, share = choose(mode, candidates, book, sights)
    if best then
      local cursor = book.cursor
      give(id, offer, mode, rotation, book, candidates, share, best)
      local answer = struct.pack(ANSWER, candidates[best], number - 1, mode == 'fair' and 1 or 0, cursor, #sights / 5,
        seq, last_at, book.tick, offer) .. pack_sights(sights) .. rotation
      stored[id] = answer
      stored_order[#stored_order + 1], stored_order[#stored_order + 2] = id, answer
      leases[#leases + 1], leases[#leases + 2] = whole(last_at), id
      return answer
    end
  end
  return struct.pack(ANSWER, 0, -1, 0, 0, #sights / 5, seq, last_at, 0, offer) .. pack_sights(sights)
end

local asks, ids = {}, {}
for _ = 1, tonumber(ARGV[3]) do
  local ask = { id = ARGV[at], offer = ARGV[at + 1], mode = ARGV[at + 2], groups = {} }
  for group = 1, tonumber(ARGV[at + 3]) do
    ask.groups[group] = { ARGV[at + 2 + 2 * group], ARGV[at + 3 + 2 * group] }
  end
  at = at + 4 + 2 * #ask.groups
  asks[#asks + 1], ids[#ids + 1] = ask, ask.id
end

for from = 1, #ids, CHUNK do
  local to = math.min(from + CHUNK - 1, #ids)
  for i, answer in ipairs(redis.call('HMGET', KEYS[4], unpack(ids, from, to))) do
    stored[ids[from + i - 1]] = answer or nil
  end
end

local answers, repeated = {}, {}
for i, ask in ipairs(asks) do
  local answer = stored[ask.id]
  if answer then
    repeated[#repeated + 1] = i
  else
    answer = decide(ask.id, ask.offer, ask.mode, ask.groups)
  end
  answers[i] = answer
end

local function write(command, key, pairs_)
  for from = 1, #pairs_, CHUNK do
    redis.call(command, key, unpack(pairs_, from, math.min(from + CHUNK - 1, #pairs_)))
  end
end

local function write_changed(key, cache, changed)
  local fields, n = {}, 0
  for member in pairs(changed) do
    fields[n + 1], fields[n + 2] = member, whole(cache[member])
    n = n + 2
  end
  write('HSET', key, fields)
end

write('HSET', KEYS[4], stored_order)
write('ZADD', KEYS[5], leases)
write_changed(KEYS[3], open, open_changed)
for rotation, book in pairs(books) do
  if book.turned then
    redis.call('HSET', KEYS[6], rotation, whole(book.tick))
    redis.call('HSET', KEYS[7], rotation, whole(book.cursor))
    write_changed(KEYS[8] .. rotation, book.standing, book.standing_changed)
    write_changed(KEYS[9] .. rotation, book.served, book.served_changed)
  end
end
redis.call('HSET', KEYS[1], 'seq', whole(seq), 'at_us', whole(last_at))
return { answers, repeated }

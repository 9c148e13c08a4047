--[[ Free the released offers, then give each ask a member with room, in order; all of it or nothing.

  KEYS[1] state         HASH  generation, seq, at_us, run_id
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
  Error COLD when the generation or the server differs; nothing is changed then.

  An ask whose (lead, attempt) is reserved gets the stored answer. An answer with nobody reserves nothing and is not
  stored. Exact while the weights of a group add up to less than 2^33: then the floor of a quotient of doubles is the
  floor of the quotient. The rule is that of routing/fairness.py.
]]
local TURN = 1000000
local floor = math.floor

local state = redis.call('HMGET', KEYS[1], 'generation', 'seq', 'at_us', 'run_id')
if state[1] ~= ARGV[1] then
  return redis.error_reply('COLD the turnstile has generation ' .. (state[1] or 'none'))
end
if state[4] ~= run_id() then
  return redis.error_reply('COLD the server is not the one that was loaded')
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

-- Each other mode answers: is the candidate at i better than the best so far? Ties: the longest unserved, then id.
local better = {}

local function by_turn(candidates, i, best, book)
  local mine, theirs = book.served[candidates[i]], book.served[candidates[best]]
  if mine ~= theirs then return mine < theirs end
  return candidates[i] < candidates[best]
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

-- Mode fair: the highest standing after everyone eligible has had its share.
local function best_standing(candidates, eligible, after, book)
  local best, highest = eligible[1], after[1]
  for k = 2, #eligible do
    local mine = after[k]
    if mine > highest or mine == highest and by_turn(candidates, eligible[k], best, book) then
      best, highest = eligible[k], mine
    end
  end
  return best
end

local function best_of(mode, candidates, eligible, book)
  local best, is_better = eligible[1], better[mode]
  for k = 2, #eligible do
    if is_better(candidates, eligible[k], best, book) then best = eligible[k] end
  end
  return best
end

-- Looks at all candidates and appends what was seen to `sights`.
-- Returns the positions of those eligible, each one's standing with its share, and the sum of the shares.
local function weigh(candidates, book, sights)
  local standing, served, last, weights = book.standing, book.served, #candidates - 3, 0
  for i = 1, last, 4 do
    if open[candidates[i]] < candidates[i + 2] then weights = weights + candidates[i + 1] end
  end
  weights = math.max(weights, 1)
  local eligible, after, payment, n, s = {}, {}, 0, 0, #sights
  for i = 1, last, 4 do
    local member = candidates[i]
    local held, account, part = open[member], standing[member], -1
    if held < candidates[i + 2] then
      part = floor(candidates[i + 1] * TURN / weights)
      payment, n = payment + part, n + 1
      eligible[n], after[n] = i, account + part
    end
    sights[s + 1], sights[s + 2], sights[s + 3], sights[s + 4], sights[s + 5] = member, part, held, account, served[member]
    s = s + 5
  end
  return eligible, after, payment
end

local stored, stored_order, leases = {}, {}, {}

local function move_standings(candidates, eligible, after, payment, member, book)
  local standing, changed = book.standing, book.standing_changed
  for k = 1, #eligible do
    local one = candidates[eligible[k]]
    standing[one], changed[one] = after[k], true
  end
  standing[member] = standing[member] - payment
end

local function give(offer, member, book)
  book.tick, book.cursor, book.turned = book.tick + 1, member, true
  book.served[member], book.served_changed[member] = book.tick, true
  if redis.call('HSETNX', KEYS[2], offer, member) == 1 then
    open[member], open_changed[member] = open[member] + 1, true
  end
end

local function remember(id, answer)
  stored[id] = answer
  stored_order[#stored_order + 1], stored_order[#stored_order + 2] = id, answer
  leases[#leases + 1], leases[#leases + 2] = last_at, id
end

local function decide(ask)
  local sights = {}
  seq, last_at = seq + 1, math.max(now, last_at + 1)
  for number, group in ipairs(ask.groups) do
    local rotation, candidates = group[1], integers(group[2])
    local book = book_of(rotation)
    look(rotation, book, candidates)
    local eligible, after, payment = weigh(candidates, book, sights)
    if #eligible > 0 then
      local fair, cursor = ask.mode == 'fair', book.cursor
      local best = fair and best_standing(candidates, eligible, after, book)
        or best_of(ask.mode, candidates, eligible, book)
      local member = candidates[best]
      if fair then move_standings(candidates, eligible, after, payment, member, book) end
      give(ask.offer, member, book)
      local answer = struct.pack(ANSWER, member, number - 1, fair and 1 or 0, cursor, #sights / 5, seq, last_at,
        book.tick, ask.offer) .. pack_sights(sights) .. rotation
      remember(ask.id, answer)
      return answer
    end
  end
  return struct.pack(ANSWER, 0, -1, 0, 0, #sights / 5, seq, last_at, 0, ask.offer) .. pack_sights(sights)
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
    answer = decide(ask)
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
    fields[n + 1], fields[n + 2] = member, cache[member]
    n = n + 2
  end
  write('HSET', key, fields)
end

write('HSET', KEYS[4], stored_order)
write('ZADD', KEYS[5], leases)
write_changed(KEYS[3], open, open_changed)
for rotation, book in pairs(books) do
  if book.turned then
    redis.call('HSET', KEYS[6], rotation, book.tick)
    redis.call('HSET', KEYS[7], rotation, book.cursor)
    write_changed(KEYS[8] .. rotation, book.standing, book.standing_changed)
    write_changed(KEYS[9] .. rotation, book.served, book.served_changed)
  end
end
redis.call('HSET', KEYS[1], 'seq', seq, 'at_us', last_at)
return { answers, repeated }

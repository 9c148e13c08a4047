--[[ Free the released offers, then give each ask a member with room, in order; all of it or nothing.

  KEYS[1] state         HASH    generation, seq, at_us, run_id, slots
  KEYS[2] offers        HASH    offer -> member, slot, units
  KEYS[3] open          HASH    page -> units held (see shared.lua)
  KEYS[4] reservations  HASH    lead and attempt (i8 i4) -> reservation
  (the fifth key, the order of members, is not used here)
  KEYS[6] ticks         HASH    rotation -> turns given
  KEYS[7] cursors       HASH    rotation -> member served last
  KEYS[8] standing      stem of a HASH per rotation: page -> micro-turns
  KEYS[9] served        stem of a HASH per rotation: page -> tick of the last turn
  KEYS[10] uses         HASH    counter of a limit -> its buckets (see shared.lua)
  The names built from the two stems carry the same hash tag, so on a cluster they are in the same slot.

  Everything packed is little-endian i4 unless it says otherwise. Places count from 1 over the pages named here, 16 a page.
  ARGV[1] generation   ARGV[2] the token `slots` under which the slots are meant
  ARGV[3] own: 1 when a member's capacity differs from ask to ask; then each candidate brings its own
  ARGV[4] offers to release, 32 hex digits each   ARGV[5] per ask: lead (i8), attempt   ARGV[6] per ask: offer, 32 digits
  ARGV[7] per ask: mode (1 fair, 2 cursor, 3 least_recent, 4 least_loaded, 5 nearest), number of groups, last
          (0: when nobody is eligible, more will be asked; that answer has no number), units of capacity, micro-turns
  ARGV[8] per group: rotation (from 1), number of candidates, sum of weights, share of each when all weigh the same, else
          -1 (-2: the sum is too large to be told)
  ARGV[9] page numbers   ARGV[10] per place: member   ARGV[11] capacity, per place or (own) per candidate
  ARGV[12] per candidate: place   ARGV[13] slot   ARGV[14] weight   ARGV[16] distance in decimetres
  ARGV[15] per candidate: its share while everyone in its group has room; empty when all groups weigh alike
  ARGV[17] per limit of somebody: counter (from 1), bucket, buckets of its window, most, percent, floor, counter of the
          whole; with a percent, that part of the whole is the most, or of the floor when the whole is less
  ARGV[18] per bundle of limits: the first of them, and how many; a check that only counts has the largest most
  ARGV[19] per candidate: its bundle, 0 for none; these three are empty when nobody has limits
  ARGV[20] how many rotations   ARGV[21..] their names, then those of the counters

  Returns { seq before, at_us of the next answer, per ask (place chosen; 0: nobody; -1: reserved before; then its group
  from 0, and how many units it took), open before by page, per rotation (tick before, standings before and served before
  by page), then the record of each ask that was reserved before, then where there are limits two more: who was stopped
  (candidate, limit, used, most), and per ask that took a place its bundle, with used and most of each of its limits }.
  Error COLD when the generation or the server differs, SLOTS when the token does; nothing is changed then.

  An ask whose lead and attempt are reserved gets the stored answer. An answer with nobody reserves nothing and is not
  stored. Exact while a weight times the micro-turns of its ask is below 2^53: then the floor of a quotient of doubles
  is the floor of the quotient. The rule is that of routing/fairness.py.
]]
local state = redis.call('HMGET', KEYS[1], 'generation', 'seq', 'at_us', 'slots', 'run_id')
if state[1] ~= ARGV[1] then
  return redis.error_reply('COLD the turnstile has generation ' .. (state[1] or 'none'))
end
if state[5] ~= run_id() then
  return redis.error_reply('COLD the server is not the one that was loaded')
end
if #ARGV[9] > 0 and state[4] ~= ARGV[2] then
  return redis.error_reply('SLOTS have changed')
end
local seq, last_at = tonumber(state[2]), tonumber(state[3])
local now = math.max(now_us(), last_at + 1)
local first_seq, next_at = seq, now

for from = 1, #ARGV[4], 32 do
  free(KEYS[2], KEYS[3], string.sub(ARGV[4], from, from + 31))
end

local own = ARGV[3] == '1'
local HEAD = 5 -- numbers an ask
local asks, groups = numbers(ARGV[7], 'i4', 4), numbers(ARGV[8], 'i4', 4)
local pages, places = numbers(ARGV[9], 'i4', 4), numbers(ARGV[12], 'i4', 4)
local number_of_asks, number_of_pages = #ARGV[6] / 32, #ARGV[9] / 4

-- What is read is kept, what is changed is written once at the end: members recur within a batch.
local function read(key, nothing)
  local texts = {}
  for from = 1, number_of_pages, CHUNK do
    local to = math.min(from + CHUNK - 1, number_of_pages)
    for i, text in ipairs(redis.call('HMGET', key, unpack(pages, from, to))) do
      texts[from + i - 1] = text or nothing
    end
  end
  return table.concat(texts)
end

local open_before = read(KEYS[3], NO_COUNTS)
local open, open_changed = numbers(open_before, 'i4', 4), {}
local capacity = numbers(ARGV[11], 'i4', 4)
local weight_of -- by candidate; not needed while everyone in a group weighs the same and has room
local function weights()
  weight_of = weight_of or numbers(ARGV[14], 'i4', 4)
  return weight_of
end
local share_of -- likewise, while everyone has room
local function shares()
  share_of = share_of or numbers(ARGV[15], 'i4', 4)
  return share_of
end
local function member_at(place)
  return (struct.unpack('<i4', ARGV[10], place * 4 - 3))
end

-- Places without room for one unit. While there are none, nobody need be asked whether it has any for one.
local is_full, full = {}, own
if not own then
  for place = 1, number_of_pages * PAGE do
    if open[place] >= capacity[place] then
      is_full[place], full = true, true
    end
  end
end

local books = {}
for number = 1, tonumber(ARGV[20]) do
  local name = ARGV[20 + number]
  local standing, served = read(KEYS[8] .. name, NO_NUMBERS), read(KEYS[9] .. name, NO_NUMBERS)
  local tick = tonumber(redis.call('HGET', KEYS[6], name) or 0)
  books[number] = {
    name = name, standing = numbers(standing, 'd', 8), served = {}, served_texts = {}, touched = {},
    standing_before = standing, served_before = served, tick_before = tick,
    tick = tick, cursor = tonumber(redis.call('HGET', KEYS[7], name) or 0), moved = false, turned = false,
  }
end

local function position_of(place)
  return floor((place - 1) / PAGE) + 1
end

local function served_of(place, book)
  local tick = book.served[place]
  if not tick then
    tick = struct.unpack('<d', book.served_before, place * 8 - 7)
    book.served[place] = tick
  end
  return tick
end

-- Each other mode answers: is the one better than the best so far? Ties: the longest unserved, then id.
-- One and best are positions among the candidates.
local function by_turn(place, best, book)
  local mine, theirs = served_of(place, book), served_of(best, book)
  if mine ~= theirs then return mine < theirs end
  return member_at(place) < member_at(best)
end

local better = {}

better[2] = function(one, best, book) -- cursor
  local mine, theirs = member_at(places[one]), member_at(places[best])
  local wraps, their_wraps = mine <= book.cursor, theirs <= book.cursor
  if wraps ~= their_wraps then return their_wraps end
  return mine < theirs
end

better[3] = function(one, best, book) -- least_recent
  return by_turn(places[one], places[best], book)
end

better[4] = function(one, best, book) -- least_loaded
  local here, there = places[one], places[best]
  local mine = open[here] * capacity[own and best or there]
  local theirs = open[there] * capacity[own and one or here]
  if mine ~= theirs then return mine < theirs end
  return by_turn(here, there, book)
end

better[5] = function(one, best, book) -- nearest
  local mine = struct.unpack('<i4', ARGV[16], one * 4 - 3)
  local theirs = struct.unpack('<i4', ARGV[16], best * 4 - 3)
  if mine ~= theirs then return mine < theirs end
  return by_turn(places[one], places[best], book)
end

-- Mode fair when everybody has room and all weigh the same: each standing rises by one share, the highest is chosen.
local function fair_alike(from, to, share, book)
  local standing, best, highest = book.standing, 0, -math.huge
  for i = from, to do
    local place = places[i]
    local after = standing[place] + share
    standing[place] = after
    if after >= highest and (after > highest or by_turn(place, best, book)) then
      best, highest = place, after
    end
  end
  standing[best] = highest - share * (to - from + 1)
  return best
end

-- Mode fair when everybody has room: each standing rises by its own share.
local function fair_all(from, to, book)
  local standing, best, highest, payment = book.standing, 0, -math.huge, 0
  local share_of = shares()
  for i = from, to do
    local place, share = places[i], share_of[i]
    local after = standing[place] + share
    standing[place], payment = after, payment + share
    if after >= highest and (after > highest or by_turn(place, best, book)) then
      best, highest = place, after
    end
  end
  standing[best] = highest - payment
  return best
end

-- Mode fair among those eligible (positions among the candidates), each with a share by its weight.
local function fair(eligible, sum, turn, book)
  local standing, best, highest, payment, by_weight = book.standing, 0, -math.huge, 0, weights()
  for k = 1, #eligible do
    local place = places[eligible[k]]
    local exact = by_weight[eligible[k]] * turn / sum
    local share = exact - exact % 1
    local after = standing[place] + share
    standing[place], payment = after, payment + share
    if after >= highest and (after > highest or by_turn(place, best, book)) then
      best, highest = place, after
    end
  end
  standing[best] = highest - payment
  return best
end

local function best_of(mode, eligible, book)
  local best, is_better = eligible[1], better[mode]
  for k = 2, #eligible do
    if is_better(eligible[k], best, book) then best = eligible[k] end
  end
  return places[best]
end

-- Limits: most batches have none, and nothing is read for them.
local CHECK, limited = 7, #ARGV[17] > 0
local checks, bundles, bundle_of = {}, {}, {}
local used, used_from, counters_at = {}, {}, 20 + tonumber(ARGV[20])
local stops, choices = {}, {}
if limited then
  checks, bundles, bundle_of = numbers(ARGV[17], 'i4', 4), numbers(ARGV[18], 'i4', 4), numbers(ARGV[19], 'i4', 4)
  for from = counters_at + 1, #ARGV, CHUNK do
    for i, text in ipairs(redis.call('HMGET', KEYS[10], unpack(ARGV, from, math.min(from + CHUNK - 1, #ARGV)))) do
      used[from + i - 1 - counters_at] = read_counter(text or '')
    end
  end
end

-- Windows of several buckets are added up once, and again when somebody is counted in them: most are only looked at.
local sums, window_of = {}, {}

local function used_in(counter, bucket, buckets)
  local held = used[counter]
  if buckets == 1 then return held[bucket] or 0 end
  local window = bucket * 65536 + buckets
  if window_of[counter] == window then return sums[counter] end
  local sum = 0
  for at, units in pairs(held) do
    if at > bucket - buckets and at <= bucket then sum = sum + units end
  end
  sums[counter], window_of[counter] = sum, window
  return sum
end

-- What is used of a limit before the lead, and the most with it.
local function numbers_of(check, units)
  local at = check * CHECK
  local bucket, buckets, percent = checks[at - 5], checks[at - 4], checks[at - 2]
  local before, most = used_in(checks[at - 6], bucket, buckets), checks[at - 3]
  if percent > 0 then
    local whole = math.max(used_in(checks[at], bucket, buckets) + units, checks[at - 1])
    most = floor(percent * whole / 100)
  end
  return before, most
end

local function is_stopped(candidate, units)
  local bundle = bundle_of[candidate] * 2
  if bundle == 0 then return false end
  for check = bundles[bundle - 1], bundles[bundle - 1] + bundles[bundle] - 1 do
    local before, most = numbers_of(check, units)
    if before + units > most then
      local n = #stops
      stops[n + 1], stops[n + 2], stops[n + 3], stops[n + 4] = candidate, check, before, most
      return true
    end
  end
  return false
end

-- Count the lead in the limits of the candidate that was chosen; what it counts in, packed.
local function count_in(candidate, units)
  local bundle, parts = bundle_of[candidate] * 2, {}
  choices[#choices + 1] = bundle_of[candidate]
  if bundle == 0 then return '' end
  local first, last = bundles[bundle - 1], bundles[bundle - 1] + bundles[bundle] - 1
  for check = first, last do -- all of them before any is counted: a share looks at the whole
    choices[#choices + 1], choices[#choices + 2] = numbers_of(check, units)
  end
  for check = first, last do
    local at = check * CHECK
    local counter, bucket = checks[at - 6], checks[at - 5]
    local name = ARGV[counters_at + counter]
    used[counter][bucket] = (used[counter][bucket] or 0) + units
    window_of[counter] = nil
    used_from[counter] = math.max(used_from[counter] or 0, bucket - checks[at - 4])
    parts[#parts + 1] = struct.pack('<i4i4i4', bucket, units, #name) .. name
  end
  return table.concat(parts)
end

-- Who of the candidates may have the lead, and what they weigh together; and the positions (from 1) of the others.
local function look(from, to, units)
  local eligible, without, sum, by_weight = {}, {}, 0, weights()
  for i = from, to do
    local place = places[i]
    if open[place] + units <= capacity[own and i or place] and not (limited and is_stopped(i, units)) then
      eligible[#eligible + 1], sum = i, sum + by_weight[i]
    else
      without[#without + 1] = i - from + 1
    end
  end
  return eligible, without, math.max(sum, 1)
end

local function anyone_full(from, to, units)
  if own then return true end
  if units > 1 then
    for i = from, to do
      if open[places[i]] + units > capacity[places[i]] then return true end
    end
    return false
  end
  for i = from, to do
    if is_full[places[i]] then return true end
  end
  return false
end

local held, held_order = {}, {}

local function give(offer, place, units, book)
  local member, position = member_at(place), position_of(place)
  local slot = pages[position] * PAGE + (place - 1) % PAGE
  book.tick, book.cursor, book.turned, book.served[place] = book.tick + 1, member, true, book.tick + 1
  local at, from = (place - 1) % PAGE * 8, (position - 1) * PAGE * 8
  local text = book.served_texts[position] or string.sub(book.served_before, from + 1, from + PAGE * 8)
  book.served_texts[position] = string.sub(text, 1, at) .. struct.pack('<d', book.tick) .. string.sub(text, at + 9)
  if held[offer] then return member, slot, 0 end
  held[offer] = units == 1 and struct.pack('<i4i4', member, slot) or struct.pack('<i4i4i4', member, slot, units)
  held_order[#held_order + 1], held_order[#held_order + 2] = offer, held[offer]
  open[place], open_changed[position] = open[place] + units, true
  if not own and open[place] >= capacity[place] then is_full[place], full = true, true end
  return member, slot, units
end

local function record_of(offer, member, slot, number, fair_mode, sum, turn, cursor, served, book, from, count, without)
  local record = struct.pack(RECORD, member, slot, number, fair_mode and 1 or 0, fair_mode and count or 0, fair_mode and #without or 0,
    #book.name, sum, turn, seq, last_at, book.tick, cursor, served, offer)
  if not fair_mode then return record .. book.name end
  local first, last = from * 4 - 3, (from + count - 1) * 4
  local missing = #without > 0 and struct.pack(chunk_format('i4', #without), unpack(without)) or ''
  return record .. string.sub(ARGV[13], first, last) .. string.sub(ARGV[14], first, last) .. missing .. book.name
end

local ALL = {}

-- The place chosen in one group, the sum of the weights, and who had no room; nothing when nobody has.
local function choose(mode, from, count, sum, share, units, turn, book)
  local to = from + count - 1
  if count > 0 and mode == 1 and share >= -1 and not limited and not ((full or units > 1) and anyone_full(from, to, units)) then
    if share >= 0 then return fair_alike(from, to, share, book), sum, ALL end
    return fair_all(from, to, book), sum, ALL
  end
  local eligible, without, weight = look(from, to, units)
  if #eligible == 0 then return nil end
  if mode == 1 then return fair(eligible, weight, turn, book), weight, without end
  return best_of(mode, eligible, book), weight, without
end

local answers, stored, stored_order = {}, {}, {}
local group, candidate = 1, 1 -- the first of the ask

for from = 1, number_of_asks, CHUNK do
  local ids = {}
  for i = from, math.min(from + CHUNK - 1, number_of_asks) do ids[#ids + 1] = string.sub(ARGV[5], i * 12 - 11, i * 12) end
  for i, record in ipairs(redis.call('HMGET', KEYS[4], unpack(ids))) do stored[ids[i]] = record or nil end
end
for from = 1, number_of_asks, CHUNK do
  local offers = {}
  for i = from, math.min(from + CHUNK - 1, number_of_asks) do
    offers[#offers + 1] = string.sub(ARGV[6], i * 32 - 31, i * 32)
  end
  for i, place in ipairs(redis.call('HMGET', KEYS[2], unpack(offers))) do held[offers[i]] = place or nil end
end

local repeated = {}

local function candidate_at(place, from)
  while places[from] ~= place do from = from + 1 end
  return from
end

local function answer_to(ask, id)
  local head, first, seen = ask * HEAD, group, candidate
  local mode, units, turn = asks[head - 4], asks[head - 1], asks[head]
  for number = 0, asks[head - 3] - 1 do
    local at = (first + number) * 4
    local book, count = books[groups[at - 3]], groups[at - 2]
    local cursor = book.cursor
    local place, sum, without = choose(mode, seen, count, groups[at - 1], groups[at], units, turn, book)
    if place then
      seq, last_at = seq + 1, math.max(now, last_at + 1)
      if mode == 1 then
        book.moved = true
        if #books > 1 then -- of one rotation nearly every page is
          for i = seen, seen + count - 1 do book.touched[position_of(places[i])] = true end
        end
      end
      local offer, served = string.sub(ARGV[6], ask * 32 - 31, ask * 32), served_of(place, book)
      local member, slot, took = give(offer, place, units, book)
      local record =
        record_of(offer, member, slot, number, mode == 1, sum, turn, cursor, served, book, seen, count, without)
      if limited then record = record .. count_in(candidate_at(place, seen), units) end
      stored[id] = record
      stored_order[#stored_order + 1], stored_order[#stored_order + 2] = id, record
      return place, number, took
    end
    seen = seen + count
  end
  if asks[head - 2] == 1 then seq, last_at = seq + 1, math.max(now, last_at + 1) end
  return 0, -1, 0
end

for ask = 1, number_of_asks do
  local id = string.sub(ARGV[5], ask * 12 - 11, ask * 12)
  local place, number, took = -1, -1, 0
  if stored[id] then
    repeated[#repeated + 1] = stored[id]
  else
    place, number, took = answer_to(ask, id)
  end
  answers[ask * 3 - 2], answers[ask * 3 - 1], answers[ask * 3] = place, number, took
  for _ = 1, asks[ask * HEAD - 3] do
    candidate, group = candidate + groups[group * 4 - 2], group + 1
  end
end

local function write(key, fields)
  for from = 1, #fields, CHUNK do
    redis.call('HSET', key, unpack(fields, from, math.min(from + CHUNK - 1, #fields)))
  end
end

local COUNTS, NUMBERS = chunk_format('i4', PAGE), chunk_format('d', PAGE)

local function write_pages(key, changed, values, format)
  local fields, n = {}, 0
  for position = 1, number_of_pages do
    if not changed or changed[position] then
      local to = position * PAGE
      fields[n + 1], fields[n + 2] = pages[position], struct.pack(format, unpack(values, to - PAGE + 1, to))
      n = n + 2
    end
  end
  write(key, fields)
end

for counter, first in pairs(used_from) do
  write_counter(KEYS[10], ARGV[counters_at + counter], used[counter], first)
end
write(KEYS[4], stored_order)
write(KEYS[2], held_order)
write_pages(KEYS[3], open_changed, open, COUNTS)
local reply = { string.format('%.0f', first_seq), string.format('%.0f', next_at), '', open_before }
for _, book in ipairs(books) do
  if book.turned then
    redis.call('HSET', KEYS[6], book.name, book.tick)
    redis.call('HSET', KEYS[7], book.name, book.cursor)
    if book.moved then
      write_pages(KEYS[8] .. book.name, #books > 1 and book.touched or nil, book.standing, NUMBERS)
    end
    local fields = {}
    for position = 1, number_of_pages do
      local text = book.served_texts[position]
      if text then fields[#fields + 1], fields[#fields + 2] = pages[position], text end
    end
    write(KEYS[9] .. book.name, fields)
  end
  reply[#reply + 1] = string.format('%.0f', book.tick_before)
  reply[#reply + 1], reply[#reply + 2] = book.standing_before, book.served_before
end
redis.call('HSET', KEYS[1], 'seq', seq, 'at_us', last_at)

local function packed(values)
  local parts = {}
  for from = 1, #values, CHUNK do
    local to = math.min(from + CHUNK - 1, #values)
    parts[#parts + 1] = struct.pack(chunk_format('i4', to - from + 1), unpack(values, from, to))
  end
  return table.concat(parts)
end

reply[3] = packed(answers)
for _, record in ipairs(repeated) do reply[#reply + 1] = record end
if limited then reply[#reply + 1], reply[#reply + 2] = packed(stops), packed(choices) end
return reply

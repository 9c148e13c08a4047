--[[ In front of every script of the turnstile: what they share.

  The packed answer, little-endian, as stored and as returned (records.py reads it):
    i4 member (0: nobody)  i4 group (-1: none)  i4 moved (1: standings were moved)  i4 cursor before
    i4 number of sights    i8 seq   i8 at_us    i8 tick   32 characters offer
    then per sight: i4 member  i4 share (-1: not eligible)  i4 open  i8 standing  i8 served
    then the rotation's name
]]
local ANSWER = '<i4i4i4i4i4i8i8i8c32'
local ANSWER_BYTES = 76
local SIGHT = 'i4i4i4i8i8'
local SIGHT_BYTES = 28
local CHUNK = 1000 -- arguments of one call; Lua's stack holds some 8000

-- Numbers go to Redis as they are: whole ones below 2^53 arrive as all their digits.

-- Free the place an offer holds; nothing happens when it holds none.
local function free(offers, open, offer)
  local member = redis.call('HGET', offers, offer)
  if member and redis.call('HDEL', offers, offer) == 1 then
    if redis.call('HINCRBY', open, member, -1) <= 0 then
      redis.call('HDEL', open, member)
    end
  end
end

-- Which run of which server this is: another one than wrote the state has lost its last writes, or is a replica that
-- never saw them.
local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

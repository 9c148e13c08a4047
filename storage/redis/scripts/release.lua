--[[ Free the places these offers hold; those that hold none are left alone.

  KEYS[1..10] as in reserve.lua; used: [1] state, [2] offers, [3] open, [10] uses
  ARGV[1] offers (32 hex digits each)   ARGV[2..] of each offer what it no longer counts in, packed as in shared.lua;
          left out when there is nothing of the kind
  Error COLD when there is no generation: the ledger's snapshot may still hold the offers, so the caller asks again.
]]
if redis.call('HEXISTS', KEYS[1], 'generation') == 0 then
  return redis.error_reply('COLD the turnstile has generation none')
end
for number = 1, #ARGV[1] / 32 do
  local held = free(KEYS[2], KEYS[3], string.sub(ARGV[1], number * 32 - 31, number * 32))
  if held and ARGV[number + 1] then give_back(KEYS[10], ARGV[number + 1]) end
end
return #ARGV[1] / 32

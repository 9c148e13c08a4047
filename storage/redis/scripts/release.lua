--[[ Free the places these offers hold; those that hold none are left alone.

  KEYS[1..9] as in reserve.lua; used: [1] state, [2] offers, [3] open
  ARGV[1..] offers (32 hex digits)
  Error COLD when there is no generation: the ledger's snapshot may still hold the offers, so the caller asks again.
]]
if redis.call('HEXISTS', KEYS[1], 'generation') == 0 then
  return redis.error_reply('COLD the turnstile has generation none')
end
for _, offer in ipairs(ARGV) do
  free(KEYS[2], KEYS[3], offer)
end
return #ARGV

--[[ Whether the market was loaded by this run of this server.

  KEYS[1] state
  Returns 1 or 0.
]]
return redis.call('HGET', KEYS[1], 'run_id') == run_id() and 1 or 0

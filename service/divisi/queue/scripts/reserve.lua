-- Holds an idempotency key while its upload is under way, or prolongs what the same token holds.
-- ARGV: digest, token, life in ms. Returns {'reserved'}, {'accepted', ids…} or {'in-flight'}.
local held = redis.call('HMGET', idempotency_of(ARGV[1]), 'jobs', 'token')
if held[1] then
  local reply = {'accepted'}
  for id in string.gmatch(held[1], '[^,]+') do reply[#reply + 1] = id end
  return reply
end
if held[2] and held[2] ~= ARGV[2] then return {'in-flight'} end
redis.call('HSET', idempotency_of(ARGV[1]), 'token', ARGV[2])
redis.call('PEXPIRE', idempotency_of(ARGV[1]), ARGV[3])
return {'reserved'}

-- Keeps an ended job from expiring, or lets it expire again. ARGV: id, '1' = keep, most jobs that an owner may keep (0 =
-- any number), retention in ms. Returns {'ok'}, {'missing'}, {'full', number kept}, or the state that forbids it.
local id, keeps, most, retention_ms = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])
local seen = look(id, 'state', 'owner')
local state, kept = seen[1], kept_of(seen[2] or '')
if not state then return {'missing'} end
if state ~= 'succeeded' then return {state} end
if keeps then
  if redis.call('SISMEMBER', kept, id) == 1 then return {'ok'} end
  local number = redis.call('SCARD', kept)
  if most > 0 and number >= most then return {'full', number} end
  redis.call('SADD', kept, id)
  redis.call('HDEL', job_of(id), 'expires_at')
  redis.call('ZREM', prefix .. ':expiry', id)
elseif redis.call('SREM', kept, id) == 1 then
  local expires = whole(now_ms() + retention_ms)
  redis.call('HSET', job_of(id), 'expires_at', expires)
  redis.call('ZADD', prefix .. ':expiry', expires, id)
end
return {'ok'}

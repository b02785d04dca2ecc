-- Notes how one attempt at a webhook delivery went. ARGV: delivery, attempt, status ('pending' = try again), delay in ms,
--   line for the log, life in ms of a 410's effect. Returns 'ok' or 'stale' when another attempt has been begun since.
local LINES_KEPT = 50
local delivery, status = ARGV[1], ARGV[3]
local due_set = prefix .. ':webhooks:due'
local seen = redis.call('HMGET', delivery_of(delivery), 'attempts', 'status', 'job')
if seen[1] ~= ARGV[2] or seen[2] ~= 'pending' then return 'stale' end
redis.call('RPUSH', log_of(delivery), ARGV[5])
redis.call('LTRIM', log_of(delivery), -LINES_KEPT, -1)
redis.call('HSET', delivery_of(delivery), 'status', status)
local now = now_ms()
if status == 'pending' then
  redis.call('HSET', delivery_of(delivery), 'next_at', whole(now + ARGV[4]))
  redis.call('ZADD', due_set, whole(now + ARGV[4]), delivery)
  redis.call('XADD', prefix .. ':webhooks:bell', 'MAXLEN', 1, '*', 'r', 1) -- sooner, perhaps, than what senders wait for
else
  redis.call('HDEL', delivery_of(delivery), 'next_at')
  redis.call('ZREM', due_set, delivery)
end
if status == 'disabled' then
  redis.call('SET', gone_of(look(seen[3], 'receiver')[1]), whole(now), 'PX', ARGV[6])
end
return 'ok'

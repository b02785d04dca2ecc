-- Notes what a worker says of itself, and forgets those that have said nothing for long.
-- ARGV: consumer, what it says as JSON ('' = it has stopped), life in ms.
local said, seen = prefix .. ':workers', prefix .. ':workers:seen'
local now = now_ms()
if ARGV[2] == '' then
  redis.call('HDEL', said, ARGV[1])
  redis.call('ZREM', seen, ARGV[1])
else
  redis.call('HSET', said, ARGV[1], ARGV[2])
  redis.call('ZADD', seen, now, ARGV[1])
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - tonumber(ARGV[3]))) do
  redis.call('HDEL', said, gone)
  redis.call('ZREM', seen, gone)
end
return 1

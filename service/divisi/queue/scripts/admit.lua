-- Counts a request in the caller's sliding window, unless the window is full. ARGV: owner, window in ms, most requests.
-- Returns {1 or 0 = counted or refused, how many more there is room for, ms until the oldest one leaves the window}.
local requests = prefix .. ':requests:' .. ARGV[1]
local window, most = tonumber(ARGV[2]) * 1000, tonumber(ARGV[3])
local now = now_us()
redis.call('ZREMRANGEBYSCORE', requests, '-inf', whole(now - window))
local used, admitted = redis.call('ZCARD', requests), 0
if used < most then
  redis.call('ZADD', requests, whole(now), whole(now) .. '-' .. used)
  redis.call('PEXPIRE', requests, ARGV[2])
  used, admitted = used + 1, 1
end
local oldest = redis.call('ZRANGE', requests, 0, 0, 'WITHSCORES')
local left = oldest[2] and oldest[2] + window - now or 0
return {admitted, math.max(0, most - used), math.ceil(left / 1000)}

-- What each worker said last. ARGV: life in ms. Returns JSON and ms since then, in turn.
local said, seen = prefix .. ':workers', prefix .. ':workers:seen'
local now, reply = now_ms(), {}
local found = redis.call('ZRANGEBYSCORE', seen, now - tonumber(ARGV[1]), '+inf', 'WITHSCORES')
for at = 1, #found, 2 do
  local text = redis.call('HGET', said, found[at])
  if text then
    reply[#reply + 1] = text
    reply[#reply + 1] = whole(math.max(0, now - found[at + 1]))
  end
end
return reply

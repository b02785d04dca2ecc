-- Takes the webhook delivery that is due first, for one attempt: nobody else is given it before the lease is over.
-- ARGV: lease in ms. Returns {'due', delivery, attempt, event, fields and values of the job's hash…}
-- or {'none', last id of the bell, ms until the next one is due or -1}.
local lease = tonumber(ARGV[1])
local due_set, now = prefix .. ':webhooks:due', now_ms()
local MOST_PASSED = 100

local function close(delivery, status)
  redis.call('ZREM', due_set, delivery)
  redis.call('HSET', delivery_of(delivery), 'status', status)
  redis.call('HDEL', delivery_of(delivery), 'next_at')
end

for _ = 1, MOST_PASSED do
  local first = redis.call('ZRANGE', due_set, 0, 0, 'WITHSCORES')
  local bell = redis.call('XREVRANGE', prefix .. ':webhooks:bell', '+', '-', 'COUNT', 1)
  local rung = bell[1] and bell[1][1] or '0-0'
  if not first[1] then return {'none', rung, -1} end
  if tonumber(first[2]) > now then return {'none', rung, tonumber(first[2]) - now} end
  local delivery = first[1]
  local due = redis.call('HMGET', delivery_of(delivery), 'job', 'event')
  local id, event_name = due[1], due[2]
  local seen = id and look(id, 'state', 'receiver', 'queued_at') or {}
  if not seen[1] then
    redis.call('ZREM', due_set, delivery) -- its job was erased
    redis.call('DEL', delivery_of(delivery), log_of(delivery))
  elseif seen[1] ~= event_name then
    close(delivery, 'superseded') -- an operator has the job run again: what was to be reported no longer holds
  elseif tonumber(redis.call('GET', gone_of(seen[2])) or '0') > seen[3] / 1000 then
    close(delivery, 'disabled') -- since the job was submitted, its receiver asked to be left alone
  else
    local attempt = redis.call('HINCRBY', delivery_of(delivery), 'attempts', 1)
    redis.call('HSET', delivery_of(delivery), 'next_at', whole(now + lease))
    redis.call('ZADD', due_set, whole(now + lease), delivery)
    return {'due', delivery, attempt, event_name, unpack(redis.call('HGETALL', job_of(id)))}
  end
end
return {'none', '0-0', 0}

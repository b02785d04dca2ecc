-- Queues a dead letter again with fresh attempts. ARGV: id. Returns 'retried', 'missing' or the state that forbids it.
local id = ARGV[1]
local seen = look(id, 'state', 'lane', 'dead_entry', 'owner')
local state, lane, dead, owner = seen[1], seen[2], seen[3], seen[4]
if not state then return 'missing' end
if state ~= 'failed' or not dead then return state end
local now = whole(now_us())
redis.call('XDEL', prefix .. ':dead', dead)
redis.call('ZREM', prefix .. ':expiry', id)
redis.call('HDEL', job_of(id), 'dead_entry', 'problem', 'failures', 'deferrals', 'ended_at', 'expires_at', 'last_event')
redis.call('PERSIST', events_of(id))
local entry = redis.call('XADD', stream_of(lane), '*', 'job', id)
redis.call('HSET', job_of(id), 'state', 'queued', 'entry', entry, 'queued_at', now)
redis.call('ZADD', waiting_of(lane), now, id)
if owner then redis.call('SADD', unfinished_of(owner), id) end
if redis.call('EXISTS', events_of(id)) == 1 then event(id, 'queued') end
count('retried')
ring()
return 'retried'

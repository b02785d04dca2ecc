-- Erases the record of an ended job. ARGV: id. Returns 'deleted', 'missing', or the state that forbids it.
local id = ARGV[1]
local seen = look(id, 'state', 'idempotency', 'dead_entry', 'owner')
local state, digest, dead, owner = seen[1], seen[2], seen[3], seen[4]
if state == 'queued' or state == 'running' then return state end
if dead then redis.call('XDEL', prefix .. ':dead', dead) end
if digest then
  local jobs = redis.call('HGET', idempotency_of(digest), 'jobs')
  if jobs and string.find(jobs, id, 1, true) then redis.call('DEL', idempotency_of(digest)) end
end
redis.call('ZREM', prefix .. ':index', id)
redis.call('ZREM', prefix .. ':expiry', id)
redis.call('SREM', kept_of(owner or ''), id)
if owner then redis.call('ZREM', index_of(owner), id) end
for _, delivery in ipairs(redis.call('LRANGE', deliveries_of(id), 0, -1)) do
  redis.call('ZREM', prefix .. ':webhooks:due', delivery)
  redis.call('DEL', delivery_of(delivery), log_of(delivery))
end
redis.call('DEL', deliveries_of(id))
redis.call('DEL', job_of(id), events_of(id))
return state and 'deleted' or 'missing'

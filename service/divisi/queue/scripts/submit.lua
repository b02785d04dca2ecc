-- Accepts the jobs of one upload: record, entry, place in the queue, idempotency key, all or nothing.
-- ARGV: most that may wait, idempotency digest or '', fingerprint, reservation token or '', life of the key in ms,
--       most unfinished jobs of their owner (0 = any number), then for each job: id, lane, record.
-- Returns {'accepted'|'replayed', ids…}, {'reused'}, {'in-flight'}, {'full', waiting} or {'unfinished', number}.
local most, digest, fingerprint, reservation, life_ms = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local most_unfinished = tonumber(ARGV[6])
local ids, fresh = {}, {}
for at = 7, #ARGV, 3 do
  ids[#ids + 1] = ARGV[at]
  if redis.call('EXISTS', job_of(ARGV[at])) == 0 then fresh[#fresh + 1] = at end
end
-- The same submit again (its answer was lost, or the reconciler restores what Redis still knows): nothing to do.
if #fresh == 0 then return {'accepted', unpack(ids)} end

if digest ~= '' then
  local held = redis.call('HMGET', idempotency_of(digest), 'jobs', 'fingerprint', 'token')
  if held[1] then
    if held[2] ~= fingerprint then return {'reused'} end
    local reply = {'replayed'}
    for id in string.gmatch(held[1], '[^,]+') do reply[#reply + 1] = id end
    return reply
  end
  if held[3] and held[3] ~= reservation then return {'in-flight'} end
end

local waiting = 0
for _, lane in ipairs(LANES) do waiting = waiting + redis.call('ZCARD', waiting_of(lane)) end
if waiting + #fresh > most then return {'full', waiting} end

local owner = cjson.decode(ARGV[fresh[1] + 2]).owner -- one for all jobs of an upload
if owner and most_unfinished > 0 then
  local unfinished = redis.call('SCARD', unfinished_of(owner))
  if unfinished + #fresh > most_unfinished then return {'unfinished', unfinished} end
end

local now = now_us()
for order, at in ipairs(fresh) do
  local id, lane, record = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local entry = redis.call('XADD', stream_of(lane), '*', 'job', id)
  local queued_at = whole(now + order) -- no two alike: places in the queue differ by it
  redis.call('HSET', job_of(id), 'record', record, 'state', 'queued', 'lane', lane, 'entry', entry, 'queued_at', queued_at)
  if digest ~= '' then redis.call('HSET', job_of(id), 'idempotency', digest) end
  redis.call('ZADD', waiting_of(lane), queued_at, id)
  redis.call('ZADD', prefix .. ':index', 0, id)
  local url = cjson.decode(record).webhook_url
  if url then redis.call('HSET', job_of(id), 'receiver', redis.sha1hex((owner or '') .. ' ' .. url)) end
  if owner then
    redis.call('HSET', job_of(id), 'owner', owner)
    redis.call('ZADD', index_of(owner), 0, id)
    redis.call('SADD', unfinished_of(owner), id)
  end
  count('accepted')
end
if digest ~= '' then
  redis.call('DEL', idempotency_of(digest))
  redis.call('HSET', idempotency_of(digest), 'fingerprint', fingerprint, 'jobs', table.concat(ids, ','))
  redis.call('PEXPIRE', idempotency_of(digest), life_ms)
end
ring()
return {'accepted', unpack(ids)}

-- Takes jobs from workers that fell silent; runs on a clock. ARGV: lease in ms, most lost attempts, problem, retention in ms,
--   patience with fits that no worker can do in ms, the problem they have then.
-- Returns {given back, buried}.
local lease, most, problem, retention = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local patience, no_worker = tonumber(ARGV[5]), ARGV[6]
local given_back, buried = 0, 0

local function take_back(lane, entry)
  local read = redis.call('XRANGE', stream_of(lane), entry, entry)
  local id = read[1] and read[1][2][2]
  local seen = id and look(id, 'state', 'entry') or {}
  if seen[1] ~= 'running' or seen[2] ~= entry then return drop_entry(lane, entry) end
  count('lost_leases')
  if redis.call('HINCRBY', job_of(id), 'failures', 1) >= most then
    drop_entry(lane, entry)
    bury(id, lane, problem, retention)
    buried = buried + 1
  else
    give_back(id, lane, entry, 0, problem)
    count('reclaimed')
    given_back = given_back + 1
  end
end

for _, lane in ipairs(LANES) do
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream_of(lane), GROUP)) do
    local name, pending, idle = consumer[2], consumer[4], consumer[6]
    if name ~= RETURNED and name ~= DEFERRED and name ~= FITS then
      if pending > 0 then
        for _, entry in ipairs(redis.call('XPENDING', stream_of(lane), GROUP, 'IDLE', lease, '-', '+', 10, name)) do
          take_back(lane, entry[1])
        end
      elseif idle > 100 * lease then
        redis.call('XGROUP', 'DELCONSUMER', stream_of(lane), GROUP, name) -- a name that left nothing behind
      end
    end
  end
end
-- True while a worker that was heard of lately can fit, or does not know yet.
local function may_be_fitted()
  local seen = prefix .. ':workers:seen'
  for _, consumer in ipairs(redis.call('ZRANGEBYSCORE', seen, now_ms() - patience, '+inf')) do
    local said = redis.call('HGET', prefix .. ':workers', consumer)
    if said and cjson.decode(said).can_fit ~= false then return true end
  end
  return false
end

for _, lane in ipairs(LANES) do
  local passed_over = redis.call('XPENDING', stream_of(lane), GROUP, 'IDLE', patience, '-', '+', 10, FITS)
  if #passed_over > 0 and not may_be_fitted() then
    for _, entry in ipairs(passed_over) do
      local read = redis.call('XRANGE', stream_of(lane), entry[1], entry[1])
      local id = read[1] and read[1][2][2]
      drop_entry(lane, entry[1])
      local seen = id and look(id, 'state', 'entry') or {}
      if seen[1] == 'queued' and seen[2] == entry[1] then
        bury(id, lane, no_worker, retention)
        buried = buried + 1
      end
    end
  end
end
release_due(now_ms())
return {given_back, buried}

-- Takes jobs from workers that fell silent; runs on a clock. ARGV: lease in ms, most lost attempts, problem, retention in ms.
-- Returns {given back, buried}.
local lease, most, problem, retention = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
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
    if name ~= RETURNED and name ~= DEFERRED then
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
release_due(now_ms())
return {given_back, buried}

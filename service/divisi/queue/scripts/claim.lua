-- Takes the next job for a worker that has none. ARGV: consumer, head start of the interactive lane in µs,
--   '1' where the worker can fit models to recordings.
-- Returns {'job', id, fields and values of its hash…}, {'none', last id of the bell} or {'again'}.
local consumer, head_start, can_fit = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local MOST_DROPPED = 1000 -- entries passed over in one call: cancelled ones, and fits that others must do

local function entry_of(consumer_name, lane)
  local pending = redis.call('XPENDING', stream_of(lane), GROUP, '-', '+', 1, consumer_name)
  if #pending == 0 then return nil end
  local entry = pending[1][1]
  redis.call('XCLAIM', stream_of(lane), GROUP, consumer, 0, entry, 'JUSTID')
  local read = redis.call('XRANGE', stream_of(lane), entry, entry)
  return entry, read[1] and read[1][2][2]
end

local function new_entry(lane)
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', stream_of(lane), '>')
  if not read or #read == 0 then return nil end
  local message = read[1][2][1]
  return message[1], message[2][2]
end

-- Strict lanes with ageing: a batch job counts as if queued `head_start` later, so that it cannot wait for ever.
local function lanes_in_order()
  local interactive = redis.call('ZRANGE', waiting_of('interactive'), 0, 0, 'WITHSCORES')
  local batch = redis.call('ZRANGE', waiting_of('batch'), 0, 0, 'WITHSCORES')
  if #batch > 0 and #interactive > 0 and tonumber(batch[2]) + head_start < tonumber(interactive[2]) then
    return {'batch', 'interactive'}
  end
  return LANES
end

local function next_entry()
  -- Ours already: an earlier claim whose answer never reached us.
  for _, lane in ipairs(LANES) do
    local entry, id = entry_of(consumer, lane)
    if entry then return lane, entry, id end
  end
  for _, lane in ipairs(lanes_in_order()) do
    local entry, id
    if can_fit then entry, id = entry_of(FITS, lane) end
    if not entry then entry, id = entry_of(RETURNED, lane) end
    if not entry then entry, id = new_entry(lane) end
    if entry then return lane, entry, id end
  end
end

-- Leaves the entry to the workers that can fit, and wakes them.
local function leave_to_others(lane, entry)
  redis.call('XCLAIM', stream_of(lane), GROUP, FITS, 0, entry, 'JUSTID')
  ring()
end

local now = now_ms()
release_due(now)
for _ = 1, MOST_DROPPED do
  local lane, entry, id = next_entry()
  if not lane then
    local bell = redis.call('XREVRANGE', prefix .. ':bell', '+', '-', 'COUNT', 1)
    return {'none', bell[1] and bell[1][1] or '0-0'}
  end
  local seen = id and look(id, 'state', 'entry', 'record') or {}
  local is_due = (seen[1] == 'queued' or seen[1] == 'running') and seen[2] == entry
  if is_due and not can_fit and type(cjson.decode(seen[3]).fit) == 'table' then
    leave_to_others(lane, entry)
  elseif is_due then
    redis.call('HINCRBY', job_of(id), 'attempt', 1)
    redis.call('HSET', job_of(id), 'state', 'running', 'consumer', consumer, 'started_at', whole(now))
    redis.call('ZREM', waiting_of(lane), id)
    count('claims')
    event(id, 'running')
    return {'job', id, unpack(redis.call('HGETALL', job_of(id)))}
  else
    drop_entry(lane, entry) -- cancelled or erased while it waited
  end
end
return {'again'}
